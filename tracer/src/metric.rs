//! The catalogue: id, unit and meaning of the numbers of the JSON report, in one list.
//!
//! A test holds the report against it, both ways. The dashboard's `?` explains its own columns, which are shares and
//! rates of these.

/// The five numbers of a distribution: where it is, what it counts, what its times are.
macro_rules! times {
    ($at:literal, $counts:literal, $sum:literal) => {
        &[
            row(concat!($at, ".count"), "count", $counts),
            row(concat!($at, ".sum_ns"), "ns", $sum),
            row(
                concat!($at, ".p50_ns"),
                "ns",
                "half of them took no longer (6.25 % off at most)",
            ),
            row(
                concat!($at, ".p99_ns"),
                "ns",
                "99 of 100 took no longer (6.25 % off at most)",
            ),
            row(concat!($at, ".max_ns"), "ns", "the longest of them"),
        ]
    };
}

mod callback;
mod event_loop;
mod finding;
mod node;
mod tasks;

/// One number that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name in the JSON report, from the root; `[]` stands for each entry of a list.
    pub id: &'static str,
    /// Its unit: `ns`, `bytes`, `bytes/s`, `count`, `ratio`.
    pub unit: &'static str,
    /// What it says.
    pub means: &'static str,
}

const fn row(id: &'static str, unit: &'static str, means: &'static str) -> Metric {
    Metric { id, unit, means }
}

/// Every number of the JSON report that this version measures.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    METRICS
        .iter()
        .chain(tasks::METRICS.iter().copied().flatten())
        .chain(event_loop::METRICS.iter().copied().flatten())
        .chain(node::METRICS.iter().copied().flatten())
        .chain(callback::METRICS.iter().copied().flatten())
        .chain(finding::METRICS)
}

