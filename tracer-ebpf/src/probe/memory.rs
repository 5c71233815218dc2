//! Memory asked for and given back, in bytes, and now and then from where.

use aya_ebpf::{
    EbpfContext,
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{HashMap, LruHashMap},
};
use tracer_common::{
    Pid,
    config::CallKind,
    event::{Mapped, Unmapped},
    stack::StackId,
    table::{MemoryCall, MemoryCalls, MemoryKey},
};

use super::{Returned, now};
use crate::{
    emit,
    setting::setting,
    shared::{Rows as _, add},
    stack,
};

/// Mappings of which a `Mapped` told: address and process to bytes. When it is full, the end of a mapping is not told.
#[map]
static MAPPED: HashMap<[u64; 2], u64> = HashMap::with_max_entries(8192, BPF_F_NO_PREALLOC);

/// The ends of the heaps, by process: `brk` says where it ends now, not by how much it moved. The agent puts those of
/// running processes in. The least recently used go first.
#[map]
static BREAKS: LruHashMap<Pid, u64> = LruHashMap::with_max_entries(8192, 0);

/// A new process has its parent's heap.
#[inline(always)]
pub(super) fn inherit_break(parent: Pid, child: Pid) {
    // SAFETY: a plain word is copied out.
    if let Some(end) = unsafe { BREAKS.get(parent) }.copied() {
        // Cannot fail for lack of room.
        let _ = BREAKS.insert(child, end, 0);
    }
}

/// Another program has another heap.
#[inline(always)]
pub(super) fn forget_break(pid: Pid) {
    // An error means that there is none.
    let _ = BREAKS.remove(pid);
}

/// Counts one return of a memory call.
#[inline(always)]
pub(super) fn returned<C: EbpfContext>(
    context: &C,
    kind: CallKind,
    with: &mut Returned<'_>,
) -> Option<()> {
    const MADV_DONTNEED: u64 = 4;
    const MADV_FREE: u64 = 8;
    if setting!(memory) == 0 || (with.result < 0 && with.result >= -4095) {
        return None;
    }
    let [first, second, third, _] = with.registers.arguments().0;
    let result = with.result as u64;
    let (what, address, bytes) = if kind == CallKind::MAP {
        (MemoryCall::MAP, result, whole_pages(second))
    } else if kind == CallKind::UNMAP {
        (MemoryCall::UNMAP, first, whole_pages(second))
    } else if kind == CallKind::REMAP {
        let (old, new) = (whole_pages(second), whole_pages(third));
        if new >= old {
            (MemoryCall::REMAP_GROW, result, new - old)
        } else {
            (MemoryCall::REMAP_SHRINK, result, old - new)
        }
    } else if kind == CallKind::BRK {
        // SAFETY: a plain word is copied out.
        let before = unsafe { BREAKS.get(with.pid) }.copied().unwrap_or(result);
        // Cannot fail for lack of room.
        let _ = BREAKS.insert(with.pid, result, 0);
        if result == before {
            return None;
        } else if result > before {
            (MemoryCall::BRK_GROW, before, result - before)
        } else {
            (MemoryCall::BRK_SHRINK, result, before - result)
        }
    } else {
        if third != MADV_DONTNEED && third != MADV_FREE {
            return None;
        }
        (MemoryCall::GIVE_BACK, first, second)
    };
    let pid = with.pid;
    let row = MemoryCalls::row(&MemoryKey { pid, what })?;
    // SAFETY: a row of a map.
    unsafe {
        add(&raw mut (*row).calls, 1);
        add(&raw mut (*row).bytes, bytes);
    }
    if what == MemoryCall::UNMAP {
        return unmapped(pid, address);
    }
    if what == MemoryCall::MAP || what == MemoryCall::REMAP_GROW || what == MemoryCall::BRK_GROW {
        let weight = with.row.unsent_bytes + bytes;
        // What may not be sent now is a part of what the next one stands for.
        if weight < setting!(bytes_per_stack) || !stack::may_send_memory(now()) {
            with.row.unsent_bytes = weight;
            return None;
        }
        with.row.unsent_bytes = 0;
        if what == MemoryCall::MAP {
            // Full: then the end of this mapping is not told, and it counts as still mapped.
            let _ = MAPPED.insert([u64::from(pid.0), address], bytes, 0);
        }
        let mapped = Mapped {
            address,
            bytes,
            weight,
            stack: StackId::NONE,
            what: what.number,
        };
        emit::emit_with_stacks(now(), mapped, |tail| {
            // SAFETY: the tail of a reserved entry.
            unsafe { stack::first_user(context, tail) }
        });
    }
    Some(())
}

#[inline(always)]
fn unmapped(pid: Pid, address: u64) -> Option<()> {
    let key = [u64::from(pid.0), address];
    // SAFETY: a value is written once, when it is inserted.
    let bytes = *unsafe { MAPPED.get(key) }?;
    // An error means that another thread was faster.
    let _ = MAPPED.remove(key);
    emit::emit(now(), Unmapped { address, bytes });
    Some(())
}

/// The kernel rounds lengths up.
#[inline(always)]
fn whole_pages(bytes: u64) -> u64 {
    bytes.wrapping_add(4095) & !4095
}
