//! Tables that several threads share: the last counters of each row, what rows that were forgotten had counted, and
//! what of all that belongs to the last window.

use std::collections::BTreeMap;

use tracer_common::{
    Nanos, Pid, Table,
    callback::PromiseRow,
    event_loop::LoopRow,
    hist::BUCKETS,
    table::{
        Callbacks, Collections, ErrorRow, Errors, FileRow, Files, LockRow, Locks, Loops,
        MemoryCalls, MemoryKey, MemoryRow, Plain, PollRow, PollerRow, Pollers, Polls, Promises,
        TaskTimes, TaskTypes, TaskWakeRow, TaskWakes, Timed, TypeRow, WakeRow, Wakes, WorkPoolRow,
        WorkPools, Works,
    },
};

use super::{histogram::Histogram, snapshot::Distribution};
use crate::record::CounterSample;

/// Rows of one table kept at most. Beyond, the least of those that were forgotten by the kernel side are folded.
const ROWS: usize = 16_384;

/// A row that can be summed up.
pub(super) trait Sum: Plain {
    /// Adds what another row counted.
    fn add(&mut self, other: &Self);
    /// What rows are ordered and windows are made by: a count and a size.
    fn headline(&self) -> [u64; 2];
}

/// Where rows go that are not kept one by one any more.
pub(super) trait Folds: Table {
    /// The row that keeps what a row with this key had counted, where sums over all rows are shown. Otherwise it is
    /// only counted that there was one.
    fn rest(_key: &Self::Key) -> Option<Self::Key> {
        None
    }
}

impl Folds for Locks {}
impl Folds for Wakes {}
impl Folds for Files {}
impl Folds for Polls {}
impl Folds for Errors {}
impl Folds for TaskTypes {}
impl Folds for TaskTimes {}
impl Folds for TaskWakes {}
impl Folds for Pollers {}
impl Folds for Loops {}
impl Folds for Collections {}
impl Folds for Works {}
impl Folds for WorkPools {}
impl Folds for Callbacks {}
impl Folds for Promises {}

impl Folds for MemoryCalls {
    /// One row for all processes: 0 is none.
    fn rest(key: &MemoryKey) -> Option<MemoryKey> {
        Some(MemoryKey {
            pid: Pid(0),
            ..*key
        })
    }
}

/// The rows of one table.
#[derive(Debug)]
pub(super) struct Counters<T: Table> {
    rows: BTreeMap<T::Key, Entry<T::Row>>,
    /// Rows that are not kept one by one any more.
    pub(super) folded: u64,
}

#[derive(Debug)]
struct Entry<R> {
    /// What was counted under this key before the row was forgotten.
    before: Option<Box<R>>,
    /// The row now: its words that are not 0. As a whole row it would take ten times the room.
    now: CounterSample,
    at_last_tick: [u64; 2],
    recent: [u64; 2],
}

/// A row as it is shown.
pub(super) struct Row<K, R> {
    pub(super) key: K,
    pub(super) row: R,
    /// The headline within the last window.
    pub(super) recent: [u64; 2],
}

impl<T: Table> Default for Counters<T> {
    fn default() -> Self {
        Self {
            rows: BTreeMap::new(),
            folded: 0,
        }
    }
}

impl<T: Folds<Row: Sum>> Counters<T> {
    /// Takes in a row. False when its counters ran backwards or it cannot be kept.
    pub(super) fn sample(&mut self, sample: &CounterSample) -> bool {
        let key: T::Key = sample.key.read();
        if self.rows.len() >= ROWS && !self.rows.contains_key(&key) && !self.fold() {
            return false;
        }
        let entry = self.rows.entry(key).or_default();
        let row: T::Row = sample.row();
        let known: T::Row = entry.now.row();
        let backwards = known
            .headline()
            .iter()
            .zip(row.headline())
            .any(|(&known, now)| now < known);
        if backwards {
            return false;
        }
        if sample.last {
            let mut all = row;
            if let Some(before) = &entry.before {
                all.add(before);
            }
            entry.before = Some(Box::new(all));
            entry.now = CounterSample::default();
        } else {
            entry.now = sample.clone();
        }
        true
    }

    /// Gives up the lesser half of the rows the kernel side has forgotten. False when that made no room.
    fn fold(&mut self) -> bool {
        let mut idle: Vec<(u64, T::Key)> = self
            .rows
            .iter()
            .filter(|&(key, entry)| entry.now.words.is_empty() && T::rest(key) != Some(*key))
            .map(|(&key, entry)| {
                let size = entry.before.as_ref().map_or(0, |row| row.headline()[1]);
                (size, key)
            })
            .collect();
        idle.sort_unstable();
        let gone = idle.len().div_ceil(2);
        for (_, key) in idle.into_iter().take(gone) {
            let Some(entry) = self.rows.remove(&key) else {
                continue;
            };
            self.folded += 1;
            if let Some(rest) = T::rest(&key) {
                self.rows.entry(rest).or_default().take_in(&entry);
            }
        }
        self.rows.len() < ROWS
    }

