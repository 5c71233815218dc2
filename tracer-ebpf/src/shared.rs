//! Rows that several CPUs write at once: every change is one atomic addition.

use core::arch::asm;

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    macros::map,
    maps::{Array, HashMap},
};
use tracer_common::{
    Nanos, Table,
    callback::{CallbackKey, PromiseKey, PromiseRow},
    event_loop::{LoopKey, LoopRow},
    hist,
    table::{
        Callbacks, CollectionKey, Collections, ErrorKey, ErrorRow, Errors, FileKey, FileRow, Files,
        LockKey, LockRow, Locks, Loops, MemoryCalls, MemoryKey, MemoryRow, PollRow, PollerKey,
        PollerRow, Pollers, Polls, Promises, TaskTimes, TaskTypes, TaskWakeKey, TaskWakeRow,
        TaskWakes, Timed, TimesKey, TypeKey, TypeRow, WakeKey, WakeRow, Wakes, WorkKey,
        WorkPoolKey, WorkPoolRow, WorkPools, Works,
    },
};

use crate::count;

/// What new rows are copied from: they are larger than a program's stack. Never written.
#[map]
static ZEROS: Array<[u8; 4096]> = Array::with_max_entries(1, 0);

macro_rules! maps {
    ($($map:ident $table:ident $key:ident $row:ident)*) => {
        $(
            /// A hash, because keys are sparse; not preallocated, because few targets fill it.
            #[map]
            pub(crate) static $map: HashMap<$key, $row> =
                HashMap::with_max_entries(<$table as Table>::CAPACITY, BPF_F_NO_PREALLOC);

            impl Rows for $table {
                fn rows() -> &'static HashMap<$key, $row> { &$map }
            }
        )*
    };
}

maps! {
    LOCKS Locks LockKey LockRow
    WAKES Wakes WakeKey WakeRow
    FILES Files FileKey FileRow
    POLLS Polls FileKey PollRow
    MEMORY_CALLS MemoryCalls MemoryKey MemoryRow
    ERRORS Errors ErrorKey ErrorRow
    TASK_TYPES TaskTypes TypeKey TypeRow
    TASK_TIMES TaskTimes TimesKey Timed
    TASK_WAKES TaskWakes TaskWakeKey TaskWakeRow
    POLLERS Pollers PollerKey PollerRow
    LOOPS Loops LoopKey LoopRow
    COLLECTIONS Collections CollectionKey Timed
    WORKS Works WorkKey Timed
    WORK_POOLS WorkPools WorkPoolKey WorkPoolRow
    CALLBACKS Callbacks CallbackKey Timed
    PROMISES Promises PromiseKey PromiseRow
}

/// A table with its map.
pub(crate) trait Rows: Table + Sized {
    /// The map.
    fn rows() -> &'static HashMap<Self::Key, Self::Row>;

    /// The row of `key`, made when there is none; `None` when there is no room, which is counted.
    #[inline(always)]
    fn row(key: &Self::Key) -> Option<*mut Self::Row> {
        const EEXIST: i32 = -17;
        if let Some(row) = Self::rows().get_ptr_mut(key) {
            return Some(row);
        }
        match Self::rows().insert(key, zeros::<Self::Row>()?, u64::from(BPF_NOEXIST)) {
            // Another CPU was faster.
            Ok(()) | Err(EEXIST) => {}
            Err(_) => {
                count::lost(Self::FULL);
                return None;
            }
        }
        Self::rows().get_ptr_mut(key)
    }
}

/// A row nothing was counted in.
#[inline(always)]
pub(crate) fn zeros<T: tracer_common::table::Plain>() -> Option<&'static T> {
    const { assert!(size_of::<T>() <= 4096) }
    // SAFETY: the verifier has checked the pointer, the size was checked above, and zeros are a valid `T`.
    ZEROS.get_ptr(0).map(|zeros| unsafe { &*zeros.cast::<T>() })
}

/// Adds to a counter of a row.
///
/// # Safety
/// `counter` points into a row of a map.
#[inline(always)]
pub(crate) unsafe fn add(counter: *mut u64, more: u64) {
    // SAFETY: the caller's promise; rows are 8-byte aligned and live as long as the map. The standard library has no
    // atomic additions for this target, the processor has.
    unsafe {
        asm!("lock *(u64 *)({counter} + 0) += {more}", counter = in(reg) counter, more = in(reg) more)
    }
}

/// Raises a maximum. Two CPUs at the same moment may lose the larger value.
///
/// # Safety
/// `largest` points into a row of a map.
#[inline(always)]
pub(crate) unsafe fn raise(largest: *mut u64, value: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        if value > *largest {
            *largest = value;
        }
    }
}

/// Counts a duration.
///
/// # Safety
/// `timed` points into a row of a map.
#[inline(always)]
pub(crate) unsafe fn record(timed: *mut Timed, duration: Nanos) {
    let bucket = hist::unchecked_index(duration.0);
    // SAFETY: the caller's promise; the bucket was checked against the length of the array.
    unsafe {
        add(&raw mut (*timed).count, 1);
        add(&raw mut (*timed).sum, duration.0);
        raise(&raw mut (*timed).max, duration.0);
        if bucket < hist::BUCKETS {
            let bucket = (&raw mut (*timed).buckets).cast::<u32>().add(bucket);
            asm!("lock *(u32 *)({bucket} + 0) += {one}", bucket = in(reg) bucket, one = in(reg) 1u64);
        }
    }
}
