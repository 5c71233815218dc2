//! What a report does not have, and why: a number that was not measured is absent, with its reason, and never 0.

mod callback;
mod event_loop;
mod heap;
mod in_flight;
mod tasks;

use std::borrow::Cow;

use serde::Serialize;

use crate::model::Snapshot;

/// Why a field is `null`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotMeasured {
    /// The field, from the root.
    pub field: &'static str,
    /// Why it has no value.
    pub why: Cow<'static, str>,
}

impl NotMeasured {
    fn new(field: &'static str, why: impl Into<Cow<'static, str>>) -> Self {
        let why = why.into();
        Self { field, why }
    }
}

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
        &[
            "cpu.samples",
            "cpu.period_ns",
            "cpu.by_stack",
            "cpu.javascript",
        ],
    ),
];

/// Fields that take Node in a target.
const OF_NODE: &[(&str, &str)] = &[("collection_return", "gc")];

/// What is missing in `snapshot`, with reasons.
#[must_use]
pub fn not_measured(snapshot: &Snapshot) -> Vec<NotMeasured> {
    let mut missing = Vec::new();
    if snapshot.findings.checked.is_none() {
        let why = "nothing is concluded from less than 3 seconds";
        let fields = ["findings", "quality.findings.checked"];
        missing.extend(fields.map(|field| NotMeasured::new(field, why)));
    }
    for &(probe, why, fields) in OF_PROBES {
        if !was_probed(snapshot, probe) {
            missing.extend(fields.iter().map(|field| NotMeasured::new(field, why)));
        }
    }
    for &(probe, field) in OF_NODE {
        if !was_probed(snapshot, probe) {
            let known = snapshot.quality.probes.iter();
            let why = known.filter(|known| known.name == probe);
            let why = why.map(|known| known.why.clone()).next();
            let why = why.filter(|why| !why.is_empty());
            let unknown = "those who recorded knew no probe for it";
            missing.push(NotMeasured::new(
                field,
                why.unwrap_or_else(|| unknown.to_owned()),
            ));
        }
    }
    missing.extend(tasks::not_measured(snapshot));
    missing.extend(event_loop::not_measured(snapshot));
    missing.extend(callback::not_measured(snapshot));
    missing.extend(in_flight::not_measured(snapshot));
    missing.extend(heap::not_measured(snapshot));
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
    missing.extend(absent.map(|(_, field, why)| NotMeasured::new(field, why)));
    missing
}

pub(super) fn was_probed(snapshot: &Snapshot, name: &str) -> bool {
    use crate::record::ProbeStatus::{Attached, Degraded};
    snapshot
        .quality
        .probes
        .iter()
        .any(|probe| probe.name == name && matches!(probe.status, Attached | Degraded))
}
