//! Tasks: what is said of types, of tasks that are there and of long polls.

use tracer_common::{
    Event, EventHeader, Nanos, Pid, StackId, State, Tid,
    event::{CpuSample, LongPoll, LongWait},
    hist::bucket_index,
    table::{
        PollerKey, PollerRow, Pollers, TaskTime, TaskTimes, TaskTypes, TaskWakeKey, TaskWakeRow,
        TaskWakes, Timed, TimesKey, TypeKey, TypeRow,
    },
    task::{UNKNOWN_TYPE, state},
};

use super::{fold, probe, row, story, tick};
use crate::{
    model::{LISTED, Model, Role, Snapshot, TaskState, TaskTypeView},
    record::{
        AliveSample, Meta, ProbeStatus, ProbesSample, Record, RuntimeMeta, Sample, StackMeta,
        TaskKind, TaskSample, TaskTypeMeta,
    },
};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
const RENDER: u64 = 0x5000;

fn of_type(vtable: u64) -> TypeKey {
    TypeKey {
        vtable,
        pid: Pid(1),
        ..TypeKey::default()
    }
}

fn times(what: TaskTime, durations: &[u64]) -> Record {
    let mut row = Timed::EMPTY;
    for &duration in durations {
        row.count += 1;
        row.sum += duration;
        row.max = row.max.max(duration);
        row.buckets[bucket_index(duration) as usize] += 1;
    }
    let key = TimesKey {
        vtable: RENDER,
        pid: Pid(1),
        what,
    };
    super::row::<TaskTimes>(&key, &row)
}

/// Since the first second, polls and wakes were watched for so many milliseconds until this second.
fn watched(until: u64, polls: u64, wakes: u64) -> Record {
    Record::Sample(Sample::Probes(ProbesSample {
        at: Nanos(until * SECOND),
        polls_first: Nanos(SECOND),
        polls_on: Nanos(polls * MS),
        wakes_on: Nanos(wakes * MS),
        ..ProbesSample::default()
    }))
}

fn named(vtable: u64, name: &str, kind: TaskKind) -> Record {
    Record::Meta(Meta::TaskType(TaskTypeMeta {
        pid: Pid(1),
        vtable,
        name: name.to_owned(),
        raw_name: format!("app::{name}"),
        file: "src/app.rs".to_owned(),
        line: 7,
        kind,
    }))
}

fn alive(seconds: u64, vtable: u64, [running, queued, idle, complete]: [u64; 4]) -> Record {
    Record::Sample(Sample::Alive(AliveSample {
        at: Nanos(seconds * SECOND),
        pid: Pid(1),
        vtable,
        running,
        queued,
        idle,
        complete,
    }))
}

fn task(seconds: u64, pid: u32, id: u64, state: u64) -> Record {
    Record::Sample(Sample::Task(TaskSample {
        at: Nanos(seconds * SECOND),
        pid: Pid(pid),
        header: 0x7000 + id * 0x80,
        id,
        vtable: RENDER,
        state,
        first: Nanos(SECOND),
        ..TaskSample::default()
    }))
}

fn happened(ms: u64, tid: u32, event: Event) -> Record {
    let header = EventHeader {
        at: Nanos(ms * MS),
        pid: Pid(1),
        tid: Tid(tid),
        cpu: 0,
        kind: event.kind(),
        len: 0,
    };
    Record::Event(header, event)
}

fn sample(ms: u64, tid: u32, vtable: u64, stack: u32) -> Record {
    let sample = CpuSample {
        stack: StackId(stack),
        period: 10 * MS,
        vtable,
        ..CpuSample::default()
    };
    happened(ms, tid, Event::CpuSample(sample))
}

fn long(since: u64, until: u64, tid: u32, futex: u64) -> Record {
    let poll = LongPoll {
        since: Nanos(since * MS),
        header: 0x7000,
        vtable: RENDER,
        task: 9,
        off: [0, futex * MS, 0, 0, 0],
    };
    happened(until, tid, Event::LongPoll(poll))
}

fn stack(id: u32, frame: u64) -> Record {
    Record::Meta(Meta::Stack(StackMeta {
        id: StackId(id),
        pid: Pid(1),
        frames: vec![frame],
    }))
}

fn of(got: &Snapshot, vtable: u64) -> &TaskTypeView {
    let mut types = got.tasks.types.iter();
    types.find(|view| view.vtable == vtable).unwrap()
}

