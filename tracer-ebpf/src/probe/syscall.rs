//! System calls: counted per thread and number in the kernel, sent one by one only when that is asked for.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use tracer_common::{
    LossReason, SyscallKey, SyscallNr,
    config::CallKind,
    event::Call,
    table::{ErrorKey, Errors},
};

use super::{Returned, epoll, event_loop, futex, io, memory, now};
use crate::{
    count, emit,
    setting::{kind_of, setting, syscalls_since},
    shared::{Rows as _, add},
    task::Registers,
};

/// `trace_sys_enter(regs, id)`, on the calling thread.
#[raw_tracepoint(tracepoint = "sys_enter")]
pub(crate) fn sys_enter(ctx: RawTracePointContext) -> i32 {
    let _ = entered(&ctx);
    0
}

/// `trace_sys_exit(regs, ret)`, on the calling thread.
#[raw_tracepoint(tracepoint = "sys_exit")]
pub(crate) fn sys_exit(ctx: RawTracePointContext) -> i32 {
    let _ = returned(&ctx);
    0
}

#[inline(always)]
fn entered(ctx: &RawTracePointContext) -> Option<()> {
    let (pid, tid) = emit::current();
    let row = count::thread(pid, tid)?;
    let (before, before_entered) = (row.syscall, row.syscall_entered);
    row.syscall = SyscallNr(ctx.arg(1));
    row.syscall_entered = now();
    if before == SyscallNr::NONE
        || before == SyscallNr::UNSEEN
        || before_entered.0 < syscalls_since().0
    {
        return Some(());
    }
    // The kernel skipped the exit of the call before (see `Kernel::skipped`): it is counted all the same.
    let key = SyscallKey {
        first: row.first,
        tid,
        nr: before,
    };
    count::syscall(key, None, 0)
}

/// Every call of every target comes through here: what is not needed for this call is not looked at.
#[inline(always)]
fn returned(ctx: &RawTracePointContext) -> Option<()> {
    const EAGAIN: i64 = -11;
    let (pid, tid) = emit::current();
    let row = count::thread(pid, tid)?;
    let entered = row.syscall;
    row.syscall = SyscallNr::UNSEEN;
    if entered == SyscallNr::NONE {
        // A new thread's first return is its parent's clone, not a call of its own.
        return None;
    }
    let registers = Registers::at(ctx.arg(0))?;
    // `None` where the registers do not say: `rt_sigreturn` has cleared them.
    let in_registers = registers.syscall();
    let seen = entered != SyscallNr::UNSEEN
        && row.syscall_entered.0 >= syscalls_since().0
        && in_registers.is_none_or(|nr| nr == entered);
    let (nr, duration) = if seen {
        // Only a call that is timed needs the clock, which costs as much as all the rest.
        let duration = now().since(row.syscall_entered);
        if duration.is_none() {
            count::lost(LossReason::CLOCK_SKEW);
        }
        (entered, duration)
    } else {
        // Not timed, met in the middle of the call, or the kernel skipped its entry: the registers still say which,
        // nothing says since when.
        (in_registers?, None)
    };
    let result: i64 = ctx.arg(1);
    let key = SyscallKey {
        first: row.first,
        tid,
        nr,
    };
    let _ = count::syscall(key, duration, result);
    // `EAGAIN` is what is left of the errors when all others are counted: no row for the most frequent one.
    if (-4095..0).contains(&result) && result != EAGAIN {
        let errno = (-result) as u32;
        if let Some(error) = Errors::row(&ErrorKey { nr, errno }) {
            // SAFETY: a row of a map.
            unsafe { add(&raw mut (*error).count, 1) };
        }
    }
    if setting!(calls) != 0 {
        emit::emit(
            now(),
            Call {
                duration: duration.map_or(u64::MAX, |duration| duration.0),
                result,
                nr,
                reserved: 0,
            },
        );
    }
    let kind = kind_of(nr);
    if kind == CallKind::NONE {
        row.woken_at.0 = 0;
        return Some(());
    }
    let mut with = Returned {
        pid,
        row,
        registers,
        result,
        duration,
    };
    if kind == CallKind::POLL {
        event_loop::returned(&mut with, tid);
        epoll::returned(&with);
    }
    with.row.woken_at.0 = 0;
    if kind.0 <= CallKind::CLOSE.0 {
        io::returned(kind, &with)
    } else if kind == CallKind::FUTEX {
        futex::returned(nr, &with)
    } else {
        memory::returned(ctx, kind, &mut with)
    }
}
