//! Call stacks and what was found with them: samples of running threads, long waits, memory asked for.

use std::{collections::BTreeMap, sync::Arc};

use tracer_common::{
    Nanos, Pid, StackId, State, Tid,
    event::{CpuSample, LongWait, Mapped, Unmapped},
};

use super::snapshot::{CpuStackView, LISTED, MemoryStackView, StackView};
use crate::record::{StackMeta, SymbolMeta};

/// Stacks kept at most; the agent numbers fewer.
const STACKS: usize = 65_536;
/// Addresses with a symbol kept at most.
const SYMBOLS: usize = 262_144;
/// Different kinds of long waits and samples kept at most; more are counted without their stack.
const KINDS: usize = 16_384;
/// Mappings whose end is waited for, oldest given up first.
const MAPPINGS: usize = 16_384;
/// A stack of so few frames ended early: the code has no frame pointers.
const SHALLOW: usize = 2;

#[derive(Debug, Default)]
pub(super) struct Stacks {
    stacks: BTreeMap<StackId, Arc<StackMeta>>,
    symbols: BTreeMap<(Pid, u64), Arc<SymbolMeta>>,
    pub(super) waits: BTreeMap<(State, StackId), Waits>,
    /// Where those who waited on an address called from, by time.
    pub(super) at_lock: BTreeMap<(Pid, u64), BTreeMap<(StackId, StackId), u64>>,
    samples: BTreeMap<(StackId, StackId), u64>,
    pub(super) sample_count: u64,
    pub(super) sample_period: Nanos,
    memory: BTreeMap<StackId, Memory>,
    mapped: BTreeMap<(Pid, u64), Mapping>,
    /// The same by age: addresses are used again and again, so an address alone does not say how old a mapping is.
    by_age: BTreeMap<u64, (Pid, u64)>,
    mappings: u64,
    pub(super) taken: u64,
    pub(super) shallow: u64,
}

/// Long waits in one state from one stack.
#[derive(Debug, Default)]
pub(super) struct Waits {
    pub(super) waker_stack: StackId,
    pub(super) pid: Pid,
    pub(super) tid: Tid,
    pub(super) count: u64,
    pub(super) sum: Nanos,
    pub(super) max: Nanos,
}

/// A sampled mapping whose end is waited for.
#[derive(Clone, Copy, Debug)]
struct Mapping {
    stack: StackId,
    bytes: u64,
    /// Its place in the order in which they came.
    age: u64,
}

#[derive(Debug, Default)]
struct Memory {
    samples: u64,
    bytes: u64,
    still_mapped: u64,
}

impl Stacks {
    pub(super) fn stack(&mut self, meta: &StackMeta) {
        if self.stacks.len() < STACKS || self.stacks.contains_key(&meta.id) {
            self.stacks.insert(meta.id, Arc::new(meta.clone()));
        }
    }

    pub(super) fn symbol(&mut self, meta: &SymbolMeta) {
        let key = (meta.pid, meta.address);
        if self.symbols.len() < SYMBOLS || self.symbols.contains_key(&key) {
            self.symbols.insert(key, Arc::new(meta.clone()));
        }
    }

    /// Counts a user stack as taken.
    fn count(&mut self, id: StackId) {
        if let Some(stack) = self.stacks.get(&id) {
            self.taken += 1;
            if stack.frames.len() <= SHALLOW {
                self.shallow += 1;
            }
        }
    }

    pub(super) fn sampled(&mut self, sample: &CpuSample) {
        self.sample_count += 1;
        self.sample_period = Nanos(sample.period);
        self.count(sample.stack);
        let mut key = (sample.stack, sample.kernel_stack);
        if self.samples.len() >= KINDS && !self.samples.contains_key(&key) {
            key = (StackId::NONE, StackId::NONE);
        }
        *self.samples.entry(key).or_default() += 1;
    }

    /// A thread was woken at `at` after a long wait.
    pub(super) fn waited(&mut self, at: Nanos, wait: &LongWait) {
        let waited = at.since(wait.since).unwrap_or_default();
        self.count(wait.stack);
        let mut key = (wait.state, wait.stack);
        if self.waits.len() >= KINDS && !self.waits.contains_key(&key) {
            key.1 = StackId::NONE;
        }
        let waits = self.waits.entry(key).or_default();
        waits.pid = wait.pid;
        waits.tid = wait.tid;
        waits.count += 1;
        waits.sum = waits.sum.plus(waited);
        waits.max = waits.max.max(waited);
        if wait.waker_stack != StackId::NONE {
            waits.waker_stack = wait.waker_stack;
        }
        if wait.state != State::FUTEX || wait.stack == StackId::NONE {
            return;
        }
        let lock = (wait.pid, wait.on);
        if self.at_lock.len() < KINDS || self.at_lock.contains_key(&lock) {
            let stacks = self.at_lock.entry(lock).or_default();
            let pair = (wait.stack, wait.waker_stack);
            if stacks.len() < 64 || stacks.contains_key(&pair) {
                let time = stacks.entry(pair).or_default();
                *time = time.saturating_add(waited.0);
            }
        }
    }

