//! What machine code refers to: which functions it calls, which data it names.

use std::{cell::RefCell, collections::HashMap, ops::Range, rc::Rc};

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

use super::image::Image;

/// Bytes looked at of a function whose end is not known.
const UNKNOWN: u64 = 512;
/// Bytes looked at of any function. A state machine with everything inlined can have a hundred kilobytes.
const LONGEST: u64 = 1 << 20;

/// What a function refers to, in the order of its code.
#[derive(Debug, Default)]
pub(super) struct Function {
    /// Bytes of its code.
    pub(super) size: u64,
    /// Functions it calls, jumps to or passes on, none twice.
    pub(super) calls: Vec<u64>,
    /// Data it names, none twice.
    pub(super) data: Vec<u64>,
}

/// The code of an image; remembers what it has decoded.
pub(super) struct Code<'image, 'data> {
    pub(super) image: &'image Image<'data>,
    known: RefCell<HashMap<u64, Rc<Function>>>,
}

impl<'image, 'data> Code<'image, 'data> {
    pub(super) fn new(image: &'image Image<'data>) -> Self {
        Self {
            image,
            known: RefCell::default(),
        }
    }

    /// Where the function at `address` begins and ends.
    pub(super) fn bounds(&self, address: u64) -> Range<u64> {
        let bounds = self.image.function(address);
        let end = bounds.map_or(address.saturating_add(UNKNOWN), |bounds| bounds.end);
        address..end.min(address.saturating_add(LONGEST))
    }

    /// Decodes from `range.start` on, until the end of the range or of what can be decoded.
    pub(super) fn decode(&self, range: Range<u64>) -> impl Iterator<Item = Instruction> + 'data {
        let size = range.end.saturating_sub(range.start);
        let bytes = self.image.from(range.start).unwrap_or_default();
        let bytes = &bytes[..bytes.len().min(usize::try_from(size).unwrap_or(0))];
        let mut decoder = Decoder::with_ip(64, bytes, range.start, DecoderOptions::NONE);
        std::iter::from_fn(move || {
            decoder
                .can_decode()
                .then(|| decoder.decode())
                .filter(|instruction| !instruction.is_invalid())
        })
    }

    /// What the function at `address` refers to.
    pub(super) fn function(&self, address: u64) -> Rc<Function> {
        if let Some(known) = self.known.borrow().get(&address) {
            return Rc::clone(known);
        }
        let function = Rc::new(self.analyse(address));
        self.known
            .borrow_mut()
            .insert(address, Rc::clone(&function));
        function
    }

    fn analyse(&self, address: u64) -> Function {
        let bounds = self.bounds(address);
        let mut function = Function {
            size: bounds.end - bounds.start,
            ..Function::default()
        };
        for instruction in self.decode(bounds.clone()) {
            let Some(target) = self.target(&instruction) else {
                continue;
            };
            let list = if !self.image.is_code(target) {
                &mut function.data
            } else if bounds.contains(&target) {
                continue;
            } else {
                &mut function.calls
            };
            if !list.contains(&target) {
                list.push(target);
            }
        }
        function
    }

    /// The address that an instruction names: calls it, jumps to it, or loads it, be it through the table of addresses
    /// that the linker makes.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "there are two thousand instructions"
    )]
    pub(super) fn target(&self, instruction: &Instruction) -> Option<u64> {
        match instruction.op0_kind() {
            OpKind::NearBranch64 => return Some(instruction.near_branch_target()),
            OpKind::Memory
                if instruction.is_call_near_indirect() || instruction.is_jmp_near_indirect() =>
            {
                return self.slot(instruction);
            }
            _ => {}
        }
        if instruction.op0_kind() != OpKind::Register {
            return self.immediate(instruction);
        }
        match instruction.mnemonic() {
            Mnemonic::Lea if instruction.is_ip_rel_memory_operand() => {
                Some(instruction.ip_rel_memory_address())
            }
            Mnemonic::Mov if instruction.op1_kind() == OpKind::Memory => self.slot(instruction),
            Mnemonic::Mov => self.immediate(instruction),
            _ => None,
        }
    }

    /// The address in the constant word that a memory operand names.
    fn slot(&self, instruction: &Instruction) -> Option<u64> {
        let is_absolute = instruction.memory_base() == Register::None
            && instruction.memory_index() == Register::None
            && instruction.segment_prefix() == Register::None;
        let slot = if instruction.is_ip_rel_memory_operand() {
            instruction.ip_rel_memory_address()
        } else if is_absolute {
            instruction.memory_displacement64()
        } else {
            return None;
        };
        self.image
            .is_constant(slot)
            .then(|| self.image.pointer(slot))?
    }

    /// Where addresses are known when linking, they are plain numbers in the code.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "there are dozens of kinds of operands"
    )]
    fn immediate(&self, instruction: &Instruction) -> Option<u64> {
        if self.image.is_movable() || instruction.mnemonic() != Mnemonic::Mov {
            return None;
        }
        let value = match instruction.op1_kind() {
            OpKind::Immediate32 => u64::from(instruction.immediate32()),
            OpKind::Immediate32to64 => instruction.immediate32to64().cast_unsigned(),
            OpKind::Immediate64 => instruction.immediate64(),
            _ => return None,
        };
        (self.image.is_code(value) || self.image.is_constant(value)).then_some(value)
    }

    /// Those of the functions that the code calls or jumps to by name. Looks at all of it, without decoding: that four
    /// bytes look like such a call by chance is next to impossible.
    pub(super) fn called(&self, functions: &[u64]) -> Vec<u64> {
        const CALL: u8 = 0xe8;
        const JUMP: u8 = 0xe9;
        let mut called = Vec::new();
        for segment in self.image.segments().iter().filter(|one| one.is_executable) {
            let bytes = self.image.from(segment.address).unwrap_or_default();
            for at in memchr::memchr2_iter(CALL, JUMP, bytes) {
                let Some(offset) = bytes
                    .get(at + 1..at + 5)
                    .and_then(|one| one.try_into().ok())
                else {
                    continue;
                };
                let next = segment.address.wrapping_add(at as u64 + 5);
                let target = next.wrapping_add_signed(i64::from(i32::from_le_bytes(offset)));
                if functions.contains(&target) && !called.contains(&target) {
                    called.push(target);
                }
            }
        }
        called
    }

    /// The functions that can be reached from `start` by at most `depth` calls, nearest first, with the number of
    /// calls; at most `most`. Goes no further from those that `enter` refuses.
    pub(super) fn reach(
        &self,
        start: u64,
        depth: usize,
        most: usize,
        enter: impl Fn(u64) -> bool,
    ) -> Vec<(u64, usize)> {
        let mut reached = vec![(start, 0)];
        let mut seen = std::collections::HashSet::from([start]);
        let mut next = 0;
        while let Some(&(address, at)) = reached.get(next) {
            next += 1;
            if at >= depth || !enter(address) {
                continue;
            }
            for &call in &self.function(address).calls {
                if reached.len() >= most {
                    return reached;
                }
                if seen.insert(call) {
                    reached.push((call, at + 1));
                }
            }
        }
        reached
    }
}

/// To which register an instruction copies the address-sized content of which other one.
pub(super) fn is_copy(instruction: &Instruction) -> Option<(Register, Register)> {
    let is_copy = instruction.mnemonic() == Mnemonic::Mov
        && instruction.op0_kind() == OpKind::Register
        && instruction.op1_kind() == OpKind::Register
        && instruction.op0_register().size() == 8;
    is_copy.then(|| (instruction.op0_register(), instruction.op1_register()))
}
