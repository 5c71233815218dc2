//! Taking call stacks, seldom: a user stack costs about 0.8 µs.

use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_F_NO_PREALLOC, BPF_F_USER_STACK, BPF_NOEXIST},
    helpers::generated::{bpf_get_stack, bpf_probe_read_kernel},
    macros::map,
    maps::{HashMap, PerCpuArray},
};
use tracer_common::{
    LossReason, Nanos, StackTail, State, ThreadRow, Tid,
    stack::{FRAMES, WaitStack, kept},
};

use crate::{
    count,
    javascript::{self, Kept},
    setting::{has_js, setting},
    shared,
};

/// Where threads that wait have called from. Not in their rows: most of them never wait for long.
#[map]
static STACKS: HashMap<Tid, WaitStack> = HashMap::with_max_entries(16_384, BPF_F_NO_PREALLOC);

/// Exceptions sent in the second that goes on, by CPU: long waits, memory calls, long polls, long turns.
#[map]
static SENT: PerCpuArray<[u64; 2]> = PerCpuArray::with_max_entries(5, 0);

const BYTES: u32 = 8 * FRAMES as u32;

/// True when a stack may be taken: none was taken a moment ago. `next` is when it would be due at an even pace.
#[inline(always)]
pub(crate) fn is_due(next: &mut Nanos, at: Nanos) -> bool {
    /// Stacks that may be taken at once after a pause: a long wait often follows a few short ones.
    const BURST: u64 = 10;
    if setting!(stack_every) == 0 || next.0 > at.0 {
        return false;
    }
    let earliest = at.0.saturating_sub(BURST * setting!(stack_every));
    if next.0 < earliest {
        *next = Nanos(earliest);
    }
    true
}

/// Keeps the user stack of the current thread, which begins to wait as its row says, unless one was taken a moment ago.
///
/// Of a wait for events only when that is inside of JavaScript: a loop runs inside of its loop. That of an idle loop is of
/// no interest, and costs a comparison. Such waits have a pace of their own: without its stack nobody would know of one.
#[inline(always)]
pub(crate) fn keep<C: EbpfContext>(context: &C, tid: Tid, row: &mut ThreadRow, at: Nanos) {
    row.has_stack = kept::NOTHING;
    let is_skipped = if is_loop(row) {
        row.idle_on == row.waiting_on as u16
    } else {
        !is_due(&mut row.stack_at, at)
    };
    if is_skipped {
        return;
    }
    let found = if has_js() {
        javascript::keep(row, tid, at)
    } else {
        Kept::Outside
    };
    match (found, is_loop(row)) {
        (Kept::Stack, _) => {
            row.has_stack = kept::JAVASCRIPT;
            if is_loop(row) {
                return;
            }
        }
        (Kept::Outside, true) => {
            row.idle_on = row.waiting_on as u16;
            return;
        }
        (Kept::TooSoon, true) => return,
        (Kept::Outside | Kept::TooSoon, false) => {
            let Some(slot) = slot(tid) else { return };
            // SAFETY: the verifier has checked the pointer; the buffer is as long as it says, and only this thread
            // writes it.
            unsafe {
                (*slot).bytes = user(context, (&raw mut (*slot).frames).cast());
            }
            row.has_stack = kept::ADDRESSES;
        }
    }
    row.stack_at.0 += setting!(stack_every);
}

/// True when it waits for events. Read each time: to the verifier all ways that lead to what follows are one then.
#[inline(always)]
pub(crate) fn is_loop(row: &ThreadRow) -> bool {
    core::hint::black_box(row).state() == State::EPOLL
}

#[inline(always)]
fn slot(tid: Tid) -> Option<*mut WaitStack> {
    if let Some(slot) = STACKS.get_ptr_mut(tid) {
        return Some(slot);
    }
    if let Some(empty) = shared::zeros::<WaitStack>()
        && STACKS.insert(tid, empty, u64::from(BPF_NOEXIST)).is_err()
    {
        count::lost(LossReason::STACK_TABLE_FULL);
    }
    STACKS.get_ptr_mut(tid)
}

/// Forgets the stack of a thread that is gone.
#[inline(always)]
pub(crate) fn forget(tid: Tid) {
    // An error means that there is none.
    let _ = STACKS.remove(tid);
    javascript::forget(tid);
}

