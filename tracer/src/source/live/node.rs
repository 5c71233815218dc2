//! What was found of Node in a target: where it is probed, what its pool's work and its callbacks are called.

use std::collections::{BTreeMap, BTreeSet};

use tracer_common::{
    Pid, Table as _,
    callback::{CallbackKey, CallbackKind, PromiseStep},
    table::{Callbacks, Collector, Image, WorkKey, WorkKind, Works},
    task::Cookie,
};

use crate::{
    bpf::{Points, probes::Functions},
    record::{CallbackKindMeta, CounterSample, Meta, Record, WorkTypeMeta},
    runtime::{
        Mapped,
        node::{
            Class, Component, Node, Parts, Providers,
            points::{Function, Meaning, Point, WORK_IN_REQUEST},
        },
    },
    target::mapping::{self, Mapping},
};

/// Numbers of registers as DWARF numbers them: those of the first and second argument, which the kernel side reads.
const FIRST: u8 = 5;
const SECOND: u8 = 4;

/// Where garbage collections and work for the pool pass.
#[must_use]
pub fn points(pid: Pid, node: &Node) -> Vec<(Functions, Points)> {
    let mut all = Vec::new();
    for module in &node.modules {
        let mut places: BTreeMap<Functions, BTreeMap<u64, Cookie>> = BTreeMap::new();
        let points = &module.holds.points;
        let mut collections = points
            .iter()
            .filter(|point| point.function == Function::GarbageCollection);
        let all_tell = collections.all(tells_collector);
        // Work that is seen to be handed in and never to begin would seem to wait for ever.
        let mut functions = points.iter().map(|point| point.function);
        let sees_queued = functions.any(|function| function == Function::QueuedWork);
        let mut all_points = points.iter();
        let mappings = mapping::of(pid);
        let immediates = all_points.find(|point| point.function == Function::Immediates);
        let around = Around {
            all_tell,
            providers: module.holds.providers.as_ref(),
            immediates: immediates.map(|point| point.address),
        };
        for point in points {
            if point.function == Function::WorkQueue && !sees_queued {
                continue;
            }
            if is_builtin(point) && !is_mapped_twice(&mappings, module, point) {
                continue;
            }
            if let Some((which, cookie)) = place(point, &around) {
                let offset = point.probe.file_offset;
                places
                    .entry(which)
                    .or_default()
                    .insert(offset, Cookie(cookie));
            }
        }
        all.extend(places.into_iter().map(|(which, places)| {
            let file = module.file.clone();
            let places = places.into_iter().collect();
            (which, Points { pid, file, places })
        }));
    }
    all
}

/// True for one of those functions of V8 that it needs near the code it makes at run time. For each isolate (the main
/// thread has one, each worker thread another) it either copies them, or maps them from the file a second time. A copy that
/// is made while a probe is in them has the probe's instruction in it and nobody who knows of it: the process would end.
/// <https://github.com/v8/v8/blob/10.2.154/src/heap/code-range.cc> (`RemapEmbeddedBuiltins`)
fn is_builtin(point: &Point) -> bool {
    place(point, &Around::default()).is_some_and(|(which, _)| which == Functions::Promises)
}

/// True when the process has the code of a point mapped from its file more than once: this V8 makes no copies.
fn is_mapped_twice(mappings: &[Mapping], module: &Mapped<Parts>, point: &Point) -> bool {
    let address = point.address.wrapping_add(module.bias);
    let mut known = mappings.iter();
    let Some(first) = known.find(|one| (one.start..one.end).contains(&address)) else {
        return false;
    };
    let place = first.place_of(address);
    let same = mappings.iter().filter(|one| {
        let size = one.end.saturating_sub(one.start);
        let is_there = (one.offset..one.offset.saturating_add(size)).contains(&place);
        let is_same = (one.device, one.inode) == (first.device, first.inode);
        one.executable && one.inode != 0 && is_same && is_there
    });
    same.count() > 1
}

