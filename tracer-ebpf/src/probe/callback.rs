//! Callbacks of Node.js, at its own functions in the target: whose they are, how long they take, what runs because of them.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    helpers::bpf_probe_read_user,
    macros::{map, uprobe, uretprobe},
    maps::HashMap,
    programs::{ProbeContext, RetProbeContext},
};
use tracer_common::{
    LossReason, Nanos, Pid, Tid,
    callback::{CallbackKey, CallbackKind, CallbackTime, Ended, Resource, Scopes},
    event::{CpuSample, LongCallback},
    table::Callbacks,
    task::seen,
};

use super::now;
use crate::{
    count, emit,
    function::{cookie, register, see},
    setting::{callbacks_since, setting},
    shared::{Rows, record, zeros},
    stack,
};

/// The callbacks each thread is in. Not preallocated: few threads run JavaScript.
#[map]
static SCOPES: HashMap<Tid, Scopes> = HashMap::with_max_entries(4_096, BPF_F_NO_PREALLOC);

/// Since when each thread runs V8's microtasks.
#[map]
static MICROTASKS: HashMap<Tid, Nanos> = HashMap::with_max_entries(4_096, BPF_F_NO_PREALLOC);

/// In an `InternalCallbackScope`: the ids of the resource and of what caused it.
const IDS: u64 = 8;

/// Where a callback is about to be made: the cookie says which kind it is (bits 32 to 63), or else which register holds
/// its resource (bits 0 to 7), and where that has its kind and after it its id (8 to 23).
#[uprobe]
pub(crate) fn callback_resource(ctx: ProbeContext) -> u32 {
    let _ = announced(&ctx);
    0
}

/// Where a scope is opened: the cookie says which register holds its address (bits 24 to 31), and, where the scope is of a
/// resource, what it says above.
#[uprobe]
pub(crate) fn callback(ctx: ProbeContext) -> u32 {
    let _ = opened(&ctx);
    0
}

/// Where it is closed: the cookie has the same bits 24 to 31.
#[uprobe]
pub(crate) fn callback_close(ctx: ProbeContext) -> u32 {
    let _ = closing(&ctx);
    0
}

/// The return from there.
#[uretprobe]
pub(crate) fn callback_return(ctx: RetProbeContext) -> u32 {
    let _ = closed(&ctx);
    0
}

/// The entry of a function that calls into JavaScript, where the address to return to is on top of the stack. Called from
/// a certain function, it calls what was given to `setImmediate`: the cookie says where that is, from the place on (bits 0
/// to 31), and how long (32 to 63). It is no place itself, because it runs in each iteration of a loop, and opens another
/// scope first.
#[uprobe]
pub(crate) fn immediates(ctx: ProbeContext) -> u32 {
    let _ = called_immediates(&ctx);
    0
}

/// The entry of what runs V8's queue of microtasks.
#[uprobe]
pub(crate) fn microtasks(ctx: ProbeContext) -> u32 {
    if callbacks_since().0 == 0 {
        see(seen::UNWATCHED_MICROTASKS);
        return 0;
    }
    see(seen::MICROTASKS);
    let _ = ctx;
    let (_, tid) = emit::current();
    if MICROTASKS.insert(tid, now(), 0).is_err() {
        count::lost(LossReason::NODE_TABLE_FULL);
    }
    0
}

/// Its return.
#[uretprobe]
pub(crate) fn microtasks_return(ctx: RetProbeContext) -> u32 {
    let _ = ran_microtasks();
    let _ = ctx;
    0
}

#[inline(always)]
fn announced(ctx: &ProbeContext) -> Option<()> {
    if callbacks_since().0 == 0 {
        return None;
    }
    let cookie = cookie(ctx);
    let number = (cookie >> 32) as u32;
    let next = if number == 0 {
        resource(ctx, cookie)?
    } else {
        Resource {
            id: 0,
            kind: CallbackKind { number },
            is_set: 1,
        }
    };
    let (_, tid) = emit::current();
    scopes_or_new(tid)?.next = next;
    Some(())
}

#[inline(always)]
fn called_immediates(ctx: &ProbeContext) -> Option<()> {
    if callbacks_since().0 == 0 {
        return None;
    }
    let cookie = cookie(ctx);
    // SAFETY: the context of a probe is valid while the program runs.
    let (place, stack) = unsafe { ((*ctx.regs).rip, (*ctx.regs).rsp) };
    // SAFETY: the helper checks the address.
    let caller = unsafe { bpf_probe_read_user(stack as *const u64) }.ok()?;
    let from = place.wrapping_add(cookie as u32 as i32 as i64 as u64);
    if caller.wrapping_sub(from) >= cookie >> 32 {
        return None;
    }
    let (_, tid) = emit::current();
    scopes_or_new(tid)?.next = Resource {
        id: 0,
        kind: CallbackKind::IMMEDIATES,
        is_set: 1,
    };
    Some(())
}

/// The resource whose register the cookie says, if it says one.
#[inline(always)]
fn resource(ctx: &ProbeContext, cookie: u64) -> Option<Resource> {
    let resource = register(ctx, cookie & 0xff)?;
    let at = resource.wrapping_add(cookie >> 8 & 0xffff);
    // SAFETY: the helper checks the address.
    let [number, id] = unsafe { bpf_probe_read_user(at as *const [u64; 2]) }.ok()?;
    Some(Resource {
        id,
        // A number of 32 bits, and what fills up to the next of 64.
        kind: CallbackKind {
            number: number as u32,
        },
        is_set: 1,
    })
}

