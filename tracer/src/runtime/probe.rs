//! Where a function is probed.
//!
//! The kernel emulates some instructions when a probe is on them and single-steps a copy of all others, which was
//! measured to cost fifteen times as much. So the place is the first one it emulates, as long as every call passes it
//! once and finds there what is to be read.

use std::ops::Range;

use iced_x86::{
    FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register,
};
use serde::{Deserialize, Serialize};

use super::code::{Code, is_copy};

/// An instruction to probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProbePoint {
    /// Where it is in the file, in bytes from its start.
    pub file_offset: u64,
    /// The kernel emulates it; another one it has to copy out and single-step, which costs many times as much.
    pub is_emulated: bool,
}

/// An instruction to probe, and where arguments are when it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) point: ProbePoint,
    /// For each argument the number of a register that holds it, as DWARF numbers them.
    pub(super) registers: Vec<u8>,
}

/// The entry of a function.
pub(super) fn entry(code: &Code, address: u64) -> Option<ProbePoint> {
    let file_offset = code.image.file_offset(address)?;
    let first = code.decode(code.bounds(address)).next()?;
    Some(ProbePoint {
        file_offset,
        is_emulated: is_emulated(code, &first),
    })
}

/// The first emulated instruction that every call executes, once, while all of `arguments` are in registers, before an
/// instruction that `stops` tells of; the entry when there is none.
pub(super) fn place(
    code: &Code,
    function: u64,
    arguments: &[Register],
    stops: impl Fn(&Instruction) -> bool,
) -> Option<Place> {
    let found = |point: ProbePoint, registers: &mut dyn Iterator<Item = Register>| {
        let registers = registers.map(dwarf_register).collect::<Option<_>>()?;
        Some(Place { point, registers })
    };
    let bounds = code.bounds(function);
    let mut held: Vec<Vec<Register>> = arguments.iter().map(|&one| vec![one]).collect();
    let mut infos = InstructionInfoFactory::new();
    for instruction in code.decode(bounds.clone()) {
        if stops(&instruction) || held.iter().any(Vec::is_empty) {
            break;
        }
        if is_emulated(code, &instruction) {
            if is_repeated(code, bounds, instruction.ip()) {
                break;
            }
            let point = ProbePoint {
                file_offset: code.image.file_offset(instruction.ip())?,
                is_emulated: true,
            };
            let mut registers = held.iter().filter_map(|held| held.first().copied());
            return found(point, &mut registers);
        }
        if instruction.flow_control() != FlowControl::Next {
            break;
        }
        for held in &mut held {
            follow(held, &instruction, &mut infos);
        }
    }
    found(entry(code, function)?, &mut arguments.iter().copied())
}

/// Behind an early way out: the instruction to probe of a function that begins by comparing something, and returns at once
/// or jumps to where it does its work. Nothing was moved until there, arguments are in their registers and the address to
/// return to is on top of the stack; calls with nothing to do do not pass. `None` for a function that begins otherwise.
pub(super) fn behind_exit(code: &Code, function: u64, arguments: &[Register]) -> Option<Place> {
    let bounds = code.bounds(function);
    let mut instructions = code.decode(bounds.clone());
    let (compare, jump, exit) = (
        instructions.next()?,
        instructions.next()?,
        instructions.next()?,
    );
    let work = jump.near_branch_target();
    let compares = matches!(compare.mnemonic(), Mnemonic::Cmp | Mnemonic::Test);
    let is_jump = jump.flow_control() == FlowControl::ConditionalBranch
        && jump.op0_kind() == OpKind::NearBranch64;
    let leaves = exit.flow_control() == FlowControl::Return;
    if !compares || !is_jump || !leaves || work <= exit.ip() || !bounds.contains(&work) {
        return None;
    }
    let first = code
        .decode(bounds.clone())
        .find(|found| found.ip() >= work)?;
    // Only the first jump leads there, and none to before it.
    let mut others = code.decode(bounds.clone()).skip(2);
    let is_repeated = others.any(|other| {
        let is_branch = matches!(
            other.flow_control(),
            FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch
        ) && other.op0_kind() == OpKind::NearBranch64;
        is_branch && (bounds.start..=work).contains(&other.near_branch_target())
    });
    if first.ip() != work || !is_emulated(code, &first) || is_repeated {
        return None;
    }
    let registers = arguments.iter().copied().map(dwarf_register);
    Some(Place {
        point: ProbePoint {
            file_offset: code.image.file_offset(work)?,
            is_emulated: true,
        },
        registers: registers.collect::<Option<_>>()?,
    })
}

