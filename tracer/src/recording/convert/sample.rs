//! Samples in columns.

mod counter;
mod rest;
mod task;

use std::collections::HashMap;

use tracer_common::{Nanos, Pid, State, SyscallKey, SyscallNr, ThreadTimes, Tid, thread::STATES};

use super::{Column, Delta, Later, Malformed, Times, history::History, rows, schema};
use crate::record::{AgentSample, ProcessSample, Record, Sample, SyscallSample, ThreadSample};

/// Not a sample: what follows does not build on what came before.
const RESTART: u32 = 0;
const THREAD: u32 = 1;
const SYSCALL: u32 = 2;
const PROCESS: u32 = 3;
const AGENT: u32 = 4;
const COUNTER: u32 = 5;
const HOLDING: u32 = 6;
const PRESSURE: u32 = 7;
const PROBES: u32 = 8;
const ALIVE: u32 = 9;
const TASK: u32 = 10;

/// The columns of samples while they are filled.
#[derive(Default)]
pub(super) struct Columns {
    message: schema::Samples,
    threads: Threads,
    thread_at: Delta,
    process_at: Delta,
    agent_at: Delta,
    rest: rest::Columns,
    tasks: task::Columns,
}

impl Columns {
    /// Appends `sample`, as a change of what `history` knows where that is possible.
    pub(super) fn push(&mut self, sample: &Sample, history: &mut History) {
        match sample {
            Sample::Thread(sample) => {
                self.make_room(history);
                self.push_thread(sample, history.thread_change(sample));
                remembered(history.remember_thread(sample));
            }
            Sample::Syscall(sample) => {
                self.make_room(history);
                self.push_syscall(sample, history.syscall_change(sample));
                remembered(history.remember_syscall(sample));
            }
            Sample::Process(sample) => self.push_process(sample),
            Sample::Agent(sample) => self.push_agent(sample),
            Sample::Counter(sample) => {
                self.make_room(history);
                self.message.order.push(COUNTER);
                let columns = self.message.counters.get_or_insert_default();
                counter::push(columns, sample, history.counter_change(sample));
                remembered(history.remember_counter(sample));
            }
            Sample::Holding(sample) => {
                self.message.order.push(HOLDING);
                let columns = self.message.holdings.get_or_insert_default();
                self.rest.push_holding(columns, sample);
            }
            Sample::Pressure(sample) => {
                self.message.order.push(PRESSURE);
                let columns = self.message.pressures.get_or_insert_default();
                self.rest.push_pressure(columns, sample);
            }
            Sample::Probes(sample) => {
                self.message.order.push(PROBES);
                let columns = self.message.probes.get_or_insert_default();
                self.rest.push_probes(columns, sample);
            }
            Sample::Alive(sample) => {
                self.message.order.push(ALIVE);
                let columns = self.message.alive.get_or_insert_default();
                self.tasks.push_alive(columns, sample);
            }
            Sample::Task(sample) => {
                self.message.order.push(TASK);
                let columns = self.message.tasks.get_or_insert_default();
                self.tasks.push_task(columns, sample);
            }
        }
    }

    /// Nothing after this builds on anything before it.
    pub(super) fn restart(&mut self, history: &mut History) {
        self.message.order.push(RESTART);
        history.forget();
    }

    pub(super) fn message(&self) -> &schema::Samples {
        &self.message
    }

    fn make_room(&mut self, history: &mut History) {
        if history.is_full() {
            self.restart(history);
        }
    }

    fn push_thread(&mut self, sample: &ThreadSample, change: Option<ThreadTimes>) {
        let thread = self
            .threads
            .index(&mut self.message, sample.tid, sample.first);
        self.message.order.push(THREAD);
        let columns = self.message.threads.get_or_insert_default();
        columns.at_delta.push(self.thread_at.of(sample.at.0));
        columns.pid.push(sample.pid.0);
        columns.thread.push(thread);
        columns.state.push(u32::from(sample.state.0));
        columns.follows.push(change.is_some());
        let times = change.unwrap_or(sample.times);
        let mut states = 0;
        for (state, &time) in times
            .in_state
            .iter()
            .enumerate()
            .filter(|&(_, &time)| time != 0)
        {
            states |= 1u32 << state;
            columns.time.push(time);
        }
        columns.states.push(states);
        columns.voluntary.push(times.voluntary);
        columns.involuntary.push(times.involuntary);
        columns.migrations.push(times.migrations);
        columns.ready_max.push(sample.ready_max.0);
        columns.waiting_on.push(sample.waiting_on);
    }

