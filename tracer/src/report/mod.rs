//! The report: what a snapshot says, in the shape scripts rely on (`tracer.report/1`), and as text for people.
//!
//! Fields are added, never renamed and never given another meaning. What was not measured is `null`, with its
//! reason in `quality.not_measured`, and never 0.

mod callback;
pub mod dump;
mod event_loop;
#[cfg(test)]
mod example;
mod finding;
mod missing;
mod node;
mod part;
mod task;
mod text;

use serde::Serialize;
use tracer_common::{State, ThreadTimes};

pub use missing::{NotMeasured, not_measured};
pub use text::text;

use missing::was_probed;

use crate::model::{
    Distribution, Life, ProcessView, Role, Snapshot, SyscallView, TasksView, ThreadView,
};

/// The name and version of the JSON report's shape.
pub const SCHEMA: &str = "tracer.report/1";

/// The JSON report. Times in nanoseconds, sizes in bytes, ratios 0–1.
#[derive(Debug, Serialize)]
pub struct Report {
    schema: &'static str,
    tool: Tool,
    host: Host,
    targets: Vec<Target>,
    window: Window,
    quality: Quality,
    threads: Vec<Thread>,
    #[serde(flatten)]
    tasks: task::Tasks,
    #[serde(flatten)]
    callbacks: callback::Callbacks,
    #[serde(rename = "loop")]
    event_loop: Option<event_loop::Loops>,
    in_flight: Option<Vec<part::InFlight>>,
    locks: Option<Vec<part::Lock>>,
    locks_unlisted: Option<u64>,
    long_waits: Option<Vec<part::Wait>>,
    syscalls: Option<Vec<Syscall>>,
    files: Option<Vec<part::File>>,
    files_unlisted: Option<u64>,
    epolls: Option<Vec<part::Poll>>,
    memory: part::Memory,
    cpu: part::Cpu,
    gc: Option<Vec<node::Gc>>,
    heap: Option<node::Heap>,
    findings: Option<Vec<finding::Finding>>,
}

#[derive(Debug, Serialize)]
struct Tool {
    version: String,
    profile: String,
}

#[derive(Debug, Serialize)]
struct Host {
    kernel: String,
    arch: String,
    cpus: u32,
}

#[derive(Debug, Serialize)]
struct Target {
    pid: u32,
    parent_pid: u32,
    comm: String,
    exe: Option<String>,
    cmdline: Option<String>,
    /// `null` until its files were looked at.
    runtime: Option<task::Runtime>,
    /// The wait status when it ended, `null` while it lives.
    exit_status: Option<u32>,
}

#[derive(Debug, Serialize)]
struct Window {
    start_unix_ns: u64,
    duration_ns: u64,
}

#[derive(Debug, Serialize)]
struct Quality {
    events: u64,
    lost: Vec<Lost>,
    inconsistent: u64,
    processes_folded: u64,
    probes: Vec<Probe>,
    overhead: Overhead,
    stacks: Stacks,
    tasks: task::Quality,
    callbacks: callback::Quality,
    findings: finding::Quality,
    not_measured: Vec<NotMeasured>,
}

#[derive(Debug, Serialize)]
struct Lost {
    what: &'static str,
    count: u64,
}

#[derive(Debug, Serialize)]
struct Probe {
    name: String,
    group: String,
    status: &'static str,
    why: String,
}

#[derive(Debug, Serialize)]
struct Overhead {
    target_cpu_ratio: Option<f64>,
    probe_time_ns: Option<u64>,
    probe_runs: Option<u64>,
    agent_cpu_ns: u64,
    agent_rss_bytes: Option<u64>,
}

/// How far stacks can be trusted.
#[derive(Debug, Serialize)]
struct Stacks {
    taken: u64,
    /// Those that ended after two frames or less: code without frame pointers.
    shallow: u64,
}

#[derive(Debug, Serialize)]
struct Thread {
    /// `null` for several ended threads of one name in one row.
    tid: Option<u32>,
    pid: Option<u32>,
    name: String,
    role: Option<&'static str>,
    /// Threads in this row that ended: 0 for a living one.
    ended: u64,
    wall_ns: u64,
    on_cpu_ns: u64,
    runnable_ns: u64,
    preempted_ns: u64,
    off_cpu: OffCpu,
    voluntary_switches: u64,
    involuntary_switches: u64,
    migrations: u64,
    /// The longest wait for a CPU.
    runnable_max_ns: u64,
}

