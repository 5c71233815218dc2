//! Finds objects of V8 by their maps: an object's first word is its map, a map's first word is the map of maps, and that
//! one's first word is itself. So whatever has such a first word is an object, or was one.
//!
//! Before V8 12 there is one map of maps, later one more in each context; all of them are told by what they are.

use std::{collections::HashMap, ops::Range};

use tracer_common::Nanos;

use super::super::{heap::Object, layout::Layout};
use crate::{
    runtime::memory::Memory,
    target::{mapping::Mapping, sys},
};

/// Bytes read at once.
const CHUNK: usize = 1 << 20;
/// Words looked at together.
const BLOCK: usize = 64;
/// Objects of a kind that are kept.
const OBJECTS: usize = 2 << 20;
/// V8's pages are this large and aligned to it.
///
/// <https://github.com/v8/v8/blob/11.3.244/src/common/globals.h> (`kPageSizeBits`)
const PAGE: u64 = 256 << 10;
/// Flags of a page that are of the half of the young generation that is not in use, and of the half that is.
///
/// <https://github.com/v8/v8/blob/11.3.244/src/heap/basic-memory-chunk.h> (`FROM_PAGE`, `TO_PAGE`)
const UNUSED: u64 = 1 << 3;
const USED: u64 = 1 << 4;

/// What may be spent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) bytes: u64,
    /// A moment of the monotonic clock.
    pub(super) until: Nanos,
}

/// What a scan found. Whether it is what its map says the caller has to check.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Async functions and async generators.
    pub(super) generators: Vec<Object>,
    /// Promises that somebody waits for.
    pub(super) promises: Vec<Object>,
    /// Reactions of promises that are settled, which wait for their turn.
    pub(super) jobs: Vec<Object>,
    /// Bytes read.
    pub(super) read: u64,
    /// All memory was looked at, and everything found was kept.
    pub(super) is_whole: bool,
    /// The pages objects were found in, with their flags.
    pub(super) pages: HashMap<u64, u64>,
}

impl Found {
    /// True when V8 has collected the young generation since: the halves have changed their places.
    pub(super) fn has_moved(&self, memory: &dyn Memory, layout: &Layout) -> bool {
        self.pages.iter().any(|(page, flags)| {
            let now = memory.word(page + layout.page_flags).unwrap_or(0);
            (now ^ flags) & (USED | UNUSED) != 0
        })
    }
}

/// Where V8 may have objects: private memory of no file. That of objects that never change may not be written.
pub(super) fn regions(mappings: &[Mapping]) -> Vec<Range<u64>> {
    let is_heap = |mapping: &&Mapping| {
        let is_anonymous = mapping.path.is_empty() || mapping.path.starts_with("[anon:");
        mapping.readable && !mapping.executable && is_anonymous
    };
    let heap = mappings.iter().filter(is_heap);
    heap.map(|mapping| mapping.start..mapping.end).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Generator,
    Promise,
    Job,
}

pub(super) fn scan(
    memory: &dyn Memory,
    layout: &Layout,
    regions: &[Range<u64>],
    limits: Limits,
) -> Found {
    let mut maps = Maps {
        memory,
        layout,
        metas: HashMap::new(),
        found: HashMap::new(),
    };
    let mut found = Found::default();
    let first = each(memory, regions, limits, &mut |start, bytes| {
        maps.look(start, bytes);
    });
    let mut objects = Objects {
        memory,
        layout,
        near: vec![false; NEAR],
        maps: maps.found,
        found: &mut found,
        is_full: false,
    };
    for map in objects.maps.keys() {
        objects.near[near(*map)] = true;
    }
    let second = each(memory, regions, limits, &mut |start, bytes| {
        objects.look(start, bytes);
    });
    let is_full = objects.is_full;
    found.read = first.0 + second.0;
    found.is_whole = first.1 && second.1 && !is_full;
    found
}

/// Shows all memory of `regions` in chunks. Gives the bytes that were read and whether that is all.
fn each(
    memory: &dyn Memory,
    regions: &[Range<u64>],
    limits: Limits,
    look: &mut dyn FnMut(u64, &[u8]),
) -> (u64, bool) {
    /// Pages are asked for in parts of this size.
    const PART: usize = 64 * CHUNK;
    let mut buffer = vec![0; CHUNK];
    let mut read = 0;
    for region in regions {
        for start in region.clone().step_by(PART) {
            let part = start..region.end.min(start.saturating_add(PART as u64));
            if sys::monotonic() >= limits.until {
                return (read, false);
            }
            for resident in memory.resident(part) {
                for start in resident.clone().step_by(CHUNK) {
                    let size = resident.end.saturating_sub(start).min(CHUNK as u64);
                    if read + size > limits.bytes || sys::monotonic() >= limits.until {
                        return (read, false);
                    }
                    let size = usize::try_from(size).unwrap_or(0);
                    // What cannot be read was unmapped meanwhile.
                    if memory.read(start, &mut buffer[..size]) {
                        read += size as u64;
                        look(start, &buffer[..size]);
                    }
                }
            }
        }
    }
    (read, true)
}

