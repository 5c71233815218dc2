//! Tasks of async runtimes in the JSON report: types, those that are there, long polls, who polls.
//!
//! What comes from watched polls is `null` while they are not watched, and what takes wakes likewise. Waits and CPU
//! samples are charged to types also when only the task that a thread runs is known.

use serde::Serialize;
use tracer_common::{Nanos, task::OFF_PARTS};

use super::{Time, part::frames};
use crate::{
    model::{
        AliveView, LongPollView, NodeView, PollerView, Snapshot, TaskStackView, TaskTypeView,
        TaskView, TasksView, WorkView,
    },
    record::{RuntimeMeta, TaskKind},
};

/// The runtime whose tasks are read.
const TOKIO: &str = "tokio";

fn known(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn kind(kind: TaskKind) -> &'static str {
    match kind {
        TaskKind::Async => "async",
        TaskKind::Blocking => "blocking",
    }
}

/// What a process runs on.
#[derive(Debug, Serialize)]
pub(super) struct Runtime {
    /// `node` or `tokio`; `native` when none was recognised.
    kind: String,
    /// `null` when the files do not tell.
    version: Option<String>,
    module: Option<String>,
    /// Files that were looked at.
    files: u32,
    /// What cannot be had and why.
    notes: Vec<String>,
}

impl From<&RuntimeMeta> for Runtime {
    fn from(meta: &RuntimeMeta) -> Self {
        Self {
            kind: meta.kind.clone(),
            version: known(&meta.version),
            module: known(&meta.module),
            files: meta.files,
            notes: meta.notes.clone(),
        }
    }
}

/// How far the numbers about tasks can be trusted.
#[derive(Debug, Serialize)]
pub(super) struct Quality {
    watched_ratio: Option<f64>,
    wakes_watched_ratio: Option<f64>,
    /// Counts and sums are estimates.
    sampled: bool,
    watch_span_ns: Option<u64>,
}

