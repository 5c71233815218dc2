//! Tasks as a snapshot shows them.

use std::cmp::Reverse;

pub use tracer_common::task::TaskState;
use tracer_common::{Nanos, Pid, Tid, task::OFF_PARTS};

use super::{LISTED, Snapshot, StackView, TaskTypeView};
use crate::record::{RuntimeMeta, TaskKind};

/// Tasks of all targets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TasksView {
    /// Runtimes that were looked for, by process.
    pub runtimes: Vec<RuntimeMeta>,
    /// Types of tasks by the time they were polled, longest first; at most [`super::LISTED`]. Those nothing is known of
    /// but the name are left out.
    pub types: Vec<TaskTypeView>,
    /// Types that are not listed.
    pub types_unlisted: u64,
    /// Tasks that were there at the last look, those that are polled or waited longest first; not all of them.
    pub alive: Vec<TaskView>,
    /// Tasks that were there and are not listed.
    pub alive_unlisted: u64,
    /// Threads that poll tasks, by the time they did, longest first.
    pub pollers: Vec<PollerView>,
    /// The last long polls, newest first.
    pub long_polls: Vec<LongPollView>,
    /// Share of the time since polls were first watched in which they were; `None` when they never were. Counts and
    /// sums are extrapolated where it is less than 1.
    pub watched: Option<f64>,
    /// The same of wakes.
    pub wakes_watched: Option<f64>,
    /// From when polls were first watched to the last reading: what extrapolated counts and sums are about. 0 when they
    /// never were.
    pub watch_span: Nanos,
    /// Time within the last window in which polls were watched: what recent numbers are about.
    pub recent_on: Nanos,
    /// The task that a thread runs is known also while polls are not watched: CPU samples and waits are charged to
    /// types all the time.
    pub followed: bool,
}

impl TasksView {
    /// True when not all polls were seen.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.watched.is_some_and(|share| share < 0.999)
    }

    /// True when CPU samples and waits are charged to types.
    #[must_use]
    pub fn has_times(&self) -> bool {
        self.followed || self.watched.is_some()
    }

    /// True when CPU samples and waits are all that is known of polls.
    #[must_use]
    pub fn is_by_samples(&self) -> bool {
        self.followed && self.watched.is_none()
    }

    /// Types without the loops of workers: those are no tasks to anybody who looks for one.
    pub fn types_of_tasks(&self) -> impl Iterator<Item = &TaskTypeView> + Clone {
        self.types.iter().filter(|view| !view.is_worker())
    }

    /// True when a runtime with tasks was recognised in some process.
    #[must_use]
    pub fn is_recognised(&self) -> bool {
        !self.is_empty() || self.runtimes.iter().any(has_tasks)
    }

    /// True when one was recognised in this process.
    #[must_use]
    pub fn is_recognised_in(&self, pid: Pid) -> bool {
        self.runtime(pid).is_some_and(has_tasks) || self.types.iter().any(|view| view.pid == pid)
    }

    /// What was recognised in this process; `None` until somebody looked.
    #[must_use]
    pub fn runtime(&self, pid: Pid) -> Option<&RuntimeMeta> {
        self.runtimes.iter().find(|runtime| runtime.pid == pid)
    }

    /// True when somebody looked for tasks in memory and found some.
    #[must_use]
    pub fn was_looked_at(&self) -> bool {
        !self.alive.is_empty() || self.types.iter().any(|view| view.alive.is_some())
    }

    /// True when all processes that were looked at are Node.js, which has no tasks.
    #[must_use]
    pub fn is_node(&self) -> bool {
        !self.runtimes.is_empty() && self.runtimes.iter().all(is_node)
    }

    /// True when a process runs Node.
    #[must_use]
    pub fn has_node(&self) -> bool {
        self.runtimes.iter().any(is_node)
    }

    /// Files that were looked at for a runtime, in all processes but those where one without tasks was found.
    #[must_use]
    pub fn files_checked(&self) -> u64 {
        let others = self.runtimes.iter().filter(|runtime| !is_node(runtime));
        let files = others.map(|runtime| u64::from(runtime.files));
        files.fold(0, u64::saturating_add)
    }

    /// What a thread does with tasks; `None` when that is not known: no runtime was recognised in its process, polls
    /// are not watched, or there are more of its kind than are listed.
    #[must_use]
    pub fn role(&self, pid: Pid, tid: Tid) -> Option<Role> {
        if self.watched.is_none() || !self.is_recognised_in(pid) {
            return None;
        }
        let mut pollers = self.pollers.iter();
        match pollers.find(|poller| (poller.pid, poller.tid) == (pid, tid)) {
            Some(poller) if poller.is_worker() => Some(Role::Worker),
            Some(poller) if poller.blocking > 0 => Some(Role::Blocking),
            Some(_) => Some(Role::Other),
            None => (self.pollers.len() < LISTED).then_some(Role::Other),
        }
    }

    /// Threads of this process that ran closures of the blocking pool.
    #[must_use]
    pub fn pool_threads(&self, pid: Pid) -> u64 {
        let pollers = self.pollers.iter();
        let ran = pollers.filter(|poller| poller.pid == pid && poller.blocking > 0);
        ran.count() as u64
    }

    /// Tasks whose poll goes on for long, with how long it does, the longest first: at the last look, without those of
    /// which is known that they have ended since.
    #[must_use]
    pub fn going_on(&self, now: Nanos) -> Vec<(&TaskView, Nanos)> {
        let tasks = self
            .alive
            .iter()
            .filter(|task| task.kind == TaskKind::Async);
        let mut long: Vec<_> = tasks
            .filter_map(|task| Some((task, task.polled_for(now)?)))
            .filter(|(_, time)| time.0 >= LONG)
            .filter(|(task, _)| {
                let mut ended = self.long_polls.iter();
                !ended.any(|poll| (poll.tid, poll.since) == (task.tid, task.poll))
            })
            .collect();
        long.sort_by_key(|&(task, time)| (Reverse(time), task.pid, task.header));
        long
    }

    /// True when nothing is known of any task.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.types.is_empty() && self.alive.is_empty()
    }
}

