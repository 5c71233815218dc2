//! The one type everything flows as: from the kernel, from a file or from a test's script, into the model and
//! into a recording.
//!
//! A record is an input, never a conclusion: what a thread's counters read, that a process exited, that a name
//! was found, that something was lost, that time passed. Counters are cumulative since the thread was first
//! accounted, so a missing record costs detail and never correctness of the totals.

use tracer_common::{
    Event, EventHeader, LossReason, Nanos, Pid, State, SyscallKey, SyscallNr, ThreadTimes, Tid,
};

/// One input of the model.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// An edge from the kernel.
    Event(EventHeader, Event),
    /// Counters read at a tick.
    Sample(Sample),
    /// Names, descriptions, probe states.
    Meta(Meta),
    /// What is known to be missing, cumulative by reason.
    Loss(Loss),
    /// Time passes; closes a window.
    Tick(Nanos),
}

/// Counters of something, read at a moment.
#[derive(Clone, Debug, PartialEq)]
pub enum Sample {
    /// A thread's time.
    Thread(ThreadSample),
    /// One system call of one thread.
    Syscall(SyscallSample),
    /// A process as `/proc` describes it.
    Process(ProcessSample),
    /// What the agent itself uses.
    Agent(AgentSample),
}

/// A thread's times up to `at`, the open interval included: they sum to `at - first`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadSample {
    /// When the counters were read.
    pub at: Nanos,
    /// Its process.
    pub pid: Pid,
    /// The thread.
    pub tid: Tid,
    /// When it was first accounted.
    pub first: Nanos,
    /// What it was doing at `at`.
    pub state: State,
    /// Its times.
    pub times: ThreadTimes,
}

/// One system call of one thread, cumulative.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyscallSample {
    /// Which thread, which call.
    pub key: SyscallKey,
    /// Returns from the call.
    pub count: u64,
    /// Returns with an errno.
    pub errors: u64,
    /// Returns whose entry was seen, so that they have a duration.
    pub timed: u64,
    /// Sum of the durations.
    pub sum: Nanos,
    /// The longest duration.
    pub max: Nanos,
    /// Non-empty buckets of [`tracer_common::hist`], ascending, with their counts.
    pub buckets: Vec<(u32, u32)>,
    /// True when the thread is gone and this row will not change any more.
    pub last: bool,
}

/// A process, as `/proc/PID/stat` and `statm` describe it (Linux `Documentation/filesystems/proc.rst`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessSample {
    /// When it was read.
    pub at: Nanos,
    /// The process.
    pub pid: Pid,
    /// Resident set in bytes.
    pub rss_bytes: u64,
    /// Page faults without I/O since the process started.
    pub minor_faults: u64,
    /// Page faults with I/O since the process started.
    pub major_faults: u64,
}

/// What the agent itself uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgentSample {
    /// When it was read.
    pub at: Nanos,
    /// CPU time of the agent since it attached, all threads (`CLOCK_PROCESS_CPUTIME_ID`).
    pub cpu: Nanos,
    /// Resident set in bytes.
    pub rss_bytes: u64,
}

/// Names and descriptions, made in user space at record time, so that a recording replays anywhere.
#[derive(Clone, Debug, PartialEq)]
pub enum Meta {
    /// What is recorded, by what, where. The first record of every session.
    Session(SessionMeta),
    /// A traced process; again when it runs another program.
    Process(ProcessMeta),
    /// A thread's name.
    ThreadName(ThreadNameMeta),
    /// A system call's name.
    SyscallName(SyscallNameMeta),
    /// What became of a probe.
    Probe(ProbeMeta),
}

/// The session: tool, machine, clocks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionMeta {
    /// Version of the tool that recorded.
    pub tool_version: String,
    /// Probe profile: `light`, `default`, `full`.
    pub profile: String,
    /// Kernel release.
    pub kernel: String,
    /// Machine architecture, as `uname -m` says.
    pub arch: String,
    /// Online CPUs.
    pub cpus: u32,
    /// Start of the accounting on the monotonic clock.
    pub started: Nanos,
    /// The same moment in nanoseconds since the Unix epoch.
    pub started_unix_ns: u64,
    /// Time between ticks.
    pub interval: Nanos,
}

/// A traced process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessMeta {
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
    /// Command line, arguments joined by a space; empty when it could not be read.
    pub cmdline: String,
}

/// A thread's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThreadNameMeta {
    /// Its process.
    pub pid: Pid,
    /// The thread.
    pub tid: Tid,
    /// When it was first accounted.
    pub first: Nanos,
    /// The name (`comm`).
    pub name: String,
}

/// A system call's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyscallNameMeta {
    /// The number.
    pub nr: SyscallNr,
    /// The name, or `syscall_NNN` when the number has none.
    pub name: String,
}

/// What became of a probe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeMeta {
    /// The probe's name, as `tracer doctor` lists it.
    pub name: String,
    /// The group `--with` and `--without` switch.
    pub group: String,
    /// What became of it.
    pub status: ProbeStatus,
    /// Why it is not plainly attached; empty otherwise.
    pub why: String,
}

/// What became of a probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeStatus {
    /// Counting.
    Attached,
    /// Works with less than it could give.
    Degraded,
    /// The kernel or the target refused it.
    Refused,
    /// Not asked for.
    #[default]
    Off,
}

impl ProbeStatus {
    /// The word used in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Attached => "attached",
            Self::Degraded => "degraded",
            Self::Refused => "refused",
            Self::Off => "off",
        }
    }
}

/// Missing data, cumulative since the session began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Why.
    pub reason: LossReason,
    /// How many, of what the reason's name says.
    pub count: u64,
}
