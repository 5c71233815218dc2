//! How large the heaps of V8 in a process are: one for its main thread, one for each worker thread.
//!
//! Where V8 keeps these numbers differs from version to version and from build to build. Two functions that every build
//! offers to add-ons tell: `v8::Isolate::GetHeapSpaceStatistics` and `GetHeapStatistics`, which `v8.getHeapStatistics()`
//! and `process.memoryUsage()` of Node call. Their code is followed here ([`evaluate`]), with what it asks for read from
//! the process's memory; which of their numbers is what, the public header says. Nothing runs in the process.
//!
//! Nothing is believed for where it is: a space names the heap that it is of and its own number, uses no more than it
//! has, and an isolate is one only if such spaces are in it.
//!
//! V8 12 and later give back what is left of the areas they allocate from before they tell sizes. Nobody does so here: what
//! is left of them counts as used, at most a page (256 KiB) in each space, usually some KiB.

use std::collections::BTreeMap;

use iced_x86::{Instruction, Mnemonic, OpKind, Register};
use serde::{Deserialize, Serialize};
use tracer_common::Tid;

use super::{Component, Node, buffers::Buffers, environment};
use crate::runtime::{
    code::Code,
    evaluate::{self, Call, Instructions, Value},
    memory::Memory,
};

/// <https://github.com/v8/v8/blob/10.2.154/include/v8-isolate.h>
const SPACES: &str = "_ZN2v87Isolate22GetHeapSpaceStatisticsEPNS_19HeapSpaceStatisticsEm";
const HEAP: &str = "_ZN2v87Isolate17GetHeapStatisticsEPNS_14HeapStatisticsE";
/// `Heap::MarkCompact`, and what it hands the rest to in V8 14.
/// <https://github.com/v8/v8/blob/10.2.154/src/heap/heap.cc>
const MARK_COMPACT: &str = "_ZN2v88internal4Heap11MarkCompactEv";
const UPDATE: &str = "_ZN2v88internal10HeapLimits21UpdateConsumedAfterGCEv";

/// Places in `v8::HeapSpaceStatistics` and `v8::HeapStatistics`, which are structs of words in a public header.
/// <https://github.com/v8/v8/blob/10.2.154/include/v8-statistics.h>
const SPACE_NAME: u64 = 0;
const SPACE_SIZE: u64 = 8;
const SPACE_USED: u64 = 16;
const LIMIT: u64 = 40;
const EXTERNAL: u64 = 56;

/// Where a space (`BaseSpace`) has the address of the heap that it is of, and its number, 4 bytes.
/// <https://github.com/v8/v8/blob/10.2.154/src/heap/base-space.h>
const HEAP_IN_SPACE: u64 = 8;
const NUMBER_IN_SPACE: u64 = 16;

/// Spaces of a heap: 8 in V8 10.2, 13 in V8 14.
const MOST_SPACES: u64 = 24;
/// The old space is in each heap, and the second one in all versions.
const OLD_SPACE: u64 = 1;
/// An isolate has no more bytes before its heap: 50 to 64 thousand in V8 10 to 14.
const BEFORE_HEAP: u64 = 256 << 10;
/// An environment has the address of its isolate near its beginning.
/// <https://github.com/nodejs/node/blob/v24.0.0/src/env.h> (`v8::Isolate* const isolate_;`)
const ISOLATE_WITHIN: u64 = 1 << 10;
/// How often a heap is read that changes meanwhile.
const TRIES: u32 = 4;
/// Bytes that no process has.
const TOO_MUCH: u64 = 1 << 47;
/// Bytes of the part of a heap in which its numbers are.
const HEAP_BYTES: u64 = 16 << 10;

/// What tells how large heaps are, as the file was linked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// `v8::Isolate::GetHeapSpaceStatistics`.
    pub spaces: u64,
    /// `v8::Isolate::GetHeapStatistics`.
    pub heap: u64,
    /// Where a heap keeps what the last mark-compact left; `None` where that is not known.
    pub last_full: Option<LastFull>,
}

/// Where a heap keeps what its last mark-compact left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastFull {
    /// Where a heap has the number of mark-compacts, in bytes; 4 bytes.
    pub count: u64,
    /// Where the bytes are that were in use after the last one, outside the young generation. V8 lowers it while it sweeps.
    pub used: u64,
    /// Where a heap has the address of the object that `used` is in; `None`: it is in the heap itself.
    pub limits: Option<u64>,
}

