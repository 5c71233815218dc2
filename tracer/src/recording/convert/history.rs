//! What was last said about each thread and system call, so that a sample need only say what changed.
//!
//! Writer and reader keep the same history: both forget it at every restart the file says, and a reader also where
//! a part of the file is missing. It is bounded: the writer restarts before it is full.

use std::collections::HashMap;

use tracer_common::{Nanos, SyscallKey, ThreadTimes, Tid, hist::BUCKETS};

use super::Malformed;
use crate::record::{SyscallSample, ThreadSample};

/// Most threads and calls remembered. A full one takes 32 MiB, if every call had durations in every bucket.
const CAPACITY: usize = 8192;

/// The last sample of each thread and call.
#[derive(Default)]
pub(super) struct History {
    threads: HashMap<(Tid, Nanos), ThreadTimes>,
    syscalls: HashMap<SyscallKey, SyscallSample>,
}

impl History {
    pub(super) fn forget(&mut self) {
        self.threads.clear();
        self.syscalls.clear();
    }

    pub(super) fn is_full(&self) -> bool {
        self.threads.len() + self.syscalls.len() >= CAPACITY
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
        if !is_ascending(&sample.buckets) {
            return None;
        }
        Some(SyscallSample {
            key: sample.key,
            count: sample.count.checked_sub(before.count)?,
            errors: sample.errors.checked_sub(before.errors)?,
            timed: sample.timed.checked_sub(before.timed)?,
            sum: sample.sum.since(before.sum)?,
            max: sample.max.since(before.max)?,
            buckets: changed_buckets(&sample.buckets, &before.buckets)?,
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
        if sample.last || !is_ascending(&sample.buckets) {
            self.syscalls.remove(&sample.key);
            return Ok(());
        }
        if self.is_full() && !self.syscalls.contains_key(&sample.key) {
            return Err(Malformed);
        }
        self.syscalls.insert(sample.key, sample.clone());
        Ok(())
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
        buckets: add_buckets(&before.buckets, &change.buckets)?,
        last: change.last,
    })
}

/// True for a list of buckets as the kernel's rows give it. Others are written as they are, every time.
fn is_ascending(buckets: &[(u32, u32)]) -> bool {
    buckets.is_sorted_by(|(one, _), (next, _)| one < next)
        && buckets
            .last()
            .is_none_or(|&(last, _)| (last as usize) < BUCKETS)
}

/// The buckets of `now` that are not in `before`, or were smaller; `None` when one shrank or vanished.
fn changed_buckets(now: &[(u32, u32)], before: &[(u32, u32)]) -> Option<Vec<(u32, u32)>> {
    let mut changed = Vec::new();
    let mut before = before.iter().peekable();
    for &(bucket, count) in now {
        let was = before.next_if(|&&(old, _)| old == bucket);
        let more = count.checked_sub(was.map_or(0, |&(_, count)| count))?;
        if was.is_none() || more != 0 {
            changed.push((bucket, more));
        }
    }
    before.next().is_none().then_some(changed)
}

/// The inverse of [`changed_buckets`]. Both lists are ascending, or the result is `None`.
fn add_buckets(before: &[(u32, u32)], change: &[(u32, u32)]) -> Option<Vec<(u32, u32)>> {
    let mut sum = Vec::with_capacity(before.len().max(change.len()));
    let mut before = before.iter().copied().peekable();
    for &(bucket, more) in change {
        while let Some(unchanged) = before.next_if(|&(old, _)| old < bucket) {
            sum.push(unchanged);
        }
        let was = before
            .next_if(|&(old, _)| old == bucket)
            .map_or(0, |(_, count)| count);
        sum.push((bucket, more.checked_add(was)?));
    }
    sum.extend(before);
    is_ascending(&sum).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changed_buckets_are_said_and_they_add_up_again() {
        let before = [(3, 1), (8, 2), (9, 5)];
        let now = [(1, 1), (3, 1), (8, 3), (9, 5), (495, 7)];
        let changed = changed_buckets(&now, &before).unwrap();
        assert_eq!(changed, [(1, 1), (8, 1), (495, 7)]);
        assert_eq!(add_buckets(&before, &changed).unwrap(), now);
    }

    #[test]
    fn an_empty_bucket_that_appears_is_a_change() {
        let changed = changed_buckets(&[(4, 0), (5, 1)], &[(5, 1)]).unwrap();
        assert_eq!(changed, [(4, 0)]);
        assert_eq!(add_buckets(&[(5, 1)], &changed).unwrap(), [(4, 0), (5, 1)]);
    }

    #[test]
    fn a_row_that_shrank_is_not_a_change_of_the_one_before() {
        assert_eq!(changed_buckets(&[(5, 1)], &[(5, 2)]), None);
        assert_eq!(changed_buckets(&[(5, 1)], &[(5, 1), (6, 1)]), None);
        assert_eq!(changed_buckets(&[(6, 1)], &[(5, 1)]), None);
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
        history.forget();
        assert_eq!(history.remember_syscall(&SyscallSample::default()), Ok(()));
    }
}
