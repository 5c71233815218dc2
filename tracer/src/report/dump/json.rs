//! Dumps for scripts: every task, and with trees each one's own. Fields are added, never renamed; what is not known is
//! `null`, with its reason in `not_measured` or beside it.

mod javascript;
mod node;

use std::io;

use serde::{Serialize, Serializer};

use super::SCHEMA;
use crate::{
    dump::{
        Cycle, Dump, Runtime, Task, TaskTree, Type,
        words::{self, Words},
    },
    runtime::tokio::Kind as Spawned,
};
use javascript::JavaScriptOf;
use node::{NodeOf, Waits, node, waits};

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    tool: Tool,
    targets: Vec<Target<'a>>,
    tasks: Each<'a>,
    not_measured: Vec<NotMeasured>,
}

#[derive(Serialize)]
struct Tool {
    version: &'static str,
}

#[derive(Serialize)]
struct NotMeasured {
    field: &'static str,
    why: &'static str,
}

#[derive(Serialize)]
struct Target<'a> {
    pid: u32,
    comm: &'a str,
    exe: &'a str,
    stopped: bool,
    files_checked: u32,
    /// Empty when none was recognised.
    runtimes: Vec<RuntimeOf<'a>>,
    quality: Quality,
    deadlocks: Option<Vec<Vec<LinkOf<'a>>>>,
    /// Of Node.js.
    javascript: Option<JavaScriptOf<'a>>,
}

#[derive(Serialize)]
struct RuntimeOf<'a> {
    kind: &'static str,
    version: Option<&'a str>,
    module: &'a str,
    notes: &'a [String],
    no_trees: Option<&'a str>,
}

#[derive(Serialize)]
struct Quality {
    read_bytes: u64,
    torn: u64,
    whole: bool,
    took_ns: u64,
    trees_took_ns: Option<u64>,
}

#[derive(Serialize)]
struct LinkOf<'a> {
    task: Option<u64>,
    header: String,
    #[serde(rename = "type")]
    name: &'a str,
    waits_on: Waits<'a>,
    certain: bool,
}

/// All tasks, each made when it is written: there may be many.
struct Each<'a>(&'a [Dump]);

impl Serialize for Each<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let all = self.0.iter().flat_map(|dump| {
            let words = std::rc::Rc::new(Words::new(dump));
            let tasks = dump.tasks.iter();
            tasks.map(move |task| Item(words.clone(), task))
        });
        serializer.collect_seq(all)
    }
}

struct Item<'a>(std::rc::Rc<Words<'a>>, &'a Task);

impl Serialize for Item<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        TaskOf::new(&self.0, self.1).serialize(serializer)
    }
}

#[derive(Serialize)]
struct TaskOf<'a> {
    pid: u32,
    id: Option<u64>,
    #[serde(rename = "type")]
    name: Option<&'a str>,
    raw_type: Option<&'a str>,
    source: Option<String>,
    /// `local`: stays on its thread; known with `--tree` only, it is `async` otherwise.
    kind: &'static str,
    state: &'static str,
    aborted: bool,
    /// Number of the list that owns it: one per runtime or `LocalSet`.
    list: Option<u64>,
    header: String,
    age_ns: Option<u64>,
    /// The thread that polls it.
    tid: Option<u32>,
    thread: Option<&'a str>,
    size_bytes: Option<u64>,
    tree: Option<NodeOf<'a>>,
    no_tree: Option<&'static str>,
}

pub(super) fn write(dumps: &[Dump], out: &mut impl io::Write) -> io::Result<()> {
    let mut not_measured = vec![NotMeasured {
        field: "tasks[].age_ns",
        why: "one look has no age: record, or use the report, which see tasks come",
    }];
    if dumps.iter().any(|dump| dump.forest.is_none()) {
        not_measured.push(NotMeasured {
            field: "tasks[].tree",
            why: "not asked for: --tree",
        });
    }
    let words: Vec<Words> = dumps.iter().map(Words::new).collect();
    let document = Document {
        schema: SCHEMA,
        tool: Tool {
            version: env!("CARGO_PKG_VERSION"),
        },
        targets: words.iter().map(target).collect(),
        tasks: Each(dumps),
        not_measured,
    };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    out.write_all(b"\n")
}

