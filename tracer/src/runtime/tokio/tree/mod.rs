//! Where an idle task waits: its await tree, from the future that was spawned down to what has to happen.
//!
//! Read from the target's memory while it runs and decoded with its own debug information: nothing is stopped, nothing
//! is called. A coroutine's state says at which `.await` it stands, `__awaitee` is the future it awaits there. A task
//! that is polled meanwhile is refused, not guessed; every pointer may be garbage and every type may be nonsense.

use std::{collections::HashMap, path::Path};

use super::{Layout, live::State};
use crate::runtime::{
    dwarf::{Missing, Types},
    memory::Memory,
};

mod branch;
mod held;
mod known;
mod look;
mod name;
mod reach;
mod set;
mod snapshot;
mod wait;
mod walk;

pub use held::{Guard, Held, Holder, holders};
pub use wait::{Channel, Lock, Resource};

use snapshot::Snapshot;
use walk::Walk;

/// A task in the target's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskAt {
    /// Where its header is.
    pub header: u64,
    /// Address of its type's `poll` function as the file was linked.
    pub poll: u64,
    /// How the parts of a task lie.
    pub layout: Layout,
}

/// Why there is no tree of a task now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoTree {
    /// It was polled while it was read; ask again.
    Changing,
    /// It runs: its stack tells where.
    Running,
    /// It has ended, or was cancelled.
    Complete,
    /// It cannot be decoded, and why.
    Unknown(&'static str),
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An `async fn`.
    Function,
    /// An `async` block in the function.
    Block,
    /// A future written by hand; `function` is its type.
    Future,
    /// All children have to end: `join!`, `try_join!`, `join_all`.
    All,
    /// One of the children has to end: `select!`, `FuturesUnordered`, `JoinSet`.
    Any,
}

/// One level of a tree.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// As people write it: `app::handlers::fetch_user`.
    pub function: String,
    /// The whole type as the compiler names it.
    pub raw_name: String,
    /// What it is.
    pub kind: Kind,
    /// The file, as the compiler wrote it: relative to where it was started, or absolute. Empty when unknown.
    pub file: String,
    /// The line of the `.await` it stands at; of one that was not polled yet, where it begins. 0 when unknown.
    pub line: u32,
    /// It was made and not polled yet.
    pub is_new: bool,
    /// What has to happen; leaves have it, where it could be told.
    pub waits_on: Option<Resource>,
    /// Guards it has in variables.
    pub holds: Vec<Held>,
    /// Branches that have ended already.
    pub ended: u32,
    /// Children that are not shown because there are too many.
    pub omitted: u32,
    /// What it waits for.
    pub children: Vec<Node>,
}

/// A task's await tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// The future that was spawned.
    pub root: Node,
    /// Bytes of the task: the future, the scheduler's handle, the header.
    pub size: u64,
}

impl Tree {
    /// All nodes, parents first.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        let mut rest = vec![&self.root];
        std::iter::from_fn(move || {
            let node = rest.pop()?;
            rest.extend(node.children.iter().rev());
            Some(node)
        })
    }
}

/// Decodes the tasks of one program.
pub struct Trees {
    types: Types,
    /// Whether a type can have a future in it.
    holds: HashMap<u64, bool>,
    names: HashMap<u64, (String, Kind)>,
}

impl Trees {
    /// Reads the debug information of the program at `path`, or of its debug file.
    ///
    /// # Errors
    /// When it has no types: what is missing, and how to build a program that has them, in one line.
    pub fn open(path: &Path) -> Result<Self, Missing> {
        Types::open(path).map(Self::new)
    }

    /// Decodes with these types.
    #[must_use]
    pub fn new(types: Types) -> Self {
        Self {
            types,
            holds: HashMap::new(),
            names: HashMap::new(),
        }
    }

    /// The addresses of the `poll` functions, as they were linked, of all task types there can be trees of.
    pub fn polls(&self) -> impl Iterator<Item = u64> + '_ {
        self.types.polls()
    }

    /// Whether tasks of the type with this `poll` function stay on the thread that spawned them: those of a `LocalSet`.
    /// `None` when its type is not known.
    pub fn is_local(&mut self, poll: u64) -> Option<bool> {
        let cell = self.types.cell(poll)?;
        Some(cell.name.contains("tokio::task::local::Shared"))
    }

    /// Where a task waits. `bias` is how far from where it was linked the file is mapped.
    ///
    /// # Errors
    /// When it waits nowhere, changes, or cannot be decoded.
    pub fn tree(&mut self, memory: &dyn Memory, bias: u64, task: TaskAt) -> Result<Tree, NoTree> {
        const TRIES: u32 = 4;
        let cell = self.types.cell(task.poll);
        let cell = cell.ok_or(NoTree::Unknown("its type is not in the debug information"))?;
        let mut last = NoTree::Changing;
        for _ in 0..TRIES {
            match self.attempt(memory, bias, task, &cell) {
                Err(NoTree::Changing) => last = NoTree::Changing,
                result => return result,
            }
        }
        Err(last)
    }

    fn attempt(
        &mut self,
        memory: &dyn Memory,
        bias: u64,
        task: TaskAt,
        cell: &std::sync::Arc<crate::runtime::dwarf::Type>,
    ) -> Result<Tree, NoTree> {
        let snapshot = Snapshot::of(memory, task.header, cell.size)?;
        let state = State(snapshot.state());
        if state.is_running() {
            return Err(NoTree::Running);
        }
        if state.is_complete() {
            return Err(NoTree::Complete);
        }
        let root = Walk::new(self, &snapshot, bias, task.layout).task(cell, task.header);
        if !snapshot.still_holds() {
            return Err(NoTree::Changing);
        }
        Ok(Tree {
            root: root?,
            size: cell.size,
        })
    }
}