/// Why there is nothing to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// The functions that tell are missing.
    #[error("the file has no functions that tell the sizes of V8's heaps")]
    NoFunctions,
    /// No environment is known, or none has an isolate where one is looked for.
    #[error("no isolate of V8 was found")]
    NoIsolate,
    /// Numbers that cannot be.
    #[error("what is where V8's functions read the sizes of heaps makes no sense")]
    Nonsense,
}

/// A heap, and what is outside of it on its behalf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heap {
    /// The address of its isolate, which is its name.
    pub isolate: u64,
    /// Node's environment for it.
    pub environment: u64,
    /// It is that of the process's first thread.
    pub is_main: bool,
    /// The worker thread it belongs to; `None` for the main thread's, and where that is not known.
    pub tid: Option<Tid>,
    /// Its spaces, as V8 names them.
    pub spaces: Vec<Space>,
    /// Bytes outside of the heap that its objects hold: `external` of `process.memoryUsage()`.
    pub external: Option<u64>,
    /// Bytes in array buffers, which are part of those: `arrayBuffers` of `process.memoryUsage()`.
    pub array_buffers: Option<u64>,
    /// Bytes it may have: `heap_size_limit` of `v8.getHeapStatistics()`.
    pub limit: Option<u64>,
    /// Mark-compacts so far, and bytes in use outside the young generation after the last one; 0 while one begins.
    pub last_full: Option<(u32, u64)>,
}

impl Heap {
    /// Bytes of objects.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.spaces.iter().map(|space| space.used).sum()
    }

    /// Bytes that are taken from the system.
    #[must_use]
    pub fn committed(&self) -> u64 {
        self.spaces.iter().map(|space| space.committed).sum()
    }
}

/// A space of a heap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// `old_space`, `new_space`, `code_space`, `large_object_space`.
    pub name: String,
    /// Bytes of objects: `space_used_size` of `v8.getHeapSpaceStatistics()`.
    pub used: u64,
    /// Bytes that are taken from the system: `space_size`.
    pub committed: u64,
}

/// What this file tells; `None` when it does not have the functions.
pub(super) fn places(code: &Code) -> Option<Places> {
    let [spaces, heap] = code.image.exported([SPACES, HEAP]);
    Some(Places {
        spaces: spaces?,
        heap: heap?,
        last_full: last_full(code),
    })
}

/// `Heap::MarkCompact` counts itself, and notes the size of the old generation at its end, after it has called who knows.
/// The same place it has looked at before, to see what has come since the last time.
fn last_full(code: &Code) -> Option<LastFull> {
    let names = [MARK_COMPACT, UPDATE];
    let named: Vec<_> = code.image.beginning_with(&names).collect();
    let of = |name: &str| {
        let mut named = named.iter().filter(|(_, one)| *one == name);
        let (range, _) = named.next()?;
        Some(code.decode(range.clone()).collect::<Vec<_>>())
    };
    let function = of(MARK_COMPACT)?;
    let mut counted = function.iter().filter(|one| adds_one(one));
    let count = counted.next()?.memory_displacement64();
    if counted.next().is_some() {
        return None;
    }
    let Some(update) = of(UPDATE) else {
        let places = noted(&function);
        let is_looked_at = |place: &u64| {
            let mut loads = function.iter().filter(|one| is_load(one));
            loads.any(|load| load.memory_displacement64() == *place)
        };
        let mut places = places.into_iter().filter(is_looked_at);
        let used = places.next()?;
        return places.next().is_none().then_some(LastFull {
            count,
            used,
            limits: None,
        });
    };
    let [start] = named
        .iter()
        .filter(|(_, one)| *one == UPDATE)
        .map(|(range, _)| range.start)
        .collect::<Vec<_>>()[..]
    else {
        return None;
    };
    // It is the first argument, loaded shortly before the call.
    let call = function
        .iter()
        .position(|one| code.target(one) == Some(start))?;
    let mut before = function[..call].iter().rev().take(4);
    let limits = before.find(|one| is_load(one) && one.op0_register() == Register::RDI)?;
    Some(LastFull {
        count,
        used: *noted(&update).first()?,
        limits: Some(limits.memory_displacement64()),
    })
}

/// Where what a call returned is written to, right after it.
fn noted(function: &[Instruction]) -> Vec<u64> {
    let is_call = |one: &&Instruction| one.mnemonic() == Mnemonic::Call;
    let calls = function.iter().enumerate();
    let calls = calls.filter(|(_, one)| is_call(one));
    let noted = calls.filter_map(|(at, _)| {
        let mut next = function[at + 1..].iter().take(3);
        let store = next.find(|one| {
            one.mnemonic() == Mnemonic::Mov
                && one.op0_kind() == OpKind::Memory
                && one.op1_kind() == OpKind::Register
                && one.op1_register() == Register::RAX
        })?;
        is_of_object(store).then(|| store.memory_displacement64())
    });
    noted.collect()
}

