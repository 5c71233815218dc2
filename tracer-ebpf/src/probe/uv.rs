//! Work for libuv's thread pool: handed in, begun, ended.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    helpers::bpf_probe_read_user,
    macros::{map, uprobe, uretprobe},
    maps::HashMap,
    programs::{ProbeContext, RetProbeContext},
};
use tracer_common::{
    LossReason, Nanos, Pid, Tid,
    table::{Image, WorkKey, WorkKind, WorkPoolKey, WorkPools, WorkTime, Works},
    task::seen,
};

use super::now;
use crate::{
    count, emit,
    function::{cookie, see},
    setting::works_since,
    shared::{Rows, add, record},
};

/// Work, by where its `uv__work` is.
#[derive(Clone, Copy)]
#[repr(C)]
struct WorkAt {
    address: u64,
    pid: Pid,
    reserved: u32,
}

/// Work that a thread does.
#[derive(Clone, Copy)]
#[repr(C)]
struct Doing {
    vtable: u64,
    since: Nanos,
    kind: WorkKind,
    /// 1 when it was seen to be handed in.
    is_known: u32,
}

/// When work was handed in that has not begun.
#[map]
static WAITING: HashMap<WorkAt, Nanos> = HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);

/// Where each target's Node is: what is taken for the vtable of an object of its own points there.
#[map]
static IMAGES: HashMap<Pid, Image> = HashMap::with_max_entries(1_024, BPF_F_NO_PREALLOC);

/// What the threads of pools do.
#[map]
static DOING: HashMap<Tid, Doing> = HashMap::with_max_entries(8_192, BPF_F_NO_PREALLOC);

// Distances from a request to its `uv__work`, and what is where beside it, the same in libuv 1.44 to 1.51 on x86-64
// (<https://github.com/libuv/libuv/blob/v1.48.0/include/uv/unix.h>).
/// `work_req` in `uv_work_t`.
const IN_WORK: u64 = 88;
/// `work_req` in `uv_fs_t`, and `fs_type`.
const IN_FS: u64 = 336;
const FS_TYPE: u64 = 64;
/// `work_req_` in Node's `ThreadPoolWork`, whose first word is its vtable: the request follows another pointer.
const IN_POOL_WORK: u64 = 16;

/// The entry of `uv__work_submit(loop, work, …)`, or of `uv_queue_work(loop, request, …)`, which has the former inlined:
/// the cookie is how far the work is from the second argument.
#[uprobe]
pub(crate) fn work_submit(ctx: ProbeContext) -> u32 {
    let _ = submitted(&ctx);
    0
}

/// The entry of a function that does work, with the work as its argument: the cookie is its kind.
#[uprobe]
pub(crate) fn work(ctx: ProbeContext) -> u32 {
    let _ = begun(&ctx);
    0
}

/// Its return.
#[uretprobe]
pub(crate) fn work_return(ctx: RetProbeContext) -> u32 {
    let _ = ended();
    let _ = ctx;
    0
}

#[inline(always)]
fn submitted(ctx: &ProbeContext) -> Option<()> {
    let at = now();
    let (pid, _) = emit::current();
    if works_since().0 == 0 {
        see(seen::UNWATCHED_WORKS);
        return None;
    }
    see(seen::WORKS);
    let address = ctx.arg::<u64>(1)?.wrapping_add(cookie(ctx));
    let key = WorkAt {
        address,
        pid,
        reserved: 0,
    };
    if WAITING.insert(key, at, 0).is_err() {
        count::lost(LossReason::NODE_TABLE_FULL);
        return None;
    }
    let row = WorkPools::row(&WorkPoolKey { pid, tid: Tid(0) })?;
    // SAFETY: a row of a map.
    unsafe { add(&raw mut (*row).submitted, 1) }
    Some(())
}

#[inline(always)]
fn begun(ctx: &ProbeContext) -> Option<()> {
    let at = now();
    let (pid, tid) = emit::current();
    let since = works_since();
    if since.0 == 0 {
        return None;
    }
    let address: u64 = ctx.arg(0)?;
    let (kind, vtable) = kind_of(pid, cookie(ctx), address);
    if kind.number == WorkKind::QUEUED.number {
        see(seen::QUEUED_WORKS);
    }
    let key = WorkAt {
        address,
        pid,
        reserved: 0,
    };
    // SAFETY: one entry is written once, before its work can begin.
    let handed_in = unsafe { WAITING.get(key) }.copied();
    let _ = WAITING.remove(key);
    let handed_in = handed_in.filter(|handed_in| handed_in.0 >= since.0);
    let doing = Doing {
        vtable,
        since: at,
        kind,
        is_known: u32::from(handed_in.is_some()),
    };
    if DOING.insert(tid, doing, 0).is_err() {
        count::lost(LossReason::NODE_TABLE_FULL);
    }
    let handed_in = handed_in?;
    let key = WorkKey {
        vtable,
        pid,
        kind,
        what: WorkTime::QUEUED,
        reserved: 0,
    };
    count_time(&key, handed_in, at);
    let row = WorkPools::row(&WorkPoolKey { pid, tid })?;
    // SAFETY: a row of a map.
    unsafe { add(&raw mut (*row).begun, 1) }
    Some(())
}

#[inline(always)]
fn ended() -> Option<()> {
    let at = now();
    let (pid, tid) = emit::current();
    // SAFETY: only this thread's programs write this entry, one after the other.
    let doing = *unsafe { DOING.get(tid) }?;
    let _ = DOING.remove(tid);
    let since = works_since();
    if since.0 == 0 || doing.since.0 < since.0 {
        return None;
    }
    let key = WorkKey {
        vtable: doing.vtable,
        pid,
        kind: doing.kind,
        what: WorkTime::RUN,
        reserved: 0,
    };
    count_time(&key, doing.since, at);
    if doing.is_known == 0 {
        return None;
    }
    let row = WorkPools::row(&WorkPoolKey { pid, tid })?;
    // SAFETY: a row of a map.
    unsafe { add(&raw mut (*row).ended, 1) }
    Some(())
}

/// What kind of work it is, and whose.
#[inline(always)]
fn kind_of(pid: Pid, cookie: u64, address: u64) -> (WorkKind, u64) {
    let number = cookie as u32;
    if number == WorkKind::FS {
        let at = address.wrapping_sub(IN_FS).wrapping_add(FS_TYPE);
        // SAFETY: the helper checks the address.
        let operation = unsafe { bpf_probe_read_user(at as *const u32) }.unwrap_or(0xff);
        let number = WorkKind::FS + (operation & 0xff);
        return (WorkKind { number }, 0);
    }
    if number != WorkKind::QUEUED.number {
        return (WorkKind { number }, 0);
    }
    let at = address.wrapping_sub(IN_WORK).wrapping_sub(IN_POOL_WORK);
    // SAFETY: as above.
    let vtable = unsafe { bpf_probe_read_user(at as *const u64) }.unwrap_or(0);
    // What an addon queues by itself has something else there.
    // SAFETY: the entry is written once, before the first probe is attached.
    let image = unsafe { IMAGES.get(pid) };
    let is_own = image.is_some_and(|image| image.from <= vtable && vtable < image.to);
    (WorkKind::QUEUED, if is_own { vtable } else { 0 })
}

#[inline(never)]
fn count_time(key: &WorkKey, from: Nanos, to: Nanos) {
    if let Some(row) = Works::row(key) {
        // SAFETY: a row of a map.
        unsafe { record(row, Nanos(to.0.saturating_sub(from.0))) }
    }
}
