//! Event loops: how busy each is, what goes on in it, where its long iterations were.

use tracer_common::{
    Event, EventHeader, Nanos, Pid, StackId, State, Tid,
    event::{CpuSample, LongIteration, LongWait},
    event_loop::{LoopKey, LoopRow},
    hist::bucket_index,
    table::Loops,
};

use super::{fold, probe, row, story};
use crate::{
    model::{Model, Role, Snapshot},
    record::{Meta, ProbeStatus, Record, RuntimeMeta, StackMeta},
};

const MS: u64 = 1_000_000;

fn runtime(kind: &str) -> Record {
    Record::Meta(Meta::Runtime(RuntimeMeta {
        pid: Pid(1),
        kind: kind.to_owned(),
        ..RuntimeMeta::default()
    }))
}

/// A loop whose last wait returned at `returned` milliseconds, after iterations of these lengths and so long a wait.
fn counted(returned: u64, busy: &[u64], idle: u64) -> Record {
    let mut loops = LoopRow {
        iterations: busy.len() as u64 + 1,
        waits: 2 * busy.len() as u64 + 1,
        events: 7,
        idle: idle * MS,
        returned: returned * MS,
        slept: idle * MS,
        ..LoopRow::default()
    };
    for &busy in busy {
        loops.busy.count += 1;
        loops.busy.sum += busy * MS;
        loops.busy.max = loops.busy.max.max(busy * MS);
        loops.busy.buckets[bucket_index(busy * MS) as usize] += 1;
    }
    let key = LoopKey {
        pid: Pid(1),
        tid: Tid(1),
    };
    row::<Loops>(&key, &loops)
}

fn happened(ms: u64, tid: u32, event: Event) -> Record {
    let header = EventHeader {
        at: Nanos(ms * MS),
        pid: Pid(1),
        tid: Tid(tid),
        kind: event.kind(),
        ..EventHeader::default()
    };
    Record::Event(header, event)
}

fn sample(ms: u64, tid: u32, stack: u32) -> Record {
    let sample = CpuSample {
        stack: StackId(stack),
        period: 10 * MS,
        ..CpuSample::default()
    };
    happened(ms, tid, Event::CpuSample(sample))
}

fn stack(id: u32, frame: u64) -> Record {
    Record::Meta(Meta::Stack(StackMeta {
        id: StackId(id),
        pid: Pid(1),
        frames: vec![frame],
    }))
}

fn begin(kind: &str) -> Vec<Record> {
    let mut records = story("0ms process p1 node | 0ms spawn t1 main in p1");
    records.push(probe("event_loops", ProbeStatus::Attached));
    records.push(runtime(kind));
    records
}

fn after(mut records: Vec<Record>, more: impl IntoIterator<Item = Record>) -> Vec<Record> {
    records.extend(more);
    records
}

const AWAKE_THEN_ASLEEP: &str = "0ms process p1 node | 0ms spawn t1 main in p1 | 0ms run t1
    300ms wait t1 epoll | 700ms wake t1 | 700ms run t1 | 900ms wait t1 epoll | 1s tick";

fn told(kind: &str, counts: bool) -> Snapshot {
    let mut records = vec![runtime(kind)];
    if counts {
        records.push(probe("event_loops", ProbeStatus::Attached));
        records.push(counted(700, &[300], 400));
    }
    fold(after(records, story(AWAKE_THEN_ASLEEP)))
}

#[test]
fn what_goes_on_is_completed_from_the_threads_times() {
    let got = told("node", true);
    let [view] = &got.loops.loops[..] else {
        panic!("{:?}", got.loops)
    };
    // 200 ms more on the CPU and 100 ms more asleep than the row has.
    assert_eq!((view.active, view.idle), (Nanos(500 * MS), Nanos(500 * MS)));
    assert_eq!(view.utilization(), Some(0.5));
    assert_eq!(view.going_on, Nanos(0));
    let counts = view.counts.as_ref().unwrap();
    assert_eq!((counts.iterations, counts.recent_iterations), (2, 2));
    assert_eq!(counts.delay.max, Nanos(300 * MS));
    assert_eq!(got.role(Pid(1), Tid(1)), Some(Role::Loop));
    assert!(view.is_main());
}

#[test]
fn without_counts_asleep_in_epoll_is_idle() {
    let got = told("node", false);
    let [view] = &got.loops.loops[..] else {
        panic!("{:?}", got.loops)
    };
    assert_eq!((view.active, view.idle), (Nanos(500 * MS), Nanos(500 * MS)));
    assert!(view.counts.is_none() && !got.loops.counted);
}

#[test]
fn workers_that_take_turns_to_wait_are_no_loops() {
    for kind in ["tokio", "native"] {
        let got = told(kind, true);
        assert!(got.loops.loops.is_empty() && !got.loops.recognised);
        assert_eq!(got.role(Pid(1), Tid(1)), None);
    }
}

#[test]
fn an_iteration_that_goes_on_is_told_with_where_it_is() {
    let mut records = begin("node");
    records.push(counted(100, &[], 100));
    records.push(stack(3, 0x1000));
    records.push(sample(90, 1, 4));
    records.push(sample(400, 1, 3));
    let timeline = "0ms process p1 node | 0ms spawn t1 main in p1 | 0ms run t1 | 0ms wait t1 epoll | 100ms wake t1
        100ms run t1 | 1s tick";
    let got = fold(after(records, story(timeline)));
    let view = got.loops.main().unwrap();
    assert_eq!(view.going_on, Nanos(900 * MS));
    assert_eq!(view.stack[0].address, 0x1000);
    assert_eq!(view.history[0].delay_max, Nanos(900 * MS));
    assert_eq!(view.recent_utilization(), Some(0.9));
}

