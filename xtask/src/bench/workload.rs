//! What is measured: programs that do one small thing as often as they can, and who drives them.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use xtask::{cost, tool};

use super::{child::Child, clinic, observer::Inside, process, wait};
use crate::{
    story::say,
    workload::{Workload as Program, number},
    workspace::Workspace,
};

/// How long a workload may take to get going.
const WARM: Duration = Duration::from_secs(30);

/// Operations after which a program has done everything at least once and its hot code is compiled.
const WARM_OPERATIONS: u64 = 10_000;

/// Connections of the load generator; the program's own has as many.
const CONNECTIONS: &str = "64";

/// Where the scripts are, relative to the repository.
const BENCH: &str = "tracer/workloads/bench";

/// The package with the load generator.
pub(crate) const WRK: &str = "wrk";

/// One row of the table.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    /// What one operation is.
    pub(crate) operation: &'static str,
    program: Kind,
    /// Whether observers look at a process that idles beside the measured one.
    pub(crate) is_bystander: bool,
}

/// What says that it listens is driven by a load generator; the rest drives itself.
enum Kind {
    /// A program of the example `bench`, with its arguments.
    Rust(&'static [&'static str]),
    /// A tokio program that exists once more for each library that watches it from inside, with its arguments.
    Tokio(&'static [&'static str]),
    /// A script beside that example.
    Node(&'static str),
}

// One line a workload, so that it reads as the table it is.
#[rustfmt::skip]
pub(crate) const WORKLOADS: [Workload; 8] = [
    Workload { name: "node-hello", operation: "a request to `node:http` under `wrk`", program: Kind::Node("hello.mjs"), is_bystander: false },
    Workload { name: "node-awaits", operation: "the same with twenty nested awaits and a turn of the loop", program: Kind::Node("awaits.mjs"), is_bystander: false },
    Workload { name: "axum-hello", operation: "a request to axum under `wrk`", program: Kind::Tokio(&["axum-hello", "0"]), is_bystander: false },
    Workload { name: "axum-spawn", operation: "the same with four tasks spawned and joined for each request", program: Kind::Tokio(&["axum-spawn", "0"]), is_bystander: false },
    Workload { name: "futex-convoy", operation: "a futex wake and a futex wait", program: Kind::Rust(&["futex-convoy"]), is_bystander: false },
    Workload { name: "read-loop", operation: "a `read` of one byte", program: Kind::Rust(&["read-loop"]), is_bystander: false },
    Workload { name: "polls", operation: "a poll of a tokio task that yields", program: Kind::Tokio(&["polls"]), is_bystander: false },
    Workload { name: "bystander", operation: "a `getppid` of a process beside the observed one", program: Kind::Rust(&["getppid"]), is_bystander: true },
];

/// What the soak observes unless told otherwise: threads that are born and end.
pub(crate) const CHURN: Workload = Workload {
    name: "churn",
    operation: "the life of a thread",
    program: Kind::Rust(&["churn"]),
    is_bystander: false,
};

/// A workload that is under way. Fields end in this order: who drives it first.
pub(crate) struct Running {
    _load: Option<Load>,
    measured: Program,
    measured_pid: u32,
    observed: Option<(Program, u32)>,
}

enum Load {
    Wrk { _process: Child },
    Own { _program: Program },
}

/// Where a running workload stands.
#[derive(Clone, Copy)]
pub(crate) struct Reading {
    pub(crate) operations: u64,
    pub(crate) cpu: Duration,
}

impl Workload {
    /// Whether it has tasks, and can be had with something inside that watches them.
    pub(crate) fn is_tokio(&self) -> bool {
        matches!(self.program, Kind::Tokio(_))
    }

    /// Whether it is a program of Node, and can be started with other options.
    pub(crate) fn is_node(&self) -> bool {
        matches!(self.program, Kind::Node(_))
    }

    /// Starts it and waits until it is warm. Logs go to `logs`.
    pub(crate) fn start(&self, workspace: &Workspace, logs: &Path) -> Result<Running> {
        self.start_with(None, workspace, logs)
    }

