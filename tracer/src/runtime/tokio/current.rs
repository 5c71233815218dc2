//! Where a thread keeps the id of the task it polls: `CONTEXT.current_task_id`, a thread-local variable.
//!
//! Around each poll the id is put there and what was there is put back, so it is a place, relative to the thread
//! pointer, that the code below `poll` both reads and writes as a word. In a program the linker knows the place; in a
//! library it is known only when loaded.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use iced_x86::{Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};

use super::scan::Vtable;
use crate::runtime::code::{Code, is_copy};

/// Calls from `poll` to where the id is set, and functions looked at on the way.
const DEPTH: usize = 3;
const FUNCTIONS: usize = 64;
/// Types asked.
const ASKED: usize = 64;

/// Candidates, from the thread pointer on in bytes, the likeliest first.
pub(super) fn candidates(code: &Code, vtables: &[Vtable]) -> Vec<i64> {
    let Some(block) = code
        .image
        .thread_block()
        .filter(|_| code.image.is_program())
    else {
        return Vec::new();
    };
    let mut polls: Vec<u64> = vtables.iter().map(Vtable::poll).collect();
    polls.sort_unstable();
    polls.dedup();
    let step = polls.len().div_ceil(ASKED).max(1);
    let ids: BTreeSet<u64> = vtables.iter().filter_map(|table| table.id).collect();
    // What is certainly an id that is put there counts more than what is just read and written.
    const CERTAIN: usize = 16;
    let mut votes: BTreeMap<i64, usize> = BTreeMap::new();
    let mut known: HashMap<u64, (BTreeSet<i64>, BTreeSet<i64>)> = HashMap::new();
    for poll in polls.into_iter().step_by(step) {
        let reached = code.reach(poll, DEPTH, FUNCTIONS, |_| true);
        let (mut places, mut certain) = (BTreeSet::new(), BTreeSet::new());
        for (function, _) in reached {
            let (swapped, ids) = known
                .entry(function)
                .or_insert_with(|| swapped(code, function, &ids));
            places.extend(swapped.iter().copied());
            certain.extend(ids.iter().copied());
        }
        for place in places {
            let weight = if certain.contains(&place) { CERTAIN } else { 1 };
            *votes.entry(place).or_default() += weight;
        }
    }
    let context = context(code);
    let inside = |place: &i64| {
        let size = place.unsigned_abs();
        let from_start = block.checked_sub(size);
        *place < 0
            && size.is_multiple_of(8)
            && from_start.is_some_and(|at| context.as_ref().is_none_or(|all| all.contains(&at)))
    };
    let mut ordered: Vec<(usize, i64)> = votes
        .into_iter()
        .filter(|(place, _)| inside(place))
        .map(|(place, votes)| (votes, place))
        .collect();
    ordered.sort_by_key(|&(votes, place)| (std::cmp::Reverse(votes), place));
    let mut places = by_name(code, block, context.as_ref().map(|all| all.start));
    places.extend(ordered.into_iter().map(|(_, place)| place));
    let mut seen = BTreeSet::new();
    places.retain(|place| inside(place) && seen.insert(*place));
    places
}

/// Where the variable is in the block of thread-local ones, when it has a name.
fn context(code: &Code) -> Option<std::ops::Range<u64>> {
    let is_context =
        |name: &str| name.contains("5tokio7runtime7context7CONTEXT") && name.contains("VAL");
    let (start, size) = code.image.thread_locals(is_context).next()?;
    Some(start..start.checked_add(size)?)
}

/// In a build without optimization nothing of it is in one function; but then there are names.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "there are two thousand instructions"
)]
fn by_name(code: &Code, block: u64, context: Option<u64>) -> Vec<i64> {
    let image = code.image;
    let Some(context) = context else {
        return Vec::new();
    };
    let is_setter =
        |name: &str| name.contains("7context19set_current_task_id") && name.contains("closure");
    let mut places = Vec::new();
    for (setter, _) in image.named(is_setter) {
        // The address of the field is made from that of the variable.
        let field =
            code.decode(code.bounds(setter))
                .find_map(|instruction| match instruction.mnemonic() {
                    Mnemonic::Lea if instruction.memory_base() == Register::RDI => {
                        Some(instruction.memory_displacement64())
                    }
                    Mnemonic::Add if instruction.op0_register() == Register::RDI => {
                        Some(instruction.immediate(1))
                    }
                    _ => None,
                });
        let place = field.and_then(|field| {
            let from_start = i64::try_from(context.checked_add(field)?).ok()?;
            from_start.checked_sub_unsigned(block)
        });
        places.extend(place);
    }
    places
}

/// Places relative to the thread pointer that a function both reads and writes as words; and those it writes a word to
/// that it has from where tasks have their `ids`.
fn swapped(code: &Code, function: u64, ids: &BTreeSet<u64>) -> (BTreeSet<i64>, BTreeSet<i64>) {
    let mut walk = Walk {
        pointers: HashMap::new(),
        read: BTreeSet::new(),
        written: BTreeSet::new(),
        loaded: HashMap::new(),
        stored: BTreeSet::new(),
        infos: InstructionInfoFactory::new(),
    };
    for instruction in code.decode(code.bounds(function)) {
        walk.step(&instruction);
    }
    let swapped = walk.read.intersection(&walk.written).copied().collect();
    let certain = walk.stored.iter().filter(|(_, from)| ids.contains(from));
    (swapped, certain.map(|&(place, _)| place).collect())
}

