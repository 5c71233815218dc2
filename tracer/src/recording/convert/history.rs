//! What was last said about each thread, system call and row of a table, so that a sample need only say what changed.
//!
//! Writer and reader keep the same history: both forget it at every restart the file says, and a reader also where
//! a part of the file is missing. It is bounded: the writer restarts before it is full.

use std::collections::HashMap;

use tracer_common::{
    Nanos, SyscallKey, TableNr, ThreadTimes, Tid,
    event_loop::LoopRow,
    hist::BUCKETS,
    table::{LockRow, PollRow},
};

use super::Malformed;
use crate::record::{CounterKey, CounterSample, SyscallSample, ThreadSample};

/// Most threads, calls and rows remembered. A full one takes 32 MiB if every call had durations in every bucket, and
/// 64 MiB if every row were as long as a row may be.
const CAPACITY: usize = 8192;

/// The last sample of each thread, call and row.
#[derive(Default)]
pub(super) struct History {
    threads: HashMap<(Tid, Nanos), ThreadTimes>,
    syscalls: HashMap<SyscallKey, SyscallSample>,
    counters: HashMap<(TableNr, CounterKey), Vec<(u32, u64)>>,
}

impl History {
    pub(super) fn forget(&mut self) {
        self.threads.clear();
        self.syscalls.clear();
        self.counters.clear();
    }

    pub(super) fn is_full(&self) -> bool {
        self.threads.len() + self.syscalls.len() + self.counters.len() >= CAPACITY
    }

    /// What changed in the times of a thread, or `None` when its last sample is not known or cannot
    /// have become this one.
    pub(super) fn thread_change(&self, sample: &ThreadSample) -> Option<ThreadTimes> {
        let before = self.threads.get(&(sample.tid, sample.first))?;
        combine_times(&sample.times, before, u64::checked_sub)
    }

    /// The times of a thread after `change`, or `None` when its last sample is not known.
    pub(super) fn thread_after(
        &self,
        thread: (Tid, Nanos),
        change: &ThreadTimes,
    ) -> Option<Result<ThreadTimes, Malformed>> {
        let before = self.threads.get(&thread)?;
        Some(combine_times(before, change, u64::checked_add).ok_or(Malformed))
    }

    pub(super) fn remember_thread(&mut self, sample: &ThreadSample) -> Result<(), Malformed> {
        let thread = (sample.tid, sample.first);
        if self.is_full() && !self.threads.contains_key(&thread) {
            return Err(Malformed);
        }
        self.threads.insert(thread, sample.times);
        Ok(())
    }

    /// What changed in a system call of a thread, or `None` when its last sample is not known or cannot have
    /// become this one.
    pub(super) fn syscall_change(&self, sample: &SyscallSample) -> Option<SyscallSample> {
        let before = self.syscalls.get(&sample.key)?;
        if !is_ascending(&sample.buckets, BUCKETS) {
            return None;
        }
        Some(SyscallSample {
            key: sample.key,
            count: sample.count.checked_sub(before.count)?,
            errors: sample.errors.checked_sub(before.errors)?,
            timed: sample.timed.checked_sub(before.timed)?,
            sum: sample.sum.since(before.sum)?,
            max: sample.max.since(before.max)?,
            buckets: changed(&sample.buckets, &before.buckets)?,
            last: sample.last,
        })
    }

    /// A system call of a thread after `change`, or `None` when its last sample is not known.
    pub(super) fn syscall_after(
        &self,
        change: &SyscallSample,
    ) -> Option<Result<SyscallSample, Malformed>> {
        let before = self.syscalls.get(&change.key)?;
        Some(add_syscall(before, change).ok_or(Malformed))
    }

    pub(super) fn remember_syscall(&mut self, sample: &SyscallSample) -> Result<(), Malformed> {
        if sample.last || !is_ascending(&sample.buckets, BUCKETS) {
            self.syscalls.remove(&sample.key);
            return Ok(());
        }
        if self.is_full() && !self.syscalls.contains_key(&sample.key) {
            return Err(Malformed);
        }
        self.syscalls.insert(sample.key, sample.clone());
        Ok(())
    }

