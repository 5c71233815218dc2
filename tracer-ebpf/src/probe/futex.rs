//! Futex waits by address: how long, who woke whom, how the calls ended.

use aya_ebpf::{
    helpers::bpf_probe_read_user, macros::raw_tracepoint, programs::RawTracePointContext,
};
use tracer_common::{
    Nanos, Pid, State, SyscallNr, ThreadRow, Tid,
    event::LongWait,
    futex::{Arguments, Operation, nr, operation, shared},
    stack::{JsTop, StackId, kept},
    table::{LockKey, LockKind, Locks, WakeKey, Wakes},
};

use super::{Returned, now};
use crate::{
    count, emit,
    filter::maybe,
    javascript,
    setting::setting,
    shared::{Rows as _, add, record},
    stack,
    task::{Task, current_syscall},
};

/// `trace_sched_waking(p)`, on the thread that wakes `p`. Not `sched_wakeup`: that may run on the CPU `p` goes to,
/// where the current thread has nothing to do with it.
/// <https://github.com/torvalds/linux/blob/v6.12/kernel/sched/core.c#L4147>
#[raw_tracepoint(tracepoint = "sched_waking")]
pub(crate) fn sched_waking(ctx: RawTracePointContext) -> i32 {
    let _ = waking(&ctx, Task(ctx.arg(0)));
    0
}

#[inline(always)]
fn waking(ctx: &RawTracePointContext, task: Task) -> Option<()> {
    let pid = task.pid()?;
    let tid = {
        if !maybe(pid) {
            return None;
        }
        task.tid()?
    };
    let row = count::existing_thread(tid)?;
    let state = row.state();
    let (waker_pid, waker) = emit::current();
    let by_current = waker.0 != 0 && current_syscall().is_some_and(|call| wakes(call, state));
    row.waker = if by_current { waker } else { Tid(0) };
    if !state.is_blocked() || setting!(long_wait) == 0 {
        return None;
    }
    let has_stack = row.has_stack;
    // An event loop that is idle waits for long, too.
    if state == State::EPOLL && has_stack != kept::JAVASCRIPT {
        return None;
    }
    let at = now();
    let since = row.since();
    if at.0 < since.0 + setting!(long_wait) || !stack::may_send_wait(at) {
        return None;
    }
    let wait = LongWait {
        first: row.first,
        since,
        on: row.waiting_on,
        tid,
        pid,
        stack: StackId::NONE,
        waker_stack: StackId::NONE,
        by_current: u32::from(by_current),
        state,
        reserved: [0; 3],
    };
    let take_waker = by_current && maybe(waker_pid);
    if has_stack == kept::JAVASCRIPT {
        emit::emit_js(emit::Slot::WAIT, at, wait, |tail, top, frames| {
            // SAFETY: the slot of this CPU.
            unsafe {
                top.write(JsTop::default());
                (*tail).second_bytes = 0;
                if take_waker {
                    stack::second_user(ctx, tail);
                }
                javascript::copy_kept(tid, tail, frames)
            }
        });
        return Some(());
    }
    emit::emit_with_stacks(at, wait, |tail| {
        // SAFETY: the tail of a reserved entry.
        unsafe {
            if has_stack == kept::ADDRESSES {
                stack::copy_kept(tid, tail);
            }
            if take_waker {
                stack::second_user(ctx, tail);
            }
        }
    });
    Some(())
}

/// True when a thread in `call` may be the one that wakes a thread in `state`, and not just the one a timer's
/// interrupt hit: a futex is woken by futex calls, by a thread's end, and by signals.
#[inline(always)]
fn wakes(call: SyscallNr, state: State) -> bool {
    const EXIT: SyscallNr = SyscallNr(60);
    const KILL: SyscallNr = SyscallNr(62);
    const TKILL: SyscallNr = SyscallNr(200);
    const EXIT_GROUP: SyscallNr = SyscallNr(231);
    const TGKILL: SyscallNr = SyscallNr(234);
    state != State::FUTEX
        || call == nr::FUTEX
        || call == nr::WAKE
        || call == nr::REQUEUE
        || call == EXIT
        || call == EXIT_GROUP
        || call == KILL
        || call == TKILL
        || call == TGKILL
}