struct Walk {
    /// Registers that hold the thread pointer and so much more.
    pointers: HashMap<Register, i64>,
    read: BTreeSet<i64>,
    written: BTreeSet<i64>,
    /// Registers that hold what was so far behind some address.
    loaded: HashMap<Register, u64>,
    /// Where such was written to, and from how far behind.
    stored: BTreeSet<(i64, u64)>,
    infos: InstructionInfoFactory,
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "there are two thousand instructions"
)]
impl Walk {
    fn step(&mut self, instruction: &Instruction) {
        let memory = self.place(instruction);
        let kinds = (instruction.op0_kind(), instruction.op1_kind());
        if let Some(place) = memory {
            match (instruction.mnemonic(), kinds) {
                (Mnemonic::Mov, (OpKind::Register, OpKind::Memory))
                    if instruction.op0_register().is_gpr64() =>
                {
                    self.read.insert(place);
                }
                (Mnemonic::Mov, (OpKind::Memory, OpKind::Register))
                    if instruction.op1_register().is_gpr64() =>
                {
                    self.written.insert(place);
                    let from = self.loaded.get(&instruction.op1_register());
                    self.stored.extend(from.map(|&from| (place, from)));
                }
                (Mnemonic::Xchg, _) => {
                    self.read.insert(place);
                    self.written.insert(place);
                }
                _ => {}
            }
        }
        let made = self.made(instruction, memory);
        let loaded = self.behind(instruction, memory);
        for used in self.infos.info(instruction).used_registers() {
            let is_written = matches!(
                used.access(),
                OpAccess::Write
                    | OpAccess::CondWrite
                    | OpAccess::ReadWrite
                    | OpAccess::ReadCondWrite
            );
            if is_written {
                self.pointers.remove(&used.register().full_register());
                self.loaded.remove(&used.register().full_register());
            }
        }
        if instruction.is_call_near() || instruction.is_call_near_indirect() {
            const KEPT: [Register; 6] = [
                Register::RBX,
                Register::RBP,
                Register::R12,
                Register::R13,
                Register::R14,
                Register::R15,
            ];
            self.pointers.retain(|register, _| KEPT.contains(register));
            self.loaded.retain(|register, _| KEPT.contains(register));
        }
        if let Some((register, place)) = made {
            self.pointers.insert(register, place);
        }
        if let Some((register, offset)) = loaded {
            self.loaded.insert(register, offset);
        }
    }

    /// The register that holds what is behind some address after this, and how far behind.
    fn behind(&self, instruction: &Instruction, memory: Option<i64>) -> Option<(Register, u64)> {
        if let Some((to, from)) = is_copy(instruction) {
            return Some((to, *self.loaded.get(&from)?));
        }
        let is_load = instruction.mnemonic() == Mnemonic::Mov
            && instruction.op0_kind() == OpKind::Register
            && instruction.op0_register().is_gpr64()
            && instruction.op1_kind() == OpKind::Memory
            && instruction.memory_index() == Register::None
            && instruction.memory_base().is_gpr64()
            && memory.is_none();
        is_load.then(|| {
            (
                instruction.op0_register(),
                instruction.memory_displacement64(),
            )
        })
    }

    /// The register that holds an address near the thread pointer after this, and which.
    fn made(&self, instruction: &Instruction, memory: Option<i64>) -> Option<(Register, i64)> {
        if let Some((to, from)) = is_copy(instruction) {
            return Some((to, *self.pointers.get(&from)?));
        }
        let to = instruction.op0_register();
        match instruction.mnemonic() {
            // The word at the thread pointer is its own address.
            Mnemonic::Mov if memory == Some(0) && to.is_gpr64() => Some((to, 0)),
            Mnemonic::Lea if to.is_gpr64() => Some((to, memory?)),
            Mnemonic::Add if to.is_gpr64() && instruction.op1_kind() != OpKind::Register => {
                let more = instruction.try_immediate(1).ok()?.cast_signed();
                Some((to, self.pointers.get(&to)?.checked_add(more)?))
            }
            _ => None,
        }
    }

    /// What a memory operand names, relative to the thread pointer.
    fn place(&self, instruction: &Instruction) -> Option<i64> {
        let has_memory = [instruction.op0_kind(), instruction.op1_kind()].contains(&OpKind::Memory);
        if !has_memory || instruction.memory_index() != Register::None {
            return None;
        }
        let displacement = instruction.memory_displacement64().cast_signed();
        let base = instruction.memory_base();
        match instruction.memory_segment() {
            Register::FS if base == Register::None => Some(displacement),
            Register::FS => None,
            _ => self.pointers.get(&base)?.checked_add(displacement),
        }
    }
}