    /// Closes a window.
    pub(super) fn close(&mut self) {
        for entry in self.rows.values_mut() {
            let now = entry.total().headline();
            for ((recent, at_last_tick), now) in entry
                .recent
                .iter_mut()
                .zip(&mut entry.at_last_tick)
                .zip(now)
            {
                *recent = now.saturating_sub(*at_last_tick);
                *at_last_tick = now;
            }
        }
    }

    /// Rows that are kept.
    pub(super) fn len(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Keys and their headlines as of the last tick.
    pub(super) fn headlines(&self) -> impl Iterator<Item = (T::Key, [u64; 2])> {
        self.rows
            .iter()
            .map(|(&key, entry)| (key, entry.at_last_tick))
    }

    /// The `most` largest rows by the second headline, then the first.
    pub(super) fn largest(&self, most: usize) -> Vec<Row<T::Key, T::Row>> {
        let mut by_size: Vec<([u64; 2], T::Key)> = self
            .headlines()
            .map(|(key, [count, size])| ([size, count], key))
            .collect();
        by_size.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        by_size.truncate(most);
        by_size
            .into_iter()
            .filter_map(|(_, key)| {
                let entry = self.rows.get(&key)?;
                Some(Row {
                    key,
                    row: entry.total(),
                    recent: entry.recent,
                })
            })
            .collect()
    }
}

impl<R> Default for Entry<R> {
    fn default() -> Self {
        Self {
            before: None,
            now: CounterSample::default(),
            at_last_tick: [0; 2],
            recent: [0; 2],
        }
    }
}

impl<R: Sum> Entry<R> {
    /// Adds what a row that is given up had counted.
    fn take_in(&mut self, other: &Self) {
        let mut all = other.total();
        if let Some(before) = &self.before {
            all.add(before);
        }
        self.before = Some(Box::new(all));
        for (to, from) in self.at_last_tick.iter_mut().zip(other.at_last_tick) {
            *to = to.saturating_add(from);
        }
    }

    fn total(&self) -> R {
        let mut row: R = self.now.row();
        if let Some(before) = &self.before {
            row.add(before);
        }
        row
    }
}

/// From this share of the time on, what was watched is taken for all of it: readings of clocks are microseconds apart.
pub(super) const EXACT: f64 = 0.999;

/// What was counted in a part of the time, extrapolated to all of it.
pub(super) fn scale(count: u64, share: Option<f64>) -> u64 {
    match share {
        Some(share) if share > 0.0 && share < EXACT => (count as f64 / share).round() as u64,
        Some(_) | None => count,
    }
}

pub(super) fn scale_all(times: Distribution, share: Option<f64>) -> Distribution {
    Distribution {
        count: scale(times.count, share),
        sum: Nanos(scale(times.sum.0, share)),
        ..times
    }
}

/// Summarises durations.
pub(super) fn distribution(timed: &Timed) -> Distribution {
    let mut histogram = Histogram::default();
    for (bucket, &count) in (0u32..).zip(&timed.buckets) {
        // There is no bucket beyond the last.
        let _ = histogram.add(bucket, u64::from(count));
    }
    histogram.add_sum(Nanos(timed.sum), Nanos(timed.max));
    Distribution {
        count: timed.count,
        ..histogram.summary()
    }
}

fn add_timed(to: &mut Timed, from: &Timed) {
    to.count = to.count.saturating_add(from.count);
    to.sum = to.sum.saturating_add(from.sum);
    to.max = to.max.max(from.max);
    for bucket in 0..BUCKETS {
        if let (Some(to), Some(from)) = (to.buckets.get_mut(bucket), from.buckets.get(bucket)) {
            *to = to.saturating_add(*from);
        }
    }
}

macro_rules! add_fields {
    ($to:ident, $from:ident, $($field:ident)*) => {
        $($to.$field = $to.$field.saturating_add($from.$field);)*
    };
}

impl Sum for LockRow {
    fn add(&mut self, other: &Self) {
        add_timed(&mut self.wait, &other.wait);
        add_fields!(self, other, woken again timeouts interrupted wake_calls wake_results);
        self.kinds |= other.kinds;
    }

    fn headline(&self) -> [u64; 2] {
        [self.wait.count, self.wait.sum]
    }
}

impl Sum for WakeRow {
    fn add(&mut self, other: &Self) {
        add_fields!(self, other, count waited);
    }

    fn headline(&self) -> [u64; 2] {
        [self.count, self.waited]
    }
}

impl Sum for FileRow {
    fn add(&mut self, other: &Self) {
        add_fields!(self, other, reads read_bytes writes write_bytes errors again connects closes time);
        self.time_max = self.time_max.max(other.time_max);
    }

    fn headline(&self) -> [u64; 2] {
        [
            self.reads
                .saturating_add(self.writes)
                .saturating_add(self.connects),
            self.read_bytes.saturating_add(self.write_bytes),
        ]
    }
}

impl Sum for PollRow {
    fn add(&mut self, other: &Self) {
        add_fields!(self, other, waits empty events);
        self.events_max = self.events_max.max(other.events_max);
        add_timed(&mut self.latency, &other.latency);
    }

