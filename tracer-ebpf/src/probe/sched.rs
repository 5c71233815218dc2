//! The scheduler's edges: they alone split a thread's wall time without remainder.

use aya_ebpf::{
    helpers::{bpf_get_current_comm, bpf_get_smp_processor_id},
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use tracer_common::{Edge, LossReason, Nanos, State, ThreadRow, event::ThreadExit};

use super::now;
use crate::{
    count, emit,
    filter::target,
    task::{Task, class_of, current_syscall},
};

/// `trace_sched_switch(preempt, prev, next, prev_state)`; the state is the last argument since Linux 5.19.
/// <https://github.com/torvalds/linux/blob/v6.12/include/trace/events/sched.h#L222>
#[raw_tracepoint(tracepoint = "sched_switch")]
pub(crate) fn sched_switch(ctx: RawTracePointContext) -> i32 {
    let _ = switched_out(ctx.arg::<u64>(0) & 1 != 0, ctx.arg::<u32>(3));
    let _ = switched_in(Task(ctx.arg(2)));
    0
}

/// `trace_sched_wakeup(p)`: `p` became runnable.
#[raw_tracepoint(tracepoint = "sched_wakeup")]
pub(crate) fn sched_wakeup(ctx: RawTracePointContext) -> i32 {
    let _ = woken(Task(ctx.arg(0)));
    0
}

/// The outgoing thread is still the current one, so its saved registers tell what it waits in.
#[inline(always)]
fn switched_out(preempted: bool, task_state: u32) -> Option<()> {
    let (pid, tid) = emit::current();
    let target = target(pid)?;
    let row = count::thread(pid, tid, &target)?;
    let at = now();
    apply(row, Edge::SwitchOut(state_after(preempted, task_state)), at);
    if row.state() != State::DEAD {
        return Some(());
    }
    let exit = ThreadExit {
        first: row.first,
        times: row.times,
        name: bpf_get_current_comm().unwrap_or([0; 16]),
    };
    // When the event finds no room the row stays, and the agent takes the final times from it.
    if emit::emit(at, exit) {
        count::forget_thread(tid);
    }
    Some(())
}

#[inline(always)]
fn switched_in(next: Task) -> Option<()> {
    let pid = next.pid()?;
    let target = target(pid)?;
    let row = count::thread(pid, next.tid()?, &target)?;
    apply(row, Edge::SwitchIn, now());
    // SAFETY: the helper takes no arguments and has no precondition.
    let cpu = unsafe { bpf_get_smp_processor_id() } + 1;
    if row.cpu != cpu {
        if row.cpu != 0 {
            row.times.migrations += 1;
        }
        row.cpu = cpu;
    }
    Some(())
}

#[inline(always)]
fn woken(task: Task) -> Option<()> {
    let pid = task.pid()?;
    let target = target(pid)?;
    let row = count::thread(pid, task.tid()?, &target)?;
    apply(row, Edge::Wakeup, now());
    Some(())
}

#[inline(always)]
fn apply(row: &mut ThreadRow, edge: Edge, at: Nanos) {
    if !row.apply(edge, at) {
        count::lost(LossReason::CLOCK_SKEW);
    }
}

/// What a thread that leaves its CPU is doing from now on.
#[inline(always)]
fn state_after(preempted: bool, task_state: u32) -> State {
    // https://github.com/torvalds/linux/blob/v6.12/include/linux/sched.h#L100
    const TASK_RUNNING: u32 = 0;
    const TASK_UNINTERRUPTIBLE: u32 = 0x2;
    const TASK_DEAD: u32 = 0x80;
    if task_state & TASK_DEAD != 0 {
        return State::DEAD;
    }
    if preempted || task_state == TASK_RUNNING {
        return State::PREEMPTED;
    }
    match current_syscall() {
        Some(syscall) => class_of(syscall),
        None if task_state & TASK_UNINTERRUPTIBLE != 0 => State::PAGE_FAULT,
        None => State::OTHER,
    }
}
