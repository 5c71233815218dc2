//! Who observes: the tracer with each of its profiles, the programs that people use today, libraries that people build
//! into a tokio program, and what people start Node with.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use xtask::tool::{self, Version};

use super::{child::Child, clinic, process, wait, workload::Workload};
use crate::workspace::Workspace;

/// How long an observer may take to attach; `bpftrace` compiles its program first.
const ATTACH: Duration = Duration::from_secs(30);

/// How long the hooks of a program that sleeps must stand still.
const SETTLED: Duration = Duration::from_millis(500);

/// And those of one that does not, because it is busy with what comes in.
const SETTLED_BUSY: Duration = Duration::from_secs(2);

/// One row of the table.
pub(crate) struct Observer {
    pub(crate) name: &'static str,
    /// How its row in the results is called.
    pub(crate) shown: &'static str,
    who: Who,
    sees: Sees,
    /// `{pid}` stands for the target, `{file}` for a file of its own.
    arguments: &'static [&'static str],
    attached: Attached,
}

enum Who {
    Tracer,
    /// Another program, and the package it is in.
    Foreign {
        name: &'static str,
        package: &'static str,
    },
    /// A part of the observed program, which is started another time for it.
    Inside(Inside),
}

/// What the observed program has inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inside {
    /// A library; the program was built with it.
    Library(&'static str),
    /// These options of Node. `{logs}` stands for a directory, `{bench}` for that of the workloads.
    Options(&'static [&'static str]),
    /// What `clinic doctor` puts into a program of Node.
    Clinic,
}

/// In which programs there is something to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sees {
    All,
    Tokio,
    Node,
}

/// How to know that a program has attached.
enum Attached {
    /// It prints a line that begins with this.
    Says(&'static str),
    /// It prints a line with this in it.
    Logs(&'static str),
    /// The kernel names it as the tracer of every thread.
    Stops,
    /// Neither it nor the kernel says so, but the number of its perf events and BPF links is not zero and stands still.
    Hooks,
}

// A histogram of durations for each system call, the least that a script for this can do.
const HISTOGRAM: &str = "tracepoint:raw_syscalls:sys_enter /pid == {pid}/ { @start[tid] = nsecs; } \
    tracepoint:raw_syscalls:sys_exit /@start[tid]/ { @ns[args->id] = hist(nsecs - @start[tid]); delete(@start[tid]); }";

const fn foreign(name: &'static str, package: &'static str) -> Who {
    Who::Foreign { name, package }
}

const fn options(options: &'static [&'static str]) -> Who {
    Who::Inside(Inside::Options(options))
}

const TRACING: Attached = Attached::Says("tracing ");

/// A program's tasks are found after that: with large programs it takes a moment.
const WATCHING: Attached = Attached::Logs("ready to be watched");

// One line an observer, so that it reads as the table it is.
#[rustfmt::skip]
pub(crate) const OBSERVERS: [Observer; 16] = [
    Observer { name: "light", shown: "tracer, `light`", who: Who::Tracer, sees: Sees::All, arguments: &["record", "-p", "{pid}", "--profile", "light", "-o", "{file}"], attached: TRACING },
    Observer { name: "task", shown: "tracer, `light` and every poll", who: Who::Tracer, sees: Sees::Tokio, arguments: &["record", "-v", "-p", "{pid}", "--profile", "light", "--with", "task", "--max-overhead", "none", "-o", "{file}"], attached: WATCHING },
    Observer { name: "wake", shown: "tracer, `light`, every poll and wake", who: Who::Tracer, sees: Sees::Tokio, arguments: &["record", "-v", "-p", "{pid}", "--profile", "light", "--with", "task,wake", "--max-overhead", "none", "-o", "{file}"], attached: WATCHING },
    Observer { name: "default", shown: "tracer, `default`", who: Who::Tracer, sees: Sees::All, arguments: &["record", "-p", "{pid}", "--profile", "default", "-o", "{file}"], attached: TRACING },
    Observer { name: "full", shown: "tracer, `full`", who: Who::Tracer, sees: Sees::All, arguments: &["record", "-p", "{pid}", "--profile", "full", "-o", "{file}"], attached: TRACING },
    Observer { name: "strace", shown: "`strace -c -f -p`", who: foreign("strace", "strace"), sees: Sees::All, arguments: &["-c", "-f", "-p", "{pid}"], attached: Attached::Stops },
    Observer { name: "perf-trace", shown: "`perf trace -s -p`", who: foreign("perf", "linux-perf"), sees: Sees::All, arguments: &["trace", "-s", "-p", "{pid}"], attached: Attached::Hooks },
    Observer { name: "bpftrace", shown: "`bpftrace`, histogram per call", who: foreign("bpftrace", "bpftrace"), sees: Sees::All, arguments: &["-e", HISTOGRAM], attached: Attached::Hooks },
    Observer { name: "syscount", shown: "`syscount -L -p`", who: foreign("syscount", "libbpf-tools"), sees: Sees::All, arguments: &["-L", "-p", "{pid}"], attached: Attached::Hooks },
    Observer { name: "offcputime", shown: "`offcputime -p`", who: foreign("offcputime", "libbpf-tools"), sees: Sees::All, arguments: &["-p", "{pid}"], attached: Attached::Hooks },
    Observer { name: "console", shown: "built with console-subscriber", who: Who::Inside(Inside::Library("console")), sees: Sees::Tokio, arguments: &[], attached: Attached::Hooks },
    Observer { name: "dial9", shown: "built with dial9", who: Who::Inside(Inside::Library("dial9")), sees: Sees::Tokio, arguments: &[], attached: Attached::Hooks },
    Observer { name: "cpu-prof", shown: "`node --cpu-prof`", who: options(&["--cpu-prof", "--cpu-prof-dir={logs}"]), sees: Sees::Node, arguments: &[], attached: Attached::Hooks },
    Observer { name: "prof", shown: "`node --prof`", who: options(&["--prof", "--no-logfile-per-isolate", "--logfile={logs}/v8.log"]), sees: Sees::Node, arguments: &[], attached: Attached::Hooks },
    Observer { name: "async-hooks", shown: "`async_hooks`, four empty ones", who: options(&["--require", "{bench}/hooks.cjs"]), sees: Sees::Node, arguments: &[], attached: Attached::Hooks },
    Observer { name: "clinic", shown: "`clinic doctor`, what it puts inside", who: Who::Inside(Inside::Clinic), sees: Sees::Node, arguments: &[], attached: Attached::Hooks },
];

impl Observer {
    pub(crate) fn is_tracer(&self) -> bool {
        matches!(self.who, Who::Tracer)
    }