/// All but those about tasks and event loops, in the order of the report.
const METRICS: &[Metric] = &[
    row("host.cpus", "count", "online CPUs of the machine"),
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
        "quality.processes_folded",
        "count",
        "processes that ended and are no longer listed",
    ),
    row(
        "quality.overhead.target_cpu_ratio",
        "ratio",
        "time the targets paid for probes, of their CPU time: an estimate",
    ),
    row(
        "quality.overhead.probe_time_ns",
        "ns",
        "time in the kernel side's programs on behalf of any process: an estimate",
    ),
    row(
        "quality.overhead.probe_runs",
        "count",
        "runs of those programs: an estimate",
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
    row("quality.stacks.taken", "count", "stacks taken of user code"),
    row(
        "quality.stacks.shallow",
        "count",
        "those that ended after two frames or less: code without frame pointers",
    ),
    row(
        "threads[].ended",
        "count",
        "threads in this row that ended: 0 for a living one",
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
        "threads[].off_cpu.throttled_ns",
        "ns",
        "off its CPU because its cgroup's CPU quota was used up",
    ),
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
        "threads[].runnable_max_ns",
        "ns",
        "the longest it was ready and did not get a CPU",
    ),
    row(
        "in_flight[].now",
        "count",
        "started and not finished, at the last tick",
    ),
    row(
        "in_flight[].mean",
        "count",
        "mean over the ticks, weighted by time",
    ),
    row("in_flight[].max", "count", "the most at a tick"),
    row("locks[].waits", "count", "waits at the futex that slept"),
    row(
        "locks[].wait.count",
        "count",
        "waits that slept: those below",
    ),
    row(
        "locks[].wait.sum_ns",
        "ns",
        "time waited, from leaving the CPU to being woken, over all threads",
    ),
    row(
        "locks[].wait.p50_ns",
        "ns",
        "half of them took no longer (6.25 % off at most)",
    ),
    row(
        "locks[].wait.p99_ns",
        "ns",
        "99 of 100 took no longer (6.25 % off at most)",
    ),
    row("locks[].wait.max_ns", "ns", "the longest of them"),
    row(
        "locks[].woken",
        "count",
        "waits that another thread ended; the others ended by time-out or signal",
    ),
    row("locks[].timeouts", "count", "calls that timed out"),
    row("locks[].interrupted", "count", "calls that a signal ended"),
    row(
        "locks[].again",
        "count",
        "calls that did not sleep because the value had changed: contention without a wait",
    ),
    row(
        "locks[].wake_calls",
        "count",
        "calls to wake or requeue waiters",
    ),
    row(
        "locks[].wake_results",
        "count",
        "waiters those calls woke or requeued",
    ),
    row(
        "locks[].waiting_now",
        "count",
        "threads that wait at it at the last tick",
    ),
    row(
        "locks[].parties.waiters[].count",
        "count",
        "times the thread waited",
    ),
    row(
        "locks[].parties.waiters[].waited_ns",
        "ns",
        "how long it waited in total",
    ),
    row(
        "locks[].parties.wakers[].count",
        "count",
        "times the thread woke",
    ),
    row(
        "locks[].parties.wakers[].waited_ns",
        "ns",
        "how long those it woke had waited in total",
    ),
    row("locks_unlisted", "count", "futexes that are not listed"),
    row(
        "long_waits[].count",
        "count",
        "waits over the threshold in this state from this stack",
    ),
    row("long_waits[].sum_ns", "ns", "their time in total"),
    row("long_waits[].max_ns", "ns", "the longest of them"),
    row(
        "syscalls[].count",
        "count",
        "returns from the call, over all threads",
    ),
    row("syscalls[].errors", "count", "returns with an errno"),
    row(
        "syscalls[].errnos[].count",
        "count",
        "returns with this errno",
    ),
    row(
        "syscalls[].total_time_ns",
        "ns",
        "time inside all of them; where not all were timed, estimated from those that were",
    ),
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
        "files[].reads",
        "count",
        "calls that read or receive, failed ones included",
    ),
    row("files[].read_bytes", "bytes", "what they gave"),
    row(
        "files[].writes",
        "count",
        "calls that write or send, failed ones included",
    ),
    row("files[].write_bytes", "bytes", "what they took"),
    row("files[].connects", "count", "calls to accept and connect"),
    row(
        "files[].errors",
        "count",
        "calls that failed, those that would have had to wait not counted",
    ),
    row(
        "files[].again",
        "count",
        "calls that would have had to wait (EAGAIN)",
    ),
    row(
        "files[].closes",
        "count",
        "times the number was closed; the row is about all that had it",
    ),
    row(
        "files[].time_ns",
        "ns",
        "time inside these calls, blocked or not",
    ),
    row("files[].time_max_ns", "ns", "the longest of them"),
    row("files_unlisted", "count", "descriptors that are not listed"),
    row(
        "epolls[].waits",
        "count",
        "returns from waiting at the epoll descriptor",
    ),
    row(
        "epolls[].empty",
        "count",
        "returns without an event: the time was over",
    ),
    row("epolls[].events", "count", "events those returns gave"),
    row(
        "epolls[].events_max",
        "count",
        "the most events one return gave",
    ),
    row(
        "epolls[].wake_to_return.count",
        "count",
        "waits that slept: those below",
    ),
    row(
        "epolls[].wake_to_return.sum_ns",
        "ns",
        "from being woken to the return, over all waits that slept",
    ),
    row(
        "epolls[].wake_to_return.p50_ns",
        "ns",
        "half of them took no longer (6.25 % off at most)",
    ),
    row(
        "epolls[].wake_to_return.p99_ns",
        "ns",
        "99 of 100 took no longer (6.25 % off at most)",
    ),
    row(
        "epolls[].wake_to_return.max_ns",
        "ns",
        "the longest of them",
    ),
    row(
        "memory.rss_bytes",
        "bytes",
        "resident memory of the living targets",
    ),
    row(
        "memory.pss_bytes",
        "bytes",
        "resident memory with shared pages divided among those who share them",
    ),
    row(
        "memory.swap_bytes",
        "bytes",
        "memory of the living targets that is swapped out",
    ),
    row(
        "memory.rss_slope_bytes_per_s",
        "bytes/s",
        "growth of resident memory: the line through the last minute at most",
    ),
    row(
        "memory.mapped_bytes",
        "bytes",
        "address space mapped: mmap, and what mremap added",
    ),
    row(
        "memory.unmapped_bytes",
        "bytes",
        "address space unmapped: munmap, and what mremap took away",
    ),
    row(
        "memory.brk_bytes",
        "bytes",
        "growth of the heap's end (brk); below 0 when it shrank",
    ),
    row(
        "memory.given_back_bytes",
        "bytes",
        "memory given back and still mapped (madvise)",
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
    row(
        "memory.fault_time_ns",
        "ns",
        "time threads were blocked in page faults",
    ),
    row(
        "memory.fault_cpu_ns",
        "ns",
        "CPU time spent handling page faults, by samples",
    ),
    row(
        "memory.calls[].count",
        "count",
        "memory calls of this kind that succeeded",
    ),
    row(
        "memory.calls[].bytes",
        "bytes",
        "address space they were about",
    ),
    row(
        "memory.by_stack[].samples",
        "count",
        "memory calls sampled from this stack",
    ),
    row(
        "memory.by_stack[].bytes",
        "bytes",
        "bytes those samples stand for: an estimate",
    ),
    row(
        "memory.by_stack[].still_mapped_bytes",
        "bytes",
        "the part of the sampled mappings that is still mapped",
    ),
    row(
        "memory.pressure.some_ratio",
        "ratio",
        "share of the time in which some task of the machine waited for memory (PSI)",
    ),
    row(
        "memory.pressure.full_ratio",
        "ratio",
        "share of the time in which all tasks of the machine waited for memory (PSI)",
    ),
    row(
        "memory.pressure.cgroup_some_ratio",
        "ratio",
        "the same of some task of the first target's cgroup",
    ),
    row(
        "memory.pressure.cgroup_full_ratio",
        "ratio",
        "the same of all tasks of the first target's cgroup",
    ),
    row(
        "cpu.allowed_cpus",
        "count",
        "CPUs the targets may run on (affinity, cpuset): the most any of them may",
    ),
    row(
        "cpu.quota_cpus",
        "count",
        "CPUs' worth of time the cgroup's quota allows: the least of any target",
    ),
    row(
        "cpu.throttled_ns",
        "ns",
        "time the cgroup was throttled for having used up its quota, over all CPUs",
    ),
    row("cpu.samples", "count", "samples of running threads"),
    row("cpu.period_ns", "ns", "CPU time one sample stands for"),
    row("cpu.by_stack[].samples", "count", "samples with this stack"),
    row(
        "cpu.javascript[].samples",
        "count",
        "samples in this function of JavaScript, and in what it calls that is none",
    ),
    row(
        "cpu.javascript[].total_samples",
        "count",
        "samples in it or in anything it calls",
    ),
];