fn target<'a>(words: &Words<'a>) -> Target<'a> {
    let dump = words.dump;
    Target {
        pid: dump.process.pid.0,
        comm: &dump.process.comm,
        exe: &dump.process.exe,
        stopped: dump.is_stopped,
        files_checked: dump.files,
        runtimes: runtimes(dump),
        quality: Quality {
            read_bytes: dump.read,
            torn: dump.torn,
            whole: dump.is_whole,
            took_ns: dump.took.0,
            trees_took_ns: dump.forest.as_ref().map(|forest| forest.took.0),
        },
        deadlocks: dump.forest.as_ref().map(|forest| {
            let cycles = forest.cycles.iter();
            cycles.map(|cycle| deadlock(words, cycle)).collect()
        }),
        javascript: dump.javascript.as_ref().map(javascript::of),
    }
}

fn runtimes(dump: &Dump) -> Vec<RuntimeOf<'_>> {
    let node = dump.node.iter().map(|of| runtime("node", of));
    let tokio = dump.runtimes.iter().map(|of| runtime("tokio", of));
    node.chain(tokio).collect()
}

fn runtime<'a>(kind: &'static str, of: &'a Runtime) -> RuntimeOf<'a> {
    RuntimeOf {
        kind,
        version: of.version.as_deref(),
        module: &of.module,
        notes: &of.notes,
        no_trees: of.no_trees.as_deref(),
    }
}

fn deadlock<'a>(words: &Words<'a>, cycle: &'a Cycle) -> Vec<LinkOf<'a>> {
    let links = cycle.iter().filter_map(|link| {
        let task = words.dump.tasks.get(link.task)?;
        Some(LinkOf {
            task: task.id,
            header: address(task.header),
            name: type_name(words.dump, task).unwrap_or_default(),
            waits_on: waits(words, &link.waits),
            certain: link.is_certain,
        })
    });
    links.collect()
}

impl<'a> TaskOf<'a> {
    fn new(words: &Words<'a>, task: &'a Task) -> Self {
        let of = words.dump.types.get(task.of);
        let source = of.and_then(|of| of.of.source.as_ref());
        let tree = match &task.tree {
            TaskTree::Read(tree) => words.dump.forest.as_ref().and_then(|forest| {
                let root = forest.shapes.get(tree.shape)?;
                Some(node(words, tree, root, 0, &mut 0))
            }),
            TaskTree::NotAsked | TaskTree::NoTypes | TaskTree::None(_) => None,
        };
        Self {
            pid: words.dump.process.pid.0,
            id: task.id,
            name: type_name(words.dump, task),
            raw_type: of.map(|of| &*of.of.raw_name).filter(|raw| !raw.is_empty()),
            source: source.map(|at| format!("{}:{}", at.file, at.line)),
            kind: of.map_or("async", kind),
            state: words::state(task),
            aborted: task.state.is_cancelled(),
            list: (task.list > 0).then_some(task.list),
            header: address(task.header),
            age_ns: None,
            tid: task.thread.as_ref().map(|thread| thread.tid.0),
            thread: task.thread.as_ref().map(|thread| &*thread.name),
            size_bytes: match &task.tree {
                TaskTree::Read(tree) => Some(tree.size),
                TaskTree::NotAsked | TaskTree::NoTypes | TaskTree::None(_) => None,
            },
            tree,
            no_tree: match &task.tree {
                TaskTree::None(why) => Some(words::no_tree(why)),
                TaskTree::NoTypes => Some("the program has no types; see targets[].runtimes"),
                TaskTree::NotAsked | TaskTree::Read(_) => None,
            },
        }
    }
}

fn type_name<'a>(dump: &'a Dump, task: &Task) -> Option<&'a str> {
    dump.types.get(task.of).map(|of| &*of.of.name)
}

fn kind(of: &Type) -> &'static str {
    match (of.of.kind, of.is_local) {
        (Spawned::Blocking, _) => "blocking",
        (Spawned::Async, Some(true)) => "local",
        (Spawned::Async, Some(false) | None) => "async",
    }
}

fn address(address: u64) -> String {
    format!("{address:#x}")
}
