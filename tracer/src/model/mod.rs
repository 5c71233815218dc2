//! Folds records into threads, processes, system calls and memory, and gives immutable snapshots.
//!
//! Pure: no files, no clock, no threads, no terminal. Time is what the records say. It cannot fail and cannot
//! panic on any sequence of records: what makes no sense is counted in `Quality::inconsistent`. Its memory is
//! bounded: what ended is folded into its name.

mod callbacks;
mod counters;
mod event_loops;
mod found;
mod heaps;
mod histogram;
mod javascript;
mod level;
mod node;
mod resources;
pub mod snapshot;
mod stacks;
mod syscalls;
mod tasks;
mod threads;
mod view;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use tracer_common::{Event, EventHeader, LossReason, Nanos, Pid, State};

pub use histogram::Histogram;
pub use snapshot::*;

use crate::record::{
    AgentSample, FileMeta, LimitsMeta, Loss, Meta, ProbeMeta, ProbesSample, ProcessMeta,
    ProcessSample, Record, Sample, SessionMeta,
};

/// Processes that ended and are still listed one by one.
const ENDED_PROCESSES: usize = 64;
/// Processes the model keeps at most; more are counted as folded.
const PROCESSES: usize = 16_384;

/// Descriptors whose description is kept at most: the kernel side's own table is smaller.
const FILES: usize = 32_768;
/// Probes and reasons of loss kept at most: there are a few dozen.
const KINDS: usize = 1_024;

/// The fold. See [`Model::apply`] and [`Model::snapshot`].
#[derive(Debug, Default)]
pub struct Model {
    session: SessionMeta,
    now: Nanos,
    window: Nanos,
    ticks: u64,
    processes: BTreeMap<Pid, Process>,
    /// Those that ended, oldest first.
    ended: VecDeque<Process>,
    processes_folded: u64,
    /// Minor and major page faults of all targets since attach.
    faults: Option<(u64, u64)>,
    threads: threads::Threads,
    syscalls: syscalls::Syscalls,
    tables: counters::Tables,
    stacks: stacks::Stacks,
    tasks: tasks::Tasks,
    node: node::Node,
    callbacks: callbacks::Callbacks,
    resources: resources::Resources,
    heaps: heaps::Heaps,
    loops: event_loops::Loops,
    files: BTreeMap<(Pid, u32), FileMeta>,
    limits: BTreeMap<Pid, LimitsMeta>,
    pressure: level::Pressure,
    sockets: level::Level,
    losses: BTreeMap<LossReason, u64>,
    probes: Vec<ProbeMeta>,
    events: Windowed,
    agent_cpu: Windowed,
    agent_rss_bytes: Option<u64>,
    probe_cost: Option<ProbesSample>,
    probe_time: Windowed,
    target_cpu: Windowed,
    inconsistent: u64,
    history: VecDeque<WindowPoint>,
}

#[derive(Clone, Debug, Default)]
struct Process {
    meta: ProcessMeta,
    /// The last sample. Its fault counters run from the start of the process, not from attach.
    sample: Option<ProcessSample>,
    pss_bytes: Option<u64>,
    swap_bytes: Option<u64>,
    sockets: Option<u64>,
    exit: Option<u32>,
}

/// A cumulative number, and how much of it belongs to the last window.
#[derive(Clone, Copy, Debug, Default)]
struct Windowed {
    total: u64,
    recent: u64,
    at_last_tick: u64,
}

impl Windowed {
    fn close(&mut self) {
        self.recent = self.total.saturating_sub(self.at_last_tick);
        self.at_last_tick = self.total;
    }
}

