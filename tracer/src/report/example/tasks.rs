//! The tasks of the example: a tokio service with a task that hashes where it should not.

use tracer_common::{Nanos, Pid, Tid};

use super::{MS, distribution, stack};
use crate::{
    model::{
        AliveView, LevelView, LongPollView, PollerView, TaskStackView, TaskState, TaskTypeView,
        TaskView, TasksView,
    },
    record::{RuntimeMeta, TaskKind},
};

pub(super) const PID: Pid = Pid(4182);

pub(super) fn tasks() -> TasksView {
    TasksView {
        runtimes: vec![RuntimeMeta {
            pid: PID,
            kind: "tokio".into(),
            version: "1.44.2".into(),
            module: "/srv/app".into(),
            files: 3,
            notes: vec!["wakes by value are not seen: the code is inlined".into()],
        }],
        types: types(),
        types_unlisted: 1,
        alive: alive(),
        alive_unlisted: 88,
        pollers: pollers(),
        long_polls: long_polls(),
        watched: Some(1.0),
        wakes_watched: Some(1.0),
        watch_span: Nanos(9_900 * MS),
        recent_on: Nanos(1_000 * MS),
        followed: true,
    }
}

pub(super) fn in_flight() -> [LevelView; 2] {
    let level = |what, now, mean, max| LevelView {
        what,
        kind: None,
        now,
        mean,
        max,
    };
    [level("tasks", 101, 96.5, 120), level("pool", 3, 2.0, 9)]
}

fn types() -> Vec<TaskTypeView> {
    let hash = stack(&[
        ("app::hash::digest", "/srv/src/hash.rs", 30),
        ("app::report::render::{{closure}}", "/srv/src/report.rs", 41),
    ]);
    vec![
        TaskTypeView {
            pid: PID,
            vtable: 0x5000,
            name: "render".into(),
            raw_name: "app::report::render::{{closure}}".into(),
            file: "src/report.rs".into(),
            line: 12,
            alive: Some(AliveView {
                running: 1,
                queued: 4,
                idle: 95,
                complete: 2,
            }),
            spawned: Some(1_200),
            completed: 1_101,
            cancelled: 9,
            polls: 48_000,
            recent_polls: 4_800,
            recent_busy: Nanos(610 * MS),
            busy: distribution(47_999, [21_000, 92 * MS, 113 * MS], 6_100 * MS),
            scheduled: distribution(40_000, [6_000, 88 * MS, 120 * MS], 900 * MS),
            idle: distribution(38_000, [4 * MS, 900 * MS, 2_000 * MS], 70_000 * MS),
            lifetime: distribution(1_090, [310 * MS, 4_000 * MS, 6_000 * MS], 480_000 * MS),
            rescheduled: 1_200,
            queued: 40_000,
            wakes: Some(41_000),
            redundant_wakes: Some(800),
            self_wakes: Some(1_150),
            long_polls: 38,
            off: [20, 310, 4, 1, 2].map(|ms| Nanos(ms * MS)),
            samples: 310,
            sampled_cpu: Nanos(3_100 * MS),
            stacks: vec![TaskStackView {
                stack: hash,
                time: Nanos(2_900 * MS),
            }],
            wakers: vec![("accept".into(), 30_000), (String::new(), 11_000)],
            ..TaskTypeView::default()
        },
        TaskTypeView {
            pid: PID,
            vtable: 0x5100,
            name: "[blocking] resize".into(),
            kind: TaskKind::Blocking,
            alive: Some(AliveView {
                running: 2,
                queued: 1,
                ..AliveView::default()
            }),
            spawned: Some(212),
            completed: 209,
            polls: 211,
            busy: distribution(209, [20 * MS, 61 * MS, 70 * MS], 4_400 * MS),
            scheduled: distribution(40, [MS, 9 * MS, 11 * MS], 92 * MS),
            wakes: Some(0),
            redundant_wakes: Some(0),
            self_wakes: Some(0),
            ..TaskTypeView::default()
        },
    ]
}

fn alive() -> Vec<TaskView> {
    let at = |ms: u64| Nanos((5_000 + ms) * MS);
    let task = |id, state, first, tid, poll| TaskView {
        pid: PID,
        id,
        vtable: 0x5000,
        name: "render".into(),
        source: "src/report.rs:12".into(),
        state,
        owner: 1,
        first,
        tid: Tid(tid),
        poll,
        ..TaskView::default()
    };
    vec![
        TaskView {
            stack: stack(&[("app::hash::digest", "/srv/src/hash.rs", 30)]),
            ..task(41, TaskState::Running, at(2_000), 4183, at(9_400))
        },
        task(44, TaskState::Queued, at(9_000), 0, Nanos(0)),
        task(0, TaskState::Idle, at(100), 0, Nanos(0)),
    ]
}

fn pollers() -> Vec<PollerView> {
    vec![
        PollerView {
            pid: PID,
            tid: Tid(4183),
            name: "worker-a".into(),
            polls: 48_000,
            busy: Nanos(6_100 * MS),
            blocking: 1,
            blocking_busy: Nanos(20 * MS),
            parks: 12_400,
            moved: Some(1_730),
            recent_polls: 4_800,
            recent_busy: Nanos(610 * MS),
            recent_parks: 1_240,
        },
        PollerView {
            pid: PID,
            tid: Tid(4190),
            blocking: 210,
            blocking_busy: Nanos(4_380 * MS),
            ..PollerView::default()
        },
    ]
}

fn long_polls() -> Vec<LongPollView> {
    let hash = stack(&[("app::hash::digest", "/srv/src/hash.rs", 30)]);
    let poll = |since: u64, busy: u64, off: [u64; 5], stack| LongPollView {
        since: Nanos((5_000 + since) * MS),
        busy: Nanos(busy * MS),
        tid: Tid(4183),
        pid: PID,
        name: "render".into(),
        source: "src/report.rs:12".into(),
        task: 41,
        off: off.map(|ms| Nanos(ms * MS)),
        stack,
    };
    vec![
        poll(9_800, 92, [3, 0, 0, 0, 0], hash),
        poll(7_100, 113, [0, 88, 9, 0, 0], stack(&[])),
    ]
}
