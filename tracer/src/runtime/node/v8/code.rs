//! Machine code V8 made of functions.

use super::{
    heap::{Heap, Object, small},
    position,
};

/// Slots of a function's feedback that are looked at for its code.
const SLOTS: usize = 512;

/// How the code of a function came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Bytecode, interpreted (Ignition).
    Interpreted,
    /// Compiled bytecode by bytecode (Sparkplug).
    Baseline,
    /// Optimised quickly (Maglev).
    Maglev,
    /// Optimised (TurboFan).
    Turbofan,
    /// Not found out.
    Unknown,
}

impl Kind {
    /// As people call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Interpreted => "[interpreted]",
            Self::Baseline => "[baseline]",
            Self::Maglev => "[maglev]",
            Self::Turbofan => "[turbofan]",
            Self::Unknown => "[javascript]",
        }
    }
}

/// Code of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Code {
    pub(super) object: Object,
    pub(super) kind: Kind,
    pub(super) start: u64,
    size: u64,
    deopt: u64,
    positions: u64,
}

impl Code {
    /// The code at `object`, when it is that of a function.
    pub(super) fn read(heap: &Heap<'_>, object: Object) -> Option<Self> {
        const LARGEST: u64 = 64 << 20;
        let layout = heap.layout;
        let words: [u64; 8] = heap.words(object)?;
        if !heap.says(words[0], layout.types.code) {
            return None;
        }
        let word = |offset: u64| words.get(usize::try_from(offset / 8).ok()?).copied();
        let int = |offset: u64| {
            let word = word(offset)?;
            Some(if offset.is_multiple_of(8) {
                word as u32
            } else {
                (word >> 32) as u32
            })
        };
        let start = if layout.is_inline {
            object.0.checked_add(layout.code_start)?
        } else {
            word(layout.code_start)?
        };
        let size = u64::from(int(layout.code_size)?);
        let number = int(layout.code_flags)? >> layout.kind_shift.min(31) & layout.kind_mask;
        let kind = match number.checked_sub(layout.kind_baseline)? {
            0 => Kind::Baseline,
            1 => Kind::Maglev,
            2 => Kind::Turbofan,
            _ => return None,
        };
        let is_sound = size <= LARGEST && start.checked_add(size).is_some();
        is_sound.then_some(Self {
            object,
            kind,
            start,
            size,
            deopt: word(layout.code_deopt)?,
            positions: word(layout.code_positions)?,
        })
    }

    pub(super) fn has(&self, address: u64) -> bool {
        (self.start..self.start + self.size).contains(&address)
    }

    /// Its table of places in the source; for baseline code, of bytecodes.
    pub(super) fn table(&self, heap: &Heap<'_>) -> Option<Vec<u8>> {
        heap.byte_array(Object::of(self.positions)?)
    }

    /// The functions the instruction at `address` is of, innermost first, each with its place in the source; `None` in
    /// place of a function is the code's own.
    pub(super) fn inlined(
        &self,
        heap: &Heap<'_>,
        address: u64,
    ) -> Option<Vec<(Option<Object>, Option<u32>)>> {
        /// TurboFan and Maglev stop far earlier.
        const DEEPEST: usize = 32;
        let at = i64::try_from(address.checked_sub(self.start)?).ok()?;
        let mut position = position::look_up(heap.layout.encoding, &self.table(heap)?, at)?;
        let mut found = Vec::new();
        let mut tables = None;
        while let Some(index) = position.inlining() {
            if found.len() >= DEEPEST {
                return None;
            }
            let (places, literals) = match &tables {
                Some(tables) => tables,
                None => tables.insert(self.inlining_tables(heap)?),
            };
            let entry = places.get(index.checked_mul(16)?..)?.get(..16)?;
            let (outer, function) = entry.split_at(8);
            let function = i32::from_le_bytes(function.get(..4)?.try_into().ok()?);
            let function = match u64::try_from(function) {
                // A function of which only the code is known: not one we could name.
                Err(_) => return None,
                Ok(index) => heap.element(*literals, index)?,
            };
            let function = Object::of(function).or_else(|| Object::weakly(function))?;
            found.push((Some(function), position.offset()));
            position = position::Position(u64::from_le_bytes(outer.try_into().ok()?));
        }
        found.push((None, position.offset()));
        Some(found)
    }

    fn inlining_tables(&self, heap: &Heap<'_>) -> Option<(Vec<u8>, Object)> {
        let deopt = Object::of(self.deopt)?;
        let array = |index| Object::of(heap.element(deopt, index)?);
        let places = heap.byte_array(array(heap.layout.inlinings)?)?;
        Some((places, array(heap.layout.literals)?))
    }
}

/// Code that has `address`, among what a function's feedback points at. First of all that is code that took over in the
/// middle of a loop (on-stack replacement).
pub(super) fn in_feedback(heap: &Heap<'_>, cell: u64, address: Option<u64>) -> Option<Code> {
    let types = &heap.layout.types;
    let cell = Object::of(cell)?;
    if !heap.is(cell, types.feedback_cell) {
        return None;
    }
    let vector = heap.member(cell, 8, types.feedback_vector)?;
    let length = heap.int(vector, 8)?;
    let slots = usize::try_from(length).ok()?.min(SLOTS) + 8;
    // It may end at the end of what is mapped.
    let bytes = (heap.bytes(vector.0 + 8, 8 * slots))
        .or_else(|| heap.bytes(vector.0 + 8, 8 * slots.saturating_sub(8)))?;
    for word in bytes.as_chunks::<8>().0 {
        let Some(object) = Object::weakly(u64::from_le_bytes(*word)) else {
            continue;
        };
        let Some(map) = heap.word(object, 0) else {
            continue;
        };
        let object = if heap.says(map, types.code_wrapper) {
            heap.word(object, 8).and_then(Object::of)
        } else {
            heap.says(map, types.code).then_some(object)
        };
        let code = object.and_then(|object| Code::read(heap, object));
        if let Some(code) = code
            && address.is_none_or(|address| code.has(address))
        {
            return Some(code);
        }
    }
    None
}

/// A place in the bytecode, as an interpreted frame keeps it.
pub(super) fn interpreted_at(heap: &Heap<'_>, word: u64) -> Option<usize> {
    // From the tagged pointer on.
    let offset = i64::from(small(word)?) - i64::try_from(heap.layout.bytecode_data).ok()? + 1;
    usize::try_from(offset).ok()
}
