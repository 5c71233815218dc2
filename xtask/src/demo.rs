//! `cargo xtask demo`: a workload with something to find in it, and the agent looking at it.
//!
//! With a terminal this is the dashboard; without one it is a recording of ten seconds and its report.

use std::{
    fs,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result};

use crate::{
    build, privilege, setup,
    story::say,
    workload::{Ready, Workload},
    workspace::{self, Workspace},
};

#[derive(Clone, Copy)]
enum Runtime {
    Node,
    Tokio,
}

/// The command. Its argument is the runtime of the workload.
pub(crate) fn command(arguments: &[String]) -> Result<ExitCode> {
    let runtime = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] | ["node"] => Runtime::Node,
        ["tokio"] => Runtime::Tokio,
        _ => {
            return Ok(crate::usage_error(format_args!(
                "demo takes `node` or `tokio`, not `{}`",
                arguments.join(" ")
            )));
        }
    };
    let workspace = Workspace::find()?;
    setup::run(&workspace)?;
    build::run(&workspace)?;
    // Here, because a line to type that names the workload's pid is of no use once the workload has ended with us.
    privilege::check()?;
    let demo = workspace.target.join("demo");
    // Variables go in reverse order: the client ends before the service it talks to.
    let (_service, _client, ready) = match runtime {
        Runtime::Node => node(&workspace, &demo)?,
        Runtime::Tokio => tokio(&workspace, &demo)?,
    };
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        watch(&workspace, ready.pid)
    } else {
        record_and_report(&workspace, ready.pid, &demo.join("demo.mcap"))
    }
}

type Started = (Workload, Option<Workload>, Ready);

fn node(workspace: &Workspace, demo: &Path) -> Result<Started> {
    let script = |name: &str| {
        let mut command = Command::new("node");
        command
            .arg(PathBuf::from("tracer/workloads/node").join(name))
            .current_dir(&workspace.root);
        command
    };
    let service = Workload::start(script("service.mjs"), &demo.join("service.log"))?;
    let ready = service.ready()?;
    let port = ready
        .port
        .context("the service did not say on which port it listens")?;
    let mut client = script("client.mjs");
    client.args(["--port", &port.to_string()]);
    let client = Workload::start(client, &demo.join("client.log"))?;
    say(format_args!(
        "a Node service is running: pid {}, port {port}",
        ready.pid
    ));
    Ok((service, Some(client), ready))
}

fn tokio(workspace: &Workspace, demo: &Path) -> Result<Started> {
    let example = [
        "--release",
        "--locked",
        "--package",
        "tracer",
        "--example",
        "tokio-service",
    ];
    workspace::run(workspace.cargo("build").args(example))?;
    let mut service = Command::new(workspace.target.join("release/examples/tokio-service"));
    service.arg("--load").current_dir(&workspace.root);
    let service = Workload::start(service, &demo.join("service.log"))?;
    let ready = service.ready()?;
    say(format_args!(
        "a tokio service is running: pid {}",
        ready.pid
    ));
    Ok((service, None, ready))
}

fn watch(workspace: &Workspace, pid: u32) -> Result<ExitCode> {
    let mut agent = Command::new(workspace.agent());
    agent.args(["-p", &pid.to_string()]);
    exit_code_of(&mut privilege::as_root(agent)?)
}

fn record_and_report(workspace: &Workspace, pid: u32, recording: &Path) -> Result<ExitCode> {
    // A recording of an earlier demo may belong to root; the directory is ours.
    if recording.exists() {
        fs::remove_file(recording).with_context(|| format!("remove {}", recording.display()))?;
    }
    let mut record = Command::new(workspace.agent());
    record
        .args(["record", "-p", &pid.to_string(), "-d", "10s", "-o"])
        .arg(recording);
    workspace::run(&mut privilege::as_root(record)?)?;
    exit_code_of(Command::new(workspace.agent()).arg("report").arg(recording))
}

fn exit_code_of(command: &mut Command) -> Result<ExitCode> {
    let status = command
        .status()
        .with_context(|| format!("start {}", crate::quiet::by_hand(command)))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
