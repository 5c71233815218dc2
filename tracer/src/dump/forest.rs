//! Where the tasks wait, all together: trees of the same shape are kept once, locks are followed to who holds them,
//! descriptors to what they are.

use std::{collections::HashMap, fs, os::unix::fs::MetadataExt as _, path::PathBuf, sync::Arc};

use tracer_common::{Nanos, Pid};

use super::{
    Dump, Task, TaskTree,
    cycle::{self, Cycle},
};
use crate::{
    runtime::{
        Mapped,
        memory::{Memory as _, ProcessMemory},
        tokio::{
            Kind as Spawned,
            tree::{Held, Kind, NoTree, Node, Resource, TaskAt, Tree, Trees},
        },
    },
    target::{
        descriptor::{Descriptor, Sockets},
        sys,
    },
};

/// What the trees of all tasks tell together.
#[derive(Debug, Default)]
pub struct Forest {
    /// The trees without what differs from task to task: resources and guards are in [`TreeOf`].
    pub shapes: Vec<Node>,
    /// Who holds which lock, by its address.
    pub holders: HashMap<u64, Vec<Holder>>,
    /// What the descriptors that tasks wait for are.
    pub descriptors: HashMap<i32, Descriptor>,
    /// Tasks that wait for each other in a circle.
    pub cycles: Vec<Cycle>,
    /// How long the trees took, debug information included.
    pub took: Nanos,
    /// Tasks that were not looked at: it would have taken too long.
    pub left_out: usize,
    /// Of each shape, which nodes the task can do without: one of several has to end.
    optional: Vec<Vec<bool>>,
}

/// The tree of one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeOf {
    /// Which of [`Forest::shapes`].
    pub shape: usize,
    /// What nodes wait for, by their number; parents come before children.
    pub waits: Vec<(usize, Resource)>,
    /// Guards in the variables of nodes, by their number.
    pub holds: Vec<(usize, Held)>,
    /// Bytes of the task.
    pub size: u64,
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Which of [`Dump::tasks`].
    pub task: usize,
    /// The shape and the number of the node with the guard.
    pub node: (usize, usize),
    /// The guard.
    pub held: Held,
}

impl Forest {
    /// A node of a shape by its number.
    #[must_use]
    pub fn node(&self, (shape, number): (usize, usize)) -> Option<&Node> {
        nodes(self.shapes.get(shape)?).nth(number)
    }

    /// What a task waits for whatever else happens: not one of several things.
    pub(super) fn certain_waits<'a>(
        &'a self,
        tree: &'a TreeOf,
    ) -> impl Iterator<Item = &'a Resource> {
        let optional = self.optional.get(tree.shape);
        let waits = tree.waits.iter();
        waits.filter_map(move |(node, resource)| {
            let is_optional = optional.and_then(|of| of.get(*node)).copied();
            (is_optional == Some(false)).then_some(resource)
        })
    }
}

/// All nodes, parents first.
fn nodes(root: &Node) -> impl Iterator<Item = &Node> {
    let mut rest = vec![root];
    std::iter::from_fn(move || {
        let node = rest.pop()?;
        rest.extend(node.children.iter().rev());
        Some(node)
    })
}

/// The debug information of the files of a process: read once, good for many looks.
pub(super) struct Sources {
    /// By file.
    of: Vec<(Arc<Mapped>, Option<Trees>)>,
    /// Where the types of each file begin in [`Dump::types`].
    first: Vec<usize>,
}

impl Sources {
    /// Reads it, and notes in the dump which types are local, and what is missing.
    pub(super) fn open(mapped: &[Arc<Mapped>], first: &[usize], dump: &mut Dump) -> Self {
        let mut of = Vec::with_capacity(mapped.len());
        for (mapped, runtime) in mapped.iter().zip(&mut dump.runtimes) {
            let trees = Trees::open(&path(mapped));
            let trees = trees.map_err(|missing| runtime.no_trees = Some(missing.to_string()));
            of.push((mapped.clone(), trees.ok()));
        }
        let mut sources = Self {
            of,
            first: first.to_vec(),
        };
        for (index, of) in dump.types.iter_mut().enumerate() {
            if let Some((_, Some(trees))) = sources.of(index) {
                of.is_local = trees.is_local(of.of.poll);
            }
        }
        sources
    }

    /// Those of the file that this type is of.
    fn of(&mut self, index: usize) -> Option<&mut (Arc<Mapped>, Option<Trees>)> {
        let file = self.first.partition_point(|first| *first <= index);
        file.checked_sub(1).and_then(|file| self.of.get_mut(file))
    }
}

/// Reads where tasks wait: those of [`Dump::tasks`] with these numbers, as many as can be until `end`.
pub(super) fn grow(
    dump: &mut Dump,
    memory: &ProcessMemory,
    sources: &mut Sources,
    which: &[usize],
    end: Option<Nanos>,
) {
    let begun = sys::monotonic();
    let mut grower = Grower {
        memory,
        sources,
        known: HashMap::new(),
        forest: Forest::default(),
    };
    let mut tasks = std::mem::take(&mut dump.tasks);
    let mut done = 0;
    for &index in which {
        if end.is_some_and(|end| sys::monotonic() >= end) {
            break;
        }
        if let Some(task) = tasks.get_mut(index) {
            task.tree = grower.tree(dump, task);
        }
        done += 1;
    }
    grower.forest.left_out = tasks.len() - done.min(tasks.len());
    grower.forest.find_holders(&tasks);
    let mut cycles = cycle::find(&tasks, &grower.forest);
    // Read one after the other, tasks that go on may seem to wait for each other.
    cycles.retain(|cycle| {
        cycle.iter().all(|link| {
            let again = tasks
                .get(link.task)
                .map(|task| (task, grower.tree(dump, task)));
            again.is_some_and(|(task, again)| match (&task.tree, &again) {
                (TaskTree::Read(then), TaskTree::Read(now)) => then == now,
                _ => false,
            })
        })
    });
    dump.tasks = tasks;
    let mut forest = grower.forest;
    forest.cycles = cycles;
    forest.describe(dump.process.pid, &dump.tasks);
    forest.took = sys::monotonic().since(begun).unwrap_or_default();
    dump.forest = Some(forest);
}

