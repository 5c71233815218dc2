//! The event loops of the JSON report: the first one's numbers at the top, as most targets have one, then each.

use serde::Serialize;
use tracer_common::Nanos;

use super::{Time, part::frames, task::OffCpu};
use crate::model::{LongIterationView, LoopCounts, LoopView, Snapshot};

#[derive(Debug, Serialize)]
pub(super) struct Loops {
    /// Of the first target's main thread.
    #[serde(flatten)]
    main: Numbers,
    loops: Vec<Loop>,
    loops_unlisted: u64,
    /// The last ones, newest first.
    long_iterations: Option<Vec<LongIteration>>,
}

#[derive(Debug, Serialize)]
struct Numbers {
    iterations: Option<u64>,
    waits: Option<u64>,
    events: Option<u64>,
    delay: Option<Time>,
    utilization_ratio: Option<f64>,
    active_ns: u64,
    idle_ns: u64,
    long: Option<u64>,
    off_cpu: Option<OffCpu>,
}

#[derive(Debug, Serialize)]
struct Loop {
    pid: u32,
    tid: u32,
    thread: String,
    /// The loop of its process's main thread.
    main: bool,
    ended: bool,
    #[serde(flatten)]
    numbers: Numbers,
}

#[derive(Debug, Serialize)]
struct LongIteration {
    pid: u32,
    tid: u32,
    thread: String,
    /// Since the accounting began.
    start_ns: u64,
    busy_ns: u64,
    off_cpu: OffCpu,
    /// Where most of it was; empty when no sample and no long wait fell into it.
    stack: Vec<String>,
}

impl Loops {
    /// `None` when no loop was seen.
    pub(super) fn new(snapshot: &Snapshot) -> Option<Self> {
        let view = &snapshot.loops;
        let started = snapshot.session.started;
        Some(Self {
            main: view.main()?.into(),
            loops: view
                .loops
                .iter()
                .map(|view| Loop {
                    pid: view.pid.0,
                    tid: view.tid.0,
                    thread: view.name.clone(),
                    main: view.is_main(),
                    ended: view.ended,
                    numbers: view.into(),
                })
                .collect(),
            loops_unlisted: view.unlisted,
            long_iterations: view.counted.then(|| {
                let long = view.long.iter();
                long.map(|view| LongIteration::new(view, started)).collect()
            }),
        })
    }
}

impl From<&LoopView> for Numbers {
    fn from(view: &LoopView) -> Self {
        let counts = view.counts.as_ref();
        let count = |of: fn(&LoopCounts) -> u64| counts.map(of);
        Self {
            iterations: count(|counts| counts.iterations),
            waits: count(|counts| counts.waits),
            events: count(|counts| counts.events),
            delay: counts.map(|counts| (&counts.delay).into()),
            utilization_ratio: view.utilization(),
            active_ns: view.active.0,
            idle_ns: view.idle.0,
            long: count(|counts| counts.long),
            off_cpu: counts.map(|counts| counts.off.into()),
        }
    }
}

impl LongIteration {
    fn new(view: &LongIterationView, started: Nanos) -> Self {
        Self {
            pid: view.pid.0,
            tid: view.tid.0,
            thread: view.name.clone(),
            start_ns: view.since.since(started).unwrap_or_default().0,
            busy_ns: view.busy.0,
            off_cpu: view.off.into(),
            stack: frames(&view.stack),
        }
    }
}
