//! Callbacks of Node and promises.

use tracer_common::{
    Event, EventHeader, Nanos, Pid, StackId, Table, TableNr,
    callback::{CallbackKey, CallbackKind, CallbackTime, PromiseKey, PromiseStep},
    event::{CpuSample, LongCallback},
    table::{Callbacks, Promises},
};

use crate::{
    model::{Model, Snapshot},
    record::{
        CallbackKindMeta, CounterKey, CounterSample, FrameMeta, Meta, ProbesSample, Record, Sample,
        StackMeta, SymbolMeta,
    },
};

const PID: Pid = Pid(7);
const TCP: CallbackKind = CallbackKind { number: 3 };
const MS: u64 = 1_000_000;

fn counter<T: Table>(key: T::Key, words: &[(u32, u64)]) -> Record {
    let table: TableNr = T::NUMBER;
    Record::Sample(Sample::Counter(CounterSample {
        table,
        key: CounterKey::of(&key),
        words: words.to_vec(),
        ..CounterSample::default()
    }))
}

/// So many callbacks of a kind, with a sum in nanoseconds.
fn callbacks(kind: CallbackKind, what: CallbackTime, count: u64, sum: u64) -> Record {
    let key = CallbackKey {
        pid: PID,
        kind,
        what,
        reserved: 0,
    };
    counter::<Callbacks>(key, &[(0, count), (1, sum), (2, sum)])
}

fn awaits(count: u64) -> Record {
    let what = PromiseStep::AWAIT;
    counter::<Promises>(PromiseKey { pid: PID, what }, &[(0, count)])
}

/// Callbacks were watched for so many milliseconds of so many.
fn watched(on: u64, of: u64) -> Record {
    Record::Sample(Sample::Probes(ProbesSample {
        at: Nanos((100 + of) * MS),
        callbacks_first: Nanos(100 * MS),
        callbacks_on: Nanos(on * MS),
        promises_first: Nanos(100 * MS),
        promises_on: Nanos(on * MS),
        ..ProbesSample::default()
    }))
}

fn tick(at: u64) -> Record {
    Record::Tick(Nanos(at * MS))
}

fn run(records: impl IntoIterator<Item = Record>) -> Snapshot {
    let mut model = Model::new();
    for record in records {
        model.apply(&record);
    }
    model.snapshot()
}

fn name() -> Record {
    Record::Meta(Meta::CallbackKind(CallbackKindMeta {
        pid: PID,
        kind: TCP,
        name: "TCPWRAP".to_owned(),
    }))
}

#[test]
fn what_was_watched_at_times_is_extrapolated_and_recent_numbers_are_of_what_was_watched() {
    let snapshot = run([
        name(),
        tick(100),
        callbacks(TCP, CallbackTime::BUSY, 10, 30 * MS),
        callbacks(TCP, CallbackTime::TICKS, 10, 10 * MS),
        awaits(50),
        watched(100, 200),
        tick(300),
        // A window in which nothing was watched.
        watched(100, 400),
        tick(500),
    ]);
    let view = &snapshot.callbacks;
    assert_eq!(
        (view.watched, view.promises_watched),
        (Some(0.25), Some(0.25))
    );
    let kind = &view.kinds[0];
    assert_eq!(kind.kind, "TCPWRAP");
    assert_eq!((kind.busy.count, kind.busy.sum), (40, Nanos(120 * MS)));
    assert_eq!(kind.whole(), Nanos(160 * MS));
    assert_eq!((kind.recent, kind.recent_time), (10, Nanos(40 * MS)));
    assert_eq!(view.recent_on, Nanos(100 * MS));
    assert_eq!(view.promises[0].awaits, 200);
    assert_eq!(view.promises[0].recent_awaits, 50);
}

