//! Tasks of async runtimes: their types, those that are there, long polls and where they were.

mod view;

use std::collections::{BTreeMap, VecDeque};

use tracer_common::{
    EventHeader, Nanos, Pid, StackId, Tid,
    event::{CpuSample, LongPoll, LongWait},
    table::{PollerKey, TypeRow},
    task::OFF_PARTS,
};

use super::{
    counters::{EXACT, Tables},
    found::Found,
    level::Level,
};
use crate::record::{
    AliveSample, ProbesSample, RuntimeMeta, TaskKind, TaskSample, TaskTypeMeta, WaitsMeta,
};

/// Types and processes kept at most.
const TYPES: usize = 16_384;
/// Processes whose tasks are kept one by one, and how many of each.
const LOOKS: usize = 256;
const TASKS: usize = 1_024;
/// Long polls kept one by one.
const LONG_POLLS: usize = 64;
/// Stacks kept of a type.
const STACKS: usize = 32;

/// Types of which it is kept where their tasks wait.
const WAITS: usize = 1_024;

type Type = (Pid, u64);

/// What is known about tasks.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    runtimes: BTreeMap<Pid, RuntimeMeta>,
    types: BTreeMap<Type, TaskTypeMeta>,
    alive: BTreeMap<Type, AliveSample>,
    /// Where their tasks wait.
    waits: BTreeMap<Type, WaitsMeta>,
    /// The tasks of the last look at each process.
    looks: BTreeMap<Pid, Look>,
    samples: BTreeMap<Type, Samples>,
    /// Time off the CPU inside polls at the last tick, and within the window that it ended.
    off: BTreeMap<Type, [[Nanos; OFF_PARTS]; 2]>,
    /// The same of how often a thread parked.
    parks: BTreeMap<PollerKey, [u64; 2]>,
    /// What was found in the polls that threads are in.
    found: Found,
    long_polls: VecDeque<Long>,
    first_on: Nanos,
    /// Time in which polls, wakes and work for pools were watched.
    on: [Nanos; 3],
    on_at_last_tick: Nanos,
    recent_on: Nanos,
    last: Nanos,
    pub(super) level: Level,
    pub(super) pool_level: Level,
}

#[derive(Debug, Default)]
struct Look {
    at: Nanos,
    tasks: Vec<TaskSample>,
    unlisted: u64,
}

#[derive(Debug, Default)]
struct Samples {
    count: u64,
    cpu: Nanos,
    /// At the last tick.
    before: (u64, Nanos),
    /// Within the window that it ended.
    recent: (u64, Nanos),
    stacks: BTreeMap<StackId, Nanos>,
}

#[derive(Clone, Copy, Debug)]
struct Long {
    header: EventHeader,
    poll: LongPoll,
    stack: StackId,
}

impl Samples {
    fn add(&mut self, stack: StackId, time: Nanos) {
        if stack == StackId::NONE {
            return;
        }
        if self.stacks.len() < STACKS || self.stacks.contains_key(&stack) {
            let sum = self.stacks.entry(stack).or_default();
            *sum = sum.plus(time);
        }
    }
}

impl Tasks {
    pub(super) fn runtime(&mut self, meta: &RuntimeMeta) {
        if self.runtimes.len() < TYPES || self.runtimes.contains_key(&meta.pid) {
            self.runtimes.insert(meta.pid, meta.clone());
        }
    }

    /// True when threads of this process have event loops; `None` when nobody has looked yet.
    pub(super) fn has_loops(&self, pid: Pid) -> Option<bool> {
        self.runtimes.get(&pid).map(RuntimeMeta::has_loops)
    }

    /// Processes whose threads have event loops.
    pub(super) fn with_loops(&self) -> impl Iterator<Item = Pid> {
        let runtimes = self.runtimes.iter();
        runtimes
            .filter(|(_, runtime)| runtime.has_loops())
            .map(|(&pid, _)| pid)
    }

    pub(super) fn name(&mut self, meta: &TaskTypeMeta) {
        let key = (meta.pid, meta.vtable);
        if self.types.len() < TYPES || self.types.contains_key(&key) {
            self.types.insert(key, meta.clone());
        }
    }

    pub(super) fn alive(&mut self, sample: &AliveSample) {
        let key = (sample.pid, sample.vtable);
        if self.alive.len() < TYPES || self.alive.contains_key(&key) {
            self.alive.insert(key, *sample);
        }
        // A process without a task to list was looked at as well.
        let _ = self.look(sample.pid, sample.at);
    }

    pub(super) fn waits(&mut self, meta: &WaitsMeta) {
        let key = (meta.pid, meta.vtable);
        if self.waits.len() < WAITS || self.waits.contains_key(&key) {
            self.waits.insert(key, meta.clone());
        }
    }

    pub(super) fn task(&mut self, sample: &TaskSample) {
        let Some(look) = self.look(sample.pid, sample.at) else {
            return;
        };
        if look.tasks.len() < TASKS {
            look.tasks.push(*sample);
        } else {
            look.unlisted += 1;
        }
    }

    /// The look at a process at this moment: a later one replaces the one before. `None` when there are too many.
    fn look(&mut self, pid: Pid, at: Nanos) -> Option<&mut Look> {
        if self.looks.len() >= LOOKS && !self.looks.contains_key(&pid) {
            return None;
        }
        let look = self.looks.entry(pid).or_default();
        if look.at < at {
            *look = Look {
                at,
                ..Look::default()
            };
        }
        Some(look)
    }

    /// A process ended or runs another program.
    pub(super) fn left(&mut self, pid: Pid) {
        self.looks.remove(&pid);
        self.alive.retain(|&(of, _), _| of != pid);
        self.waits.retain(|&(of, _), _| of != pid);
    }

