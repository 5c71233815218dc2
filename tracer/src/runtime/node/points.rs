//! Which functions of Node, V8 and libuv are worth a probe, where each is probed, and what is in which register there.
//!
//! Compilers split functions and make copies of them for some callers: `NAME.constprop.0`, `NAME.isra.0` and
//! `NAME.part.0` are probed as the function is, or instead of it.

use std::{
    borrow::Cow,
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
};

use iced_x86::{FlowControl, OpKind, Register};
use serde::{Deserialize, Serialize};

use super::{Component, Parts, pool};
use crate::runtime::{
    code::Code,
    probe::{self, Place, ProbePoint},
};

/// A function worth a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Function {
    /// A garbage collection, from beginning to end: `Heap::PerformGarbageCollection`.
    GarbageCollection,
    /// In one: it is of the young generation.
    Scavenge,
    /// In one: it is of the whole heap.
    MarkCompact,
    /// In one: it is of the young generation, by marking.
    MinorMark,
    /// A run of the microtask queue, which may be empty: `MicrotaskQueue::RunMicrotasks`.
    Microtasks,
    /// An `await` began.
    AwaitStarted,
    /// An `await` goes on with a value.
    AwaitFulfilled,
    /// An `await` goes on with an error.
    AwaitRejected,
    /// A promise got its value.
    PromiseFulfilled,
    /// A promise got its error.
    PromiseRejected,
    /// Somebody waits for a promise.
    PromiseThen,
    /// One of the promises of a `Promise.all` got its value.
    PromiseAllElement,
    /// A callback of a resource is about to be made: `AsyncWrap::MakeCallback`.
    MakeCallback,
    /// A callback is about to be made, of a resource or of none: `MakeCallback(Isolate*, …, async_context)`, for addons and
    /// for `setImmediate`.
    AnyCallback,
    /// A callback begins: `InternalCallbackScope(Environment*, …)`. The one of a resource may call it.
    ScopeOpen,
    /// A callback of a resource begins: `InternalCallbackScope(AsyncWrap*, int)`.
    ScopeOpenOfResource,
    /// A callback ends, and `process.nextTick` and microtasks run: `InternalCallbackScope::Close`. It is called twice for
    /// most scopes, and does nothing the second time: where that leaves early, only the first is probed.
    ScopeClose,
    /// The end of a scope, which closes it if nobody did.
    ScopeEnd,
    /// The timers of JavaScript that are due: `Environment::RunTimers`.
    Timers,
    /// `setImmediate`: `Environment::CheckImmediate`.
    Immediates,
    /// The timers of libuv that are due.
    LoopTimers,
    /// Work is handed to the thread pool.
    WorkSubmit,
    /// The same through the function that everybody but libuv calls, which may have the other inlined.
    WorkQueue,
    /// A thread of the pool does a file operation.
    FsWork,
    /// A thread of the pool looks up a name.
    AddressWork,
    /// A thread of the pool looks up an address.
    NameWork,
    /// A thread of the pool does what `uv_queue_work` was given.
    QueuedWork,
    /// A thread of the pool gets random bytes.
    RandomWork,
}

impl Function {
    /// Where it belongs.
    #[must_use]
    pub fn component(self) -> Component {
        let row = ROWS.iter().find(|row| row.function == self);
        row.map_or(Component::Node, |row| row.component)
    }
}

/// What a register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Meaning {
    /// The low 32 bits: which collector, 0 for the young generation (scavenge), 1 for the whole heap (mark-compact).
    Collector,
    /// The low 32 bits: why there is a collection, V8's `GarbageCollectionReason`.
    Reason,
    /// Address of a `node::InternalCallbackScope`: the environment at 0, `async_id` at 8 and that of what triggered it at
    /// 16, as floating point numbers. They are there when the scope is closed.
    Scope,
    /// Address of the `node::Environment`.
    Environment,
    /// Address of a `node::AsyncWrap`.
    Resource,
    /// Address of a `uv_loop_t`.
    Loop,
    /// Address of a `uv__work`, the same when work is submitted, begins and ends.
    Work,
    /// Address of a `uv_work_t`; its `uv__work` is [`WORK_IN_REQUEST`] behind.
    Request,
    /// The low 32 bits: 0 for what takes CPU time, 1 for fast I/O, 2 for slow I/O.
    WorkKind,
    /// Address of the function that does the work.
    WorkFunction,
}

