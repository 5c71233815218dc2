//! Threads and processes come and go: they are followed from their creation, and their end is an event.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use aya_log_ebpf::debug;
use tracer_common::{
    State, SyscallNr, ThreadRow, Tid,
    event::{Exec, ProcessExit, ThreadStart},
};

use super::{event_loop, memory, now};
use crate::{
    count, emit,
    filter::{follow, target},
    task::Task,
};

/// `trace_sched_wakeup_new(child)`, on the parent: any new thread or process, before it first runs. Not
/// `sched_process_fork`: since Linux 7.1 that one can be preempted and then skipped; here a run-queue lock is held.
#[raw_tracepoint(tracepoint = "sched_wakeup_new")]
pub(crate) fn sched_wakeup_new(ctx: RawTracePointContext) -> i32 {
    let _ = created(&ctx);
    0
}

/// `trace_sched_process_exec(p, old_pid, bprm)`, on the process itself.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub(crate) fn sched_process_exec(ctx: RawTracePointContext) -> i32 {
    let _ = executed(&ctx);
    0
}

/// `trace_sched_process_exit(p)`, on each thread that exits.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub(crate) fn sched_process_exit(ctx: RawTracePointContext) -> i32 {
    let _ = exited(&ctx);
    0
}

#[inline(always)]
fn created(ctx: &RawTracePointContext) -> Option<()> {
    let (parent, _) = emit::current();
    let target = target(parent)?;
    let child = Task(ctx.arg(0));
    let (pid, tid) = (child.pid()?, child.tid()?);
    let at = now();
    if pid != parent {
        if target.follow_children == 0 || !follow(pid, at) {
            return None;
        }
        memory::inherit_break(parent, pid);
    }
    count::start_thread(
        tid,
        &ThreadRow::new(pid, at, State::RUNNABLE, SyscallNr::NONE),
    );
    emit::emit(at, ThreadStart { pid, tid });
    debug!(
        ctx,
        "process {} created thread {} of process {}", parent.0, tid.0, pid.0
    );
    Some(())
}

#[inline(always)]
fn executed(ctx: &RawTracePointContext) -> Option<()> {
    let (pid, tid) = emit::current();
    let _ = target(pid)?;
    memory::forget_break(pid);
    // The thread that calls exec takes over the number of the process; its accounting goes with it.
    // https://github.com/torvalds/linux/blob/v6.12/fs/exec.c#L1090 (de_thread)
    let old_tid = Tid(ctx.arg(1));
    if old_tid != tid
        && let Some(row) = count::existing_thread(old_tid)
    {
        let row = *row;
        count::forget_thread(tid);
        count::start_thread(tid, &row);
        count::forget_thread(old_tid);
    }
    event_loop::begin_again(tid);
    emit::emit(
        now(),
        Exec {
            old_tid,
            reserved: 0,
        },
    );
    debug!(ctx, "process {} runs another program", pid.0);
    Some(())
}

#[inline(always)]
fn exited(ctx: &RawTracePointContext) -> Option<()> {
    let (pid, _) = emit::current();
    let _ = target(pid)?;
    let task = Task(ctx.arg(0));
    if task.live_threads()? != 0 {
        return None;
    }
    let code = task.exit_code()?;
    emit::emit(now(), ProcessExit { code, reserved: 0 });
    debug!(ctx, "process {} exited with wait status {}", pid.0, code);
    Some(())
}