    pub(super) fn sampled(&mut self, header: &EventHeader, sample: &CpuSample) {
        if sample.vtable == 0 {
            return;
        }
        let time = Nanos(sample.period);
        self.spent(
            (header.pid, sample.vtable),
            header.tid,
            header.at,
            sample.stack,
            time,
        );
        if let Some(samples) = self.samples.get_mut(&(header.pid, sample.vtable)) {
            samples.count += 1;
            samples.cpu = samples.cpu.plus(time);
        }
    }

    pub(super) fn waited(&mut self, at: Nanos, wait: &LongWait) {
        let time = at.since(wait.since).unwrap_or_default();
        self.found.waited(wait.tid, at, wait.stack, time);
    }

    fn spent(&mut self, key: Type, tid: Tid, at: Nanos, stack: StackId, time: Nanos) {
        if self.samples.len() < TYPES || self.samples.contains_key(&key) {
            self.samples.entry(key).or_default().add(stack, time);
        }
        self.found.ran(tid, at, stack, time);
    }

    pub(super) fn long(&mut self, header: &EventHeader, poll: &LongPoll) {
        let stack = self.found.within(header.tid, poll.since, header.at);
        self.found.forget(header.tid);
        // Samples have said it already; a poll that slept says it only here.
        let waited = poll
            .off
            .iter()
            .fold(0u64, |sum, &part| sum.saturating_add(part));
        let busy = header.at.since(poll.since).unwrap_or_default();
        if waited > busy.0 / 2 {
            let key = (header.pid, poll.vtable);
            if self.samples.len() < TYPES || self.samples.contains_key(&key) {
                self.samples
                    .entry(key)
                    .or_default()
                    .add(stack, Nanos(waited));
            }
        }
        if self.long_polls.len() >= LONG_POLLS {
            self.long_polls.pop_front();
        }
        self.long_polls.push_back(Long {
            header: *header,
            poll: *poll,
            stack,
        });
    }

    pub(super) fn probes(&mut self, sample: &ProbesSample) {
        self.last = match sample.polls_last {
            Nanos(0) => sample.at,
            last => last,
        };
        self.first_on = sample.polls_first;
        self.on = [sample.polls_on, sample.wakes_on, sample.works_on];
    }

    /// Closes a window that ends at `now`, after that of the tables.
    pub(super) fn close(&mut self, tables: &Tables, now: Nanos, window: Nanos) {
        for samples in self.samples.values_mut() {
            let now = (samples.count, samples.cpu);
            let (count, cpu) = std::mem::replace(&mut samples.before, now);
            samples.recent = (
                samples.count.saturating_sub(count),
                samples.cpu.since(cpu).unwrap_or_default(),
            );
        }
        let before = std::mem::take(&mut self.off);
        for found in tables.task_types.largest(usize::MAX) {
            let key = (found.key.pid, found.key.vtable);
            let now = off_of(&found.row);
            let mut recent = now;
            if let Some([known, _]) = before.get(&key) {
                for (recent, &known) in recent.iter_mut().zip(known) {
                    *recent = recent.since(known).unwrap_or_default();
                }
            }
            self.off.insert(key, [now, recent]);
        }
        let before = std::mem::take(&mut self.parks);
        for found in tables.pollers.largest(usize::MAX) {
            let [known, _] = before.get(&found.key).copied().unwrap_or_default();
            let parks = [found.row.parks, found.row.parks.saturating_sub(known)];
            self.parks.insert(found.key, parks);
        }
        self.recent_on = self.on[0].since(self.on_at_last_tick).unwrap_or_default();
        self.on_at_last_tick = self.on[0];
        self.found.close(now);
        let (mut tasks, mut pool) = (None, None);
        for (key, sample) in &self.alive {
            let level = match self.types.get(key) {
                Some(meta) if meta.kind.is_worker(&meta.name) => continue,
                Some(meta) if meta.kind == TaskKind::Blocking => &mut pool,
                Some(_) | None => &mut tasks,
            };
            let alive = view::alive_view(sample).unfinished();
            *level = Some(level.unwrap_or(0u64).saturating_add(alive));
        }
        self.level.close(tasks, window);
        if self.works_watched().is_none_or(|share| share >= EXACT)
            && let Some(works) = super::node::in_flight(tables)
        {
            pool = Some(pool.unwrap_or(0).saturating_add(works));
        }
        self.pool_level.close(pool, window);
    }

    /// Things that are kept one by one.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        let looks = self.looks.values().map(|look| 1 + look.tasks.len());
        let samples = self.samples.values().map(|of| 1 + of.stacks.len());
        let lists = looks.chain(samples).sum::<usize>();
        lists
            + self.found.kept()
            + self.waits.len()
            + self.runtimes.len()
            + self.types.len()
            + self.alive.len()
            + self.long_polls.len()
    }

    /// The share of the time in which work for pools was watched; `None` when it never was.
    pub(super) fn works_watched(&self) -> Option<f64> {
        self.share(self.on[2])
    }

    /// From when polls were first watched to the last reading.
    fn span(&self) -> Nanos {
        self.last.since(self.first_on).unwrap_or_default()
    }

    fn share(&self, on: Nanos) -> Option<f64> {
        if on.0 == 0 {
            return None;
        }
        let time = self.last.since(self.first_on)?;
        // Readings of the clock, not of the probes: they are a few microseconds apart.
        Some((on.0 as f64 / time.0.max(1) as f64).min(1.0))
    }
}

/// Time off the CPU inside polls.
fn off_of(row: &TypeRow) -> [Nanos; OFF_PARTS] {
    [row.ready, row.futex, row.io, row.fault, row.other].map(Nanos)
}