#[test]
fn a_long_iteration_has_the_stack_that_was_found_in_it_for_longest() {
    let mut records = begin("node");
    for (id, frame) in [(3, 0x1000), (4, 0x2000), (5, 0x3000)] {
        records.push(stack(id, frame));
    }
    // Before it, in it, of another thread.
    records.extend([sample(80, 1, 5), sample(90, 1, 5), sample(98, 1, 5)]);
    records.extend([sample(110, 1, 3), sample(120, 1, 4), sample(130, 1, 4)]);
    records.extend([sample(115, 2, 5), sample(125, 2, 5), sample(135, 2, 5)]);
    let iteration = LongIteration {
        since: Nanos(100 * MS),
        off: [5 * MS, 0, 0, 0, 0],
    };
    records.push(happened(160, 1, Event::LongIteration(iteration)));
    let got = fold(records);
    let [long] = &got.loops.long[..] else {
        panic!("{:?}", got.loops.long)
    };
    assert_eq!((long.since, long.busy), (Nanos(100 * MS), Nanos(60 * MS)));
    assert_eq!(long.off[0], Nanos(5 * MS));
    assert_eq!(long.stack[0].address, 0x2000);
}

/// A thread that waited until `ms`, for so many milliseconds.
fn wait(ms: u64, tid: u32, stack: u32, length: u64) -> Record {
    let wait = LongWait {
        since: Nanos((ms - length) * MS),
        pid: Pid(1),
        tid: Tid(tid),
        stack: StackId(stack),
        state: State::EPOLL,
        ..LongWait::default()
    };
    // Another thread woke it.
    happened(ms, 7, Event::LongWait(wait))
}

#[test]
fn a_long_iteration_that_mostly_waited_has_the_stack_of_its_longest_wait() {
    // Time off the CPU, and what is said of it: the sum of the shorter waits is longer, and so is that of the samples.
    for (off, expected) in [
        ([0, 0, 60 * MS, 0, 0], 0x1000),
        ([0, 31 * MS, 30 * MS, 0, 0], 0x1000),
        // It was ready, and got no CPU.
        ([60 * MS, 0, 40 * MS, 0, 0], 0x2000),
        ([0, 0, 40 * MS, 0, 0], 0x2000),
    ] {
        let mut records = begin("node");
        for (id, frame) in [(3, 0x1000), (4, 0x2000), (5, 0x3000)] {
            records.push(stack(id, frame));
        }
        let found = [
            wait(99, 1, 5, 90),
            wait(150, 1, 3, 30),
            wait(170, 1, 4, 20),
            wait(195, 1, 4, 20),
            wait(160, 2, 5, 60),
        ];
        let iteration = LongIteration {
            since: Nanos(100 * MS),
            off,
        };
        let ended = happened(200, 1, Event::LongIteration(iteration));
        // What has frames of JavaScript comes after the iteration it was in.
        for is_late in [false, true] {
            let mut records = records.clone();
            if is_late {
                records.push(ended.clone());
                records.extend(found.clone());
            } else {
                records.extend(found.clone());
                records.push(ended.clone());
            }
            let got = fold(records);
            let [long] = &got.loops.long[..] else {
                panic!("{:?}", got.loops.long)
            };
            assert_eq!(long.stack[0].address, expected, "{off:?}, {is_late}");
        }
    }
}

#[test]
fn long_iterations_before_it_is_known_what_runs_there_are_kept() {
    for (kind, expected) in [("node", 1), ("tokio", 0)] {
        let mut records = story("0ms process p1 node | 0ms spawn t1 main in p1");
        records.push(stack(3, 0x1000));
        records.push(sample(110, 1, 3));
        let iteration = LongIteration {
            since: Nanos(100 * MS),
            off: [0; 5],
        };
        records.push(happened(160, 1, Event::LongIteration(iteration)));
        let before = fold(records.clone());
        assert!(before.loops.long.is_empty(), "{kind}: nobody knows yet");
        records.push(runtime(kind));
        let got = fold(records);
        assert_eq!(got.loops.long.len(), expected, "{kind}");
        assert!(got.loops.long.iter().all(|long| !long.stack.is_empty()));
    }
}

#[test]
fn a_window_has_what_ended_in_it() {
    let mut records = begin("node");
    records.push(counted(900, &[20, 30], 500));
    records.push(Record::Tick(Nanos(1_000 * MS)));
    records.push(counted(1900, &[20, 30, 5, 7], 900));
    records.push(Record::Tick(Nanos(2_000 * MS)));
    let got = fold(records);
    let counts = got.loops.main().unwrap().counts.as_ref().unwrap();
    assert_eq!((counts.iterations, counts.recent_iterations), (5, 2));
    assert_eq!(counts.recent_delay.count, 2);
    assert_eq!(counts.recent_delay.sum, Nanos(12 * MS));
    let max = counts.recent_delay.max.0;
    assert!((7 * MS..8 * MS).contains(&max), "{max}");
}

#[test]
fn loops_are_bounded() {
    let mut model = Model::new();
    let mut records = begin("node");
    for tid in 0..2_000 {
        let key = LoopKey {
            pid: Pid(1),
            tid: Tid(tid),
        };
        let one = LoopRow {
            iterations: 1,
            waits: 1,
            ..LoopRow::default()
        };
        records.push(row::<Loops>(&key, &one));
        records.push(happened(
            5,
            tid,
            Event::LongIteration(LongIteration::default()),
        ));
    }
    for tick in 1..=3 {
        records.push(Record::Tick(Nanos(tick * 1_000 * MS)));
    }
    records.iter().for_each(|record| model.apply(record));
    assert!(model.loops.kept() < 2_000, "{}", model.loops.kept());
    let got = model.snapshot();
    assert_eq!(got.loops.loops.len() as u64 + got.loops.unlisted, 2_000);
}