    pub(super) fn mapped(&mut self, pid: Pid, mapped: &Mapped) {
        let mut id = mapped.stack;
        if self.memory.len() >= KINDS && !self.memory.contains_key(&id) {
            id = StackId::NONE;
        }
        let memory = self.memory.entry(id).or_default();
        memory.samples += 1;
        memory.bytes = memory.bytes.saturating_add(mapped.weight);
        if mapped.what != tracer_common::table::MemoryCall::MAP.number {
            return;
        }
        memory.still_mapped = memory.still_mapped.saturating_add(mapped.bytes);
        let key = (pid, mapped.address);
        // Mapped over: the mapping before is gone.
        self.gone(key);
        self.mappings += 1;
        let mapping = Mapping {
            stack: id,
            bytes: mapped.bytes,
            age: self.mappings,
        };
        self.mapped.insert(key, mapping);
        self.by_age.insert(mapping.age, key);
        if self.by_age.len() > MAPPINGS
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            // It counts as still mapped from now on.
            self.mapped.remove(&oldest);
        }
    }

    pub(super) fn unmapped(&mut self, pid: Pid, unmapped: &Unmapped) {
        self.gone((pid, unmapped.address));
    }

    /// A process ended or runs another program: what it had mapped is gone.
    pub(super) fn left(&mut self, pid: Pid) {
        let all: Vec<(Pid, u64)> = self
            .mapped
            .range((pid, 0)..=(pid, u64::MAX))
            .map(|(&key, _)| key)
            .collect();
        for key in all {
            self.gone(key);
        }
    }

    fn gone(&mut self, key: (Pid, u64)) {
        let Some(mapping) = self.mapped.remove(&key) else {
            return;
        };
        self.by_age.remove(&mapping.age);
        if let Some(memory) = self.memory.get_mut(&mapping.stack) {
            memory.still_mapped = memory.still_mapped.saturating_sub(mapping.bytes);
        }
    }

    /// The stack of this number, with what is known of its addresses.
    pub(super) fn view(&self, id: StackId) -> StackView {
        let Some(stack) = self.stacks.get(&id) else {
            return Vec::new();
        };
        let frame = |&address: &u64| {
            let known = self.symbols.get(&(stack.pid, address)).cloned();
            known.unwrap_or_else(|| {
                Arc::new(SymbolMeta {
                    pid: stack.pid,
                    address,
                    ..SymbolMeta::default()
                })
            })
        };
        stack.frames.iter().map(frame).collect()
    }

    /// The stacks of the longest time at a lock: waiter's and waker's.
    pub(super) fn of_lock(&self, pid: Pid, address: u64) -> (StackView, StackView) {
        let stacks = self.at_lock.get(&(pid, address));
        let longest = stacks.and_then(|stacks| stacks.iter().max_by_key(|&(_, &time)| time));
        longest.map_or_else(Default::default, |(&(waiter, waker), _)| {
            (self.view(waiter), self.view(waker))
        })
    }

    /// User stacks in which running threads were met, and how often.
    pub(super) fn user_stacks(&self) -> impl Iterator<Item = (StackId, u64)> {
        self.samples
            .iter()
            .map(|(&(stack, _), &count)| (stack, count))
    }

    pub(super) fn cpu_views(&self) -> Vec<CpuStackView> {
        let mut all: Vec<_> = self.samples.iter().collect();
        all.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        all.truncate(LISTED);
        all.into_iter()
            .map(|(&(stack, kernel), &samples)| CpuStackView {
                stack: self.view(stack),
                kernel_stack: self.view(kernel),
                samples,
            })
            .collect()
    }

    /// CPU time in page faults, by the samples whose kernel stack goes through the fault handler. `None` without
    /// samples.
    pub(super) fn fault_cpu(&self) -> Option<Nanos> {
        if self.sample_count == 0 {
            return None;
        }
        let in_fault = |id: StackId| {
            self.stacks.get(&id).is_some_and(|stack| {
                let symbols = stack
                    .frames
                    .iter()
                    .filter_map(|&address| self.symbols.get(&(stack.pid, address)));
                symbols
                    .flat_map(|symbol| &symbol.frames)
                    .any(|frame| frame.function.contains("exc_page_fault"))
            })
        };
        let samples = self
            .samples
            .iter()
            .filter(|&(&(_, kernel), _)| kernel != StackId::NONE && in_fault(kernel))
            .fold(0u64, |sum, (_, &count)| sum.saturating_add(count));
        Some(Nanos(samples.saturating_mul(self.sample_period.0)))
    }

    pub(super) fn memory_views(&self) -> Vec<MemoryStackView> {
        let mut all: Vec<_> = self.memory.iter().collect();
        all.sort_by(|a, b| b.1.bytes.cmp(&a.1.bytes).then(a.0.cmp(b.0)));
        all.truncate(LISTED);
        all.into_iter()
            .map(|(&id, memory)| MemoryStackView {
                stack: self.view(id),
                samples: memory.samples,
                bytes: memory.bytes,
                still_mapped_bytes: memory.still_mapped,
            })
            .collect()
    }
}
