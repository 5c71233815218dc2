//! What was found of Node in a target: where it is probed, what its pool's work is called.

use std::collections::{BTreeMap, BTreeSet};

use tracer_common::{
    Pid, Table as _,
    table::{Collector, Image, WorkKey, WorkKind, Works},
    task::Cookie,
};

use crate::{
    bpf::{Points, probes::Functions},
    record::{CounterSample, Meta, Record, WorkTypeMeta},
    runtime::node::{
        Component, Node,
        points::{Function, Meaning, Point, WORK_IN_REQUEST},
    },
};

/// Numbers of registers as DWARF numbers them: those of the first and second argument, which the kernel side reads.
const FIRST: u8 = 5;
const SECOND: u8 = 4;
/// An object's pointer points into the vtable of its class, or of a part of it, no further behind where it begins.
const VTABLE: u64 = 0x400;

/// Where garbage collections and work for the pool pass.
#[must_use]
pub(super) fn points(pid: Pid, node: &Node) -> Vec<(Functions, Points)> {
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
        for point in points {
            if point.function == Function::WorkQueue && !sees_queued {
                continue;
            }
            if let Some((which, cookie)) = place(point, all_tell) {
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

/// True when the function that does what `uv_queue_work` was given is probed at an instruction that is single-stepped.
pub(super) fn steps_queued_work(node: &Node) -> bool {
    let mut points = node.points(Function::QueuedWork);
    points.any(|(_, point)| !point.probe.is_emulated)
}

fn tells_collector(point: &Point) -> bool {
    point.register(Meaning::Collector) == Some(SECOND)
}

/// For what a point is good, and what the kernel side is told there.
fn place(point: &Point, all_tell: bool) -> Option<(Functions, u64)> {
    let has = |meaning, register| point.register(meaning) == Some(register);
    let work = |kind: u32| {
        (has(Meaning::Work, FIRST) && point.has_return).then_some((Functions::Works, kind.into()))
    };
    let collector =
        |kind: Collector| (!all_tell).then_some((Functions::Collectors, kind.number.into()));
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
        Function::GarbageCollection
        | Function::Microtasks
        | Function::AwaitStarted
        | Function::AwaitFulfilled
        | Function::AwaitRejected
        | Function::PromiseFulfilled
        | Function::PromiseRejected
        | Function::PromiseThen
        | Function::PromiseAllElement
        | Function::MakeCallback
        | Function::ScopeOpen
        | Function::ScopeOpenOfResource
        | Function::ScopeClose
        | Function::ScopeEnd
        | Function::Timers
        | Function::Immediates
        | Function::LoopTimers
        | Function::WorkSubmit
        | Function::WorkQueue => None,
    }
}

/// Names of classes whose objects hand work to the pool, by process.
#[derive(Debug, Default)]
pub(super) struct Classes {
    /// By where their vtables are in the process.
    of: BTreeMap<Pid, BTreeMap<u64, String>>,
    named: BTreeSet<(Pid, u64)>,
}

impl Classes {
    /// Takes in those of a process. Gives where their vtables lie.
    pub(super) fn add(&mut self, pid: Pid, node: &Node) -> Option<Image> {
        let module = node.module(Component::Node)?;
        let classes = module.holds.classes.iter();
        let classes: BTreeMap<u64, String> = classes
            .map(|(&vtable, name)| (vtable.wrapping_add(module.bias), name.clone()))
            .collect();
        let (&from, &to) = (classes.keys().next()?, classes.keys().next_back()?);
        self.of.insert(pid, classes);
        let to = to.saturating_add(VTABLE);
        Some(Image { from, to })
    }

    pub(super) fn forget(&mut self, pid: Pid) {
        self.of.remove(&pid);
        self.named.retain(|&(of, _)| of != pid);
    }

    /// Puts on record what work belongs to, when it is the first of its kind.
    pub(super) fn counted(&mut self, sample: &CounterSample, out: &mut Vec<Record>) {
        if sample.table != Works::NUMBER {
            return;
        }
        let WorkKey { vtable, pid, .. } = sample.key.read();
        if vtable == 0 || self.named.contains(&(pid, vtable)) {
            return;
        }
        let classes = self.of.get(&pid);
        let nearest = classes.and_then(|classes| classes.range(..=vtable).next_back());
        if let Some((&from, name)) = nearest
            && vtable - from < VTABLE
        {
            self.named.insert((pid, vtable));
            let name = name.clone();
            let meta = WorkTypeMeta { pid, vtable, name };
            out.push(Record::Meta(Meta::WorkType(meta)));
        }
    }
}