    fn push_syscall(&mut self, sample: &SyscallSample, change: Option<SyscallSample>) {
        let thread = self
            .threads
            .index(&mut self.message, sample.key.tid, sample.key.first);
        self.message.order.push(SYSCALL);
        let columns = self.message.syscalls.get_or_insert_default();
        columns.thread.push(thread);
        columns.nr.push(sample.key.nr.0);
        columns.follows.push(change.is_some());
        let row = change.as_ref().unwrap_or(sample);
        columns.count.push(row.count);
        columns.errors.push(row.errors);
        columns
            .untimed
            .push(row.count.wrapping_sub(row.timed) as i64);
        columns.sum.push(row.sum.0);
        columns.max.push(row.max.0);
        columns.last.push(row.last);
        columns.buckets.push(row.buckets.len() as u32);
        let mut before = 0u32;
        for &(bucket, count) in &row.buckets {
            columns.bucket_gap.push(bucket.wrapping_sub(before));
            columns.bucket_count.push(count);
            before = bucket;
        }
    }

    fn push_process(&mut self, sample: &ProcessSample) {
        self.message.order.push(PROCESS);
        let columns = self.message.processes.get_or_insert_default();
        columns.at_delta.push(self.process_at.of(sample.at.0));
        columns.pid.push(sample.pid.0);
        columns.rss_bytes.push(sample.rss_bytes);
        columns.minor_faults.push(sample.minor_faults);
        columns.major_faults.push(sample.major_faults);
    }

    fn push_agent(&mut self, sample: &AgentSample) {
        self.message.order.push(AGENT);
        let columns = self.message.agents.get_or_insert_default();
        columns.at_delta.push(self.agent_at.of(sample.at.0));
        columns.cpu.push(sample.cpu.0);
        columns.rss_bytes.push(sample.rss_bytes);
    }
}

fn remembered(result: Result<(), Malformed>) {
    debug_assert_eq!(result, Ok(()), "room was made");
}

/// The threads of a message, each of which has its place in the message's table.
#[derive(Default)]
struct Threads {
    places: HashMap<(Tid, Nanos), u32>,
    last: Option<((Tid, Nanos), u32)>,
    first: Delta,
}

impl Threads {
    fn index(&mut self, message: &mut schema::Samples, tid: Tid, first: Nanos) -> u32 {
        let thread = (tid, first);
        if let Some((last, place)) = self.last
            && last == thread
        {
            return place;
        }
        let place = *self.places.entry(thread).or_insert_with(|| {
            message.thread_tid.push(tid.0);
            message.thread_first_delta.push(self.first.of(first.0));
            message.thread_tid.len() as u32 - 1
        });
        self.last = Some((thread, place));
        place
    }
}

/// What a message had besides samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Skipped {
    /// Things this version does not know.
    pub(crate) unknown: u64,
    /// Samples that follow one that is missing.
    pub(crate) orphans: u64,
}

/// Appends the samples to `records`.
pub(super) fn decode(
    message: &schema::Samples,
    history: &mut History,
    records: &mut Vec<Record>,
) -> Result<Skipped, Malformed> {
    let mut first = Times::new(&message.thread_first_delta);
    let tids = rows(&message.thread_tid)?;
    let mut threads = Vec::with_capacity(tids.len());
    for &tid in tids {
        threads.push((Tid(tid), first.next()?));
    }
    let mut thread_rows = message
        .threads
        .as_ref()
        .map(|columns| ThreadRows::new(columns, &threads));
    let mut syscall_rows = message
        .syscalls
        .as_ref()
        .map(|columns| SyscallRows::new(columns, &threads));
    let mut process_rows = message.processes.as_ref().map(ProcessRows::new);
    let mut agent_rows = message.agents.as_ref().map(AgentRows::new);
    let mut counter_rows = message.counters.as_ref().map(counter::Rows::new);
    let mut holding_rows = message.holdings.as_ref().map(rest::HoldingRows::new);
    let mut pressure_rows = message.pressures.as_ref().map(rest::PressureRows::new);
    let mut probes_rows = message.probes.as_ref().map(rest::ProbesRows::new);
    let mut alive_rows = message.alive.as_ref().map(task::AliveRows::new);
    let mut task_rows = message.tasks.as_ref().map(task::TaskRows::new);

    let mut skipped = Skipped::default();
    let order = rows(&message.order)?;
    records.reserve(order.len());
    for &kind in order {
        let sample = match kind {
            RESTART => {
                history.forget();
                continue;
            }
            THREAD => {
                next(&mut thread_rows, |rows| rows.next(history, &mut skipped))?.map(Sample::Thread)
            }
            SYSCALL => next(&mut syscall_rows, |rows| rows.next(history))?.map(Sample::Syscall),
            PROCESS => Some(Sample::Process(next(&mut process_rows, ProcessRows::next)?)),
            AGENT => Some(Sample::Agent(next(&mut agent_rows, AgentRows::next)?)),
            COUNTER => next(&mut counter_rows, |rows| rows.next(history))?.map(Sample::Counter),
            HOLDING => Some(Sample::Holding(next(&mut holding_rows, |rows| {
                rows.next()
            })?)),
            PRESSURE => Some(Sample::Pressure(next(&mut pressure_rows, |rows| {
                rows.next()
            })?)),
            PROBES => Some(Sample::Probes(next(&mut probes_rows, |rows| rows.next())?)),
            ALIVE => Some(Sample::Alive(next(&mut alive_rows, |rows| rows.next())?)),
            TASK => Some(Sample::Task(next(&mut task_rows, |rows| rows.next())?)),
            _ => {
                skipped.unknown += 1;
                continue;
            }
        };
        match sample {
            Some(sample) => records.push(Record::Sample(sample)),
            None => skipped.orphans += 1,
        }
    }
    Ok(skipped)
}

