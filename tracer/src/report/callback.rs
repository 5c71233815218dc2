//! Node's callbacks and JavaScript's promises in the JSON report.

use serde::Serialize;

use super::Time;
use crate::{
    human,
    model::{CallbackView, CallbacksView, LongCallbackView, PromisesView, Snapshot},
};

/// How much of the time was watched.
#[derive(Debug, Serialize)]
pub(super) struct Quality {
    watched_ratio: Option<f64>,
    promises_watched_ratio: Option<f64>,
}

impl From<&CallbacksView> for Quality {
    fn from(view: &CallbacksView) -> Self {
        Self {
            watched_ratio: view.watched,
            promises_watched_ratio: view.promises_watched,
        }
    }
}

/// What is flattened into the report.
#[derive(Debug, Serialize)]
pub(super) struct Callbacks {
    callbacks: Option<Vec<Callback>>,
    /// The last ones, newest first.
    long_callbacks: Option<Vec<LongCallback>>,
    microtasks: Option<Vec<Microtasks>>,
    promises: Option<Vec<Promises>>,
}

#[derive(Debug, Serialize)]
struct Callback {
    pid: u32,
    kind: String,
    /// The function that samples in such callbacks were under mostly, and its line then; `null` without one.
    function: Option<String>,
    cpu_samples: u64,
    /// In the function that was called.
    busy: Time,
    /// In `process.nextTick` and microtasks afterwards.
    ticks: Time,
}

#[derive(Debug, Serialize)]
struct LongCallback {
    pid: u32,
    tid: u32,
    kind: String,
    /// Since the accounting began.
    start_ns: u64,
    busy_ns: u64,
    ticks_ns: u64,
    async_id: u64,
    trigger_async_id: u64,
}

#[derive(Debug, Serialize)]
struct Microtasks {
    pid: u32,
    /// Runs of the queue, empty or not.
    runs: Time,
}

#[derive(Debug, Serialize)]
struct Promises {
    pid: u32,
    awaits: u64,
    resumed: u64,
    thrown: u64,
    fulfilled: u64,
    rejected: u64,
    thens: u64,
}

impl Callbacks {
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        let view = &snapshot.callbacks;
        let is_watched = view.watched.is_some();
        let long = view.long.iter();
        let microtasks = view.microtasks.iter();
        Self {
            callbacks: is_watched.then(|| view.kinds.iter().map(Into::into).collect()),
            long_callbacks: is_watched
                .then(|| long.map(|view| LongCallback::new(view, snapshot)).collect()),
            microtasks: is_watched.then(|| {
                microtasks
                    .map(|(pid, runs)| Microtasks {
                        pid: pid.0,
                        runs: runs.into(),
                    })
                    .collect()
            }),
            promises: view
                .promises_watched
                .map(|_| view.promises.iter().map(Into::into).collect()),
        }
    }
}

impl From<&CallbackView> for Callback {
    fn from(view: &CallbackView) -> Self {
        let function = view.function.as_ref();
        Self {
            pid: view.pid.0,
            kind: view.kind.clone(),
            function: function.and_then(|symbol| human::place(std::slice::from_ref(symbol))),
            cpu_samples: view.samples,
            busy: (&view.busy).into(),
            ticks: (&view.ticks).into(),
        }
    }
}

impl LongCallback {
    fn new(view: &LongCallbackView, snapshot: &Snapshot) -> Self {
        let start = view.since.since(snapshot.session.started);
        Self {
            pid: view.pid.0,
            tid: view.tid.0,
            kind: view.kind.clone(),
            start_ns: start.unwrap_or_default().0,
            busy_ns: view.busy.0,
            ticks_ns: view.ticks.0,
            async_id: view.async_id,
            trigger_async_id: view.trigger_async_id,
        }
    }
}

impl From<&PromisesView> for Promises {
    fn from(view: &PromisesView) -> Self {
        Self {
            pid: view.pid.0,
            awaits: view.awaits,
            resumed: view.resumed,
            thrown: view.thrown,
            fulfilled: view.fulfilled,
            rejected: view.rejected,
            thens: view.thens,
        }
    }
}
