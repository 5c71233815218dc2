//! The async functions of a Node.js process that wait: each with the line of its `await`, and who awaits it in turn.
//!
//! V8 keeps no list of them, so they are found in its memory by their type ([`scan`]); from the promise of each its
//! reactions lead to who awaits it ([`follow`]). The process is not stopped: what has changed once all is read is left
//! out and counted.
//!
//! An async function that nothing can resume any more stays until V8 collects it, and is found until then: to tell
//! would take a collection of our own.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    rc::Rc,
    sync::Arc,
};

use tracer_common::{Nanos, Pid};

mod cached;
mod chain;
mod follow;
mod scan;

pub use chain::{Chain, Chains, Step};

use self::{
    cached::Cached,
    follow::{Follow, To},
};
use super::{
    Place, Running, V8, code,
    heap::{Heap, Object, small},
};
use crate::{
    runtime::memory::Memory,
    target::{mapping, sys},
};

// Offsets in bytes from an object's start, the same from V8 10.2 to 14.6:
// https://github.com/v8/v8/blob/11.3.244/src/objects/js-generator.tq, js-promise.tq, promise.tq
const GENERATOR_FUNCTION: u64 = 24;
const GENERATOR_PLACE: u64 = 48;
const GENERATOR_CONTINUATION: u64 = 64;
/// What changes when it goes on, ends or is moved.
const GUARD: [u64; 3] = [0, GENERATOR_PLACE, GENERATOR_CONTINUATION];
const FUNCTION_PROMISE: u64 = 80;
const GENERATOR_QUEUE: u64 = 80;
const GENERATOR_IS_AWAITING: u64 = 88;
const REQUEST_NEXT: u64 = 8;
const REQUEST_PROMISE: u64 = 32;
const PROMISE_REACTIONS: u64 = 24;
const PROMISE_FLAGS: u64 = 32;

/// Bytes that are read at most, in both passes together.
const BYTES: u64 = 32 << 30;
/// A look takes no longer.
const LONGEST: Nanos = Nanos(10_000_000_000);
/// Times all is looked at again when V8 has moved objects meanwhile.
const TRIES: u32 = 3;
/// Requests of an async generator that are looked at.
const REQUESTS: usize = 4_096;
/// Promises between an async function and who awaits it.
const PROMISES: usize = 256;

fn is_pending(flags: u64) -> bool {
    // Two bits, 0: https://github.com/v8/v8/blob/11.3.244/include/v8-promise.h (`PromiseState`)
    small(flags).is_some_and(|flags| flags & 3 == 0)
}

/// What is between two async functions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Via {
    /// `Promise.all`
    All,
    /// `Promise.allSettled`
    AllSettled,
    /// `Promise.any`
    Any,
    /// The function of this name, given to `then`.
    Then(Arc<str>),
}

/// Who awaits an async function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Awaiter {
    /// What is between them, from the awaited on.
    pub via: Vec<Via>,
    /// Which of [`Awaits::pending`].
    pub index: usize,
}

/// An async function, or async generator, that is at an `await`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Which of [`Awaits::places`].
    pub place: usize,
    /// It is an async generator.
    pub is_generator: bool,
    /// What it awaits is settled: it goes on as soon as its thread gets to it.
    pub is_ready: bool,
    /// Who awaits it.
    pub by: Vec<Awaiter>,
}

/// All that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Awaits {
    /// Different `await`s.
    pub places: Vec<Place>,
    /// Each async function that is at one.
    pub pending: Vec<Pending>,
    /// Objects that were something else, or had gone on, when they were looked at again.
    pub changed: u64,
    /// Objects like async functions to which no promise leads: V8 has them no more, or will not long. Left out.
    pub unreached: u64,
    /// V8 collected the young generation while it was read, each time: it may have moved some out of sight.
    pub has_moved: bool,
    /// All memory was looked at, and everything found was followed.
    pub is_whole: bool,
    /// Bytes read.
    pub read: u64,
    /// How long it took.
    pub took: Nanos,
}

