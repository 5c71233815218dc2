//! Threads: the last cumulative times of each, and what of them belongs to the last window.

use std::collections::{BTreeMap, VecDeque};

use tracer_common::{Nanos, Pid, State, ThreadTimes, Tid, event::ThreadExit, thread::STATES};

use super::{
    event_loops::Spent,
    snapshot::{Life, ThreadView},
};
use crate::record::{ThreadNameMeta, ThreadSample};

/// Living threads kept at most: the kernel's own table is smaller.
const LIVING: usize = 65_536;
/// Threads that ended and are still listed one by one; older ones are folded by name.
const ENDED: usize = 256;
/// Names older ones are folded into; more go into one row without a name.
const FOLDED: usize = 256;

type Key = (Tid, Nanos);

#[derive(Debug, Default)]
pub(super) struct Threads {
    living: BTreeMap<Key, Thread>,
    /// Oldest first.
    ended: VecDeque<(Tid, Thread)>,
    folded: BTreeMap<String, Folded>,
    /// Times of threads that ended within the window that is open.
    ended_in_window: ThreadTimes,
}

#[derive(Clone, Debug, Default)]
struct Thread {
    pid: Pid,
    name: String,
    state: State,
    waiting_on: u64,
    ready_max: Nanos,
    at: Nanos,
    times: ThreadTimes,
    at_last_tick: ThreadTimes,
    recent: ThreadTimes,
}

#[derive(Debug, Default)]
struct Folded {
    threads: u64,
    ready_max: Nanos,
    times: ThreadTimes,
}

impl Threads {
    pub(super) fn start(&mut self, tid: Tid, first: Nanos, pid: Pid) {
        self.living_thread((tid, first), pid);
    }

    fn living_thread(&mut self, key: Key, pid: Pid) -> Option<&mut Thread> {
        if self.living.len() >= LIVING && !self.living.contains_key(&key) {
            return None;
        }
        let new = Thread {
            pid,
            at: key.1,
            ..Thread::default()
        };
        Some(self.living.entry(key).or_insert(new))
    }

    /// Takes in a thread's times. False when they ran backwards.
    pub(super) fn sample(&mut self, sample: &ThreadSample) -> bool {
        let Some(thread) = self.living_thread((sample.tid, sample.first), sample.pid) else {
            return false;
        };
        if sample.at < thread.at || ran_backwards(&thread.times, &sample.times) {
            return false;
        }
        thread.state = sample.state;
        thread.waiting_on = sample.waiting_on;
        thread.ready_max = sample.ready_max;
        thread.at = sample.at;
        thread.times = sample.times;
        true
    }

    /// A thread is gone. One that was met in the middle may end before anything else is said of it. False when its
    /// times ran backwards.
    pub(super) fn end(&mut self, tid: Tid, pid: Pid, at: Nanos, exit: &ThreadExit) -> bool {
        let known = self.living.remove(&(tid, exit.first));
        let mut thread = known.unwrap_or(Thread {
            pid,
            ..Thread::default()
        });
        let backwards = ran_backwards(&thread.times, &exit.times);
        if !backwards {
            thread.times = exit.times;
        }
        let name = text(&exit.name);
        if !name.is_empty() {
            thread.name = name;
        }
        thread.at = at;
        thread.state = State::DEAD;
        thread.waiting_on = 0;
        thread.ready_max = thread.ready_max.max(exit.ready_max);
        thread.recent = difference(&thread.times, &thread.at_last_tick);
        self.ended_in_window = sum(&self.ended_in_window, &thread.recent);
        self.ended.push_back((tid, thread));
        if self.ended.len() > ENDED
            && let Some((_, oldest)) = self.ended.pop_front()
        {
            self.fold(oldest);
        }
        !backwards
    }

    fn fold(&mut self, thread: Thread) {
        let known = self.folded.contains_key(&thread.name);
        let name = if known || self.folded.len() < FOLDED {
            thread.name
        } else {
            String::new()
        };
        let folded = self.folded.entry(name).or_default();
        folded.threads += 1;
        folded.ready_max = folded.ready_max.max(thread.ready_max);
        folded.times = sum(&folded.times, &thread.times);
    }

    /// A thread that calls exec goes on under the number of its process.
    pub(super) fn take_over(&mut self, old_tid: Tid, tid: Tid) {
        if old_tid == tid {
            return;
        }
        let renamed: Vec<Key> = self
            .living
            .range((old_tid, Nanos(0))..=(old_tid, Nanos(u64::MAX)))
            .map(|(&key, _)| key)
            .collect();
        for key in renamed {
            if let Some(thread) = self.living.remove(&key) {
                self.living.insert((tid, key.1), thread);
            }
        }
    }

    pub(super) fn name(&mut self, meta: &ThreadNameMeta) {
        if let Some(thread) = self.living_thread((meta.tid, meta.first), meta.pid) {
            thread.name.clone_from(&meta.name);
        }
    }

