//! Numbers about event loops.

use super::{Metric, row};

/// Those of one loop.
macro_rules! numbers {
    ($at:literal) => {
        &[
            row(
                concat!($at, ".iterations"),
                "count",
                "times the loop began to wait for events",
            ),
            row(
                concat!($at, ".waits"),
                "count",
                "returns of its waits: Node asks what is there already, then waits, in one iteration",
            ),
            row(concat!($at, ".events"), "count", "events they gave"),
            row(
                concat!($at, ".delay.count"),
                "count",
                "iterations that have ended: those below",
            ),
            row(
                concat!($at, ".delay.sum_ns"),
                "ns",
                "time from the return of one wait to the entry of the next",
            ),
            row(
                concat!($at, ".delay.p50_ns"),
                "ns",
                "half of them took no longer (6.25 % off at most)",
            ),
            row(
                concat!($at, ".delay.p99_ns"),
                "ns",
                "99 of 100 took no longer (6.25 % off at most)",
            ),
            row(concat!($at, ".delay.max_ns"), "ns", "the longest of them"),
            row(
                concat!($at, ".utilization_ratio"),
                "ratio",
                "active_ns of active_ns and idle_ns, as eventLoopUtilization",
            ),
            row(
                concat!($at, ".active_ns"),
                "ns",
                "time outside waits that may block, what goes on included",
            ),
            row(
                concat!($at, ".idle_ns"),
                "ns",
                "time in waits that may block, from entry to return",
            ),
            row(
                concat!($at, ".long"),
                "count",
                "iterations longer than the threshold of 10 ms",
            ),
            row(
                concat!($at, ".off_cpu.ready_ns"),
                "ns",
                "the part of delay.sum_ns in which the thread was ready and waited for a CPU",
            ),
            row(
                concat!($at, ".off_cpu.futex_ns"),
                "ns",
                "the part in which it waited for a futex",
            ),
            row(
                concat!($at, ".off_cpu.io_ns"),
                "ns",
                "the part in which it waited for storage, sockets or another epoll descriptor",
            ),
            row(
                concat!($at, ".off_cpu.page_fault_ns"),
                "ns",
                "the part in which it waited for a page of memory",
            ),
            row(
                concat!($at, ".off_cpu.other_ns"),
                "ns",
                "the part in which it slept or waited for something else",
            ),
        ]
    };
}

/// All of them, in the order of the report. Those at the top are of the first target's main thread.
pub(super) const METRICS: &[&[Metric]] = &[
    numbers!("loop"),
    numbers!("loop.loops[]"),
    &[
        row("loop.loops_unlisted", "count", "loops that are not listed"),
        row(
            "loop.long_iterations[].start_ns",
            "ns",
            "when the iteration began, since the accounting did",
        ),
        row(
            "loop.long_iterations[].busy_ns",
            "ns",
            "how long it took, until the next wait for events",
        ),
        row(
            "loop.long_iterations[].off_cpu.ready_ns",
            "ns",
            "the part in which the thread was ready and waited for a CPU",
        ),
        row(
            "loop.long_iterations[].off_cpu.futex_ns",
            "ns",
            "the part in which it waited for a futex",
        ),
        row(
            "loop.long_iterations[].off_cpu.io_ns",
            "ns",
            "the part in which it waited for storage, sockets or another epoll descriptor",
        ),
        row(
            "loop.long_iterations[].off_cpu.page_fault_ns",
            "ns",
            "the part in which it waited for a page of memory",
        ),
        row(
            "loop.long_iterations[].off_cpu.other_ns",
            "ns",
            "the part in which it slept or waited for something else",
        ),
    ],
];
