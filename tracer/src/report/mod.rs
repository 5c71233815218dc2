//! The report: what a snapshot says, in the shape scripts rely on (`tracer.report/1`), and as text for people.
//!
//! Fields are added, never renamed and never given another meaning. What was not measured is `null`, with its
//! reason in `quality.not_measured`, and never 0.

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
    in_flight: Option<()>,
    locks: Option<()>,
    syscalls: Option<Vec<Syscall>>,
    memory: Memory,
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
    agent_cpu_ns: u64,
    agent_rss_bytes: Option<u64>,
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
}

#[derive(Debug, Serialize)]
struct OffCpu {
    epoll_ns: u64,
    futex_ns: u64,
    disk_ns: u64,
    network_ns: u64,
    page_fault_ns: u64,
    sleep_ns: u64,
    other_ns: u64,
    unknown_ns: u64,
}

#[derive(Debug, Serialize)]
struct Syscall {
    name: String,
    count: u64,
    errors: u64,
    time: Time,
}

#[derive(Debug, Serialize)]
struct Time {
    count: u64,
    sum_ns: u64,
    p50_ns: Option<u64>,
    p99_ns: Option<u64>,
    max_ns: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Memory {
    rss_bytes: Option<u64>,
    rss_slope_bytes_per_s: Option<f64>,
    mapped_bytes: Option<u64>,
    unmapped_bytes: Option<u64>,
    brk_bytes: Option<u64>,
    minor_faults: Option<u64>,
    major_faults: Option<u64>,
    fault_time_ns: Option<u64>,
    by_stack: Option<()>,
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
        field: "in_flight",
        why: "in-flight operations are not read in this version",
    },
    NotMeasured {
        field: "locks",
        why: "futex waits are not kept by address in this version",
    },
    NotMeasured {
        field: "gc",
        why: "garbage collection is not probed in this version",
    },
    NotMeasured {
        field: "findings",
        why: "there are no detectors in this version",
    },
    NotMeasured {
        field: "quality.overhead.target_cpu_ratio",
        why: "the slow-down is not estimated in this version",
    },
    NotMeasured {
        field: "quality.overhead.probe_time_ns",
        why: "the kernel's program statistics are not read",
    },
    NotMeasured {
        field: "memory.rss_slope_bytes_per_s, mapped_bytes, unmapped_bytes, brk_bytes, fault_time_ns, by_stack",
        why: "memory calls and fault times are not probed in this version",
    },
];

/// What is missing in `snapshot`, with reasons.
#[must_use]
pub fn not_measured(snapshot: &Snapshot) -> Vec<NotMeasured> {
    let mut missing = NOT_YET.to_vec();
    if !syscalls_were_probed(snapshot) {
        missing.push(NotMeasured {
            field: "syscalls",
            why: "the probe group `syscall` is off or was refused",
        });
    }
    missing
}

fn syscalls_were_probed(snapshot: &Snapshot) -> bool {
    use crate::record::ProbeStatus::{Attached, Degraded};
    snapshot
        .quality
        .probes
        .iter()
        .any(|probe| probe.name == "sys_exit" && matches!(probe.status, Attached | Degraded))
}

impl Report {
    /// The report of a session.
    #[must_use]
    pub fn new(snapshot: &Snapshot) -> Self {
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
                    target_cpu_ratio: None,
                    probe_time_ns: None,
                    agent_cpu_ns: quality.agent_cpu.0,
                    agent_rss_bytes: quality.agent_rss_bytes,
                },
                not_measured: not_measured(snapshot),
            },
            threads: snapshot.threads.iter().map(thread).collect(),
            tasks: None,
            callbacks: None,
            event_loop: None,
            pools: None,
            in_flight: None,
            locks: None,
            syscalls: syscalls_were_probed(snapshot)
                .then(|| snapshot.syscalls.iter().map(syscall).collect()),
            memory: Memory {
                rss_bytes: snapshot.memory.rss_bytes,
                rss_slope_bytes_per_s: None,
                mapped_bytes: None,
                unmapped_bytes: None,
                brk_bytes: None,
                minor_faults: snapshot.memory.minor_faults,
                major_faults: snapshot.memory.major_faults,
                fault_time_ns: None,
                by_stack: None,
            },
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
            other_ns: other(&view.times),
            unknown_ns: of(State::UNKNOWN),
        },
        voluntary_switches: view.times.voluntary,
        involuntary_switches: view.times.involuntary,
        migrations: view.times.migrations,
    }
}

/// Every state that has no field of its own, those of later versions included: the sum stays the wall time.
fn other(times: &ThreadTimes) -> u64 {
    const OWN: [State; 10] = [
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
    ];
    let named = OWN
        .iter()
        .fold(0, |sum: u64, &state| sum.saturating_add(times.of(state).0));
    times.total().0.saturating_sub(named)
}

fn syscall(view: &SyscallView) -> Syscall {
    let Distribution {
        count,
        sum,
        p50,
        p99,
        max,
    } = view.time;
    let measured = |value: tracer_common::Nanos| (count > 0).then_some(value.0);
    Syscall {
        name: view.name.clone(),
        count: view.count,
        errors: view.errors,
        time: Time {
            count,
            sum_ns: sum.0,
            p50_ns: measured(p50),
            p99_ns: measured(p99),
            max_ns: measured(max),
        },
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

    fn sample() -> Snapshot {
        use crate::{
            model::{MemoryView, ThreadView},
            record::{ProbeMeta, ProbeStatus},
        };
        let times = ThreadTimes {
            in_state: std::array::from_fn(|state| 1 << state),
            ..Default::default()
        };
        Snapshot {
            threads: vec![ThreadView {
                wall: times.total(),
                times,
                ..ThreadView::default()
            }],
            syscalls: vec![SyscallView {
                count: 2,
                time: Distribution {
                    count: 1,
                    ..Default::default()
                },
                ..SyscallView::default()
            }],
            memory: MemoryView {
                rss_bytes: Some(1),
                minor_faults: Some(2),
                major_faults: Some(3),
            },
            quality: crate::model::Quality {
                lost: vec![(tracer_common::LossReason::RING_FULL, 1)],
                agent_rss_bytes: Some(4),
                probes: vec![ProbeMeta {
                    name: "sys_exit".into(),
                    status: ProbeStatus::Attached,
                    ..ProbeMeta::default()
                }],
                ..Default::default()
            },
            ..Snapshot::default()
        }
    }

    #[test]
    fn every_measured_number_is_in_the_catalogue_and_the_other_way_round() {
        let json = serde_json::to_value(Report::new(&sample())).unwrap();
        let mut found = Vec::new();
        numbers("", &json, &mut found);
        let described = ["host.cpus", "threads[].ended", "quality.processes_folded"];
        for number in &found {
            let known = METRICS.iter().any(|metric| metric.id == number);
            assert!(
                known || described.contains(&number.as_str()),
                "{number} is not in METRICS"
            );
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
        let json = serde_json::to_value(Report::new(&sample())).unwrap();
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

    #[test]
    fn what_was_not_measured_is_null_with_a_reason() {
        let json = serde_json::to_value(Report::new(&Snapshot::default())).unwrap();
        let reasons = json["quality"]["not_measured"].to_string();
        for (field, value) in json.as_object().unwrap() {
            assert!(
                !value.is_null() || reasons.contains(&format!("\"{field}\"")),
                "{field} is null without a reason"
            );
        }
        assert!(json["syscalls"].is_null(), "no probe, no numbers");
    }
}
