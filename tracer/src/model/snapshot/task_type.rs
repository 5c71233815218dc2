//! Types of tasks as a snapshot shows them, and what is said of the time in their polls.
//!
//! That time comes from two sides: polls that are watched tell it exactly, once they have ended. CPU samples and waits
//! that are charged to the task which a thread runs tell it roughly, but also of polls that go on and of those that
//! are not watched.

use tracer_common::{
    Nanos, Pid,
    task::{OFF_PARTS, UNKNOWN_TYPE},
};

use super::{Distribution, Snapshot, StackView, TasksView};
use crate::record::{TaskKind, WaitsMeta};

/// A type of task.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskTypeView {
    /// The process.
    pub pid: Pid,
    /// Address of its vtable there.
    pub vtable: u64,
    /// As people write it.
    pub name: String,
    /// As the compiler does; empty when not known.
    pub raw_name: String,
    /// Source file; empty when not known.
    pub file: String,
    /// Line in it; 0 when not known.
    pub line: u32,
    /// What runs it.
    pub kind: TaskKind,
    /// Those that are there; `None` until somebody looked.
    pub alive: Option<AliveView>,
    /// Tasks that came since polls are watched; `None` when polls are not watched all the time.
    pub spawned: Option<u64>,
    /// Tasks that ended.
    pub completed: u64,
    /// Those of them that were aborted.
    pub cancelled: u64,
    /// Polls.
    pub polls: u64,
    /// Polls within the last window, as far as they were watched.
    pub recent_polls: u64,
    /// Time in polls within the last window, as far as they were watched.
    pub recent_busy: Nanos,
    /// How long polls took.
    pub busy: Distribution,
    /// How long woken tasks waited to be polled.
    pub scheduled: Distribution,
    /// How long tasks waited to be woken.
    pub idle: Distribution,
    /// How long tasks lived, of those that came and ended.
    pub lifetime: Distribution,
    /// Polls of a task that was woken while it was polled before.
    pub rescheduled: u64,
    /// Polls of a task that was seen to be woken.
    pub queued: u64,
    /// Times one was woken; `None` when wakes are not watched.
    pub wakes: Option<u64>,
    /// Wakes that did nothing.
    pub redundant_wakes: Option<u64>,
    /// Wakes that a task gave itself.
    pub self_wakes: Option<u64>,
    /// Polls longer than the threshold.
    pub long_polls: u64,
    /// Time off the CPU inside polls: ready, futex, I/O, page fault, other.
    pub off: [Nanos; OFF_PARTS],
    /// The same within the last window, as far as it was seen.
    pub recent_off: [Nanos; OFF_PARTS],
    /// Samples of threads that polled one.
    pub samples: u64,
    /// CPU time they stand for.
    pub sampled_cpu: Nanos,
    /// Samples within the last window.
    pub recent_samples: u64,
    /// CPU time these stand for.
    pub recent_cpu: Nanos,
    /// Time so far of polls that go on for long.
    pub going_on: Nanos,
    /// The part of it in the last window.
    pub recently_going_on: Nanos,
    /// Where those samples and long waits inside polls were, by the time they stand for, longest first; at most 8.
    pub stacks: Vec<TaskStackView>,
    /// Who woke them, most often first; at most 8. An empty name: no task, but the runtime or another thread.
    pub wakers: Vec<(String, u64)>,
    /// Where its tasks wait; `None` until somebody looked.
    pub waits: Option<WaitsMeta>,
}

impl TaskTypeView {
    /// True for the loop of a worker, see [`TaskKind::is_worker`].
    #[must_use]
    pub fn is_worker(&self) -> bool {
        self.kind.is_worker(&self.name)
    }

    /// True for those that came and ended between two looks at memory, so that nobody read their type.
    #[must_use]
    pub fn is_unnamed(&self) -> bool {
        self.vtable == UNKNOWN_TYPE
    }

    /// Time inside polls by samples and waits: on a CPU, then off it.
    #[must_use]
    pub fn found(&self) -> Nanos {
        sum(self.sampled_cpu, &self.off)
    }

    /// The same within the last window.
    #[must_use]
    pub fn recently_found(&self) -> Nanos {
        sum(self.recent_cpu, &self.recent_off)
    }

