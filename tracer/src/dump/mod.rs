//! One look at the tasks of a process: every live task, what it is doing and, where the program tells, where it waits.
//!
//! Takes no session, no probe and no recording, only the right to read the target's memory. The target is not stopped;
//! it may hang, and it may be stopped by somebody else. Returns data and shows nothing.

use std::{collections::HashMap, io, sync::Arc};

use thiserror::Error;
use tracer_common::{Nanos, Pid, Tid};

use crate::{
    runtime::{
        self, Mapped,
        cache::Cache,
        memory::ProcessMemory,
        node::{Component, Node},
        tokio::{
            TaskType,
            live::{self, Scan, State},
            tree::NoTree,
        },
    },
    target::{
        process::{self, Description},
        sys,
    },
};

mod awaits;
mod cycle;
mod forest;
pub mod javascript;
mod thread;
pub(crate) mod tree;
mod waits;
pub(crate) mod words;

pub use awaits::{AwaitReader, Awaiting};
pub use cycle::{Cycle, Link};
use forest::Sources;
pub use forest::{Forest, Holder, TreeOf};
pub use javascript::JavaScript;
pub use waits::Waits;

/// A look takes no longer than this; what is left then is left out, which is said.
const LONGEST: Nanos = Nanos(60_000_000_000);

/// Why there is no dump.
#[derive(Debug, Error)]
pub enum DumpError {
    /// Its memory may not be read.
    #[error("the memory of process {pid} may not be read")]
    Denied {
        /// The process.
        pid: u32,
        /// What the system says.
        source: io::Error,
    },
    /// It has ended.
    #[error("process {0} has ended")]
    Gone(u32),
}

/// What was found.
#[derive(Debug)]
pub struct Dump {
    /// The process.
    pub process: Description,
    /// It was stopped, by a signal or a debugger.
    pub is_stopped: bool,
    /// Files with code that were looked at for a runtime.
    pub files: u32,
    /// The tokio that was recognised in them.
    pub runtimes: Vec<Runtime>,
    /// Node.js, when it is that.
    pub node: Option<Runtime>,
    /// What JavaScript does in it.
    pub javascript: Option<JavaScript>,
    /// The task types of all runtimes.
    pub types: Vec<Type>,
    /// The live tasks, by id.
    pub tasks: Vec<Task>,
    /// What the trees tell together; `None` when they were not asked for.
    pub forest: Option<Forest>,
    /// When memory was read.
    pub at: Nanos,
    /// How long all took, trees included.
    pub took: Nanos,
    /// Bytes read to find the tasks.
    pub read: u64,
    /// Headers that kept changing while they were read.
    pub torn: u64,
    /// All memory was looked at.
    pub is_whole: bool,
}

/// What is said of trees.
#[derive(Clone, Copy, Debug, Default)]
pub struct Detail {
    /// Single tasks of a type, and different trees of one, that are listed.
    pub limit: usize,
    /// Types as the compiler names them.
    pub raw: bool,
    /// Addresses of tasks, and futures in a row that are otherwise folded.
    pub verbose: bool,
}

/// A runtime in a file of the process.
#[derive(Debug, Default)]
pub struct Runtime {
    /// Its version, where the file tells.
    pub version: Option<String>,
    /// The file, as the process sees it.
    pub module: String,
    /// What the file cannot give and why.
    pub notes: Vec<String>,
    /// Why there are no trees, and how to get them.
    pub no_trees: Option<String>,
}

/// A task type.
#[derive(Debug)]
pub struct Type {
    /// What the file tells.
    pub of: TaskType,
    /// Its tasks stay on the thread that spawned them; `None` when that is not known.
    pub is_local: Option<bool>,
}

/// A live task.
#[derive(Debug)]
pub struct Task {
    /// Its id; `None` where tokio has none.
    pub id: Option<u64>,
    /// Address of its header.
    pub header: u64,
    /// Its type: which of [`Dump::types`].
    pub of: usize,
    /// Its state when it was read.
    pub state: State,
    /// Number of the list (of a runtime or `LocalSet`) that owns it; 0 when none does.
    pub list: u64,
    /// The thread that runs it.
    pub thread: Option<Thread>,
    /// Where it waits.
    pub tree: TaskTree,
}

/// A thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// The thread.
    pub tid: Tid,
    /// Its name.
    pub name: String,
}

/// Where a task waits, or why that is not known.
#[derive(Debug)]
pub enum TaskTree {
    /// Nobody asked.
    NotAsked,
    /// The program has no types; see [`Runtime::no_trees`].
    NoTypes,
    /// There is none, and why.
    None(NoTree),
    /// Where it waits.
    Read(TreeOf),
}

impl Dump {
    /// The tasks that run on the blocking pool or wait for it.
    #[must_use]
    pub fn is_blocking(&self, task: &Task) -> bool {
        let of = self.types.get(task.of);
        of.is_some_and(|of| of.of.kind == runtime::tokio::Kind::Blocking)
    }
}

