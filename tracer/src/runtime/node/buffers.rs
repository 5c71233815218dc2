//! How many bytes the array buffers of a thread hold: `arrayBuffers` of `process.memoryUsage()`. Node's allocator for them
//! counts; there is one for each thread, behind what Node keeps for an isolate (`node::IsolateData`).
//!
//! Both objects begin with the vtable of their class, which Node offers to add-ons. Where the count is, the function
//! tells that takes from it: `lock sub [allocator + place], size`.
//! <https://github.com/nodejs/node/blob/v24.0.0/src/api/environment.cc> (`NodeArrayBufferAllocator::Free`)

use std::collections::BTreeMap;

use iced_x86::{Mnemonic, OpKind, Register};
use serde::{Deserialize, Serialize};

use super::{Component, Node, environment};
use crate::runtime::{code::Code, memory::Memory};

const ISOLATE_DATA: &str = "_ZTVN4node11IsolateDataE";
const ALLOCATOR: &str = "_ZTVN4node24NodeArrayBufferAllocatorE";
const FREE: &str = "_ZN4node24NodeArrayBufferAllocator4FreeEPvm";

/// An environment has the address of its `IsolateData` near its beginning, beside that of its isolate.
const WITHIN: u64 = 1 << 10;
/// Bytes of an allocator.
const ALLOCATOR_BYTES: u64 = 256;

/// What tells, as the file was linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// What an `IsolateData` begins with.
    pub isolate_data: u64,
    /// What an allocator begins with.
    pub allocator: u64,
    /// Where an allocator has the number of bytes, in bytes.
    pub count: u64,
}

/// `None` when this file does not tell.
pub(super) fn places(code: &Code) -> Option<Places> {
    let [isolate_data, allocator] =
        environment::first_methods(code.image, [ISOLATE_DATA, ALLOCATOR]);
    let [free] = code.image.exported([FREE]);
    let mut instructions = code.decode(code.bounds(free?)).take(8);
    let count = instructions.find(|one| {
        one.mnemonic() == Mnemonic::Sub
            && one.has_lock_prefix()
            && one.op0_kind() == OpKind::Memory
            && one.memory_base() == Register::RDI
            && one.memory_index() == Register::None
            && one.op1_register() == Register::RDX
    })?;
    let count = count.memory_displacement64();
    Some(Places {
        isolate_data: isolate_data?,
        allocator: allocator?,
        count: (count < ALLOCATOR_BYTES).then_some(count)?,
    })
}

/// Reads the counts of one process.
#[derive(Clone, Debug)]
pub(super) struct Buffers {
    /// As they are in the process.
    places: Places,
    /// Allocators by environment.
    allocators: BTreeMap<u64, u64>,
}

impl Buffers {
    /// `None` when the files do not tell.
    pub(super) fn of(node: &Node) -> Option<Self> {
        let module = node.module(Component::Node)?;
        let places = module.holds.buffers?;
        Some(Self {
            places: Places {
                isolate_data: places.isolate_data.wrapping_add(module.bias),
                allocator: places.allocator.wrapping_add(module.bias),
                ..places
            },
            allocators: BTreeMap::new(),
        })
    }

    /// Only what is known of these environments is kept.
    pub(super) fn retain(&mut self, environments: &[u64]) {
        self.allocators
            .retain(|environment, _| environments.contains(environment));
    }

    /// Bytes in array buffers of an environment; `None` where its allocator is another one: a program that embeds Node
    /// may bring its own.
    pub(super) fn read(&mut self, memory: &dyn Memory, environment: u64) -> Option<u64> {
        let begins = |at: u64, vtable: u64| at.is_multiple_of(8) && memory.word(at) == Some(vtable);
        let known = self.allocators.get(&environment).copied();
        let known = known.filter(|&at| begins(at, self.places.allocator));
        let allocator = known.or_else(|| {
            let find = |at: u64, bytes: u64, vtable: u64| {
                let bytes = environment::after(memory, at, bytes);
                let words = bytes.as_chunks::<8>().0.iter();
                let mut words = words.map(|word| u64::from_le_bytes(*word));
                words.find(|&word| word != 0 && begins(word, vtable))
            };
            let data = find(environment, WITHIN, self.places.isolate_data)?;
            find(data, environment::LARGEST, self.places.allocator)
        })?;
        self.allocators.insert(environment, allocator);
        memory.word(allocator.wrapping_add(self.places.count))
    }
}