    /// The words of a row that changed, or `None` when its last sample is not known or cannot have become this one.
    pub(super) fn counter_change(&self, sample: &CounterSample) -> Option<Vec<(u32, u64)>> {
        let before = self.counters.get(&(sample.table, sample.key))?;
        if !is_ascending(&sample.words, WORDS) {
            return None;
        }
        changed(&sample.words, before)
    }

    /// The words of a row after `change`, or `None` when its last sample is not known.
    pub(super) fn counter_after(
        &self,
        row: (TableNr, CounterKey),
        change: &[(u32, u64)],
    ) -> Option<Result<Vec<(u32, u64)>, Malformed>> {
        let before = self.counters.get(&row)?;
        Some(add(before, change, WORDS).ok_or(Malformed))
    }

    pub(super) fn remember_counter(&mut self, sample: &CounterSample) -> Result<(), Malformed> {
        let row = (sample.table, sample.key);
        if sample.last || !is_ascending(&sample.words, WORDS) {
            self.counters.remove(&row);
            return Ok(());
        }
        if self.is_full() && !self.counters.contains_key(&row) {
            return Err(Malformed);
        }
        self.counters.insert(row, sample.words.clone());
        Ok(())
    }
}

/// Words of the longest row there may be.
const WORDS: usize = 512;

const _: () = assert!(size_of::<LockRow>() / 8 <= WORDS && size_of::<PollRow>() / 8 <= WORDS);
const _: () = assert!(size_of::<LoopRow>() / 8 <= WORDS);

/// A count of a bucket, or a counter.
trait Count: Copy + Default + PartialEq {
    fn less(self, other: Self) -> Option<Self>;
    fn plus(self, other: Self) -> Option<Self>;
}

impl Count for u32 {
    fn less(self, other: Self) -> Option<Self> {
        self.checked_sub(other)
    }

    fn plus(self, other: Self) -> Option<Self> {
        self.checked_add(other)
    }
}

impl Count for u64 {
    fn less(self, other: Self) -> Option<Self> {
        self.checked_sub(other)
    }

    fn plus(self, other: Self) -> Option<Self> {
        self.checked_add(other)
    }
}

fn combine_times(
    one: &ThreadTimes,
    other: &ThreadTimes,
    with: impl Fn(u64, u64) -> Option<u64>,
) -> Option<ThreadTimes> {
    let mut result = ThreadTimes {
        voluntary: with(one.voluntary, other.voluntary)?,
        involuntary: with(one.involuntary, other.involuntary)?,
        migrations: with(one.migrations, other.migrations)?,
        ..*one
    };
    for (time, &other) in result.in_state.iter_mut().zip(&other.in_state) {
        *time = with(*time, other)?;
    }
    Some(result)
}

fn add_syscall(before: &SyscallSample, change: &SyscallSample) -> Option<SyscallSample> {
    Some(SyscallSample {
        key: change.key,
        count: before.count.checked_add(change.count)?,
        errors: before.errors.checked_add(change.errors)?,
        timed: before.timed.checked_add(change.timed)?,
        sum: Nanos(before.sum.0.checked_add(change.sum.0)?),
        max: Nanos(before.max.0.checked_add(change.max.0)?),
        buckets: add(&before.buckets, &change.buckets, BUCKETS)?,
        last: change.last,
    })
}

/// True for a list of places as the kernel's rows give it. Others are written as they are, every time.
fn is_ascending<C>(list: &[(u32, C)], places: usize) -> bool {
    list.is_sorted_by(|(one, _), (next, _)| one < next)
        && list
            .last()
            .is_none_or(|&(last, _)| (last as usize) < places)
}

