//! Where an `async fn` or block was written: its code panics with that place when it is polled after its end, and the
//! place is data that survives stripping.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    ops::Range,
};

use iced_x86::{FlowControl, Instruction, OpKind};

use super::Source;
use crate::runtime::{code::Code, image::Image};

/// Instructions looked at in one function.
const INSTRUCTIONS: usize = 200_000;
/// Entries looked at in one jump table: a state for each `.await`.
const STATES: u64 = 4_096;

/// A `core::panic::Location` at `address`.
///
/// <https://doc.rust-lang.org/core/panic/struct.Location.html>
pub(super) fn location(image: &Image, address: u64) -> Option<Source> {
    let text = image.pointer(address)?;
    let length = image
        .number(address.checked_add(8)?)
        .filter(|length| (3..4_096).contains(length))?;
    let position = image.number(address.checked_add(16)?)?;
    let line = u32::try_from(position & 0xffff_ffff).ok()?;
    let column = position >> 32;
    if line == 0 || line > 1_000_000 || column == 0 || column > 100_000 {
        return None;
    }
    let file = std::str::from_utf8(image.bytes(text, length)?).ok()?;
    file.ends_with(".rs").then(|| Source {
        file: file.to_owned(),
        line,
    })
}

/// Where the outermost state machine of a function was written, by the function's address.
pub(super) type Machines = HashMap<u64, Option<Source>>;

/// The place of the outermost state machine in the function at `address`; others may be inlined into it.
pub(super) fn outermost(code: &Code, address: u64, known: &mut Machines) -> Option<Source> {
    if let Some(known) = known.get(&address) {
        return known.clone();
    }
    let walk = Walk {
        code,
        bounds: code.bounds(address),
        seen: HashSet::from([address]),
        next: VecDeque::from([(address, None)]),
        left: INSTRUCTIONS,
    };
    let found = walk.run();
    known.insert(address, found.clone());
    found
}

/// Follows the code of a function from its entry, branch by branch. The state of the outermost machine is looked at first, and only
/// behind that the states of inner ones, so the first panic met is its own.
struct Walk<'a, 'image, 'data> {
    code: &'a Code<'image, 'data>,
    bounds: Range<u64>,
    seen: HashSet<u64>,
    /// Where to go on, and the constant that was named last on the way there: it may be a jump table.
    next: VecDeque<(u64, Option<u64>)>,
    left: usize,
}

impl Walk<'_, '_, '_> {
    fn run(mut self) -> Option<Source> {
        while let Some((start, table)) = self.next.pop_front() {
            if let Some(found) = self.block(start, table) {
                return Some(found);
            }
        }
        None
    }

    fn block(&mut self, start: u64, mut table: Option<u64>) -> Option<Source> {
        let code = self.code;
        let mut place = None;
        let mut is_resumed = false;
        for instruction in code.decode(start..self.bounds.end) {
            self.left = self.left.checked_sub(1)?;
            let target = code.target(&instruction);
            match instruction.flow_control() {
                FlowControl::Next => {
                    let Some(data) = target else { continue };
                    if let Some(found) = location(code.image, data) {
                        place = Some(found);
                    } else if tells(code.image, data, &RESUMED) {
                        is_resumed = true;
                    } else if !code.image.is_code(data) {
                        table = Some(data);
                    }
                    continue;
                }
                FlowControl::Call | FlowControl::IndirectCall => {
                    if place.is_none() {
                        continue;
                    }
                    if is_resumed || target.is_some_and(|callee| panics_resumed(code, callee)) {
                        return place;
                    }
                    // Most functions that are told a place panic with it and do not return.
                    self.later(instruction.next_ip(), table);
                    return None;
                }
                FlowControl::ConditionalBranch => {
                    self.later(instruction.near_branch_target(), table);
                    self.later(instruction.next_ip(), table);
                }
                FlowControl::UnconditionalBranch => {
                    let target = instruction.near_branch_target();
                    if place.is_some() && panics_resumed(code, target) {
                        return place;
                    }
                    self.later(target, table);
                }
                FlowControl::IndirectBranch => {
                    if place.is_some() && target.is_some_and(|callee| panics_resumed(code, callee))
                    {
                        return place;
                    }
                    self.jump_table(&instruction, table);
                }
                FlowControl::Return
                | FlowControl::Interrupt
                | FlowControl::XbeginXabortXend
                | FlowControl::Exception => {}
            }
            return None;
        }
        None
    }

    fn later(&mut self, address: u64, table: Option<u64>) {
        if self.bounds.contains(&address) && self.seen.insert(address) {
            self.next.push_back((address, table));
        }
    }

    /// State 1 is the end, 2 a panic; so these come first.
    fn jump_table(&mut self, instruction: &Instruction, table: Option<u64>) {
        let image = self.code.image;
        let is_absolute =
            instruction.op0_kind() == OpKind::Memory && instruction.memory_index_scale() == 8;
        let entry = |state: u64| {
            if is_absolute {
                let table = instruction.memory_displacement64();
                return image.word(table.checked_add(8 * state)?);
            }
            let table = table?;
            let bytes = image.bytes(table.checked_add(4 * state)?, 4)?;
            let offset = i32::from_le_bytes(bytes.try_into().ok()?);
            table.checked_add_signed(i64::from(offset))
        };
        let targets: Vec<u64> = (0..STATES)
            .map_while(entry)
            .take_while(|target| self.bounds.contains(target))
            .collect();
        let (ends, others) = targets.split_at(targets.len().min(3));
        for &target in ends.iter().rev().chain(others) {
            self.later(target, table);
        }
    }
}

/// True for `core::panicking::panic_const::panic_const_async_fn_resumed` and its sisters.
fn panics_resumed(code: &Code, function: u64) -> bool {
    let function = code.function(function);
    let mut data = function.data.iter();
    function.size <= 256 && data.any(|&data| tells(code.image, data, &RESUMED))
}

/// What a state machine panics with that is polled after its end.
const RESUMED: [&[u8]; 2] = [
    b"`async fn` resumed after ",
    b"`async gen fn` resumed after ",
];

/// True when there is one of the texts, or the address of one.
pub(super) fn tells(image: &Image, address: u64, texts: &[&[u8]]) -> bool {
    let is_text = |address| {
        let bytes = image.from(address).unwrap_or_default();
        texts.iter().any(|text| bytes.starts_with(text))
    };
    is_text(address) || image.pointer(address).is_some_and(is_text)
}
