//! Polls and wakes of tasks, at the runtime's own functions in the target.

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    helpers::bpf_probe_read_user,
    macros::{map, uprobe, uretprobe},
    maps::HashMap,
    programs::{ProbeContext, RetProbeContext},
};
use tracer_common::{
    LossReason, Nanos, Pid, State, ThreadRow, Tid,
    event::{CpuSample, LongPoll},
    table::{
        PollerKey, Pollers, TaskTime, TaskTimes, TaskTypes, TaskWakeKey, TaskWakes, TimesKey,
        TypeKey, TypeRow,
    },
    task::{
        Cookie, Frame, HEADER_WORDS, Header, IdKey, OFF_PARTS, Running, TaskKey, TaskRow,
        UNKNOWN_TYPE, off_part, off_parts, queued, seen, state,
    },
};

use super::now;
use crate::{
    count, emit,
    function::{cookie, register, see},
    setting::{has_task_places, polls_since, setting, wakes_are_watched, wakes_since},
    shared::{Rows, add, record, zeros},
    stack,
    task::Task,
};

/// What is remembered of tasks from one poll to the next. A hash, because addresses are sparse; not preallocated: room
/// for a quarter of a million would be 30 MiB.
#[map]
static TASKS: HashMap<TaskKey, TaskRow> = HashMap::with_max_entries(262_144, BPF_F_NO_PREALLOC);

/// The polls each thread is in.
#[map]
static RUNNING: HashMap<Tid, Running> = HashMap::with_max_entries(16_384, BPF_F_NO_PREALLOC);

/// Where the threads of each target keep the id of the task they run, in bytes from the thread pointer on.
#[map]
static TASK_PLACES: HashMap<Pid, i64> = HashMap::with_max_entries(1_024, 0);

/// The types of tasks, by id, as far as the agent knows them.
#[map]
static TASK_IDS: HashMap<IdKey, u64> = HashMap::with_max_entries(262_144, BPF_F_NO_PREALLOC);

/// The entry of a type's `poll`: the first argument is the header's address.
#[uprobe]
pub(crate) fn task_poll(ctx: ProbeContext) -> u32 {
    let _ = begun(&ctx);
    0
}

/// Its return.
#[uretprobe]
pub(crate) fn task_poll_return(ctx: RetProbeContext) -> u32 {
    let _ = ended(&ctx);
    0
}

/// A place in tokio that every wake passes before the task's state changes.
#[uprobe]
pub(crate) fn task_wake(ctx: ProbeContext) -> u32 {
    let _ = woken(&ctx);
    0
}

/// Where a closure is handed to the blocking pool.
#[uprobe]
pub(crate) fn task_spawn(ctx: ProbeContext) -> u32 {
    let _ = spawned(&ctx);
    0
}

#[inline(always)]
fn begun(ctx: &ProbeContext) -> Option<()> {
    let (pid, tid) = emit::current();
    // No question whether it is a target: the kernel attaches these to targets only.
    if polls_since().0 == 0 {
        see(seen::UNWATCHED_POLLS);
        return None;
    }
    see(seen::POLLS);
    let cookie = Cookie(cookie(ctx));
    let address: u64 = ctx.arg(0)?;
    let header = header(address, cookie)?;
    // SAFETY: the context of a probe is valid while the program runs.
    let stack_pointer = unsafe { (*ctx.regs).rsp };
    let at = now();
    let frame = Frame {
        header: address,
        vtable: header.vtable,
        id: header.id,
        since: at,
        stack_pointer,
        has_left: 0,
        is_cancelled: u16::from(header.state & state::CANCELLED != 0),
        is_blocking: u16::from(cookie.is_blocking()),
        has_polled: 0,
        off_before: [0; OFF_PARTS],
    };
    if !running_or_new(tid)?.enter(&frame, polls_since()) {
        count::lost(LossReason::POLLS_TOO_DEEP);
        return None;
    }
    polled(pid, tid, address, &header, at)
}