/// A hundred polls of one type.
fn polled() -> Vec<Record> {
    let types = TypeRow {
        polls: 100,
        first: 40,
        completed: 30,
        cancelled: 10,
        wakes: 80,
        redundant_wakes: 8,
        long_polls: 2,
        futex: 5 * MS,
        ..TypeRow::default()
    };
    vec![
        named(RENDER, "render", TaskKind::Async),
        row::<TaskTypes>(&of_type(RENDER), &types),
        times(TaskTime::BUSY, &[MS; 100]),
        times(TaskTime::SCHEDULED, &[2 * MS; 80]),
    ]
}

#[test]
fn what_was_watched_all_the_time_is_said_as_it_was_counted() {
    let mut all = polled();
    all.extend([watched(11, 10_000, 10_000), tick(11)]);
    let got = fold(all);
    assert_eq!(got.tasks.watched, Some(1.0));
    assert_eq!(got.tasks.watch_span, Nanos(10 * SECOND));
    let view = of(&got, RENDER);
    assert_eq!(
        (view.name.as_str(), view.source()),
        ("render", "src/app.rs:7".to_owned())
    );
    assert_eq!((view.polls, view.completed, view.cancelled), (100, 30, 10));
    assert_eq!(view.spawned, Some(40));
    assert_eq!((view.busy.count, view.busy.sum), (100, Nanos(100 * MS)));
    assert_eq!((view.wakes, view.redundant_wakes), (Some(80), Some(8)));
    assert_eq!(got.in_polls(view), Some(0.01));
}

#[test]
fn what_was_watched_at_times_is_extrapolated_but_never_what_is_a_quantile() {
    let mut all = polled();
    all.extend([watched(11, 1_000, 500), tick(11)]);
    let got = fold(all.clone());
    assert_eq!(
        (got.tasks.watched, got.tasks.wakes_watched),
        (Some(0.1), Some(0.05))
    );
    let view = of(&got, RENDER);
    assert_eq!(
        (view.polls, view.completed, view.long_polls),
        (1_000, 300, 20)
    );
    assert_eq!(view.spawned, None, "who came may have gone unseen");
    assert_eq!((view.wakes, view.redundant_wakes), (Some(1_600), Some(160)));
    assert_eq!((view.busy.count, view.busy.sum), (1_000, Nanos(SECOND)));
    assert!(view.busy.p99 < Nanos(2 * MS) && view.busy.max == Nanos(MS));
    assert_eq!(view.scheduled.count, 1_600, "by wakes");
    assert_eq!(
        view.off[1],
        Nanos(50 * MS),
        "nothing was charged between bursts"
    );
    all.push(probe("running_task", ProbeStatus::Attached));
    assert_eq!(
        of(&fold(all), RENDER).off[1],
        Nanos(5 * MS),
        "all was charged"
    );
}

#[test]
fn without_watched_polls_time_is_by_samples_and_waits_and_only_if_something_tells_whose() {
    let waits = |futex| {
        let waits = TypeRow {
            futex: futex * MS,
            ..TypeRow::default()
        };
        row::<TaskTypes>(&of_type(RENDER), &waits)
    };
    let mut all = story("0ms process p1 app");
    all.extend([
        probe("running_task", ProbeStatus::Degraded),
        sample(100, 11, RENDER, 0),
        sample(110, 11, RENDER, 0),
        sample(120, 11, UNKNOWN_TYPE, 0),
        sample(130, 11, 0, 0),
        waits(70),
        tick(1),
        sample(1_100, 12, RENDER, 0),
        waits(240),
        tick(2),
    ]);
    let got = fold(all);
    assert!(got.tasks.is_by_samples() && got.tasks.watched.is_none());
    let view = of(&got, RENDER);
    assert_eq!(
        (view.samples, view.sampled_cpu, view.recent_cpu),
        (3, Nanos(30 * MS), Nanos(10 * MS))
    );
    assert_eq!(
        (view.off[1], view.recent_off[1]),
        (Nanos(240 * MS), Nanos(170 * MS))
    );
    assert_eq!(
        (got.in_polls(view), got.recently_in_polls(view)),
        (Some(0.135), Some(0.18))
    );
    assert_eq!(view.spawned, None);
    let unnamed = of(&got, UNKNOWN_TYPE);
    assert!(unnamed.is_unnamed() && unnamed.name == "tasks that ended unnamed");
    let got = fold([sample(100, 11, RENDER, 0), tick(1)]);
    assert_eq!(
        got.in_polls(of(&got, RENDER)),
        None,
        "nobody said that samples are all"
    );
}