    fn headline(&self) -> [u64; 2] {
        [self.events, self.waits]
    }
}

impl Sum for MemoryRow {
    fn add(&mut self, other: &Self) {
        add_fields!(self, other, calls bytes);
    }

    fn headline(&self) -> [u64; 2] {
        [self.calls, self.bytes]
    }
}

impl Sum for ErrorRow {
    fn add(&mut self, other: &Self) {
        add_fields!(self, other, count);
    }

    fn headline(&self) -> [u64; 2] {
        [self.count, self.count]
    }
}

impl Sum for TypeRow {
    fn add(&mut self, other: &Self) {
        add_fields!(self, other, polls first queued rescheduled completed cancelled wakes redundant_wakes);
        add_fields!(self, other, self_wakes long_polls ready futex io fault other);
    }

    fn headline(&self) -> [u64; 2] {
        [self.polls, self.completed]
    }
}

impl Sum for Timed {
    fn add(&mut self, other: &Self) {
        add_timed(self, other);
    }

    fn headline(&self) -> [u64; 2] {
        [self.count, self.sum]
    }
}

impl Sum for TaskWakeRow {
    fn add(&mut self, other: &Self) {
        add_fields!(self, other, count);
    }

    fn headline(&self) -> [u64; 2] {
        [self.count, self.count]
    }
}

impl Sum for PollerRow {
    fn add(&mut self, other: &Self) {
        add_fields!(self, other, polls busy blocking blocking_busy parks moved);
    }

    fn headline(&self) -> [u64; 2] {
        [
            self.polls.saturating_add(self.blocking),
            self.busy.saturating_add(self.blocking_busy),
        ]
    }
}

impl Sum for WorkPoolRow {
    fn add(&mut self, other: &Self) {
        add_fields!(self, other, submitted begun ended);
    }

    fn headline(&self) -> [u64; 2] {
        [self.submitted, self.ended]
    }
}

impl Sum for PromiseRow {
    fn add(&mut self, other: &Self) {
        add_fields!(self, other, count);
    }

    fn headline(&self) -> [u64; 2] {
        [self.count, self.count]
    }
}

impl Sum for LoopRow {
    fn add(&mut self, other: &Self) {
        add_fields!(self, other, iterations waits events idle asking long ready futex io fault other);
        self.returned = self.returned.max(other.returned);
        self.slept = self.slept.max(other.slept);
        add_timed(&mut self.busy, &other.busy);
    }

    fn headline(&self) -> [u64; 2] {
        [self.iterations, self.waits]
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) locks: Counters<Locks>,
    pub(super) wakes: Counters<Wakes>,
    pub(super) files: Counters<Files>,
    pub(super) polls: Counters<Polls>,
    pub(super) memory: Counters<MemoryCalls>,
    pub(super) errors: Counters<Errors>,
    pub(super) task_types: Counters<TaskTypes>,
    pub(super) task_times: Counters<TaskTimes>,
    pub(super) task_wakes: Counters<TaskWakes>,
    pub(super) pollers: Counters<Pollers>,
    pub(super) loops: Counters<Loops>,
    pub(super) collections: Counters<Collections>,
    pub(super) works: Counters<Works>,
    pub(super) work_pools: Counters<WorkPools>,
    pub(super) callbacks: Counters<Callbacks>,
    pub(super) promises: Counters<Promises>,
}

impl Tables {
    /// Takes in a row. False when its counters ran backwards, it cannot be kept, or its table is not known.
    pub(super) fn sample(&mut self, sample: &CounterSample) -> bool {
        match sample.table {
            Locks::NUMBER => self.locks.sample(sample),
            Wakes::NUMBER => self.wakes.sample(sample),
            Files::NUMBER => self.files.sample(sample),
            Polls::NUMBER => self.polls.sample(sample),
            MemoryCalls::NUMBER => self.memory.sample(sample),
            Errors::NUMBER => self.errors.sample(sample),
            TaskTypes::NUMBER => self.task_types.sample(sample),
            TaskTimes::NUMBER => self.task_times.sample(sample),
            TaskWakes::NUMBER => self.task_wakes.sample(sample),
            Pollers::NUMBER => self.pollers.sample(sample),
            Loops::NUMBER => self.loops.sample(sample),
            Collections::NUMBER => self.collections.sample(sample),
            Works::NUMBER => self.works.sample(sample),
            WorkPools::NUMBER => self.work_pools.sample(sample),
            Callbacks::NUMBER => self.callbacks.sample(sample),
            Promises::NUMBER => self.promises.sample(sample),
            _ => false,
        }
    }

    pub(super) fn close(&mut self) {
        self.locks.close();
        self.wakes.close();
        self.files.close();
        self.polls.close();
        self.memory.close();
        self.errors.close();
        self.task_types.close();
        self.task_times.close();
        self.task_wakes.close();
        self.pollers.close();
        self.loops.close();
        self.collections.close();
        self.works.close();
        self.work_pools.close();
        self.callbacks.close();
        self.promises.close();
    }
}
