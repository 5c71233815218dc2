//! What the model shows at an instant: plain values, made at a tick, never changed afterwards.
//!
//! Views and reports read this and nothing else. It formats nothing and holds no percentages: ratios are 0–1.

mod callback;
mod event_loop;
mod finding;
mod javascript;
mod level;
mod node;
mod task;
mod task_type;

use std::sync::Arc;

use tracer_common::{
    LossReason, Nanos, Pid, State, SyscallNr, ThreadTimes, Tid,
    table::{LockKind, MemoryCall},
};

pub use callback::*;
pub use event_loop::*;
pub use finding::*;
pub use javascript::*;
pub use level::*;
pub use node::*;
pub use task::*;
pub use task_type::*;

use crate::record::{ProbeMeta, SessionMeta, SymbolMeta};

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
    /// Futexes by the time threads waited for them, longest first; at most [`LISTED`].
    pub locks: Vec<LockView>,
    /// Futexes that are not listed.
    pub locks_unlisted: u64,
    /// Long waits by state and stack, longest first; at most [`LISTED`].
    pub long_waits: Vec<WaitView>,
    /// Descriptors by the bytes that went through them, most first; at most [`LISTED`].
    pub files: Vec<FileView>,
    /// Descriptors that are not listed.
    pub files_unlisted: u64,
    /// Epoll descriptors by waits, most first; at most [`LISTED`].
    pub polls: Vec<PollView>,
    /// Memory of all living targets together.
    pub memory: MemoryView,
    /// CPUs the targets may use, and where their CPU time goes.
    pub cpu: CpuView,
    /// Tasks of async runtimes.
    pub tasks: TasksView,
    /// Event loops.
    pub loops: LoopsView,
    /// Garbage collections and the thread pool of Node.
    pub node: NodeView,
    /// Callbacks of Node and promises.
    pub callbacks: CallbacksView,
    /// What is started and not finished.
    pub in_flight: Vec<LevelView>,
    /// Why requests and handles of Node are not among that; `None` when they are.
    pub resources_unknown: Option<String>,
    /// What was concluded; empty in what the model gives, see [`crate::findings`].
    pub findings: FindingsView,
    /// How far the numbers can be trusted, and what they cost.
    pub quality: Quality,
    /// The last windows, oldest first, at most [`HISTORY`] of them.
    pub history: Vec<WindowPoint>,
}

/// Windows kept for sparklines.
pub const HISTORY: usize = 600;

/// Rows of one table that a snapshot lists.
pub const LISTED: usize = 200;

impl Snapshot {
    /// Time since the accounting began.
    #[must_use]
    pub fn duration(&self) -> Nanos {
        self.now.since(self.session.started).unwrap_or_default()
    }

