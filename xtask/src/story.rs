//! What a person reads while a command works: one line per step, on stderr.

use std::{
    fmt::Display,
    io::{self, Write},
    time::{Duration, Instant},
};

/// One finished line.
pub(crate) fn say(line: impl Display) {
    eprintln!("{line}");
}

/// A line that ends when the step does, with the time it took.
pub(crate) struct Step {
    started: Instant,
}

impl Step {
    /// Starts a line and leaves it open.
    pub(crate) fn start(what: impl Display) -> Self {
        eprint!("{what} … ");
        // The line is only a courtesy; when stderr is closed there is nobody to tell.
        let _ = io::stderr().flush();
        Self { started: now() }
    }

    /// Ends the line of a step that went well.
    pub(crate) fn done(self) {
        eprintln!("{}", in_words(now() - self.started));
    }

    /// Ends the line of a step that did not.
    pub(crate) fn failed(self) {
        eprintln!("failed after {}", in_words(now() - self.started));
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "times how long a person waits; no record carries that"
)]
fn now() -> Instant {
    Instant::now()
}

fn in_words(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        seconds @ 1..120 => format!("{seconds} s"),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_that_fits() {
        assert_eq!(in_words(Duration::from_millis(830)), "830 ms");
        assert_eq!(in_words(Duration::from_secs(59)), "59 s");
        assert_eq!(in_words(Duration::from_secs(150)), "2 min 30 s");
    }
}