fn adds_one(one: &Instruction) -> bool {
    let is_small = one.op0_kind() == OpKind::Memory && one.memory_size().size() == 4;
    let is_one = match one.mnemonic() == Mnemonic::Add {
        true => one.op_count() == 2 && one.op1_kind() != OpKind::Register && one.immediate(1) == 1,
        false => one.mnemonic() == Mnemonic::Inc,
    };
    is_small && is_one && !one.has_lock_prefix() && is_of_object(one)
}

fn is_load(one: &Instruction) -> bool {
    one.mnemonic() == Mnemonic::Mov
        && one.op0_kind() == OpKind::Register
        && one.op1_kind() == OpKind::Memory
        && one.memory_size().size() == 8
        && is_of_object(one)
}

/// The memory operand is a member of an object, not of the stack.
fn is_of_object(one: &Instruction) -> bool {
    let base = one.memory_base();
    base.is_gpr64()
        && !matches!(base, Register::RSP | Register::RBP)
        && one.memory_index() == Register::None
        && one.memory_displacement64() < HEAP_BYTES
}

/// Reads the sizes of one process's heaps, again and again.
#[derive(Clone, Debug)]
pub(super) struct Heaps {
    /// As they are in the process.
    places: Places,
    buffers: Option<Buffers>,
    instructions: Instructions,
    /// Isolates by environment.
    isolates: BTreeMap<u64, u64>,
    /// What spaces are called, by number.
    names: BTreeMap<u64, String>,
}

impl Heaps {
    /// `None` when the files do not tell.
    pub(super) fn of(node: &Node) -> Option<Self> {
        let module = node.module(Component::V8)?;
        let places = module.holds.heap.clone()?;
        Some(Self {
            places: Places {
                spaces: places.spaces.wrapping_add(module.bias),
                heap: places.heap.wrapping_add(module.bias),
                ..places
            },
            buffers: Buffers::of(node),
            instructions: Instructions::default(),
            isolates: BTreeMap::new(),
            names: BTreeMap::new(),
        })
    }

    /// The heaps of these environments. That of a thread which just ends or begins may be missing.
    pub(super) fn read(
        &mut self,
        memory: &dyn Memory,
        environments: &[u64],
    ) -> Result<Vec<Heap>, Unknown> {
        self.isolates
            .retain(|environment, _| environments.contains(environment));
        if let Some(buffers) = &mut self.buffers {
            buffers.retain(environments);
        }
        let mut unknown = Unknown::NoIsolate;
        let mut heaps = Vec::new();
        for (at, &environment) in environments.iter().enumerate() {
            match self.heap_of(memory, environment) {
                Ok(heap) => {
                    let buffers = self.buffers.as_mut();
                    let buffers = buffers.and_then(|of| of.read(memory, environment));
                    heaps.push(Heap {
                        environment,
                        is_main: at == 0,
                        array_buffers: buffers.filter(|&bytes| bytes < TOO_MUCH),
                        ..heap
                    });
                }
                Err(why) if heaps.is_empty() => unknown = why,
                Err(_) => {}
            }
        }
        if heaps.is_empty() {
            // Somebody else's breakpoint may have been in the code.
            self.instructions = Instructions::default();
            return Err(unknown);
        }
        Ok(heaps)
    }

    fn heap_of(&mut self, memory: &dyn Memory, environment: u64) -> Result<Heap, Unknown> {
        let known = self.isolates.get(&environment).copied();
        let known = known.filter(|&isolate| self.has_heap(memory, isolate));
        let isolate = known.or_else(|| {
            let bytes = environment::after(memory, environment, ISOLATE_WITHIN);
            let words = bytes.as_chunks::<8>().0.iter();
            let mut words = words.map(|word| u64::from_le_bytes(*word));
            words.find(|&word| self.has_heap(memory, word))
        });
        let isolate = isolate.ok_or(Unknown::NoIsolate)?;
        self.isolates.insert(environment, isolate);
        (0..TRIES)
            .find_map(|_| self.heap(memory, isolate))
            .ok_or(Unknown::Nonsense)
    }