    /// Closes a window: the times of all threads within it.
    pub(super) fn close(&mut self) -> ThreadTimes {
        let mut total = std::mem::take(&mut self.ended_in_window);
        for thread in self.living.values_mut() {
            thread.recent = difference(&thread.times, &thread.at_last_tick);
            thread.at_last_tick = thread.times;
            total = sum(&total, &thread.recent);
        }
        total
    }

    pub(super) fn count_of(&self, pid: Pid) -> u32 {
        let count = self
            .living
            .values()
            .filter(|thread| thread.pid == pid)
            .count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Names by thread id: of the living, and of those that ended and are still listed.
    pub(super) fn names(&self) -> BTreeMap<Tid, String> {
        let ended = self.ended.iter().map(|(tid, thread)| (*tid, thread));
        let living = self.living.iter().map(|(&(tid, _), thread)| (tid, thread));
        ended
            .chain(living)
            .map(|(tid, thread)| (tid, thread.name.clone()))
            .collect()
    }

    /// Times of every thread that is listed one by one, the last of its number.
    pub(super) fn spent(&self) -> impl Iterator<Item = ((Pid, Tid), Spent)> {
        let ended = self.ended.iter().map(|(tid, thread)| (*tid, thread));
        let living = self.living.iter().map(|(&(tid, _), thread)| (tid, thread));
        ended.chain(living).map(|(tid, thread)| {
            let spent = Spent {
                at: thread.at,
                state: thread.state,
                times: thread.times,
            };
            ((thread.pid, tid), spent)
        })
    }

    /// Process and address of every thread that waits at a futex at the last tick.
    pub(super) fn waiting_on_futexes(&self) -> impl Iterator<Item = (Pid, u64)> {
        self.living
            .values()
            .filter(|thread| thread.state == State::FUTEX && thread.waiting_on != 0)
            .map(|thread| (thread.pid, thread.waiting_on))
    }

    /// Time all threads ever spent in a state.
    pub(super) fn total(&self, state: State) -> Nanos {
        let living = self.living.values().map(|thread| &thread.times);
        let ended = self.ended.iter().map(|(_, thread)| &thread.times);
        let folded = self.folded.values().map(|folded| &folded.times);
        living
            .chain(ended)
            .chain(folded)
            .fold(Nanos(0), |sum, times| sum.plus(times.of(state)))
    }

    pub(super) fn views(&self) -> Vec<ThreadView> {
        let view = |tid: Tid, thread: &Thread, life: Life| ThreadView {
            pid: Some(thread.pid),
            tid: Some(tid),
            name: thread.name.clone(),
            life,
            state: thread.state,
            waiting_on: thread.waiting_on,
            ready_max: thread.ready_max,
            wall: thread.times.total(),
            times: thread.times,
            recent: thread.recent,
        };
        let mut living: Vec<ThreadView> = self
            .living
            .iter()
            .map(|(&(tid, _), thread)| view(tid, thread, Life::Alive))
            .collect();
        living.sort_by_key(|view| (view.pid, view.tid));
        let ended = self
            .ended
            .iter()
            .map(|(tid, thread)| view(*tid, thread, Life::Ended));
        let folded = self.folded.iter().map(|(name, folded)| ThreadView {
            name: name.clone(),
            life: Life::Folded(folded.threads),
            state: State::DEAD,
            ready_max: folded.ready_max,
            wall: folded.times.total(),
            times: folded.times,
            ..ThreadView::default()
        });
        living.into_iter().chain(ended).chain(folded).collect()
    }
}

fn zip(a: &ThreadTimes, b: &ThreadTimes, each: impl Fn(u64, u64) -> u64) -> ThreadTimes {
    let mut in_state = [0; STATES];
    for ((to, &a), &b) in in_state.iter_mut().zip(&a.in_state).zip(&b.in_state) {
        *to = each(a, b);
    }
    ThreadTimes {
        in_state,
        voluntary: each(a.voluntary, b.voluntary),
        involuntary: each(a.involuntary, b.involuntary),
        migrations: each(a.migrations, b.migrations),
    }
}

fn sum(a: &ThreadTimes, b: &ThreadTimes) -> ThreadTimes {
    zip(a, b, u64::saturating_add)
}

fn difference(later: &ThreadTimes, earlier: &ThreadTimes) -> ThreadTimes {
    zip(later, earlier, u64::saturating_sub)
}

/// The last interval of a sample is open, and which state it is charged to can still change: one that began as
/// unknown may turn out to have been on the CPU. So only the sum and the counters must not shrink.
fn ran_backwards(before: &ThreadTimes, after: &ThreadTimes) -> bool {
    let shrank = |field: fn(&ThreadTimes) -> u64| field(after) < field(before);
    shrank(|times| times.total().0)
        || shrank(|times| times.voluntary)
        || shrank(|times| times.involuntary)
}

/// A name padded with zeros as text; what is not UTF-8 becomes U+FFFD.
pub(super) fn text(name: &[u8; 16]) -> String {
    let end = name
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(name.len());
    String::from_utf8_lossy(name.get(..end).unwrap_or_default()).into_owned()
}