struct Grower<'a> {
    memory: &'a ProcessMemory,
    sources: &'a mut Sources,
    known: HashMap<Node, usize>,
    forest: Forest,
}

impl Grower<'_> {
    fn tree(&mut self, dump: &Dump, task: &Task) -> TaskTree {
        let source = self.sources.of(task.of);
        let (Some((mapped, trees)), Some(of)) = (source, dump.types.get(task.of)) else {
            return TaskTree::NoTypes;
        };
        if task.state.is_running() {
            return TaskTree::None(NoTree::Running);
        }
        if of.of.kind == Spawned::Blocking {
            return TaskTree::None(NoTree::Unknown(
                "it waits for a thread of the blocking pool",
            ));
        }
        let Some(trees) = trees else {
            return TaskTree::NoTypes;
        };
        let tokio = &mapped.holds;
        let bias = mapped.bias;
        let at = TaskAt {
            header: task.header,
            poll: of.of.poll,
            layout: tokio.layout,
        };
        let tree = trees.tree(self.memory, bias, at);
        // Another task may be there now, and of another type.
        let word = |offset: u64| self.memory.word(task.header.checked_add(offset)?);
        let is_same = word(tokio.layout.vtable) == Some(of.of.vtable.wrapping_add(bias))
            && of.of.id.is_none_or(|at| word(at) == task.id);
        match tree {
            Ok(_) if !is_same => TaskTree::None(NoTree::Complete),
            Ok(tree) => TaskTree::Read(self.keep(tree)),
            Err(why) => TaskTree::None(why),
        }
    }

    fn keep(&mut self, mut tree: Tree) -> TreeOf {
        let (mut waits, mut holds) = (Vec::new(), Vec::new());
        let mut count = 0;
        take(&mut tree.root, &mut count, &mut waits, &mut holds);
        let forest = &mut self.forest;
        let shape = *self.known.entry(tree.root).or_insert_with_key(|root| {
            let mut optional = Vec::with_capacity(count);
            find_optional(root, false, &mut optional);
            forest.optional.push(optional);
            forest.shapes.push(root.clone());
            forest.shapes.len() - 1
        });
        TreeOf {
            shape,
            waits,
            holds,
            size: tree.size,
        }
    }
}

/// Takes out what differs from task to task.
fn take(
    node: &mut Node,
    count: &mut usize,
    waits: &mut Vec<(usize, Resource)>,
    holds: &mut Vec<(usize, Held)>,
) {
    let number = *count;
    *count += 1;
    waits.extend(node.waits_on.take().map(|resource| (number, resource)));
    holds.extend(node.holds.drain(..).map(|held| (number, held)));
    for child in &mut node.children {
        take(child, count, waits, holds);
    }
}

fn find_optional(node: &Node, is_optional: bool, into: &mut Vec<bool>) {
    into.push(is_optional);
    // Of a future written by hand with several below nobody knows whether it takes one or all: `Timeout` takes one.
    let is_one = node.children.len() == 1 && node.omitted == 0;
    let is_optional = is_optional || !(is_one || node.kind == Kind::All);
    for child in &node.children {
        find_optional(child, is_optional, into);
    }
}

impl Forest {
    fn find_holders(&mut self, tasks: &[Task]) {
        for (task, tree) in tasks.iter().enumerate() {
            let TaskTree::Read(tree) = &tree.tree else {
                continue;
            };
            for (node, held) in &tree.holds {
                self.holders.entry(held.lock).or_default().push(Holder {
                    task,
                    node: (tree.shape, *node),
                    held: held.clone(),
                });
            }
        }
    }

    /// What the descriptors are that tasks wait for.
    fn describe(&mut self, pid: Pid, tasks: &[Task]) {
        let mut sockets = None;
        for task in tasks {
            let TaskTree::Read(tree) = &task.tree else {
                continue;
            };
            for (_, resource) in &tree.waits {
                let Resource::Io { fd: Some(fd) } = resource else {
                    continue;
                };
                let Ok(number) = u32::try_from(*fd) else {
                    continue;
                };
                let sockets = sockets.get_or_insert_with(|| Sockets::of(pid));
                if !self.descriptors.contains_key(fd)
                    && let Some(found) = sockets.describe(pid, number)
                {
                    self.descriptors.insert(*fd, found);
                }
            }
        }
    }
}

/// The path of a file: beside it there may be another one with its debug information. Where that is not the same file
/// any more, one that leads to it as long as it is open.
fn path(mapped: &Mapped) -> PathBuf {
    let own = mapped.own_path();
    let is_same = |path: &PathBuf| {
        let (then, now) = (mapped.file.metadata(), fs::metadata(path));
        matches!((then, now), (Ok(then), Ok(now))
            if (then.dev(), then.ino()) == (now.dev(), now.ino()))
    };
    fs::canonicalize(&own).ok().filter(is_same).unwrap_or(own)
}
