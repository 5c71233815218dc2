//! Node as a snapshot shows it: garbage collections, heaps and libuv's thread pool.

use tracer_common::{Nanos, Pid, Tid};

use super::Distribution;

/// What is known about Node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeView {
    /// Garbage collections by thread and kind, by the time they took, longest first.
    pub collections: Vec<CollectionView>,
    /// Work for libuv's pool by kind, by the time it ran, longest first.
    pub works: Vec<WorkView>,
    /// The pools by process; none where work is watched only at times.
    pub pools: Vec<PoolView>,
    /// The share of the time in which work was watched, and of which counts and sums are extrapolated where it is less
    /// than 1; `None` when it never was.
    pub watched: Option<f64>,
    /// Heaps of V8 by process, the largest first; then those of processes that ended, as they were at the end.
    pub heaps: Vec<HeapView>,
    /// Why these are not all; `None` when they are.
    pub heaps_unknown: Option<String>,
}

/// A heap of V8, when it was last read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeapView {
    /// The process.
    pub pid: Pid,
    /// The thread it belongs to; `None` where that is not known.
    pub tid: Option<Tid>,
    /// Its process has ended: this is how it was read last.
    pub has_ended: bool,
    /// Bytes of objects.
    pub used_bytes: u64,
    /// Bytes that are taken from the system.
    pub committed_bytes: u64,
    /// Bytes outside of it that its objects hold; `None` where that was not found.
    pub external_bytes: Option<u64>,
    /// Bytes in array buffers, which are part of those; `None` where that was not found.
    pub array_buffer_bytes: Option<u64>,
    /// Bytes it may have; `None` where that was not found.
    pub limit_bytes: Option<u64>,
    /// Its spaces that have something, in the order of V8.
    pub spaces: Vec<HeapSpaceView>,
    /// Mark-compacts since the thread began; `None` where their number was not found.
    pub full_collections: Option<u64>,
    /// What they left, oldest first, of those that were met; at most [`HeapView::LEVELS`].
    pub after_full: Vec<AfterFullView>,
}

impl HeapView {
    /// Collections that are listed.
    pub const LEVELS: usize = 64;
}

/// A space of a heap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeapSpaceView {
    /// As V8 names it: `old_space`.
    pub name: String,
    /// Bytes of objects.
    pub used_bytes: u64,
    /// Bytes that are taken from the system.
    pub committed_bytes: u64,
}

/// What a mark-compact left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AfterFullView {
    /// When the heap was first read after it.
    pub at: Nanos,
    /// Bytes in use outside the young generation.
    pub used_bytes: u64,
}

/// Garbage collections of one kind in one thread's heap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CollectionView {
    /// The process.
    pub pid: Pid,
    /// The thread that stood still for them.
    pub tid: Tid,
    /// Its name.
    pub thread: String,
    /// `scavenge`, `mark-compact`, `minor-mark-compact`; `unknown` where the function does not tell.
    pub kind: String,
    /// For how long the thread stood still.
    pub pause: Distribution,
    /// Pauses within the last window.
    pub recent: u64,
    /// Time in them.
    pub recent_time: Nanos,
}

/// Work of one kind for libuv's pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkView {
    /// The process.
    pub pid: Pid,
    /// `fs.read`, `dns.getaddrinfo`, `crypto.pbkdf2`, `zlib`, `work`.
    pub kind: String,
    /// From being handed in to a thread's beginning with it.
    pub queued: Distribution,
    /// How long a thread took for it.
    pub run: Distribution,
}

/// A pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolView {
    /// The process.
    pub pid: Pid,
    /// Work that was seen to be handed in.
    pub submitted: u64,
    /// Threads that were seen to work.
    pub threads: u64,
    /// What of it has not begun.
    pub queued_now: u64,
    /// What of it a thread does now.
    pub running_now: u64,
}