/// True when the function jumps back to this instruction, or to between it and the entry: a call would pass it again.
fn is_repeated(code: &Code, function: Range<u64>, address: u64) -> bool {
    let passed = function.start..=address;
    address > function.start
        && code.decode(function).any(|instruction| {
            let is_jump = matches!(
                instruction.flow_control(),
                FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch
            ) && instruction.op0_kind() == OpKind::NearBranch64;
            is_jump && passed.contains(&instruction.near_branch_target())
        })
}

/// True when the instruction moves the top of the stack, where the address to return to is at the entry: behind it no
/// return can be probed.
pub(super) fn moves_stack(instruction: &Instruction) -> bool {
    let mut infos = InstructionInfoFactory::new();
    let used = infos.info(instruction).used_registers();
    used.iter()
        .any(|used| is_written(used.access()) && used.register().full_register() == Register::RSP)
}

/// What every kernel that can probe emulates: `jmp`, `call` and conditional jumps to a fixed place, one-byte `nop`,
/// and `push` of a register. With an operand size or segment prefix it even refuses them.
///
/// <https://github.com/torvalds/linux/blob/v6.12/arch/x86/kernel/uprobes.c> (`branch_setup_xol_ops`,
/// `push_setup_xol_ops`, `is_prefix_bad`)
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "there are two thousand instructions"
)]
fn is_emulated(code: &Code, instruction: &Instruction) -> bool {
    let bytes = code.image.from(instruction.ip()).unwrap_or_default();
    let Some(&first) = bytes.first() else {
        return false;
    };
    let is_near = instruction.op0_kind() == OpKind::NearBranch64;
    let is_plain = !matches!(first, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67);
    match instruction.flow_control() {
        FlowControl::ConditionalBranch => is_near && is_plain && !is_loop(instruction),
        FlowControl::UnconditionalBranch | FlowControl::Call => is_near && is_plain,
        FlowControl::Next => match instruction.mnemonic() {
            Mnemonic::Nop => instruction.len() == 1,
            Mnemonic::Push if instruction.op0_kind() == OpKind::Register => {
                matches!((instruction.len(), first), (1, _) | (2, 0x41))
            }
            _ => false,
        },
        _ => false,
    }
}

/// `loop` and `jrcxz` are conditional jumps that the kernel does not emulate.
fn is_loop(instruction: &Instruction) -> bool {
    matches!(
        instruction.mnemonic(),
        Mnemonic::Loop
            | Mnemonic::Loope
            | Mnemonic::Loopne
            | Mnemonic::Jrcxz
            | Mnemonic::Jecxz
            | Mnemonic::Jcxz
    )
}

/// True when decoding from the function's beginning on comes to this instruction.
pub(super) fn is_instruction(code: &Code, point: ProbePoint) -> bool {
    let address = code.image.code_at(point.file_offset);
    let Some((address, function)) =
        address.and_then(|address| Some((address, code.image.function(address)?)))
    else {
        return false;
    };
    code.decode(function)
        .find(|instruction| instruction.ip() >= address)
        .is_some_and(|found| {
            found.ip() == address && is_emulated(code, &found) == point.is_emulated
        })
}

/// Keeps track of which registers hold a value.
fn follow(held: &mut Vec<Register>, instruction: &Instruction, infos: &mut InstructionInfoFactory) {
    if let Some((to, from)) = is_copy(instruction) {
        let known = held.contains(&from);
        held.retain(|&register| register != to);
        if known {
            held.push(to);
        }
        return;
    }
    for used in infos.info(instruction).used_registers() {
        if is_written(used.access()) {
            held.retain(|&register| register != used.register().full_register());
        }
    }
}

fn is_written(access: OpAccess) -> bool {
    matches!(
        access,
        OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
    )
}

/// <https://gitlab.com/x86-psABIs/x86-64-ABI> (DWARF Register Number Mapping)
pub(super) fn dwarf_register(register: Register) -> Option<u8> {
    const ORDER: [Register; 16] = [
        Register::RAX,
        Register::RDX,
        Register::RCX,
        Register::RBX,
        Register::RSI,
        Register::RDI,
        Register::RBP,
        Register::RSP,
        Register::R8,
        Register::R9,
        Register::R10,
        Register::R11,
        Register::R12,
        Register::R13,
        Register::R14,
        Register::R15,
    ];
    let at = ORDER.iter().position(|&known| known == register)?;
    u8::try_from(at).ok()
}
