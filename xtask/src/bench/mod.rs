//! `cargo xtask bench`: what attaching costs the target, the tracer beside the programs that people use today.
//!
//! Each number is a ratio of windows that follow one another, so that other load on the machine cancels out. What a probe
//! takes at a switch is charged to whoever comes next, so it is in no number here when that is another program or nobody.

use std::{
    env, fs,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result};
use xtask::cost;

use crate::{
    privilege, setup,
    story::say,
    workspace::{self, Workspace},
};

mod child;
mod clinic;
mod compare;
mod observer;
mod options;
mod process;
mod soak;
mod table;
mod wait;
mod workload;

use observer::Inside;
use options::Options;

/// The command.
pub(crate) fn command(arguments: &[String]) -> Result<ExitCode> {
    if arguments.iter().any(|argument| argument == "--help") {
        print!("{}", help());
        return Ok(ExitCode::SUCCESS);
    }
    let options = match Options::parse(arguments) {
        Ok(options) => options,
        Err(error) => {
            say(format_args!("error: {error:#}\n\n{}", help()));
            return Ok(ExitCode::from(2));
        }
    };
    let workspace = Workspace::find()?;
    if options.setup {
        install_peers(&workspace);
        return Ok(ExitCode::SUCCESS);
    }
    if !options.no_build {
        setup::run(&workspace)?;
        crate::build::run(&workspace)?;
        workspace::run(workspace.cargo("build").args([
            "--release",
            "--locked",
            "--package",
            "tracer",
            "--example",
            "bench",
        ]))?;
        build_tokio(&workspace, &options)?;
    }
    if !privilege::is_root() {
        privilege::check()?;
        return again_as_root(&workspace, arguments);
    }
    let logs = workspace.target.join("bench");
    fs::create_dir_all(&logs).with_context(|| format!("create {}", logs.display()))?;
    if let Some(time) = options.soak {
        let name = options.only.first().map(String::as_str);
        let profile = options.observers.first().map_or("default", String::as_str);
        return soak::run(&workspace, name, profile, time, &logs);
    }
    compare::run(&workspace, &options, &logs)
}

/// Builds the chosen tokio programs, with and without what the chosen observers have inside.
fn build_tokio(workspace: &Workspace, options: &Options) -> Result<()> {
    let mut workloads = workload::WORKLOADS.iter();
    if !workloads.any(|one| one.is_tokio() && Options::chooses(&options.only, one.name)) {
        return Ok(());
    }
    let chosen = observer::OBSERVERS
        .iter()
        .filter(|one| Options::chooses(&options.observers, one.name));
    let mut names = vec![cost::PLAIN];
    names.extend(chosen.filter_map(|one| match one.inside()? {
        Inside::Library(name) => Some(name),
        Inside::Options(_) | Inside::Clinic => None,
    }));
    cost::build(&workspace.root, &workspace.target, &names, &setup::tell)
        .context("the programs that are watched from inside cannot be built")?;
    Ok(())
}

/// The measuring itself needs root throughout: it attaches, and it ends what root has started.
fn again_as_root(workspace: &Workspace, arguments: &[String]) -> Result<ExitCode> {
    let mut again = Command::new(env::current_exe().context("find this program")?);
    again
        .args(["bench", "--no-build"])
        .args(arguments)
        .current_dir(&workspace.root)
        .env("CARGO_TARGET_DIR", &workspace.target);
    if let Some(path) = env::var_os("PATH") {
        again.env("PATH", path);
    }
    let mut again = privilege::as_root(again)?;
    let status = again.status().context("start this program as root")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Installs what is missing, each by itself: one that no package here has is no reason to do without the others.
fn install_peers(workspace: &Workspace) {
    let mut packages: Vec<&str> = observer::OBSERVERS
        .iter()
        .filter_map(observer::Observer::missing_package)
        .collect();
    if xtask::tool::find(workload::WRK).is_none() {
        packages.push(workload::WRK);
    }
    packages.dedup();
    for package in packages {
        if let Err(error) = setup::install(workspace, package) {
            say(format_args!("going on without: {error:#}"));
        }
    }
    let mut observers = observer::OBSERVERS.iter();
    if observers.any(|one| one.missing_npm_package(workspace).is_some())
        && let Err(error) = clinic::install(workspace)
    {
        say(format_args!("going on without: {error:#}"));
    }
    say("ready");
}

fn help() -> String {
    let workloads = workload::WORKLOADS.map(|one| one.name).join(", ");
    let observers = observer::OBSERVERS.map(|one| one.name).join(", ");
    format!(
        "cargo xtask bench [OPTIONS]

  --rounds N          measure each observer N times on each workload (default: 5)
  --seconds S         for S seconds each time (default: 2)
  --only A,B          these workloads: {workloads}
  --observers A,B     these observers: {observers}
  --quick             two rounds of one second, the tracer alone
  --soak TIME         watch the tracer's own memory for TIME (60s, 10m, 1h) instead; fails when it grows
                      (--only: on that workload, default churn; --observers: with that profile)
  --setup             install the observers and wrk, and do nothing else
  --no-build          take what is built
"
    )
}
