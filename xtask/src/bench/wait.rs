//! Waiting for what tells nobody that it happened: other programs' states in `/proc`.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;

/// How long to wait between two looks.
const BETWEEN: Duration = Duration::from_millis(20);

#[expect(
    clippy::disallowed_methods,
    reason = "times a measurement from outside; no record carries that"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Lets `time` pass: the length of a measurement is itself what is waited for.
#[expect(
    clippy::disallowed_methods,
    reason = "/proc gives no notice, so it is looked at again after some time"
)]
pub(crate) fn pass(time: Duration) {
    thread::sleep(time);
}

/// Looks until `look` finds something, at most for `patience`.
pub(crate) fn until<T>(
    patience: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let end = now() + patience;
    loop {
        let found = look()?;
        if found.is_some() || now() >= end {
            return Ok(found);
        }
        pass(BETWEEN);
    }
}
