//! Parts of the JSON report: locks, waits, descriptors, memory, CPU.

use serde::Serialize;
use tracer_common::table::{LockKind, MemoryCall};

use super::Time;
use crate::{
    human,
    model::{
        CpuView, FileView, JsFunctionView, LevelView, LockView, MemoryView, PartyView, PollView,
        StackView, WaitView,
    },
};

/// Stacks of one kind in the report; a snapshot may list more.
const STACKS: usize = 50;

#[derive(Debug, Serialize)]
pub(super) struct Lock {
    address: String,
    pid: u32,
    /// Between processes.
    shared: bool,
    /// With priority inheritance.
    pi: bool,
    /// One of several waited for at once.
    vector: bool,
    waits: u64,
    wait: Time,
    woken: u64,
    timeouts: Option<u64>,
    interrupted: Option<u64>,
    again: Option<u64>,
    wake_calls: Option<u64>,
    wake_results: Option<u64>,
    waiting_now: u32,
    waiters: Vec<String>,
    wakers: Vec<String>,
    parties: Parties,
    stack: Vec<String>,
    waker_stack: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Parties {
    waiters: Vec<Party>,
    wakers: Vec<Party>,
}

#[derive(Debug, Serialize)]
struct Party {
    tid: u32,
    name: String,
    count: u64,
    waited_ns: u64,
}

impl From<&LockView> for Lock {
    fn from(view: &LockView) -> Self {
        let names = |parties: &[PartyView]| parties.iter().map(party_name).collect();
        let parties = |parties: &[PartyView]| {
            parties
                .iter()
                .map(|party| Party {
                    tid: party.tid.0,
                    name: party.name.clone(),
                    count: party.count,
                    waited_ns: party.waited.0,
                })
                .collect()
        };
        Self {
            address: format!("{:#x}", view.address),
            pid: view.pid.0,
            shared: view.kind.has(LockKind::SHARED),
            pi: view.kind.has(LockKind::PI),
            vector: view.kind.has(LockKind::VECTOR),
            waits: view.wait.count,
            wait: (&view.wait).into(),
            woken: view.woken,
            timeouts: view.timeouts,
            interrupted: view.interrupted,
            again: view.again,
            wake_calls: view.wake_calls,
            wake_results: view.wake_results,
            waiting_now: view.waiting_now,
            waiters: names(&view.waiters),
            wakers: names(&view.wakers),
            parties: Parties {
                waiters: parties(&view.waiters),
                wakers: parties(&view.wakers),
            },
            stack: frames(&view.stack),
            waker_stack: frames(&view.waker_stack),
        }
    }
}

/// A thread as people name it.
fn party_name(party: &PartyView) -> String {
    if party.name.is_empty() {
        format!("thread {}", party.tid.0)
    } else {
        format!("{} ({})", party.name, party.tid.0)
    }
}

/// A stack as lines of text, innermost first; an inlined function has a line of its own.
pub(super) fn frames(stack: &StackView) -> Vec<String> {
    stack
        .iter()
        .flat_map(|symbol| human::frames(symbol))
        .collect()
}

#[derive(Debug, Serialize)]
pub(super) struct Wait {
    state: &'static str,
    thread: String,
    tid: u32,
    count: u64,
    sum_ns: u64,
    max_ns: u64,
    stack: Vec<String>,
    waker_stack: Vec<String>,
}

impl From<&WaitView> for Wait {
    fn from(view: &WaitView) -> Self {
        Self {
            state: human::state(view.state),
            thread: view.thread.clone(),
            tid: view.tid.0,
            count: view.count,
            sum_ns: view.sum.0,
            max_ns: view.max.0,
            stack: frames(&view.stack),
            waker_stack: frames(&view.waker_stack),
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct File {
    pid: u32,
    fd: u32,
    /// `null` when it was closed before it could be looked at.
    kind: Option<String>,
    name: Option<String>,
    reads: u64,
    read_bytes: u64,
    writes: u64,
    write_bytes: u64,
    connects: u64,
    errors: u64,
    again: u64,
    closes: u64,
    time_ns: u64,
    time_max_ns: u64,
}

impl From<&FileView> for File {
    fn from(view: &FileView) -> Self {
        let known = |text: &String| (!text.is_empty()).then(|| text.clone());
        Self {
            pid: view.pid.0,
            fd: view.fd,
            kind: known(&view.kind),
            name: known(&view.name),
            reads: view.reads,
            read_bytes: view.read_bytes,
            writes: view.writes,
            write_bytes: view.write_bytes,
            connects: view.connects,
            errors: view.errors,
            again: view.again,
            closes: view.closes,
            time_ns: view.time.0,
            time_max_ns: view.time_max.0,
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Poll {
    pid: u32,
    fd: u32,
    waits: u64,
    empty: u64,
    events: u64,
    events_max: u64,
    wake_to_return: Time,
}

impl From<&PollView> for Poll {
    fn from(view: &PollView) -> Self {
        Self {
            pid: view.pid.0,
            fd: view.fd,
            waits: view.waits,
            empty: view.empty,
            events: view.events,
            events_max: view.events_max,
            wake_to_return: (&view.latency).into(),
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct InFlight {
    what: &'static str,
    /// Of what Node counts by type.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    now: u64,
    mean: f64,
    max: u64,
}

impl From<&LevelView> for InFlight {
    fn from(view: &LevelView) -> Self {
        Self {
            what: view.what,
            kind: view.kind.clone(),
            now: view.now,
            mean: view.mean,
            max: view.max,
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Memory {
    rss_bytes: Option<u64>,
    pss_bytes: Option<u64>,
    swap_bytes: Option<u64>,
    rss_slope_bytes_per_s: Option<f64>,
    mapped_bytes: Option<u64>,
    unmapped_bytes: Option<u64>,
    brk_bytes: Option<i64>,
    given_back_bytes: Option<u64>,
    minor_faults: Option<u64>,
    major_faults: Option<u64>,
    fault_time_ns: u64,
    fault_cpu_ns: Option<u64>,
    calls: Option<Vec<Call>>,
    by_stack: Option<Vec<MemoryStack>>,
    pressure: Pressure,
}

#[derive(Debug, Serialize)]
struct Call {
    name: &'static str,
    count: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct MemoryStack {
    stack: Vec<String>,
    samples: u64,
    bytes: u64,
    still_mapped_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Pressure {
    some_ratio: Option<f64>,
    full_ratio: Option<f64>,
    cgroup_some_ratio: Option<f64>,
    cgroup_full_ratio: Option<f64>,
}

impl Memory {
    pub(super) fn new(view: &MemoryView) -> Self {
        let both = |one: MemoryCall, other: MemoryCall| {
            Some(view.bytes(one)?.saturating_add(view.bytes(other)?))
        };
        let brk = view
            .bytes(MemoryCall::BRK_GROW)
            .zip(view.bytes(MemoryCall::BRK_SHRINK));
        Self {
            rss_bytes: view.rss_bytes,
            pss_bytes: view.pss_bytes,
            swap_bytes: view.swap_bytes,
            rss_slope_bytes_per_s: view.rss_slope,
            mapped_bytes: both(MemoryCall::MAP, MemoryCall::REMAP_GROW),
            unmapped_bytes: both(MemoryCall::UNMAP, MemoryCall::REMAP_SHRINK),
            brk_bytes: brk.map(|(grown, shrunk)| {
                i64::try_from(grown)
                    .unwrap_or(i64::MAX)
                    .saturating_sub_unsigned(shrunk)
            }),
            given_back_bytes: view.bytes(MemoryCall::GIVE_BACK),
            minor_faults: view.minor_faults,
            major_faults: view.major_faults,
            fault_time_ns: view.fault_time.0,
            fault_cpu_ns: view.fault_cpu.map(|time| time.0),
            calls: view.calls.as_ref().map(|calls| {
                calls
                    .iter()
                    .map(|call| Call {
                        name: human::memory_call(call.what),
                        count: call.calls,
                        bytes: call.bytes,
                    })
                    .collect()
            }),
            by_stack: view.calls.is_some().then(|| {
                view.by_stack
                    .iter()
                    .take(STACKS)
                    .map(|view| MemoryStack {
                        stack: frames(&view.stack),
                        samples: view.samples,
                        bytes: view.bytes,
                        still_mapped_bytes: view.still_mapped_bytes,
                    })
                    .collect()
            }),
            pressure: Pressure {
                some_ratio: view.pressure_some,
                full_ratio: view.pressure_full,
                cgroup_some_ratio: view.cgroup_pressure.map(|(some, _)| some),
                cgroup_full_ratio: view.cgroup_pressure.map(|(_, full)| full),
            },
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Cpu {
    allowed_cpus: Option<u32>,
    /// `null` without a quota.
    quota_cpus: Option<f64>,
    throttled_ns: Option<u64>,
    samples: Option<u64>,
    period_ns: Option<u64>,
    io_uring: bool,
    by_stack: Option<Vec<CpuStack>>,
    /// By samples in themselves.
    javascript: Option<Vec<JsFunction>>,
}

#[derive(Debug, Serialize)]
struct JsFunction {
    function: String,
    /// `null` when not known.
    script: Option<String>,
    /// The line in which most of the samples were; `null` when not known.
    line: Option<u32>,
    samples: u64,
    total_samples: u64,
}

impl From<&JsFunctionView> for JsFunction {
    fn from(view: &JsFunctionView) -> Self {
        Self {
            function: view.function.clone(),
            script: (!view.script.is_empty()).then(|| view.script.clone()),
            line: (view.line > 0).then_some(view.line),
            samples: view.own,
            total_samples: view.total,
        }
    }
}

#[derive(Debug, Serialize)]
struct CpuStack {
    samples: u64,
    stack: Vec<String>,
    kernel_stack: Vec<String>,
}

impl Cpu {
    /// `sampled`: whether running threads were sampled.
    pub(super) fn new(view: &CpuView, sampled: bool) -> Self {
        Self {
            allowed_cpus: view.allowed,
            quota_cpus: view.quota_millicpus.map(|quota| f64::from(quota) / 1e3),
            throttled_ns: view.throttled.map(|time| time.0),
            samples: sampled.then_some(view.samples),
            period_ns: sampled.then_some(view.period.0),
            io_uring: view.io_uring,
            by_stack: sampled.then(|| {
                view.by_stack
                    .iter()
                    .take(STACKS)
                    .map(|view| CpuStack {
                        samples: view.samples,
                        stack: frames(&view.stack),
                        kernel_stack: frames(&view.kernel_stack),
                    })
                    .collect()
            }),
            javascript: sampled.then(|| view.javascript.iter().map(Into::into).collect()),
        }
    }
}