/// Why promises cannot be watched in a process whose Node has the functions for it; `None` where they can, or where it has
/// none.
pub(super) fn no_promises(pid: Pid, node: &Node) -> Option<&'static str> {
    let mappings = mapping::of(pid);
    let mut builtins = node.modules.iter().flat_map(|module| {
        let points = module.holds.points.iter().filter(|point| is_builtin(point));
        points.map(move |point| (module, point))
    });
    let (module, point) = builtins.next()?;
    (!is_mapped_twice(&mappings, module, point)).then_some(
        "awaits and promises are never counted: this V8 copies their functions for each worker thread, and a copy of a probe \
         would end the process",
    )
}

/// True when the function that does what `uv_queue_work` was given is probed at an instruction that is single-stepped.
pub(super) fn steps_queued_work(node: &Node) -> bool {
    let mut points = node.points(Function::QueuedWork);
    points.any(|(_, point)| !point.probe.is_emulated)
}

fn tells_collector(point: &Point) -> bool {
    point.register(Meaning::Collector) == Some(SECOND)
}

/// What the kernel side is told of a place depends on what else its file has.
#[derive(Default)]
struct Around<'a> {
    /// Every collection tells which kind it is.
    all_tell: bool,
    /// How a resource tells of which kind it is.
    providers: Option<&'a Providers>,
    /// Where the function begins that calls what `setImmediate` was given.
    immediates: Option<u64>,
}

/// `Environment::CheckImmediate` is no longer, and no function so near behind it calls what it calls.
const LONGEST: u64 = 0x800;
/// A register that there is not: this scope is of no resource.
const NO_REGISTER: u64 = 0xff;

/// For what a point is good, and what the kernel side is told there.
fn place(point: &Point, around: &Around<'_>) -> Option<(Functions, u64)> {
    let has = |meaning, register| point.register(meaning) == Some(register);
    let work = |kind: u32| {
        (has(Meaning::Work, FIRST) && point.has_return).then_some((Functions::Works, kind.into()))
    };
    let collector =
        |kind: Collector| (!around.all_tell).then_some((Functions::Collectors, kind.number.into()));
    // What comes with every callback or promise is left out where it is single-stepped: one costs as much as ten others.
    let cheap = |which, cookie: u64| point.probe.is_emulated.then_some((which, cookie));
    let promise = |step: PromiseStep| cheap(Functions::Promises, step.number.into());
    let register = |meaning| point.register(meaning).map(u64::from);
    let resource = || Some(register(Meaning::Resource)? | around.providers?.offset << 8);
    let scope = || Some(register(Meaning::Scope)? << 24);
    match point.function {
        Function::GarbageCollection if point.has_return => {
            Some((Functions::Collections, tells_collector(point).into()))
        }
        Function::Scavenge => collector(Collector::SCAVENGER),
        Function::MarkCompact => collector(Collector::MARK_COMPACTOR),
        Function::MinorMark => collector(Collector::MINOR_MARK_COMPACTOR),
        Function::WorkSubmit if has(Meaning::Work, SECOND) => Some((Functions::Submits, 0)),
        Function::WorkQueue if has(Meaning::Request, SECOND) => {
            Some((Functions::Submits, WORK_IN_REQUEST))
        }
        Function::FsWork => work(WorkKind::FS),
        Function::AddressWork => work(WorkKind::GETADDRINFO.number),
        Function::NameWork => work(WorkKind::GETNAMEINFO.number),
        Function::RandomWork => work(WorkKind::RANDOM.number),
        Function::QueuedWork => work(WorkKind::QUEUED.number),
        Function::Microtasks if point.has_return => cheap(Functions::Microtasks, 0),
        Function::MakeCallback => cheap(Functions::Resources, resource()?),
        Function::AnyCallback if point.has_return => {
            let from = around.immediates?.wrapping_sub(point.address) as u32;
            cheap(Functions::Immediates, u64::from(from) | LONGEST << 32)
        }
        Function::Timers => {
            let kind = u64::from(CallbackKind::TIMERS.number);
            cheap(Functions::Resources, kind << 32)
        }
        Function::ScopeOpen => cheap(Functions::Scopes, scope()? | NO_REGISTER),
        Function::ScopeOpenOfResource => cheap(
            Functions::Scopes,
            scope()? | resource().unwrap_or(NO_REGISTER),
        ),
        Function::ScopeClose if point.has_return => cheap(Functions::ScopeCloses, scope()?),
        Function::AwaitStarted => promise(PromiseStep::AWAIT),
        Function::AwaitFulfilled => promise(PromiseStep::RESUMED),
        Function::AwaitRejected => promise(PromiseStep::THROWN),
        Function::PromiseFulfilled => promise(PromiseStep::FULFILLED),
        Function::PromiseRejected => promise(PromiseStep::REJECTED),
        Function::PromiseThen => promise(PromiseStep::THEN),
        Function::GarbageCollection
        | Function::Microtasks
        | Function::PromiseAllElement
        | Function::AnyCallback
        | Function::ScopeClose
        | Function::ScopeEnd
        | Function::Immediates
        | Function::LoopTimers
        | Function::WorkSubmit
        | Function::WorkQueue => None,
    }
}

