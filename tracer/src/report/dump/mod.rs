//! One look at the tasks of processes, as text for people and as JSON for scripts (`tracer.tasks/1`).

use std::io;

use crate::dump::Dump;

mod json;
mod text;
mod tree;
mod words;

/// The name and version of the JSON's shape.
pub const SCHEMA: &str = "tracer.tasks/1";

/// What the text says beside the tasks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Detail {
    /// Single tasks of a type, and different trees of one, that are listed.
    pub limit: usize,
    /// Types as the compiler names them.
    pub raw: bool,
    /// Addresses of tasks, and futures in a row that are otherwise folded.
    pub verbose: bool,
}

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
