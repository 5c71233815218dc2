//! Reads files and memory of the targets for the session, on a thread of its own: a program may be half a gigabyte.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tracer_common::{Nanos, Pid};

use super::{
    javascript::{Js, JsEvent},
    resources::Count,
};
use crate::{
    dump::{AwaitReader, Waits},
    record::WaitsMeta,
    runtime::{
        self, Mapped,
        cache::Cache,
        memory::ProcessMemory,
        node::{
            Node, Unknown,
            in_flight::Reader,
            v8::{self, Named},
        },
        tokio::live,
    },
    target::sys,
};

/// What the session wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Which runtime a process has, and what tasks are there.
    Find(Pid),
    /// Whether a process has V8 in it.
    FindJs(Pid),
    /// What tasks are there.
    Look(Pid),
    /// What Node has in flight, and where the V8 that was found in it keeps things.
    Count(Pid, Option<Arc<v8::Found>>),
    /// Nothing more about this process.
    Forget(Pid),
    /// Which JavaScript functions the frames of these events are of.
    Name(Vec<JsEvent>),
}

impl Question {
    /// It is about JavaScript, or about all.
    #[must_use]
    pub fn is_about_js(&self) -> bool {
        matches!(self, Self::FindJs(_) | Self::Name(_) | Self::Forget(_))
    }

    /// It is about tasks, or about all.
    #[must_use]
    pub fn is_about_tasks(&self) -> bool {
        matches!(
            self,
            Self::Find(_) | Self::Look(_) | Self::Count(..) | Self::Forget(_)
        )
    }
}

/// What was found.
#[derive(Debug)]
pub enum Answer {
    /// Which runtime a process has.
    Found(Pid, Found),
    /// Where a process has V8 keep things; `None`: it has none.
    FoundJs(Pid, Option<Arc<v8::Found>>),
    /// What tasks are there.
    Looked(Pid, Look),
    /// What Node has in flight.
    Counted(Pid, Count),
    /// The events, with what was found for each frame, and for how many nothing was found that should have been.
    Named(Vec<(JsEvent, Vec<Option<Named>>)>, u64),
}

/// The runtimes of a process.
#[derive(Debug, Default)]
pub struct Found {
    /// Files with tokio in them; none: it is no tokio program, or it is gone.
    pub tokio: Vec<Arc<Mapped>>,
    /// Node.js, when it is that.
    pub node: Option<Node>,
    /// What Node has in flight can be asked for.
    pub counts: bool,
    /// Files that were looked at.
    pub files: u32,
    /// What could not be read.
    pub notes: Vec<String>,
    /// The tasks that were there.
    pub look: Option<Look>,
}

/// The tasks that were in a process's memory.
#[derive(Debug, Default)]
pub struct Look {
    /// When the look began.
    pub at: Nanos,
    /// How long it took.
    pub took: Nanos,
    /// The tasks, by address. The vtable is that in the process.
    pub tasks: Vec<Seen>,
    /// Tasks that have ended and whose memory still tells what they were.
    pub ended: Vec<Seen>,
    /// Headers that kept changing while they were read.
    pub torn: u64,
    /// All memory was looked at.
    pub is_whole: bool,
    /// Where tasks wait, by type; `None` when that was not looked at this time.
    pub waits: Option<Vec<WaitsMeta>>,
}

/// A task that was in a process's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Address of its header.
    pub header: u64,
    /// Its id; 0 when it has none.
    pub id: u64,
    /// Its type: address of the vtable in the process.
    pub vtable: u64,
    /// Its state word.
    pub state: u64,
    /// The list that owns it; 0: none.
    pub owner: u64,
}

/// A look at one process takes no longer; what is left then is left out, which is said.
const LONGEST: Nanos = Nanos(2_000_000_000);
/// To look where tasks wait takes no longer, and so many times as long passes until the next time.
const WAITS: Nanos = Nanos(20_000_000);
const PATIENCE: u64 = 100;