impl Awaits {
    /// How many are at each `await`, most first.
    #[must_use]
    pub fn counts(&self) -> Vec<(&Place, u64)> {
        let mut counts: BTreeMap<usize, u64> = BTreeMap::new();
        for pending in &self.pending {
            *counts.entry(pending.place).or_default() += 1;
        }
        let counts = counts.into_iter();
        let mut counts: Vec<(&Place, u64)> = counts
            .filter_map(|(place, count)| Some((self.places.get(place)?, count)))
            .collect();
        counts.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        counts
    }
}

/// Looks for the async functions that wait in `pid`; `None` when its V8 does not tell them from other objects.
pub fn look(v8: &mut V8, pid: Pid, memory: &dyn Memory) -> Option<Awaits> {
    if !v8.layout.has_async() {
        return None;
    }
    let begun = sys::monotonic();
    let limits = scan::Limits {
        bytes: BYTES,
        until: Nanos(begun.0.saturating_add(LONGEST.0)),
    };
    let mut read = 0;
    let mut tries = 0;
    let mut awaits = loop {
        tries += 1;
        let regions = scan::regions(&mapping::of(pid));
        let layout = Rc::clone(&v8.layout);
        let found = scan::scan(memory, &layout, &regions, limits);
        let mut awaits = tell(v8, memory, &found);
        read += found.read;
        awaits.is_whole &= found.is_whole;
        awaits.has_moved = found.has_moved(memory, &layout);
        if !awaits.has_moved || tries >= TRIES || sys::monotonic() >= limits.until {
            break awaits;
        }
    };
    awaits.read = read;
    awaits.took = sys::monotonic().since(begun).unwrap_or_default();
    Some(awaits)
}

/// What an object was found to be.
struct Generator {
    object: Object,
    /// The words that say that it is what it was.
    guard: [u64; 3],
    place: usize,
    is_generator: bool,
    /// Promises that are settled by it.
    promises: Vec<Object>,
}

fn tell(v8: &mut V8, memory: &dyn Memory, found: &scan::Found) -> Awaits {
    let (maps, layout) = (Rc::clone(&v8.maps), Rc::clone(&v8.layout));
    let cached = Cached::new(memory);
    let mut follow = Follow::new(&cached, &layout, &maps);
    let mut awaits = Awaits {
        is_whole: true,
        ..Awaits::default()
    };
    let mut places = Places::default();
    let mut generators = Vec::new();
    for &object in &found.generators {
        let heap = follow.heap();
        if let Some(generator) = generator(v8, &heap, object, &mut places) {
            // A second reading, not of what is kept.
            if guard(memory, object) == Some(generator.guard) {
                generators.push(generator);
            } else {
                awaits.changed += 1;
            }
        }
    }
    let mut waiting = HashSet::new();
    for &promise in &found.promises {
        for next in follow.after(v8, promise).iter() {
            if let To::Generator(object) = &next.to {
                waiting.insert(*object);
            }
        }
    }
    let jobs = found.jobs.iter();
    let ready: HashSet<Object> = jobs.filter_map(|&job| follow.resumed(v8, job)).collect();
    // Unless the promise may be in what was not looked at.
    let is_whole = found.is_whole && !follow.is_cut;
    let is_reached = |generator: &Generator| {
        !is_whole || waiting.contains(&generator.object) || ready.contains(&generator.object)
    };
    let all = generators.len();
    generators.retain(is_reached);
    awaits.unreached = (all - generators.len()) as u64;
    let index: HashMap<Object, usize> = generators
        .iter()
        .enumerate()
        .map(|(index, generator)| (generator.object, index))
        .collect();
    for generator in &generators {
        let mut by = Vec::new();
        for promise in &generator.promises {
            awaiters(v8, &mut follow, *promise, &index, &mut by);
        }
        awaits.pending.push(Pending {
            place: generator.place,
            is_generator: generator.is_generator,
            is_ready: ready.contains(&generator.object) && !waiting.contains(&generator.object),
            by,
        });
    }
    awaits.is_whole &= !follow.is_cut;
    awaits.places = places.all;
    awaits
}

/// Places that were found, by function and place in its bytecode.
#[derive(Default)]
struct Places {
    all: Vec<Place>,
    index: HashMap<Place, usize>,
    known: HashMap<(Object, usize), Option<usize>>,
}

