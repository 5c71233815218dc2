//! Detectors over snapshots made by hand, and the judge over records.

use std::{collections::BTreeSet, sync::Arc};

use tracer_common::{
    Event, EventHeader, Pid, State, ThreadTimes, Tid, event::LongIteration, task::OFF_PARTS,
};

use super::*;
use crate::{
    model::{
        CollectionView, CpuView, Distribution, LockView, LongIterationView, LongPollView,
        LoopCounts, LoopView, LoopsView, NodeView, PartyView, ProcessView, TaskTypeView, TasksView,
        ThreadView, WorkView,
    },
    record::{FrameMeta, Meta, ProbeMeta, ProbeStatus, Record, RuntimeMeta, SymbolMeta, TaskKind},
};

const MS: u64 = 1_000_000;
const PID: Pid = Pid(7);

/// Ten seconds after nothing.
fn now() -> Snapshot {
    Snapshot {
        now: Nanos(110_000 * MS),
        ..Snapshot::default()
    }
}

fn then() -> Snapshot {
    Snapshot {
        now: Nanos(100_000 * MS),
        ..Snapshot::default()
    }
}

fn raised(id: FindingId, now: &Snapshot) -> Vec<Raised> {
    let seen = Seen { now, then: &then() };
    (detector(id).unwrap().judge)(&seen).unwrap()
}

fn value(raised: &Raised, metric: &str) -> f64 {
    let mut evidence = raised.evidence.iter();
    evidence.find(|one| one.metric == metric).unwrap().value
}

fn on(name: &str) -> ProbeMeta {
    ProbeMeta {
        name: name.into(),
        status: ProbeStatus::Attached,
        ..ProbeMeta::default()
    }
}

fn distribution(count: u64, sum: u64) -> Distribution {
    Distribution {
        count,
        sum: Nanos(sum),
        max: Nanos(sum / count.max(1) * 2),
        ..Distribution::default()
    }
}

fn iteration(at: u64, busy: u64, ready: u64, function: &str) -> LongIterationView {
    let symbol = SymbolMeta {
        module: "[turbofan]".into(),
        address: 1 << 63,
        frames: vec![FrameMeta {
            function: function.into(),
            file: "/srv/report.js".into(),
            line: 41,
        }],
        ..SymbolMeta::default()
    };
    let mut off = [Nanos(0); OFF_PARTS];
    off[0] = Nanos(ready * MS);
    LongIterationView {
        since: Nanos((100_000 + at) * MS),
        busy: Nanos(busy * MS),
        pid: PID,
        tid: Tid(7),
        off,
        stack: vec![Arc::new(symbol)],
        ..LongIterationView::default()
    }
}

fn with_iterations(long: Vec<LongIterationView>) -> Snapshot {
    let view = LoopView {
        pid: PID,
        tid: Tid(7),
        counts: Some(LoopCounts {
            events: 4_000,
            ..LoopCounts::default()
        }),
        ..LoopView::default()
    };
    Snapshot {
        loops: LoopsView {
            loops: vec![view],
            long,
            counted: true,
            recognised: true,
            ..LoopsView::default()
        },
        ..now()
    }
}

#[test]
fn iterations_that_hold_the_loop_are_of_the_function_that_does() {
    let found = raised(
        FindingId::LongPoll,
        &with_iterations(vec![
            iteration(1_000, 60, 0, "render"),
            iteration(3_000, 100, 0, "render"),
            iteration(5_000, 55, 0, "once"),
        ]),
    );
    let [one] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(one.subject.name, "render (report.js:41)");
    assert_eq!(one.severity, Severity::Warning);
    assert_eq!(value(one, "longest"), 100e6);
    assert!((value(one, "share") - 0.016).abs() < 1e-9);
    // 400 events a second, 0.16 s of ten seconds; (60² + 100²) / (2 · 160) ms each.
    assert_eq!(value(one, "waited"), 64.0);
    assert!((value(one, "wait") - 42.5e6).abs() < 1.0);
}