/// Answers questions. Belongs to one thread.
pub struct Observer {
    cache: Cache,
    processes: BTreeMap<Pid, Process>,
    /// Those that run Node.
    nodes: BTreeMap<Pid, Reader>,
    awaits: BTreeMap<Pid, AwaitReader>,
    js: BTreeMap<Pid, Js>,
}

#[derive(Default)]
struct Process {
    mapped: Vec<Arc<Mapped>>,
    /// `None` until somebody asks a second time: the first answer is not to wait for debug information.
    waits: Option<Waits>,
    next_waits: Nanos,
}

impl Observer {
    /// Looks up in `cache` what files hold.
    #[must_use]
    pub fn new(cache: Cache) -> Self {
        Self {
            cache,
            processes: BTreeMap::new(),
            nodes: BTreeMap::new(),
            awaits: BTreeMap::new(),
            js: BTreeMap::new(),
        }
    }

    /// Answers a question, if it has an answer.
    pub fn answer(&mut self, question: Question) -> Option<Answer> {
        match question {
            Question::Find(pid) => {
                let begun = sys::monotonic();
                let runtime::Found {
                    tokio,
                    node,
                    files,
                    from_cache,
                } = runtime::find(pid, &self.cache);
                let took = sys::monotonic().since(begun).unwrap_or_default();
                log::info!(
                    "process {}: {} files with tokio, {} with Node.js, recognised in {:?} ({from_cache} of {files} from the cache)",
                    pid.0,
                    tokio.len(),
                    node.as_ref().map_or(0, |node| node.modules.len()),
                    Duration::from_nanos(took.0)
                );
                let mut found = Found {
                    tokio: tokio.into_iter().map(Arc::new).collect(),
                    node,
                    files,
                    ..Found::default()
                };
                match found.node.as_ref().and_then(Reader::of) {
                    Some(reader) => {
                        self.awaits.remove(&pid);
                        found.counts = true;
                        self.nodes.insert(pid, reader);
                    }
                    None => drop(self.nodes.remove(&pid)),
                }
                if !found.tokio.is_empty() {
                    let process = Process {
                        mapped: found.tokio.clone(),
                        ..Process::default()
                    };
                    found.look = Some(process.look(pid).0);
                    self.processes.insert(pid, process);
                }
                Some(Answer::Found(pid, found))
            }
            Question::FindJs(pid) => {
                let found = Js::find(pid).map(|js| {
                    let found = js.found();
                    self.js.insert(pid, js);
                    found
                });
                if found.is_none() {
                    self.js.remove(&pid);
                }
                Some(Answer::FoundJs(pid, found))
            }
            Question::Look(pid) => {
                let process = self.processes.get_mut(&pid)?;
                let (mut look, tasks) = process.look(pid);
                process.wait(pid, &mut look, &tasks);
                Some(Answer::Looked(pid, look))
            }
            Question::Count(pid, v8) => {
                let reader = self.nodes.get_mut(&pid)?;
                let counted = count(pid, reader, self.awaits.get_mut(&pid));
                // Not with the first answer, which is not to wait for it.
                if let Some(v8) = v8 {
                    let of = || AwaitReader::of(pid, &v8);
                    self.awaits.entry(pid).or_insert_with(of);
                }
                Some(Answer::Counted(pid, counted))
            }
            Question::Name(events) => {
                let mut unnamed = 0;
                let named = events.into_iter().map(|mut held| {
                    let js = self.js.get_mut(&held.pid);
                    let names = js.map(|js| js.name(&mut held, &mut unnamed));
                    (held, names.unwrap_or_default())
                });
                let named = named.collect();
                Some(Answer::Named(named, unnamed))
            }
            Question::Forget(pid) => {
                self.processes.remove(&pid);
                self.nodes.remove(&pid);
                self.awaits.remove(&pid);
                self.js.remove(&pid);
                None
            }
        }
    }
}

