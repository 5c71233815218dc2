//! The commands, and what lives from one to the next.

use std::{future::Future, pin::Pin, sync::Arc};

use tokio::{runtime::Handle, task::JoinHandle};

use crate::{
    clock::{now_ns, process_cpu_ns},
    json::Object,
    kind::all_told,
    parked::{self, Parked},
    pool,
    runtimes::Told,
    script, slow,
    steady::{self, Load},
    wakes,
};

/// What a command answers: the fields of its line, or why it could not be done.
pub(crate) type Answer = Result<Object, String>;

type Run = for<'a> fn(&'a mut Session, &'a str) -> Pin<Box<dyn Future<Output = Answer> + 'a>>;

pub(crate) struct Verb {
    pub(crate) name: &'static str,
    pub(crate) argument: &'static str,
    pub(crate) does: &'static str,
    pub(crate) run: Run,
}

/// What lives from one command to the next.
pub(crate) struct Session {
    /// One for each runtime; the first is the one this program itself runs on.
    pub(crate) handles: Vec<Handle>,
    pub(crate) runtimes: Vec<Arc<Told>>,
    pub(crate) is_local: bool,
    pub(crate) is_multi_thread: bool,
    pub(crate) workers: u64,
    pub(crate) blocking_threads: u64,
    pub(crate) load: Option<Load>,
    pub(crate) idlers: Vec<JoinHandle<()>>,
    pub(crate) parked: Option<Parked>,
}

impl Session {
    pub(crate) fn first(&self) -> &Handle {
        &self.handles[0]
    }

    /// Everything this process knows.
    pub(crate) fn truth(&self, last: bool) -> Object {
        let runtimes = self.runtimes.iter().zip(&self.handles);
        Object::default()
            .with("event", "truth")
            .with("final", last)
            .with("at_ns", now_ns())
            .with("cpu_ns", process_cpu_ns())
            .with("kinds", all_told())
            .with(
                "runtimes",
                runtimes
                    .map(|(told, handle)| told.now(handle))
                    .collect::<Vec<_>>(),
            )
    }
}

// One line a command, so that it reads as the table it is.
#[rustfmt::skip]
pub(crate) const VERBS: &[Verb] = &[
    Verb { name: "truth", argument: "", does: "nothing but tell (an empty line does too)", run: |session, _| Box::pin(async { Ok(session.truth(false)) }) },
    Verb { name: "go", argument: "N", does: "N tasks of each type, each with known polls, to their end", run: |session, argument| Box::pin(script::go(session, argument)) },
    Verb { name: "slow", argument: "MS N", does: "N polls of MS that spin, that sleep, that wait for a lock", run: |session, argument| Box::pin(slow::slow(session, argument)) },
    Verb { name: "load", argument: "PER_SECOND", does: "that many polls a second, until load-end", run: |session, argument| Box::pin(steady::load(session, argument)) },
    Verb { name: "load-end", argument: "", does: "end them", run: |session, argument| Box::pin(steady::load_end(session, argument)) },
    Verb { name: "yields", argument: "N TASKS", does: "N yields of each of TASKS", run: |session, argument| Box::pin(steady::yields(session, argument)) },
    Verb { name: "storm", argument: "N AT_ONCE", does: "N requests, a task each, AT_ONCE under way", run: |session, argument| Box::pin(steady::storm(session, argument)) },
    Verb { name: "idle", argument: "N", does: "N more tasks that wait for ever", run: |session, argument| Box::pin(parked::idle(session, argument)) },
    Verb { name: "idle-end", argument: "", does: "abort them", run: |session, argument| Box::pin(parked::idle_end(session, argument)) },
    Verb { name: "park", argument: "", does: "one task for each thing that a task can wait for", run: |session, argument| Box::pin(parked::park(session, argument)) },
    Verb { name: "unpark", argument: "", does: "abort them", run: |session, argument| Box::pin(parked::unpark(session, argument)) },
    Verb { name: "blocking", argument: "N MS", does: "N closures on the blocking pool that sleep MS", run: |session, argument| Box::pin(pool::blocking(session, argument)) },
    Verb { name: "in-place", argument: "N MS", does: "N tasks that sleep MS in block_in_place", run: |session, argument| Box::pin(pool::in_place(session, argument)) },
    Verb { name: "ping", argument: "N", does: "two tasks wake each other N times", run: |session, argument| Box::pin(wakes::ping(session, argument)) },
    Verb { name: "meet", argument: "N TASKS", does: "TASKS tasks meet N times: the last to come wakes the others", run: |session, argument| Box::pin(wakes::meet(session, argument)) },
    Verb { name: "nag", argument: "N", does: "one task wakes another N times for nothing", run: |session, argument| Box::pin(wakes::nag(session, argument)) },
];

pub(crate) fn number(text: &str) -> Result<u64, String> {
    text.trim()
        .parse::<u32>()
        .map(u64::from)
        .map_err(|_parse| format!("not a whole number below 2^32: `{text}`"))
}

/// Exactly as many numbers as asked for. `wants` is the usage, for the message.
pub(crate) fn numbers<const COUNT: usize>(
    argument: &str,
    wants: &str,
) -> Result<[u64; COUNT], String> {
    let found: Result<Vec<u64>, String> = argument.split_ascii_whitespace().map(number).collect();
    found?.try_into().map_err(|_count| format!("wants {wants}"))
}

pub(crate) fn at_least_one(what: &str, number: u64) -> Result<(), String> {
    if number == 0 {
        return Err(format!("{what} must be at least 1"));
    }
    Ok(())
}
