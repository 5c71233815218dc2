//! Functions of JavaScript as a snapshot shows them.

/// A function that running threads were met in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JsFunctionView {
    /// Its name.
    pub function: String,
    /// Its script: a path, `file:` or `node:` address; empty when not known.
    pub script: String,
    /// The line in which most of the samples in itself were, or else of those in what it calls; 0 when not known.
    pub line: u32,
    /// Samples in itself, and in what it calls that is not JavaScript: JSON, regular expressions, system calls.
    pub own: u64,
    /// Samples in it or in anything it calls.
    pub total: u64,
}

impl JsFunctionView {
    /// True for a part of Node itself.
    #[must_use]
    pub fn is_of_node(&self) -> bool {
        self.script.starts_with("node:")
    }
}
