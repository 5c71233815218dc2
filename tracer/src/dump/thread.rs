//! Which thread runs which task: tokio keeps the id in thread-local memory, which lies at a fixed distance from the
//! thread pointer. From outside that register cannot be read without stopping the thread, but the C library's record
//! of a thread is where it points to, and is easily told: it begins with its own address and has the thread's number.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
};

use tracer_common::{Pid, Tid};

use crate::{
    runtime::memory::Memory,
    target::{mapping, process},
};

/// Bytes looked at where a record may be.
const WINDOW: u64 = 64 << 10;
/// A mapping with nothing but a thread's record in it is small.
const SMALL: u64 = 1 << 20;
/// Mappings looked into.
const MOST: usize = 4_096;
/// Where the record has the thread's number, and whether it has its own address at 16 again.
const RECORDS: &[(usize, bool)] = &[
    // https://sourceware.org/git/?p=glibc.git;a=blob;f=nptl/descr.h (struct pthread, tid: after a header of 704 bytes
    // and the links of a list)
    (0x2d0, true),
    // https://git.musl-libc.org/cgit/musl/tree/src/internal/pthread_impl.h (struct pthread, tid)
    (0x30, false),
];

/// The threads that run tasks, by the task's id. `places`: where a thread may have the id, from its thread pointer on.
pub(super) fn running(
    pid: Pid,
    memory: &impl Memory,
    places: &[i64],
    is_running: impl Fn(u64) -> bool,
) -> HashMap<u64, Tid> {
    let pointers = if places.is_empty() {
        HashMap::new()
    } else {
        pointers(pid, memory)
    };
    let mut best = HashMap::new();
    for place in places {
        let mut found = HashMap::new();
        let mut is_unique = true;
        for (&tid, pointer) in &pointers {
            let id = pointer.checked_add_signed(*place);
            let id = id.and_then(|at| memory.word(at));
            if let Some(id) = id.filter(|id| is_running(*id)) {
                is_unique &= found.insert(id, tid).is_none();
            }
        }
        // One task on two threads: it is something else that is read there.
        if is_unique && found.len() > best.len() {
            best = found;
        }
    }
    best
}

/// The thread pointers that were found.
fn pointers(pid: Pid, memory: &impl Memory) -> HashMap<Tid, u64> {
    let threads = process::threads(pid);
    let own: HashMap<u32, Tid> = threads
        .iter()
        .map(|thread| {
            let own = process::own_tid(pid, thread.tid).unwrap_or(thread.tid.0);
            (own, thread.tid)
        })
        .collect();
    let mut pointers = HashMap::new();
    for part in places(pid) {
        for part in memory.resident(part) {
            look(memory, part, &own, &mut pointers);
        }
        if pointers.len() >= own.len() {
            break;
        }
    }
    pointers
}

/// Where records may be: at the end of a stack, in a small mapping of its own, at the begin of the heap.
fn places(pid: Pid) -> Vec<Range<u64>> {
    let mappings = mapping::of(pid);
    let mut places = Vec::new();
    let mut seen = HashSet::new();
    for (index, mapping) in mappings.iter().enumerate() {
        let is_plain = mapping.path.is_empty() || mapping.path.starts_with("[anon:");
        let is_heap = &*mapping.path == "[heap]";
        if !mapping.writable || !(is_plain || is_heap) || places.len() >= MOST {
            continue;
        }
        let before = index.checked_sub(1).and_then(|at| mappings.get(at));
        let is_guarded = before
            .is_some_and(|guard| !guard.readable && !guard.writable && guard.end == mapping.start);
        let place = if is_heap {
            mapping.start..mapping.end.min(mapping.start + WINDOW)
        } else if mapping.end - mapping.start <= SMALL {
            mapping.start..mapping.end
        } else if is_guarded {
            mapping.end.saturating_sub(WINDOW).max(mapping.start)..mapping.end
        } else {
            continue;
        };
        if seen.insert(place.start) {
            places.push(place);
        }
    }
    places
}

fn look(
    memory: &impl Memory,
    part: Range<u64>,
    own: &HashMap<u32, Tid>,
    pointers: &mut HashMap<Tid, u64>,
) {
    let size = usize::try_from(part.end.saturating_sub(part.start)).unwrap_or(0);
    let mut bytes = vec![0; size];
    if !memory.read(part.start, &mut bytes) {
        return;
    }
    let word = |at: usize| {
        let bytes = bytes.get(at..at.checked_add(8)?)?;
        bytes.try_into().ok().map(u64::from_le_bytes)
    };
    for (address, at) in (part.start..part.end).zip(0..size).step_by(16) {
        if word(at) != Some(address) {
            continue;
        }
        for (tid, twice) in RECORDS {
            // A number of 32 bits.
            let number = word(at.saturating_add(*tid)).map(|word| word as u32);
            let thread = number.and_then(|number| own.get(&number));
            if let Some(thread) = thread
                && (!twice || word(at.saturating_add(16)) == Some(address))
            {
                pointers.insert(*thread, address);
            }
        }
    }
}
