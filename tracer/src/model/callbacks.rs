//! Callbacks of Node by kind, and promises: from the tables of the kernel side, with the functions that samples met.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use tracer_common::{
    EventHeader, Nanos, Pid, StackId,
    callback::{CallbackKey, CallbackKind, CallbackTime, PromiseKey, PromiseStep},
    event::{CpuSample, LongCallback},
    table::Timed,
};

use super::{
    Model,
    counters::{Sum as _, Tables, distribution, scale, scale_all},
    snapshot::{
        CallbackView, CallbacksView, Distribution, LISTED, LongCallbackView, PromisesView,
        StackView,
    },
};
use crate::record::{CallbackKindMeta, ProbesSample, SymbolMeta};

/// Names and kinds kept at most: Node has some 70.
const KINDS: usize = 4_096;
/// Long callbacks kept one by one.
const LONG: usize = 64;
/// Stacks kept of a kind.
const STACKS: usize = 256;

type Kind = (Pid, CallbackKind);

/// What is known besides the tables.
#[derive(Debug, Default)]
pub(super) struct Callbacks {
    names: BTreeMap<Kind, String>,
    /// Samples by stack.
    samples: BTreeMap<Kind, BTreeMap<StackId, u64>>,
    long: VecDeque<(EventHeader, LongCallback)>,
    last: Nanos,
    callbacks: Watched,
    promises: Watched,
    /// What was counted in the last window in which each was watched.
    recent: BTreeMap<CallbackKey, [u64; 2]>,
    recent_awaits: BTreeMap<Pid, u64>,
}

/// How long something was watched.
#[derive(Clone, Copy, Debug, Default)]
struct Watched {
    /// Since when.
    first: Nanos,
    on: Nanos,
    at_last_tick: Nanos,
    /// In the last window in which it was.
    recent: Nanos,
}

impl Watched {
    /// Closes a window. True when something was watched in it.
    fn close(&mut self) -> bool {
        let more = self.on.since(self.at_last_tick).unwrap_or_default();
        self.at_last_tick = self.on;
        if more.0 > 0 {
            self.recent = more;
        }
        more.0 > 0
    }

    /// As a part of the time until then.
    fn share(&self, last: Nanos) -> Option<f64> {
        if self.on.0 == 0 {
            return None;
        }
        let time = last.since(self.first)?;
        Some((self.on.0 as f64 / time.0.max(1) as f64).min(1.0))
    }
}

impl Callbacks {
    pub(super) fn name(&mut self, meta: &CallbackKindMeta) {
        let key = (meta.pid, meta.kind);
        if self.names.len() < KINDS || self.names.contains_key(&key) {
            self.names.insert(key, meta.name.clone());
        }
    }

    pub(super) fn sampled(&mut self, pid: Pid, sample: &CpuSample) {
        let Some(number) = sample.callback.checked_sub(1) else {
            return;
        };
        let key = (pid, CallbackKind { number });
        if self.samples.len() >= KINDS && !self.samples.contains_key(&key) {
            return;
        }
        let of = self.samples.entry(key).or_default();
        let mut stack = sample.stack;
        if of.len() >= STACKS && !of.contains_key(&stack) {
            stack = StackId::NONE;
        }
        *of.entry(stack).or_default() += 1;
    }

    pub(super) fn long(&mut self, header: &EventHeader, callback: &LongCallback) {
        if self.long.len() >= LONG {
            self.long.pop_front();
        }
        self.long.push_back((*header, *callback));
    }

    pub(super) fn probes(&mut self, sample: &ProbesSample) {
        self.last = match sample.polls_last {
            Nanos(0) => sample.at,
            last => last,
        };
        (self.callbacks.first, self.callbacks.on) = (sample.callbacks_first, sample.callbacks_on);
        (self.promises.first, self.promises.on) = (sample.promises_first, sample.promises_on);
    }

    /// Closes a window, after that of the tables.
    pub(super) fn close(&mut self, tables: &Tables) {
        if self.callbacks.close() {
            let rows = tables.callbacks.largest(usize::MAX);
            self.recent = rows.iter().map(|row| (row.key, row.recent)).collect();
        }
        if self.promises.close() {
            let rows = tables.promises.largest(usize::MAX);
            let awaits = rows.iter().filter(|row| row.key.what == PromiseStep::AWAIT);
            self.recent_awaits = awaits.map(|row| (row.key.pid, row.recent[0])).collect();
        }
    }

    /// Things that are kept one by one.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        let stacks = self.samples.values().map(|of| 1 + of.len());
        self.names.len() + stacks.sum::<usize>() + self.long.len()
    }

    fn kind(&self, pid: Pid, kind: CallbackKind) -> String {
        match kind {
            CallbackKind::TIMERS => "Timers".to_owned(),
            CallbackKind::IMMEDIATES => "Immediates".to_owned(),
            CallbackKind::NONE => "none".to_owned(),
            kind => match self.names.get(&(pid, kind)) {
                Some(name) => name.clone(),
                None => format!("kind {}", kind.number),
            },
        }
    }
}