/// Copies the kept stack of a waiting thread.
///
/// # Safety
/// `into` is a reserved entry's tail.
#[inline(always)]
pub(crate) unsafe fn copy_kept(tid: Tid, into: *mut StackTail) {
    let Some(kept) = STACKS.get_ptr_mut(tid) else {
        return;
    };
    // SAFETY: both buffers are as long as it says; the thread sleeps, so nobody writes its stack.
    unsafe {
        bpf_probe_read_kernel(
            (&raw mut (*into).first).cast(),
            BYTES,
            (&raw const (*kept).frames).cast(),
        );
        (*into).first_bytes = (*kept).bytes;
    }
}

/// The user stack of the current thread as the first of a tail.
///
/// # Safety
/// `into` is a reserved entry's tail.
#[inline(always)]
pub(crate) unsafe fn first_user<C: EbpfContext>(context: &C, into: *mut StackTail) {
    // SAFETY: the caller's promise.
    unsafe { (*into).first_bytes = user(context, (&raw mut (*into).first).cast()) }
}

/// The user stack of the current thread as the second of a tail.
///
/// # Safety
/// `into` is a reserved entry's tail.
#[inline(always)]
pub(crate) unsafe fn second_user<C: EbpfContext>(context: &C, into: *mut StackTail) {
    // SAFETY: the caller's promise.
    unsafe { (*into).second_bytes = user(context, (&raw mut (*into).second).cast()) }
}

/// The kernel stack of the current thread as the second of a tail.
///
/// # Safety
/// `into` is a reserved entry's tail.
#[inline(always)]
pub(crate) unsafe fn second_kernel<C: EbpfContext>(context: &C, into: *mut StackTail) {
    // SAFETY: the caller's promise; the buffer is `BYTES` long.
    unsafe {
        (*into).second_bytes =
            bpf_get_stack(context.as_ptr(), (&raw mut (*into).second).cast(), BYTES, 0);
    }
}

/// # Safety
/// `frames` is a buffer of `BYTES`.
#[inline(always)]
unsafe fn user<C: EbpfContext>(context: &C, frames: *mut core::ffi::c_void) -> i64 {
    // SAFETY: the caller's promise.
    unsafe { bpf_get_stack(context.as_ptr(), frames, BYTES, u64::from(BPF_F_USER_STACK)) }
}

/// True when one more long wait may be sent in this second on this CPU; otherwise it is counted as lost.
#[inline(always)]
pub(crate) fn may_send_wait(at: Nanos) -> bool {
    let may = may_send(0, at);
    if !may {
        count::lost(LossReason::LONG_WAITS_LIMITED);
    }
    may
}

/// True when one more memory call may be sent in this second on this CPU.
#[inline(always)]
pub(crate) fn may_send_memory(at: Nanos) -> bool {
    may_send(1, at)
}

/// True when one more long poll may be sent in this second on this CPU; otherwise it is counted as lost.
#[inline(always)]
pub(crate) fn may_send_poll(at: Nanos) -> bool {
    let may = may_send(2, at);
    if !may {
        count::lost(LossReason::LONG_POLLS_LIMITED);
    }
    may
}

/// True when one more long turn of an event loop may be sent in this second on this CPU; otherwise it is counted as
/// lost.
#[inline(always)]
pub(crate) fn may_send_iteration(at: Nanos) -> bool {
    let may = may_send(3, at);
    if !may {
        count::lost(LossReason::LONG_ITERATIONS_LIMITED);
    }
    may
}

/// The same of long callbacks.
#[inline(always)]
pub(crate) fn may_send_callback(at: Nanos) -> bool {
    let may = may_send(4, at);
    if !may {
        count::lost(LossReason::LONG_CALLBACKS_LIMITED);
    }
    may
}

#[inline(always)]
fn may_send(what: u32, at: Nanos) -> bool {
    let Some(sent) = SENT.get_ptr_mut(what) else {
        return false;
    };
    // About a second, and a shift instead of a division.
    let second = at.0 >> 30;
    // SAFETY: the verifier has checked the pointer; the slot belongs to this CPU.
    let [in_second, count] = unsafe { &mut *sent };
    if *in_second != second {
        *in_second = second;
        *count = 0;
    }
    *count += 1;
    *count <= setting!(stacks_per_s)
}
