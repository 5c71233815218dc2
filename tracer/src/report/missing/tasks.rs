//! What is missing about tasks, and why: no runtime was recognised, nobody looked, or something is not watched.

use super::{NotMeasured, was_probed};
use crate::{
    human,
    model::{PollerView, Snapshot, TasksView},
    record::TaskKind,
};

/// What takes a runtime.
const OF_RUNTIMES: &[&str] = &[
    "tasks",
    "tasks_unlisted",
    "live_tasks",
    "live_tasks_unlisted",
    "long_polls",
    "workers",
];

/// What takes polls that are watched.
const OF_POLLS: &[&str] = &[
    "tasks[].spawned",
    "tasks[].completed",
    "tasks[].cancelled",
    "tasks[].polls",
    "tasks[].busy",
    "tasks[].lifetime",
    "tasks[].rescheduled",
    "tasks[].long_polls",
    "long_polls",
    "workers",
    "pools[].size",
    "pools[].run",
];

/// What takes wakes that are watched.
const OF_WAKES: &[&str] = &[
    "tasks[].scheduled",
    "tasks[].idle",
    "tasks[].wakes",
    "tasks[].redundant_wakes",
    "tasks[].self_wakes",
    "tasks[].wakers",
];

/// What takes to know which task a thread runs: polls that are watched, or what the runtime keeps for itself.
const OF_TIMES: &[&str] = &["tasks[].off_cpu"];

/// What also takes samples of running threads.
const OF_SAMPLES: &[&str] = &["tasks[].cpu_samples", "tasks[].sampled_cpu_ns"];

/// What takes those samples, or polls that are watched and their long waits.
const OF_STACKS: &[&str] = &["tasks[].stacks"];

/// What is missing in `snapshot`, with reasons.
pub(super) fn not_measured(snapshot: &Snapshot) -> Vec<NotMeasured> {
    let tasks = &snapshot.tasks;
    let mut missing = Vec::new();
    let mut all = |fields: &[&'static str], why: &str| {
        let fields = fields.iter();
        missing.extend(fields.map(|&field| NotMeasured::new(field, why.to_owned())));
    };
    let mut processes = snapshot.processes.iter();
    if processes.any(|process| tasks.runtime(process.pid).is_none()) {
        all(
            &["targets[].runtime"],
            "the process's files were not looked at: no tick has passed, it was gone, or the version that recorded did not",
        );
    }
    if role_is_missing(snapshot) {
        all(
            &["threads[].role"],
            "no runtime with tasks was recognised in its process, or polls are not watched; and it has no event loop",
        );
    }
    let found = tasks.is_recognised();
    let no_runtime = no_runtime(tasks);
    if !found {
        all(OF_RUNTIMES, &no_runtime);
        // Work for libuv's pool stands there too.
        if snapshot.node.works.is_empty() {
            all(&["pools"], &no_runtime);
        }
    }
    if tasks.watched.is_none() {
        let why = if found {
            human::not_watched(&snapshot.quality.probes, "task_poll", "polls")
        } else {
            no_runtime.clone()
        };
        all(
            &["quality.tasks.watched_ratio", "quality.tasks.watch_span_ns"],
            &why,
        );
        if found {
            all(OF_POLLS, &why);
        }
    } else {
        if tasks.types.iter().any(|view| view.spawned.is_none()) {
            all(
                &["tasks[].spawned"],
                "polls are not watched all the time: a task that came may have gone unseen",
            );
        }
        let mut workers = tasks.pollers.iter().filter(|poller| poller.is_worker());
        if workers.any(|worker| worker.busy_ratio(snapshot).is_none()) {
            all(
                &["workers[].busy_ratio"],
                "the thread has ended and is not listed by itself any more",
            );
        }
    }
    if found {
        let are_sampled = was_probed(snapshot, "cpu_sample");
        let off = "the probe group `sample` is off or was refused";
        if !tasks.has_times() {
            let why = human::not_charged(&snapshot.quality.probes);
            for fields in [OF_TIMES, OF_SAMPLES, OF_STACKS] {
                all(fields, &why);
            }
        } else if !are_sampled {
            all(OF_SAMPLES, off);
            if tasks.watched.is_none() {
                all(OF_STACKS, off);
            }
        }
    }
    if tasks.wakes_watched.is_none() {
        let why = if found {
            human::not_watched(&snapshot.quality.probes, "task_wake", "wakes")
        } else {
            no_runtime
        };
        all(&["quality.tasks.wakes_watched_ratio"], &why);
        if found {
            all(OF_WAKES, &why);
        }
        if found && tasks.watched.is_some() && tasks.pollers.iter().any(PollerView::is_worker) {
            all(&["workers[].moved"], &why);
        }
    }
    if !snapshot.node.works.is_empty() {
        let whole = "libuv's pool is followed as a whole: see in_flight";
        all(&["pools[].running_now", "pools[].queued_now"], whole);
    }
    if found {
        let nobody = "the tasks were not found in the process's memory, or nobody has looked yet";
        if !tasks.was_looked_at() {
            all(&["live_tasks", "live_tasks_unlisted"], nobody);
        }
        let ended = "no task of the type was there when the process's memory was read, or nobody has looked yet";
        if tasks.types.iter().any(|view| view.alive.is_none()) {
            all(&["tasks[].live", "tasks[].live_by_state"], ended);
        }
        let blocking = tasks.types_of_tasks();
        let mut blocking = blocking.filter(|view| view.kind == TaskKind::Blocking);
        if blocking.clone().any(|view| view.alive.is_none()) {
            all(&["pools[].running_now", "pools[].queued_now"], ended);
        }
        if blocking.any(|view| view.scheduled.count == 0) {
            all(
                &["pools[].queued"],
                "how long closures waited for a thread takes to see them handed in, which nothing does yet",
            );
        }
    }
    missing
}

/// Why no runtime was recognised.
fn no_runtime(tasks: &TasksView) -> String {
    if tasks.runtimes.is_empty() {
        "no process was looked at for a runtime".to_owned()
    } else if tasks.is_node() {
        "Node.js has no tasks".to_owned()
    } else {
        format!(
            "no tokio was recognised in the {} files that were checked",
            tasks.files_checked()
        )
    }
}

/// True when a thread that is listed by itself has no role.
fn role_is_missing(snapshot: &Snapshot) -> bool {
    let threads = snapshot.threads.iter();
    let mut ids = threads.filter_map(|thread| thread.pid.zip(thread.tid));
    ids.any(|(pid, tid)| snapshot.role(pid, tid).is_none())
}