#[test]
fn a_poll_that_goes_on_counts_by_its_samples() {
    let mut all = polled();
    all.push(probe("running_task", ProbeStatus::Attached));
    all.extend((0..200).map(|at| sample(1_000 + at * 10, 11, RENDER, 0)));
    all.extend([watched(11, 10_000, 10_000), tick(11)]);
    let got = fold(all);
    let view = of(&got, RENDER);
    assert_eq!(view.busy.sum, Nanos(100 * MS), "polls that ended");
    assert_eq!(view.in_polls(&got.tasks), Some(Nanos(2 * SECOND + 5 * MS)));
    assert!(
        got.in_polls(view)
            .is_some_and(|share| (0.18..0.2).contains(&share))
    );
}

#[test]
fn tasks_that_are_there_are_those_of_the_last_look() {
    let mut all = vec![
        named(RENDER, "render", TaskKind::Async),
        alive(1, RENDER, [1, 2, 3, 4]),
        task(1, 1, 5, state::RUNNING),
        task(1, 1, 6, 0),
        task(1, 1, 7, state::COMPLETE),
        tick(1),
    ];
    let got = fold(all.clone());
    let states: Vec<_> = got
        .tasks
        .alive
        .iter()
        .map(|task| (task.id, task.state))
        .collect();
    assert_eq!(
        states,
        [
            (5, TaskState::Running),
            (6, TaskState::Idle),
            (7, TaskState::Complete)
        ]
    );
    assert_eq!(got.tasks.alive_unlisted, 7);
    assert_eq!(of(&got, RENDER).alive.unwrap().unfinished(), 6);
    all.extend([
        alive(2, RENDER, [0, 1, 0, 0]),
        task(2, 1, 6, state::NOTIFIED),
        tick(2),
    ]);
    let got = fold(all.clone());
    let view = of(&got, RENDER);
    assert_eq!(view.alive.unwrap().unfinished(), 1);
    assert_eq!(got.tasks.alive.len(), 1);
    assert_eq!(
        (got.tasks.alive[0].state, got.tasks.alive_unlisted),
        (TaskState::Queued, 0)
    );
    let level = got
        .in_flight
        .iter()
        .find(|level| level.what == "tasks")
        .unwrap();
    assert_eq!((level.now, level.max), (1, 6));
    all.extend([alive(3, RENDER, [0; 4]), tick(3)]);
    assert!(
        fold(all).tasks.types.is_empty(),
        "nothing is known but the name"
    );
}

#[test]
fn loops_of_workers_are_neither_tasks_nor_closures_and_come_last() {
    let got = fold([
        named(1 << 20, TaskKind::WORKER, TaskKind::Blocking),
        named(RENDER, "render", TaskKind::Async),
        named(0x5100, "[blocking] resize", TaskKind::Blocking),
        probe("running_task", ProbeStatus::Attached),
        sample(100, 11, 1 << 20, 0),
        sample(110, 11, 1 << 20, 0),
        sample(120, 11, RENDER, 0),
        alive(1, 1 << 20, [8, 0, 0, 0]),
        alive(1, RENDER, [0, 0, 5, 0]),
        alive(1, 0x5100, [2, 1, 0, 0]),
        tick(1),
    ]);
    let names: Vec<_> = got
        .tasks
        .types
        .iter()
        .map(|view| view.name.as_str())
        .collect();
    assert_eq!(
        names,
        ["render", "[blocking] resize", "[blocking] tokio worker"]
    );
    assert_eq!(got.tasks.types_of_tasks().count(), 2);
    let now = |what| {
        got.in_flight
            .iter()
            .find(|level| level.what == what)
            .unwrap()
            .now
    };
    assert_eq!((now("tasks"), now("pool")), (5, 3));
}