impl Model {
    pub(super) fn callbacks_view(&self) -> CallbacksView {
        let own = &self.callbacks;
        let watched = own.callbacks.share(own.last);
        let mut sums: BTreeMap<Kind, [Timed; 2]> = BTreeMap::new();
        let mut recent: BTreeMap<Kind, (u64, Nanos)> = BTreeMap::new();
        for found in self.tables.callbacks.largest(usize::MAX) {
            let CallbackKey {
                pid, kind, what, ..
            } = found.key;
            let [busy, ticks] = sums.entry((pid, kind)).or_default();
            let [count, time] = own.recent.get(&found.key).copied().unwrap_or_default();
            let recent = recent.entry((pid, kind)).or_default();
            recent.1 = recent.1.plus(Nanos(time));
            match what {
                CallbackTime::BUSY => {
                    busy.add(&found.row);
                    recent.0 = count;
                }
                CallbackTime::TICKS => ticks.add(&found.row),
                _ => {}
            }
        }
        let mut microtasks: Vec<(Pid, Distribution)> = Vec::new();
        let mut kinds = Vec::new();
        for ((pid, kind), [busy, ticks]) in sums {
            let [busy, ticks] = [busy, ticks].map(|times| scale_all(distribution(&times), watched));
            if kind == CallbackKind::MICROTASKS {
                microtasks.push((pid, busy));
                continue;
            }
            let (samples, function) = self.function_of(pid, kind);
            let (recent, recent_time) = recent.remove(&(pid, kind)).unwrap_or_default();
            kinds.push(CallbackView {
                pid,
                kind: own.kind(pid, kind),
                busy,
                ticks,
                samples,
                function,
                recent,
                recent_time,
            });
        }
        kinds.sort_by(|a, b| {
            let by_time = b.whole().cmp(&a.whole());
            by_time.then_with(|| (a.pid, &a.kind).cmp(&(b.pid, &b.kind)))
        });
        kinds.truncate(LISTED);
        CallbacksView {
            kinds,
            microtasks,
            promises: self.promise_views(),
            long: self.long_callbacks(),
            watched,
            promises_watched: own.promises.share(own.last),
            recent_on: own.callbacks.recent,
            recent_promises_on: own.promises.recent,
        }
    }

    fn promise_views(&self) -> Vec<PromisesView> {
        let own = &self.callbacks;
        let watched = own.promises.share(own.last);
        let mut views: BTreeMap<Pid, PromisesView> = BTreeMap::new();
        for found in self.tables.promises.largest(usize::MAX) {
            let PromiseKey { pid, what } = found.key;
            let view = views.entry(pid).or_default();
            view.pid = pid;
            let count = match what {
                PromiseStep::AWAIT => &mut view.awaits,
                PromiseStep::RESUMED => &mut view.resumed,
                PromiseStep::THROWN => &mut view.thrown,
                PromiseStep::FULFILLED => &mut view.fulfilled,
                PromiseStep::REJECTED => &mut view.rejected,
                PromiseStep::THEN => &mut view.thens,
                _ => continue,
            };
            *count = scale(found.row.count, watched);
            view.recent_awaits = own.recent_awaits.get(&pid).copied().unwrap_or_default();
        }
        let mut views: Vec<PromisesView> = views.into_values().collect();
        views.sort_by_key(|view| (Reverse(view.awaits), view.pid));
        views.truncate(LISTED);
        views
    }

    fn long_callbacks(&self) -> Vec<LongCallbackView> {
        let own = &self.callbacks;
        let view = |(header, long): &(EventHeader, LongCallback)| LongCallbackView {
            since: long.since,
            pid: header.pid,
            tid: header.tid,
            kind: own.kind(header.pid, long.kind),
            busy: Nanos(long.busy),
            ticks: Nanos(long.ticks),
            async_id: async_id(long.async_id),
            trigger_async_id: async_id(long.trigger_async_id),
        };
        own.long.iter().rev().map(view).collect()
    }

    /// Samples in callbacks of a kind, and the function that most of them were under.
    fn function_of(&self, pid: Pid, kind: CallbackKind) -> (u64, Option<Arc<SymbolMeta>>) {
        let Some(samples) = self.callbacks.samples.get(&(pid, kind)) else {
            return (0, None);
        };
        let mut functions: BTreeMap<(String, String), Met> = BTreeMap::new();
        let mut all = 0u64;
        for (&stack, &count) in samples {
            all = all.saturating_add(count);
            let Some(symbol) = outermost(&self.stacks.view(stack)) else {
                continue;
            };
            let Some(frame) = symbol.frames.last() else {
                continue;
            };
            let key = (frame.file.clone(), frame.function.clone());
            let met = functions.entry(key).or_default();
            met.samples = met.samples.saturating_add(count);
            if met.most < count {
                met.most = count;
                met.symbol = Some(symbol);
            }
        }
        let most = functions.into_iter().max_by_key(|((file, _), met)| {
            // Its own functions first: what Node does around them is the same in every program.
            (!file.starts_with(NODE), met.samples)
        });
        (all, most.and_then(|(_, met)| met.symbol))
    }
}

/// A function that samples were under.
#[derive(Default)]
struct Met {
    samples: u64,
    /// Where in it most of one stack's were, and how many those are.
    symbol: Option<Arc<SymbolMeta>>,
    most: u64,
}

/// How the names of Node's own scripts begin.
const NODE: &str = "node:";

/// The outermost frame of the program's own JavaScript; of Node's where there is none.
fn outermost(stack: &StackView) -> Option<Arc<SymbolMeta>> {
    let js = |symbol: &&Arc<SymbolMeta>| symbol.is_javascript();
    let frames = || stack.iter().rev().filter(js);
    let own = frames().find(|symbol| !is_of_node(symbol));
    own.or_else(|| frames().next()).cloned()
}

/// True for a function of Node's own JavaScript.
fn is_of_node(symbol: &SymbolMeta) -> bool {
    symbol
        .frames
        .last()
        .is_some_and(|frame| frame.file.starts_with(NODE))
}

/// The number whose bits these are: Node keeps its ids as floating point numbers.
fn async_id(bits: u64) -> u64 {
    // Ids count up from 1; what is no such number is none.
    f64::from_bits(bits) as u64
}