/// Where a `uv_work_t` has its `uv__work`, in bytes.
/// <https://github.com/libuv/libuv/blob/v1.52.1/include/uv.h#L1170>
pub const WORK_IN_REQUEST: u64 = 88;

/// A value that is in a register when a point is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Argument {
    /// What it is.
    pub meaning: Meaning,
    /// The number of the register, as DWARF numbers them on x86-64: 1 rdx, 2 rcx, 4 rsi, 5 rdi, 8 r8, …
    pub register: u8,
}

/// Where a function is probed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// Which one.
    pub function: Function,
    /// Its symbol, mangled; what it would be where the file is stripped of it.
    pub symbol: String,
    /// Its address as the file was linked.
    pub address: u64,
    /// The instruction. Every call passes it once, or at least every call that has something to do.
    pub probe: ProbePoint,
    /// The return may be probed at that instruction too: the address to return to is on top of the stack.
    pub has_return: bool,
    /// What is in registers there. Empty also for a copy that was made for some callers: it may have other arguments.
    pub arguments: Vec<Argument>,
}

impl Point {
    /// The register that holds this.
    #[must_use]
    pub fn register(&self, meaning: Meaning) -> Option<u8> {
        let mut arguments = self.arguments.iter();
        let argument = arguments.find(|argument| argument.meaning == meaning)?;
        Some(argument.register)
    }
}

/// A function as its symbol tells it.
struct Row {
    function: Function,
    component: Component,
    /// The mangled name, or how it begins when `is_prefix`: what follows depends on the version.
    name: &'static str,
    is_prefix: bool,
    arguments: &'static [(Meaning, Register)],
    /// Its return is worth a probe, so the place must be one where that is possible.
    has_return: bool,
    /// Calls with nothing to do are worth none.
    skips_exit: bool,
}

