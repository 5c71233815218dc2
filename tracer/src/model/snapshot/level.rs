//! How many of something were started and not finished.

use std::cmp::Reverse;

use super::Snapshot;

/// How many of something were started and not finished.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LevelView {
    /// Of what: `sockets`, `tasks`, `pool`, and what Node has of the constants below.
    pub what: &'static str,
    /// Of which type, where these are told apart: as `async_hooks` calls it, `FSREQCALLBACK`; the place of an `await`.
    pub kind: Option<String>,
    /// At this tick.
    pub now: u64,
    /// Mean over the ticks at which it was known, weighted by time.
    pub mean: f64,
    /// The most at a tick.
    pub max: u64,
}

impl LevelView {
    /// What Node has requests for: a file that is read, a name that is looked up.
    pub const REQUESTS: &str = "requests";
    /// What Node has handles for: a connection, a server, a pipe.
    pub const HANDLES: &str = "handles";
    /// Timers of Node that keep the process alive.
    pub const TIMERS: &str = "timers";
    /// Immediates of Node.
    pub const IMMEDIATES: &str = "immediates";
    /// Async functions of JavaScript that are at an `await`, all of them.
    pub const PROMISES: &str = "promises";
    /// The same by where that is: `loadUser (users.js:20)`.
    pub const AWAITS: &str = "awaits";
}

impl Snapshot {
    /// What is in flight of this, by type, largest first: of what is there now, then of what was.
    #[must_use]
    pub fn levels(&self, what: &str) -> Vec<&LevelView> {
        let levels = self.in_flight.iter();
        let mut levels: Vec<_> = levels.filter(|level| level.what == what).collect();
        levels.sort_by_key(|level| (Reverse(level.now), Reverse(level.max)));
        levels
    }
}
