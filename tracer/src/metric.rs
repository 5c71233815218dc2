//! The catalogue: id, unit and meaning of the numbers of the JSON report, in one list.
//!
//! A test holds the report against it, both ways. The dashboard's `?` explains its own columns, which are shares and
//! rates of these.

/// One number that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name in the JSON report, from the root; `[]` stands for each entry of a list.
    pub id: &'static str,
    /// Its unit: `ns`, `bytes`, `count`, `ratio`.
    pub unit: &'static str,
    /// What it says.
    pub means: &'static str,
}

const fn row(id: &'static str, unit: &'static str, means: &'static str) -> Metric {
    Metric { id, unit, means }
}

/// Every number of the JSON report that this version measures.
pub const METRICS: &[Metric] = &[
    row(
        "window.start_unix_ns",
        "ns",
        "start of the accounting, since the Unix epoch",
    ),
    row("window.duration_ns", "ns", "length of the accounting"),
    row("quality.events", "count", "events received from the kernel"),
    row(
        "quality.lost[].count",
        "count",
        "what is known to be missing, by reason",
    ),
    row(
        "quality.inconsistent",
        "count",
        "records that made no sense and were skipped",
    ),
    row(
        "quality.overhead.agent_cpu_ns",
        "ns",
        "CPU time of tracer itself, all its threads",
    ),
    row(
        "quality.overhead.agent_rss_bytes",
        "bytes",
        "resident memory of tracer itself",
    ),
    row(
        "threads[].wall_ns",
        "ns",
        "accounted time of the thread: the sum of the times below",
    ),
    row("threads[].on_cpu_ns", "ns", "on a CPU"),
    row(
        "threads[].runnable_ns",
        "ns",
        "ready, waiting for a CPU (run queue latency)",
    ),
    row(
        "threads[].preempted_ns",
        "ns",
        "the part of runnable_ns after it was taken off its CPU",
    ),
    row(
        "threads[].off_cpu.epoll_ns",
        "ns",
        "blocked in epoll, poll or select: idle",
    ),
    row(
        "threads[].off_cpu.futex_ns",
        "ns",
        "blocked in a futex: a lock, a condition variable, a parked worker",
    ),
    row(
        "threads[].off_cpu.disk_ns",
        "ns",
        "blocked in a call on files that waits for storage",
    ),
    row(
        "threads[].off_cpu.network_ns",
        "ns",
        "blocked in a socket call",
    ),
    row(
        "threads[].off_cpu.page_fault_ns",
        "ns",
        "blocked in a page fault",
    ),
    row("threads[].off_cpu.sleep_ns", "ns", "blocked in nanosleep"),
    row(
        "threads[].off_cpu.other_ns",
        "ns",
        "blocked in anything else: read, write, wait, ioctl, stopped",
    ),
    row(
        "threads[].off_cpu.unknown_ns",
        "ns",
        "met in the middle of something that could not be read",
    ),
    row(
        "threads[].voluntary_switches",
        "count",
        "times it left its CPU to wait",
    ),
    row(
        "threads[].involuntary_switches",
        "count",
        "times it was taken off its CPU",
    ),
    row(
        "threads[].migrations",
        "count",
        "times it came back on another CPU",
    ),
    row(
        "syscalls[].count",
        "count",
        "returns from the call, over all threads",
    ),
    row("syscalls[].errors", "count", "returns with an errno"),
    row(
        "syscalls[].time.count",
        "count",
        "returns whose entry was seen too: those below",
    ),
    row(
        "syscalls[].time.sum_ns",
        "ns",
        "time spent in the call, blocked or not",
    ),
    row(
        "syscalls[].time.p50_ns",
        "ns",
        "half of the calls took no longer (6.25 % off at most)",
    ),
    row(
        "syscalls[].time.p99_ns",
        "ns",
        "99 of 100 calls took no longer (6.25 % off at most)",
    ),
    row("syscalls[].time.max_ns", "ns", "the longest call"),
    row(
        "memory.rss_bytes",
        "bytes",
        "resident memory of the living targets",
    ),
    row(
        "memory.minor_faults",
        "count",
        "page faults without I/O since attach",
    ),
    row(
        "memory.major_faults",
        "count",
        "page faults with I/O since attach",
    ),
];