// https://gitlab.com/x86-psABIs/x86-64-ABI: arguments are in rdi, rsi, rdx, rcx, r8; methods have `this` in the first.
#[rustfmt::skip]
const ROWS: &[Row] = {
    use Component::{Node, Uv, V8};
    use Function as F;
    use Meaning as M;
    use Register as R;
    const fn row(function: F, component: Component, name: &'static str) -> Row {
        Row { function, component, name, is_prefix: false, arguments: &[], has_return: false, skips_exit: false }
    }
    &[
        Row { is_prefix: true, arguments: &[(M::Collector, R::RSI), (M::Reason, R::RDX)], has_return: true,
            ..row(F::GarbageCollection, V8, "_ZN2v88internal4Heap24PerformGarbageCollectionENS0_16GarbageCollectorENS0_23GarbageCollectionReasonE") },
        Row { is_prefix: true, has_return: true, ..row(F::GarbageCollection, V8, "_ZN2v88internal4Heap24PerformGarbageCollectionE") },
        row(F::Scavenge, V8, "_ZN2v88internal4Heap8ScavengeEv"),
        row(F::MarkCompact, V8, "_ZN2v88internal4Heap11MarkCompactEv"),
        row(F::MinorMark, V8, "_ZN2v88internal4Heap16MinorMarkCompactEv"),
        row(F::MinorMark, V8, "_ZN2v88internal4Heap14MinorMarkSweepEv"),
        Row { is_prefix: true, has_return: true, ..row(F::Microtasks, V8, "_ZN2v88internal14MicrotaskQueue13RunMicrotasksE") },
        row(F::AwaitStarted, V8, "Builtins_AsyncFunctionAwait"),
        row(F::AwaitStarted, V8, "Builtins_AsyncFunctionAwaitCaught"),
        row(F::AwaitStarted, V8, "Builtins_AsyncFunctionAwaitUncaught"),
        row(F::AwaitFulfilled, V8, "Builtins_AsyncFunctionAwaitResolveClosure"),
        row(F::AwaitRejected, V8, "Builtins_AsyncFunctionAwaitRejectClosure"),
        row(F::PromiseFulfilled, V8, "Builtins_FulfillPromise"),
        row(F::PromiseRejected, V8, "Builtins_RejectPromise"),
        row(F::PromiseThen, V8, "Builtins_PerformPromiseThen"),
        row(F::PromiseAllElement, V8, "Builtins_PromiseAllResolveElementClosure"),

        Row { is_prefix: true, arguments: &[(M::Resource, R::RDI)], has_return: true,
            ..row(F::MakeCallback, Node, "_ZN4node9AsyncWrap12MakeCallbackEN2v85LocalINS1_8FunctionE") },
        Row { has_return: true, ..row(F::AnyCallback, Node,
            "_ZN4node12MakeCallbackEPN2v87IsolateENS0_5LocalINS0_6ObjectEEENS3_INS0_8FunctionEEEiPNS3_INS0_5ValueEEENS_13async_contextE") },
        Row { is_prefix: true, arguments: &[(M::Scope, R::RDI), (M::Environment, R::RSI)],
            ..row(F::ScopeOpen, Node, "_ZN4node21InternalCallbackScopeC2EPNS_11EnvironmentE") },
        Row { is_prefix: true, arguments: &[(M::Scope, R::RDI), (M::Resource, R::RSI)],
            ..row(F::ScopeOpenOfResource, Node, "_ZN4node21InternalCallbackScopeC2EPNS_9AsyncWrapE") },
        Row { arguments: &[(M::Scope, R::RDI)], has_return: true, skips_exit: true, ..row(F::ScopeClose, Node, "_ZN4node21InternalCallbackScope5CloseEv") },
        Row { arguments: &[(M::Scope, R::RDI)], has_return: true, ..row(F::ScopeEnd, Node, "_ZN4node21InternalCallbackScopeD2Ev") },
        Row { is_prefix: true, has_return: true, ..row(F::Timers, Node, "_ZN4node11Environment9RunTimersE") },
        Row { is_prefix: true, has_return: true, ..row(F::Immediates, Node, "_ZN4node11Environment14CheckImmediateE") },

        Row { arguments: &[(M::Loop, R::RDI)], has_return: true, ..row(F::LoopTimers, Uv, "uv__run_timers") },
        Row { arguments: &[(M::Loop, R::RDI), (M::Work, R::RSI), (M::WorkKind, R::RDX), (M::WorkFunction, R::RCX)],
            ..row(F::WorkSubmit, Uv, "uv__work_submit") },
        Row { arguments: &[(M::Loop, R::RDI), (M::Request, R::RSI), (M::WorkFunction, R::RDX)], ..row(F::WorkQueue, Uv, "uv_queue_work") },
        Row { arguments: &[(M::Work, R::RDI)], has_return: true, ..row(F::FsWork, Uv, "uv__fs_work") },
        Row { arguments: &[(M::Work, R::RDI)], has_return: true, ..row(F::AddressWork, Uv, "uv__getaddrinfo_work") },
        Row { arguments: &[(M::Work, R::RDI)], has_return: true, ..row(F::NameWork, Uv, "uv__getnameinfo_work") },
        Row { arguments: &[(M::Work, R::RDI)], has_return: true, ..row(F::QueuedWork, Uv, "uv__queue_work") },
        Row { arguments: &[(M::Work, R::RDI)], has_return: true, ..row(F::RandomWork, Uv, "uv__random_work") },
    ]
};

/// How the names in [`ROWS`] begin: a first look, for files have hundreds of thousands of them.
const BEGIN: [&str; 8] = [
    "_ZN2v88internal4Heap",
    "_ZN2v88internal14MicrotaskQueue",
    "_ZN4node9AsyncWrap",
    "_ZN4node12MakeCallback",
    "_ZN4node21InternalCallbackScope",
    "_ZN4node11Environment",
    "uv_",
    "Builtins_",
];