/// Counts a poll, and the times since the one before.
#[inline(never)]
fn polled(pid: Pid, tid: Tid, address: u64, header: &Header, at: Nanos) -> Option<()> {
    let row = type_row(pid, header.vtable)?;
    // SAFETY: a row of a map.
    unsafe { add(&raw mut (*row).polls, 1) }
    let key = TaskKey {
        header: address,
        pid,
        reserved: 0,
    };
    let Some(task) = task(&key).filter(|task| task.is(header)) else {
        // SAFETY: a row of a map.
        unsafe { add(&raw mut (*row).first, 1) }
        let task = TaskRow {
            id: header.id,
            vtable: header.vtable,
            first: at,
            by: tid,
            ..TaskRow::default()
        };
        if TASKS.insert(key, task, 0).is_err() {
            count::lost(LossReason::TASK_TABLE_FULL);
        }
        return None;
    };
    let (since_queued, polled, by) = (task.queued, task.polled, task.by);
    task.queued = Nanos(0);
    task.by = tid;
    // What was noted before the probes were off for a while says nothing any more.
    let since = polls_since();
    if since_queued.0 == 0 || since_queued.0 < since.0 {
        return None;
    }
    // SAFETY: a row of a map.
    unsafe {
        match task.why {
            queued::SPAWNED => add(&raw mut (*row).first, 1),
            queued::RESCHEDULED => add(&raw mut (*row).rescheduled, 1),
            _ => add(&raw mut (*row).queued, 1),
        }
    }
    task.why = queued::WOKEN;
    if by != tid && by.0 != 0 {
        let _ = moved(pid, tid, by, since_queued);
    }
    time(pid, header.vtable, TaskTime::SCHEDULED, since_queued, at);
    if polled.0 >= since.0 && since_queued.0 > polled.0 {
        time(pid, header.vtable, TaskTime::IDLE, polled, since_queued);
    }
    Some(())
}

/// Counts a poll of a task that the thread `by` had queued: stolen from there, or taken from a queue that workers
/// share. A thread that polls no futures has no queue that anything could be taken from.
#[inline(never)]
fn moved(pid: Pid, tid: Tid, by: Tid, since_queued: Nanos) -> Option<()> {
    let wakes_since = wakes_since();
    if wakes_since.0 == 0 || since_queued.0 < wakes_since.0 {
        return None;
    }
    let from = Pollers::rows().get_ptr(PollerKey { pid, tid: by })?;
    // SAFETY: a row of a map.
    if unsafe { (*from).polls } == 0 {
        return None;
    }
    let running = running(tid)?;
    let index = core::hint::black_box(running.depth.wrapping_sub(1) as usize);
    if index >= running.frames.len()
        || running.frames[index].is_blocking != 0
        || !is_outer(running, index)
    {
        return None;
    }
    let row = Pollers::row(&PollerKey { pid, tid })?;
    // SAFETY: a row of a map.
    unsafe { add(&raw mut (*row).moved, 1) }
    Some(())
}

/// False for a poll inside another of its kind, which is not counted twice.
#[inline(always)]
fn is_outer(running: &Running, index: usize) -> bool {
    let outer = core::hint::black_box(index.wrapping_sub(1));
    if index >= running.frames.len() || outer >= running.frames.len() {
        return true;
    }
    running.frames[outer].is_blocking != running.frames[index].is_blocking
}

#[inline(always)]
fn ended(ctx: &RetProbeContext) -> Option<()> {
    let (pid, tid) = emit::current();
    let running = running(tid)?;
    // SAFETY: the context of a probe is valid while the program runs.
    let stack_pointer = unsafe { (*ctx.regs).rsp };
    let index = running.leave(stack_pointer)?;
    let at = now();
    if index >= running.frames.len() {
        return None;
    }
    let is_outer = is_outer(running, index);
    let frame = &running.frames[index];
    let since = polls_since();
    if since.0 == 0 || frame.since.0 < since.0 {
        return None;
    }
    let header = header(frame.header, Cookie(cookie(ctx)));
    time(pid, frame.vtable, TaskTime::BUSY, frame.since, at);
    if is_outer {
        let _ = count_poller(pid, tid, frame, at);
    }
    let _ = left(pid, frame, header.as_ref(), at);
    long(pid, tid, frame, at)
}

