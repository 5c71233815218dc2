//! Counters by key that several threads share: one row per lock, descriptor, kind of memory call.
//!
//! Every table is a line of [`tables!`]: its number in recordings, its map in the kernel, its key and its row. A key
//! and a row are plain words, so one way leads from the kernel through a recording into the model for all of them.
//! Counters only grow; several CPUs may add to a row at once, so the kernel side adds atomically and a copy may be a
//! few counts apart from itself.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    callback::{CallbackKey, PromiseKey, PromiseRow},
    event_loop::{LoopKey, LoopRow},
    hist::BUCKETS,
    id::{Pid, Tid},
    loss::LossReason,
    syscall::SyscallNr,
};

/// The number of a table. A newtype, so that an unknown number is a value.
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
pub struct TableNr(pub u32);

/// Bytes of the longest key.
pub const KEY_BYTES: usize = 32;

/// A key or a row of a table.
pub trait Plain: FromBytes + IntoBytes + Immutable + KnownLayout + Copy + 'static {}

impl<T: FromBytes + IntoBytes + Immutable + KnownLayout + Copy + 'static> Plain for T {}

/// A table: what a row counts, and by what.
pub trait Table: 'static {
    /// What a row is about.
    type Key: Plain + Ord;
    /// What is counted.
    type Row: Plain;
    /// Its number in recordings.
    const NUMBER: TableNr;
    /// Its map in the kernel.
    const MAP: &'static str;
    /// Rows the map has room for.
    const CAPACITY: u32;
    /// What is lost when it is full.
    const FULL: LossReason;
}

macro_rules! tables {
    ($($number:literal $name:ident $map:literal $capacity:literal $key:ident $row:ident $full:ident $doc:literal)*) => {
        $(
            #[doc = $doc]
            #[derive(Clone, Copy, Debug)]
            pub struct $name;

            impl Table for $name {
                type Key = $key;
                type Row = $row;
                const NUMBER: TableNr = TableNr($number);
                const MAP: &'static str = $map;
                const CAPACITY: u32 = $capacity;
                const FULL: LossReason = LossReason::$full;
            }

            const _: () = assert!(size_of::<$key>() <= KEY_BYTES);
            const _: () = assert!(size_of::<$row>() % 8 == 0);
        )*

        /// Number and map of every table, in the order of the list.
        pub const TABLES: &[(TableNr, &str)] = &[$((TableNr($number), $map)),*];

        /// Calls `$then!` with the names of all tables, for what has to be done for each.
        #[macro_export]
        macro_rules! for_each_table {
            ($then:ident) => { $then! { $($name)* } };
        }
    };
}

tables! {
    1 Locks "LOCKS" 8192 LockKey LockRow LOCK_TABLE_FULL "Futex waits, by address."
    2 Wakes "WAKES" 16384 WakeKey WakeRow WAKE_TABLE_FULL "Who woke whom from a futex wait."
    3 Files "FILES" 8192 FileKey FileRow FILE_TABLE_FULL "Reads and writes, by descriptor."
    4 Polls "POLLS" 1024 FileKey PollRow POLL_TABLE_FULL "Waits for events, by epoll descriptor."
    5 MemoryCalls "MEMORY_CALLS" 8192 MemoryKey MemoryRow MEMORY_TABLE_FULL "Calls that map, unmap and grow memory."
    6 Errors "ERRORS" 1024 ErrorKey ErrorRow ERROR_TABLE_FULL "System calls that failed, by errno."
    7 TaskTypes "TASK_TYPES" 4096 TypeKey TypeRow TYPE_TABLE_FULL "Polls and ends of tasks, by type."
    8 TaskTimes "TASK_TIMES" 8192 TimesKey Timed TYPE_TABLE_FULL "How long tasks were busy, queued, idle, alive, by type."
    9 TaskWakes "TASK_WAKES" 8192 TaskWakeKey TaskWakeRow TYPE_TABLE_FULL "Which type of task woke which."
    10 Pollers "POLLERS" 8192 PollerKey PollerRow TYPE_TABLE_FULL "Polls by thread."
    11 Loops "LOOPS" 4096 LoopKey LoopRow LOOP_TABLE_FULL "Turns of event loops, by thread."
    12 Collections "COLLECTIONS" 1024 CollectionKey Timed NODE_TABLE_FULL "Garbage collections, by thread and kind."
    13 Works "WORKS" 2048 WorkKey Timed NODE_TABLE_FULL "How long work for libuv's pool was queued and ran, by kind."
    14 WorkPools "WORK_POOLS" 1024 WorkPoolKey WorkPoolRow NODE_TABLE_FULL "Work that went through libuv's pool."
    15 Callbacks "CALLBACKS" 1024 CallbackKey Timed NODE_TABLE_FULL "How long Node's callbacks take, by kind."
    16 Promises "PROMISES" 1024 PromiseKey PromiseRow NODE_TABLE_FULL "What happens to JavaScript's promises."
}

