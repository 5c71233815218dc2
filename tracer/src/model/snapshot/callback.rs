//! Callbacks of Node and promises of JavaScript as a snapshot shows them.

use std::sync::Arc;

use tracer_common::{Nanos, Pid, Tid};

use super::Distribution;
use crate::record::SymbolMeta;

/// What is known about callbacks and promises.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallbacksView {
    /// Callbacks by kind, by the time they and what ran because of them took, longest first.
    pub kinds: Vec<CallbackView>,
    /// Runs of V8's microtask queue by process: inside of callbacks' ticks, mostly.
    pub microtasks: Vec<(Pid, Distribution)>,
    /// Promises by process.
    pub promises: Vec<PromisesView>,
    /// The last ones over the threshold, latest first.
    pub long: Vec<LongCallbackView>,
    /// The share of the time in which callbacks were watched, and of which counts and sums are extrapolated where it is
    /// less than 1; `None` when they never were.
    pub watched: Option<f64>,
    /// The same of promises.
    pub promises_watched: Option<f64>,
    /// How long callbacks were watched in the window that the recent numbers are of: the last one in which they were.
    pub recent_on: Nanos,
    /// The same of promises.
    pub recent_promises_on: Nanos,
}

/// Callbacks of one kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallbackView {
    /// The process.
    pub pid: Pid,
    /// As `async_hooks` calls it (`TCPWRAP`); `Timers` and `Immediates` for runs of those; `none` for callbacks of no
    /// resource.
    pub kind: String,
    /// Time in the function that was called, without callbacks inside of it.
    pub busy: Distribution,
    /// Time in `process.nextTick` and microtasks afterwards.
    pub ticks: Distribution,
    /// Samples of running threads in such callbacks.
    pub samples: u64,
    /// The program's own function that most of these samples were under, the outermost one in each; if there is none, the
    /// same of Node's.
    pub function: Option<Arc<SymbolMeta>>,
    /// Callbacks within the recent window.
    pub recent: u64,
    /// Time in them and their ticks.
    pub recent_time: Nanos,
}

impl CallbackView {
    /// Time in the functions and afterwards.
    #[must_use]
    pub fn whole(&self) -> Nanos {
        self.busy.sum.plus(self.ticks.sum)
    }
}

/// What happened to the promises of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PromisesView {
    /// The process.
    pub pid: Pid,
    /// `await`s that began.
    pub awaits: u64,
    /// Those that went on with a value.
    pub resumed: u64,
    /// Those that went on with an error.
    pub thrown: u64,
    /// Promises that got their value.
    pub fulfilled: u64,
    /// Promises that got their error.
    pub rejected: u64,
    /// Times that somebody began to wait for a promise, by `await` or `then`.
    pub thens: u64,
    /// `await`s that began within the recent window.
    pub recent_awaits: u64,
}

/// A callback over the threshold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LongCallbackView {
    /// When it began.
    pub since: Nanos,
    /// The process.
    pub pid: Pid,
    /// The thread.
    pub tid: Tid,
    /// Its kind.
    pub kind: String,
    /// Time in its function.
    pub busy: Nanos,
    /// Time in `process.nextTick` and microtasks afterwards.
    pub ticks: Nanos,
    /// Its `async_id`.
    pub async_id: u64,
    /// That of what caused it.
    pub trigger_async_id: u64,
}
