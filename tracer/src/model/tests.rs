//! Timelines through the model: what it must say of a story whose numbers can be worked out by hand.

mod callbacks;
mod event_loops;
mod heaps;
mod memory;
mod resources;
mod stacks;
mod tables;
mod tasks;

use tracer_common::{
    Event, EventHeader, LossReason, Nanos, Pid, State, Table, TableNr, Tid, table::Plain,
};

use super::{Life, Model, Snapshot};
use crate::{
    record::{CounterKey, CounterSample, Meta, ProbeMeta, ProbeStatus, Record, Sample},
    source::script,
};

fn run(timeline: &str) -> Snapshot {
    let mut model = Model::new();
    for record in script::records(timeline).unwrap() {
        model.apply(&record);
    }
    model.snapshot()
}

fn fold(records: impl IntoIterator<Item = Record>) -> Snapshot {
    let mut model = Model::new();
    records.into_iter().for_each(|record| model.apply(&record));
    model.snapshot()
}

/// The records of a story, to go on with others.
fn story(timeline: &str) -> Vec<Record> {
    script::records(timeline).unwrap()
}

fn tick(seconds: u64) -> Record {
    Record::Tick(Nanos(seconds * 1_000_000_000))
}

/// A row of a table as it was read.
fn row<T: Table>(key: &T::Key, row: &T::Row) -> Record {
    counter::<T>(key, row, false)
}

/// The same for the last time: the kernel side forgot it.
fn last<T: Table>(key: &T::Key, row: &T::Row) -> Record {
    counter::<T>(key, row, true)
}

fn counter<T: Table>(key: &T::Key, row: &T::Row, last: bool) -> Record {
    Record::Sample(Sample::Counter(CounterSample {
        table: T::NUMBER,
        key: CounterKey::of(key),
        words: (0..)
            .zip(words(row))
            .filter(|&(_, word)| word != 0)
            .collect(),
        last,
    }))
}

fn words<R: Plain>(row: &R) -> Vec<u64> {
    row.as_bytes()
        .chunks_exact(8)
        .map(|word| u64::from_le_bytes(word.try_into().unwrap()))
        .collect()
}

fn event(ms: u64, pid: u32, event: Event) -> Record {
    let header = EventHeader {
        at: Nanos(ms * 1_000_000),
        pid: Pid(pid),
        tid: Tid(pid),
        cpu: 0,
        kind: event.kind(),
        len: 0,
    };
    Record::Event(header, event)
}

fn probe(name: &str, status: ProbeStatus) -> Record {
    Record::Meta(Meta::Probe(ProbeMeta {
        name: name.into(),
        group: "group".into(),
        status,
        why: String::new(),
    }))
}

fn ms(snapshot: &Snapshot, thread: usize, state: State) -> u64 {
    snapshot.threads[thread].times.of(state).0 / 1_000_000
}

#[test]
fn a_thread_is_charged_to_each_state_it_was_in() {
    let got = run(
        "0ms process p1 node | 0ms thread t1 main in p1 | 2ms wait t1 epoll | 30ms wake t1 | 33ms run t1
         73ms preempt t1 | 80ms run t1 | 100ms tick",
    );
    let states = [
        State::ON_CPU,
        State::EPOLL,
        State::RUNNABLE,
        State::PREEMPTED,
        State::UNKNOWN,
    ];
    assert_eq!(
        states.map(|state| ms(&got, 0, state)),
        [2 + 40 + 20, 28, 3, 7, 0]
    );
    assert_eq!(got.threads[0].wall, Nanos(100_000_000));
    assert_eq!(got.threads[0].name, "main");
}

#[test]
fn a_thread_met_asleep_is_unknown_until_it_wakes() {
    let got = run(
        "0ms process p1 node | 0ms thread t1 main in p1 | 60ms wake t1 | 61ms run t1 | 100ms tick",
    );
    let states = [State::UNKNOWN, State::RUNNABLE, State::ON_CPU];
    assert_eq!(states.map(|state| ms(&got, 0, state)), [60, 1, 39]);
}

