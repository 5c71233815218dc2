//! Where the tasks of a process wait, looked at again and again by a session: some tasks of each type, no longer than it
//! may take, in words.

use std::{collections::BTreeMap, sync::Arc};

use tracer_common::{Nanos, Pid, task::TaskState};

use super::{
    Detail, Dump, Task, TaskTree,
    forest::{self, Sources},
    tree::{Writer, same},
    words::{self, Words},
};
use crate::{
    record::{WaitGroup, WaitsMeta},
    runtime::{
        Mapped,
        memory::ProcessMemory,
        tokio::{Kind, live},
    },
    target::{process::Description, sys},
};

/// Tasks that are looked at each time.
const MOST_TASKS: usize = 512;
/// Different ways to wait that are told of each type.
const MOST_GROUPS: usize = 8;
/// Lines of one tree that are told.
const MOST_LINES: usize = 60;
/// Tasks of a group that are named.
const MOST_IDS: usize = 3;

/// Looks at one process.
pub struct Waits {
    dump: Dump,
    sources: Sources,
    first: Vec<usize>,
    /// How far each type's file is from where it was linked.
    biases: Vec<u64>,
    /// The type to begin with: there was no time for it the last time.
    begin: usize,
}

impl Waits {
    /// Reads the debug information of what was found in a process.
    #[must_use]
    pub fn open(pid: Pid, mapped: &[Arc<Mapped>]) -> Self {
        let (types, first) = super::types(mapped);
        let biases = mapped.iter().flat_map(|mapped| {
            let types = mapped.holds.types.iter();
            types.map(|_| mapped.bias)
        });
        let biases = biases.collect();
        let mut dump = Dump {
            process: Description {
                pid,
                ..Description::default()
            },
            is_stopped: false,
            files: 0,
            node: None,
            javascript: None,
            runtimes: mapped
                .iter()
                .map(|mapped| super::described(mapped))
                .collect(),
            types,
            tasks: Vec::new(),
            forest: None,
            at: Nanos(0),
            took: Nanos(0),
            read: 0,
            torn: 0,
            is_whole: true,
        };
        let sources = Sources::open(mapped, &first, &mut dump);
        Self {
            dump,
            sources,
            first,
            biases,
            begin: 0,
        }
    }

    /// Where those of `tasks` wait that do not run, as many as can be looked at until `end`.
    pub fn look(
        &mut self,
        memory: &ProcessMemory,
        tasks: &[live::Task],
        end: Nanos,
    ) -> Vec<WaitsMeta> {
        self.dump.at = sys::monotonic();
        self.dump.tasks = super::tasks(tasks, &self.first);
        let chosen = self.chosen();
        forest::grow(
            &mut self.dump,
            memory,
            &mut self.sources,
            &chosen,
            Some(end),
        );
        let left_out = chosen.iter().filter_map(|&task| self.dump.tasks.get(task));
        let left_out = left_out.skip_while(|task| !matches!(task.tree, TaskTree::NotAsked));
        self.begin = left_out.map(|task| task.of).next().unwrap_or(0);
        let words = Words::new(&self.dump);
        let mut by_type: BTreeMap<usize, Vec<&Task>> = BTreeMap::new();
        for task in chosen.iter().filter_map(|&task| self.dump.tasks.get(task)) {
            by_type.entry(task.of).or_default().push(task);
        }
        let told = by_type.into_iter().filter_map(|(of, tasks)| {
            let vtable = self.dump.types.get(of)?.of.vtable;
            Some(WaitsMeta {
                at: self.dump.at,
                pid: self.dump.process.pid,
                vtable: vtable.wrapping_add(*self.biases.get(of)?),
                ..self.of_type(&words, &tasks)?
            })
        });
        let told = told.collect();
        self.dump.tasks = Vec::new();
        told
    }

    /// Tasks that do not run, of each type about as many as of the others.
    fn chosen(&self) -> Vec<usize> {
        let mut by_type: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (index, task) in self.dump.tasks.iter().enumerate() {
            let state = TaskState::of(task.state.0);
            let waits = matches!(state, TaskState::Idle | TaskState::Queued);
            let of = self.dump.types.get(task.of);
            if waits && of.is_some_and(|of| of.of.kind == Kind::Async) {
                by_type.entry(task.of).or_default().push(index);
            }
        }
        // The rest of the types first.
        let rest = by_type.split_off(&self.begin);
        let by_type: Vec<Vec<usize>> = rest.into_values().chain(by_type.into_values()).collect();
        let mut chosen = Vec::new();
        for turn in 0..MOST_TASKS {
            let more = by_type.iter().filter_map(|of_type| of_type.get(turn));
            let before = chosen.len();
            chosen.extend(more.take(MOST_TASKS.saturating_sub(before)));
            if chosen.len() == before {
                break;
            }
        }
        chosen
    }

    /// `None` when none of the tasks was looked at.
    fn of_type(&self, words: &Words<'_>, tasks: &[&Task]) -> Option<WaitsMeta> {
        let asked = tasks
            .iter()
            .filter(|task| !matches!(task.tree, TaskTree::NotAsked));
        let mut told = WaitsMeta {
            tasks: asked.count() as u64,
            ..WaitsMeta::default()
        };
        let forest = self.dump.forest.as_ref()?;
        let first = tasks.first().filter(|_| told.tasks > 0)?;
        let writer = Writer {
            words,
            forest,
            detail: Detail::default(),
        };
        for group in same(tasks).iter().take(MOST_GROUPS) {
            let mut text = String::new();
            writer.tree(&mut text, group, 0);
            let ids = group.tasks.iter().filter_map(|(task, _)| task.id);
            told.groups.push(WaitGroup {
                tasks: group.tasks.len() as u64,
                ids: ids.take(MOST_IDS).collect(),
                lines: text.lines().take(MOST_LINES).map(str::to_owned).collect(),
            });
        }
        if told.groups.is_empty() {
            told.why = match &first.tree {
                TaskTree::None(why) => words::no_tree(why).to_owned(),
                TaskTree::NoTypes => {
                    let runtimes = self.dump.runtimes.iter();
                    let why = runtimes.filter_map(|runtime| runtime.no_trees.clone());
                    why.collect::<Vec<_>>().join("; ")
                }
                TaskTree::NotAsked | TaskTree::Read(_) => String::new(),
            };
        }
        Some(told)
    }
}