#[test]
fn an_iteration_that_waits_for_a_cpu_or_is_over_is_none() {
    let waits = [1, 2, 3].map(|at| iteration(at * 1_000, 300, 270, "render"));
    assert!(raised(FindingId::LongPoll, &with_iterations(waits.into())).is_empty());
    let mut earlier = [1, 2].map(|at| iteration(at, 300, 0, "render"));
    for one in &mut earlier {
        one.since = Nanos(50_000 * MS);
    }
    assert!(raised(FindingId::LongPoll, &with_iterations(earlier.into())).is_empty());
}

#[test]
fn once_counts_where_it_is_very_long_and_often_is_critical() {
    let of = |long| raised(FindingId::LongPoll, &with_iterations(long));
    assert_eq!(
        of(vec![iteration(1, 250, 0, "render")])[0].severity,
        Severity::Warning
    );
    let often = (0..20).map(|at| iteration(at * 400, 60, 0, "render"));
    assert_eq!(of(often.collect())[0].severity, Severity::Critical);
}

fn task_type(name: &str, kind: TaskKind, vtable: u64) -> TaskTypeView {
    TaskTypeView {
        pid: PID,
        vtable,
        name: name.into(),
        kind,
        polls: 100,
        ..TaskTypeView::default()
    }
}

fn with_polls(types: Vec<TaskTypeView>, polled: &str, busy: u64) -> Snapshot {
    let poll = |at: u64| LongPollView {
        since: Nanos((101_000 + at) * MS),
        busy: Nanos(busy * MS),
        pid: PID,
        name: polled.into(),
        ..LongPollView::default()
    };
    Snapshot {
        tasks: TasksView {
            types,
            long_polls: (0..5).map(poll).collect(),
            watched: Some(1.0),
            ..TasksView::default()
        },
        ..now()
    }
}

#[test]
fn long_polls_are_of_a_type_and_closures_of_the_pool_may_take_long() {
    let types = || {
        vec![
            task_type("resize", TaskKind::Async, 1),
            task_type("serve", TaskKind::Async, 2),
            task_type("digest", TaskKind::Blocking, 3),
        ]
    };
    let found = raised(FindingId::LongPoll, &with_polls(types(), "resize", 20));
    assert_eq!(found[0].subject.name, "resize");
    assert_eq!(found[0].severity, Severity::Warning);
    assert!(raised(FindingId::LongPoll, &with_polls(types(), "digest", 500)).is_empty());
    // Alone it hurts nobody.
    let alone = vec![task_type("resize", TaskKind::Async, 1)];
    let found = raised(FindingId::LongPoll, &with_polls(alone, "resize", 20));
    assert_eq!(found[0].severity, Severity::Info);
}

fn with_pool(count: u64, queued: u64, run: u64) -> Snapshot {
    let work = WorkView {
        pid: PID,
        kind: "crypto.pbkdf2".into(),
        queued: distribution(count, count * queued * MS),
        run: distribution(count, count * run * MS),
    };
    Snapshot {
        node: NodeView {
            works: vec![work],
            watched: Some(1.0),
            ..NodeView::default()
        },
        ..now()
    }
}

#[test]
fn a_pool_is_full_where_work_waits_longer_than_half_of_what_it_takes() {
    let of = |count, queued, run| raised(FindingId::PoolSaturation, &with_pool(count, queued, run));
    let found = of(1_000, 83, 40);
    assert_eq!(
        found[0].subject.name,
        "libuv's thread pool, mostly crypto.pbkdf2"
    );
    assert_eq!(found[0].severity, Severity::Warning);
    assert!((value(&found[0], "queue") - 8.3).abs() < 1e-9);
    assert_eq!(of(1_000, 150, 40)[0].severity, Severity::Critical);
    // Quick to begin; long work that waits a little; an empty queue.
    assert!(of(10_000, 2, 1).is_empty());
    assert!(of(1_000, 15, 40).is_empty());
    assert!(of(50, 83, 40).is_empty());
}

fn with_lock(waits: u64, sum: u64, waiters: &[u32], wakers: &[u32], function: &str) -> Snapshot {
    let party = |&tid: &u32| PartyView {
        tid: Tid(tid),
        count: 100,
        ..PartyView::default()
    };
    let symbol = SymbolMeta {
        frames: vec![FrameMeta {
            function: function.into(),
            file: "ledger.rs".into(),
            line: 9,
        }],
        ..SymbolMeta::default()
    };
    let lock = LockView {
        pid: PID,
        address: 0x7f12,
        wait: distribution(waits, sum * MS),
        waiters: waiters.iter().map(party).collect(),
        wakers: wakers.iter().map(party).collect(),
        stack: vec![Arc::new(symbol)],
        ..LockView::default()
    };
    let mut snapshot = now();
    snapshot.locks = vec![lock];
    snapshot.quality.probes = vec![on("futex_waits")];
    snapshot
}