/// The first pass: maps of the types that are wanted.
struct Maps<'a> {
    memory: &'a dyn Memory,
    layout: &'a Layout,
    /// Words that were seen where the map of maps would be.
    metas: HashMap<u64, bool>,
    found: HashMap<u64, What>,
}

impl Maps<'_> {
    fn look(&mut self, start: u64, bytes: &[u8]) {
        let types = &self.layout.types;
        let (function, generator) = (types.async_function, types.async_generator);
        let (promise, [fulfil, reject]) = (types.promise, types.jobs);
        let words = bytes.as_chunks::<8>().0;
        let kind = |word: &[u8; 8]| u16::from_le_bytes([word[4], word[5]]);
        for (block, part) in words.chunks(BLOCK).enumerate() {
            let is_near = part.iter().fold(false, |near, word| {
                let kind = kind(word);
                // No early end, so that many are compared at once.
                let is_job = (kind == fulfil) | (kind == reject);
                near | is_job | (kind == function) | (kind == generator) | (kind == promise)
            });
            if !is_near {
                continue;
            }
            for (index, word) in part.iter().enumerate() {
                let what = match kind(word) {
                    0 => continue,
                    kind if kind == function || kind == generator => What::Generator,
                    kind if kind == promise => What::Promise,
                    kind if kind == fulfil || kind == reject => What::Job,
                    _ => continue,
                };
                let at = block * BLOCK + index;
                let map = start + 8 * at as u64 - self.layout.map_type / 8 * 8;
                let first = match at.checked_sub(1).and_then(|at| words.get(at)) {
                    Some(word) if self.layout.map_type / 8 == 1 => u64::from_le_bytes(*word),
                    Some(_) | None => self.memory.word(map).unwrap_or(0),
                };
                if self.is_meta(first) {
                    self.found.insert(map + 1, what);
                }
            }
        }
    }

    fn is_meta(&mut self, word: u64) -> bool {
        /// Words that only look like a pointer are not kept for ever.
        const KEPT: usize = 1 << 16;
        let Some(object) = Object::of(word) else {
            return false;
        };
        if let Some(is) = self.metas.get(&word) {
            return *is;
        }
        let mut kind = [0; 2];
        let is = self.memory.word(object.0) == Some(word)
            && self.memory.read(object.0 + self.layout.map_type, &mut kind)
            && u16::from_le_bytes(kind) == self.layout.types.map;
        if self.metas.len() < KEPT || is {
            self.metas.insert(word, is);
        }
        is
    }
}

/// Few of all words are told apart by this many of their bits from those that are looked for.
const NEAR: usize = 1 << 16;

fn near(word: u64) -> usize {
    (word >> 3) as usize % NEAR
}

/// The second pass: objects with these maps.
struct Objects<'a> {
    memory: &'a dyn Memory,
    layout: &'a Layout,
    near: Vec<bool>,
    maps: HashMap<u64, What>,
    found: &'a mut Found,
    is_full: bool,
}

impl Objects<'_> {
    fn look(&mut self, start: u64, bytes: &[u8]) {
        let words = bytes.as_chunks::<8>().0;
        for (at, word) in words.iter().enumerate() {
            let word = u64::from_le_bytes(*word);
            if !self.near[near(word)] {
                continue;
            }
            let Some(&what) = self.maps.get(&word) else {
                continue;
            };
            let object = Object(start + 8 * at as u64);
            let is_wanted = match what {
                What::Generator | What::Job => true,
                What::Promise => self.is_awaited(object, &words[at..]),
            };
            if is_wanted && self.is_in_use(object) {
                let into = match what {
                    What::Generator => &mut self.found.generators,
                    What::Promise => &mut self.found.promises,
                    What::Job => &mut self.found.jobs,
                };
                if into.len() < OBJECTS {
                    into.push(object);
                } else {
                    self.is_full = true;
                }
            }
        }
    }

    /// Not settled, and with reactions.
    fn is_awaited(&self, object: Object, words: &[[u8; 8]]) -> bool {
        let word = |offset: u64| {
            let index = usize::try_from(offset / 8).ok()?;
            let known = words.get(index).map(|word| u64::from_le_bytes(*word));
            known.or_else(|| self.memory.word(object.0 + offset))
        };
        let is_pending = word(super::PROMISE_FLAGS).is_some_and(super::is_pending);
        is_pending && word(super::PROMISE_REACTIONS).is_some_and(|word| Object::of(word).is_some())
    }

    /// Not in the half of the young generation that was left by the last collection.
    fn is_in_use(&mut self, object: Object) -> bool {
        let page = object.0 & !(PAGE - 1);
        let (memory, layout) = (self.memory, self.layout);
        let pages = &mut self.found.pages;
        let flags = *pages
            .entry(page)
            .or_insert_with(|| memory.word(page + layout.page_flags).unwrap_or(UNUSED));
        // There are fewer than 32.
        flags >> 32 == 0 && flags & UNUSED == 0
    }
}