/// True for a runtime whose tasks are looked for.
fn has_tasks(runtime: &RuntimeMeta) -> bool {
    runtime.kind == "tokio"
}

fn is_node(runtime: &RuntimeMeta) -> bool {
    runtime.kind == "node"
}

/// What a thread does with tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It has an event loop.
    Loop,
    /// It polls futures.
    Worker,
    /// It runs closures of the blocking pool, and has polled no future.
    Blocking,
    /// Neither was seen.
    Other,
}

impl Role {
    /// The word used on screens and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Loop => "loop",
            Self::Worker => "worker",
            Self::Blocking => "blocking",
            Self::Other => "other",
        }
    }
}

/// A task that is there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskView {
    /// The process.
    pub pid: Pid,
    /// Address of its header.
    pub header: u64,
    /// Its id; 0 when it has none.
    pub id: u64,
    /// Its type.
    pub vtable: u64,
    /// The type's name.
    pub name: String,
    /// The type's source position, as `file:line`; empty when not known.
    pub source: String,
    /// What runs it.
    pub kind: TaskKind,
    /// What it is doing.
    pub state: TaskState,
    /// Number of the list that owns it; 0 when none does.
    pub owner: u64,
    /// Since when it is known.
    pub first: Nanos,
    /// The thread that polls it; 0 when none does or that is not known.
    pub tid: Tid,
    /// When that poll began; 0 when that was not seen.
    pub poll: Nanos,
    /// Where that poll was found the longest time so far; empty when no sample and no long wait fell into it.
    pub stack: StackView,
}

/// A poll that goes on for so long is worth a word.
const LONG: u64 = 100_000_000;

impl TaskView {
    /// Since when it is known, at `now`.
    #[must_use]
    pub fn age(&self, now: Nanos) -> Nanos {
        now.since(self.first).unwrap_or_default()
    }

    /// How long the poll has gone on at `now`; `None` when there is none, or its begin was not seen.
    #[must_use]
    pub fn polled_for(&self, now: Nanos) -> Option<Nanos> {
        (self.poll.0 > 0).then(|| now.since(self.poll).unwrap_or_default())
    }
}

/// A thread that polls tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PollerView {
    /// Its process.
    pub pid: Pid,
    /// The thread.
    pub tid: Tid,
    /// Its name.
    pub name: String,
    /// Polls of futures.
    pub polls: u64,
    /// Time in them.
    pub busy: Nanos,
    /// Runs of closures of the blocking pool.
    pub blocking: u64,
    /// Time in them.
    pub blocking_busy: Nanos,
    /// Times it went to sleep outside of polls and closures, at a futex or in epoll: a worker's parks that did sleep.
    pub parks: u64,
    /// Those of its polls whose task another thread that polls futures had queued: it was stolen, or came through a
    /// queue that workers share. The first poll of a task is none, because nothing sees where a task is spawned. `None`
    /// when wakes were never watched.
    pub moved: Option<u64>,
    /// Polls and runs within the last window, as far as they were watched.
    pub recent_polls: u64,
    /// Time in them within the last window, as far as they were watched.
    pub recent_busy: Nanos,
    /// Times it parked within the last window, as far as polls were watched.
    pub recent_parks: u64,
}

impl PollerView {
    /// True for a worker: it polls futures.
    #[must_use]
    pub fn is_worker(&self) -> bool {
        self.polls > 0
    }

    /// Share of its time in polls and closures since polls are watched; `None` when its thread is not listed any more.
    #[must_use]
    pub fn busy_ratio(&self, snapshot: &Snapshot) -> Option<f64> {
        let id = (Some(self.pid), Some(self.tid));
        let mut threads = snapshot.threads.iter();
        let thread = threads.find(|thread| (thread.pid, thread.tid) == id)?;
        let time = thread.wall.min(snapshot.tasks.watch_span);
        let busy = self.busy.plus(self.blocking_busy);
        (time.0 > 0).then(|| (busy.0 as f64 / time.0 as f64).min(1.0))
    }
}

/// A long poll.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LongPollView {
    /// When it began.
    pub since: Nanos,
    /// How long it was.
    pub busy: Nanos,
    /// The thread that polled.
    pub tid: Tid,
    /// Its process.
    pub pid: Pid,
    /// The type's name.
    pub name: String,
    /// The type's source position, as `file:line`; empty when not known.
    pub source: String,
    /// The task's id; 0 when it has none.
    pub task: u64,
    /// Time off the CPU: ready, futex, I/O, page fault, other.
    pub off: [Nanos; OFF_PARTS],
    /// Where it was found, the longest time; empty when no sample and no long wait fell into it.
    pub stack: StackView,
}