/// What people lose when functions are not there.
const SAID: &[(&str, &[Function])] = &[
    ("garbage collections", &[Function::GarbageCollection]),
    (
        "which garbage collections are of the young generation",
        &[Function::Scavenge, Function::MarkCompact],
    ),
    ("runs of the microtask queue", &[Function::Microtasks]),
    (
        "awaits and promises",
        &[
            Function::AwaitStarted,
            Function::AwaitFulfilled,
            Function::AwaitRejected,
            Function::PromiseFulfilled,
            Function::PromiseRejected,
            Function::PromiseThen,
            Function::PromiseAllElement,
        ],
    ),
    (
        "callbacks",
        &[
            Function::MakeCallback,
            Function::AnyCallback,
            Function::ScopeOpen,
            Function::ScopeOpenOfResource,
            Function::ScopeClose,
            Function::ScopeEnd,
        ],
    ),
    (
        "JavaScript's timers and immediates",
        &[Function::Timers, Function::Immediates],
    ),
    ("libuv's timers", &[Function::LoopTimers]),
    (
        "what is handed to the thread pool",
        &[Function::WorkSubmit, Function::WorkQueue],
    ),
    (
        "when work of the thread pool begins and ends",
        &[
            Function::FsWork,
            Function::AddressWork,
            Function::NameWork,
            Function::QueuedWork,
            Function::RandomWork,
        ],
    ),
];

/// How a function came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// As it was written.
    Whole,
    /// What follows an early way out, which callers have inlined: every call that does something passes here.
    Part,
    /// Made for some callers, perhaps with other arguments.
    Copy,
}

/// A symbol without what the compiler put behind it, and what that says; `None` for code that is hardly ever reached and
/// was moved away.
fn taken_apart(symbol: &str) -> Option<(&str, Kind)> {
    let mut parts = symbol.split('.');
    let name = parts.next()?;
    let mut kind = Kind::Whole;
    for part in parts {
        match part {
            "part" => kind = kind.max(Kind::Part),
            "constprop" | "isra" => kind = Kind::Copy,
            // What was local gets a number when files are compiled as one.
            "lto_priv" | "llvm" => {}
            _ if part.bytes().all(|byte| byte.is_ascii_digit()) => {}
            _ => return None,
        }
    }
    Some((name, kind))
}

fn row_of(name: &str) -> Option<&'static Row> {
    let fits = |row: &&Row| {
        if row.is_prefix {
            name.starts_with(row.name)
        } else {
            name == row.name
        }
    };
    ROWS.iter().find(fits)
}

/// Where the functions are probed that a file has, and what it lacks.
pub(super) fn find(code: &Code, parts: &Parts) -> (Vec<Point>, Vec<String>) {
    // By address: a function may have several names.
    let mut found: BTreeMap<u64, (&'static Row, Kind, Cow<'_, str>)> = BTreeMap::new();
    for (place, symbol) in code.image.beginning_with(&BEGIN) {
        let address = place.start;
        let Some((name, kind)) = taken_apart(symbol) else {
            continue;
        };
        if let Some(row) = row_of(name).filter(|row| parts.has(row.component))
            && code.image.is_code(address)
        {
            found
                .entry(address)
                .or_insert((row, kind, Cow::Borrowed(symbol)));
        }
    }
    if !code.image.has_symbols() {
        follow_callers(code, &mut found);
        let of_pool = if parts.has(Component::Uv) {
            pool::find(code)
        } else {
            Vec::new()
        };
        for (function, address) in of_pool {
            if let Some(row) = ROWS.iter().find(|row| row.function == function) {
                let named = (row, Kind::Whole, Cow::Borrowed(row.name));
                found.entry(address).or_insert(named);
            }
        }
    }
    let split: BTreeSet<Function> = found
        .values()
        .filter(|(_, kind, _)| *kind == Kind::Part)
        .map(|(row, ..)| row.function)
        .collect();
    let points = found
        .into_iter()
        .filter_map(|(address, (row, kind, symbol))| {
            if kind == Kind::Whole && split.contains(&row.function) {
                return None;
            }
            let arguments = if kind == Kind::Whole {
                row.arguments
            } else {
                &[]
            };
            let place = place(code, address, arguments, row)?;
            let arguments = arguments.iter().zip(place.registers);
            Some(Point {
                function: row.function,
                symbol: symbol.into_owned(),
                address,
                probe: place.point,
                has_return: row.has_return,
                arguments: arguments
                    .map(|(&(meaning, _), register)| Argument { meaning, register })
                    .collect(),
            })
        });
    let mut points: Vec<Point> = points.collect();
    points.sort_by_key(|point| (point.function, point.address));
    let notes = notes(code, parts, &points);
    (points, notes)
}

