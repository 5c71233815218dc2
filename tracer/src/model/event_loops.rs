//! Event loops: what is known of each thread that has one.
//!
//! Where iterations are counted, times are the kernel side's to the nanosecond, and what goes on at a tick is completed
//! from the thread's own times. Where they are not, the thread's times are all there is: asleep in epoll is idle.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tracer_common::{
    EventHeader, Nanos, Pid, StackId, State, ThreadTimes, Tid,
    event::{CpuSample, LongIteration, LongWait},
    event_loop::LoopRow,
    hist::{BUCKETS, bucket_bounds},
    table::Timed,
};

use super::{
    Model,
    counters::distribution,
    found::Found,
    snapshot::{
        Distribution, HISTORY, LISTED, LongIterationView, LoopCounts, LoopPoint, LoopTimes,
        LoopView, LoopsView,
    },
};

/// Loops followed at most.
const LOOPS: usize = 256;
/// Long iterations kept one by one.
const LONG: usize = 64;
/// The probe that counts iterations.
const PROBE: &str = "event_loops";

type Key = (Pid, Tid);

/// What is known about event loops.
#[derive(Debug, Default)]
pub(super) struct Loops {
    lanes: BTreeMap<Key, Lane>,
    /// Loops that are not followed.
    unlisted: u64,
    /// What was found in the iterations that go on.
    found: Found,
    long: VecDeque<Long>,
}

/// One loop, as of the last tick.
#[derive(Debug, Default)]
struct Lane {
    row: Option<Box<LoopRow>>,
    reading: Reading,
    ended: bool,
    recent: LoopTimes,
    recent_iterations: u64,
    recent_events: u64,
    recent_delay: Distribution,
    history: VecDeque<LoopPoint>,
}

/// The times of a loop at a moment.
#[derive(Clone, Copy, Debug, Default)]
struct Reading {
    active: Nanos,
    idle: Nanos,
    /// The iteration that goes on: since when, and how long.
    going_on: Option<(Nanos, Nanos)>,
}

#[derive(Clone, Copy, Debug)]
struct Long {
    header: EventHeader,
    iteration: LongIteration,
    stack: StackId,
}

impl Long {
    /// Where it spent its time: where it waited longest, if it waited for most of it.
    fn found_in(&self, found: &Found) -> StackId {
        let (tid, since, until) = (self.header.tid, self.iteration.since, self.header.at);
        // The first part is that for which it only had no CPU.
        let [_, waits @ ..] = self.iteration.off;
        let waited = waits
            .iter()
            .fold(0u64, |sum, &part| sum.saturating_add(part));
        let busy = until.since(since).unwrap_or_default();
        if waited > busy.0 / 2 {
            let longest = found.longest_wait(tid, since, until);
            if longest != StackId::NONE {
                return longest;
            }
        }
        found.within(tid, since, until)
    }
}

/// A thread's times, for those who have a loop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spent {
    pub(super) at: Nanos,
    pub(super) state: State,
    pub(super) times: ThreadTimes,
}

impl Reading {
    fn of(row: Option<&LoopRow>, thread: Option<&Spent>) -> Self {
        let slept = thread.map_or(Nanos(0), |thread| thread.times.of(State::EPOLL));
        let Some(row) = row else {
            let all = thread.map_or(Nanos(0), |thread| thread.times.total());
            let unknown = thread.map_or(Nanos(0), |thread| thread.times.of(State::UNKNOWN));
            return Self {
                active: Nanos(all.0.saturating_sub(slept.0).saturating_sub(unknown.0)),
                idle: slept,
                going_on: None,
            };
        };
        let mut reading = Self {
            active: Nanos(row.busy.sum.saturating_add(row.asking)),
            idle: Nanos(row.idle),
            going_on: None,
        };
        // What goes on: since the last return the thread has slept in waits for so long, or it has not.
        if let Some(thread) = thread.filter(|thread| thread.state != State::DEAD) {
            let since = Nanos(row.returned);
            let open = thread.at.since(since).unwrap_or_default();
            let idle = slept.since(Nanos(row.slept)).unwrap_or_default().min(open);
            reading.idle = reading.idle.plus(idle);
            reading.active = reading.active.plus(open.since(idle).unwrap_or_default());
            if idle.0 == 0 && thread.state != State::EPOLL {
                reading.going_on = Some((since, open));
            }
        }
        reading
    }
}