/// What became of a task whose poll has ended.
#[inline(never)]
fn left(pid: Pid, frame: &Frame, header: Option<&Header>, at: Nanos) -> Option<()> {
    let row = type_row(pid, frame.vtable)?;
    let key = TaskKey {
        header: frame.header,
        pid,
        reserved: 0,
    };
    let task = task(&key).filter(|task| task.id == frame.id && task.vtable == frame.vtable);
    // Its memory may be free already, or another task's.
    let header = header.filter(|header| {
        header.vtable == frame.vtable && header.id == frame.id && state::is_plausible(header.state)
    });
    let word = header.map_or(state::COMPLETE, |header| header.state);
    if word & state::COMPLETE != 0 {
        // Another thread may have polled it to its end already, and be in its own return: who takes the row counts.
        let first = task?.first;
        if TASKS.remove(key).is_err() {
            return None;
        }
        // SAFETY: a row of a map.
        unsafe {
            add(&raw mut (*row).completed, 1);
            // Nobody may hold it any more, and then its memory says nothing.
            if frame.is_cancelled != 0 || word & state::CANCELLED != 0 {
                add(&raw mut (*row).cancelled, 1);
            }
        }
        if first.0 != 0 {
            time(pid, frame.vtable, TaskTime::LIFETIME, first, at);
        }
        return Some(());
    }
    let task = task?;
    task.polled = at;
    // Another thread may be polling it already; then the wake has said what there was to say.
    if word & state::NOTIFIED != 0 && word & state::RUNNING == 0 {
        task.queued = at;
        task.why = queued::RESCHEDULED;
    }
    Some(())
}

/// Charges a poll in which the thread left its CPU, and sends one that was long.
#[inline(always)]
fn long(pid: Pid, tid: Tid, frame: &Frame, at: Nanos) -> Option<()> {
    let mut off = [0; OFF_PARTS];
    if frame.has_left != 0 {
        off = off_parts(&count::existing_thread(tid)?.times);
        for (part, before) in off.iter_mut().zip(frame.off_before) {
            *part = part.wrapping_sub(before);
        }
        let row = type_row(pid, frame.vtable)?;
        // SAFETY: a row of a map.
        unsafe {
            add(&raw mut (*row).ready, off[0]);
            add(&raw mut (*row).futex, off[1]);
            add(&raw mut (*row).io, off[2]);
            add(&raw mut (*row).fault, off[3]);
            add(&raw mut (*row).other, off[4]);
        }
    }
    if frame.is_blocking != 0 || at.0.wrapping_sub(frame.since.0) < setting!(long_poll) {
        return Some(());
    }
    let row = type_row(pid, frame.vtable)?;
    // SAFETY: a row of a map.
    unsafe { add(&raw mut (*row).long_polls, 1) }
    if stack::may_send_poll(at) {
        emit::emit(
            at,
            LongPoll {
                since: frame.since,
                header: frame.header,
                vtable: frame.vtable,
                task: frame.id,
                off,
            },
        );
    }
    Some(())
}

#[inline(never)]
fn count_poller(pid: Pid, tid: Tid, frame: &Frame, at: Nanos) -> Option<()> {
    let row = Pollers::row(&PollerKey { pid, tid })?;
    let busy = at.0.wrapping_sub(frame.since.0);
    // SAFETY: a row of a map.
    unsafe {
        if frame.is_blocking != 0 {
            add(&raw mut (*row).blocking, 1);
            add(&raw mut (*row).blocking_busy, busy);
        } else {
            add(&raw mut (*row).polls, 1);
            add(&raw mut (*row).busy, busy);
        }
    }
    Some(())
}

#[inline(always)]
fn spawned(ctx: &ProbeContext) -> Option<()> {
    if !wakes_are_watched() {
        see(seen::UNWATCHED_WAKES);
        return None;
    }
    see(seen::WAKES);
    let (pid, _) = emit::current();
    let cookie = Cookie(cookie(ctx));
    let address = register(ctx, cookie.header_register())?;
    let header = header(address, cookie)?;
    if !state::is_plausible(header.state) {
        return None;
    }
    let at = now();
    let key = TaskKey {
        header: address,
        pid,
        reserved: 0,
    };
    let task = TaskRow {
        id: header.id,
        vtable: header.vtable,
        first: at,
        queued: at,
        polled: Nanos(0),
        why: queued::SPAWNED,
        by: Tid(0),
    };
    if TASKS.insert(key, task, 0).is_err() {
        count::lost(LossReason::TASK_TABLE_FULL);
    }
    Some(())
}