fn count(pid: Pid, reader: &mut Reader, awaits: Option<&mut AwaitReader>) -> Count {
    let at = sys::monotonic();
    // Gone, or not to be read.
    let memory = ProcessMemory::of(pid).ok();
    let found = memory.as_ref().ok_or(Unknown::NotStarted);
    let found = found.and_then(|memory| reader.read(memory));
    let took = sys::monotonic().since(at).unwrap_or_default();
    log::debug!(
        "process {}: what is in flight took {:?}: {found:?}",
        pid.0,
        Duration::from_nanos(took.0)
    );
    let awaiting = memory
        .as_ref()
        .zip(awaits)
        .and_then(|(memory, awaits)| awaits.read(pid, memory));
    // The threads whose heaps they are were found just now.
    let is_known = found.is_ok();
    let begun = sys::monotonic();
    let heaps = memory.as_ref().filter(|_| is_known);
    let heaps = heaps.map(|memory| reader.heaps(memory));
    let heaps_took = sys::monotonic().since(begun).unwrap_or_default();
    log::debug!(
        "process {}: sizes of heaps took {:?}: {heaps:?}",
        pid.0,
        Duration::from_nanos(heaps_took.0)
    );
    Count {
        at,
        took: took.plus(heaps_took),
        found,
        heaps,
        awaiting,
    }
}

impl Process {
    /// The tasks in its memory.
    fn look(&self, pid: Pid) -> (Look, Vec<live::Task>) {
        let at = sys::monotonic();
        let mut look = Look {
            at,
            ..Look::default()
        };
        // Gone, or not to be read: it has no tasks then.
        let Ok(memory) = ProcessMemory::of(pid) else {
            return (look, Vec::new());
        };
        let mapped = &self.mapped;
        let files: Vec<_> = mapped
            .iter()
            .map(|mapped| (&mapped.holds, mapped.bias))
            .collect();
        let mut scan = live::Scan::of(pid, &files);
        look.is_whole = scan.advance(&memory, LONGEST);
        let found = scan.found();
        look.torn = found.torn;
        let seen = |task: &live::Task| {
            let mapped = mapped.get(task.file)?;
            let of_type = mapped.holds.types.get(task.task_type)?;
            Some(Seen {
                header: task.header,
                id: task.id.unwrap_or(0),
                vtable: of_type.vtable.wrapping_add(mapped.bias),
                state: task.state.0,
                owner: task.owner,
            })
        };
        look.tasks = found.tasks.iter().filter_map(seen).collect();
        look.ended = found.ended.iter().filter_map(seen).collect();
        look.took = sys::monotonic().since(at).unwrap_or_default();
        log::debug!(
            "process {}: a look found {} tasks in {:?}",
            pid.0,
            look.tasks.len(),
            Duration::from_nanos(look.took.0)
        );
        let tasks = found.tasks.clone();
        (look, tasks)
    }

    /// Where they wait, if it is time to look.
    fn wait(&mut self, pid: Pid, look: &mut Look, tasks: &[live::Task]) {
        if look.at < self.next_waits {
            return;
        }
        let Ok(memory) = ProcessMemory::of(pid) else {
            return;
        };
        let waits = match &mut self.waits {
            Some(waits) => waits,
            none => {
                let begun = sys::monotonic();
                let waits = none.insert(Waits::open(pid, &self.mapped));
                sys::give_memory_back();
                let took = sys::monotonic().since(begun).unwrap_or_default();
                let took = Duration::from_nanos(took.0);
                log::info!("process {}: debug information read in {took:?}", pid.0);
                waits
            }
        };
        let begun = sys::monotonic();
        look.waits = Some(waits.look(&memory, tasks, begun.plus(WAITS)));
        let now = sys::monotonic();
        let took = now.since(begun).unwrap_or_default();
        self.next_waits = now.plus(Nanos(took.0.saturating_mul(PATIENCE)));
        let took = Duration::from_nanos(took.0);
        log::debug!("process {}: where tasks wait took {took:?}", pid.0);
    }
}
