//! Folds records into threads, processes, system calls and memory, and gives immutable snapshots.
//!
//! Pure: no files, no clock, no threads, no terminal. Time is what the records say. It cannot fail and cannot
//! panic on any sequence of records: what makes no sense is counted in `Quality::inconsistent`. Its memory is
//! bounded: what ended is folded into its name.

mod histogram;
pub mod snapshot;
mod syscalls;
mod threads;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use tracer_common::{Event, EventHeader, LossReason, Nanos, Pid, State};

pub use histogram::Histogram;
pub use snapshot::*;

use crate::record::{
    AgentSample, Loss, Meta, ProbeMeta, ProcessMeta, ProcessSample, Record, Sample, SessionMeta,
};

/// Processes that ended and are still listed one by one.
const ENDED_PROCESSES: usize = 64;
/// Processes the model keeps at most; more are counted as folded.
const PROCESSES: usize = 16_384;

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
    losses: BTreeMap<LossReason, u64>,
    probes: Vec<ProbeMeta>,
    events: Windowed,
    agent_cpu: Windowed,
    agent_rss_bytes: Option<u64>,
    inconsistent: u64,
    history: VecDeque<WindowPoint>,
}

#[derive(Clone, Debug, Default)]
struct Process {
    meta: ProcessMeta,
    /// The last sample. Its fault counters run from the start of the process, not from attach.
    sample: Option<ProcessSample>,
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
            Event::ProcessExit(exit) => self.end_process(header.pid, exit.code),
            Event::Exec(exec) => self.threads.take_over(exec.old_tid, header.tid),
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
                self.probes.retain(|known| known.name != probe.name);
                if self.probes.len() < KINDS {
                    self.probes.push(probe.clone());
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
            rss_bytes: self.memory().rss_bytes.unwrap_or(0),
        });
    }

    fn memory(&self) -> MemoryView {
        let sampled = || self.processes.values().filter_map(|process| process.sample);
        let rss_bytes = sampled().fold(0, |sum: u64, sample| sum.saturating_add(sample.rss_bytes));
        MemoryView {
            rss_bytes: sampled().next().map(|_| rss_bytes),
            minor_faults: self.faults.map(|(minor, _)| minor),
            major_faults: self.faults.map(|(_, major)| major),
        }
    }

    /// What is known at the last tick.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            session: self.session.clone(),
            now: self.now,
            window: self.window,
            ticks: self.ticks,
            processes: self.process_views(),
            processes_folded: self.processes_folded,
            threads: self.threads.views(),
            syscalls: self.syscalls.views(),
            memory: self.memory(),
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
