//! `cargo xtask build`: the agent, optimised, in target/release/tracer.

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::{
    setup,
    workspace::{self, Workspace},
};

/// The command. It takes no arguments.
pub(crate) fn command(arguments: &[String]) -> Result<ExitCode> {
    if let Some(argument) = arguments.first() {
        return Ok(crate::usage_error(format_args!(
            "build takes no argument, but got `{argument}`"
        )));
    }
    let workspace = Workspace::find()?;
    setup::run(&workspace)?;
    run(&workspace)?;
    let agent = workspace.agent();
    let bytes = agent
        .metadata()
        .with_context(|| format!("look at {}", agent.display()))?
        .len();
    println!("{} ({})", workspace.shown(&agent), size(bytes));
    Ok(ExitCode::SUCCESS)
}

/// Builds the agent.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    workspace::run(
        workspace
            .cargo("build")
            .args(["--release", "--locked", "--package", "tracer"]),
    )
}

fn size(bytes: u64) -> String {
    // Whole tenths, in integers: sizes here are a few to a few hundred megabytes.
    let tenths = (bytes * 10 + (1 << 19)) >> 20;
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_to_a_tenth() {
        assert_eq!(size(5 << 20), "5.0 MiB");
        assert_eq!(size((5 << 20) + (1 << 19)), "5.5 MiB");
        assert_eq!(size(1000), "0.0 MiB");
    }
}
