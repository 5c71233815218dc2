//! The report: what a snapshot says, in the shape scripts rely on (`tracer.report/1`), and as text for people.
//!
//! Fields are added, never renamed and never given another meaning. What was not measured is `null`, with its
//! reason in `quality.not_measured`, and never 0.

#[cfg(test)]
mod example;
mod part;
mod text;

use serde::Serialize;
use tracer_common::{State, ThreadTimes};

pub use text::text;

use crate::model::{Distribution, Life, ProcessView, Snapshot, SyscallView, ThreadView};

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
    tasks: Option<()>,
    callbacks: Option<()>,
    #[serde(rename = "loop")]
    event_loop: Option<()>,
    pools: Option<()>,
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
    gc: Option<()>,
    findings: Option<()>,
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
    runtime: Option<()>,
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

/// Why a field is `null`.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct NotMeasured {
    /// The field, from the root.
    pub field: &'static str,
    /// Why it has no value.
    pub why: &'static str,
}

#[derive(Debug, Serialize)]
struct Thread {
    /// `null` for several ended threads of one name in one row.
    tid: Option<u32>,
    pid: Option<u32>,
    name: String,
    role: Option<()>,
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

/// Parts of the report that this version has no probe for.
const NOT_YET: &[NotMeasured] = &[
    NotMeasured {
        field: "targets[].runtime",
        why: "runtimes are not recognised in this version",
    },
    NotMeasured {
        field: "threads[].role",
        why: "needs the runtime",
    },
    NotMeasured {
        field: "tasks",
        why: "tokio tasks are not read in this version",
    },
    NotMeasured {
        field: "callbacks",
        why: "Node callbacks are not probed in this version",
    },
    NotMeasured {
        field: "loop",
        why: "the event loop is not probed in this version",
    },
    NotMeasured {
        field: "pools",
        why: "blocking pools are not probed in this version",
    },
    NotMeasured {
        field: "gc",
        why: "garbage collection is not probed in this version",
    },
    NotMeasured {
        field: "findings",
        why: "there are no detectors in this version",
    },
];

/// Fields that one probe gives, and that are `null` without it.
const OF_PROBES: &[(&str, &str, &[&str])] = &[
    (
        "sys_exit",
        "the probe group `syscall` is off or was refused",
        &[
            "syscalls",
            "locks[].timeouts",
            "locks[].interrupted",
            "locks[].again",
            "locks[].wake_calls",
            "locks[].wake_results",
        ],
    ),
    (
        "futex_waits",
        "the probe group `lock` is off or was refused",
        &["locks", "locks_unlisted"],
    ),
    (
        "sched_waking",
        "the probe group `lock` is off or was refused",
        &["long_waits"],
    ),
    (
        "file_calls",
        "the probe group `io` is off or was refused",
        &["files", "files_unlisted", "epolls"],
    ),
    (
        "memory_calls",
        "the probe group `memory` is off or was refused",
        &[
            "memory.mapped_bytes",
            "memory.unmapped_bytes",
            "memory.brk_bytes",
            "memory.given_back_bytes",
            "memory.calls",
            "memory.by_stack",
        ],
    ),
    (
        "cpu_sample",
        "the probe group `sample` is off or was refused",
        &["cpu.samples", "cpu.period_ns", "cpu.by_stack"],
    ),
];

/// What is missing in `snapshot`, with reasons.
#[must_use]
pub fn not_measured(snapshot: &Snapshot) -> Vec<NotMeasured> {
    let mut missing = NOT_YET.to_vec();
    for (probe, why, fields) in OF_PROBES {
        if !was_probed(snapshot, probe) {
            missing.extend(fields.iter().map(|field| NotMeasured { field, why }));
        }
    }
    let (quality, memory, cpu) = (&snapshot.quality, &snapshot.memory, &snapshot.cpu);
    let not_counted = "the kernel did not count the runs of programs (it may need CAP_SYS_ADMIN), or no tick has passed";
    let unreadable = "it could not be read, or no tick has passed";
    let no_pressure = "the kernel does not tell, or there is no such cgroup";
    let of_values = [
        (
            quality.target_cpu_ratio.is_none(),
            "quality.overhead.target_cpu_ratio",
            not_counted,
        ),
        (
            quality.probe_time.is_none(),
            "quality.overhead.probe_time_ns",
            not_counted,
        ),
        (
            quality.probe_runs.is_none(),
            "quality.overhead.probe_runs",
            not_counted,
        ),
        (
            quality.agent_rss_bytes.is_none(),
            "quality.overhead.agent_rss_bytes",
            unreadable,
        ),
        (
            snapshot.in_flight.is_empty(),
            "in_flight",
            "the targets' descriptors could not be read",
        ),
        (memory.rss_bytes.is_none(), "memory.rss_bytes", unreadable),
        (memory.pss_bytes.is_none(), "memory.pss_bytes", unreadable),
        (memory.swap_bytes.is_none(), "memory.swap_bytes", unreadable),
        (
            memory.minor_faults.is_none(),
            "memory.minor_faults",
            unreadable,
        ),
        (
            memory.major_faults.is_none(),
            "memory.major_faults",
            unreadable,
        ),
        (
            memory.rss_slope.is_none(),
            "memory.rss_slope_bytes_per_s",
            "takes five ticks",
        ),
        (
            memory.fault_cpu.is_none(),
            "memory.fault_cpu_ns",
            "there are no samples of running threads",
        ),
        (
            memory.pressure_some.is_none(),
            "memory.pressure.some_ratio",
            no_pressure,
        ),
        (
            memory.pressure_full.is_none(),
            "memory.pressure.full_ratio",
            no_pressure,
        ),
        (
            memory.cgroup_pressure.is_none(),
            "memory.pressure.cgroup_some_ratio",
            no_pressure,
        ),
        (
            memory.cgroup_pressure.is_none(),
            "memory.pressure.cgroup_full_ratio",
            no_pressure,
        ),
        (cpu.allowed.is_none(), "cpu.allowed_cpus", unreadable),
        (cpu.throttled.is_none(), "cpu.throttled_ns", no_pressure),
    ];
    let absent = of_values.into_iter().filter(|&(absent, ..)| absent);
    missing.extend(absent.map(|(_, field, why)| NotMeasured { field, why }));
    missing
}

fn was_probed(snapshot: &Snapshot, name: &str) -> bool {
    use crate::record::ProbeStatus::{Attached, Degraded};
    snapshot
        .quality
        .probes
        .iter()
        .any(|probe| probe.name == name && matches!(probe.status, Attached | Degraded))
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
            targets: snapshot.processes.iter().map(target).collect(),
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
                not_measured: not_measured(snapshot),
            },
            threads: snapshot.threads.iter().map(thread).collect(),
            tasks: None,
            callbacks: None,
            event_loop: None,
            pools: None,
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
            gc: None,
            findings: None,
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

fn target(process: &ProcessView) -> Target {
    let known = |text: &String| (!text.is_empty()).then(|| text.clone());
    Target {
        pid: process.pid.0,
        parent_pid: process.parent.0,
        comm: process.comm.clone(),
        exe: known(&process.exe),
        cmdline: known(&process.cmdline),
        runtime: None,
        exit_status: process.exit,
    }
}

fn thread(view: &ThreadView) -> Thread {
    let of = |state| view.times.of(state).0;
    Thread {
        tid: view.tid.map(|tid| tid.0),
        pid: view.pid.map(|pid| pid.0),
        name: view.name.clone(),
        role: None,
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
mod tests {
    use super::*;
    use crate::metric::METRICS;

    /// Walks every number of the report.
    fn numbers(at: &str, value: &serde_json::Value, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(members) => {
                for (name, value) in members {
                    let path = if at.is_empty() {
                        name.clone()
                    } else {
                        format!("{at}.{name}")
                    };
                    numbers(&path, value, found);
                }
            }
            serde_json::Value::Array(items) => {
                items
                    .iter()
                    .for_each(|item| numbers(&format!("{at}[]"), item, found));
            }
            serde_json::Value::Number(_) => found.push(at.to_owned()),
            serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::String(_) => {
            }
        }
    }

    #[test]
    fn every_measured_number_is_in_the_catalogue_and_the_other_way_round() {
        let json = serde_json::to_value(Report::new(&example::snapshot())).unwrap();
        let mut found = Vec::new();
        numbers("", &json, &mut found);
        // Numbers that name something and measure nothing.
        found.retain(|path| {
            let name = path.rsplit('.').next().unwrap();
            !["pid", "parent_pid", "tid", "fd", "exit_status"].contains(&name)
        });
        for number in &found {
            let known = METRICS.iter().any(|metric| metric.id == number);
            assert!(known, "{number} is not in METRICS");
        }
        for metric in METRICS {
            assert!(
                found.iter().any(|number| number == metric.id),
                "{} is never shown",
                metric.id
            );
        }
    }

    #[test]
    fn the_parts_of_a_thread_add_up_to_its_wall_time_whatever_the_states() {
        let json = serde_json::to_value(Report::new(&example::snapshot())).unwrap();
        let thread = &json["threads"][0];
        let off_cpu: u64 = thread["off_cpu"]
            .as_object()
            .unwrap()
            .values()
            .map(|part| part.as_u64().unwrap())
            .sum();
        let sum = off_cpu
            + thread["on_cpu_ns"].as_u64().unwrap()
            + thread["runnable_ns"].as_u64().unwrap();
        assert_eq!(sum, thread["wall_ns"].as_u64().unwrap());
    }

    /// Walks every `null` of the report.
    fn nulls(at: &str, value: &serde_json::Value, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(members) => {
                for (name, value) in members {
                    let path = format!("{at}.{name}");
                    nulls(path.trim_start_matches('.'), value, found);
                }
            }
            serde_json::Value::Array(items) => {
                items
                    .iter()
                    .for_each(|item| nulls(&format!("{at}[]"), item, found));
            }
            serde_json::Value::Null => found.push(at.to_owned()),
            serde_json::Value::Number(_)
            | serde_json::Value::Bool(_)
            | serde_json::Value::String(_) => {}
        }
    }

    fn nulls_and_reasons(snapshot: &Snapshot) -> (Vec<String>, Vec<String>) {
        let json = serde_json::to_value(Report::new(snapshot)).unwrap();
        let mut found = Vec::new();
        nulls("", &json, &mut found);
        let reasons = json["quality"]["not_measured"].as_array().unwrap();
        let fields = reasons
            .iter()
            .map(|reason| reason["field"].as_str().unwrap().to_owned());
        (found, fields.collect())
    }

    #[test]
    fn what_was_not_measured_is_null_with_a_reason() {
        let (nulls, reasons) = nulls_and_reasons(&Snapshot::default());
        assert!(
            nulls.contains(&"syscalls".to_owned()),
            "no probe, no numbers"
        );
        for field in nulls.iter().filter(|field| *field != "cpu.quota_cpus") {
            assert!(reasons.contains(field), "{field} is null without a reason");
        }
        for field in reasons.iter().filter(|field| !field.contains("[]")) {
            assert!(nulls.contains(field), "{field} has a value and a reason");
        }
    }

    #[test]
    fn what_was_measured_has_a_value_and_no_reason() {
        let (nulls, reasons) = nulls_and_reasons(&example::snapshot());
        let not_yet: Vec<&str> = NOT_YET.iter().map(|missing| missing.field).collect();
        assert_eq!(reasons, not_yet);
        // Those that say something by being absent: it lives, it is not known by name, none was timed.
        let says_so = [
            "targets[].exit_status",
            "files[].kind",
            "files[].name",
            "threads[].pid",
            "threads[].tid",
        ];
        for field in &nulls {
            assert!(
                reasons.contains(field) || says_so.contains(&field.as_str()),
                "{field} is null"
            );
        }
    }
}
