//! `tracer completions SHELL`.

use clap::Args;
use clap_complete::Shell;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The shell
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut super::command(),
        "tracer",
        &mut script,
    );
    super::print(&String::from_utf8_lossy(&script), None)
}