    /// What a thread is for; `None` when that is not known.
    #[must_use]
    pub fn role(&self, pid: Pid, tid: Tid) -> Option<Role> {
        match self.loops.of(pid, tid) {
            Some(_) => Some(Role::Loop),
            None => self.tasks.role(pid, tid),
        }
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
    /// What it waits on at this tick: the address of a futex, a descriptor; 0 when it does not or that is not known.
    pub waiting_on: u64,
    /// The longest it was ready and did not get a CPU.
    pub ready_max: Nanos,
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
    /// Those returns by error number, most frequent first. Empty when errors are not told apart.
    pub errnos: Vec<(u32, u64)>,
    /// Durations of those that were timed.
    pub time: Distribution,
    /// Time inside all of them; where not all were timed, estimated from those that were.
    pub inside: Nanos,
    /// Returns within the last window.
    pub recent_count: u64,
    /// Time spent in it within the last window, estimated in the same way.
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

/// A call stack, innermost first. An address without a symbol has only that.
pub type StackView = Vec<Arc<SymbolMeta>>;

/// A futex.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LockView {
    /// The process.
    pub pid: Pid,
    /// Its address there.
    pub address: u64,
    /// What kind of wait.
    pub kind: LockKind,
    /// Waits that slept.
    pub wait: Distribution,
    /// Those within the last window.
    pub recent_waits: u64,
    /// Time waited within the last window, of waits that ended in it.
    pub recent_time: Nanos,
    /// Waits that another thread ended; the others ended by time-out or signal.
    pub woken: u64,
    /// Calls that did not sleep because the value had changed. `None` when calls are not counted.
    pub again: Option<u64>,
    /// Calls that timed out. `None` when calls are not counted.
    pub timeouts: Option<u64>,
    /// Calls that a signal ended. `None` when calls are not counted.
    pub interrupted: Option<u64>,
    /// Calls to wake or requeue. `None` when calls are not counted.
    pub wake_calls: Option<u64>,
    /// Waiters they woke or requeued. `None` when calls are not counted.
    pub wake_results: Option<u64>,
    /// Threads that wait for it at this tick.
    pub waiting_now: u32,
    /// Who waited, longest first; at most 8.
    pub waiters: Vec<PartyView>,
    /// Who woke, most often first; at most 8.
    pub wakers: Vec<PartyView>,
    /// Where waiters called from in its long waits, the stack of the longest time.
    pub stack: StackView,
    /// Where wakers called from, likewise.
    pub waker_stack: StackView,
}

/// A thread's part in something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartyView {
    /// The thread.
    pub tid: Tid,
    /// Its name; empty when not known.
    pub name: String,
    /// How often.
    pub count: u64,
    /// How long the waiter waited, in total.
    pub waited: Nanos,
}

/// Long waits in one state from one stack.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WaitView {
    /// How they waited.
    pub state: State,
    /// Where they had called from; empty when no stack was taken.
    pub stack: StackView,
    /// Where the last waker had called from; empty when none was taken.
    pub waker_stack: StackView,
    /// The thread that waited last.
    pub tid: Tid,
    /// Its name; empty when not known.
    pub thread: String,
    /// How many.
    pub count: u64,
    /// How long in total.
    pub sum: Nanos,
    /// The longest.
    pub max: Nanos,
}

/// What went through a descriptor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileView {
    /// The process.
    pub pid: Pid,
    /// The descriptor.
    pub fd: u32,
    /// `socket`, `pipe`, `file` and so on; empty when it was gone before it could be looked at.
    pub kind: String,
    /// A path, or local and peer address.
    pub name: String,
    /// Calls that read or receive.
    pub reads: u64,
    /// Bytes they gave.
    pub read_bytes: u64,
    /// Calls that write or send.
    pub writes: u64,
    /// Bytes they took.
    pub write_bytes: u64,
    /// Calls to accept and connect.
    pub connects: u64,
    /// Calls that failed.
    pub errors: u64,
    /// Calls that would have had to wait.
    pub again: u64,
    /// Times the number was closed.
    pub closes: u64,
    /// Time inside these calls.
    pub time: Nanos,
    /// The longest of them.
    pub time_max: Nanos,
    /// Bytes within the last window, both ways.
    pub recent_bytes: u64,
    /// Calls within the last window.
    pub recent_calls: u64,
}

/// What waiting at an epoll descriptor gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PollView {
    /// The process.
    pub pid: Pid,
    /// The descriptor.
    pub fd: u32,
    /// Returns.
    pub waits: u64,
    /// Returns without an event.
    pub empty: u64,
    /// Events.
    pub events: u64,
    /// The most events of one return.
    pub events_max: u64,
    /// From being woken to the return, of waits that slept.
    pub latency: Distribution,
}