fn next<R, T>(
    rows: &mut Option<R>,
    next: impl FnOnce(&mut R) -> Result<T, Malformed>,
) -> Result<T, Malformed> {
    next(rows.as_mut().ok_or(Malformed)?)
}

fn thread(threads: &[(Tid, Nanos)], place: u32) -> Result<(Tid, Nanos), Malformed> {
    threads.get(place as usize).copied().ok_or(Malformed)
}

struct ThreadRows<'a> {
    threads: &'a [(Tid, Nanos)],
    at: Times<'a>,
    pid: Column<'a, u32>,
    thread: Column<'a, u32>,
    state: Column<'a, u32>,
    states: Column<'a, u32>,
    time: Column<'a, u64>,
    voluntary: Column<'a, u64>,
    involuntary: Column<'a, u64>,
    migrations: Column<'a, u64>,
    follows: Column<'a, bool>,
    ready_max: Later<'a, u64>,
    waiting_on: Later<'a, u64>,
}

impl<'a> ThreadRows<'a> {
    fn new(columns: &'a schema::ThreadSamples, threads: &'a [(Tid, Nanos)]) -> Self {
        Self {
            threads,
            at: Times::new(&columns.at_delta),
            pid: Column::new(&columns.pid),
            thread: Column::new(&columns.thread),
            state: Column::new(&columns.state),
            states: Column::new(&columns.states),
            time: Column::new(&columns.time),
            voluntary: Column::new(&columns.voluntary),
            involuntary: Column::new(&columns.involuntary),
            migrations: Column::new(&columns.migrations),
            follows: Column::new(&columns.follows),
            ready_max: Later::new(&columns.ready_max),
            waiting_on: Later::new(&columns.waiting_on),
        }
    }

    /// The next sample, or `None` when it follows one that is missing.
    fn next(
        &mut self,
        history: &mut History,
        skipped: &mut Skipped,
    ) -> Result<Option<ThreadSample>, Malformed> {
        let (tid, first) = thread(self.threads, self.thread.next()?)?;
        let mut times = ThreadTimes::default();
        let mut states = self.states.next()?;
        while states != 0 {
            let state = states.trailing_zeros() as usize;
            states &= states - 1;
            let time = self.time.next()?;
            match times.in_state.get_mut(state) {
                Some(known) => *known = time,
                None => skipped.unknown += 1,
            }
        }
        times.voluntary = self.voluntary.next()?;
        times.involuntary = self.involuntary.next()?;
        times.migrations = self.migrations.next()?;
        let Ok(state) = u8::try_from(self.state.next()?) else {
            return Err(Malformed);
        };
        let (at, pid, state) = (self.at.next()?, Pid(self.pid.next()?), State(state));
        let (ready_max, waiting_on) = (Nanos(self.ready_max.next()?), self.waiting_on.next()?);
        if self.follows.next()? {
            match history.thread_after((tid, first), &times) {
                Some(after) => times = after?,
                None => return Ok(None),
            }
        }
        let sample = ThreadSample {
            at,
            pid,
            tid,
            first,
            state,
            times,
            ready_max,
            waiting_on,
        };
        history.remember_thread(&sample)?;
        Ok(Some(sample))
    }
}