/// Looks at the tasks of `pid`; at where they wait too when `with_trees` says so. What files hold may be in `cache`.
///
/// # Errors
/// When the process has ended or its memory may not be read.
pub fn look(pid: Pid, with_trees: bool, cache: &Cache) -> Result<Dump, DumpError> {
    let begun = sys::monotonic();
    let description = process::describe(pid).ok_or(DumpError::Gone(pid.0))?;
    let memory = ProcessMemory::of(pid).map_err(|source| refused(pid, source))?;
    let runtime::Found {
        tokio: mapped,
        node,
        files: looked_at,
        from_cache: _,
    } = runtime::find(pid, cache);
    let files: Vec<_> = mapped
        .iter()
        .map(|mapped| (&mapped.holds, mapped.bias))
        .collect();
    // First, as what a thread is in changes sooner than anything else.
    let javascript = node
        .as_ref()
        .map(|node| javascript::look(pid, node, &memory));
    let at = sys::monotonic();
    let mut scan = Scan::of(pid, &files);
    let is_whole = scan.advance(&memory, LONGEST);
    let found = scan.found();
    if !process::is_alive(pid) {
        return Err(DumpError::Gone(pid.0));
    }
    let mapped: Vec<Arc<Mapped>> = mapped.into_iter().map(Arc::new).collect();
    let (types, first) = types(&mapped);
    let mut dump = Dump {
        process: description,
        is_stopped: process::is_stopped(pid),
        files: looked_at,
        runtimes: mapped.iter().map(|mapped| described(mapped)).collect(),
        node: node.map(described_node),
        javascript,
        types,
        tasks: tasks(&found.tasks, &first),
        forest: None,
        at,
        took: Nanos(0),
        read: found.read,
        torn: found.torn,
        is_whole,
    };
    find_threads(&mut dump, &memory, &mapped);
    if with_trees {
        let begun = sys::monotonic();
        let mut sources = Sources::open(&mapped, &first, &mut dump);
        let all: Vec<usize> = (0..dump.tasks.len()).collect();
        forest::grow(&mut dump, &memory, &mut sources, &all, None);
        if let Some(forest) = &mut dump.forest {
            forest.took = sys::monotonic().since(begun).unwrap_or_default();
        }
    }
    dump.took = sys::monotonic().since(begun).unwrap_or_default();
    Ok(dump)
}

/// The types of all files, those of a file after those of the files before, and where those of each begin.
fn types(mapped: &[Arc<Mapped>]) -> (Vec<Type>, Vec<usize>) {
    let mut first = Vec::with_capacity(mapped.len());
    let mut types = Vec::new();
    for mapped in mapped {
        first.push(types.len());
        let of_file = mapped.holds.types.iter().cloned();
        types.extend(of_file.map(|of| Type { of, is_local: None }));
    }
    (types, first)
}

fn tasks(found: &[live::Task], first: &[usize]) -> Vec<Task> {
    let tasks = found.iter().map(|task| Task {
        id: task.id,
        header: task.header,
        of: first
            .get(task.file)
            .map_or(0, |first| first + task.task_type),
        state: task.state,
        list: task.owner,
        thread: None,
        tree: TaskTree::NotAsked,
    });
    tasks.collect()
}

fn refused(pid: Pid, source: io::Error) -> DumpError {
    if source.kind() == io::ErrorKind::PermissionDenied || process::is_alive(pid) {
        DumpError::Denied { pid: pid.0, source }
    } else {
        DumpError::Gone(pid.0)
    }
}

fn described(mapped: &Mapped) -> Runtime {
    Runtime {
        version: mapped.holds.version.clone(),
        module: mapped.path.clone(),
        notes: mapped.holds.notes.clone(),
        no_trees: None,
    }
}

fn described_node(node: Node) -> Runtime {
    let module = node.module(Component::Node);
    Runtime {
        module: module.map_or_else(String::new, |module| module.path.clone()),
        version: node.version,
        notes: node.notes,
        no_trees: None,
    }
}

/// Which threads run the tasks that run.
fn find_threads(dump: &mut Dump, memory: &ProcessMemory, mapped: &[Arc<Mapped>]) {
    let pid = dump.process.pid;
    let running: HashMap<u64, usize> = dump
        .tasks
        .iter()
        .enumerate()
        .filter(|(_, task)| task.state.is_running())
        .filter_map(|(index, task)| Some((task.id?, index)))
        .collect();
    if running.is_empty() {
        return;
    }
    let places = mapped.iter().flat_map(|mapped| &mapped.holds.current_task);
    let places: Vec<i64> = places.copied().collect();
    for (id, tid) in thread::running(pid, memory, &places, |id| running.contains_key(&id)) {
        let task = running
            .get(&id)
            .and_then(|index| dump.tasks.get_mut(*index));
        if let Some(task) = task {
            let name = process::thread_name(pid, tid).unwrap_or_default();
            task.thread = Some(Thread { tid, name });
        }
    }
}
