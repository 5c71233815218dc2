//! The table through which functions find their code, from V8 13.6 on: a function has a handle in place of a pointer.
//!
//! Where the table is no symbol tells. It is one of the anonymous mappings, and it is the one where the handle of a
//! function leads to an entry whose instructions begin where its code object says they do.
//!
//! <https://github.com/v8/v8/blob/13.6.233/src/sandbox/js-dispatch-table.h>

use super::{
    code::Code,
    heap::{Heap, Object},
};

/// Mappings that are tried for one handle.
const MAPPINGS: usize = 400;
/// Handles with which the table is looked for.
const TRIES: u32 = 32;
/// Bits of a handle that are no part of the index: the table is 256 or 128 MiB large.
const SHIFTS: [u32; 2] = [8, 9];

/// Where the table is.
#[derive(Debug, Default)]
pub(super) struct Dispatch {
    found: Option<(u64, u32)>,
    tries: u32,
}

impl Dispatch {
    /// Looks for the table, unless it was found, or often not found.
    pub(super) fn find(&mut self, heap: &Heap<'_>, mappings: &[u64], handle: u64) {
        if self.found.is_some() || self.tries >= TRIES || handle as u32 == 0 {
            return;
        }
        self.tries += 1;
        let bases = mappings.iter().take(MAPPINGS);
        let mut places = bases.flat_map(|&base| SHIFTS.map(|shift| (base, shift)));
        self.found = places.find(|&place| object_at(heap, place, handle).is_some());
    }

    /// The code of the function with this handle, when it is that of a function.
    pub(super) fn code(&self, heap: &Heap<'_>, handle: u64) -> Option<Code> {
        Code::read(heap, object_at(heap, self.found?, handle)?)
    }
}

/// The code object an entry names.
fn object_at(heap: &Heap<'_>, (base, shift): (u64, u32), handle: u64) -> Option<Object> {
    const ENTRY: u64 = 16;
    let index = u64::from(handle as u32 >> shift);
    let entry = heap.bytes(base.checked_add(index * ENTRY)?, 16)?;
    let (start, word) = entry.split_at(8);
    let start = u64::from_le_bytes(start.try_into().ok()?);
    let word = u64::from_le_bytes(word.try_into().ok()?);
    // Below the pointer is the number of parameters; the pointer's tag is used by the garbage collector.
    let object = Object::of(word >> 16 | 1)?;
    let is_code = heap.is(object, heap.layout.types.code);
    (is_code && start != 0 && heap.word(object, heap.layout.code_start) == Some(start))
        .then_some(object)
}
