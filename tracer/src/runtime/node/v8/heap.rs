//! Objects in the heap of V8. Every pointer may be garbage, and what it points at may be moved while it is read: nothing
//! is taken for an object of some type before its map says so, and the work for one question is bounded.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
};

use super::layout::Layout;
use crate::runtime::memory::Memory;

/// Reads for one frame.
const READS: u32 = 2_000;
/// Bytes read for one frame.
const BYTES: usize = 32 << 20;
/// Characters of a script's source that are read at most.
const SOURCE: usize = 16 << 20;
/// Strings in strings.
const DEPTH: u32 = 12;
/// Maps whose type is remembered; those of the types that are asked for are few and never move.
const MAPS: usize = 64;

/// The address of an object, without its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Object(pub(super) u64);

impl Object {
    /// The object a word points at; `None` when the word is no (strong) pointer.
    pub(super) fn of(word: u64) -> Option<Self> {
        (word & 3 == 1 && (1 << 12..1 << 56).contains(&word)).then(|| Self(word - 1))
    }

    /// The same of a word that is a weak pointer.
    pub(super) fn weakly(word: u64) -> Option<Self> {
        if word & 3 != 3 {
            return None;
        }
        Self::of(word - 2)
    }
}

/// A small integer.
pub(super) fn small(word: u64) -> Option<i32> {
    (word & 0xffff_ffff == 0).then_some((word >> 32) as i32)
}

/// What a string holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Latin-1.
    One(Vec<u8>),
    /// UTF-16.
    Two(Vec<u16>),
}

impl Content {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::One(bytes) => bytes.len(),
            Self::Two(units) => units.len(),
        }
    }

    pub(super) fn text(&self) -> String {
        match self {
            Self::One(bytes) => bytes.iter().map(|&byte| char::from(byte)).collect(),
            Self::Two(units) => String::from_utf16_lossy(units),
        }
    }

    fn part(self, start: usize, length: usize) -> Option<Self> {
        let end = start.checked_add(length)?;
        Some(match self {
            Self::One(bytes) => Self::One(bytes.get(start..end)?.to_vec()),
            Self::Two(units) => Self::Two(units.get(start..end)?.to_vec()),
        })
    }

    fn then(self, other: Self) -> Self {
        let wide = |content: Self| match content {
            Self::One(bytes) => bytes.into_iter().map(u16::from).collect(),
            Self::Two(units) => units,
        };
        match (self, other) {
            (Self::One(mut a), Self::One(b)) => {
                a.extend(b);
                Self::One(a)
            }
            (a, b) => {
                let mut units: Vec<u16> = wide(a);
                units.extend(wide(b));
                Self::Two(units)
            }
        }
    }
}

/// Types of maps that were asked for.
pub(super) type Maps = RefCell<HashMap<u64, u16>>;

/// Reads objects.
pub(super) struct Heap<'a> {
    memory: &'a dyn Memory,
    pub(super) layout: &'a Layout,
    maps: &'a Maps,
    left: Cell<u32>,
    bytes_left: Cell<usize>,
}

impl<'a> Heap<'a> {
    pub(super) fn new(memory: &'a dyn Memory, layout: &'a Layout, maps: &'a Maps) -> Self {
        Self {
            memory,
            layout,
            maps,
            left: Cell::new(READS),
            bytes_left: Cell::new(BYTES),
        }
    }

    /// True when this frame has had its share of work.
    pub(super) fn is_spent(&self) -> bool {
        self.left.get() == 0
    }

    fn fill(&self, address: u64, buffer: &mut [u8]) -> Option<()> {
        self.left.set(self.left.get().checked_sub(1)?);
        let bytes_left = self.bytes_left.get().checked_sub(buffer.len())?;
        self.bytes_left.set(bytes_left);
        self.memory.read(address, buffer).then_some(())
    }

    pub(super) fn bytes(&self, address: u64, size: usize) -> Option<Vec<u8>> {
        if size > self.bytes_left.get() {
            return None;
        }
        let mut bytes = vec![0; size];
        self.fill(address, &mut bytes)?;
        Some(bytes)
    }

    /// The first `N` words of an object.
    pub(super) fn words<const N: usize>(&self, object: Object) -> Option<[u64; N]> {
        let mut bytes = [[0; 8]; N];
        self.fill(object.0, bytes.as_flattened_mut())?;
        Some(bytes.map(u64::from_le_bytes))
    }

    pub(super) fn word(&self, object: Object, offset: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.fill(object.0.checked_add(offset)?, &mut bytes)?;
        Some(u64::from_le_bytes(bytes))
    }