    /// True for an isolate: it has an old space, which names a heap that is part of the isolate.
    fn has_heap(&mut self, memory: &dyn Memory, isolate: u64) -> bool {
        let is_address = isolate.is_multiple_of(8) && (1 << 12..TOO_MUCH).contains(&isolate);
        is_address && self.space(memory, isolate, OLD_SPACE).is_some()
    }

    /// What V8's function would say of a space, and the heap that it is of; `None` when there is no such space.
    fn space(
        &mut self,
        memory: &dyn Memory,
        isolate: u64,
        number: u64,
    ) -> Option<(u64, [Call; 2])> {
        let function = self.places.spaces;
        let words = evaluate::written(memory, &mut self.instructions, function, isolate, number);
        let call = |place: u64| match words.get(&place)? {
            Value::Of(call) => Some(*call),
            Value::Number(_) => None,
        };
        let calls = [call(SPACE_SIZE)?, call(SPACE_USED)?];
        let space = calls[0].arguments[0];
        let heap = memory.word(space.wrapping_add(HEAP_IN_SPACE))?;
        let own = memory.word(space.wrapping_add(NUMBER_IN_SPACE))? & u64::from(u32::MAX);
        let is_one = calls[1].arguments[0] == space
            && own == number
            && (isolate..isolate.saturating_add(BEFORE_HEAP)).contains(&heap);
        if !is_one {
            return None;
        }
        if !self.names.contains_key(&number) {
            let name = self.name(memory, *words.get(&SPACE_NAME)?, number)?;
            self.names.insert(number, name);
        }
        Some((heap, calls))
    }

    /// What V8 calls a space: the address of the name is in a table, or a function with the number tells it.
    fn name(&mut self, memory: &dyn Memory, value: Value, number: u64) -> Option<String> {
        const LONGEST: usize = 48;
        let at = match value {
            Value::Number(at) => at,
            Value::Of(call) if call.arguments[0] == number => {
                evaluate::returned(memory, &mut self.instructions, call)?
            }
            Value::Of(_) => return None,
        };
        let bytes = environment::after(memory, at, LONGEST as u64);
        let name = &bytes[..memchr::memchr(0, &bytes)?];
        let is_name = name
            .iter()
            .all(|byte| byte.is_ascii_lowercase() || *byte == b'_');
        let is_name = is_name && name.ends_with(b"_space");
        is_name.then(|| String::from_utf8_lossy(name).into_owned())
    }

    /// `None` when its numbers do not fit together: it changed meanwhile, or it is not what it seems.
    fn heap(&mut self, memory: &dyn Memory, isolate: u64) -> Option<Heap> {
        let mut heap = Heap {
            isolate,
            ..Heap::default()
        };
        let mut address = None;
        for number in 0..MOST_SPACES {
            // What all heaps share, and what this one does not have.
            let Some((of, [committed, used])) = self.space(memory, isolate, number) else {
                continue;
            };
            if *address.get_or_insert(of) != of {
                return None;
            }
            let committed = evaluate::returned(memory, &mut self.instructions, committed)?;
            let used = evaluate::returned(memory, &mut self.instructions, used)?;
            if used > committed || committed > TOO_MUCH {
                return None;
            }
            heap.spaces.push(Space {
                name: self.names.get(&number)?.clone(),
                used,
                committed,
            });
        }
        let address = address?;
        let function = self.places.heap;
        let words = evaluate::written(memory, &mut self.instructions, function, isolate, 0);
        let mut number = |place: u64| {
            let value = match words.get(&place)? {
                Value::Number(number) => Some(*number),
                Value::Of(call) if call.arguments[0] == address => {
                    evaluate::returned(memory, &mut self.instructions, *call)
                }
                Value::Of(_) => None,
            };
            value.filter(|&bytes| bytes < TOO_MUCH)
        };
        heap.external = number(EXTERNAL);
        // A heap may go beyond its limit for a moment, never so far.
        let committed = heap.committed();
        heap.limit = number(LIMIT).filter(|&limit| limit >= committed / 2);
        heap.last_full = self.last_full(memory, address);
        Some(heap)
    }

    fn last_full(&self, memory: &dyn Memory, heap: u64) -> Option<(u32, u64)> {
        let places = self.places.last_full?;
        let of = match places.limits {
            Some(limits) => memory.word(heap.wrapping_add(limits))?,
            None => heap,
        };
        let count = memory.word(heap.wrapping_add(places.count))? as u32;
        let used = memory.word(of.wrapping_add(places.used))?;
        (used < TOO_MUCH).then_some((count, used))
    }
}
