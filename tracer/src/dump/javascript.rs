//! What JavaScript does in a process: the stack of each thread that is in it, and the async functions that wait.

use std::{io, sync::Arc, time::Duration};

use tracer_common::{Nanos, Pid, State, SyscallNr, Tid};

use super::Thread;
use crate::{
    runtime::{
        memory::Memory,
        node::Node,
        node::v8::{
            self, Codes, Kind, Place, V8,
            awaits::{self, Awaits, Chains},
            stack::{self, Stack},
        },
    },
    target::{
        process,
        stack::{sample, waiting},
        sys, syscall,
    },
};

/// Threads that are looked at.
const THREADS: usize = 256;
/// A thread that runs is waited for so long until it has run for a moment.
const PATIENCE: Duration = Duration::from_millis(200);
/// All threads together no longer.
const LONGEST: Nanos = Nanos(2_000_000_000);
/// Times a thread is asked for that runs when it is asked where it waits, and waits when its sample is to be taken.
const TRIES: u32 = 3;

/// JavaScript in a process.
#[derive(Debug, Default)]
pub struct JavaScript {
    /// V8's version, as `11.3`; empty where V8 was not found.
    pub v8: String,
    /// The main thread, and others that are in JavaScript.
    pub threads: Vec<Doing>,
    /// The async functions that wait; `None` when this V8 does not tell them.
    pub awaits: Option<Awaits>,
    /// The same by who awaits whom.
    pub chains: Chains,
    /// What is not known and why.
    pub notes: Vec<String>,
}

/// What a thread does.
#[derive(Debug)]
pub struct Doing {
    /// The thread.
    pub thread: Thread,
    /// It is the main thread.
    pub is_main: bool,
    /// What it does.
    pub what: What,
    /// The name of the system call it waits in.
    pub call: Option<String>,
    /// Frames of JavaScript functions, innermost first.
    pub frames: Vec<Frame>,
    /// Frames that are of JavaScript functions whose names could not be read.
    pub unknown: u64,
    /// Its stack was read.
    pub is_read: bool,
}

/// Whether a thread runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It runs.
    Runs,
    /// Its event loop waits for events, and no JavaScript runs.
    Idle,
    /// It waits in a system call of this number.
    Waits(u64),
    /// It is stopped, or waits in no call of its own.
    Halts,
    /// Its stack could not be taken.
    Unknown,
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The function and those that it was compiled into, innermost first.
    pub places: Arc<[Place]>,
    /// What runs.
    pub kind: Kind,
}

/// Looks at the JavaScript of `pid`.
pub(super) fn look(pid: Pid, node: &Node, memory: &dyn Memory) -> JavaScript {
    let mut found = JavaScript::default();
    let Some(at) = v8::find(pid) else {
        let note = "no JavaScript: V8 was not found, or without its numbers for debuggers";
        found.notes.push(note.to_owned());
        return found;
    };
    let (major, minor) = at.layout.version;
    found.v8 = format!("{major}.{minor}");
    let mut v8 = V8::new(at.layout.clone(), at.texts(pid));
    found.stacks(&mut v8, pid, memory, &Codes::of(&node.modules));
    found.awaits = awaits::look(&mut v8, pid, memory);
    match &found.awaits {
        Some(awaits) => found.chains = awaits.chains(),
        None => found.notes.push(format!(
            "no async functions: V8 {major}.{minor} does not tell which objects they are"
        )),
    }
    found
}

impl JavaScript {
    fn stacks(&mut self, v8: &mut V8, pid: Pid, memory: &dyn Memory, codes: &Codes<'_>) {
        let begun = sys::monotonic();
        let mut refused: Option<io::Error> = None;
        for thread in process::threads(pid).into_iter().take(THREADS) {
            let tid = thread.tid;
            let is_main = tid.0 == pid.0;
            let (what, stack) = take(v8, pid, tid, memory, codes, &mut refused);
            let mut doing = Doing {
                thread: Thread {
                    tid,
                    name: process::thread_name(pid, tid).unwrap_or_default(),
                },
                is_main,
                what,
                call: match what {
                    What::Waits(call) => u32::try_from(call)
                        .ok()
                        .map(|call| syscall::name(SyscallNr(call))),
                    What::Runs | What::Idle | What::Halts | What::Unknown => None,
                },
                frames: Vec::new(),
                unknown: 0,
                is_read: stack.is_some(),
            };
            if let Some(stack) = stack {
                doing.name(v8, memory, stack);
                // Where a thread was stopped its registers are not known: that nothing was found says nothing.
                doing.is_read &= what != What::Halts || !doing.frames.is_empty();
            }
            let waits_for_events =
                matches!(what, What::Waits(call) if syscall::class_of(call) == State::EPOLL);
            if waits_for_events && doing.is_read && doing.frames.is_empty() && doing.unknown == 0 {
                doing.what = What::Idle;
            }
            if is_main || !doing.frames.is_empty() {
                self.threads.push(doing);
            }
            if sys::monotonic()
                .since(begun)
                .is_some_and(|took| took > LONGEST)
            {
                self.notes.push("not all threads were looked at".to_owned());
                break;
            }
        }
        self.threads
            .sort_by_key(|doing| (!doing.is_main, doing.thread.tid));
        if let Some(error) = refused {
            self.notes.push(format!(
                "the stacks of threads that run are missing: perf_event_open: {error}; it takes cap_perfmon"
            ));
        }
    }
}

/// The stack of a thread.
fn take(
    v8: &V8,
    pid: Pid,
    tid: Tid,
    memory: &dyn Memory,
    codes: &Codes<'_>,
    refused: &mut Option<io::Error>,
) -> (What, Option<Stack>) {
    let layout = v8.layout();
    for _ in 0..TRIES {
        if let Some(now) = waiting(pid, tid) {
            let stack = stack::of_waiting(memory, v8, codes, &now);
            // It may have gone on while its stack was read.
            if waiting(pid, tid) == Some(now) {
                return (now.call.map_or(What::Halts, What::Waits), stack);
            }
            continue;
        }
        if refused.is_some() {
            break;
        }
        match sample(tid, PATIENCE) {
            Ok(Some(sample)) => {
                let stack = stack::of_sample(memory, layout, &sample);
                return (What::Runs, Some(stack));
            }
            Ok(None) => {}
            Err(error) => *refused = Some(error),
        }
    }
    (What::Unknown, None)
}

impl Doing {
    fn name(&mut self, v8: &mut V8, memory: &dyn Memory, mut stack: Stack) {
        let names = stack::name(v8, memory, &mut stack.frames, &stack.top, &mut self.unknown);
        let named = names.into_iter().flatten();
        self.frames = named
            .map(|named| Frame {
                places: named.places,
                kind: named.kind,
            })
            .collect();
    }
}