    /// What has to be inside the observed program; none where it is observed from outside.
    pub(crate) fn inside(&self) -> Option<Inside> {
        match self.who {
            Who::Inside(inside) => Some(inside),
            Who::Tracer | Who::Foreign { .. } => None,
        }
    }

    /// Whether it can observe `workload` at all.
    pub(crate) fn observes(&self, workload: &Workload) -> bool {
        match self.sees {
            Sees::All => true,
            Sees::Tokio => workload.is_tokio(),
            Sees::Node => workload.is_node(),
        }
    }

    /// The package that has the program, if the program is not here.
    pub(crate) fn missing_package(&self) -> Option<&'static str> {
        match self.who {
            Who::Foreign { name, package } => tool::find(name).is_none().then_some(package),
            Who::Tracer | Who::Inside(_) => None,
        }
    }

    /// The package of npm that has it, if that is not here.
    pub(crate) fn missing_npm_package(&self, workspace: &Workspace) -> Option<&'static str> {
        let is_missing = self.inside() == Some(Inside::Clinic) && !clinic::is_here(workspace);
        is_missing.then_some(clinic::PACKAGE)
    }

    /// The version, of a foreign program that says so.
    pub(crate) fn version(&self) -> Option<Version> {
        // Which all of libbpf-tools have said since they exist.
        const NO_VERSION: Version = Version::new(0, 1, 0);
        let Who::Foreign { name, .. } = self.who else {
            return None;
        };
        let version = tool::version_of(&tool::find(name)?);
        version.filter(|version| *version != NO_VERSION)
    }

    /// The recording that the tracer leaves in `logs`.
    pub(crate) fn recording(&self, logs: &Path) -> PathBuf {
        logs.join(format!("{}.mcap", self.name))
    }

    /// Starts it on process `pid` and waits until it has attached. Its output goes to `logs`.
    pub(crate) fn attach(&self, workspace: &Workspace, pid: u32, logs: &Path) -> Result<Child> {
        let program = match self.who {
            Who::Tracer => workspace.agent(),
            Who::Foreign { name, .. } => {
                tool::find(name).with_context(|| format!("{name} is not installed"))?
            }
            Who::Inside(_) => bail!("{} is built in, not attached", self.name),
        };
        let file = self.recording(logs);
        if file.exists() {
            fs::remove_file(&file).with_context(|| format!("remove {}", file.display()))?;
        }
        let mut command = Command::new(program);
        for argument in self.arguments {
            let argument = argument.replace("{pid}", &pid.to_string());
            command.arg(argument.replace("{file}", &file.to_string_lossy()));
        }
        let mut child = Child::start(command, &logs.join(format!("{}.log", self.name)))?;
        let mut hooks = Hooks::default();
        let attached = wait::until(ATTACH, || {
            if let Some(status) = child.ended()? {
                bail!(
                    "it ended with {status}\n{}",
                    crate::quiet::tail(&child.printed())
                );
            }
            let attached = match self.attached {
                Attached::Says(start) => {
                    let printed = child.printed();
                    printed.lines().any(|line| line.starts_with(start))
                }
                Attached::Logs(part) => child.printed().contains(part),
                Attached::Stops => process::is_traced_by(pid, child.pid())?,
                Attached::Hooks => hooks.are_settled(child.pid()),
            };
            Ok(attached.then_some(()))
        })?;
        if attached.is_none() {
            bail!(
                "it had not attached after {} s\n{}",
                ATTACH.as_secs(),
                crate::quiet::tail(&child.printed())
            );
        }
        Ok(child)
    }
}

/// What was seen of a program's hooks so far.
#[derive(Default)]
struct Hooks {
    count: usize,
    since: Option<std::time::Instant>,
}

impl Hooks {
    fn are_settled(&mut self, pid: u32) -> bool {
        let now = wait::now();
        let count = process::hooks(pid);
        if count != self.count {
            self.count = count;
            self.since = Some(now);
        }
        // Attaching sleeps uninterruptibly where it sleeps at all, so who sleeps otherwise waits for results.
        let settled = if process::is_asleep(pid) {
            SETTLED
        } else {
            SETTLED_BUSY
        };
        self.since
            .is_some_and(|since| count > 0 && now - since >= settled)
    }
}