#[test]
fn microtasks_stand_apart_and_a_kind_without_a_name_has_its_number() {
    let snapshot = run([
        callbacks(CallbackKind::MICROTASKS, CallbackTime::BUSY, 4, MS),
        callbacks(CallbackKind::TIMERS, CallbackTime::BUSY, 2, MS),
        callbacks(TCP, CallbackTime::BUSY, 1, 9 * MS),
        tick(200),
    ]);
    let view = &snapshot.callbacks;
    let kinds: Vec<&str> = view.kinds.iter().map(|view| view.kind.as_str()).collect();
    assert_eq!(kinds, ["kind 3", "Timers"]);
    assert_eq!(view.microtasks[0].1.count, 4);
}

/// A stack of functions of JavaScript, the innermost first, and a sample in it.
fn sampled(number: u32, frames: &[(&str, &str, u32)], kind: CallbackKind) -> Vec<Record> {
    let address = |at: usize| SymbolMeta::GIVEN + u64::from(number) * 16 + at as u64;
    let symbols = frames
        .iter()
        .enumerate()
        .map(|(at, &(function, file, line))| {
            Record::Meta(Meta::Symbol(SymbolMeta {
                pid: PID,
                address: address(at),
                frames: vec![FrameMeta {
                    function: function.to_owned(),
                    file: file.to_owned(),
                    line,
                }],
                ..SymbolMeta::default()
            }))
        });
    let mut records: Vec<Record> = symbols.collect();
    records.push(Record::Meta(Meta::Stack(StackMeta {
        id: StackId(number),
        pid: PID,
        frames: (0..frames.len()).map(address).collect(),
    })));
    let sample = CpuSample {
        stack: StackId(number),
        callback: kind.number + 1,
        ..CpuSample::default()
    };
    let header = EventHeader {
        at: Nanos(MS),
        pid: PID,
        ..EventHeader::default()
    };
    records.push(Record::Event(header, Event::CpuSample(sample)));
    records
}

#[test]
fn a_kind_has_the_programs_own_function_that_most_samples_were_under() {
    let emit = ("emit", "node:events", 5);
    let handler = ("handler", "/srv/server.js", 12);
    let other = ("other", "/srv/server.js", 30);
    let mut records = vec![callbacks(TCP, CallbackTime::BUSY, 9, MS)];
    records.extend(sampled(
        1,
        &[("parse", "/srv/json.js", 3), handler, emit],
        TCP,
    ));
    records.extend(sampled(2, &[handler, emit], TCP));
    records.extend(sampled(3, &[other, emit], TCP));
    for number in 4..9 {
        records.extend(sampled(number, &[emit], TCP));
    }
    records.push(tick(200));
    let snapshot = run(records);
    let kind = &snapshot.callbacks.kinds[0];
    assert_eq!(kind.samples, 8);
    let frame = &kind.function.as_ref().unwrap().frames[0];
    assert_eq!((frame.function.as_str(), frame.line), ("handler", 12));
    // The innermost function of each sample has it.
    let functions = &snapshot.cpu.javascript;
    let of = |name: &str| functions.iter().find(|view| view.function == name).unwrap();
    assert_eq!((of("emit").own, of("emit").total), (5, 8));
    assert_eq!((of("handler").own, of("handler").total), (1, 2));
    assert!(of("emit").is_of_node() && !of("parse").is_of_node());
}

#[test]
fn what_is_kept_is_bounded() {
    let mut model = Model::new();
    for number in 0..20_000 {
        let kind = CallbackKind { number };
        let header = EventHeader {
            pid: PID,
            ..EventHeader::default()
        };
        let sample = CpuSample {
            stack: StackId(number),
            callback: number % 5,
            ..CpuSample::default()
        };
        let long = LongCallback {
            kind,
            async_id: f64::to_bits(1e300),
            ..LongCallback::default()
        };
        let name = CallbackKindMeta {
            pid: PID,
            kind,
            name: String::new(),
        };
        for record in [
            Record::Event(header, Event::CpuSample(sample)),
            Record::Event(header, Event::LongCallback(long)),
            Record::Meta(Meta::CallbackKind(name)),
        ] {
            model.apply(&record);
        }
    }
    assert!(model.callbacks.kept() < 6_000, "{}", model.callbacks.kept());
    assert_eq!(model.snapshot().callbacks.long.len(), 64);
}