#[derive(Debug, Serialize)]
struct OffCpu {
    epoll_ns: u64,
    futex_ns: u64,
    disk_ns: u64,
    network_ns: u64,
    page_fault_ns: u64,
    sleep_ns: u64,
    throttled_ns: u64,
    other_ns: u64,
    unknown_ns: u64,
}

#[derive(Debug, Serialize)]
struct Syscall {
    name: String,
    count: u64,
    errors: u64,
    errnos: Vec<Errno>,
    /// Where not all calls were timed, estimated from those that were.
    total_time_ns: u64,
    time: Time,
}

#[derive(Debug, Serialize)]
struct Errno {
    name: String,
    count: u64,
}

#[derive(Debug, Serialize)]
struct Time {
    count: u64,
    sum_ns: u64,
    p50_ns: Option<u64>,
    p99_ns: Option<u64>,
    max_ns: Option<u64>,
}

impl Report {
    /// The report of a session.
    #[must_use]
    pub fn new(snapshot: &Snapshot) -> Self {
        let on = |probe: &str| was_probed(snapshot, probe);
        let session = &snapshot.session;
        let quality = &snapshot.quality;
        Self {
            schema: SCHEMA,
            tool: Tool {
                version: session.tool_version.clone(),
                profile: session.profile.clone(),
            },
            host: Host {
                kernel: session.kernel.clone(),
                arch: session.arch.clone(),
                cpus: session.cpus,
            },
            targets: snapshot
                .processes
                .iter()
                .map(|process| target(process, &snapshot.tasks))
                .collect(),
            window: Window {
                start_unix_ns: session.started_unix_ns,
                duration_ns: snapshot.duration().0,
            },
            quality: Quality {
                events: quality.events,
                lost: quality
                    .lost
                    .iter()
                    .map(|&(reason, count)| Lost {
                        what: reason.name(),
                        count,
                    })
                    .collect(),
                inconsistent: quality.inconsistent,
                processes_folded: snapshot.processes_folded,
                probes: quality
                    .probes
                    .iter()
                    .map(|probe| Probe {
                        name: probe.name.clone(),
                        group: probe.group.clone(),
                        status: probe.status.name(),
                        why: probe.why.clone(),
                    })
                    .collect(),
                overhead: Overhead {
                    target_cpu_ratio: quality.target_cpu_ratio,
                    probe_time_ns: quality.probe_time.map(|time| time.0),
                    probe_runs: quality.probe_runs,
                    agent_cpu_ns: quality.agent_cpu.0,
                    agent_rss_bytes: quality.agent_rss_bytes,
                },
                stacks: Stacks {
                    taken: quality.stacks,
                    shallow: quality.shallow_stacks,
                },
                tasks: (&snapshot.tasks).into(),
                callbacks: (&snapshot.callbacks).into(),
                findings: (&snapshot.findings).into(),
                not_measured: not_measured(snapshot),
            },
            threads: snapshot
                .threads
                .iter()
                .map(|view| thread(view, snapshot))
                .collect(),
            tasks: task::Tasks::new(snapshot, on("cpu_sample")),
            callbacks: callback::Callbacks::new(snapshot),
            event_loop: event_loop::Loops::new(snapshot),
            in_flight: (!snapshot.in_flight.is_empty())
                .then(|| snapshot.in_flight.iter().map(Into::into).collect()),
            locks: on("futex_waits").then(|| snapshot.locks.iter().map(Into::into).collect()),
            locks_unlisted: on("futex_waits").then_some(snapshot.locks_unlisted),
            long_waits: on("sched_waking")
                .then(|| snapshot.long_waits.iter().map(Into::into).collect()),
            files: on("file_calls").then(|| snapshot.files.iter().map(Into::into).collect()),
            files_unlisted: on("file_calls").then_some(snapshot.files_unlisted),
            epolls: on("file_calls").then(|| snapshot.polls.iter().map(Into::into).collect()),
            syscalls: on("sys_exit").then(|| snapshot.syscalls.iter().map(syscall).collect()),
            memory: part::Memory::new(&snapshot.memory),
            cpu: part::Cpu::new(&snapshot.cpu, on("cpu_sample")),
            gc: on("collection_return")
                .then(|| snapshot.node.collections.iter().map(Into::into).collect()),
            heap: node::Heap::new(snapshot),
            findings: finding::all(snapshot),
        }
    }

