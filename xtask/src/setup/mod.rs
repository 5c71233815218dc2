//! `cargo xtask setup`: finds or installs what building and testing need. It never asks, and does nothing the second
//! time.

use std::{env, process::ExitCode};

use anyhow::{Result, bail};
use xtask::kernel_object::PREBUILT;

use crate::{story::say, workspace::Workspace};

mod apt;
mod compiler;
mod linker;
mod matrix;
mod programs;

use apt::Apt;
pub(crate) use matrix::tell;

/// The command. `--all` also builds what no test needs: the programs of benchmarks, and published ones.
pub(crate) fn command(arguments: &[String]) -> Result<ExitCode> {
    let all = match arguments {
        [] => false,
        [only] if only == "--all" => true,
        [first, ..] => {
            return Ok(crate::usage_error(format_args!(
                "setup takes no argument but --all, and got `{first}`"
            )));
        }
    };
    let workspace = Workspace::find()?;
    run(&workspace)?;
    programs_to_attach_to(&workspace)?;
    if all {
        matrix::ensure_rest(&workspace)?;
    }
    say("ready");
    Ok(ExitCode::SUCCESS)
}

/// Builds the programs that tests attach to. Building the agent does not need them.
pub(crate) fn programs_to_attach_to(workspace: &Workspace) -> Result<()> {
    matrix::ensure(workspace)
}

/// Installs one package that only some command needs.
pub(crate) fn install(workspace: &Workspace, package: &str) -> Result<()> {
    Apt::new(workspace).install(package, &[package])
}

/// Checks everything before it fails, so that one run tells all that is missing.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let mut apt = Apt::new(workspace);
    let mut missing = programs::ensure_required(&mut apt);
    missing.extend(kernel_toolchain(workspace, &mut apt).err());
    programs::ensure_wanted(&mut apt);
    programs::check_kernel();
    if missing.is_empty() {
        return Ok(());
    }
    let list: String = missing
        .iter()
        .map(|error| format!("\n\n{error:#}"))
        .collect();
    bail!("the set-up is not complete{list}")
}

fn kernel_toolchain(workspace: &Workspace, apt: &mut Apt) -> Result<()> {
    if let Some(object) = env::var_os(PREBUILT).filter(|path| !path.is_empty()) {
        say(format_args!(
            "have a kernel object: {PREBUILT}={}",
            object.display()
        ));
        return Ok(());
    }
    let routes = compiler::ensure(workspace, apt)?;
    linker::ensure(workspace, apt, &routes)
}
