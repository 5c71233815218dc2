//! Which instructions to probe: the entries of `poll`, and one that every wake of a task passes.
//!
//! The kernel emulates some instructions when a probe is on them and single-steps a copy of all others, which was
//! measured to cost fifteen times as much.

use std::collections::{HashMap, HashSet};

use iced_x86::{
    FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register,
};

use super::{ProbePoint, Tokio, WakeProbe, code::Code, coroutine::is_copy, scan::Vtable};

/// Calls from `poll` to where a waker is made: none when all is inlined, eight in a debug build.
const DEPTH: usize = 8;
/// Functions looked at on the way.
const FUNCTIONS: usize = 400;
/// Types asked which waker they make.
const ASKED: usize = 64;

/// The entry of a function.
pub(super) fn entry(code: &Code, address: u64) -> Option<ProbePoint> {
    let file_offset = code.image.file_offset(address)?;
    let first = code.decode(code.bounds(address)).next()?;
    Some(ProbePoint {
        file_offset,
        is_emulated: is_emulated(code, &first),
    })
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

/// True when every probe can be put where it is said to be.
pub(super) fn fit(code: &Code, tokio: &Tokio) -> bool {
    let begins = |address| {
        let function = code.image.function(address);
        function.is_some_and(|function| function.start == address)
    };
    let polls = tokio.types.iter().all(|of_type| {
        // The return of `poll` is probed too: then the word on top of the stack has to be where it returns to.
        begins(of_type.poll) && entry(code, of_type.poll) == Some(of_type.poll_probe)
    });
    let others = tokio.wakes.iter().chain(&tokio.spawns);
    polls
        && others
            .map(|probe| probe.point)
            .all(|point| is_instruction(code, point))
}

/// True when decoding from the function's beginning on comes to this instruction.
fn is_instruction(code: &Code, point: ProbePoint) -> bool {
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

/// The address of the table of functions in every waker of a task: `clone`, `wake`, `wake_by_ref`, `drop`.
pub(super) fn waker_table(code: &Code, vtables: &[Vtable]) -> Option<u64> {
    let image = code.image;
    let mut by_name = image.named(|name| name.contains("4task5waker12WAKER_VTABLE"));
    if let Some((address, _)) = by_name
        .next()
        .filter(|(address, _)| is_table(code, *address))
    {
        return Some(address);
    }
    // Each `poll` makes a waker, so all of them name the table; other wakers are named by few.
    let mut polls: Vec<u64> = vtables.iter().map(Vtable::poll).collect();
    polls.sort_unstable();
    polls.dedup();
    let step = polls.len().div_ceil(ASKED).max(1);
    let asked: Vec<u64> = polls.into_iter().step_by(step).collect();
    let mut votes: HashMap<u64, usize> = HashMap::new();
    for &poll in &asked {
        let mut seen = HashSet::new();
        for (function, _) in code.reach(poll, DEPTH, FUNCTIONS, |_| true) {
            let tables = code.function(function);
            seen.extend(tables.data.iter().filter(|&&data| is_table(code, data)));
        }
        for table in seen {
            *votes.entry(table).or_default() += 1;
        }
    }
    let best = votes
        .into_iter()
        .filter(|(_, votes)| votes * 4 >= asked.len() * 3)
        .max_by_key(|&(address, votes)| (votes, std::cmp::Reverse(address)))?;
    Some(best.0)
}

/// Four functions, of which the first makes another waker with the same table.
fn is_table(code: &Code, address: u64) -> bool {
    let Some(functions) = table(code, address) else {
        return false;
    };
    let made = code.reach(functions[0], 2, 40, |_| true);
    let makes = |function: u64| code.function(function).data.contains(&address);
    code.image.is_constant(address)
        && made.iter().any(|&(function, _)| makes(function))
        && counts_up(code, functions[0])
}

fn table(code: &Code, address: u64) -> Option<[u64; 4]> {
    let mut functions = [0; 4];
    for (place, function) in (address..).step_by(8).zip(&mut functions) {
        *function = code
            .image
            .pointer(place)
            .filter(|&target| code.image.is_code(target))?;
    }
    Some(functions)
}

/// True when the function adds a reference (64) to what its first argument points at, or calls who does.
fn counts_up(code: &Code, function: u64) -> bool {
    let adds = |function| {
        code.decode(code.bounds(function)).any(|instruction| {
            instruction.has_lock_prefix()
                && matches!(instruction.mnemonic(), Mnemonic::Xadd | Mnemonic::Add)
        })
    };
    let reached = code.reach(function, 3, 40, |_| true);
    reached.iter().any(|&(function, _)| adds(function))
}

/// Where every wake passes, by value and by reference. Before tokio 1.2x each task type has its own table, found by
/// name only.
pub(super) fn wakes(code: &Code, waker_table: Option<u64>) -> Vec<WakeProbe> {
    let mut functions: Vec<u64> = match waker_table.and_then(|address| table(code, address)) {
        Some([_, by_value, by_reference, _]) => vec![by_value, by_reference],
        None => {
            let is_wake = |name: &str| name.contains("7runtime4task5waker11wake_by_");
            code.image
                .named(is_wake)
                .map(|(address, _)| address)
                .collect()
        }
    };
    functions.sort_unstable();
    functions.dedup();
    functions
        .into_iter()
        .filter_map(|function| cheap_point(code, function))
        .collect()
}

/// Where closures are handed to the blocking pool. By name only: nothing in the code tells it from other functions.
///
/// `Spawner::spawn_task(&self, task: Task, rt: &Handle)`, from tokio 1.21 on; a `Task` begins with the header's address.
/// <https://github.com/tokio-rs/tokio/blob/tokio-1.44.2/tokio/src/runtime/blocking/pool.rs#L409>
pub(super) fn handovers(code: &Code) -> Vec<WakeProbe> {
    const SECOND_ARGUMENT: Register = Register::RSI;
    let is_spawn = |name: &str| {
        name.contains("8blocking4pool")
            && name.contains("7Spawner10spawn_task")
            && !name.contains("closure")
    };
    code.image
        .named(is_spawn)
        .filter_map(|(function, _)| {
            Some(WakeProbe {
                point: entry(code, function)?,
                header_register: dwarf_register(SECOND_ARGUMENT)?,
            })
        })
        .collect()
}

/// The first emulated instruction that every call executes while the header's address is in a register, before the
/// task's state is changed; the entry when there is none.
fn cheap_point(code: &Code, function: u64) -> Option<WakeProbe> {
    let first = entry(code, function)?;
    let mut headers = vec![Register::RDI];
    let mut infos = InstructionInfoFactory::new();
    for instruction in code.decode(code.bounds(function)) {
        if instruction.has_lock_prefix() || headers.is_empty() {
            break;
        }
        if is_emulated(code, &instruction) {
            return Some(WakeProbe {
                point: ProbePoint {
                    file_offset: code.image.file_offset(instruction.ip())?,
                    is_emulated: true,
                },
                header_register: dwarf_register(*headers.first()?)?,
            });
        }
        if instruction.flow_control() != FlowControl::Next {
            break;
        }
        follow(&mut headers, &instruction, &mut infos);
    }
    Some(WakeProbe {
        point: first,
        header_register: dwarf_register(Register::RDI)?,
    })
}

/// Keeps track of which registers hold the header's address.
fn follow(
    headers: &mut Vec<Register>,
    instruction: &Instruction,
    infos: &mut InstructionInfoFactory,
) {
    if let Some((to, from)) = is_copy(instruction) {
        let known = headers.contains(&from);
        headers.retain(|&register| register != to);
        if known {
            headers.push(to);
        }
        return;
    }
    for used in infos.info(instruction).used_registers() {
        let is_written = matches!(
            used.access(),
            OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
        );
        if is_written {
            headers.retain(|&register| register != used.register().full_register());
        }
    }
}

/// <https://gitlab.com/x86-psABIs/x86-64-ABI> (DWARF Register Number Mapping)
fn dwarf_register(register: Register) -> Option<u8> {
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