/// What the current thread, which begins to wait in a futex call, waits on.
#[inline(always)]
pub(super) fn waits_on(call: SyscallNr, arguments: Arguments) -> (u64, LockKind) {
    match operation(call, arguments) {
        Operation::Wait(address, kind) => (address, kind),
        Operation::WaitList(list) => first_of(list).unwrap_or_default(),
        Operation::Wake(..) | Operation::Other => (0, LockKind::PRIVATE),
    }
}

/// The first futex of a list of `struct futex_waitv`.
/// <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/futex.h#L84>
#[inline(always)]
fn first_of(list: u64) -> Option<(u64, LockKind)> {
    // SAFETY: the helper checks the address and fails on one that cannot be read.
    let [_value, address, flags] = unsafe { bpf_probe_read_user(list as *const [u64; 3]) }.ok()?;
    Some((address, LockKind(LockKind::VECTOR | shared(flags))))
}

/// Counts a wait that is over: the thread slept for `slept` and is woken now.
#[inline(always)]
pub(super) fn woken(row: &ThreadRow, pid: Pid, tid: Tid, slept: Nanos) -> Option<()> {
    if setting!(locks) == 0 || row.waiting_on == 0 {
        return None;
    }
    let (address, waker) = (row.waiting_on, row.waker);
    let kind = row.lock_kind.identity();
    let lock = Locks::row(&LockKey { address, pid, kind })?;
    // SAFETY: a row of a map.
    unsafe {
        record(&raw mut (*lock).wait, slept);
        // Two kinds at one futex do not occur; bits lost to another CPU at this moment come with the next wait.
        (*lock).kinds |= u64::from(row.lock_kind.0);
        if waker.0 != 0 {
            add(&raw mut (*lock).woken, 1);
        }
    }
    let pair = Wakes::row(&WakeKey {
        address,
        pid,
        kind,
        waiter: tid,
        waker,
    })?;
    // SAFETY: a row of a map.
    unsafe {
        add(&raw mut (*pair).count, 1);
        add(&raw mut (*pair).waited, slept.0);
    }
    Some(())
}

/// Counts how a futex call ended.
#[inline(always)]
pub(super) fn returned(call: SyscallNr, with: &Returned<'_>) -> Option<()> {
    const EINTR: i64 = -4;
    const EAGAIN: i64 = -11;
    const ETIMEDOUT: i64 = -110;
    // What the tracepoint shows of a call that a signal ends: `include/linux/errno.h`.
    const ERESTARTSYS: i64 = -512;
    const ERESTART_RESTARTBLOCK: i64 = -516;
    if setting!(locks) == 0 {
        return None;
    }
    let pid = with.pid;
    let (address, kind, waits) = match operation(call, with.registers.arguments()) {
        Operation::Wait(address, kind) => (address, kind.identity(), true),
        Operation::WaitList(list) => {
            let (address, kind) = first_of(list)?;
            (address, kind.identity(), true)
        }
        Operation::Wake(address, kind) => (address, kind.identity(), false),
        Operation::Other => return None,
    };
    let result = with.result;
    if !waits && result <= 0 {
        // It woke nobody: no row for a lock that nobody waits for.
        let lock = Locks::rows().get_ptr_mut(LockKey { address, pid, kind })?;
        // SAFETY: a row of a map.
        unsafe { add(&raw mut (*lock).wake_calls, 1) };
        return Some(());
    }
    if waits && result >= 0 {
        return None;
    }
    let lock = Locks::row(&LockKey { address, pid, kind })?;
    // SAFETY: a row of a map.
    unsafe {
        if !waits {
            add(&raw mut (*lock).wake_calls, 1);
            add(&raw mut (*lock).wake_results, result as u64);
        } else if result == EAGAIN {
            add(&raw mut (*lock).again, 1);
        } else if result == ETIMEDOUT {
            add(&raw mut (*lock).timeouts, 1);
        } else if result == EINTR || result == ERESTARTSYS || result == ERESTART_RESTARTBLOCK {
            add(&raw mut (*lock).interrupted, 1);
        }
    }
    Some(())
}
