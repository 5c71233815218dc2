//! What goes into the dashboard and what comes out of it.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tracer_common::Nanos;

use crate::model::Snapshot;

/// Where the dashboard gets its data, and whom it asks. Each part may be closed by the other side at any time.
#[derive(Debug)]
pub struct Feed {
    /// The newest snapshot. A default one means that nothing is known yet; a closed channel, that the session
    /// ended: the last snapshot stays on the screen.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Where a replay stands. Present in a replay only, and what makes it one.
    pub transport: Option<watch::Receiver<Transport>>,
    /// What the reader wants of the replay. Nothing is sent in a live session: pausing that is local to the view.
    pub commands: mpsc::UnboundedSender<Command>,
}

/// Where a replay stands.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Transport {
    /// Time since the recording began.
    pub position: Nanos,
    /// Length of the recording.
    pub duration: Nanos,
    /// Recorded time per time that passes; 1 is as it was.
    pub speed: f64,
    /// It stands still.
    pub paused: bool,
    /// It stands at the end.
    pub ended: bool,
}

/// Something the reader wants of the replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Stop, or go on.
    TogglePause,
    /// Go to another place.
    Seek(SeekTo),
    /// Change the speed.
    Speed(Pace),
}

/// A place in a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeekTo {
    /// So much later than now, at most the end.
    Forward(Nanos),
    /// So much earlier than now, at least the start.
    Back(Nanos),
    /// The start.
    Start,
    /// The end.
    End,
}

/// A change of speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// The next higher speed.
    Faster,
    /// The next lower speed.
    Slower,
}

/// How to show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Colours. Without them nothing is lost: every state has its own glyph.
    pub color: bool,
    /// Child processes of the target are traced too.
    pub follow: bool,
    /// What kind of session this is: `live`, `replay FILE`.
    pub title: String,
}

/// Why the dashboard ended. The terminal is restored in each case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The reader quit.
    Quit,
    /// This signal arrived: SIGINT, SIGTERM or SIGHUP.
    Signal(i32),
    /// The terminal is gone: nobody reads any more, and nothing can be written to it.
    TerminalGone,
}
