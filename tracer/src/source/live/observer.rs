//! Reads files and memory of the targets for the session, on a thread of its own: a program may be half a gigabyte.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tracer_common::{Nanos, Pid};

use crate::{
    runtime::{self, Mapped, cache::Cache, memory::ProcessMemory, tokio::live},
    target::sys,
};

/// What the session wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Which runtime a process has, and what tasks are there.
    Find(Pid),
    /// What tasks are there.
    Look(Pid),
    /// Nothing more about this process.
    Forget(Pid),
}

/// What was found.
#[derive(Debug)]
pub enum Answer {
    /// Which runtime a process has.
    Found(Pid, Found),
    /// What tasks are there.
    Looked(Pid, Look),
}

/// A process's runtime.
#[derive(Debug, Default)]
pub struct Found {
    /// Files with tokio in them; none: it is no tokio program, or it is gone.
    pub mapped: Vec<Arc<Mapped>>,
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

/// Answers questions. Belongs to one thread.
pub struct Observer {
    cache: Cache,
    processes: BTreeMap<Pid, Vec<Arc<Mapped>>>,
}

impl Observer {
    /// Looks up in `cache` what files hold.
    #[must_use]
    pub fn new(cache: Cache) -> Self {
        Self {
            cache,
            processes: BTreeMap::new(),
        }
    }

    /// Answers a question, if it has an answer.
    pub fn answer(&mut self, question: Question) -> Option<Answer> {
        match question {
            Question::Find(pid) => {
                let begun = sys::monotonic();
                let runtime::Found {
                    mapped,
                    files,
                    from_cache,
                } = runtime::find(pid, &self.cache);
                let took = sys::monotonic().since(begun).unwrap_or_default();
                log::info!(
                    "process {}: {} files with tokio, recognised in {:?} ({from_cache} of {files} from the cache)",
                    pid.0,
                    mapped.len(),
                    Duration::from_nanos(took.0)
                );
                let mut found = Found {
                    mapped: mapped.into_iter().map(Arc::new).collect(),
                    files,
                    ..Found::default()
                };
                if !found.mapped.is_empty() {
                    self.processes.insert(pid, found.mapped.clone());
                    found.look = Some(self.look(pid));
                }
                Some(Answer::Found(pid, found))
            }
            Question::Look(pid) => Some(Answer::Looked(pid, self.look(pid))),
            Question::Forget(pid) => {
                self.processes.remove(&pid);
                None
            }
        }
    }

    /// The tasks in the memory of a process whose runtime was found.
    fn look(&self, pid: Pid) -> Look {
        let at = sys::monotonic();
        let mut look = Look {
            at,
            ..Look::default()
        };
        let mapped = self.processes.get(&pid).map_or(&[][..], Vec::as_slice);
        // Gone, or not to be read: it has no tasks then.
        let Ok(memory) = ProcessMemory::of(pid) else {
            return look;
        };
        let files: Vec<_> = mapped
            .iter()
            .map(|mapped| (&mapped.tokio, mapped.bias))
            .collect();
        let mut scan = live::Scan::of(pid, &files);
        look.is_whole = scan.advance(&memory, LONGEST);
        let found = scan.found();
        look.torn = found.torn;
        let seen = |task: &live::Task| {
            let mapped = mapped.get(task.file)?;
            let of_type = mapped.tokio.types.get(task.task_type)?;
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
        look
    }
}
