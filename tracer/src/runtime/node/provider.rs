//! Of which type a resource is (`AsyncWrap`): where it has the number of its type, and what the types are called. Both are
//! read off the method that returns the name, so no version has to be known.

use iced_x86::{Instruction, OpKind, Register};
use serde::{Deserialize, Serialize};

use crate::runtime::{code::Code, image::Image};

/// `node::AsyncWrap::MemoryInfoName() const`: `return provider_names[provider_type()];`
/// <https://github.com/nodejs/node/blob/v24.0.0/src/async_wrap.cc>
const METHOD: &str = "_ZNK4node9AsyncWrap14MemoryInfoNameEv";
/// The name of the first type.
const FIRST: &str = "NONE";
/// Types there may be.
const MOST: usize = 512;
/// The name of a type ends within so many bytes.
const LONGEST: usize = 64;

/// How a resource tells of what type it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Providers {
    /// Where a resource (`AsyncWrap`) has the number of its type, in bytes from its start; 4 bytes. Its `async_id` and
    /// that of what triggered it follow, 8 bytes each, as floating point numbers.
    pub offset: u64,
    /// What the types are called, by number.
    pub names: Vec<String>,
}

impl Providers {
    /// Where a resource has its `async_id`, in bytes from its start.
    #[must_use]
    pub fn async_id(&self) -> u64 {
        self.offset + 8
    }

    /// Where a resource has the `async_id` of what triggered it, in bytes from its start.
    #[must_use]
    pub fn trigger_async_id(&self) -> u64 {
        self.offset + 16
    }
}

pub(super) fn find(code: &Code) -> Option<Providers> {
    let [method] = code.image.exported([METHOD]);
    let (offset, table) = decode(code, method?)?;
    let names = names(code.image, table);
    let is_it = names.first().is_some_and(|first| first == FIRST) && names.len() > 1;
    is_it.then_some(Providers { offset, names })
}

/// What is loaded from the object is the number; what is loaded with it from a table is the name.
fn decode(code: &Code, method: u64) -> Option<(u64, u64)> {
    let mut number: Option<(u64, Register)> = None;
    let mut table: Option<(u64, Register)> = None;
    for instruction in code.decode(code.bounds(method)).take(12) {
        let to = instruction.op0_register().full_register();
        let Some((offset, index)) = number else {
            if let Some(address) = code.target(&instruction) {
                table = Some((address, to));
            } else if loads(&instruction) && instruction.memory_base() == Register::RDI {
                number = Some((instruction.memory_displacement64(), to));
            }
            continue;
        };
        let is_indexed = loads(&instruction)
            && instruction.memory_index() == index
            && instruction.memory_index_scale() == 8;
        if is_indexed {
            let base = instruction.memory_base();
            let by_register = table.filter(|(_, register)| *register == base);
            let start = match (base, by_register) {
                (Register::None, _) => instruction.memory_displacement64(),
                (_, Some((start, _))) => start.wrapping_add(instruction.memory_displacement64()),
                (_, None) => return None,
            };
            return Some((offset, start));
        }
        if let Some(address) = code.target(&instruction) {
            table = Some((address, to));
        }
    }
    None
}

fn loads(instruction: &Instruction) -> bool {
    instruction.op0_kind() == OpKind::Register && instruction.op1_kind() == OpKind::Memory
}

fn names(image: &Image, table: u64) -> Vec<String> {
    let places = (table..).step_by(8).take(MOST);
    let names = places.map_while(|place| {
        let text = image.pointer(place)?;
        let bytes = image.from(text)?;
        let bytes = &bytes[..bytes.len().min(LONGEST)];
        let name = &bytes[..memchr::memchr(0, bytes)?];
        let is_plain =
            |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
        let is_name = name.first().is_some_and(u8::is_ascii_uppercase) && name.iter().all(is_plain);
        let name = std::str::from_utf8(name).ok().filter(|_| is_name)?;
        Some(name.to_owned())
    });
    names.collect()
}