#[test]
fn a_lock_is_one_where_those_who_wait_wake_each_other() {
    let of = |waits, sum, waiters: &[u32], wakers: &[u32], function| {
        let snapshot = with_lock(waits, sum, waiters, wakers, function);
        raised(FindingId::LockContention, &snapshot)
    };
    let found = of(2_000, 6_000, &[1, 2, 3], &[1, 2, 3], "write_ledger");
    assert_eq!(found[0].severity, Severity::Warning);
    assert!((value(&found[0], "waiting") - 0.6).abs() < 1e-9);
    assert!((value(&found[0], "share") - 0.2).abs() < 1e-9);
    assert_eq!(
        of(2_000, 15_000, &[1, 2, 3], &[1, 2, 3], "f")[0].severity,
        Severity::Critical
    );
    // Workers that another thread wakes; that park; one waiter; hardly a wait.
    assert!(of(2_000, 6_000, &[1, 2, 3], &[8, 9], "f").is_empty());
    assert!(
        of(
            2_000,
            6_000,
            &[1, 2, 3],
            &[1, 2],
            "tokio::park::Inner::park"
        )
        .is_empty()
    );
    assert!(of(2_000, 6_000, &[1], &[1, 2], "f").is_empty());
    assert!(of(2_000, 500, &[1, 2], &[1, 2], "f").is_empty());
}

#[test]
fn collections_press_where_they_take_a_tenth_of_the_time() {
    let of = |count, sum| {
        let collections = vec![CollectionView {
            pid: PID,
            tid: Tid(7),
            kind: "scavenge".into(),
            pause: distribution(count, sum * MS),
            ..CollectionView::default()
        }];
        let mut snapshot = now();
        snapshot.node.collections = collections;
        snapshot.quality.probes = vec![on("collection_return")];
        snapshot.tasks.runtimes = vec![RuntimeMeta {
            pid: PID,
            kind: "node".into(),
            ..RuntimeMeta::default()
        }];
        raised(FindingId::GcPressure, &snapshot)
    };
    assert_eq!(of(500, 1_500)[0].severity, Severity::Warning);
    assert_eq!(of(500, 3_000)[0].severity, Severity::Critical);
    assert!(of(500, 900).is_empty());
    assert!(of(2, 1_500).is_empty());
}

fn with_threads(cpus: u32, on_cpu: u64, ready: u64) -> Snapshot {
    let mut times = ThreadTimes::default();
    times.in_state[State::ON_CPU.0 as usize] = on_cpu * MS;
    times.in_state[State::RUNNABLE.0 as usize] = ready * MS;
    Snapshot {
        threads: vec![ThreadView {
            times,
            ..ThreadView::default()
        }],
        processes: vec![ProcessView {
            comm: "crunch".into(),
            ..ProcessView::default()
        }],
        cpu: CpuView {
            allowed: Some(cpus),
            ..CpuView::default()
        },
        ..now()
    }
}

#[test]
fn cpus_are_oversubscribed_by_the_program_itself_only() {
    let of = |on_cpu, ready| {
        raised(
            FindingId::CpuOversubscription,
            &with_threads(2, on_cpu, ready),
        )
    };
    assert_eq!(of(19_500, 40_000)[0].severity, Severity::Warning);
    assert_eq!(of(19_500, 100_000)[0].severity, Severity::Critical);
    assert!(of(19_500, 10_000).is_empty(), "about as many as CPUs");
    assert!(of(9_000, 40_000).is_empty(), "others have the rest");
    let mut throttled = with_threads(2, 5_000, 0);
    throttled.cpu.throttled = Some(Nanos(3_000 * MS));
    assert_eq!(raised(FindingId::CpuOversubscription, &throttled).len(), 1);
}