/// The words that say that an object is what it was.
fn guard(memory: &dyn Memory, object: Object) -> Option<[u64; 3]> {
    let mut bytes = [[0; 8]; 9];
    if !memory.read(object.0, bytes.as_flattened_mut()) {
        return None;
    }
    let word = |offset: u64| bytes.get(usize::try_from(offset / 8).ok()?).copied();
    Some(GUARD.map(|offset| word(offset).map_or(0, u64::from_le_bytes)))
}

/// The object, when it is an async function that is at an `await`.
fn generator(
    v8: &mut V8,
    heap: &Heap<'_>,
    object: Object,
    places: &mut Places,
) -> Option<Generator> {
    let types = &heap.layout.types;
    // What an async generator has besides may be behind the end of a page.
    let words: [u64; 11] = heap.words(object)?;
    let word = |offset: u64| words.get(usize::try_from(offset / 8).ok()?).copied();
    let is_generator = heap.says(words[0], types.async_generator);
    if !is_generator && !heap.says(words[0], types.async_function) {
        return None;
    }
    // Below 0: it runs, or it has ended.
    let continuation = small(word(GENERATOR_CONTINUATION)?)?;
    let offset = code::interpreted_at(heap, word(GENERATOR_PLACE)?)?;
    if continuation < 0 {
        return None;
    }
    let promises = if is_generator {
        // At a `yield` it is its caller's turn.
        let is_awaiting = small(heap.word(object, GENERATOR_IS_AWAITING)?)? == 1;
        is_awaiting.then(|| requests(heap, word(GENERATOR_QUEUE)))?
    } else {
        let promise = Object::of(word(FUNCTION_PROMISE)?)?;
        heap.is(promise, types.promise).then(|| vec![promise])?
    };
    let function = Object::of(word(GENERATOR_FUNCTION)?)?;
    let kind = heap.type_of(heap.word(function, 0)?)?;
    if !(types.first_function..=types.last_function).contains(&kind) {
        return None;
    }
    let shared = heap.member(function, heap.layout.function_shared, types.shared)?;
    let place = match places.known.get(&(shared, offset)) {
        Some(known) => *known,
        None => {
            let found = place(v8, heap, shared, offset).map(|place| {
                *places.index.entry(place.clone()).or_insert_with(|| {
                    places.all.push(place);
                    places.all.len() - 1
                })
            });
            places.known.insert((shared, offset), found);
            found
        }
    };
    Some(Generator {
        object,
        guard: GUARD.map(|at| word(at).unwrap_or(0)),
        place: place?,
        is_generator,
        promises,
    })
}

fn place(v8: &mut V8, heap: &Heap<'_>, shared: Object, offset: usize) -> Option<Place> {
    let function = v8.function(heap, shared).ok()?;
    let running = Running::Bytecode(offset);
    let named = v8.places(heap, shared, &function, &running).ok()?;
    named.places.first().cloned()
}

/// The promises of those who have asked an async generator for its next value.
fn requests(heap: &Heap<'_>, queue: Option<u64>) -> Vec<Object> {
    let types = &heap.layout.types;
    let mut promises = Vec::new();
    let mut next = queue.and_then(Object::of);
    while let Some(request) = next.filter(|&request| heap.is(request, types.request))
        && promises.len() < REQUESTS
    {
        promises.extend(heap.member(request, REQUEST_PROMISE, types.promise));
        next = heap.word(request, REQUEST_NEXT).and_then(Object::of);
    }
    promises
}

/// Adds who awaits a promise, other promises on the way.
fn awaiters(
    v8: &mut V8,
    follow: &mut Follow<'_>,
    promise: Object,
    index: &HashMap<Object, usize>,
    by: &mut Vec<Awaiter>,
) {
    let mut seen = HashSet::from([promise]);
    let mut left = vec![(promise, Vec::new())];
    while let Some((promise, via)) = left.pop() {
        for next in follow.after(v8, promise).iter() {
            let mut via = via.clone();
            via.extend(next.via.clone());
            match next.to {
                To::Generator(object) => {
                    by.extend(index.get(&object).map(|&index| Awaiter { via, index }));
                }
                To::Promise(promise) if seen.len() < PROMISES => {
                    if seen.insert(promise) {
                        left.push((promise, via));
                    }
                }
                To::Promise(_) => follow.is_cut = true,
            }
        }
    }
}

#[cfg(test)]
mod tests;
