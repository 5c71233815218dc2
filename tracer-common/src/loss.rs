//! Why something is missing. What was lost is data too, so every loss has a reason and a count.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A reason for missing data. Numbers below [`LossReason::KERNEL`] are counted by the kernel side, the
/// others by the agent. Numbers are retired, never reused.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(transparent)]
pub struct LossReason(pub u32);

impl LossReason {
    /// Slots of the kernel's `LOSSES` array.
    pub const KERNEL: u32 = 24;

    /// The ring buffer had no room for an event.
    pub const RING_FULL: Self = Self(0);
    /// The thread table had no room: that thread's time is not accounted.
    pub const THREAD_TABLE_FULL: Self = Self(1);
    /// The syscall table had no room: that call is not counted.
    pub const SYSCALL_TABLE_FULL: Self = Self(2);
    /// The target table had no room: a child process is not followed.
    pub const TARGET_TABLE_FULL: Self = Self(3);
    /// Two CPUs' clocks disagreed about the order of two edges; that interval is not charged.
    pub const CLOCK_SKEW: Self = Self(4);

    /// The table of futexes had no room: a wait is not charged to its address.
    pub const LOCK_TABLE_FULL: Self = Self(5);
    /// The table of pairs of waiter and waker had no room.
    pub const WAKE_TABLE_FULL: Self = Self(6);
    /// The table of descriptors had no room: a read or write is not charged to its descriptor.
    pub const FILE_TABLE_FULL: Self = Self(7);
    /// The table of epoll descriptors had no room.
    pub const POLL_TABLE_FULL: Self = Self(8);
    /// The table of memory calls had no room.
    pub const MEMORY_TABLE_FULL: Self = Self(9);
    /// The table of errors had no room.
    pub const ERROR_TABLE_FULL: Self = Self(10);
    /// More long waits than are sent per second and CPU: counted, not sent.
    pub const LONG_WAITS_LIMITED: Self = Self(11);
    /// The table of stacks of waiting threads had no room.
    pub const STACK_TABLE_FULL: Self = Self(12);

    /// The tables of task types had no room.
    pub const TYPE_TABLE_FULL: Self = Self(13);
    /// The table of tasks had no room: a task's times from one poll to the next are not known.
    pub const TASK_TABLE_FULL: Self = Self(14);
    /// More long polls than are sent per second and CPU: counted, not sent.
    pub const LONG_POLLS_LIMITED: Self = Self(15);
    /// Polls inside more others than are followed.
    pub const POLLS_TOO_DEEP: Self = Self(16);
    /// The tables of Node's collections, pool work, callbacks and promises had no room.
    pub const NODE_TABLE_FULL: Self = Self(19);

    /// Callbacks of Node inside more others than are followed.
    pub const CALLBACKS_TOO_DEEP: Self = Self(20);
    /// More long callbacks than are sent per second and CPU: counted, not sent.
    pub const LONG_CALLBACKS_LIMITED: Self = Self(21);

    /// The table of event loops had no room.
    pub const LOOP_TABLE_FULL: Self = Self(17);
    /// More long turns of event loops than are sent per second and CPU: counted, not sent.
    pub const LONG_ITERATIONS_LIMITED: Self = Self(18);

    /// The recorder could not keep up and dropped records.
    pub const RECORDER_BEHIND: Self = Self(32);
    /// An event arrived that this version cannot decode.
    pub const UNKNOWN_EVENT: Self = Self(33);
    /// A counter row kept changing while it was read.
    pub const TORN_READ: Self = Self(34);
    /// A part of a recording was damaged and skipped.
    pub const DAMAGED_CHUNK: Self = Self(35);
    /// A part of a recording is of a kind this version does not know.
    pub const UNKNOWN_RECORD: Self = Self(36);
    /// A recording ends without its closing part: it was cut, or its writer was killed.
    pub const CUT_RECORDING: Self = Self(37);
    /// The kernel skipped a run of a probe, for any process: another run on the same CPU had been preempted.
    pub const PROBE_SKIPPED: Self = Self(38);

    /// More different stacks than are kept: shown without one.
    pub const STACKS_FOLDED: Self = Self(39);

    /// A frame of a JavaScript function whose name was not found.
    pub const JS_FRAMES_UNKNOWN: Self = Self(40);
    /// A sample of a process with JavaScript in it was not read before the end.
    pub const JS_SAMPLES_LATE: Self = Self(41);

    /// The name used in reports, in the words of the JSON report's `quality.lost[].what`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RING_FULL => "events: ring buffer full",
            Self::THREAD_TABLE_FULL => "threads: table full",
            Self::SYSCALL_TABLE_FULL => "syscalls: table full",
            Self::TARGET_TABLE_FULL => "child processes: table full",
            Self::CLOCK_SKEW => "intervals: clock skew between CPUs",
            Self::LOCK_TABLE_FULL => "futex waits by address: table full",
            Self::WAKE_TABLE_FULL => "wake-ups by waiter and waker: table full",
            Self::FILE_TABLE_FULL => "reads and writes by descriptor: table full",
            Self::POLL_TABLE_FULL => "waits by epoll descriptor: table full",
            Self::MEMORY_TABLE_FULL => "memory calls: table full",
            Self::ERROR_TABLE_FULL => "errors by errno: table full",
            Self::LONG_WAITS_LIMITED => "long waits: over the limit per second",
            Self::STACK_TABLE_FULL => "stacks of waiting threads: table full",
            Self::TYPE_TABLE_FULL => "task types: table full",
            Self::NODE_TABLE_FULL => "collections, pool work, callbacks: table full",
            Self::TASK_TABLE_FULL => "tasks: table full",
            Self::LONG_POLLS_LIMITED => "long polls: over the limit per second",
            Self::POLLS_TOO_DEEP => "polls: inside too many others",
            Self::CALLBACKS_TOO_DEEP => "callbacks: inside too many others",
            Self::LONG_CALLBACKS_LIMITED => "long callbacks: over the limit per second",
            Self::LOOP_TABLE_FULL => "event loops: table full",
            Self::LONG_ITERATIONS_LIMITED => "long iterations: over the limit per second",
            Self::STACKS_FOLDED => "stacks: more kinds than are kept",
            Self::JS_FRAMES_UNKNOWN => "JavaScript frames: function not found in memory",
            Self::JS_SAMPLES_LATE => "JavaScript samples: not read before the end",
            Self::RECORDER_BEHIND => "records: recorder behind",
            Self::UNKNOWN_EVENT => "events: unknown kind",
            Self::TORN_READ => "counter rows: torn read",
            Self::DAMAGED_CHUNK => "recording parts: damaged",
            Self::UNKNOWN_RECORD => "recording parts: unknown kind",
            Self::CUT_RECORDING => "recording end: cut off",
            Self::PROBE_SKIPPED => "probe runs: skipped by the kernel (of any process)",
            _ => "unknown reason",
        }
    }
}
