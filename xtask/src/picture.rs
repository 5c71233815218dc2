//! `cargo xtask picture`: runs the example that draws the screens for the documentation.

use std::process::ExitCode;

use anyhow::Result;

use crate::{
    setup,
    workspace::{self, Workspace},
};

/// The command. Its arguments go to the example.
pub(crate) fn command(arguments: &[String]) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    setup::run(&workspace)?;
    crate::build::run(&workspace)?;
    let mut command = workspace.cargo("run");
    command.args([
        "--release",
        "--locked",
        "--package",
        "tracer",
        "--example",
        "picture",
    ]);
    if !arguments.is_empty() {
        command.arg("--").args(arguments);
    }
    workspace::run(&mut command)?;
    Ok(ExitCode::SUCCESS)
}