impl Loops {
    /// It is known by now that threads of this process are no loops.
    pub(super) fn has_none(&mut self, pid: Pid) {
        self.long.retain(|long| long.header.pid != pid);
        self.lanes.retain(|&(of, _), _| of != pid);
    }

    /// A thread of a process that may have loops was found running.
    pub(super) fn sampled(&mut self, header: &EventHeader, sample: &CpuSample) {
        let time = Nanos(sample.period);
        self.found.ran(header.tid, header.at, sample.stack, time);
        self.came(header.tid, header.at);
    }

    /// A thread of such a process waited for long.
    pub(super) fn waited(&mut self, at: Nanos, wait: &LongWait) {
        let time = at.since(wait.since).unwrap_or_default();
        self.found.waited(wait.tid, at, wait.stack, time);
        self.came(wait.tid, at);
    }

    /// What was found in JavaScript comes when it has names: after the end of the iteration it fell into.
    fn came(&mut self, tid: Tid, at: Nanos) {
        let fits = |long: &&mut Long| {
            let (since, until) = (long.iteration.since, long.header.at);
            long.header.tid == tid && (since..=until).contains(&at)
        };
        if let Some(long) = self.long.iter_mut().rev().find(fits) {
            long.stack = long.found_in(&self.found);
        }
    }

    pub(super) fn long(&mut self, header: &EventHeader, iteration: &LongIteration) {
        let mut long = Long {
            header: *header,
            iteration: *iteration,
            stack: StackId::NONE,
        };
        long.stack = long.found_in(&self.found);
        if self.long.len() >= LONG {
            self.long.pop_front();
        }
        self.long.push_back(long);
    }

    /// Things that are kept one by one.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        let lanes = self.lanes.values().map(|lane| 1 + lane.history.len());
        lanes.sum::<usize>() + self.found.kept() + self.long.len()
    }

    fn close(
        &mut self,
        key: Key,
        row: Option<LoopRow>,
        thread: Option<&Spent>,
        (at, length): (Nanos, Nanos),
    ) {
        if self.lanes.len() >= LOOPS && !self.lanes.contains_key(&key) {
            self.unlisted += 1;
            return;
        }
        let lane = self.lanes.entry(key).or_default();
        let reading = Reading::of(row.as_ref(), thread);
        let since = |now: Nanos, before: Nanos| now.since(before).unwrap_or_default();
        lane.recent = LoopTimes {
            active: since(reading.active, lane.reading.active),
            idle: since(reading.idle, lane.reading.idle),
        };
        lane.reading = reading;
        lane.ended = thread.is_none_or(|thread| thread.state == State::DEAD);
        if let Some(row) = row {
            let before = lane.row.take().unwrap_or_default();
            lane.recent_iterations = row.iterations.saturating_sub(before.iterations);
            lane.recent_events = row.events.saturating_sub(before.events);
            lane.recent_delay = distribution(&difference(&row.busy, &before.busy));
            lane.row = Some(Box::new(row));
        }
        let LoopTimes { active, idle } = lane.recent;
        let all = active.plus(idle).0;
        let going_on = reading.going_on.map_or(Nanos(0), |(_, time)| time);
        if lane.history.len() == HISTORY {
            lane.history.pop_front();
        }
        lane.history.push_back(LoopPoint {
            at,
            length,
            iterations: lane.recent_iterations,
            delay_max: lane.recent_delay.max.max(going_on),
            utilization: (all > 0).then(|| active.0 as f64 / all as f64),
        });
    }
}

/// What was timed between two readings. The longest is the end of the highest bucket that grew, which the longest ever
/// bounds.
fn difference(now: &Timed, before: &Timed) -> Timed {
    let mut difference = Timed {
        count: now.count.saturating_sub(before.count),
        sum: now.sum.saturating_sub(before.sum),
        ..Timed::EMPTY
    };
    for bucket in 0..BUCKETS {
        if let (Some(to), Some(now), Some(before)) = (
            difference.buckets.get_mut(bucket),
            now.buckets.get(bucket),
            before.buckets.get(bucket),
        ) {
            *to = now.saturating_sub(*before);
            if *to > 0 {
                difference.max = bucket_bounds(bucket as u32).1;
            }
        }
    }
    difference.max = difference.max.min(now.max);
    difference
}

