//! Garbage collections, at V8's own function in the target.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    macros::{map, uprobe, uretprobe},
    maps::HashMap,
    programs::{ProbeContext, RetProbeContext},
};
use tracer_common::{
    LossReason, Nanos, Tid,
    table::{CollectionKey, Collections, Collector},
};

use super::now;
use crate::{
    count, emit,
    function::cookie,
    shared::{Rows, record},
};

/// Since when a thread stands still, and for which kind of collection.
#[derive(Clone, Copy)]
#[repr(C)]
struct Begun {
    at: Nanos,
    kind: u64,
}

/// The collections that go on, by thread. One does not begin inside another.
#[map]
static COLLECTING: HashMap<Tid, Begun> = HashMap::with_max_entries(1_024, BPF_F_NO_PREALLOC);

/// The entry of `Heap::PerformGarbageCollection(GarbageCollector, …)`. Where the compiler dropped that argument the
/// cookie says so.
#[uprobe]
pub(crate) fn collection(ctx: ProbeContext) -> u32 {
    let _ = begun(&ctx);
    0
}

/// The entry of what does it, where the first does not tell which: the cookie is the kind.
#[uprobe]
pub(crate) fn collection_kind(ctx: ProbeContext) -> u32 {
    let (_, tid) = emit::current();
    if let Some(begun) = COLLECTING.get_ptr_mut(tid) {
        // SAFETY: only this thread's programs write this entry, one after the other.
        unsafe {
            if (*begun).kind == u64::from(Collector::UNKNOWN.number) {
                (*begun).kind = cookie(&ctx);
            }
        }
    }
    0
}

/// Its return.
#[uretprobe]
pub(crate) fn collection_return(ctx: RetProbeContext) -> u32 {
    let _ = ended(&ctx);
    0
}

#[inline(always)]
fn begun(ctx: &ProbeContext) -> Option<()> {
    let at = now();
    let (_, tid) = emit::current();
    let has_kind = cookie(ctx) != 0;
    let kind = if has_kind {
        ctx.arg::<u64>(1)? & 0xffff_ffff
    } else {
        u64::from(Collector::UNKNOWN.number)
    };
    if COLLECTING.insert(tid, Begun { at, kind }, 0).is_err() {
        count::lost(LossReason::NODE_TABLE_FULL);
    }
    Some(())
}

#[inline(always)]
fn ended(_: &RetProbeContext) -> Option<()> {
    let at = now();
    let (pid, tid) = emit::current();
    // SAFETY: only this thread's programs write this entry, one after the other.
    let Begun { at: since, kind } = *unsafe { COLLECTING.get(tid) }?;
    let _ = COLLECTING.remove(tid);
    let key = CollectionKey {
        pid,
        tid,
        kind: Collector {
            number: kind as u32,
        },
        reserved: 0,
    };
    let row = Collections::row(&key)?;
    // SAFETY: a row of a map.
    unsafe { record(row, Nanos(at.0.saturating_sub(since.0))) }
    Some(())
}