#[inline(always)]
fn woken(ctx: &ProbeContext) -> Option<()> {
    let (pid, tid) = emit::current();
    if !wakes_are_watched() {
        see(seen::UNWATCHED_WAKES);
        return None;
    }
    see(seen::WAKES);
    let cookie = Cookie(cookie(ctx));
    let address = register(ctx, cookie.header_register())?;
    let header = header(address, cookie)?;
    let at = now();
    let row = type_row(pid, header.vtable)?;
    let top = running(tid).and_then(|running| running.top());
    let top = top.filter(|top| top.since.0 >= polls_since().0);
    // SAFETY: a row of a map.
    unsafe { add(&raw mut (*row).wakes, 1) }
    if header.state & (state::NOTIFIED | state::COMPLETE) != 0 {
        // SAFETY: a row of a map.
        unsafe { add(&raw mut (*row).redundant_wakes, 1) }
    } else {
        queue(pid, tid, address, &header, at);
    }
    if top.is_some_and(|top| top.header == address) {
        // SAFETY: a row of a map.
        unsafe { add(&raw mut (*row).self_wakes, 1) }
    }
    let wake = TaskWakes::row(&TaskWakeKey {
        waker: top.map_or(0, |top| top.vtable),
        woken: header.vtable,
        pid,
        reserved: 0,
    })?;
    // SAFETY: a row of a map.
    unsafe { add(&raw mut (*wake).count, 1) }
    Some(())
}

/// A task was woken that was idle, or is polled: then it is queued when that poll ends.
#[inline(never)]
fn queue(pid: Pid, tid: Tid, address: u64, header: &Header, at: Nanos) {
    let key = TaskKey {
        header: address,
        pid,
        reserved: 0,
    };
    let why = if header.state & state::RUNNING != 0 {
        queued::RESCHEDULED
    } else {
        queued::WOKEN
    };
    if let Some(task) = task(&key).filter(|task| task.is(header)) {
        task.queued = at;
        task.why = why;
        // Otherwise who polls it queues it.
        if why == queued::WOKEN {
            task.by = tid;
        }
        return;
    }
    // Its first poll was not seen, so it was there before the probes.
    let task = TaskRow {
        id: header.id,
        vtable: header.vtable,
        queued: at,
        why,
        by: if why == queued::WOKEN { tid } else { Tid(0) },
        ..TaskRow::default()
    };
    if TASKS.insert(key, task, 0).is_err() {
        count::lost(LossReason::TASK_TABLE_FULL);
    }
}

/// The thread leaves its CPU for this state: the polls it is in note its times so far, and outside of them it parks.
#[inline(always)]
pub(super) fn leave_cpu(tid: Tid, row: &mut ThreadRow, state: State) {
    row.task_type = 0;
    let since = polls_since();
    if since.0 != 0
        && let Some(running) = running(tid)
    {
        if running.leave_cpu(&row.times, state, since) {
            let _ = parked(row.pid, tid);
        }
        if running.depth > 0 {
            return;
        }
    }
    if let Some((_, vtable)) = current(row.pid) {
        row.task_type = vtable;
    }
}

/// Not a part of its caller: see `count::meet`.
#[inline(never)]
fn parked(pid: Pid, tid: Tid) -> Option<()> {
    let row = Pollers::row(&PollerKey { pid, tid })?;
    // SAFETY: a row of a map.
    unsafe { add(&raw mut (*row).parks, 1) }
    Some(())
}

/// A thread was in `state` for so long: charged to the task it ran, unless that is done when its poll returns.
#[inline(always)]
pub(super) fn charge(row: &ThreadRow, state: State, length: Nanos) {
    if row.task_type != 0 {
        charge_to(row.pid, row.task_type, state, length);
    }
}

#[inline(never)]
fn charge_to(pid: Pid, vtable: u64, state: State, length: Nanos) {
    let (Some(part), Some(row)) = (off_part(state), type_row(pid, vtable)) else {
        return;
    };
    // SAFETY: a row of a map.
    unsafe {
        match part {
            0 => add(&raw mut (*row).ready, length.0),
            1 => add(&raw mut (*row).futex, length.0),
            2 => add(&raw mut (*row).io, length.0),
            3 => add(&raw mut (*row).fault, length.0),
            _ => add(&raw mut (*row).other, length.0),
        }
    }
}