impl Model {
    /// Closes a window of the loops, after that of the threads and of the tables.
    pub(super) fn close_loops(&mut self, at: Nanos, length: Nanos) {
        self.loops.found.close(at);
        self.loops.unlisted = 0;
        let with_loops: BTreeSet<Pid> = self.tasks.with_loops().collect();
        if with_loops.is_empty() {
            return;
        }
        let mut threads: BTreeMap<Key, Spent> = self
            .threads
            .spent()
            .filter(|((pid, _), _)| with_loops.contains(pid))
            .collect();
        let rows = self.tables.loops.largest(usize::MAX);
        let mut rows: BTreeMap<Key, LoopRow> = rows
            .into_iter()
            .map(|found| ((found.key.pid, found.key.tid), found.row))
            .filter(|((pid, _), _)| with_loops.contains(pid))
            .collect();
        threads.retain(|key, thread| {
            rows.contains_key(key)
                || self.loops.lanes.contains_key(key)
                || thread.times.of(State::EPOLL).0 > 0
        });
        let keys: BTreeSet<Key> = rows
            .keys()
            .chain(threads.keys())
            .chain(self.loops.lanes.keys())
            .copied()
            .collect();
        for key in keys {
            let row = rows.remove(&key);
            self.loops.close(key, row, threads.get(&key), (at, length));
        }
    }

    pub(super) fn loops_view(&self) -> LoopsView {
        let names = self.threads.names();
        let name = |tid: Tid| names.get(&tid).cloned().unwrap_or_default();
        let counted = self.group_is_on(PROBE);
        let mut loops: Vec<LoopView> = self
            .loops
            .lanes
            .iter()
            .map(|(&(pid, tid), lane)| self.loop_view((pid, tid), lane, name(tid), counted))
            .collect();
        let since = |pid: Pid| self.processes.get(&pid).map(|process| process.meta.since);
        loops.sort_by_key(|view| {
            let place = (since(view.pid).is_none(), since(view.pid), view.pid);
            (
                place,
                !view.is_main(),
                view.ended,
                std::cmp::Reverse(view.active),
                view.tid,
            )
        });
        let unlisted = loops.len().saturating_sub(LISTED) as u64;
        loops.truncate(LISTED);
        let known = |long: &&Long| self.tasks.has_loops(long.header.pid) == Some(true);
        let long = self.loops.long.iter().rev().filter(known);
        LoopsView {
            loops,
            unlisted: unlisted.saturating_add(self.loops.unlisted),
            long: long
                .map(|long| LongIterationView {
                    since: long.iteration.since,
                    busy: long
                        .header
                        .at
                        .since(long.iteration.since)
                        .unwrap_or_default(),
                    pid: long.header.pid,
                    tid: long.header.tid,
                    name: name(long.header.tid),
                    off: long.iteration.off.map(Nanos),
                    stack: self.stacks.view(long.stack),
                })
                .collect(),
            recognised: self.tasks.with_loops().next().is_some(),
            counted,
        }
    }

    fn loop_view(&self, (pid, tid): Key, lane: &Lane, name: String, counted: bool) -> LoopView {
        let empty = LoopRow::default();
        let row = lane.row.as_deref().unwrap_or(&empty);
        let counts = counted.then(|| LoopCounts {
            iterations: row.iterations,
            waits: row.waits,
            events: row.events,
            delay: distribution(&row.busy),
            delay_buckets: (0..)
                .zip(row.busy.buckets.map(u64::from))
                .filter(|&(_, count)| count > 0)
                .collect(),
            long: row.long,
            off: [row.ready, row.futex, row.io, row.fault, row.other].map(Nanos),
            recent_iterations: lane.recent_iterations,
            recent_events: lane.recent_events,
            recent_delay: lane.recent_delay,
        });
        let (since, going_on) = lane.reading.going_on.unwrap_or_default();
        let stack = match going_on {
            Nanos(0) => StackId::NONE,
            _ => self.loops.found.within(tid, since, self.now),
        };
        LoopView {
            pid,
            tid,
            name,
            ended: lane.ended,
            counts,
            active: lane.reading.active,
            idle: lane.reading.idle,
            recent: lane.recent,
            going_on,
            stack: self.stacks.view(stack),
            history: lane.history.iter().copied().collect(),
        }
    }
}