#[test]
fn a_wait_across_two_windows_is_charged_to_both() {
    let story = "0ms process p1 node | 0ms spawn t1 main in p1 | 0ms run t1 | 900ms wait t1 futex | 1s tick";
    assert_eq!(
        run(story).threads[0].recent.of(State::FUTEX),
        Nanos(100_000_000)
    );
    let got = run(&format!("{story} | 1.2s run t1 | 2s tick"));
    assert_eq!(got.threads[0].recent.of(State::FUTEX), Nanos(200_000_000));
    assert_eq!(ms(&got, 0, State::FUTEX), 300);
    assert_eq!(got.history.len(), 2);
    assert_eq!(got.history[1].on_cpu, Nanos(800_000_000));
}

#[test]
fn a_thread_that_ends_keeps_its_times_and_counts_in_its_window() {
    let got = run(
        "0ms process p1 node | 10ms spawn t2 storm in p1 | 11ms run t2 | 31ms end t2 | 1s tick",
    );
    assert_eq!(got.threads[0].life, Life::Ended);
    assert_eq!(ms(&got, 0, State::ON_CPU), 20);
    assert_eq!(got.history[0].on_cpu, Nanos(20_000_000));
    assert_eq!(
        run("0ms process p1 node | 1s tick").history[0].on_cpu,
        Nanos(0)
    );
}

#[test]
fn many_ended_threads_are_folded_by_name_and_nothing_is_lost() {
    let mut story = "0ms process p1 node\n".to_owned();
    for n in 0..1_000 {
        story += &format!(
            "{n}ms spawn t{n} storm in p1 | {n}ms run t{n} | {}ms end t{n}\n",
            n + 1
        );
    }
    story += "2s tick";
    let got = run(&story);
    let folded = got.threads.iter().find_map(|view| match view.life {
        Life::Folded(count) => Some((view.name.clone(), count)),
        Life::Alive | Life::Ended => None,
    });
    assert_eq!(folded, Some(("storm".to_owned(), 1_000 - 256)));
    let total: u64 = got
        .threads
        .iter()
        .map(|view| view.times.of(State::ON_CPU).0)
        .sum();
    assert_eq!(total, 1_000 * 1_000_000);
}

