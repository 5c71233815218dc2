//! Event loops: what a thread does between its waits for events. Costs nothing to threads that never wait so.

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    macros::map,
    maps::HashMap,
};
use tracer_common::{
    Nanos, State, Table, ThreadRow, Tid,
    event::LongIteration,
    event_loop::{Left, LoopKey, Looping, Note, Turn, Wait},
    hist,
    table::Loops,
    task::{OFF_PARTS, off_parts},
};

use super::{Returned, now};
use crate::{
    count, emit,
    filter::target,
    setting::{setting, syscalls_since},
    shared::{Rows as _, zeros},
    stack,
};

/// Times of threads that left their CPU in a turn. Not in their rows: few threads have a loop.
#[map]
static LEFT: HashMap<Tid, Left> = HashMap::with_max_entries(Loops::CAPACITY, BPF_F_NO_PREALLOC);

/// Counts one return of an epoll wait, and the turn that ended with its entry.
#[inline(always)]
pub(super) fn returned(with: &mut Returned<'_>, tid: Tid) {
    if setting!(loops) == 0 {
        return;
    }
    let [fd, _, _, timeout, ..] = with.registers.arguments().0;
    // A number of milliseconds, or the address of a time (`epoll_pwait2`).
    let may_block = timeout as u32;
    // The clock was read for the duration already.
    let (entered, at) = match with.duration {
        Some(duration) => {
            let entered = with.row.syscall_entered;
            (1, Nanos(entered.0 + duration.0))
        }
        None => (0, now()),
    };
    let who = u64::from(tid.0) << 32 | (fd & 0xffff_ffff);
    let how = u64::from(may_block) << 32 | entered;
    step(with.row, who, how, with.result, at);
}

/// Not a part of its caller, which has little of a program's stack left; five arguments is what such a function can have.
/// `who`: the thread and the descriptor; `how`: whether it may block, and 1 when its entry was seen.
#[inline(never)]
fn step(row: &mut ThreadRow, who: u64, how: u64, result: i64, at: Nanos) {
    let tid = Tid((who >> 32) as u32);
    let entered = if how & 1 == 1 {
        row.syscall_entered
    } else {
        Nanos(0)
    };
    let wait = Wait {
        fd: who as u32,
        may_block: (how >> 32) as u32,
        result,
        entered,
        at,
        watched_since: syscalls_since(),
    };
    if let Some(turn) = row.looping.returned(&wait)
        && counted(row, tid, &wait, &turn) == Some(true)
    {
        send(row, tid, &turn);
    }
}

/// Gives whether the turn was a long one.
#[inline(never)]
fn counted(thread: &ThreadRow, tid: Tid, wait: &Wait, turn: &Turn) -> Option<bool> {
    let pid = thread.pid;
    let row = Loops::row(&LoopKey { pid, tid })?;
    // SAFETY: the verifier has checked the pointer, and only this thread writes its row.
    let row = unsafe { &mut *row };
    row.waits += 1;
    row.returned = wait.at.0;
    row.slept = thread.times.in_state[State::EPOLL.0 as usize];
    if wait.result > 0 {
        row.events += wait.result as u64;
    }
    if wait.may_block != 0 {
        row.idle += turn.waited;
    } else {
        row.asking += turn.waited;
    }
    let busy = turn.until.0.saturating_sub(turn.since.0);
    if turn.is_new == 0 {
        row.asking += busy;
        return None;
    }
    row.iterations += 1;
    if turn.since.0 == 0 {
        return None;
    }
    row.busy.count += 1;
    row.busy.sum += busy;
    if busy > row.busy.max {
        row.busy.max = busy;
    }
    let bucket = hist::unchecked_index(busy);
    if bucket < hist::BUCKETS {
        row.busy.buckets[bucket] += 1;
    }
    if turn.has_left != 0
        && let Some(left) = left(tid)
    {
        let off = left.within(turn, &thread.times);
        row.ready += off[0];
        row.futex += off[1];
        row.io += off[2];
        row.fault += off[3];
        row.other += off[4];
    }
    let is_long = busy >= setting!(long_poll);
    if is_long {
        row.long += 1;
    }
    Some(is_long)
}

/// Sends a long turn. Called beside the other, not by it: Linux 6.1 counts the stack of what calls each other.
#[inline(never)]
fn send(thread: &ThreadRow, tid: Tid, turn: &Turn) {
    if target(thread.pid).is_none_or(|target| target.has_loops == 0)
        || !stack::may_send_iteration(turn.until)
    {
        return;
    }
    let mut off = [0; OFF_PARTS];
    if turn.has_left != 0
        && let Some(left) = left(tid)
    {
        off = left.within(turn, &thread.times);
    }
    let since = turn.since;
    emit::emit(turn.until, LongIteration { since, off });
}

/// The thread leaves its CPU: if it is in a turn of its loop, its times so far are noted.
#[inline(always)]
pub(super) fn leave_cpu(tid: Tid, row: &mut ThreadRow, state: State, at: Nanos) {
    let waits_on = (state == State::EPOLL).then_some(row.waiting_on);
    match row.looping.leave_cpu(waits_on, at) {
        Note::Nothing => {}
        Note::Before => {
            if let Some(left) = left_or_new(tid) {
                left.before = off_parts(&row.times);
            }
        }
        Note::Parked => {
            if let Some(left) = left(tid) {
                left.parked = off_parts(&row.times);
            }
        }
    }
}

/// The thread runs another program: what it waits at is another loop.
#[inline(always)]
pub(super) fn begin_again(tid: Tid) {
    if let Some(row) = count::existing_thread(tid) {
        row.looping = Looping::default();
    }
}

/// Forgets a thread that is gone.
#[inline(always)]
pub(super) fn forget(tid: Tid, row: &ThreadRow) {
    if row.looping.returned.0 != 0 {
        // An error means that there is nothing to forget.
        let _ = LEFT.remove(tid);
    }
}

#[inline(always)]
fn left_or_new(tid: Tid) -> Option<&'static mut Left> {
    if let Some(left) = left(tid) {
        return Some(left);
    }
    if LEFT
        .insert(tid, zeros::<Left>()?, u64::from(BPF_NOEXIST))
        .is_err()
    {
        count::lost(Loops::FULL);
    }
    left(tid)
}

#[inline(always)]
fn left(tid: Tid) -> Option<&'static mut Left> {
    // SAFETY: the verifier has checked the pointer; only the thread itself, and the scheduler while it leaves its CPU,
    // use its row.
    LEFT.get_ptr_mut(tid).map(|row| unsafe { &mut *row })
}