/// The places of `now` that are not in `before`, or were smaller; `None` when one shrank or vanished.
fn changed<C: Count>(now: &[(u32, C)], before: &[(u32, C)]) -> Option<Vec<(u32, C)>> {
    let mut changed = Vec::new();
    let mut before = before.iter().peekable();
    for &(place, count) in now {
        let was = before.next_if(|&&(old, _)| old == place);
        let more = count.less(was.map_or(C::default(), |&(_, count)| count))?;
        if was.is_none() || more != C::default() {
            changed.push((place, more));
        }
    }
    before.next().is_none().then_some(changed)
}

/// The inverse of [`changed`]. Both lists are ascending, or the result is `None`.
fn add<C: Count>(before: &[(u32, C)], change: &[(u32, C)], places: usize) -> Option<Vec<(u32, C)>> {
    let mut sum = Vec::with_capacity(before.len().max(change.len()));
    let mut before = before.iter().copied().peekable();
    for &(place, more) in change {
        while let Some(unchanged) = before.next_if(|&(old, _)| old < place) {
            sum.push(unchanged);
        }
        let was = before
            .next_if(|&(old, _)| old == place)
            .map_or(C::default(), |(_, count)| count);
        sum.push((place, more.plus(was)?));
    }
    sum.extend(before);
    is_ascending(&sum, places).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changed_buckets_are_said_and_they_add_up_again() {
        let before = [(3, 1u32), (8, 2), (9, 5)];
        let now = [(1, 1), (3, 1), (8, 3), (9, 5), (495, 7)];
        let changed = changed(&now, &before).unwrap();
        assert_eq!(changed, [(1, 1), (8, 1), (495, 7)]);
        assert_eq!(add(&before, &changed, BUCKETS).unwrap(), now);
    }

    #[test]
    fn an_empty_bucket_that_appears_is_a_change() {
        let changed = changed(&[(4, 0u32), (5, 1)], &[(5, 1)]).unwrap();
        assert_eq!(changed, [(4, 0)]);
        assert_eq!(add(&[(5, 1)], &changed, BUCKETS).unwrap(), [(4, 0), (5, 1)]);
    }

    #[test]
    fn a_row_that_shrank_is_not_a_change_of_the_one_before() {
        assert_eq!(changed(&[(5, 1u32)], &[(5, 2)]), None);
        assert_eq!(changed(&[(5, 1u32)], &[(5, 1), (6, 1)]), None);
        assert_eq!(changed(&[(6, 1u32)], &[(5, 1)]), None);
    }

    #[test]
    fn a_word_of_a_row_may_be_any_number() {
        let (before, now) = ([(0, 1u64 << 63)], [(0, u64::MAX), (511, 1)]);
        let changed = changed(&now, &before).unwrap();
        assert_eq!(add(&before, &changed, WORDS).unwrap(), now);
        assert_eq!(add(&now, &[(0, 1)], WORDS), None, "beyond the largest");
        assert_eq!(add(&now, &[(512, 1)], WORDS), None, "longer than a row is");
    }

    #[test]
    fn a_full_history_takes_no_more() {
        let mut history = History::default();
        let sample = |tid| ThreadSample {
            tid: Tid(tid),
            ..ThreadSample::default()
        };
        for tid in 0..CAPACITY as u32 {
            assert_eq!(history.remember_thread(&sample(tid)), Ok(()));
        }
        assert!(history.is_full());
        assert_eq!(history.remember_thread(&sample(0)), Ok(()), "known already");
        assert_eq!(history.remember_thread(&sample(u32::MAX)), Err(Malformed));
        assert_eq!(
            history.remember_syscall(&SyscallSample::default()),
            Err(Malformed)
        );
        assert_eq!(
            history.remember_counter(&CounterSample::default()),
            Err(Malformed)
        );
        history.forget();
        assert_eq!(history.remember_counter(&CounterSample::default()), Ok(()));
        assert_eq!(history.remember_syscall(&SyscallSample::default()), Ok(()));
    }
}
