//! What task types are called.
//!
//! With the newer mangling the symbol of `poll` tells the type. The older one tells none there, but in the names of
//! the functions that destroy a task (`drop_in_place::<Cell<T, S>>`), which are reached from the other functions of
//! the table. The compiler makes one of functions whose code is the same, so what several types reach tells of none
//! of them. A type that is not certain has no name.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    rc::Rc,
};

use super::{
    Kind, Source,
    coroutine::{Machines, location, outermost, tells},
    scan::{Vtable, is_poll},
    shown::{shown, unwrapped},
};
use crate::runtime::code::Code;

/// Calls from a function of the table to one that tells of the type: two in a release build, many in a debug build.
const DEPTH: usize = 14;
/// Functions looked at for one function of the table.
const FUNCTIONS: usize = 256;
/// Calls from `poll` to the future's own code where no name tells what is on the way.
const BLIND_DEPTH: usize = 4;

/// The weight of a clue about a whole task, scheduler and all.
const WHOLE: u32 = 8;
/// The weight of a clue that is true for all who lead to it.
const CERTAIN: u32 = 32;
/// What runs a worker, and the future that calls it.
const WORKER: [&str; 2] = [
    "tokio::runtime::scheduler::multi_thread::worker::run",
    "tokio::runtime::thread_pool::worker::run",
];
/// What the function panics with that enters a runtime.
const ENTER: [&[u8]; 1] = [b"Cannot start a runtime from within a runtime"];
const LAUNCH: &str = "tokio::runtime::blocking::task::BlockingTask<\
    tokio::runtime::scheduler::multi_thread::worker::Launch::launch::{{closure}}>";

/// What was found out about one type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    /// The type of the future, as the compiler names it. Several when they run the same code; then they are shown alike.
    pub(super) futures: Vec<String>,
    pub(super) source: Option<Source>,
    pub(super) kind: Option<Kind>,
}

impl Named {
    pub(super) fn future(&self) -> Option<&str> {
        self.futures.first().map(String::as_str)
    }
}

/// What a function's name tells about the task it works on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Clue {
    function: u64,
    /// Several when the function has the names of several.
    futures: BTreeSet<String>,
    weight: u32,
}

/// What is known about each table, in their order.
pub(super) fn find(code: &Code, vtables: &[Vtable]) -> Vec<Named> {
    let mut names = Demangled::default();
    let mut machines = Machines::new();
    let mut found: Vec<Named> = vtables
        .iter()
        .map(|table| Named {
            futures: from_poll(code, table),
            source: None,
            kind: kind_by_layout(table),
        })
        .collect();
    let mut candidates = vec![BTreeSet::new(); vtables.len()];
    if code.image.has_symbols() && found.iter().any(|named| named.futures.is_empty()) {
        candidates = from_clues(code, vtables, &mut found, &mut names);
    }
    for ((named, table), candidates) in found.iter_mut().zip(vtables).zip(candidates) {
        let is_unknown_job = named.futures.is_empty() && named.kind == Some(Kind::Blocking);
        if is_unknown_job && runs_worker(code, table) {
            named.futures = vec![LAUNCH.to_owned()];
        }
        if let Some(body) = body(code, table, named, &mut names, &mut machines) {
            if named.futures.is_empty() {
                named.futures = by_body(&candidates, &body);
            }
            named.source = Some(body.source);
        }
        if let Some(future) = named.future() {
            named.kind = Some(if unwrapped(future).1 {
                Kind::Blocking
            } else {
                Kind::Async
            });
        }
    }
    found
}

/// Without names: a worker enters the runtime, and tells from which lines of its source it does.
fn runs_worker(code: &Code, table: &Vtable) -> bool {
    const DEPTH: usize = 6;
    const NEAR: u32 = 40;
    let lines = |function: u64| {
        let data = &code.function(function).data;
        let places = data.iter().filter_map(|&data| location(code.image, data));
        let of_worker = places.filter(|place| place.file.ends_with("/worker.rs"));
        of_worker.map(|place| place.line).collect::<BTreeSet<u32>>()
    };
    let enters = |function: u64| {
        let data = &code.function(function).data;
        data.iter().any(|&data| tells(code.image, data, &ENTER))
    };
    let reached = code.reach(table.poll(), DEPTH, FUNCTIONS, |_| true);
    reached.into_iter().any(|(function, _)| {
        if lines(function).is_empty() {
            return false;
        }
        let near = code.reach(function, 2, FUNCTIONS, |_| true);
        let all: BTreeSet<u32> = near.iter().flat_map(|&(near, _)| lines(near)).collect();
        let are_near = all
            .iter()
            .zip(all.iter().skip(1))
            .any(|(one, next)| next - one <= NEAR);
        are_near && near.iter().any(|&(near, _)| enters(near))
    })
}

