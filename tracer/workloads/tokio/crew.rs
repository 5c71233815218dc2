//! Threads outside the runtime that run until they are told to stop.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

#[derive(Default)]
pub(crate) struct Crew {
    stopping: Stopping,
    threads: Vec<JoinHandle<()>>,
}

/// Asked by each thread between two pieces of work.
#[derive(Clone, Default)]
pub(crate) struct Stopping(Arc<AtomicBool>);

impl Stopping {
    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Crew {
    pub(crate) fn start(
        &mut self,
        name: &str,
        work: impl FnOnce(Stopping) + Send + 'static,
    ) -> io::Result<()> {
        let stopping = self.stopping.clone();
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(stopping))?;
        self.threads.push(thread);
        Ok(())
    }

    pub(crate) fn stop(self) {
        self.stopping.0.store(true, Ordering::Relaxed);
        for thread in self.threads {
            // A panic has been printed by then, and the truth counts what was done before it.
            let _panicked = thread.join();
        }
    }
}