    /// Time inside polls, on a CPU or not; `None` when nothing tells.
    #[must_use]
    pub fn in_polls(&self, tasks: &TasksView) -> Option<Nanos> {
        let told = match self.told_by(tasks) {
            Side::Polls => self.busy.sum,
            Side::Samples => self.found(),
            Side::Neither => return None,
        };
        Some(told.max(self.going_on))
    }

    fn told_by(&self, tasks: &TasksView) -> Side {
        let seen = self.busy.count as f64 * tasks.watched.unwrap_or(0.0);
        let polls = (self.busy.sum, seen, tasks.watch_span);
        told_by(tasks, polls, (self.found(), self.samples))
    }

    fn recently_told_by(&self, tasks: &TasksView) -> Side {
        let polls = (self.recent_busy, self.recent_polls as f64, tasks.recent_on);
        told_by(tasks, polls, (self.recently_found(), self.recent_samples))
    }

    /// Where the time inside polls went: all of it and the part off the CPU.
    #[must_use]
    pub fn split(&self, tasks: &TasksView) -> (Nanos, &[Nanos; OFF_PARTS]) {
        let off = sum(Nanos(0), &self.off);
        let all = self.in_polls(tasks).unwrap_or_default();
        (all.max(off), &self.off)
    }

    /// `file:line`, or empty.
    #[must_use]
    pub fn source(&self) -> String {
        if self.file.is_empty() {
            String::new()
        } else {
            format!("{}:{}", self.file, self.line)
        }
    }
}

fn sum(on_cpu: Nanos, off: &[Nanos; OFF_PARTS]) -> Nanos {
    off.iter().fold(on_cpu, |sum, &part| sum.plus(part))
}

/// What tells the time in polls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// Polls that ended.
    Polls,
    /// Samples and waits.
    Samples,
    /// Nothing does.
    Neither,
}

/// Which side tells more. `polls`: the time in those that ended, how many were seen, how long they were watched.
fn told_by(tasks: &TasksView, polls: (Nanos, f64, Nanos), found: (Nanos, u64)) -> Side {
    let ((ended, seen, over), (found, samples)) = (polls, found);
    let is_measured = tasks.watched.is_some() && over.0 > 0;
    match (is_measured, tasks.followed) {
        (false, false) => Side::Neither,
        (false, true) => Side::Samples,
        // Of both kinds of estimate the one that is made from more.
        (true, true) if tasks.is_sampled() && samples as f64 > seen => Side::Samples,
        (true, _) if tasks.is_sampled() => Side::Polls,
        // A poll that goes on and on. Fewer than ten samples say nothing.
        (true, _) if found.0 >= 100_000_000 && found.0 / 2 > ended.0 => Side::Samples,
        (true, _) => Side::Polls,
    }
}

impl Snapshot {
    /// Time inside polls of a type in a second since they are watched, or since attach; `None` when nothing tells.
    #[must_use]
    pub fn in_polls(&self, view: &TaskTypeView) -> Option<f64> {
        let of = match view.told_by(&self.tasks) {
            Side::Polls => self.tasks.watch_span,
            Side::Samples => self.duration(),
            Side::Neither => return None,
        };
        share(view.in_polls(&self.tasks)?, of)
    }

    /// The same within the last window.
    #[must_use]
    pub fn recently_in_polls(&self, view: &TaskTypeView) -> Option<f64> {
        let told = match view.recently_told_by(&self.tasks) {
            Side::Polls => share(view.recent_busy, self.tasks.recent_on),
            Side::Samples => share(view.recently_found(), self.window),
            Side::Neither => return None,
        };
        let least = share(view.recently_going_on, self.window).unwrap_or(0.0);
        told.map(|told| told.max(least))
    }
}

fn share(time: Nanos, of: Nanos) -> Option<f64> {
    (of.0 > 0).then(|| time.0 as f64 / of.0 as f64)
}

/// Tasks of a type that are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AliveView {
    /// A thread polls them.
    pub running: u64,
    /// They wait for one.
    pub queued: u64,
    /// They wait to be woken.
    pub idle: u64,
    /// They have ended, but nobody took their result.
    pub complete: u64,
}

impl AliveView {
    /// Those that have not ended.
    #[must_use]
    pub fn unfinished(&self) -> u64 {
        self.running
            .saturating_add(self.queued)
            .saturating_add(self.idle)
    }
}

/// Where tasks of a type spent time in polls.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskStackView {
    /// From where.
    pub stack: StackView,
    /// How long.
    pub time: Nanos,
}