/// Id and type of the task that the current thread runs, as the runtime itself keeps it; `None` when it runs none, or
/// where that is kept is not known.
#[inline(always)]
fn current(pid: Pid) -> Option<(u64, u64)> {
    if !has_task_places() {
        return None;
    }
    // SAFETY: the agent writes a place once.
    let place = *unsafe { TASK_PLACES.get(pid) }?;
    let pointer = Task::current().thread_pointer()?;
    let address = pointer.wrapping_add(place as u64);
    // SAFETY: the helper checks the address.
    let id = unsafe { bpf_probe_read_user(address as *const u64) }.ok()?;
    if id == 0 || id >= 1 << 48 {
        return None;
    }
    let key = IdKey {
        id,
        pid,
        reserved: 0,
    };
    // SAFETY: one word, copied out.
    let vtable = unsafe { TASK_IDS.get(key) }.copied();
    Some((id, vtable.unwrap_or(UNKNOWN_TYPE)))
}

/// Says what task a sampled thread polls.
#[inline(always)]
pub(super) fn tell(pid: Pid, tid: Tid, sample: &mut CpuSample) {
    let current = current(pid);
    if polls_since().0 != 0
        && let Some(top) = running(tid).and_then(|running| running.top())
        && top.since.0 >= polls_since().0
    {
        sample.vtable = top.vtable;
        sample.task = top.id;
        sample.poll = top.since;
        // The id is written a moment after the entry of `poll`, and a trap makes moments long.
        const MOMENT: u64 = 200_000;
        if let Some((id, _)) = current
            && now().0.wrapping_sub(top.since.0) > MOMENT
        {
            see(if id == top.id {
                seen::AGREED
            } else {
                seen::DIFFERED
            });
        }
        return;
    }
    if let Some((id, vtable)) = current {
        sample.vtable = vtable;
        sample.task = id;
    }
}

/// What the header at `address` in the current process says; `None` when it cannot be read.
#[inline(always)]
fn header(address: u64, cookie: Cookie) -> Option<Header> {
    // SAFETY: the helper checks the address and fails on one that cannot be read.
    let words = unsafe { bpf_probe_read_user(address as *const [u64; HEADER_WORDS]) }.ok()?;
    Some(Header::of(&words, cookie))
}

#[inline(always)]
fn running(tid: Tid) -> Option<&'static mut Running> {
    // SAFETY: the verifier has checked the pointer; only the thread itself, and the scheduler while it leaves its CPU,
    // write its row.
    RUNNING.get_ptr_mut(tid).map(|row| unsafe { &mut *row })
}

#[inline(always)]
fn running_or_new(tid: Tid) -> Option<&'static mut Running> {
    if let Some(running) = running(tid) {
        return Some(running);
    }
    if RUNNING
        .insert(tid, zeros::<Running>()?, u64::from(BPF_NOEXIST))
        .is_err()
    {
        count::lost(LossReason::TASK_TABLE_FULL);
    }
    running(tid)
}

/// Forgets a thread that is gone.
#[inline(always)]
pub(super) fn forget(tid: Tid) {
    // An error means that there is nothing to forget.
    let _ = RUNNING.remove(tid);
}

#[inline(always)]
fn task(key: &TaskKey) -> Option<&'static mut TaskRow> {
    // SAFETY: the verifier has checked the pointer. A task is polled by one thread at a time; a wake that meets its poll
    // writes a word that the poll writes too, and either is right.
    TASKS.get_ptr_mut(key).map(|row| unsafe { &mut *row })
}

#[inline(always)]
fn type_row(pid: Pid, vtable: u64) -> Option<*mut TypeRow> {
    TaskTypes::row(&TypeKey {
        vtable,
        pid,
        reserved: 0,
    })
}

/// Adds to a time in the lives of a type's tasks. Not a part of its callers: its row is large.
#[inline(never)]
fn time(pid: Pid, vtable: u64, what: TaskTime, from: Nanos, to: Nanos) {
    let Some(length) = to.0.checked_sub(from.0) else {
        count::lost(LossReason::CLOCK_SKEW);
        return;
    };
    if let Some(row) = TaskTimes::row(&TimesKey { vtable, pid, what }) {
        // SAFETY: a row of a map.
        unsafe { record(row, Nanos(length)) }
    }
}