struct SyscallRows<'a> {
    threads: &'a [(Tid, Nanos)],
    thread: Column<'a, u32>,
    nr: Column<'a, u32>,
    count: Column<'a, u64>,
    errors: Column<'a, u64>,
    untimed: Column<'a, i64>,
    sum: Column<'a, u64>,
    max: Column<'a, u64>,
    last: Column<'a, bool>,
    buckets: Column<'a, u32>,
    bucket_gap: Column<'a, u32>,
    bucket_count: Column<'a, u32>,
    follows: Column<'a, bool>,
}

impl<'a> SyscallRows<'a> {
    fn new(columns: &'a schema::SyscallSamples, threads: &'a [(Tid, Nanos)]) -> Self {
        Self {
            threads,
            thread: Column::new(&columns.thread),
            nr: Column::new(&columns.nr),
            count: Column::new(&columns.count),
            errors: Column::new(&columns.errors),
            untimed: Column::new(&columns.untimed),
            sum: Column::new(&columns.sum),
            max: Column::new(&columns.max),
            last: Column::new(&columns.last),
            buckets: Column::new(&columns.buckets),
            bucket_gap: Column::new(&columns.bucket_gap),
            bucket_count: Column::new(&columns.bucket_count),
            follows: Column::new(&columns.follows),
        }
    }

    /// The next sample, or `None` when it follows one that is missing.
    fn next(&mut self, history: &mut History) -> Result<Option<SyscallSample>, Malformed> {
        let (tid, first) = thread(self.threads, self.thread.next()?)?;
        let count = self.count.next()?;
        // Not reserved on the file's word: the cells have to be there first.
        let mut buckets = Vec::new();
        let mut bucket = 0u32;
        for _ in 0..self.buckets.next()? {
            bucket = bucket.wrapping_add(self.bucket_gap.next()?);
            buckets.push((bucket, self.bucket_count.next()?));
        }
        let mut sample = SyscallSample {
            key: SyscallKey {
                first,
                tid,
                nr: SyscallNr(self.nr.next()?),
            },
            count,
            errors: self.errors.next()?,
            timed: count.wrapping_sub(self.untimed.next()? as u64),
            sum: Nanos(self.sum.next()?),
            max: Nanos(self.max.next()?),
            buckets,
            last: self.last.next()?,
        };
        if self.follows.next()? {
            match history.syscall_after(&sample) {
                Some(after) => sample = after?,
                None => return Ok(None),
            }
        }
        history.remember_syscall(&sample)?;
        Ok(Some(sample))
    }
}

struct ProcessRows<'a> {
    at: Times<'a>,
    pid: Column<'a, u32>,
    rss_bytes: Column<'a, u64>,
    minor_faults: Column<'a, u64>,
    major_faults: Column<'a, u64>,
}

impl<'a> ProcessRows<'a> {
    fn new(columns: &'a schema::ProcessSamples) -> Self {
        Self {
            at: Times::new(&columns.at_delta),
            pid: Column::new(&columns.pid),
            rss_bytes: Column::new(&columns.rss_bytes),
            minor_faults: Column::new(&columns.minor_faults),
            major_faults: Column::new(&columns.major_faults),
        }
    }

    fn next(&mut self) -> Result<ProcessSample, Malformed> {
        Ok(ProcessSample {
            at: self.at.next()?,
            pid: Pid(self.pid.next()?),
            rss_bytes: self.rss_bytes.next()?,
            minor_faults: self.minor_faults.next()?,
            major_faults: self.major_faults.next()?,
        })
    }
}

struct AgentRows<'a> {
    at: Times<'a>,
    cpu: Column<'a, u64>,
    rss_bytes: Column<'a, u64>,
}

impl<'a> AgentRows<'a> {
    fn new(columns: &'a schema::AgentSamples) -> Self {
        Self {
            at: Times::new(&columns.at_delta),
            cpu: Column::new(&columns.cpu),
            rss_bytes: Column::new(&columns.rss_bytes),
        }
    }

    fn next(&mut self) -> Result<AgentSample, Malformed> {
        Ok(AgentSample {
            at: self.at.next()?,
            cpu: Nanos(self.cpu.next()?),
            rss_bytes: self.rss_bytes.next()?,
        })
    }
}

const _: () = assert!(STATES <= 32);