#[test]
fn a_long_poll_was_where_most_of_it_was_found() {
    let wait = |until: u64, ms: u64, stack: u32| {
        let wait = LongWait {
            since: Nanos((until - ms) * MS),
            tid: Tid(11),
            pid: Pid(1),
            stack: StackId(stack),
            state: State::FUTEX,
            ..LongWait::default()
        };
        happened(until, 11, Event::LongWait(wait))
    };
    let mut all = vec![
        named(RENDER, "render", TaskKind::Async),
        stack(1, 0x100),
        stack(2, 0x200),
        stack(3, 0x300),
        sample(900, 11, RENDER, 3),
        sample(1_010, 11, RENDER, 1),
        sample(1_020, 11, RENDER, 1),
        sample(1_030, 11, RENDER, 2),
        sample(1_040, 12, RENDER, 3),
        long(1_000, 1_050, 11, 0),
    ];
    let frame = |got: &Snapshot| {
        let stack = &got.tasks.long_polls[0].stack;
        stack.first().map(|symbol| symbol.address)
    };
    let got = fold(all.clone());
    assert_eq!(frame(&got), Some(0x100));
    let poll = &got.tasks.long_polls[0];
    assert_eq!(
        (poll.busy, poll.task, poll.tid),
        (Nanos(50 * MS), 9, Tid(11))
    );
    assert_eq!(
        (poll.name.as_str(), poll.source.as_str()),
        ("render", "src/app.rs:7")
    );
    // One that slept is where it slept, and that counts for its type.
    all.extend([
        sample(2_005, 11, RENDER, 1),
        wait(2_090, 80, 2),
        long(2_000, 2_100, 11, 80),
        long(3_000, 3_100, 11, 0),
    ]);
    let got = fold(all);
    assert_eq!(frame(&got), None, "nothing was found in the newest");
    assert_eq!(got.tasks.long_polls[1].stack[0].address, 0x200);
    let of_type: Vec<_> = of(&got, RENDER)
        .stacks
        .iter()
        .map(|found| (found.stack[0].address, found.time.0 / MS))
        .collect();
    assert_eq!(of_type, [(0x200, 90), (0x100, 30), (0x300, 20)]);
}

#[test]
fn a_poll_that_goes_on_is_told_with_where_it_is_until_it_ends() {
    let running = Record::Sample(Sample::Task(TaskSample {
        at: Nanos(3 * SECOND),
        pid: Pid(1),
        header: 0x7000,
        id: 9,
        vtable: RENDER,
        state: state::RUNNING,
        tid: Tid(11),
        poll: Nanos(1_500 * MS),
        ..TaskSample::default()
    }));
    let mut all = vec![
        named(RENDER, "render", TaskKind::Async),
        stack(1, 0x100),
        stack(2, 0x200),
        sample(1_400, 11, RENDER, 2),
        sample(1_600, 11, RENDER, 1),
        sample(1_700, 12, RENDER, 2),
        running,
        watched(3, 2_000, 2_000),
        tick(3),
    ];
    let got = fold(all.clone());
    let [(task, time)] = got.tasks.going_on(got.now)[..] else {
        panic!("{:?}", got.tasks.alive);
    };
    assert_eq!((task.id, time), (9, Nanos(1_500 * MS)));
    assert_eq!(task.stack[0].address, 0x100);
    let view = of(&got, RENDER);
    assert_eq!(view.going_on, Nanos(1_500 * MS));
    assert_eq!(got.in_polls(view), Some(0.75), "of two seconds");
    assert_eq!(got.recently_in_polls(view), Some(0.5), "of three");
    all.extend([long(1_500, 3_200, 11, 0), tick(4)]);
    let got = fold(all);
    assert!(got.tasks.going_on(got.now).is_empty());
    assert_eq!(got.tasks.long_polls.len(), 1);
}

#[test]
fn a_type_that_nobody_named_has_its_address_and_wakers_have_names() {
    let key = |waker, woken| TaskWakeKey {
        waker,
        woken,
        pid: Pid(1),
        reserved: 0,
    };
    let wakes = |count| TaskWakeRow { count };
    let mut all = polled();
    all.extend([
        row::<TaskTypes>(
            &of_type(0x5100),
            &TypeRow {
                polls: 1,
                ..TypeRow::default()
            },
        ),
        row::<TaskWakes>(&key(0, RENDER), &wakes(30)),
        row::<TaskWakes>(&key(0x5100, RENDER), &wakes(50)),
        row::<TaskWakes>(&key(RENDER, 0x9999), &wakes(50)),
        watched(2, 1_000, 1_000),
        tick(2),
    ]);
    let got = fold(all);
    assert_eq!(of(&got, 0x5100).name, "type at 0x5100");
    let wakers = &of(&got, RENDER).wakers;
    assert_eq!(
        *wakers,
        [("type at 0x5100".to_owned(), 50), (String::new(), 30)]
    );
}

