//! Rows that one thread writes: its time, its system calls. And what is lost.

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    macros::map,
    maps::{HashMap, PerCpuArray},
};
use tracer_common::{
    LossReason, Nanos, Pid, State, SyscallKey, SyscallNr, SyscallRow, Target, ThreadRow, Tid,
};

use crate::{
    filter::{maybe, target},
    shared,
};

/// Counts by [`LossReason`], for the reasons the kernel side knows.
#[map]
static LOSSES: PerCpuArray<u64> = PerCpuArray::with_max_entries(LossReason::KERNEL, 0);

/// A hash, because thread ids are sparse. Not preallocated: 32,768 rows would be 9 MiB that few targets need.
#[map]
static THREADS: HashMap<Tid, ThreadRow> = HashMap::with_max_entries(32_768, BPF_F_NO_PREALLOC);

/// A hash, because few of the possible (thread, call) pairs occur. Not preallocated for the same reason: a row is 2 KiB,
/// and 5,000 threads of a dozen calls each are many.
#[map]
static SYSCALLS: HashMap<SyscallKey, SyscallRow> =
    HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);

/// Counts one loss.
#[inline(always)]
pub(crate) fn lost(reason: LossReason) {
    if let Some(count) = LOSSES.get_ptr_mut(reason.0) {
        // SAFETY: the verifier has checked the pointer; the slot belongs to this CPU, and a program is not
        // interrupted by another one of the same kind on the same CPU.
        unsafe { *count += 1 }
    }
}

/// The row of a thread, or `None` when its process is not traced. A thread met for the first time has been doing
/// something unknown since its process is traced.
#[inline(always)]
pub(crate) fn thread(pid: Pid, tid: Tid) -> Option<&'static mut ThreadRow> {
    if !maybe(pid) {
        return None;
    }
    // Only threads of targets have rows, so one lookup answers both questions.
    if let Some(row) = existing_thread(tid) {
        return Some(row);
    }
    meet(pid, tid);
    existing_thread(tid)
}

/// Begins the accounting of a thread that is met in the middle, if its process is traced. Not a part of its callers: a
/// row on the stack of each would be more than the 512 bytes that Linux 6.1 allows a program.
#[inline(never)]
fn meet(pid: Pid, tid: Tid) {
    if let Some(Target { since, .. }) = target(pid) {
        start_thread(
            tid,
            &ThreadRow::new(pid, since, State::UNKNOWN, SyscallNr::UNSEEN),
        );
    }
}

/// Begins the accounting of a thread, unless it has begun already.
#[inline(always)]
pub(crate) fn start_thread(tid: Tid, row: &ThreadRow) {
    const E2BIG: i32 = -7;
    if THREADS.insert(tid, row, u64::from(BPF_NOEXIST)) == Err(E2BIG) {
        lost(LossReason::THREAD_TABLE_FULL);
    }
}

/// The row of a thread that has one.
#[inline(always)]
pub(crate) fn existing_thread(tid: Tid) -> Option<&'static mut ThreadRow> {
    // SAFETY: the verifier has checked the pointer. One CPU at a time writes a row: the scheduler's run-queue
    // locks order the edges of a thread, and its system calls happen on the thread itself.
    THREADS.get_ptr_mut(tid).map(|row| unsafe { &mut *row })
}

/// Ends the accounting of a thread.
#[inline(always)]
pub(crate) fn forget_thread(tid: Tid) {
    // An error means that it is gone already.
    let _ = THREADS.remove(tid);
}

/// Counts one return from a system call.
#[inline(always)]
pub(crate) fn syscall(key: SyscallKey, duration: Option<Nanos>, result: i64) -> Option<()> {
    let row = match SYSCALLS.get_ptr_mut(key) {
        Some(row) => row,
        None => {
            let empty: &SyscallRow = shared::zeros()?;
            if SYSCALLS.insert(key, empty, u64::from(BPF_NOEXIST)).is_err() {
                lost(LossReason::SYSCALL_TABLE_FULL);
                return None;
            }
            SYSCALLS.get_ptr_mut(key)?
        }
    };
    // SAFETY: the verifier has checked the pointer; only the thread in the key writes its rows.
    unsafe { (*row).record(duration, result) }
    Some(())
}
