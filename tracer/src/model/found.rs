//! What samples and long waits found threads doing, kept until it is known what it was a part of: a poll of a task, an
//! iteration of an event loop. Both end later than the samples inside them come.

use std::collections::BTreeMap;

use tracer_common::{Nanos, StackId, Tid};

/// Threads kept at most.
const THREADS: usize = 16_384;
/// Stacks kept of one: the last ones.
const STACKS: usize = 32;
/// How long they are kept for an end that may never be seen.
const KEPT: u64 = 60_000_000_000;

/// What threads were found doing lately.
#[derive(Debug, Default)]
pub(super) struct Found(BTreeMap<Tid, Vec<One>>);

#[derive(Clone, Copy, Debug)]
struct One {
    at: Nanos,
    stack: StackId,
    time: Nanos,
    is_wait: bool,
}

impl Found {
    /// A thread was found running there at this moment, for so long.
    pub(super) fn ran(&mut self, tid: Tid, at: Nanos, stack: StackId, time: Nanos) {
        let is_wait = false;
        self.note(
            tid,
            One {
                at,
                stack,
                time,
                is_wait,
            },
        );
    }

    /// A thread waited there for so long, until this moment.
    pub(super) fn waited(&mut self, tid: Tid, at: Nanos, stack: StackId, time: Nanos) {
        let is_wait = true;
        self.note(
            tid,
            One {
                at,
                stack,
                time,
                is_wait,
            },
        );
    }

    fn note(&mut self, tid: Tid, one: One) {
        let stack = one.stack;
        if stack == StackId::NONE || (self.0.len() >= THREADS && !self.0.contains_key(&tid)) {
            return;
        }
        let found = self.0.entry(tid).or_default();
        if found.len() >= STACKS {
            found.remove(0);
        }
        found.push(one);
    }

    /// The stack that a thread was found in for the longest time between these moments.
    pub(super) fn within(&self, tid: Tid, since: Nanos, until: Nanos) -> StackId {
        let mut by_stack: BTreeMap<StackId, u64> = BTreeMap::new();
        for found in self.between(tid, since, until) {
            let time = by_stack.entry(found.stack).or_default();
            *time = time.saturating_add(found.time.0);
        }
        let longest = by_stack.iter().max_by_key(|&(_, &time)| time);
        longest.map_or(StackId::NONE, |(&stack, _)| stack)
    }

    /// The stack of the longest wait of a thread between these moments; none when it did not wait for long.
    pub(super) fn longest_wait(&self, tid: Tid, since: Nanos, until: Nanos) -> StackId {
        let waits = self.between(tid, since, until).filter(|one| one.is_wait);
        let longest = waits.max_by_key(|one| one.time);
        longest.map_or(StackId::NONE, |one| one.stack)
    }

    fn between(&self, tid: Tid, since: Nanos, until: Nanos) -> impl Iterator<Item = &One> {
        let found = self.0.get(&tid).into_iter().flatten();
        found.filter(move |one| one.at >= since && one.at <= until)
    }

    /// What it was a part of has ended.
    pub(super) fn forget(&mut self, tid: Tid) {
        self.0.remove(&tid);
    }

    /// Gives up what is too old.
    pub(super) fn close(&mut self, now: Nanos) {
        let oldest = Nanos(now.0.saturating_sub(KEPT));
        self.0
            .retain(|_, found| found.last().is_some_and(|last| last.at >= oldest));
    }

    /// Things that are kept one by one.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.0.values().map(|found| 1 + found.len()).sum()
    }
}