/// Names of what is counted by number, by process: classes whose objects hand work to the pool, kinds of callbacks.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// By where their vtables are in the process.
    of: BTreeMap<Pid, BTreeMap<u64, Class>>,
    named: BTreeSet<(Pid, u64)>,
    /// By number.
    kinds: BTreeMap<Pid, Vec<String>>,
    named_kinds: BTreeSet<(Pid, CallbackKind)>,
}

impl Names {
    /// Takes in those of a process. Gives where their vtables lie.
    pub(super) fn add(&mut self, pid: Pid, node: &Node) -> Option<Image> {
        let module = node.module(Component::Node)?;
        if let Some(providers) = &module.holds.providers {
            self.kinds.insert(pid, providers.names.clone());
        }
        let classes = module.holds.classes.iter();
        let classes: BTreeMap<u64, Class> = classes
            .map(|(&vtable, class)| (vtable.wrapping_add(module.bias), class.clone()))
            .collect();
        let from = *classes.first_key_value()?.0;
        let (last, class) = classes.last_key_value()?;
        let to = last.saturating_add(class.size);
        self.of.insert(pid, classes);
        Some(Image { from, to })
    }

    pub(super) fn forget(&mut self, pid: Pid) {
        self.of.remove(&pid);
        self.named.retain(|&(of, _)| of != pid);
        self.kinds.remove(&pid);
        self.named_kinds.retain(|&(of, _)| of != pid);
    }

    /// Puts on record what work belongs to, when it is the first of its kind.
    pub(super) fn counted(&mut self, sample: &CounterSample, out: &mut Vec<Record>) {
        if sample.table == Callbacks::NUMBER {
            self.counted_callback(sample, out);
        }
        if sample.table != Works::NUMBER {
            return;
        }
        let WorkKey { vtable, pid, .. } = sample.key.read();
        if vtable == 0 || self.named.contains(&(pid, vtable)) {
            return;
        }
        let classes = self.of.get(&pid);
        let nearest = classes.and_then(|classes| classes.range(..=vtable).next_back());
        if let Some((&from, class)) = nearest
            && vtable - from < class.size
        {
            self.named.insert((pid, vtable));
            let name = class.name.clone();
            let meta = WorkTypeMeta { pid, vtable, name };
            out.push(Record::Meta(Meta::WorkType(meta)));
        }
    }

    fn counted_callback(&mut self, sample: &CounterSample, out: &mut Vec<Record>) {
        let CallbackKey { pid, kind, .. } = sample.key.read();
        let names = self.kinds.get(&pid);
        let name = names.and_then(|names| names.get(kind.number as usize));
        if let Some(name) = name
            && self.named_kinds.insert((pid, kind))
        {
            let name = name.clone();
            let meta = CallbackKindMeta { pid, kind, name };
            out.push(Record::Meta(Meta::CallbackKind(meta)));
        }
    }
}