#[test]
fn of_a_process_that_left_its_counts_stay_and_its_tasks_go() {
    let mut all = story("0ms process p1 app | 0ms thread t1 app in p1");
    all.extend(polled());
    all.extend([
        alive(1, RENDER, [0, 0, 3, 0]),
        task(1, 1, 5, 0),
        watched(2, 1_000, 1_000),
        tick(2),
    ]);
    assert_eq!(fold(all.clone()).tasks.alive.len(), 1);
    all.extend(story("3s exit p1 0"));
    all.push(tick(4));
    let got = fold(all);
    assert!(got.tasks.alive.is_empty());
    let view = of(&got, RENDER);
    assert_eq!((view.alive, view.polls), (None, 100));
}

#[test]
fn a_thread_has_a_role_by_what_it_polled() {
    let poller = |tid, polls, blocking| {
        let key = PollerKey {
            pid: Pid(1),
            tid: Tid(tid),
        };
        let polled = PollerRow {
            polls,
            busy: polls * MS,
            blocking,
            blocking_busy: blocking * MS,
            ..PollerRow::default()
        };
        row::<Pollers>(&key, &polled)
    };
    let mut all = vec![
        Record::Meta(Meta::Runtime(RuntimeMeta {
            pid: Pid(1),
            kind: "tokio".to_owned(),
            ..RuntimeMeta::default()
        })),
        poller(11, 100, 1),
        poller(12, 0, 9),
        tick(2),
    ];
    let role = |got: &Snapshot, tid| got.tasks.role(Pid(1), Tid(tid));
    assert_eq!(role(&fold(all.clone()), 11), None, "polls are not watched");
    all.extend([watched(2, 500, 0), tick(3)]);
    let got = fold(all);
    assert_eq!(role(&got, 11), Some(Role::Worker));
    assert_eq!(role(&got, 12), Some(Role::Blocking));
    assert_eq!(role(&got, 13), Some(Role::Other));
    assert_eq!(got.tasks.role(Pid(2), Tid(11)), None);
    assert_eq!(got.tasks.pollers[0].polls, 200, "half of the time");
    assert_eq!(got.tasks.pool_threads(Pid(1)), 2);
}

#[test]
fn a_worker_parks_and_polls_what_others_had_queued() {
    let poller = |parks, moved| {
        let key = PollerKey {
            pid: Pid(1),
            tid: Tid(11),
        };
        let polled = PollerRow {
            polls: 100,
            busy: 100 * MS,
            parks,
            moved,
            ..PollerRow::default()
        };
        row::<Pollers>(&key, &polled)
    };
    let mut all = vec![poller(30, 8), watched(2, 500, 0), tick(2)];
    let of = |got: &Snapshot| {
        let poller = &got.tasks.pollers[0];
        (poller.parks, poller.recent_parks, poller.moved)
    };
    let got = fold(all.clone());
    assert_eq!(of(&got), (60, 30, None), "half of the time, and no wakes");
    all.extend([poller(40, 8), watched(3, 1_000, 200), tick(3)]);
    let got = fold(all);
    assert_eq!(of(&got), (80, 10, Some(80)), "wakes a tenth of the time");
}

#[test]
fn what_is_kept_of_tasks_is_bounded() {
    let mut model = Model::new();
    let many = 40_000u32;
    for at in 0..many {
        let vtable = u64::from(at) + 2;
        for record in [
            named(vtable, "render", TaskKind::Async),
            alive(1, vtable, [1, 0, 0, 0]),
            task(1, at, 5, 0),
            task(1, 1, u64::from(at), 0),
            sample(100, at, vtable, at),
            long(100, 200, at, 90),
        ] {
            model.apply(&record);
        }
    }
    model.apply(&tick(1));
    let got = model.snapshot();
    assert_eq!(got.tasks.types.len(), LISTED);
    assert!(got.tasks.types_unlisted < u64::from(many));
    assert!(got.tasks.alive.len() <= 5 * LISTED);
    assert_eq!(got.tasks.long_polls.len(), 64);
    assert!(model.tasks.kept() < 400_000, "{}", model.tasks.kept());
}