#[test]
fn what_is_not_watched_is_blind_and_not_healthy() {
    let (now, then) = (now(), then());
    let seen = Seen {
        now: &now,
        then: &then,
    };
    for id in [
        FindingId::LongPoll,
        FindingId::PoolSaturation,
        FindingId::LockContention,
    ] {
        assert!((detector(id).unwrap().judge)(&seen).is_err(), "{id:?}");
    }
}

/// Each number a detector gives is explained, and each that is explained is given.
#[test]
fn every_number_is_explained() {
    let mut given: Vec<(FindingId, Raised)> = Vec::new();
    let mut add = |id, snapshot: &Snapshot| {
        given.extend(raised(id, snapshot).into_iter().map(|one| (id, one)));
    };
    add(
        FindingId::LongPoll,
        &with_iterations(vec![iteration(1, 250, 0, "render")]),
    );
    add(FindingId::PoolSaturation, &with_pool(1_000, 83, 40));
    add(
        FindingId::LockContention,
        &with_lock(2_000, 6_000, &[1, 2], &[1, 2], "f"),
    );
    add(
        FindingId::CpuOversubscription,
        &with_threads(2, 19_500, 40_000),
    );
    for (id, one) in given {
        let explained: BTreeSet<&str> = detector(id)
            .unwrap()
            .entry
            .evidence
            .iter()
            .map(|&(metric, _)| metric)
            .collect();
        let given: BTreeSet<&str> = one.evidence.iter().map(|one| one.metric).collect();
        assert_eq!(given, explained, "{id:?}");
    }
}

/// Iterations of 80 ms at these milliseconds, and ticks a second apart from `phase` on, until 30 s.
fn session(blocks: &[u64], phase: u64) -> (Judge, Vec<Snapshot>) {
    let mut judge = Judge::new();
    judge.apply(&Record::Meta(Meta::Runtime(RuntimeMeta {
        pid: PID,
        kind: "node".into(),
        ..RuntimeMeta::default()
    })));
    let mut shown = Vec::new();
    let mut blocks = blocks.iter().copied().peekable();
    for tick in 0..30 {
        let at = tick * 1_000 + phase;
        while let Some(block) = blocks.next_if(|&block| block <= at) {
            let header = EventHeader {
                at: Nanos(block * MS),
                pid: PID,
                tid: Tid(7),
                ..EventHeader::default()
            };
            let iteration = LongIteration {
                since: Nanos((block - 80) * MS),
                ..LongIteration::default()
            };
            judge.apply(&Record::Event(header, Event::LongIteration(iteration)));
        }
        judge.apply(&Record::Tick(Nanos(at * MS)));
        shown.push(judge.snapshot());
    }
    (judge, shown)
}

#[test]
fn a_finding_comes_stays_and_ends() {
    let (_, shown) = session(&[1_500, 2_500, 3_500], 500);
    let first = |at: usize| shown[at].findings.list.first();
    assert!(first(1).is_none(), "quiet at first");
    assert!(shown[1].findings.checked.is_none());
    let found = shown
        .iter()
        .position(|snapshot| !snapshot.findings.list.is_empty());
    let found = found.unwrap();
    assert!((3..=5).contains(&found), "{found}");
    let finding = first(found).unwrap();
    assert_eq!(finding.subject.name, "the event loop's thread");
    assert_eq!(finding.first, shown[found].now);
    // The last two are in sight until ten seconds later.
    assert!(!first(12).unwrap().is_over);
    let last = first(29).unwrap();
    assert!(last.is_over);
    assert_eq!(last.first, finding.first);
    assert!(last.last < Nanos(14_000 * MS), "{last:?}");
}

#[test]
fn findings_do_not_depend_on_where_ticks_fall() {
    let blocks: Vec<u64> = (1..28).map(|at| at * 1_000 + 333).collect();
    let of = |phase| {
        let (judge, _) = session(&blocks, phase);
        let list = judge.snapshot().findings.list;
        let said = |finding: &Finding| (finding.id, finding.severity, finding.subject.clone());
        list.iter().map(said).collect::<Vec<_>>()
    };
    assert_eq!(of(100).len(), 1);
    for phase in [0, 250, 334, 700, 999] {
        assert_eq!(of(phase), of(100), "{phase}");
    }
}