    pub(super) fn int(&self, object: Object, offset: u64) -> Option<u32> {
        let mut bytes = [0; 4];
        self.fill(object.0.checked_add(offset)?, &mut bytes)?;
        Some(u32::from_le_bytes(bytes))
    }

    /// The type of an object whose first word is `map`.
    pub(super) fn type_of(&self, map: u64) -> Option<u16> {
        let at = Object::of(map)?.0.checked_add(self.layout.map_type)?;
        let mut bytes = [0; 2];
        self.fill(at, &mut bytes)?;
        Some(u16::from_le_bytes(bytes))
    }

    /// True when the first word of an object says that it is of this type.
    pub(super) fn says(&self, map: u64, kind: u16) -> bool {
        if kind == 0 {
            return false;
        }
        if self.maps.borrow().get(&map) == Some(&kind) {
            return true;
        }
        let is = self.type_of(map) == Some(kind);
        let mut maps = self.maps.borrow_mut();
        if is && maps.len() < MAPS {
            maps.insert(map, kind);
        }
        is
    }

    /// True when the object is of this type.
    pub(super) fn is(&self, object: Object, kind: u16) -> bool {
        kind != 0 && self.word(object, 0).is_some_and(|map| self.says(map, kind))
    }

    /// The object at `offset`, when it is of this type.
    pub(super) fn member(&self, object: Object, offset: u64, kind: u16) -> Option<Object> {
        let found = Object::of(self.word(object, offset)?)?;
        self.is(found, kind).then_some(found)
    }

    /// The content of an array of bytes.
    pub(super) fn byte_array(&self, object: Object) -> Option<Vec<u8>> {
        const LONGEST: usize = 1 << 20;
        let types = &self.layout.types;
        let [map, length] = self.words(object)?;
        if !self.says(map, types.byte_array) && !self.says(map, types.trusted_byte_array) {
            return None;
        }
        let length = usize::try_from(small(length)?).ok()?;
        (length <= LONGEST).then(|| self.bytes(object.0 + 16, length))?
    }

    /// The element of an array of tagged words, whatever kind of array it is.
    pub(super) fn element(&self, array: Object, index: u64) -> Option<u64> {
        let length = u64::try_from(small(self.word(array, 8)?)?).ok()?;
        if index >= length || index > 1 << 24 {
            return None;
        }
        self.word(array, 16 + 8 * index)
    }

    /// The text of a string of at most `longest` characters.
    pub(super) fn text(&self, object: Object, longest: usize) -> Option<String> {
        Some(self.string(object, longest, 0)?.text())
    }

    /// What a script's source holds.
    pub(super) fn source(&self, object: Object) -> Option<Content> {
        self.string(object, SOURCE, 0)
    }

    /// <https://github.com/v8/v8/blob/11.3.244/src/objects/instance-type.h>
    fn string(&self, object: Object, longest: usize, depth: u32) -> Option<Content> {
        const NOT_STRING: u16 = 0xff80;
        const ONE_BYTE: u16 = 8;
        const UNCACHED: u16 = 16;
        let [map, length, first, second] = self.words(object)?;
        let kind = self.type_of(map)?;
        let length = usize::try_from(length >> 32).ok()?;
        if kind & NOT_STRING != 0 || length > longest || depth > DEPTH {
            return None;
        }
        let one_byte = kind & ONE_BYTE != 0;
        let content = match kind & 7 {
            0 => self.characters(object.0 + 16, length, one_byte),
            1 => {
                let part = |word| self.string(Object::of(word)?, longest, depth + 1);
                let (first, second) = (part(first)?, part(second)?);
                // What is joined twice over cannot be longer than it says.
                (first.len() + second.len() == length).then(|| first.then(second))
            }
            2 if kind & UNCACHED == 0 => self.characters(second, length, one_byte),
            3 => {
                let start = usize::try_from(small(second)?).ok()?;
                let whole = self.string(Object::of(first)?, SOURCE, depth + 1)?;
                whole.part(start, length)
            }
            5 => self.string(Object::of(first)?, longest, depth + 1),
            _ => None,
        }?;
        (content.len() == length).then_some(content)
    }

    fn characters(&self, address: u64, length: usize, one_byte: bool) -> Option<Content> {
        if one_byte {
            return Some(Content::One(self.bytes(address, length)?));
        }
        let bytes = self.bytes(address, length.checked_mul(2)?)?;
        let units = bytes.as_chunks::<2>().0.iter();
        Some(Content::Two(
            units.map(|&unit| u16::from_le_bytes(unit)).collect(),
        ))
    }
}