/// Memory of all living targets together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MemoryView {
    /// Resident set in bytes; `None` until it was read.
    pub rss_bytes: Option<u64>,
    /// Resident memory with shared pages divided among those who share them; `None` until it was read.
    pub pss_bytes: Option<u64>,
    /// Memory swapped out; `None` until it was read.
    pub swap_bytes: Option<u64>,
    /// How fast the resident set grows, by least squares over the last minute at most; `None` before five windows.
    pub rss_slope: Option<f64>,
    /// Page faults without I/O since attach; `None` until it was read twice.
    pub minor_faults: Option<u64>,
    /// Page faults with I/O since attach; `None` until it was read twice.
    pub major_faults: Option<u64>,
    /// Time threads were blocked in page faults.
    pub fault_time: Nanos,
    /// Time spent handling page faults on a CPU, by samples; `None` when there are no samples.
    pub fault_cpu: Option<Nanos>,
    /// Memory calls; `None` when they are not counted.
    pub calls: Option<Vec<MemoryCallView>>,
    /// Memory asked for by stack, most first; at most [`LISTED`].
    pub by_stack: Vec<MemoryStackView>,
    /// Share of the time since attach in which some task of the machine waited for memory; `None` when not known.
    pub pressure_some: Option<f64>,
    /// The same for all tasks at once.
    pub pressure_full: Option<f64>,
    /// The same of the first target's cgroup: some, full.
    pub cgroup_pressure: Option<(f64, f64)>,
}

impl MemoryView {
    /// Bytes that went one way; `None` when memory calls are not counted.
    #[must_use]
    pub fn bytes(&self, what: MemoryCall) -> Option<u64> {
        let calls = self.calls.as_ref()?;
        let way = calls.iter().find(|call| call.what == what);
        Some(way.map_or(0, |call| call.bytes))
    }
}

/// One way to get memory from the kernel, or to give it back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryCallView {
    /// Which.
    pub what: MemoryCall,
    /// Calls that succeeded.
    pub calls: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Memory asked for from one stack: extrapolated from samples, one for at least so many bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MemoryStackView {
    /// From where.
    pub stack: StackView,
    /// Samples.
    pub samples: u64,
    /// Bytes they stand for.
    pub bytes: u64,
    /// Bytes of sampled mappings that are still mapped.
    pub still_mapped_bytes: u64,
}

/// CPUs the targets may use, and where their CPU time goes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CpuView {
    /// CPUs the targets may run on: the most any of them may.
    pub allowed: Option<u32>,
    /// Thousandths of a CPU their cgroup's quota allows; `None` without one.
    pub quota_millicpus: Option<u32>,
    /// Time the cgroup was throttled since attach, over all CPUs; `None` when not known.
    pub throttled: Option<Nanos>,
    /// Samples of running threads.
    pub samples: u64,
    /// CPU time one sample stands for.
    pub period: Nanos,
    /// By user stack, most first; at most [`LISTED`].
    pub by_stack: Vec<CpuStackView>,
    /// Functions of JavaScript, by the samples in themselves; at most [`LISTED`].
    pub javascript: Vec<JsFunctionView>,
    /// True when a target uses io_uring: its operations are no system calls.
    pub io_uring: bool,
}

/// Samples with one stack.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CpuStackView {
    /// Of the program.
    pub stack: StackView,
    /// Of the kernel; empty for the program's own code.
    pub kernel_stack: StackView,
    /// How many.
    pub samples: u64,
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
    /// Estimated time in the kernel side's programs since attach, on behalf of any process; `None` when not measured.
    pub probe_time: Option<Nanos>,
    /// Estimated runs of programs since attach, on behalf of any process; `None` when not measured.
    pub probe_runs: Option<u64>,
    /// The part of the time the targets paid, as a share of their CPU time since attach; `None` when not measured.
    pub target_cpu_ratio: Option<f64>,
    /// The same within the last window.
    pub recent_cpu_ratio: Option<f64>,
    /// The time the targets paid since attach, and within the last window.
    pub target_probe_time: [Nanos; 2],
    /// Stacks taken of user code.
    pub stacks: u64,
    /// Those that ended after two frames or less: code without frame pointers.
    pub shallow_stacks: u64,
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
