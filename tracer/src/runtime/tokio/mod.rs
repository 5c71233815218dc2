//! Tokio in a program nobody rebuilt: its task types with their names, where its tasks are, which instructions to
//! probe.
//!
//! The anchor is the table of functions that tokio makes for every task type (`tokio::runtime::task::raw::Vtable`):
//! it is in read-only data, stripped or not, and every live task points at its own.

use serde::{Deserialize, Serialize};

use super::{code::Code, image::Image, probe::ProbePoint};

mod coroutine;
mod current;
mod label;
pub mod live;
mod name;
mod probe;
mod scan;
mod shown;
#[cfg(test)]
mod tests;
pub mod tree;
mod version;

/// The name that the types of workers' own loops get. They are started like closures of the blocking pool.
pub const WORKER: &str = "[blocking] tokio worker";

/// How the parts of a task lie, from its header on, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Layout {
    /// Where the header holds the address of the vtable: 16 from tokio 1.21 on, 32 before.
    pub vtable: u64,
    /// Where it holds the number of the list (of a runtime or `LocalSet`) that owns the task; 0 there: none does.
    pub owner: u64,
}

/// What spawned tasks of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// `spawn`, `spawn_local`, `JoinSet::spawn`: a future.
    Async,
    /// `spawn_blocking` and what is built on it: a closure that runs once on the blocking pool.
    Blocking,
}

/// Where a type's future was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Source {
    /// As the compiler wrote it: relative to the package that was built, or absolute.
    pub file: String,
    /// From 1.
    pub line: u32,
}

/// A task type: one vtable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskType {
    /// Address of its vtable as the file was linked.
    pub vtable: u64,
    /// Address of its `poll` function as the file was linked; several types may share one.
    pub poll: u64,
    /// As people write it: `fetch_user`, `[blocking] resize`, or `type #3` when nothing tells.
    pub name: String,
    /// The whole type as the compiler names it, or several with ` | ` between when they run the same code; empty when
    /// nothing tells.
    pub raw_name: String,
    /// Where it was written, when the file tells.
    pub source: Option<Source>,
    /// What spawned it.
    pub kind: Kind,
    /// Where a task has its id, in bytes from its header; `None` before tokio 1.21, where tasks have none.
    pub id: Option<u64>,
    /// Where its last part (the links of the owner's list, the waker of who joins) begins, so about how large it is.
    pub trailer: Option<u64>,
    /// The entry of `poll`; its first argument is the header's address. A return probe may be put there too.
    pub poll_probe: ProbePoint,
}

/// Where every wake of a task passes, by value and by reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WakeProbe {
    /// The instruction.
    pub point: ProbePoint,
    /// The number of the register (as DWARF numbers them on x86-64: 0 rax, 3 rbx, 4 rsi, 5 rdi, …) that holds the
    /// header's address there.
    pub header_register: u8,
}

/// What is known about tokio in one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokio {
    /// Its version where the file tells, as `1.44.2`.
    pub version: Option<String>,
    /// How its tasks lie.
    pub layout: Layout,
    /// Its task types, by vtable.
    pub types: Vec<TaskType>,
    /// Where wakes pass; empty when it was not found.
    pub wakes: Vec<WakeProbe>,
    /// Where closures pass on their way to the blocking pool; empty when it was not found. The register holds the
    /// header's address.
    pub spawns: Vec<WakeProbe>,
    /// Where a thread has the id of the task it runs, from the thread pointer (`fs` base) on: negative. Candidates,
    /// the likeliest first: disassembly cannot always tell, what is read there can.
    pub current_task: Vec<i64>,
    /// What this file cannot give and why, one line each.
    pub notes: Vec<String>,
}

impl Tokio {
    /// True when every probe is where this image has an instruction of the kind it says, those at functions where one
    /// begins. A probe elsewhere would break the program.
    #[must_use]
    pub fn fits(&self, image: &Image) -> bool {
        probe::fit(&Code::new(image), self)
    }
}

/// What is known about tokio in a file; `None` when there is none. A program may have it and no types, and then a note
/// says why.
#[must_use]
pub fn recognise(image: &Image) -> Option<Tokio> {
    let Some((vtables, layout)) = scan::vtables(image) else {
        return without_types(image);
    };
    let code = Code::new(image);
    let waker = probe::waker_table(&code, &vtables);
    let version = version::find(image);
    // The shape alone was never met elsewhere, but a second sign costs little.
    if waker.is_none() && version.is_none() && !version::is_mentioned(image) {
        return None;
    }
    let mut notes = Vec::new();
    if version.is_none() {
        notes.push("the file does not tell tokio's version".to_owned());
    }
    let wakes = probe::wakes(&code, waker);
    if wakes.is_empty() {
        notes.push("where wakes pass was not found".to_owned());
    }
    let current_task = if vtables.iter().all(|table| table.id.is_none()) {
        notes.push("this version of tokio gives its tasks no ids".to_owned());
        Vec::new()
    } else {
        current::candidates(&code, &vtables)
    };
    if !image.is_program() {
        notes.push("what a thread polls now cannot be read: tokio is in a library".to_owned());
    }
    let named = name::find(&code, &vtables);
    let names = label::display(&named);
    let unnamed = named
        .iter()
        .filter(|one| one.futures.is_empty() && one.source.is_none())
        .count();
    if unnamed > 0 {
        let why = if image.has_symbols() {
            "their code tells of no one type"
        } else {
            "the file is stripped"
        };
        notes.push(format!(
            "{unnamed} of {} task types have neither name nor place: {why}",
            named.len()
        ));
    }
    let types = vtables
        .iter()
        .zip(named)
        .zip(names)
        .filter_map(|((table, named), name)| {
            Some(TaskType {
                vtable: table.address,
                poll: table.poll(),
                name,
                raw_name: named.futures.join(" | "),
                source: named.source,
                kind: named.kind.unwrap_or(Kind::Async),
                id: table.id,
                trailer: table.trailer,
                poll_probe: super::probe::entry(&code, table.poll())?,
            })
        })
        .collect();
    Some(Tokio {
        version,
        layout,
        types,
        wakes,
        spawns: probe::handovers(&code),
        current_task,
        notes,
    })
}

/// A program that has tokio in it, but no task types that can be found.
fn without_types(image: &Image) -> Option<Tokio> {
    if !image.is_program() {
        return None;
    }
    let version = version::find(image)?;
    let note = if image.has_symbols() {
        "there is tokio, but no task types were found"
    } else {
        "there is tokio, but no task types were found: before 1.23 it takes symbols, and the file is stripped"
    };
    Some(Tokio {
        version: Some(version),
        layout: scan::LAYOUT,
        types: Vec::new(),
        wakes: Vec::new(),
        spawns: Vec::new(),
        current_task: Vec::new(),
        notes: vec![note.to_owned()],
    })
}