impl Model {
    /// An empty model.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in one record.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Event(header, event) => self.event(header, event),
            Record::Sample(sample) => self.sample(sample),
            Record::Meta(meta) => self.meta(meta),
            Record::Loss(Loss { reason, count }) => {
                if self.losses.len() < KINDS || self.losses.contains_key(reason) {
                    let known = self.losses.entry(*reason).or_default();
                    *known = (*known).max(*count);
                }
            }
            Record::Tick(at) => self.tick(*at),
        }
    }

    fn event(&mut self, header: &EventHeader, event: &Event) {
        self.events.total += 1;
        match event {
            Event::ThreadStart(start) => self.threads.start(start.tid, header.at, start.pid),
            Event::ThreadExit(exit) => {
                self.name_nameless_process(header.pid, &exit.name);
                if !self.threads.end(header.tid, header.pid, header.at, exit) {
                    self.inconsistent += 1;
                }
            }
            Event::ProcessExit(exit) => {
                self.stacks.left(header.pid);
                self.tasks.left(header.pid);
                self.resources.left(header.pid);
                self.heaps.left(header.pid);
                self.end_process(header.pid, exit.code);
            }
            Event::Exec(exec) => {
                self.stacks.left(header.pid);
                self.tasks.left(header.pid);
                self.resources.left(header.pid);
                self.heaps.left(header.pid);
                self.threads.take_over(exec.old_tid, header.tid);
            }
            Event::LongWait(wait) => {
                self.stacks.waited(header.at, wait);
                self.tasks.waited(header.at, wait);
                if self.tasks.has_loops(wait.pid) != Some(false) {
                    self.loops.waited(header.at, wait);
                }
            }
            Event::CpuSample(sample) => {
                self.stacks.sampled(sample);
                self.tasks.sampled(header, sample);
                self.callbacks.sampled(header.pid, sample);
                if self.tasks.has_loops(header.pid) != Some(false) {
                    self.loops.sampled(header, sample);
                }
            }
            Event::LongPoll(poll) => self.tasks.long(header, poll),
            Event::LongIteration(iteration) => {
                if self.tasks.has_loops(header.pid) != Some(false) {
                    self.loops.long(header, iteration);
                }
            }
            Event::LongCallback(callback) => self.callbacks.long(header, callback),
            Event::Mapped(mapped) => self.stacks.mapped(header.pid, mapped),
            Event::Unmapped(unmapped) => self.stacks.unmapped(header.pid, unmapped),
            // Counted in the kernel too; the single ones are for those who read the recording.
            Event::Call(_) => {}
        }
    }

    /// A process that ended before anybody could ask for its name left it with its threads.
    fn name_nameless_process(&mut self, pid: Pid, name: &[u8; 16]) {
        let ended = self
            .ended
            .iter_mut()
            .rev()
            .find(|process| process.meta.pid == pid);
        if let Some(process) = self.processes.get_mut(&pid).or(ended)
            && process.meta.comm.is_empty()
        {
            process.meta.comm = threads::text(name);
        }
    }

    fn end_process(&mut self, pid: Pid, code: u32) {
        let Some(mut process) = self.processes.remove(&pid) else {
            self.inconsistent += 1;
            return;
        };
        process.exit = Some(code);
        self.ended.push_back(process);
        if self.ended.len() > ENDED_PROCESSES {
            self.ended.pop_front();
            self.processes_folded += 1;
        }
    }

    fn sample(&mut self, sample: &Sample) {
        match sample {
            Sample::Thread(sample) => {
                if !self.threads.sample(sample) {
                    self.inconsistent += 1;
                }
            }
            Sample::Syscall(sample) => {
                if !self.syscalls.sample(sample) {
                    self.inconsistent += 1;
                }
            }
            Sample::Process(sample) => {
                let Some(process) = self.processes.get_mut(&sample.pid) else {
                    self.inconsistent += 1;
                    return;
                };
                let before = process.sample.replace(*sample).unwrap_or(*sample);
                let (minor, major) = self.faults.unwrap_or_default();
                self.faults = Some((
                    minor.saturating_add(sample.minor_faults.saturating_sub(before.minor_faults)),
                    major.saturating_add(sample.major_faults.saturating_sub(before.major_faults)),
                ));
            }
            Sample::Agent(AgentSample { cpu, rss_bytes, .. }) => {
                self.agent_cpu.total = cpu.0;
                self.agent_rss_bytes = Some(*rss_bytes);
            }
            Sample::Counter(sample) => {
                if !self.tables.sample(sample) {
                    self.inconsistent += 1;
                }
            }
            Sample::Holding(sample) => {
                let Some(process) = self.processes.get_mut(&sample.pid) else {
                    self.inconsistent += 1;
                    return;
                };
                process.pss_bytes = sample.pss_bytes.or(process.pss_bytes);
                process.swap_bytes = sample.swap_bytes.or(process.swap_bytes);
                process.sockets = sample.sockets.or(process.sockets);
            }
            Sample::Alive(sample) => self.tasks.alive(sample),
            Sample::Task(sample) => self.tasks.task(sample),
            Sample::Pressure(sample) => self.pressure.sample(sample),
            Sample::Probes(sample) => {
                self.probe_time.total = self.probe_time.total.max(sample.target_time.0);
                self.probe_cost = Some(*sample);
                self.tasks.probes(sample);
                self.callbacks.probes(sample);
            }
        }
    }

    fn meta(&mut self, meta: &Meta) {
        match meta {
            Meta::Session(session) => {
                self.now = self.now.max(session.started);
                self.session = session.clone();
            }
            Meta::Process(meta) => {
                if let Some(known) = self.processes.get_mut(&meta.pid) {
                    known.meta = meta.clone();
                } else if self.processes.len() < PROCESSES {
                    let process = Process {
                        meta: meta.clone(),
                        ..Process::default()
                    };
                    self.processes.insert(meta.pid, process);
                } else {
                    self.processes_folded += 1;
                }
            }
            Meta::ThreadName(meta) => self.threads.name(meta),
            Meta::SyscallName(meta) => self.syscalls.name(meta),
            Meta::Probe(probe) => {
                if let Some(known) = self
                    .probes
                    .iter_mut()
                    .find(|known| known.name == probe.name)
                {
                    known.clone_from(probe);
                } else if self.probes.len() < KINDS {
                    self.probes.push(probe.clone());
                }
            }
            Meta::Runtime(meta) => {
                self.tasks.runtime(meta);
                if !meta.has_loops() {
                    self.loops.has_none(meta.pid);
                }
            }
            Meta::TaskType(meta) => self.tasks.name(meta),
            Meta::Waits(meta) => self.tasks.waits(meta),
            Meta::WorkType(meta) => self.node.name(meta),
            Meta::CallbackKind(meta) => self.callbacks.name(meta),
            // One that ended while it was read has nothing in flight.
            Meta::InFlight(meta) if self.processes.contains_key(&meta.pid) => {
                self.resources.read(meta);
            }
            Meta::Heaps(meta) if self.processes.contains_key(&meta.pid) => {
                self.heaps.read(meta);
            }
            Meta::InFlight(_) | Meta::Heaps(_) => {}
            Meta::Stack(meta) => self.stacks.stack(meta),
            Meta::Symbol(meta) => self.stacks.symbol(meta),
            Meta::File(meta) => {
                let key = (meta.pid, meta.fd);
                if self.files.len() < FILES || self.files.contains_key(&key) {
                    self.files.insert(key, meta.clone());
                }
            }
            Meta::Limits(meta) => {
                if self.limits.len() < PROCESSES || self.limits.contains_key(&meta.pid) {
                    self.limits.insert(meta.pid, *meta);
                }
            }
        }
    }

    fn tick(&mut self, at: Nanos) {
        let Some(length) = at.since(self.now) else {
            self.inconsistent += 1;
            return;
        };
        self.now = at;
        self.window = length;
        self.ticks += 1;
        self.events.close();
        self.agent_cpu.close();
        let recent = self.threads.close();
        let syscalls = self.syscalls.close();
        self.tables.close();
        self.tasks.close(&self.tables, at, length);
        self.callbacks.close(&self.tables);
        self.resources.close(length);
        self.close_loops(at, length);
        self.target_cpu.total = self
            .target_cpu
            .total
            .saturating_add(recent.of(State::ON_CPU).0);
        self.target_cpu.close();
        self.probe_time.close();
        let sockets = if self.processes.is_empty() && self.sockets.is_known() {
            // Nobody is left to ask, nor to hold any.
            Some(0)
        } else {
            self.processes
                .values()
                .filter_map(|process| process.sockets)
                .fold(None, |sum: Option<u64>, count| {
                    Some(sum.unwrap_or(0).saturating_add(count))
                })
        };
        self.sockets.close(sockets, length);
        let rss_bytes = self
            .processes
            .values()
            .filter_map(|process| process.sample)
            .fold(0, |sum: u64, sample| sum.saturating_add(sample.rss_bytes));
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(WindowPoint {
            at,
            length,
            on_cpu: recent.of(State::ON_CPU),
            runnable: recent.of(State::RUNNABLE).plus(recent.of(State::PREEMPTED)),
            switches: recent.voluntary.saturating_add(recent.involuntary),
            syscalls,
            rss_bytes,
        });
    }

    /// What is known at the last tick.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let locks = self.lock_views();
        let files = self.file_views();
        let unlisted = |kept: u64, folded: u64, listed: usize| {
            kept.saturating_add(folded).saturating_sub(listed as u64)
        };
        let tables = &self.tables;
        let locks_unlisted = unlisted(tables.locks.len(), tables.locks.folded, locks.len());
        let files_unlisted = unlisted(tables.files.len(), tables.files.folded, files.len());
        Snapshot {
            session: self.session.clone(),
            now: self.now,
            window: self.window,
            ticks: self.ticks,
            processes: self.process_views(),
            processes_folded: self.processes_folded,
            threads: self.threads.views(),
            syscalls: self.syscalls.views(self.errnos().as_ref()),
            locks,
            locks_unlisted,
            long_waits: self.wait_views(),
            files,
            files_unlisted,
            polls: self.poll_views(),
            memory: self.memory_view(),
            cpu: self.cpu_view(),
            tasks: self.tasks_view(),
            node: self.node_view(),
            callbacks: self.callbacks_view(),
            loops: self.loops_view(),
            in_flight: self.level_views(),
            resources_unknown: self.resources.unknown(),
            findings: FindingsView::default(),
            quality: Quality {
                events: self.events.total,
                recent_events: self.events.recent,
                lost: self
                    .losses
                    .iter()
                    .filter(|&(_, &count)| count > 0)
                    .map(|(&reason, &count)| (reason, count))
                    .collect(),
                probes: self.probes.clone(),
                inconsistent: self.inconsistent,
                agent_cpu: Nanos(self.agent_cpu.total),
                agent_recent_cpu: Nanos(self.agent_cpu.recent),
                agent_rss_bytes: self.agent_rss_bytes,
                probe_time: self.probe_cost.map(|cost| cost.time),
                probe_runs: self.probe_cost.map(|cost| cost.runs),
                target_cpu_ratio: self
                    .probe_cost
                    .and_then(|_| share(self.probe_time.total, self.target_cpu.total)),
                recent_cpu_ratio: self
                    .probe_cost
                    .and_then(|_| share(self.probe_time.recent, self.target_cpu.recent)),
                target_probe_time: [self.probe_time.total, self.probe_time.recent].map(Nanos),
                stacks: self.stacks.taken,
                shallow_stacks: self.stacks.shallow,
            },
            history: self.history.iter().copied().collect(),
        }
    }

    /// The living first, each by when it came: what was asked for stands before its children.
    fn process_views(&self) -> Vec<ProcessView> {
        let all = self.processes.values().chain(&self.ended);
        let mut views: Vec<ProcessView> = all.map(|process| self.view(process)).collect();
        views.sort_by_key(|view| (view.exit.is_some(), view.since, view.pid));
        views
    }

    fn view(&self, process: &Process) -> ProcessView {
        let ProcessMeta {
            pid,
            parent,
            since,
            comm,
            exe,
            cmdline,
        } = process.meta.clone();
        ProcessView {
            pid,
            parent,
            since,
            comm,
            exe,
            cmdline,
            rss_bytes: process.sample.map(|sample| sample.rss_bytes),
            threads: if process.exit.is_some() {
                0
            } else {
                self.threads.count_of(pid)
            },
            exit: process.exit,
        }
    }
}

/// `None` for a share of nothing: without CPU time there is nothing to slow down.
fn share(part: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| part as f64 / of as f64)
}
