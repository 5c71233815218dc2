//! The scheduler's edges: they alone split a thread's wall time without remainder, and at the switch the saved
//! registers of the thread that leaves say what it waits on.

use aya_ebpf::{
    helpers::{bpf_get_current_comm, bpf_get_smp_processor_id},
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use tracer_common::{Edge, LossReason, Nanos, Pid, State, ThreadRow, Tid, event::ThreadExit};

use super::{event_loop, futex, now, tokio};
use crate::{
    count, emit,
    filter::maybe,
    stack,
    task::{Registers, Task, class_of},
};

/// `trace_sched_switch(preempt, prev, next, prev_state)`; the state is the last argument since Linux 5.19.
/// <https://github.com/torvalds/linux/blob/v6.12/include/trace/events/sched.h#L222>
#[raw_tracepoint(tracepoint = "sched_switch")]
pub(crate) fn sched_switch(ctx: RawTracePointContext) -> i32 {
    let _ = switched(&ctx);
    0
}

/// `trace_sched_wakeup(p)`: `p` became runnable.
#[raw_tracepoint(tracepoint = "sched_wakeup")]
pub(crate) fn sched_wakeup(ctx: RawTracePointContext) -> i32 {
    let _ = woken(Task(ctx.arg(0)));
    0
}

/// One moment for both: what one thread loses the other gets, and nothing that is done here is charged to either.
#[inline(always)]
fn switched(ctx: &RawTracePointContext) -> Option<()> {
    let (previous, _) = emit::current();
    let next_pid = Task(ctx.arg(2)).pid()?;
    let (out, into) = (maybe(previous), maybe(next_pid));
    if !out && !into {
        return None;
    }
    let at = now();
    if out {
        let _ = switched_out(ctx, ctx.arg::<u64>(0) & 1 != 0, ctx.arg::<u32>(3), at);
    }
    if into {
        let _ = switched_in(Task(ctx.arg(2)), next_pid, at);
    }
    Some(())
}

/// The outgoing thread is still the current one, so its saved registers tell what it waits in.
#[inline(always)]
fn switched_out(
    ctx: &RawTracePointContext,
    preempted: bool,
    task_state: u32,
    at: Nanos,
) -> Option<()> {
    let (pid, tid) = emit::current();
    let row = count::thread(pid, tid)?;
    let state = leave(row, preempted, task_state);
    tokio::leave_cpu(tid, row, state);
    event_loop::leave_cpu(tid, row, state, at);
    apply(row, Edge::SwitchOut(state), at);
    if state != State::DEAD {
        if state.is_blocked() {
            stack::keep(ctx, tid, row, at);
        }
        return Some(());
    }
    ended(row, tid, at);
    Some(())
}

/// Sends a thread's last times. Not a part of its caller: see `count::meet`.
#[inline(never)]
fn ended(row: &ThreadRow, tid: Tid, at: Nanos) {
    stack::forget(tid);
    tokio::forget(tid);
    event_loop::forget(tid, row);
    let exit = ThreadExit {
        first: row.first,
        times: row.times,
        name: bpf_get_current_comm().unwrap_or([0; 16]),
        ready_max: row.ready_max,
    };
    // When the event finds no room the row stays, and the agent takes the final times from it.
    if emit::emit(at, exit) {
        count::forget_thread(tid);
    }
}

#[inline(always)]
fn switched_in(next: Task, pid: Pid, at: Nanos) -> Option<()> {
    let row = count::thread(pid, next.tid()?)?;
    let (held, since) = (row.state(), row.since());
    apply(row, Edge::SwitchIn, at);
    tokio::charge(row, held, Nanos(at.0.saturating_sub(since.0)));
    row.waker = Tid(0);
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
    if !maybe(pid) {
        return None;
    }
    let row = count::thread(pid, task.tid()?)?;
    let at = now();
    let (held, since) = (row.state(), row.since());
    let next = if task.is_throttled() {
        State::THROTTLED
    } else {
        State::RUNNABLE
    };
    apply(row, Edge::Wakeup(next), at);
    tokio::charge(row, held, Nanos(at.0.saturating_sub(since.0)));
    if !held.is_blocked() {
        return Some(());
    }
    row.woken_at = at;
    if held == State::FUTEX {
        let slept = Nanos(at.0.saturating_sub(since.0));
        return futex::woken(row, pid, task.tid()?, slept);
    }
    Some(())
}

#[inline(always)]
fn apply(row: &mut ThreadRow, edge: Edge, at: Nanos) {
    if !row.apply(edge, at) {
        count::lost(LossReason::CLOCK_SKEW);
    }
}

/// What a thread that leaves its CPU is doing from now on; the row is told what it waits on.
#[inline(always)]
fn leave(row: &mut ThreadRow, preempted: bool, task_state: u32) -> State {
    // https://github.com/torvalds/linux/blob/v6.12/include/linux/sched.h#L100
    const TASK_RUNNING: u32 = 0;
    const TASK_UNINTERRUPTIBLE: u32 = 0x2;
    const TASK_DEAD: u32 = 0x80;
    row.waiting_on = 0;
    if task_state & TASK_DEAD != 0 {
        return State::DEAD;
    }
    if preempted || task_state == TASK_RUNNING {
        return if Task::current().is_throttled() {
            State::THROTTLED
        } else {
            State::PREEMPTED
        };
    }
    let Some(registers) = Registers::current() else {
        return State::OTHER;
    };
    let Some(call) = registers.syscall() else {
        return if task_state & TASK_UNINTERRUPTIBLE != 0 {
            State::PAGE_FAULT
        } else {
            State::OTHER
        };
    };
    let state = class_of(call);
    if state == State::BY_FILE {
        let fd = registers.arguments().0[0];
        row.waiting_on = fd;
        return Task::current().waits_for_file(fd).unwrap_or(State::OTHER);
    }
    if state == State::FUTEX {
        (row.waiting_on, row.lock_kind) = futex::waits_on(call, registers.arguments());
    } else if state == State::EPOLL || state == State::NETWORK || state == State::OTHER {
        row.waiting_on = registers.arguments().0[0];
    }
    state
}