fn kind_by_layout(table: &Vtable) -> Option<Kind> {
    // An `Arc` of the scheduler's handle or of the `LocalSet`.
    const ARC: u64 = 8;
    let size = table.scheduler_size()?;
    Some(if size == ARC {
        Kind::Async
    } else {
        Kind::Blocking
    })
}

/// `tokio::runtime::task::raw::poll::<T, S>`, in the newer mangling.
fn from_poll(code: &Code, table: &Vtable) -> Vec<String> {
    let futures: BTreeSet<String> = code
        .image
        .names(table.poll())
        .filter(|name| name.starts_with("_R") && is_poll(name))
        .filter_map(|name| {
            let name = format!("{:#}", rustc_demangle::try_demangle(name).ok()?);
            let (_, arguments) = name.split_once("raw::poll::<")?;
            first_argument(arguments).map(str::to_owned)
        })
        .collect();
    alike(futures)
}

/// All when they are shown alike; otherwise nothing tells which of them it is.
fn alike(futures: BTreeSet<String>) -> Vec<String> {
    let names: HashSet<String> = futures.iter().map(|one| shown(one).with(0)).collect();
    if names.len() == 1 {
        futures.into_iter().collect()
    } else {
        Vec::new()
    }
}

/// The first of the type arguments that begin here.
fn first_argument(text: &str) -> Option<&str> {
    let mut depth = 0usize;
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'<' | b'(' | b'[' | b'{' => depth += 1,
            b'>' if at > 0 && bytes[at - 1] == b'-' => {}
            b',' | b'>' if depth == 0 => return text.get(..at),
            b'>' | b')' | b']' | b'}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
    }
    None
}

/// What names tell of a function.
struct About {
    /// Demangled.
    names: Vec<String>,
    /// It is between `poll` and the future, so that what it calls can tell of the type.
    is_between: bool,
    /// The futures that the names tell of, and how sure they are to be this task's.
    told: Vec<(String, u32)>,
}

/// What is known about functions, none asked for twice.
#[derive(Default)]
struct Demangled {
    known: HashMap<u64, Rc<About>>,
}

impl Demangled {
    fn of(&mut self, code: &Code, address: u64) -> Rc<About> {
        let known = self.known.entry(address).or_insert_with(|| {
            let names = code.image.names(address);
            let names: Vec<String> = names
                .map(|name| format!("{:#}", rustc_demangle::demangle(name)))
                .collect();
            Rc::new(About {
                is_between: names.is_empty() || names.iter().any(|name| is_between(name)),
                told: names.iter().filter_map(|name| tells_future(name)).collect(),
                names,
            })
        });
        Rc::clone(known)
    }
}

fn is_between(name: &str) -> bool {
    const PREFIXES: [&str; 6] = [
        "tokio::loom::",
        "tokio::runtime::task::",
        "core::",
        "std::panic",
        "std::panicking",
        "alloc::boxed",
    ];
    let bare = name.trim_start_matches('<');
    PREFIXES.iter().any(|prefix| bare.starts_with(prefix))
        || name.ends_with(" as core::future::future::Future>::poll")
}

/// The functions reached from `start` through those between `poll` and the future, nearest first.
fn reached(code: &Code, start: u64, names: &mut Demangled) -> Vec<u64> {
    let names = std::cell::RefCell::new(names);
    let enter = |address| address == start || names.borrow_mut().of(code, address).is_between;
    let reached = code.reach(start, DEPTH, FUNCTIONS, enter);
    reached.into_iter().map(|(address, _)| address).collect()
}

/// Names types by clues, and tells which futures each may be of, those that several may be among them.
fn from_clues(
    code: &Code,
    vtables: &[Vtable],
    found: &mut [Named],
    names: &mut Demangled,
) -> Vec<BTreeSet<String>> {
    let clues: Vec<Vec<Clue>> = vtables
        .iter()
        .map(|table| clues(code, table, names))
        .collect();
    let mut users: HashMap<u64, Vec<&Vtable>> = HashMap::new();
    for (table, clues) in vtables.iter().zip(&clues) {
        for clue in clues {
            users.entry(clue.function).or_default().push(table);
        }
    }
    let mut candidates = Vec::new();
    for ((table, mut clues), named) in vtables.iter().zip(clues).zip(found) {
        if let Some(kind) = named.kind {
            for clue in &mut clues {
                let fits = |future: &String| unwrapped(future).1 == (kind == Kind::Blocking);
                clue.futures.retain(fits);
            }
        }
        let of = clues.iter().flat_map(|clue| clue.futures.iter().cloned());
        candidates.push(of.collect());
        if named.futures.is_empty() {
            let is_own = |clue: &Clue| {
                clue.weight == CERTAIN || are_one(table, &users[&clue.function], clue.weight)
            };
            named.futures = decide(clues.into_iter().filter(is_own));
        }
    }
    candidates
}