/// Without names for copies and parts, a function may be there that nobody calls. What it only jumps to is then the part
/// that everybody calls; what is left would look as if it never ran, and is left out.
fn follow_callers<'name>(
    code: &Code,
    found: &mut BTreeMap<u64, (&'static Row, Kind, Cow<'name, str>)>,
) {
    // Libraries call what they offer to others through tables, and these functions are called by nothing else.
    if !code.image.is_program() {
        return;
    }
    let direct = found
        .iter()
        .filter(|(_, (row, ..))| row.component == Component::V8);
    let direct: Vec<u64> = direct.map(|(&address, _)| address).collect();
    let called = code.called(&direct);
    for address in direct {
        if called.contains(&address) {
            continue;
        }
        let Some((row, _, symbol)) = found.remove(&address) else {
            continue;
        };
        if let Some(part) = jumped_to(code, address) {
            let symbol = Cow::Owned(format!("{symbol}.part"));
            found.insert(part, (row, Kind::Part, symbol));
        }
    }
}

/// The function that a short one goes on in.
fn jumped_to(code: &Code, function: u64) -> Option<u64> {
    const SHORT: u64 = 32;
    let bounds = code.bounds(function);
    if bounds.end - bounds.start > SHORT {
        return None;
    }
    let mut instructions = code.decode(bounds.clone());
    let jump = instructions.find(|one| {
        one.flow_control() == FlowControl::UnconditionalBranch
            && one.op0_kind() == OpKind::NearBranch64
    })?;
    let target = jump.near_branch_target();
    let begins = code.image.function(target)?.start == target;
    (begins && !bounds.contains(&target)).then_some(target)
}

fn place(
    code: &Code,
    function: u64,
    arguments: &[(Meaning, Register)],
    row: &Row,
) -> Option<Place> {
    let registers: Vec<Register> = arguments.iter().map(|&(_, register)| register).collect();
    if row.skips_exit
        && let Some(place) = probe::behind_exit(code, function, &registers)
    {
        return Some(place);
    }
    let has_return = row.has_return;
    let moved = Cell::new(false);
    probe::place(code, function, &registers, |instruction| {
        // Asked of each instruction before it is taken: the one that moves the stack may still be it.
        has_return && moved.replace(moved.get() || probe::moves_stack(instruction))
    })
}

fn notes(code: &Code, parts: &Parts, points: &[Point]) -> Vec<String> {
    let why = if code.image.has_symbols() {
        "this build has no symbols of that name"
    } else {
        "the file is stripped"
    };
    let has = |function: &Function| points.iter().any(|point| point.function == *function);
    let mut notes = Vec::new();
    for &(what, functions) in SAID {
        let of_file = functions
            .iter()
            .copied()
            .filter(|function| parts.has(function.component()));
        let (there, missing): (Vec<Function>, Vec<Function>) =
            of_file.partition(|function| has(function));
        if missing.is_empty() {
            continue;
        }
        let names: Vec<String> = missing.iter().map(|function| name_of(*function)).collect();
        let names = names.join(", ");
        notes.push(if there.is_empty() {
            format!("{what}: not known, {why} ({names})")
        } else {
            format!("{what}: not all known, {why} ({names})")
        });
    }
    notes
}

