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
    row.syscall = SyscallNr(ctx.arg(1));
    row.syscall_entered = now();
    Some(())
}

#[inline(always)]
fn returned(ctx: &RawTracePointContext) -> Option<()> {
    let (pid, tid) = emit::current();
    let target = target(pid)?;
    let row = count::thread(pid, tid, &target)?;
    let (nr, duration) = match row.syscall {
        // A new thread's first return is its parent's clone, not a call of its own.
        SyscallNr::NONE => return None,
        // Met in the middle of a call: the registers still say which, nothing says since when.
        SyscallNr::UNSEEN => (syscall_of(ctx.arg(0)), None),
        nr => {
            let duration = now().since(row.syscall_entered);
            if duration.is_none() {
                count::lost(LossReason::CLOCK_SKEW);
            }
            (Some(nr), duration)
        }
    };
    row.syscall = SyscallNr::NONE;
    count::syscall(
        SyscallKey {
            first: row.first,
            tid,
            nr: nr?,
        },
        duration,
        ctx.arg(1),
    )
}
