//! A heap made by hand, and memory that lies.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use proptest::prelude::*;

use super::{
    super::{
        Texts,
        tests::{Lying, layout},
    },
    *,
};

/// Where maps and objects are: pages of V8 with flags that say that they are in use.
const HEAP: u64 = 0x2000_0000_0000;
const META: u64 = HEAP + 0x1_0000;

/// Words by address; what was not put there is 0, within the heap.
#[derive(Default)]
struct Made {
    words: RefCell<BTreeMap<u64, u64>>,
    next: Cell<u64>,
}

impl Memory for Made {
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        let words = self.words.borrow();
        let size = buffer.len() as u64;
        for (at, byte) in (address..).zip(buffer) {
            let word = words.get(&(at & !7)).copied().unwrap_or(0);
            *byte = word.to_le_bytes()[(at & 7) as usize];
        }
        (HEAP..HEAP + (2 << 20)).contains(&address) && address + size <= HEAP + (2 << 20)
    }
}

fn smi(value: i32) -> u64 {
    u64::from(value.cast_unsigned()) << 32
}

impl Made {
    fn put(&self, address: u64, word: u64) {
        self.words.borrow_mut().insert(address, word);
    }

    fn map(&self, kind: u16) -> u64 {
        let map = META + u64::from(kind) * 80;
        self.put(map, META + 1);
        self.put(map + 8, u64::from(kind) << 32);
        map + 1
    }

    /// Gives the tagged pointer to a new object.
    fn object(&self, kind: u16, words: &[(u64, u64)]) -> u64 {
        self.next.set(self.next.get() + 256);
        let at = HEAP + 0x8_0000 + self.next.get();
        self.put(at, self.map(kind));
        for (offset, word) in words {
            self.put(at + offset, *word);
        }
        at + 1
    }

    /// The object gets a new place, as when V8 moves it.
    fn flag(&self, object: u64, flags: u64) {
        self.put((object & !0x3_ffff) + layout().page_flags, flags);
    }
}

/// An async function that has no promise of anybody's to wait for.
fn asynchronous(memory: &Made) -> (u64, u64) {
    let types = layout().types;
    let script = memory.object(types.script, &[]);
    let shared = [(16, smi(0)), (layout().shared_script, script)];
    let shared = memory.object(types.shared, &shared);
    let function = memory.object(types.first_function, &[(layout().function_shared, shared)]);
    let promise = memory.object(types.promise, &[]);
    let words = [
        (GENERATOR_FUNCTION, function),
        (GENERATOR_PLACE, smi(80)),
        (GENERATOR_CONTINUATION, smi(0)),
        (FUNCTION_PROMISE, promise),
    ];
    (memory.object(types.async_function, &words), promise)
}

/// The closure that goes on with it.
fn closure(memory: &Made, generator: u64) -> u64 {
    let types = layout().types;
    let context = memory.object(types.first_context, &[(8, smi(3)), (32, generator)]);
    let shared = memory.object(types.shared, &[]);
    let words = [
        (layout().function_shared, shared),
        (layout().function_context, context),
    ];
    memory.object(types.first_function, &words)
}

fn then(memory: &Made, promise: u64, fulfil: u64) {
    let reaction = memory.object(layout().types.reaction, &[(24, fulfil)]);
    memory.put(promise - 1 + PROMISE_REACTIONS, reaction);
}

fn found(memory: &Made) -> Awaits {
    let limits = scan::Limits {
        bytes: 1 << 30,
        until: Nanos(u64::MAX),
    };
    memory.put(META, META + 1);
    memory.put(META + 8, u64::from(layout().types.map) << 32);
    let middle = HEAP + (1 << 20);
    let regions = [HEAP..middle, middle..HEAP + (2 << 20)];
    let found = scan::scan(memory, &layout(), &regions, limits);
    assert!(found.is_whole);
    tell(&mut V8::new(layout(), Texts::default()), memory, &found)
}

#[test]
fn one_awaits_the_other_and_the_other_a_promise() {
    let memory = Made::default();
    let (outer, _) = asynchronous(&memory);
    let (inner, promise) = asynchronous(&memory);
    then(&memory, promise, closure(&memory, outer));
    let gate = memory.object(layout().types.promise, &[]);
    then(&memory, gate, closure(&memory, inner));
    let awaits = found(&memory);
    let by: Vec<usize> = awaits.pending.iter().map(|one| one.by.len()).collect();
    assert_eq!(by, [0, 1]);
    assert_eq!(awaits.pending[1].by[0].index, 0);
    // No promise leads to it any more.
    memory.put(gate - 1 + PROMISE_REACTIONS, smi(0));
    let awaits = found(&memory);
    assert_eq!((awaits.pending.len(), awaits.unreached), (1, 1));
    // It runs.
    memory.put(outer - 1 + GENERATOR_CONTINUATION, smi(-2));
    assert_eq!(found(&memory).pending.len(), 0);
}

#[test]
fn what_a_collection_left_behind_is_not_seen() {
    let memory = Made::default();
    let (inner, _) = asynchronous(&memory);
    let gate = memory.object(layout().types.promise, &[]);
    then(&memory, gate, closure(&memory, inner));
    for (flags, count) in [(0x4, 1), (0x12, 1), (0xa, 0)] {
        memory.flag(inner, flags);
        assert_eq!(found(&memory).pending.len(), count, "{flags:x}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn whatever_is_in_memory_it_comes_to_an_end(seed: u64, places: [u8; 12]) {
        let memory = Lying { seed, reads: Cell::new(0) };
        let mut v8 = V8::new(layout(), Texts::default());
        let objects = places.map(|place| Object(0x1000_0000 + u64::from(place) * 64));
        let found = scan::Found {
            generators: objects.to_vec(),
            promises: objects.to_vec(),
            jobs: objects.to_vec(),
            is_whole: true,
            ..scan::Found::default()
        };
        let awaits = tell(&mut v8, &memory, &found);
        prop_assert!(awaits.pending.len() <= objects.len());
        let _ = awaits.chains();
    }
}
