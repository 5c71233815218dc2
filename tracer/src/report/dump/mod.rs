//! One look at the tasks of processes, as text for people and as JSON for scripts (`tracer.tasks/1`).

use std::io;

use crate::dump::{Detail, Dump};

mod json;
mod text;

/// The name and version of the JSON's shape.
pub const SCHEMA: &str = "tracer.tasks/1";

/// A dump as text, ending in a newline.
#[must_use]
pub fn text(dump: &Dump, detail: Detail) -> String {
    text::text(dump, detail)
}

/// Dumps as JSON, ending in a newline.
///
/// # Errors
/// When `out` cannot be written.
pub fn json(dumps: &[Dump], out: &mut impl io::Write) -> io::Result<()> {
    json::write(dumps, out)
}
