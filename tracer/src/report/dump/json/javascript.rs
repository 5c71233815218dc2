//! JavaScript for scripts: threads with their stacks, `await`s with how many are at them, chains.

use serde::Serialize;

use crate::{
    dump::javascript::{JavaScript, What},
    report::dump::text::via,
    runtime::node::v8::{
        Place,
        awaits::{Awaits, Step},
    },
};

#[derive(Serialize)]
pub(super) struct JavaScriptOf<'a> {
    v8: &'a str,
    threads: Vec<ThreadOf<'a>>,
    /// `null` when this V8 does not tell.
    pending: Option<PendingOf<'a>>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct ThreadOf<'a> {
    tid: u32,
    name: &'a str,
    main: bool,
    state: &'static str,
    /// The system call it waits in.
    syscall: Option<&'a str>,
    stack: Vec<PlaceOf<'a>>,
    frames_without_name: u64,
    /// Where the thread is was found out.
    stack_known: bool,
}

#[derive(Serialize)]
struct PendingOf<'a> {
    /// Async functions that are at an `await`.
    functions: u64,
    /// Those of them for which what they await is settled: they go on as soon as their thread gets to it.
    ready: u64,
    awaits: Vec<Await<'a>>,
    chains: Vec<ChainOf<'a>>,
    chains_cut: bool,
    quality: Quality,
}

#[derive(Serialize)]
struct Await<'a> {
    #[serde(flatten)]
    place: PlaceOf<'a>,
    count: u64,
}

#[derive(Serialize)]
struct ChainOf<'a> {
    count: u64,
    /// Of those, the ones whose innermost goes on as soon as its thread gets to it.
    ready: u64,
    steps: Vec<StepOf<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum StepOf<'a> {
    Function {
        #[serde(flatten)]
        place: PlaceOf<'a>,
        /// So many in a row, each awaiting the one before.
        times: u64,
    },
    Via {
        via: String,
    },
    Again {
        circle: bool,
    },
}

#[derive(Serialize)]
struct PlaceOf<'a> {
    function: &'a str,
    file: &'a str,
    line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
}

#[derive(Serialize)]
struct Quality {
    read_bytes: u64,
    took_ns: u64,
    changed: u64,
    unreached: u64,
    moved: bool,
    whole: bool,
}

pub(super) fn of(js: &JavaScript) -> JavaScriptOf<'_> {
    let threads = js.threads.iter().map(|doing| ThreadOf {
        tid: doing.thread.tid.0,
        name: &doing.thread.name,
        main: doing.is_main,
        state: match doing.what {
            What::Runs => "runs",
            What::Idle => "idle",
            What::Waits(_) => "waits",
            What::Halts => "halts",
            What::Unknown => "unknown",
        },
        syscall: doing
            .call
            .as_deref()
            .filter(|_| matches!(doing.what, What::Waits(_))),
        stack: doing
            .frames
            .iter()
            .flat_map(|frame| {
                let last = frame.places.len().saturating_sub(1);
                let kind = frame.kind.name();
                let places = frame.places.iter().enumerate();
                places.map(move |(index, place)| PlaceOf {
                    kind: Some(if index < last { "[inlined]" } else { kind }),
                    ..self::place(place)
                })
            })
            .collect(),
        frames_without_name: doing.unknown,
        stack_known: doing.is_read,
    });
    JavaScriptOf {
        v8: &js.v8,
        threads: threads.collect(),
        pending: js.awaits.as_ref().map(|awaits| pending(awaits, js)),
        notes: &js.notes,
    }
}

fn pending<'a>(awaits: &'a Awaits, js: &'a JavaScript) -> PendingOf<'a> {
    let counts = awaits.counts().into_iter();
    let chains = js.chains.all.iter().map(|chain| ChainOf {
        count: chain.count,
        ready: chain.ready,
        steps: chain
            .steps
            .iter()
            .filter_map(|of| step(awaits, of))
            .collect(),
    });
    PendingOf {
        functions: awaits.pending.len() as u64,
        ready: awaits.pending.iter().filter(|one| one.is_ready).count() as u64,
        awaits: counts
            .map(|(of, count)| Await {
                place: place(of),
                count,
            })
            .collect(),
        chains: chains.collect(),
        chains_cut: js.chains.is_cut,
        quality: Quality {
            read_bytes: awaits.read,
            took_ns: awaits.took.0,
            changed: awaits.changed,
            unreached: awaits.unreached,
            moved: awaits.has_moved,
            whole: awaits.is_whole,
        },
    }
}

fn step<'a>(awaits: &'a Awaits, of: &Step) -> Option<StepOf<'a>> {
    Some(match of {
        Step::Function(index, times) => StepOf::Function {
            place: place(awaits.places.get(*index)?),
            times: *times,
        },
        Step::Via(of) => StepOf::Via { via: via(of) },
        Step::Again => StepOf::Again { circle: true },
    })
}

fn place(of: &Place) -> PlaceOf<'_> {
    PlaceOf {
        function: &of.function,
        file: &of.script,
        line: Some(of.line).filter(|line| *line > 0),
        kind: None,
    }
}
