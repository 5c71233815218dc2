//! What the model shows at an instant: plain values, made at a tick, never changed afterwards.
//!
//! Views and reports read this and nothing else. It formats nothing and holds no percentages: ratios are 0–1.

use tracer_common::{LossReason, Nanos, Pid, State, SyscallNr, ThreadTimes, Tid};

use crate::record::{ProbeMeta, SessionMeta};

/// The whole state of a session at a tick.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Tool, machine and clocks.
    pub session: SessionMeta,
    /// The tick this is about.
    pub now: Nanos,
    /// Length of the window that ended with it.
    pub window: Nanos,
    /// Ticks so far.
    pub ticks: u64,
    /// Traced processes: the living first, then those that ended, by when they came.
    pub processes: Vec<ProcessView>,
    /// Processes that ended and are no longer listed.
    pub processes_folded: u64,
    /// Threads: the living by (pid, tid), then those that ended, then those folded by name.
    pub threads: Vec<ThreadView>,
    /// System calls by total time, longest first.
    pub syscalls: Vec<SyscallView>,
    /// Memory of all living targets together.
    pub memory: MemoryView,
    /// How far the numbers can be trusted, and what they cost.
    pub quality: Quality,
    /// The last windows, oldest first, at most [`HISTORY`] of them.
    pub history: Vec<WindowPoint>,
}

/// Windows kept for sparklines.
pub const HISTORY: usize = 600;

impl Snapshot {
    /// Time since the accounting began.
    #[must_use]
    pub fn duration(&self) -> Nanos {
        self.now.since(self.session.started).unwrap_or_default()
    }

    /// True when no traced process is left.
    #[must_use]
    pub fn all_exited(&self) -> bool {
        !self.processes.is_empty() && self.processes.iter().all(|process| process.exit.is_some())
    }
}

/// A traced process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessView {
    /// The process.
    pub pid: Pid,
    /// Its parent; 0 when not known.
    pub parent: Pid,
    /// Since when it is traced.
    pub since: Nanos,
    /// Short name.
    pub comm: String,
    /// Path of its program; empty when it could not be read.
    pub exe: String,
    /// Command line; empty when it could not be read.
    pub cmdline: String,
    /// Resident set in bytes; `None` until it was read.
    pub rss_bytes: Option<u64>,
    /// Living threads.
    pub threads: u32,
    /// How it ended: the wait status, as `wait` reports it.
    pub exit: Option<u32>,
}

/// A thread, or several ended threads of one name folded into one row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThreadView {
    /// Its process; `None` for a folded row.
    pub pid: Option<Pid>,
    /// The thread; `None` for a folded row.
    pub tid: Option<Tid>,
    /// Its name; empty until it was read.
    pub name: String,
    /// Alive at this tick, ended, or several that ended.
    pub life: Life,
    /// What it is doing; [`State::DEAD`] when it ended.
    pub state: State,
    /// Accounted wall time: the sum of `times` over all states.
    pub wall: Nanos,
    /// Times since it was first accounted.
    pub times: ThreadTimes,
    /// Times within the last window.
    pub recent: ThreadTimes,
}

/// Whether a thread row stands for something that lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Life {
    /// It lives.
    #[default]
    Alive,
    /// It ended.
    Ended,
    /// So many ended threads of one name.
    Folded(u64),
}

/// One system call over all threads of the targets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SyscallView {
    /// The number.
    pub nr: SyscallNr,
    /// The name.
    pub name: String,
    /// Returns since attach.
    pub count: u64,
    /// Returns with an errno.
    pub errors: u64,
    /// Durations of those whose entry was seen.
    pub time: Distribution,
    /// Returns within the last window.
    pub recent_count: u64,
    /// Time spent in it within the last window.
    pub recent_time: Nanos,
}

/// A distribution, summarised at the edge. Quantiles are bucket middles: at most 6.25 % off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// Values.
    pub count: u64,
    /// Their sum.
    pub sum: Nanos,
    /// Median.
    pub p50: Nanos,
    /// 99th percentile.
    pub p99: Nanos,
    /// The largest.
    pub max: Nanos,
}

/// Memory of all living targets together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryView {
    /// Resident set in bytes; `None` until it was read.
    pub rss_bytes: Option<u64>,
    /// Page faults without I/O since attach; `None` until it was read twice.
    pub minor_faults: Option<u64>,
    /// Page faults with I/O since attach; `None` until it was read twice.
    pub major_faults: Option<u64>,
}

/// How far the numbers can be trusted, and what they cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quality {
    /// Events received.
    pub events: u64,
    /// Events received within the last window.
    pub recent_events: u64,
    /// What is missing, by reason; only reasons that occurred.
    pub lost: Vec<(LossReason, u64)>,
    /// Every probe and what became of it.
    pub probes: Vec<ProbeMeta>,
    /// Records that made no sense (counters that ran backwards, the end of an unknown process): skipped.
    pub inconsistent: u64,
    /// CPU time of the agent since attach.
    pub agent_cpu: Nanos,
    /// CPU time of the agent within the last window.
    pub agent_recent_cpu: Nanos,
    /// Resident set of the agent in bytes; `None` until it was read.
    pub agent_rss_bytes: Option<u64>,
}

impl Quality {
    /// Everything lost, whatever the reason.
    #[must_use]
    pub fn lost_total(&self) -> u64 {
        self.lost
            .iter()
            .fold(0, |sum: u64, (_, count)| sum.saturating_add(*count))
    }
}

/// What happened within one window, over all targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowPoint {
    /// The tick that closed it.
    pub at: Nanos,
    /// Its length.
    pub length: Nanos,
    /// CPU time of all target threads.
    pub on_cpu: Nanos,
    /// Time target threads waited for a CPU.
    pub runnable: Nanos,
    /// Context switches of target threads, voluntary and not.
    pub switches: u64,
    /// System call returns.
    pub syscalls: u64,
    /// Resident set of the living targets in bytes.
    pub rss_bytes: u64,
}