#[inline(always)]
fn scope(ctx: &ProbeContext, cookie: u64) -> Option<u64> {
    register(ctx, cookie >> 24 & 0xff)
}

#[inline(always)]
fn opened(ctx: &ProbeContext) -> Option<()> {
    let since = callbacks_since();
    if since.0 == 0 {
        see(seen::UNWATCHED_CALLBACKS);
        return None;
    }
    see(seen::CALLBACKS);
    let (_, tid) = emit::current();
    let cookie = cookie(ctx);
    let scope = scope(ctx, cookie)?;
    // SAFETY: the context of a probe is valid while the program runs.
    let stack_pointer = unsafe { (*ctx.regs).rsp };
    let scopes = scopes_or_new(tid)?;
    if let Some(resource) = resource(ctx, cookie) {
        scopes.next = resource;
    }
    if !scopes.open(scope, stack_pointer, now(), since) {
        count::lost(LossReason::CALLBACKS_TOO_DEEP);
    }
    Some(())
}

#[inline(always)]
fn closing(ctx: &ProbeContext) -> Option<()> {
    if callbacks_since().0 == 0 {
        return None;
    }
    let (_, tid) = emit::current();
    let scopes = scopes(tid)?;
    let scope = scope(ctx, cookie(ctx))?;
    // SAFETY: the helper checks the address.
    let ids = unsafe { bpf_probe_read_user(scope.wrapping_add(IDS) as *const [u64; 2]) }.ok()?;
    // SAFETY: the context of a probe is valid while the program runs.
    let stack_pointer = unsafe { (*ctx.regs).rsp };
    scopes.close(scope, stack_pointer, now(), ids);
    Some(())
}

#[inline(always)]
fn closed(ctx: &RetProbeContext) -> Option<()> {
    let since = callbacks_since();
    let (pid, tid) = emit::current();
    let scopes = scopes(tid)?;
    // SAFETY: the context of a probe is valid while the program runs.
    let stack_pointer = unsafe { (*ctx.regs).rsp };
    let at = now();
    let ended = scopes.closed(stack_pointer, at)?;
    if since.0 == 0 || ended.since.0 < since.0 {
        return None;
    }
    let kind = ended.resource.kind;
    count_time(pid, kind, CallbackTime::BUSY, ended.busy);
    count_time(pid, kind, CallbackTime::TICKS, ended.ticks);
    if ended.busy + ended.ticks >= setting!(long_poll) && stack::may_send_callback(at) {
        send(&ended, at);
    }
    Some(())
}

/// Not a part of its caller, so that their stacks are not one.
#[inline(never)]
fn send(ended: &Ended, at: Nanos) {
    emit::emit(
        at,
        LongCallback {
            since: ended.since,
            busy: ended.busy,
            ticks: ended.ticks,
            async_id: ended.resource.id,
            trigger_async_id: ended.trigger,
            kind: ended.resource.kind,
            reserved: 0,
        },
    );
}

#[inline(always)]
fn ran_microtasks() -> Option<()> {
    let (pid, tid) = emit::current();
    // SAFETY: only this thread's programs write this entry, one after the other.
    let begun = *unsafe { MICROTASKS.get(tid) }?;
    let _ = MICROTASKS.remove(tid);
    let since = callbacks_since();
    if since.0 == 0 || begun.0 < since.0 {
        return None;
    }
    let time = now().0.saturating_sub(begun.0);
    count_time(pid, CallbackKind::MICROTASKS, CallbackTime::BUSY, time);
    Some(())
}

#[inline(never)]
fn count_time(pid: Pid, kind: CallbackKind, what: CallbackTime, time: u64) {
    let key = CallbackKey {
        pid,
        kind,
        what,
        reserved: 0,
    };
    if let Some(row) = Callbacks::row(&key) {
        // SAFETY: a row of a map.
        unsafe { record(row, Nanos(time)) }
    }
}

/// Says in which callback a sampled thread is.
#[inline(always)]
pub(super) fn tell(tid: Tid, sample: &mut CpuSample) {
    let since = callbacks_since();
    if since.0 != 0
        && let Some(top) = scopes(tid).and_then(|scopes| scopes.top())
        && top.since.0 >= since.0
    {
        sample.callback = if top.resource.is_set == 0 {
            CallbackKind::NONE.number + 1
        } else {
            top.resource.kind.number + 1
        };
    }
}

#[inline(always)]
fn scopes(tid: Tid) -> Option<&'static mut Scopes> {
    // SAFETY: the verifier has checked the pointer; only the thread itself uses its row.
    SCOPES.get_ptr_mut(tid).map(|row| unsafe { &mut *row })
}

#[inline(always)]
fn scopes_or_new(tid: Tid) -> Option<&'static mut Scopes> {
    if let Some(scopes) = scopes(tid) {
        return Some(scopes);
    }
    if SCOPES.insert(tid, zeros::<Scopes>()?, 0).is_err() {
        count::lost(LossReason::NODE_TABLE_FULL);
    }
    scopes(tid)
}