/// True when all who reach a function are of the type of `table`. The same future on another scheduler is another
/// table; it has parts in common, but not the whole, and is as large.
fn are_one(table: &Vtable, users: &[&Vtable], weight: u32) -> bool {
    users.iter().all(|user| {
        // Tables with the same `poll` are of one type.
        user.poll() == table.poll()
            || (weight < WHOLE
                && user.schedule() != table.schedule()
                && user.trailer == table.trailer)
    })
}

/// The future that most clues tell of, when no other is near; those that are as likely, when they are shown alike.
fn decide(clues: impl Iterator<Item = Clue>) -> Vec<String> {
    let mut weights: BTreeMap<String, u32> = BTreeMap::new();
    for clue in clues {
        for future in clue.futures {
            *weights.entry(future).or_default() += clue.weight;
        }
    }
    let most = weights.values().copied().max().unwrap_or_default();
    weights.retain(|_, weight| *weight * 2 > most);
    alike(weights.into_keys().collect())
}

/// What the functions of a table and those they call tell.
fn clues(code: &Code, table: &Vtable, names: &mut Demangled) -> Vec<Clue> {
    let mut clues: Vec<Clue> = Vec::new();
    for &function in &table.functions {
        for function in reached(code, function, names) {
            let about = names.of(code, function);
            let told = &about.told;
            let Some(weight) = told.iter().map(|&(_, weight)| weight).max() else {
                continue;
            };
            let clue = Clue {
                function,
                futures: told.iter().map(|(future, _)| future.clone()).collect(),
                weight,
            };
            if !clues.contains(&clue) {
                clues.push(clue);
            }
        }
    }
    clues
}

/// The future in the name of a function that destroys a task or a part of it, and how sure it is to be this task.
fn tells_future(name: &str) -> Option<(String, u32)> {
    // What a worker of the runtime does all its life; nothing else calls it.
    if WORKER.contains(&name) {
        return Some((LAUNCH.to_owned(), CERTAIN));
    }
    const PARTS: [(&str, u32); 3] = [("Cell<", WHOLE), ("CoreStage<", 2), ("Stage<", 2)];
    let dropped = name.strip_prefix("core::ptr::drop_in_place")?;
    let (_, part) = dropped.split_once("tokio::runtime::task::core::")?;
    PARTS.iter().find_map(|(prefix, weight)| {
        let future = first_argument(part.strip_prefix(prefix)?)?;
        Some((future.to_owned(), *weight))
    })
}

/// The state machine that a task runs.
struct Body {
    source: Source,
    /// Its names when it is a function of its own, not inlined into what calls it.
    names: Vec<String>,
}

/// What the task runs, when it is an `async fn` or block, or a wrapper around one.
fn body(
    code: &Code,
    table: &Vtable,
    named: &Named,
    names: &mut Demangled,
    machines: &mut Machines,
) -> Option<Body> {
    let may_be = match named.future() {
        Some(future) => future.trim_end_matches('>').ends_with('}'),
        None => true,
    };
    if named.kind == Some(Kind::Blocking) || !may_be {
        return None;
    }
    let functions = if code.image.has_symbols() {
        reached(code, table.poll(), names)
    } else {
        let reached = code.reach(table.poll(), BLIND_DEPTH, FUNCTIONS, |_| true);
        reached.into_iter().map(|(address, _)| address).collect()
    };
    functions.into_iter().find_map(|function| {
        let source = outermost(code, function, machines)?;
        let about = names.of(code, function);
        let own = about.names.iter().filter(|name| name.ends_with("}}"));
        let names = own.cloned().collect();
        Some(Body { source, names })
    })
}

/// The one future of those that may be it, of which the body is a part.
fn by_body(candidates: &BTreeSet<String>, body: &Body) -> Vec<String> {
    let [name] = body.names.as_slice() else {
        return Vec::new();
    };
    let fits = candidates.iter().filter(|future| {
        let inner = unwrapped(future).0.trim_end_matches('>');
        inner
            .strip_suffix(name.as_str())
            .is_some_and(|before| before.is_empty() || before.ends_with(['<', ',', ' ']))
    });
    let fits: Vec<String> = fits.cloned().collect();
    if fits.len() == 1 { fits } else { Vec::new() }
}
