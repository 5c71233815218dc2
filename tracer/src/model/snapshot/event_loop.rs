//! Event loops as a snapshot shows them.

use tracer_common::{Nanos, Pid, Tid, task::OFF_PARTS};

use super::{Distribution, StackView};

/// Event loops of all targets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoopsView {
    /// The loops: by process, that of its main thread first, then the busiest.
    pub loops: Vec<LoopView>,
    /// Loops that are not listed.
    pub unlisted: u64,
    /// The last long iterations, newest first.
    pub long: Vec<LongIterationView>,
    /// A process whose threads have event loops was recognised.
    pub recognised: bool,
    /// Iterations are counted. Otherwise all that is known of a loop is how its thread spent its time.
    pub counted: bool,
}

impl LoopsView {
    /// The loop of a thread.
    #[must_use]
    pub fn of(&self, pid: Pid, tid: Tid) -> Option<&LoopView> {
        self.loops
            .iter()
            .find(|view| (view.pid, view.tid) == (pid, tid))
    }

    /// The loop most questions are about: that of the first process's main thread.
    #[must_use]
    pub fn main(&self) -> Option<&LoopView> {
        self.loops.first()
    }
}

/// The event loop of a thread.
///
/// An iteration runs from the return of one wait for events to the entry of the next. Its length is the delay that a
/// timer or an event which becomes due at its begin meets; `perf_hooks.monitorEventLoopDelay` samples the same from the
/// inside with a timer, so what it shows is the lateness of that timer and its resolution.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoopView {
    /// The process.
    pub pid: Pid,
    /// The thread.
    pub tid: Tid,
    /// The thread's name.
    pub name: String,
    /// The thread has ended.
    pub ended: bool,
    /// What was counted; `None` when iterations are not.
    pub counts: Option<LoopCounts>,
    /// Time outside waits that may block, what goes on included.
    pub active: Nanos,
    /// Time in waits that may block, what goes on included: what `eventLoopUtilization` calls idle.
    pub idle: Nanos,
    /// The same within the last window.
    pub recent: LoopTimes,
    /// How long the iteration that goes on has taken; 0 while the thread waits for events, or when that is not known.
    pub going_on: Nanos,
    /// Where it was most of the time so far.
    pub stack: StackView,
    /// The last windows, oldest first, at most [`super::HISTORY`] of them.
    pub history: Vec<LoopPoint>,
}

impl LoopView {
    /// True for the loop of the process's main thread.
    #[must_use]
    pub fn is_main(&self) -> bool {
        self.pid.0 == self.tid.0
    }

    /// The share of its time in which the loop did not wait for events. `None` when there was no time.
    #[must_use]
    pub fn utilization(&self) -> Option<f64> {
        share(self.active, self.idle)
    }

    /// The same within the last window.
    #[must_use]
    pub fn recent_utilization(&self) -> Option<f64> {
        share(self.recent.active, self.recent.idle)
    }
}

fn share(active: Nanos, idle: Nanos) -> Option<f64> {
    let all = active.plus(idle).0;
    (all > 0).then(|| active.0 as f64 / all as f64)
}

/// What was counted of a loop.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoopCounts {
    /// Iterations: times the loop began to wait for events.
    pub iterations: u64,
    /// Returns of its waits: two of an iteration where libuv first asks what is there already.
    pub waits: u64,
    /// Events they gave.
    pub events: u64,
    /// How long iterations took. The last one goes on and is not in it.
    pub delay: Distribution,
    /// Counts by bucket of [`tracer_common::hist`], those that are not 0, ascending.
    pub delay_buckets: Vec<(u32, u64)>,
    /// Those over the threshold.
    pub long: u64,
    /// Time off the CPU inside them: ready, futex, I/O, page fault, other.
    pub off: [Nanos; OFF_PARTS],
    /// Iterations within the last window.
    pub recent_iterations: u64,
    /// Events within the last window.
    pub recent_events: u64,
    /// How long those took that ended within the last window. The largest is the end of its bucket.
    pub recent_delay: Distribution,
}

/// Time of a loop within a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoopTimes {
    /// Outside waits that may block.
    pub active: Nanos,
    /// In them.
    pub idle: Nanos,
}

/// What a loop did within one window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LoopPoint {
    /// The tick that closed it.
    pub at: Nanos,
    /// Its length.
    pub length: Nanos,
    /// Iterations.
    pub iterations: u64,
    /// The longest that ended in it, or that goes on.
    pub delay_max: Nanos,
    /// Share of the window outside waits; `None` when that is not known.
    pub utilization: Option<f64>,
}

/// An iteration that took longer than the threshold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LongIterationView {
    /// When it began.
    pub since: Nanos,
    /// How long it took.
    pub busy: Nanos,
    /// The process.
    pub pid: Pid,
    /// The thread.
    pub tid: Tid,
    /// Its name.
    pub name: String,
    /// Time off the CPU: ready, futex, I/O, page fault, other.
    pub off: [Nanos; OFF_PARTS],
    /// Where most of it was; empty when no sample and no long wait fell into it.
    pub stack: StackView,
}
