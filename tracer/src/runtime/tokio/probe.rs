//! Which instructions to probe: the entries of `poll`, and one that every wake of a task passes.

use std::collections::{HashMap, HashSet};

use iced_x86::{Mnemonic, Register};

use super::{Tokio, WakeProbe, scan::Vtable};
use crate::runtime::{code::Code, probe};

/// Calls from `poll` to where a waker is made: none when all is inlined, eight in a debug build.
const DEPTH: usize = 8;
/// Functions looked at on the way.
const FUNCTIONS: usize = 400;
/// Types asked which waker they make.
const ASKED: usize = 64;

/// True when every probe can be put where it is said to be.
pub(super) fn fit(code: &Code, tokio: &Tokio) -> bool {
    let begins = |address| {
        let function = code.image.function(address);
        function.is_some_and(|function| function.start == address)
    };
    let polls = tokio.types.iter().all(|of_type| {
        // The return of `poll` is probed too: then the word on top of the stack has to be where it returns to.
        begins(of_type.poll) && probe::entry(code, of_type.poll) == Some(of_type.poll_probe)
    });
    let others = tokio.wakes.iter().chain(&tokio.spawns);
    polls
        && others
            .map(|probe| probe.point)
            .all(|point| probe::is_instruction(code, point))
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
        .filter_map(|function| wake(code, function))
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
                point: probe::entry(code, function)?,
                header_register: probe::dwarf_register(SECOND_ARGUMENT)?,
            })
        })
        .collect()
}

/// The first emulated instruction that every call executes while the header's address is in a register, before the
/// task's state is changed; the entry when there is none.
fn wake(code: &Code, function: u64) -> Option<WakeProbe> {
    let place = probe::place(code, function, &[Register::RDI], |instruction| {
        instruction.has_lock_prefix()
    })?;
    Some(WakeProbe {
        point: place.point,
        header_register: *place.registers.first()?,
    })
}