    /// The report as JSON, ending in a newline.
    ///
    /// # Errors
    /// Never in practice: every key is a string.
    pub fn json(&self) -> serde_json::Result<String> {
        let mut json = serde_json::to_string_pretty(self)?;
        json.push('\n');
        Ok(json)
    }
}

fn target(process: &ProcessView, tasks: &TasksView) -> Target {
    let known = |text: &String| (!text.is_empty()).then(|| text.clone());
    Target {
        pid: process.pid.0,
        parent_pid: process.parent.0,
        comm: process.comm.clone(),
        exe: known(&process.exe),
        cmdline: known(&process.cmdline),
        runtime: tasks.runtime(process.pid).map(Into::into),
        exit_status: process.exit,
    }
}

fn thread(view: &ThreadView, snapshot: &Snapshot) -> Thread {
    let of = |state| view.times.of(state).0;
    Thread {
        tid: view.tid.map(|tid| tid.0),
        pid: view.pid.map(|pid| pid.0),
        name: view.name.clone(),
        role: view
            .pid
            .zip(view.tid)
            .and_then(|(pid, tid)| snapshot.role(pid, tid))
            .map(Role::name),
        ended: match view.life {
            Life::Alive => 0,
            Life::Ended => 1,
            Life::Folded(count) => count,
        },
        wall_ns: view.wall.0,
        on_cpu_ns: of(State::ON_CPU),
        runnable_ns: of(State::RUNNABLE).saturating_add(of(State::PREEMPTED)),
        preempted_ns: of(State::PREEMPTED),
        off_cpu: OffCpu {
            epoll_ns: of(State::EPOLL),
            futex_ns: of(State::FUTEX),
            disk_ns: of(State::DISK),
            network_ns: of(State::NETWORK),
            page_fault_ns: of(State::PAGE_FAULT),
            sleep_ns: of(State::SLEEP),
            throttled_ns: of(State::THROTTLED),
            other_ns: other(&view.times),
            unknown_ns: of(State::UNKNOWN),
        },
        voluntary_switches: view.times.voluntary,
        involuntary_switches: view.times.involuntary,
        migrations: view.times.migrations,
        runnable_max_ns: view.ready_max.0,
    }
}

/// Every state that has no field of its own, those of later versions included: the sum stays the wall time.
fn other(times: &ThreadTimes) -> u64 {
    const OWN: [State; 11] = [
        State::UNKNOWN,
        State::ON_CPU,
        State::RUNNABLE,
        State::PREEMPTED,
        State::FUTEX,
        State::EPOLL,
        State::DISK,
        State::NETWORK,
        State::PAGE_FAULT,
        State::SLEEP,
        State::THROTTLED,
    ];
    let named = OWN
        .iter()
        .fold(0, |sum: u64, &state| sum.saturating_add(times.of(state).0));
    times.total().0.saturating_sub(named)
}

fn syscall(view: &SyscallView) -> Syscall {
    Syscall {
        name: view.name.clone(),
        count: view.count,
        errors: view.errors,
        errnos: view
            .errnos
            .iter()
            .map(|&(errno, count)| Errno {
                name: crate::human::errno(errno),
                count,
            })
            .collect(),
        total_time_ns: view.inside.0,
        time: (&view.time).into(),
    }
}

impl From<&Distribution> for Time {
    fn from(of: &Distribution) -> Self {
        let measured = |value: tracer_common::Nanos| (of.count > 0).then_some(value.0);
        Self {
            count: of.count,
            sum_ns: of.sum.0,
            p50_ns: measured(of.p50),
            p99_ns: measured(of.p99),
            max_ns: measured(of.max),
        }
    }
}

#[cfg(test)]
mod tests;