/// Durations: how many, how long, and how they are distributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Timed {
    /// How many.
    pub count: u64,
    /// Their sum in nanoseconds.
    pub sum: u64,
    /// The longest in nanoseconds. Two CPUs at the same moment may lose the longer one.
    pub max: u64,
    /// By bucket of [`crate::hist`].
    pub buckets: [u32; BUCKETS],
}

impl Timed {
    /// None yet.
    pub const EMPTY: Self = Self {
        count: 0,
        sum: 0,
        max: 0,
        buckets: [0; BUCKETS],
    };
}

impl Default for Timed {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// What kind of futex wait.
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
pub struct LockKind(pub u32);

impl LockKind {
    /// Between threads of one process: the address alone names the lock.
    pub const PRIVATE: Self = Self(0);
    /// Between processes: the same lock may have another address in each.
    pub const SHARED: u32 = 1;
    /// With priority inheritance: the kernel knows the owner.
    pub const PI: u32 = 2;
    /// One of several addresses waited for at once (`futex_waitv`); the first names it.
    pub const VECTOR: u32 = 4;

    /// The part that tells futexes apart: whether it is shared.
    #[must_use]
    #[inline(always)]
    pub fn identity(self) -> Self {
        Self(self.0 & Self::SHARED)
    }

    /// True when all of `bits` are set.
    #[must_use]
    pub fn has(self, bits: u32) -> bool {
        self.0 & bits == bits
    }
}

macro_rules! plain {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
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
        #[repr(C)]
        pub struct $name { $($(#[$field_meta])* pub $field: $type,)* }
    };
}
pub(crate) use plain;

plain! {
    /// A futex.
    LockKey {
        /// Its address in the process.
        address: u64,
        /// The process.
        pid: Pid,
        /// Whether it is shared: the kernel takes a private and a shared futex at one address for two.
        kind: LockKind,
    }
}

/// What happened at a futex.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct LockRow {
    /// Waits that slept: from leaving the CPU to being woken.
    pub wait: Timed,
    /// Those that a thread woke which was in a system call of its own; the others: time-outs, signals.
    pub woken: u64,
    /// Calls that did not sleep because the value had changed already (`EAGAIN`). Counted with system calls.
    pub again: u64,
    /// Calls that timed out. Counted with system calls.
    pub timeouts: u64,
    /// Calls that a signal ended. Counted with system calls.
    pub interrupted: u64,
    /// Calls that wake or requeue waiters. Counted with system calls.
    pub wake_calls: u64,
    /// Waiters they woke or requeued. Counted with system calls.
    pub wake_results: u64,
    /// Bits of [`LockKind`] of its waits.
    pub kinds: u64,
}

plain! {
    /// A pair of threads that meet at a futex.
    WakeKey {
        /// Its address in the process of the waiter.
        address: u64,
        /// The process of the waiter.
        pid: Pid,
        /// Whether the futex is shared.
        kind: LockKind,
        /// Who waited.
        waiter: Tid,
        /// Who woke it; 0 when no thread did: a time-out or a signal.
        waker: Tid,
    }
}

plain! {
    /// How often one woke the other.
    WakeRow {
        /// Wake-ups.
        count: u64,
        /// What the waiter had waited, in nanoseconds.
        waited: u64,
    }
}

plain! {
    /// A descriptor.
    FileKey {
        /// The process.
        pid: Pid,
        /// Its number in the process. Numbers are reused; a row is about all that had it.
        fd: u32,
    }
}

plain! {
    /// What went through a descriptor.
    FileRow {
        /// Calls that read or receive, failed ones included.
        reads: u64,
        /// Bytes they gave.
        read_bytes: u64,
        /// Calls that write or send, failed ones included.
        writes: u64,
        /// Bytes they took.
        write_bytes: u64,
        /// Calls that failed, those that would have had to wait (`EAGAIN`) not counted.
        errors: u64,
        /// Calls that would have had to wait (`EAGAIN`).
        again: u64,
        /// Calls to accept and connect.
        connects: u64,
        /// Times the number was closed.
        closes: u64,
        /// Time inside all these calls, in nanoseconds.
        time: u64,
        /// The longest of them in nanoseconds. Two CPUs at the same moment may lose the longer one.
        time_max: u64,
    }
}

/// What waiting for events at an epoll descriptor gave.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct PollRow {
    /// Returns.
    pub waits: u64,
    /// Returns without an event: the time was over.
    pub empty: u64,
    /// Events returned.
    pub events: u64,
    /// The most events one return gave. Two CPUs at the same moment may lose the larger one.
    pub events_max: u64,
    /// From being woken to the return, of waits that slept.
    pub latency: Timed,
}

plain! {
    /// A way to get memory from the kernel, or to give it back.
    MemoryKey {
        /// The process.
        pid: Pid,
        /// Which way.
        what: MemoryCall,
    }
}

plain! {
    /// How much memory went that way.
    MemoryRow {
        /// Calls that succeeded.
        calls: u64,
        /// Bytes.
        bytes: u64,
    }
}

plain! {
    /// A way to get memory from the kernel, or to give it back.
    MemoryCall {
        /// The number.
        number: u32,
    }
}

impl MemoryCall {
    /// `mmap`.
    pub const MAP: Self = Self { number: 1 };
    /// `munmap`.
    pub const UNMAP: Self = Self { number: 2 };
    /// `mremap` to a larger size: what it grew by.
    pub const REMAP_GROW: Self = Self { number: 3 };
    /// `mremap` to a smaller size: what it shrank by.
    pub const REMAP_SHRINK: Self = Self { number: 4 };
    /// `brk` upwards.
    pub const BRK_GROW: Self = Self { number: 5 };
    /// `brk` downwards.
    pub const BRK_SHRINK: Self = Self { number: 6 };
    /// `madvise` with `MADV_DONTNEED` or `MADV_FREE`: pages given back.
    pub const GIVE_BACK: Self = Self { number: 7 };
}

plain! {
    /// A way to fail.
    ErrorKey {
        /// The call.
        nr: SyscallNr,
        /// The error number.
        errno: u32,
    }
}

plain! {
    /// How often.
    ErrorRow {
        /// Returns.
        count: u64,
    }
}

plain! {
    /// A type of task.
    TypeKey {
        /// Address of its vtable in the process.
        vtable: u64,
        /// The process.
        pid: Pid,
        /// Zero.
        reserved: u32,
    }
}

plain! {
    /// What happened to tasks of a type while the probes were on.
    TypeRow {
        /// Polls that began.
        polls: u64,
        /// Those that were the first of a task which was not there before the probes.
        first: u64,
        /// Those of a task that was woken while it was idle, as far as wakes are watched.
        queued: u64,
        /// Those of a task that was woken while it was polled before.
        rescheduled: u64,
        /// Tasks that ended.
        completed: u64,
        /// Those of them that were aborted.
        cancelled: u64,
        /// Times one was woken.
        wakes: u64,
        /// Those that did nothing: it was queued already, or had ended.
        redundant_wakes: u64,
        /// Those that a task gave itself while it was polled.
        self_wakes: u64,
        /// Polls that took longer than the threshold.
        long_polls: u64,
        /// Time inside polls that the thread waited for a CPU, in nanoseconds.
        ready: u64,
        /// Time inside polls that the thread waited for a futex.
        futex: u64,
        /// Time inside polls that the thread waited for I/O.
        io: u64,
        /// Time inside polls that the thread waited for a page.
        fault: u64,
        /// Time inside polls that the thread slept or waited for something else.
        other: u64,
    }
}

plain! {
    /// A type of task, and a time in its life.
    TimesKey {
        /// Address of its vtable in the process.
        vtable: u64,
        /// The process.
        pid: Pid,
        /// Which time.
        what: TaskTime,
    }
}

plain! {
    /// A time in a task's life.
    TaskTime {
        /// The number.
        number: u32,
    }
}

impl TaskTime {
    /// One poll.
    pub const BUSY: Self = Self { number: 1 };
    /// From a wake to the poll.
    pub const SCHEDULED: Self = Self { number: 2 };
    /// From a poll to the next wake.
    pub const IDLE: Self = Self { number: 3 };
    /// From the first poll to the end.
    pub const LIFETIME: Self = Self { number: 4 };
}

plain! {
    /// A type of task that woke another.
    TaskWakeKey {
        /// The type that was polled when the wake happened; 0: no task was, but the runtime itself or another thread.
        waker: u64,
        /// The type that was woken.
        woken: u64,
        /// The process.
        pid: Pid,
        /// Zero.
        reserved: u32,
    }
}

plain! {
    /// How often.
    TaskWakeRow {
        /// Wakes.
        count: u64,
    }
}

plain! {
    /// A thread that polls tasks.
    PollerKey {
        /// The process.
        pid: Pid,
        /// The thread.
        tid: Tid,
    }
}

plain! {
    /// What it polled. A poll inside another of the same kind is not counted twice.
    PollerRow {
        /// Polls of futures.
        polls: u64,
        /// Time in them, in nanoseconds.
        busy: u64,
        /// Runs of closures of the blocking pool.
        blocking: u64,
        /// Time in them, in nanoseconds.
        blocking_busy: u64,
        /// Times it parked: see [`crate::task::Running::leave_cpu`].
        parks: u64,
        /// Those of the polls of futures whose task another thread that polls futures had queued, as far as wakes are
        /// watched.
        moved: u64,
    }
}

plain! {
    /// Garbage collections of one kind in one thread's heap.
    CollectionKey {
        /// The process.
        pid: Pid,
        /// The thread that stood still for them.
        tid: Tid,
        /// Which kind.
        kind: Collector,
        /// Zero.
        reserved: u32,
    }
}

plain! {
    /// A kind of garbage collection: the number that V8 has for it.
    /// <https://github.com/v8/v8/blob/11.3.244/src/heap/heap.h>: `enum class GarbageCollector`
    Collector {
        /// The number.
        number: u32,
    }
}

impl Collector {
    /// Of young objects.
    pub const SCAVENGER: Self = Self { number: 0 };
    /// Of all objects.
    pub const MARK_COMPACTOR: Self = Self { number: 1 };
    /// Of young objects, by marking.
    pub const MINOR_MARK_COMPACTOR: Self = Self { number: 2 };
    /// The function that was probed does not tell.
    pub const UNKNOWN: Self = Self { number: u32::MAX };
}

plain! {
    /// Work of one kind for libuv's pool, and a time in its life.
    WorkKey {
        /// Address of the vtable of the object whose work it is; 0 when it is none of Node's `ThreadPoolWork`.
        vtable: u64,
        /// The process.
        pid: Pid,
        /// Which kind.
        kind: WorkKind,
        /// Which time.
        what: WorkTime,
        /// Zero.
        reserved: u32,
    }
}

plain! {
    /// A kind of work for libuv's pool.
    WorkKind {
        /// The number.
        number: u32,
    }
}

impl WorkKind {
    /// Of a file system operation: this plus the number that libuv has for it.
    /// <https://github.com/libuv/libuv/blob/v1.48.0/include/uv.h>: `uv_fs_type`
    pub const FS: u32 = 0x100;
    /// `getaddrinfo`.
    pub const GETADDRINFO: Self = Self { number: 1 };
    /// `getnameinfo`.
    pub const GETNAMEINFO: Self = Self { number: 2 };
    /// Random bytes.
    pub const RANDOM: Self = Self { number: 3 };
    /// What others had queued with `uv_queue_work`: Node's crypto and zlib, addons.
    pub const QUEUED: Self = Self { number: 4 };
}

plain! {
    /// A time in the life of work.
    WorkTime {
        /// The number.
        number: u32,
    }
}

impl WorkTime {
    /// From being handed in to its beginning.
    pub const QUEUED: Self = Self { number: 1 };
    /// From its beginning to its end.
    pub const RUN: Self = Self { number: 2 };
}

plain! {
    /// A part of a process's memory.
    Image {
        /// Its first address.
        from: u64,
        /// The first one behind it.
        to: u64,
    }
}

plain! {
    /// A thread of a pool, or who hands work to it.
    WorkPoolKey {
        /// The process.
        pid: Pid,
        /// The thread that does work; 0 for all that hand it in.
        tid: Tid,
    }
}

plain! {
    /// What went through a pool, of work that was seen to be handed in.
    WorkPoolRow {
        /// Handed in.
        submitted: u64,
        /// Begun.
        begun: u64,
        /// Ended.
        ended: u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_one_number_and_one_map_each() {
        for (index, (number, map)) in TABLES.iter().enumerate() {
            assert!(
                TABLES
                    .iter()
                    .skip(index + 1)
                    .all(|(other, name)| other != number && name != map)
            );
        }
    }

    #[test]
    fn kinds_of_futex_waits_combine() {
        let kind = LockKind(LockKind::SHARED | LockKind::PI);
        assert!(kind.has(LockKind::PI) && !kind.has(LockKind::VECTOR));
        assert!(!LockKind::PRIVATE.has(LockKind::SHARED));
    }
}
