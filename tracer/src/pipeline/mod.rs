//! The only place that makes threads, tasks, channels and child processes.
//!
//! A live session runs on a thread of its own, so that draining the ring buffer never waits for the screen, the
//! disk or a pipe; the recorder has another. Snapshots are handed over through a `watch` channel: whoever shows
//! them may skip some. Records are handed to the recorder through a bounded queue: what does not fit is kept, and
//! beyond a bound counted as lost.

pub mod launch;
mod observer;
mod recorder;
pub mod replay;
pub mod session;
mod symbols;

pub use launch::Launched;
pub use session::{Ended, Plan, Session, SessionError};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that end a command without a screen in good order: Ctrl-C, `kill`, hang-up.
pub struct Interrupt {
    signals: [Signal; 3],
}

impl Interrupt {
    /// Starts to listen; from now on these signals no longer kill this process.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn listen() -> std::io::Result<Self> {
        let kinds = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ];
        let [interrupt, terminate, hangup] = kinds.map(signal);
        Ok(Self {
            signals: [interrupt?, terminate?, hangup?],
        })
    }

    /// Waits for the first of them.
    pub async fn received(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