    /// The same with this inside.
    pub(crate) fn start_with(
        &self,
        inside: Option<Inside>,
        workspace: &Workspace,
        logs: &Path,
    ) -> Result<Running> {
        let measured = self.program.command(inside, workspace, logs);
        let measured = Program::start(measured, &logs.join(format!("{}.log", self.name)))?;
        let ready = measured.ready()?;
        let load = match ready.port {
            Some(port) => Some(Load::start(port, workspace, logs)?),
            None => None,
        };
        let observed = if self.is_bystander {
            let idle = Kind::Rust(&["idle"]).command(None, workspace, logs);
            let idle = Program::start(idle, &logs.join("idle.log"))?;
            let pid = idle.ready()?.pid;
            Some((idle, pid))
        } else {
            None
        };
        let mut running = Running {
            _load: load,
            measured,
            measured_pid: ready.pid,
            observed,
        };
        running.warm_up()?;
        Ok(running)
    }
}

impl Kind {
    fn command(&self, inside: Option<Inside>, workspace: &Workspace, logs: &Path) -> Command {
        let mut command = match self {
            Self::Rust(arguments) => {
                let mut bench = Command::new(workspace.target.join("release/examples/bench"));
                bench.args(*arguments);
                bench
            }
            Self::Tokio(arguments) => {
                let name = match inside {
                    Some(Inside::Library(name)) => name,
                    Some(Inside::Options(_) | Inside::Clinic) | None => cost::PLAIN,
                };
                let mut program = Command::new(cost::program(&workspace.target, name));
                program.args(*arguments);
                program
            }
            Self::Node(script) => {
                let mut node = Command::new("node");
                match inside {
                    Some(Inside::Options(options)) => {
                        node.args(options.iter().map(|option| {
                            // As `require` takes it, which looks for other names among the packages.
                            let bench = workspace.root.join(BENCH);
                            let option = option.replace("{bench}", &bench.to_string_lossy());
                            option.replace("{logs}", &logs.to_string_lossy())
                        }));
                    }
                    Some(Inside::Clinic) => clinic::let_in(&mut node, workspace, logs),
                    Some(Inside::Library(_)) | None => {}
                }
                node.arg(Path::new(BENCH).join(script));
                node
            }
        };
        command.current_dir(&workspace.root);
        command
    }
}

impl Load {
    fn start(port: u16, workspace: &Workspace, logs: &Path) -> Result<Self> {
        if let Some(wrk) = tool::find(WRK) {
            let mut command = Command::new(wrk);
            // It is ended when it is no longer needed, long before this.
            command.args(["-t", "1", "-c", CONNECTIONS, "-d", "1000000s"]);
            command.arg(format!("http://127.0.0.1:{port}/"));
            let process = Child::start(command, &logs.join("wrk.log"))?;
            return Ok(Self::Wrk { _process: process });
        }
        say(format_args!(
            "going on with our own load generator: wrk is not installed (package {WRK})"
        ));
        let mut command = Kind::Rust(&["load"]).command(None, workspace, logs);
        command.arg(port.to_string());
        let program = Program::start(command, &logs.join("load.log"))?;
        program.ready()?;
        Ok(Self::Own { _program: program })
    }
}

impl Running {
    /// The process that observers attach to.
    pub(crate) fn observed_pid(&self) -> u32 {
        self.observed
            .as_ref()
            .map_or(self.measured_pid, |(_, pid)| *pid)
    }

    /// The process that is measured.
    pub(crate) fn measured_pid(&self) -> u32 {
        self.measured_pid
    }

    /// How often it has been done, and the CPU time that took.
    pub(crate) fn reading(&mut self) -> Result<Reading> {
        let operations = self.operations()?;
        Ok(Reading {
            operations,
            cpu: process::cpu_time(self.measured_pid)?,
        })
    }

    /// How often it has been done.
    pub(crate) fn operations(&mut self) -> Result<u64> {
        let answer = self.measured.ask()?;
        number(&answer, "operations").with_context(|| format!("no count of operations: {answer}"))
    }

    fn warm_up(&mut self) -> Result<()> {
        let is_warm = wait::until(WARM, || {
            Ok((self.operations()? >= WARM_OPERATIONS).then_some(()))
        })?;
        ensure!(
            is_warm.is_some(),
            "the workload did not do {WARM_OPERATIONS} operations in {} s",
            WARM.as_secs()
        );
        Ok(())
    }
}

/// The workload called `name`.
pub(crate) fn by_name(name: &str) -> Result<&'static Workload> {
    let Some(workload) = WORKLOADS.iter().find(|workload| workload.name == name) else {
        bail!("there is no workload `{name}`");
    };
    Ok(workload)
}