#[test]
fn system_calls_of_all_threads_add_up_also_of_those_that_ended() {
    let got = run("0ms process p1 node | 0ms spawn t1 a in p1 | 0ms spawn t2 b in p1
         1ms call t1 read 1ms | 2ms call t2 read 3ms error | 3ms call t2 write 1us | 4ms end t2 | 1s tick
         1.5s call t1 read 2ms | 2s tick");
    let read = &got.syscalls[0];
    assert_eq!(
        (
            read.name.as_str(),
            read.count,
            read.errors,
            read.recent_count
        ),
        ("read", 3, 1, 1)
    );
    assert_eq!(
        (read.time.sum, read.time.max),
        (Nanos(6_000_000), Nanos(3_000_000))
    );
    assert_eq!(got.syscalls[1].name, "write");
    assert_eq!(
        got.history
            .iter()
            .map(|point| point.syscalls)
            .collect::<Vec<_>>(),
        [3, 1]
    );
}

#[test]
fn a_process_that_exits_is_listed_with_its_status_and_without_memory() {
    let story =
        "0ms process p1 node | 0ms process p2 child | 1ms rss p1 1000 | 1ms rss p2 500 | 1s tick";
    assert_eq!(run(story).memory.rss_bytes, Some(1_500));
    let got = run(&format!("{story} | 1.5s exit p2 3 | 2s tick"));
    assert_eq!(got.memory.rss_bytes, Some(1_000));
    assert_eq!(got.processes[1].exit, Some(3 << 8));
    assert!(!got.all_exited());
    assert!(
        run(&format!(
            "{story} | 1.5s exit p2 3 | 1.6s exit p1 0 | 2s tick"
        ))
        .all_exited()
    );
}

#[test]
fn losses_are_cumulative_and_shown_by_reason() {
    let got = run("1s lost 0 5 | 1s tick | 2s lost 0 12 | 2s lost 2 1 | 2s tick");
    assert_eq!(
        got.quality.lost,
        [
            (LossReason::RING_FULL, 12),
            (LossReason::SYSCALL_TABLE_FULL, 1)
        ]
    );
    assert_eq!(got.quality.lost_total(), 13);
}

#[test]
fn totals_do_not_depend_on_how_often_the_clock_ticks() {
    let story = |ticks: &[u64]| {
        let mut steps: Vec<(u64, String)> = vec![
            (
                0,
                "0ms process p1 node | 0ms spawn t1 main in p1 | 0ms run t1".into(),
            ),
            (300, "300ms wait t1 futex | 300ms call t1 futex 10ms".into()),
            (700, "700ms wake t1 | 700ms run t1".into()),
            (900, "900ms end t1".into()),
            (1_000, "1000ms tick".into()),
        ];
        steps.extend(ticks.iter().map(|&at| (at, format!("{at}ms tick"))));
        steps.sort_by_key(|(at, _)| *at);
        let all: Vec<String> = steps.into_iter().map(|(_, step)| step).collect();
        let got = run(&all.join(" | "));
        (
            got.threads,
            got.syscalls
                .into_iter()
                .map(|view| (view.name, view.count, view.time))
                .collect::<Vec<_>>(),
        )
    };
    let clear = |mut threads: Vec<super::ThreadView>| {
        threads
            .iter_mut()
            .for_each(|view| view.recent = Default::default());
        threads
    };
    let (threads, syscalls) = story(&[]);
    for ticks in [&[500][..], &[100, 200, 400, 800], &[299, 300, 301, 700]] {
        let (others, other_syscalls) = story(ticks);
        assert_eq!(clear(others), clear(threads.clone()));
        assert_eq!(other_syscalls, syscalls);
    }
}

#[test]
fn a_probe_that_the_governor_switched_off_at_times_keeps_its_place() {
    let probes = ["sched_switch", "sys_exit", "futex_waits"];
    let mut records = story("0ms process p1 node");
    records.extend(probes.map(|name| probe(name, ProbeStatus::Attached)));
    let why = |off: u32| format!("off {off} % of the time, to keep --max-overhead 2%");
    for off in [100, 80] {
        records.push(Record::Meta(Meta::Probe(ProbeMeta {
            name: "sys_exit".into(),
            group: "syscall".into(),
            status: ProbeStatus::Degraded,
            why: why(off),
        })));
        records.push(tick(1));
    }
    let got = fold(records);
    let names: Vec<&str> = got
        .quality
        .probes
        .iter()
        .map(|probe| probe.name.as_str())
        .collect();
    assert_eq!(names, probes);
    assert_eq!(got.quality.probes[1].status, ProbeStatus::Degraded);
    assert_eq!(got.quality.probes[1].why, why(80), "the last word");
}

#[test]
fn what_is_waited_on_is_shown_while_it_lasts_and_the_longest_wait_for_a_cpu_stays() {
    use crate::record::ThreadSample;
    let sample = |ms: u64, state, waiting_on, ready_max| {
        Record::Sample(Sample::Thread(ThreadSample {
            at: Nanos(ms * 1_000_000),
            pid: Pid(1),
            tid: Tid(2),
            first: Nanos(0),
            state,
            waiting_on,
            ready_max: Nanos(ready_max),
            ..ThreadSample::default()
        }))
    };
    let waits = sample(1_000, State::FUTEX, 0x7000, 5);
    let got = fold([waits.clone(), tick(1)]);
    assert_eq!(
        (got.threads[0].waiting_on, got.threads[0].ready_max),
        (0x7000, Nanos(5))
    );
    let exit = tracer_common::event::ThreadExit {
        ready_max: Nanos(9),
        ..Default::default()
    };
    let header = EventHeader {
        at: Nanos(1_500_000_000),
        pid: Pid(1),
        tid: Tid(2),
        ..EventHeader::default()
    };
    let ended = Record::Event(header, Event::ThreadExit(exit));
    let got = fold([waits, tick(1), ended, tick(2)]);
    assert_eq!(
        (got.threads[0].waiting_on, got.threads[0].ready_max),
        (0, Nanos(9))
    );
}

#[test]
fn a_row_of_a_table_of_a_later_version_is_counted_and_harms_nothing() {
    let unknown = Record::Sample(Sample::Counter(CounterSample {
        table: TableNr(999),
        words: vec![(0, 1)],
        ..CounterSample::default()
    }));
    assert_eq!(fold([unknown, tick(1)]).quality.inconsistent, 1);
}
