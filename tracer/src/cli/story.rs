//! What is told on stderr while something runs: a progress line on a terminal, plain lines elsewhere.

use std::io::{IsTerminal as _, Write as _};

/// Tells, or keeps quiet.
pub(super) struct Story {
    quiet: bool,
    terminal: bool,
    /// A progress line stands on the terminal and is not ended.
    open: bool,
}

impl Story {
    pub(super) fn new(quiet: bool) -> Self {
        Self {
            quiet,
            terminal: std::io::stderr().is_terminal(),
            open: false,
        }
    }

    /// A whole line. That stderr is closed is nobody's concern.
    pub(super) fn say(&mut self, line: &str) {
        if self.quiet {
            return;
        }
        self.close();
        let _ = writeln!(std::io::stderr(), "{line}");
    }

    /// A line that replaces the one before; only on a terminal.
    pub(super) fn progress(&mut self, line: &str) {
        if self.quiet || !self.terminal {
            return;
        }
        self.open = true;
        let width = crossterm::terminal::size().map_or(80, |(columns, _)| usize::from(columns));
        let shown: String = line.chars().take(width.saturating_sub(1)).collect();
        let mut stderr = std::io::stderr();
        let _ = write!(stderr, "\r\x1b[K{shown}");
        let _ = stderr.flush();
    }

    /// Takes the progress line away.
    pub(super) fn close(&mut self) {
        if std::mem::take(&mut self.open) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
