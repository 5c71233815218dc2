//! System calls: counted per thread and number in the kernel, never sent one by one.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use tracer_common::{LossReason, SyscallKey, SyscallNr};

use super::now;
use crate::{count, emit, filter::target, task::syscall_of};

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
    let target = target(pid)?;
    let row = count::thread(pid, tid, &target)?;
    let before = row.syscall;
    row.syscall = SyscallNr(ctx.arg(1));
    row.syscall_entered = now();
    if before == SyscallNr::NONE || before == SyscallNr::UNSEEN {
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

#[inline(always)]
fn returned(ctx: &RawTracePointContext) -> Option<()> {
    let (pid, tid) = emit::current();
    let target = target(pid)?;
    let row = count::thread(pid, tid, &target)?;
    let at = now();
    // `NONE` where the registers do not say: `rt_sigreturn` has cleared them.
    let registers = syscall_of(ctx.arg(0)).unwrap_or(SyscallNr::NONE);
    let entered = row.syscall;
    row.syscall = SyscallNr::UNSEEN;
    if entered == SyscallNr::NONE {
        // A new thread's first return is its parent's clone, not a call of its own.
        return None;
    }
    let seen =
        entered != SyscallNr::UNSEEN && (registers == entered || registers == SyscallNr::NONE);
    let (nr, duration) = if seen {
        let duration = at.since(row.syscall_entered);
        if duration.is_none() {
            count::lost(LossReason::CLOCK_SKEW);
        }
        (entered, duration)
    } else {
        // Met in the middle of the call, or the kernel skipped its entry: the registers still say which,
        // nothing says since when.
        (registers, None)
    };
    if nr == SyscallNr::NONE {
        return None;
    }
    count::syscall(
        SyscallKey {
            first: row.first,
            tid,
            nr,
        },
        duration,
        ctx.arg(1),
    )
}