/// As people look for it in the sources.
fn name_of(function: Function) -> String {
    let row = ROWS.iter().find(|row| row.function == function);
    let name = row.map_or("", |row| row.name);
    let Some(mut rest) = name.strip_prefix("_ZN") else {
        return name.to_owned();
    };
    let mut parts = Vec::new();
    loop {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let length = rest[..digits].parse::<usize>();
        let Some((part, after)) = length
            .ok()
            .and_then(|length| rest[digits..].split_at_checked(length))
        else {
            break;
        };
        parts.push(part);
        rest = after;
    }
    let last = parts.last().copied().unwrap_or_default();
    match rest.get(..2) {
        Some("C2") => parts.push(last),
        Some("D2") => return format!("{}::~{last}", parts.join("::")),
        Some(_) | None => {}
    }
    parts.join("::")
}

/// True when every point is where it would be put now: then it is at an instruction, of the kind it says, and where
/// returns are probed at one where that can be done.
pub(super) fn fit(code: &Code, points: &[Point]) -> bool {
    points.iter().all(|point| {
        let begins = code.image.function(point.address);
        let begins = begins.is_some_and(|function| function.start == point.address);
        let Some((name, kind)) = taken_apart(&point.symbol) else {
            return false;
        };
        let row = row_of(name).filter(|row| row.function == point.function);
        let is_as_found = row.is_some_and(|row| {
            let arguments = if kind == Kind::Whole {
                row.arguments
            } else {
                &[]
            };
            let place = place(code, point.address, arguments, row);
            point.has_return == row.has_return
                && arguments.len() == point.arguments.len()
                && place.is_some_and(|place| {
                    let registers = point.arguments.iter().map(|argument| argument.register);
                    place.point == point.probe && place.registers.iter().copied().eq(registers)
                })
        });
        begins && is_as_found && probe::is_instruction(code, point.probe)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_look_at_names_lets_each_row_through() {
        for row in ROWS {
            let begins = BEGIN.iter().any(|begin| row.name.starts_with(begin));
            assert!(begins, "{}", row.name);
        }
    }

    #[test]
    fn what_compilers_put_behind_a_name_is_understood() {
        for (symbol, expected) in [
            ("uv__fs_work", Some(("uv__fs_work", Kind::Whole))),
            ("uv__fs_work.cold", None),
            ("uv__fs_work.cold.13", None),
            ("a.part.50", Some(("a", Kind::Part))),
            ("a.constprop.1331", Some(("a", Kind::Copy))),
            ("a.isra.0.part.2", Some(("a", Kind::Copy))),
            ("a.lto_priv.0", Some(("a", Kind::Whole))),
            ("a.llvm.123456", Some(("a", Kind::Whole))),
            ("a.isra.0.cold", None),
            ("a.resolver", None),
        ] {
            assert_eq!(taken_apart(symbol), expected, "{symbol}");
        }
    }

    #[test]
    fn each_function_has_a_row_and_is_said_once() {
        let said: Vec<Function> = SAID
            .iter()
            .flat_map(|(_, functions)| *functions)
            .copied()
            .collect();
        for row in ROWS {
            assert_eq!(row.function.component(), row.component, "{}", row.name);
            let count = said.iter().filter(|one| **one == row.function).count();
            // Nobody misses a way to collect garbage that most versions lack.
            let expected = usize::from(row.function != Function::MinorMark);
            assert_eq!(count, expected, "{}", row.name);
        }
    }

    #[test]
    fn functions_are_named_as_in_their_sources() {
        for (function, name) in [
            (
                Function::GarbageCollection,
                "v8::internal::Heap::PerformGarbageCollection",
            ),
            (
                Function::ScopeOpen,
                "node::InternalCallbackScope::InternalCallbackScope",
            ),
            (
                Function::ScopeEnd,
                "node::InternalCallbackScope::~InternalCallbackScope",
            ),
            (Function::AwaitStarted, "Builtins_AsyncFunctionAwait"),
            (Function::FsWork, "uv__fs_work"),
        ] {
            assert_eq!(name_of(function), name);
        }
    }
}