impl From<&TasksView> for Quality {
    fn from(view: &TasksView) -> Self {
        Self {
            watched_ratio: view.watched,
            wakes_watched_ratio: view.wakes_watched,
            sampled: view.is_sampled(),
            watch_span_ns: view.watched.map(|_| view.watch_span.0),
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Task {
    #[serde(rename = "type")]
    name: String,
    source: Option<String>,
    runtime: &'static str,
    kind: &'static str,
    raw_type: Option<String>,
    pid: u32,
    live: Option<u64>,
    live_by_state: Option<States>,
    spawned: Option<u64>,
    completed: Option<u64>,
    cancelled: Option<u64>,
    polls: Option<u64>,
    busy: Option<Time>,
    scheduled: Option<Time>,
    idle: Option<Time>,
    lifetime: Option<Time>,
    rescheduled: Option<u64>,
    wakes: Option<u64>,
    redundant_wakes: Option<u64>,
    self_wakes: Option<u64>,
    long_polls: Option<u64>,
    off_cpu: Option<OffCpu>,
    cpu_samples: Option<u64>,
    sampled_cpu_ns: Option<u64>,
    stacks: Option<Vec<Stack>>,
    wakers: Option<Vec<Waker>>,
}

/// Tasks that are there, by what they are doing.
#[derive(Debug, Serialize)]
struct States {
    running: u64,
    queued: u64,
    idle: u64,
    complete: u64,
}

impl From<AliveView> for States {
    fn from(view: AliveView) -> Self {
        Self {
            running: view.running,
            queued: view.queued,
            idle: view.idle,
            complete: view.complete,
        }
    }
}

/// Time inside polls, or iterations of an event loop, in which the thread was not on a CPU.
#[derive(Debug, Serialize)]
pub(super) struct OffCpu {
    ready_ns: u64,
    futex_ns: u64,
    io_ns: u64,
    page_fault_ns: u64,
    other_ns: u64,
}

impl From<[Nanos; OFF_PARTS]> for OffCpu {
    fn from([ready, futex, io, fault, other]: [Nanos; OFF_PARTS]) -> Self {
        Self {
            ready_ns: ready.0,
            futex_ns: futex.0,
            io_ns: io.0,
            page_fault_ns: fault.0,
            other_ns: other.0,
        }
    }
}

#[derive(Debug, Serialize)]
struct Stack {
    time_ns: u64,
    stack: Vec<String>,
}

impl From<&TaskStackView> for Stack {
    fn from(view: &TaskStackView) -> Self {
        Self {
            time_ns: view.time.0,
            stack: frames(&view.stack),
        }
    }
}

#[derive(Debug, Serialize)]
struct Waker {
    /// `null` for no task: the runtime's drivers, or another thread.
    #[serde(rename = "type")]
    name: Option<String>,
    count: u64,
}

impl Task {
    /// `are_sampled`: whether running threads are.
    fn new(view: &TaskTypeView, tasks: &TasksView, are_sampled: bool) -> Self {
        let polls_watched = tasks.watched.is_some();
        let wakes_watched = tasks.wakes_watched.is_some();
        let of_polls = |count: u64| polls_watched.then_some(count);
        let has_times = tasks.has_times();
        let sampled = has_times && are_sampled;
        // Without watched polls no wait is known to be in one.
        let has_stacks = polls_watched || sampled;
        Self {
            name: view.name.clone(),
            source: known(&view.source()),
            runtime: TOKIO,
            kind: kind(view.kind),
            raw_type: known(&view.raw_name),
            pid: view.pid.0,
            live: view.alive.map(|alive| alive.unfinished()),
            live_by_state: view.alive.map(Into::into),
            spawned: view.spawned.filter(|_| polls_watched),
            completed: of_polls(view.completed),
            cancelled: of_polls(view.cancelled),
            polls: of_polls(view.polls),
            busy: polls_watched.then(|| (&view.busy).into()),
            scheduled: wakes_watched.then(|| (&view.scheduled).into()),
            idle: wakes_watched.then(|| (&view.idle).into()),
            lifetime: polls_watched.then(|| (&view.lifetime).into()),
            rescheduled: of_polls(view.rescheduled),
            wakes: view.wakes,
            redundant_wakes: view.redundant_wakes,
            self_wakes: view.self_wakes,
            long_polls: of_polls(view.long_polls),
            off_cpu: has_times.then(|| view.off.into()),
            cpu_samples: sampled.then_some(view.samples),
            sampled_cpu_ns: sampled.then_some(view.sampled_cpu.0),
            stacks: has_stacks.then(|| view.stacks.iter().map(Into::into).collect()),
            wakers: wakes_watched.then(|| {
                let wakers = view.wakers.iter();
                wakers
                    .map(|(name, count)| Waker {
                        name: known(name),
                        count: *count,
                    })
                    .collect()
            }),
        }
    }
}

/// A task that is there.
#[derive(Debug, Serialize)]
pub(super) struct LiveTask {
    /// `null` in versions of the runtime that have none.
    id: Option<u64>,
    #[serde(rename = "type")]
    name: String,
    source: Option<String>,
    kind: &'static str,
    state: &'static str,
    pid: u32,
    /// Number of the list that owns it: one per runtime or `LocalSet`.
    runtime: Option<u64>,
    age_ns: u64,
    /// The thread that polls it.
    tid: Option<u32>,
    /// `null` when none does or the poll's begin was not seen.
    polled_for_ns: Option<u64>,
    /// Where that poll was most of the time so far; empty when no sample and no long wait fell into it.
    stack: Vec<String>,
}

impl LiveTask {
    fn new(view: &TaskView, now: Nanos) -> Self {
        let nonzero = |number: u64| (number > 0).then_some(number);
        Self {
            id: nonzero(view.id),
            name: view.name.clone(),
            source: known(&view.source),
            kind: kind(view.kind),
            state: view.state.name(),
            pid: view.pid.0,
            runtime: nonzero(view.owner),
            age_ns: view.age(now).0,
            tid: (view.tid.0 > 0).then_some(view.tid.0),
            polled_for_ns: view.polled_for(now).map(|time| time.0),
            stack: frames(&view.stack),
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct LongPoll {
    #[serde(rename = "type")]
    name: String,
    source: Option<String>,
    id: Option<u64>,
    pid: u32,
    tid: u32,
    /// Since the accounting began.
    start_ns: u64,
    busy_ns: u64,
    off_cpu: OffCpu,
    /// Where most of it was; empty when no sample and no long wait fell into it.
    stack: Vec<String>,
}

impl LongPoll {
    fn new(view: &LongPollView, started: Nanos) -> Self {
        Self {
            name: view.name.clone(),
            source: known(&view.source),
            id: (view.task > 0).then_some(view.task),
            pid: view.pid.0,
            tid: view.tid.0,
            start_ns: view.since.since(started).unwrap_or_default().0,
            busy_ns: view.busy.0,
            off_cpu: view.off.into(),
            stack: frames(&view.stack),
        }
    }
}

/// A thread that polls futures.
#[derive(Debug, Serialize)]
pub(super) struct Worker {
    pid: u32,
    tid: u32,
    name: String,
    polls: u64,
    busy_ns: u64,
    blocking: u64,
    blocking_busy_ns: u64,
    /// `null` for a thread that ended and is folded with others.
    busy_ratio: Option<f64>,
    parks: u64,
    moved: Option<u64>,
}

impl Worker {
    fn new(view: &PollerView, snapshot: &Snapshot) -> Self {
        Self {
            pid: view.pid.0,
            tid: view.tid.0,
            name: view.name.clone(),
            polls: view.polls,
            busy_ns: view.busy.0,
            blocking: view.blocking,
            blocking_busy_ns: view.blocking_busy.0,
            busy_ratio: view.busy_ratio(snapshot),
            parks: view.parks,
            moved: view.moved,
        }
    }
}

/// Closures of one type on the blocking pool.
#[derive(Debug, Serialize)]
pub(super) struct Pool {
    name: &'static str,
    pid: u32,
    /// Threads of the process that ran closures, of any type.
    size: Option<u64>,
    kind: String,
    queued: Option<Time>,
    run: Option<Time>,
    running_now: Option<u64>,
    queued_now: Option<u64>,
}

impl Pool {
    fn new(view: &TaskTypeView, tasks: &TasksView) -> Self {
        let polls_watched = tasks.watched.is_some();
        Self {
            name: "tokio-blocking",
            pid: view.pid.0,
            size: polls_watched.then(|| tasks.pool_threads(view.pid)),
            kind: view.name.clone(),
            queued: (view.scheduled.count > 0).then(|| (&view.scheduled).into()),
            run: polls_watched.then(|| (&view.busy).into()),
            running_now: view.alive.map(|alive| alive.running),
            queued_now: view.alive.map(|alive| alive.queued),
        }
    }

    fn of_node(view: &WorkView, node: &NodeView) -> Self {
        let pool = node.pools.iter().find(|pool| pool.pid == view.pid);
        Self {
            name: "libuv",
            pid: view.pid.0,
            size: pool.map(|pool| pool.threads),
            kind: view.kind.clone(),
            queued: (view.queued.count > 0).then(|| (&view.queued).into()),
            run: (view.run.count > 0).then(|| (&view.run).into()),
            running_now: None,
            queued_now: None,
        }
    }
}

/// Everything about tasks that stands at the root of the report.
#[derive(Debug, Serialize)]
pub(super) struct Tasks {
    tasks: Option<Vec<Task>>,
    tasks_unlisted: Option<u64>,
    live_tasks: Option<Vec<LiveTask>>,
    live_tasks_unlisted: Option<u64>,
    long_polls: Option<Vec<LongPoll>>,
    workers: Option<Vec<Worker>>,
    pools: Option<Vec<Pool>>,
}

impl Tasks {
    /// `are_sampled`: whether running threads are.
    pub(super) fn new(snapshot: &Snapshot, are_sampled: bool) -> Self {
        let view = &snapshot.tasks;
        let found = view.is_recognised();
        let watched = found && view.watched.is_some();
        let looked = found && view.was_looked_at();
        let types = view.types.iter();
        let blocking = view.types_of_tasks();
        let blocking = blocking.filter(|of| of.kind == TaskKind::Blocking);
        let alive = view.alive.iter();
        let long_polls = view.long_polls.iter();
        let workers = view.pollers.iter().filter(|poller| poller.is_worker());
        let started = snapshot.session.started;
        Self {
            tasks: found.then(|| types.map(|of| Task::new(of, view, are_sampled)).collect()),
            tasks_unlisted: found.then_some(view.types_unlisted),
            live_tasks: looked.then(|| {
                alive
                    .map(|task| LiveTask::new(task, snapshot.now))
                    .collect()
            }),
            live_tasks_unlisted: looked.then_some(view.alive_unlisted),
            long_polls: watched.then(|| {
                long_polls
                    .map(|poll| LongPoll::new(poll, started))
                    .collect()
            }),
            workers: watched.then(|| {
                workers
                    .map(|poller| Worker::new(poller, snapshot))
                    .collect()
            }),
            pools: (found || !snapshot.node.works.is_empty()).then(|| {
                let of_tokio = blocking.map(|of| Pool::new(of, view));
                let works = snapshot.node.works.iter();
                let of_node = works.map(|work| Pool::of_node(work, &snapshot.node));
                of_tokio.chain(of_node).collect()
            }),
        }
    }
}
