//! The numbers about tasks of async runtimes.

use super::{Metric, row};

/// All of them, in the order of the report. Where polls are watched only at times, counts and sums are extrapolated.
pub(super) const METRICS: &[&[Metric]] = &[
    &[
        row(
            "targets[].runtime.files",
            "count",
            "files of the process that were looked at for a runtime",
        ),
        row(
            "quality.tasks.watched_ratio",
            "ratio",
            "share of the time in which polls were watched; counts and sums are extrapolated from it",
        ),
        row(
            "quality.tasks.wakes_watched_ratio",
            "ratio",
            "the same of wakes",
        ),
        row(
            "quality.tasks.watch_span_ns",
            "ns",
            "from when polls were first watched to the last reading: what counts of tasks are about",
        ),
        row(
            "tasks[].live",
            "count",
            "tasks that are there and have not ended, at the last look",
        ),
        row(
            "tasks[].live_by_state.running",
            "count",
            "those that a thread polls",
        ),
        row(
            "tasks[].live_by_state.queued",
            "count",
            "those that wait for a thread",
        ),
        row(
            "tasks[].live_by_state.idle",
            "count",
            "those that wait to be woken",
        ),
        row(
            "tasks[].live_by_state.complete",
            "count",
            "tasks that have ended, but whose result nobody has taken: not in `live`",
        ),
        row(
            "tasks[].spawned",
            "count",
            "tasks that came since polls are watched",
        ),
        row(
            "tasks[].completed",
            "count",
            "tasks that ended, aborted ones included",
        ),
        row("tasks[].cancelled", "count", "those that were aborted"),
        row(
            "tasks[].polls",
            "count",
            "polls; of the blocking pool, runs of the closure",
        ),
    ],
    times!(
        "tasks[].busy",
        "polls that were seen to end: those below",
        "time inside polls, on a CPU or not"
    ),
    times!(
        "tasks[].scheduled",
        "times a woken task was seen to be polled: those below",
        "from the wake to the poll: the runtime's queue"
    ),
    times!(
        "tasks[].idle",
        "times a task was seen to be woken: those below",
        "from the end of a poll to the wake: waiting for something"
    ),
    times!(
        "tasks[].lifetime",
        "tasks that were seen to come and to end: those below",
        "from the first sight of a task to its end"
    ),
    &[
        row(
            "tasks[].rescheduled",
            "count",
            "polls that ended with the task queued again: it was woken meanwhile",
        ),
        row("tasks[].wakes", "count", "times a task was woken"),
        row(
            "tasks[].redundant_wakes",
            "count",
            "wakes of a task that was queued already or had ended",
        ),
        row(
            "tasks[].self_wakes",
            "count",
            "wakes that a task gave itself while it was polled",
        ),
        row(
            "tasks[].long_polls",
            "count",
            "polls longer than the threshold; closures of the blocking pool are none",
        ),
        row(
            "tasks[].off_cpu.ready_ns",
            "ns",
            "inside polls: the thread was ready and waited for a CPU; charged also while polls are not watched, where it is known which task a thread runs",
        ),
        row(
            "tasks[].off_cpu.futex_ns",
            "ns",
            "inside polls: it waited for a futex, so for another thread",
        ),
        row(
            "tasks[].off_cpu.io_ns",
            "ns",
            "inside polls: it waited for storage, sockets or epoll",
        ),
        row(
            "tasks[].off_cpu.page_fault_ns",
            "ns",
            "inside polls: it waited for a page of memory",
        ),
        row(
            "tasks[].off_cpu.other_ns",
            "ns",
            "inside polls: it slept or waited for something else",
        ),
        row(
            "tasks[].cpu_samples",
            "count",
            "samples of running threads that polled one of these tasks, polls watched or not",
        ),
        row(
            "tasks[].sampled_cpu_ns",
            "ns",
            "the CPU time those samples stand for",
        ),
        row(
            "tasks[].stacks[].time_ns",
            "ns",
            "time inside polls found at this stack, by samples and long waits",
        ),
        row(
            "tasks[].wakers[].count",
            "count",
            "wakes by tasks of this type; without a type, by the runtime or another thread",
        ),
        row(
            "tasks_unlisted",
            "count",
            "types of tasks that are not listed",
        ),
        row(
            "live_tasks[].age_ns",
            "ns",
            "since the task was first seen, not since it was spawned",
        ),
        row(
            "live_tasks[].polled_for_ns",
            "ns",
            "how long the poll that goes on has taken so far",
        ),
        row(
            "live_tasks_unlisted",
            "count",
            "tasks that are there and not listed",
        ),
        row(
            "long_polls[].start_ns",
            "ns",
            "when the poll began, since the accounting did",
        ),
        row("long_polls[].busy_ns", "ns", "how long it took"),
        row(
            "long_polls[].off_cpu.ready_ns",
            "ns",
            "the part in which the thread was ready and waited for a CPU",
        ),
        row(
            "long_polls[].off_cpu.futex_ns",
            "ns",
            "the part in which it waited for a futex",
        ),
        row(
            "long_polls[].off_cpu.io_ns",
            "ns",
            "the part in which it waited for storage, sockets or epoll",
        ),
        row(
            "long_polls[].off_cpu.page_fault_ns",
            "ns",
            "the part in which it waited for a page of memory",
        ),
        row(
            "long_polls[].off_cpu.other_ns",
            "ns",
            "the part in which it slept or waited for something else",
        ),
        row("workers[].polls", "count", "polls of futures by the thread"),
        row("workers[].busy_ns", "ns", "time in them"),
        row(
            "workers[].blocking",
            "count",
            "closures of the blocking pool that it ran",
        ),
        row("workers[].blocking_busy_ns", "ns", "time in them"),
        row(
            "workers[].busy_ratio",
            "ratio",
            "share of its time in polls and closures since polls are watched",
        ),
        row(
            "workers[].parks",
            "count",
            "times it went to sleep outside of them, at a futex or in epoll: parks that did not sleep are none",
        ),
        row(
            "workers[].moved",
            "count",
            "polls of a task that another thread which polls had woken: stolen, or from a shared queue; a task's first poll is none",
        ),
        row(
            "pools[].size",
            "count",
            "threads of the process that ran closures, of any type",
        ),
    ],
    times!(
        "pools[].queued",
        "closures whose way to a thread was seen: those below",
        "from handing them in to their start"
    ),
    times!(
        "pools[].run",
        "closures that were seen to end: those below",
        "time inside them"
    ),
    &[
        row(
            "pools[].running_now",
            "count",
            "closures that a thread runs, at the last look",
        ),
        row(
            "pools[].queued_now",
            "count",
            "closures that wait for a thread, at the last look",
        ),
    ],
];
