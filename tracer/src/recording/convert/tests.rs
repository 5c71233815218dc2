//! What a message gives back when it is as it should be, and when it is not.

use proptest::{collection::vec, prelude::*, sample::Index, test_runner::RngSeed};
use prost::Message;
use tracer_common::{
    Event, EventHeader, EventKind, Pid, StackId, State, SyscallKey, SyscallNr, TableNr,
    ThreadTimes, Tid,
    event::{Exec, LongWait, ThreadExit},
    table::KEY_BYTES,
    thread::STATES,
};

use super::*;
use crate::record::{
    AgentSample, CounterKey, CounterSample, FileMeta, FrameMeta, HoldingSample, LimitsMeta,
    PressureSample, ProbeMeta, ProbesSample, ProcessSample, SessionMeta, StackMeta, SymbolMeta,
    SyscallSample, ThreadSample,
};

const MAX: Nanos = Nanos(u64::MAX);

fn exec() -> Record {
    Record::Event(
        EventHeader {
            at: MAX,
            pid: Pid(9),
            tid: Tid(8),
            cpu: 7,
            kind: EventKind(4),
            len: 8,
        },
        Event::Exec(Exec {
            old_tid: Tid(6),
            reserved: 5,
        }),
    )
}

fn thread() -> ThreadSample {
    let times = ThreadTimes {
        in_state: [3; STATES],
        ..ThreadTimes::default()
    };
    ThreadSample {
        at: MAX,
        pid: Pid(9),
        tid: Tid(8),
        first: Nanos(7),
        state: State::SLEEP,
        times,
        ready_max: MAX,
        waiting_on: 5,
    }
}

fn counter(table: u32, key: u8, words: &[(u32, u64)], last: bool) -> Record {
    Record::Sample(Sample::Counter(CounterSample {
        table: TableNr(table),
        key: CounterKey([key; KEY_BYTES]),
        words: words.to_vec(),
        last,
    }))
}

/// One message after the other, each of which may begin with a restart.
fn messages(all: &[(bool, &[Record])]) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::default();
    all.iter()
        .map(|(restart, records)| {
            if *restart {
                encoder.restart();
            }
            for record in *records {
                encoder.push(record, size(record));
            }
            let mut out = Vec::new();
            encoder.take().encode(&mut out);
            out
        })
        .collect()
}

fn counters(payload: &[u8]) -> schema::CounterSamples {
    let message = schema::Samples::decode(payload).unwrap();
    message.counters.unwrap()
}

fn encode(records: &[Record]) -> Vec<u8> {
    let mut encoder = Encoder::default();
    for record in records {
        assert!(encoder.takes(record, size(record)));
        encoder.push(record, size(record));
    }
    let mut out = Vec::new();
    encoder.take().encode(&mut out);
    out
}

fn decode(channel: Channel, payload: &[u8]) -> (Vec<Record>, Result<Skipped, Malformed>) {
    let mut records = vec![Record::Tick(Nanos(1))];
    let skipped = Decoder::default().decode(channel, payload, &mut records);
    assert_eq!(
        records.remove(0),
        Record::Tick(Nanos(1)),
        "what was there stays"
    );
    (records, skipped)
}

fn unknown(unknown: u64) -> Result<Skipped, Malformed> {
    Ok(Skipped {
        unknown,
        orphans: 0,
    })
}

#[test]
fn no_record_is_larger_than_it_is_said_to_be() {
    let times = ThreadTimes {
        in_state: [u64::MAX; STATES],
        voluntary: u64::MAX,
        involuntary: u64::MAX,
        migrations: u64::MAX,
    };
    let (pid, tid, first) = (Pid(u32::MAX), Tid(u32::MAX), Nanos(1 << 63));
    let header = EventHeader {
        at: first,
        pid,
        tid,
        cpu: u32::MAX,
        kind: EventKind(2),
        len: u16::MAX,
    };
    let exit = ThreadExit {
        first,
        times,
        name: [1; 16],
        ready_max: Nanos(4),
    };
    let call = SyscallSample {
        key: SyscallKey {
            first,
            tid,
            nr: SyscallNr::NONE,
        },
        count: u64::MAX,
        errors: u64::MAX,
        timed: (1 << 63) - 1,
        sum: MAX,
        max: MAX,
        buckets: vec![
            (u32::MAX, u32::MAX),
            (u32::MAX - 1, u32::MAX),
            (0, u32::MAX),
        ],
        last: true,
    };
    let session = SessionMeta {
        cpus: u32::MAX,
        started: MAX,
        started_unix_ns: u64::MAX,
        interval: MAX,
        kernel: "k".repeat(300),
        ..SessionMeta::default()
    };
    let probe = ProbeMeta {
        name: "n".into(),
        group: "g".into(),
        why: "w".repeat(70_000),
        ..Default::default()
    };
    for record in [
        Record::Event(header, Event::ThreadExit(exit)),
        Record::Sample(Sample::Thread(ThreadSample {
            at: first,
            pid,
            tid,
            first,
            state: State(255),
            times,
            ready_max: Nanos(u64::MAX),
            waiting_on: u64::MAX,
        })),
        Record::Sample(Sample::Syscall(call)),
        Record::Sample(Sample::Process(ProcessSample {
            at: first,
            pid,
            rss_bytes: u64::MAX,
            minor_faults: u64::MAX,
            major_faults: u64::MAX,
        })),
        Record::Sample(Sample::Agent(AgentSample {
            at: first,
            cpu: MAX,
            rss_bytes: u64::MAX,
        })),
        Record::Meta(Meta::Session(session)),
        Record::Meta(Meta::Probe(probe)),
        counter(u32::MAX, 255, &[], true),
        counter(
            u32::MAX,
            255,
            &[(u32::MAX, u64::MAX), (0, u64::MAX), (9, u64::MAX)],
            false,
        ),
        Record::Sample(Sample::Holding(HoldingSample {
            at: first,
            pid,
            ..HoldingSample::default()
        })),
        Record::Sample(Sample::Pressure(PressureSample {
            at: first,
            ..PressureSample::default()
        })),
        Record::Sample(Sample::Probes(ProbesSample {
            at: first,
            time: MAX,
            runs: u64::MAX,
            target_time: MAX,
            ..ProbesSample::default()
        })),
        Record::Event(
            EventHeader {
                kind: EventKind(5),
                ..header
            },
            Event::LongWait(LongWait {
                first,
                since: MAX,
                reserved: [255; 3],
                ..LongWait::default()
            }),
        ),
        Record::Meta(Meta::Stack(StackMeta {
            id: StackId(u32::MAX),
            pid,
            frames: vec![u64::MAX; 64],
        })),
        Record::Meta(Meta::Symbol(SymbolMeta {
            pid,
            address: u64::MAX,
            module: "m".repeat(300),
            offset: u64::MAX,
            frames: vec![
                FrameMeta {
                    function: "f".repeat(20_000),
                    file: "s".repeat(200),
                    line: u32::MAX,
                };
                3
            ],
        })),
        Record::Meta(Meta::File(FileMeta {
            pid,
            fd: u32::MAX,
            kind: "socket".into(),
            name: "n".repeat(20_000),
        })),
        Record::Meta(Meta::Limits(LimitsMeta {
            pid,
            cpus: u32::MAX,
            quota_millicpus: u32::MAX,
            io_uring: u32::MAX,
        })),
        Record::Loss(Loss {
            reason: LossReason(u32::MAX),
            count: u64::MAX,
        }),
        Record::Tick(first),
    ] {
        let encoded = encode(std::slice::from_ref(&record));
        assert!(
            encoded.len() <= size(&record),
            "{} > {}: {record:?}",
            encoded.len(),
            size(&record)
        );
        assert_eq!(
            decode(Channel::of(&record), &encoded),
            (vec![record], unknown(0))
        );
    }
}

#[test]
fn events_of_unknown_kinds_are_skipped_and_counted() {
    let encoded = encode(&[exec(), exec(), exec(), exec()]);
    let mut message = schema::Events::decode(&encoded[..]).unwrap();
    message.kind[0] = 999;
    message.kind[2] = 1 << 20;
    assert_eq!(
        decode(Channel::Events, &message.encode_to_vec()),
        (vec![exec(), exec()], unknown(2))
    );
}

#[test]
fn samples_and_states_of_unknown_kinds_are_skipped_and_counted() {
    let record = Record::Sample(Sample::Thread(thread()));
    let mut message = schema::Samples::decode(&encode(std::slice::from_ref(&record))[..]).unwrap();
    message.order = vec![99, 1, 98];
    let threads = message.threads.as_mut().unwrap();
    threads.states[0] |= 1 << 20;
    threads.time.push(77);
    assert_eq!(
        decode(Channel::Samples, &message.encode_to_vec()),
        (vec![record], unknown(3))
    );
}

#[test]
fn descriptions_of_unknown_kinds_are_skipped_and_counted() {
    assert_eq!(
        decode(Channel::Meta, &[0x9a, 6, 1, b'x']),
        (vec![], unknown(1)),
        "field 99"
    );
    assert_eq!(decode(Channel::Meta, &[]), (vec![], unknown(1)));
    let probe = Record::Meta(Meta::Probe(ProbeMeta::default()));
    let mut message = schema::Meta::decode(&encode(&[probe])[..]).unwrap();
    if let Some(schema::meta::What::Probe(probe)) = &mut message.what {
        probe.status = 99;
    }
    assert_eq!(
        decode(Channel::Meta, &message.encode_to_vec()),
        (vec![], unknown(1))
    );
}

#[test]
fn a_column_that_is_too_short_spoils_the_whole_message() {
    let encoded = encode(&[exec(), exec()]);
    let whole = schema::Events::decode(&encoded[..]).unwrap();
    let damage: [fn(&mut schema::Events); 7] = [
        |message| message.at_delta.truncate(1),
        |message| message.pid.truncate(1),
        |message| message.cpu.truncate(1),
        |message| message.size.truncate(1),
        |message| message.payload.truncate(15),
        |message| message.len[1] = 1 << 16,
        |message| message.kind.resize(MAX_MESSAGE_RECORDS + 1, 4),
    ];
    for damage in damage {
        let mut message = whole.clone();
        damage(&mut message);
        assert_eq!(
            decode(Channel::Events, &message.encode_to_vec()),
            (vec![], Err(Malformed))
        );
    }
}

#[test]
fn a_sample_that_follows_nothing_is_an_orphan_and_the_next_whole_one_is_not() {
    let sample = |voluntary| {
        let times = ThreadTimes {
            voluntary,
            ..thread().times
        };
        Record::Sample(Sample::Thread(ThreadSample { times, ..thread() }))
    };
    let all = messages(&[
        (false, &[sample(1)]),
        (false, &[sample(2), sample(3)]),
        (false, &[sample(2), sample(4)]),
        (true, &[sample(5), sample(6)]),
    ]);
    let [_lost, orphans, shrunk, restarted] = &all[..] else {
        unreachable!("four went in")
    };

    let mut decoder = Decoder::default();
    let mut records = Vec::new();
    let mut decode = |payload: &[u8]| decoder.decode(Channel::Samples, payload, &mut records);
    assert_eq!(
        decode(orphans),
        Ok(Skipped {
            unknown: 0,
            orphans: 2
        })
    );
    assert_eq!(
        decode(shrunk),
        unknown(0),
        "counters that went back stand for themselves"
    );
    assert_eq!(decode(restarted), unknown(0));
    assert_eq!(records, [2, 4, 5, 6].map(sample));
}

#[test]
fn a_row_says_what_changed_and_nothing_else() {
    let rows = [
        counter(1, 7, &[(0, 10), (3, 500), (250, 1)], false),
        counter(1, 7, &[(0, 12), (3, 500), (9, 4), (250, 1)], false),
    ];
    let encoded = encode(&rows);
    let columns = counters(&encoded);
    assert_eq!(columns.follows, [false, true]);
    assert_eq!(columns.words, [3, 2]);
    assert_eq!(columns.word, [10, 500, 1, 2, 4]);
    assert_eq!(columns.word_gap, [0, 3, 247, 0, 9]);
    assert_eq!(
        decode(Channel::Samples, &encoded),
        (rows.to_vec(), unknown(0))
    );
}

#[test]
fn rows_of_other_tables_and_keys_are_other_rows() {
    let rows = [
        counter(1, 7, &[(0, 10)], false),
        counter(2, 7, &[(0, 11)], false),
        counter(1, 8, &[(0, 12)], false),
        counter(1, 7, &[(0, 13)], false),
    ];
    let encoded = encode(&rows);
    assert_eq!(counters(&encoded).follows, [false, false, false, true]);
    assert_eq!(
        decode(Channel::Samples, &encoded),
        (rows.to_vec(), unknown(0))
    );
}

#[test]
fn a_row_that_was_forgotten_stands_for_itself_when_it_comes_back() {
    let rows = [
        counter(1, 7, &[(0, 10)], false),
        counter(1, 7, &[(0, 12)], true),
        counter(1, 7, &[(0, 13)], false),
        counter(1, 7, &[(0, 13), (1, 1)], true),
        counter(1, 7, &[(0, 1)], false),
    ];
    let encoded = encode(&rows);
    assert_eq!(
        counters(&encoded).follows,
        [false, true, false, true, false],
        "also when it has grown beyond what it was"
    );
    assert_eq!(
        decode(Channel::Samples, &encoded),
        (rows.to_vec(), unknown(0))
    );
}

#[test]
fn a_row_whose_words_are_not_ascending_or_went_back_stands_for_itself() {
    let rows = [
        counter(1, 7, &[(5, 1), (2, 1)], false),
        counter(1, 7, &[(5, 2), (2, 2)], false),
        counter(1, 7, &[(2, 2), (5, 2)], false),
        counter(1, 7, &[(2, 2), (5, 1)], false),
        counter(1, 7, &[(5, 1)], false),
        counter(1, 7, &[(5, 1), (1 << 20, 1)], false),
    ];
    let encoded = encode(&rows);
    assert_eq!(counters(&encoded).follows, [false; 6]);
    assert_eq!(
        decode(Channel::Samples, &encoded),
        (rows.to_vec(), unknown(0))
    );
}

#[test]
fn rows_that_follow_a_damaged_part_are_orphans_until_the_file_begins_anew() {
    let row = |count| counter(1, 7, &[(0, count), (4, 9)], false);
    let other = counter(3, 1, &[(2, 2)], false);
    let all = messages(&[
        (false, &[row(1)]),
        (false, &[row(2), other.clone(), row(3)]),
        (true, &[row(4), row(5)]),
    ]);
    let mut decoder = Decoder::default();
    let mut records = Vec::new();
    decoder
        .decode(Channel::Samples, &all[0], &mut records)
        .unwrap();
    decoder.forget();
    assert_eq!(
        decoder.decode(Channel::Samples, &all[1], &mut records),
        Ok(Skipped {
            unknown: 0,
            orphans: 2
        })
    );
    assert_eq!(
        decoder.decode(Channel::Samples, &all[2], &mut records),
        unknown(0)
    );
    assert_eq!(records, [row(1), other, row(4), row(5)]);
}

#[test]
fn counter_columns_that_do_not_fit_together_spoil_the_whole_message() {
    let row = |count| counter(1, 7, &[(0, count), (4, 9)], false);
    let encoded = encode(&[row(1), row(2)]);
    let whole = schema::Samples::decode(&encoded[..]).unwrap();
    let damage: [fn(&mut schema::CounterSamples); 8] = [
        |columns| columns.table.truncate(1),
        |columns| columns.key_size[1] = KEY_BYTES as u32 + 1,
        |columns| columns.key.truncate(40),
        |columns| columns.words[0] = u32::MAX,
        |columns| columns.word.truncate(2),
        |columns| columns.word_gap.truncate(2),
        |columns| columns.last.truncate(1),
        // A change that leads beyond what a counter can be.
        |columns| columns.word[2] = u64::MAX,
    ];
    for (index, damage) in damage.into_iter().enumerate() {
        let mut message = whole.clone();
        damage(message.counters.as_mut().unwrap());
        assert_eq!(
            decode(Channel::Samples, &message.encode_to_vec()),
            (vec![], Err(Malformed)),
            "{index}"
        );
    }
}

#[test]
fn what_is_not_known_is_not_0_when_it_is_read_back() {
    let holding = HoldingSample {
        at: Nanos(5),
        pid: Pid(9),
        pss_bytes: Some(0),
        swap_bytes: None,
        descriptors: Some(u64::MAX >> 1),
        sockets: None,
    };
    let pressure = PressureSample {
        at: Nanos(3),
        memory_some: Some(Nanos(0)),
        cgroup_memory_full: Some(Nanos(7)),
        ..PressureSample::default()
    };
    let records = [
        Sample::Holding(holding),
        Sample::Pressure(pressure),
        Sample::Holding(HoldingSample {
            sockets: Some(4),
            ..holding
        }),
        Sample::Pressure(PressureSample::default()),
    ]
    .map(Record::Sample);
    assert_eq!(
        decode(Channel::Samples, &encode(&records)),
        (records.to_vec(), unknown(0))
    );
}

#[test]
fn a_value_that_cannot_be_is_not_known() {
    let holding = |sockets| {
        Record::Sample(Sample::Holding(HoldingSample {
            sockets,
            ..HoldingSample::default()
        }))
    };
    assert_eq!(
        decode(Channel::Samples, &encode(&[holding(Some(1 << 63))])),
        (vec![holding(None)], unknown(0))
    );
}

#[test]
fn columns_that_older_files_do_not_have_are_0() {
    let record = Record::Sample(Sample::Thread(thread()));
    let mut message = schema::Samples::decode(&encode(&[record])[..]).unwrap();
    let threads = message.threads.as_mut().unwrap();
    threads.ready_max.clear();
    threads.waiting_on.clear();
    let old = ThreadSample {
        ready_max: Nanos(0),
        waiting_on: 0,
        ..thread()
    };
    assert_eq!(
        decode(Channel::Samples, &message.encode_to_vec()),
        (vec![Record::Sample(Sample::Thread(old))], unknown(0))
    );
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_payload_does_harm(
        channel in 1..=5u16,
        edits in vec((any::<Index>(), any::<u8>()), 0..8),
    ) {
        let channel = Channel::from_number(channel).unwrap();
        let call = |n: u32| SyscallSample { buckets: vec![(1, n), (40, n)], ..SyscallSample::default() };
        let mut payload = match channel {
            Channel::Events => encode(&[exec(), exec()]),
            Channel::Samples => encode(
                &[
                    Record::Sample(Sample::Thread(thread())),
                    Record::Sample(Sample::Syscall(call(1))),
                    Record::Sample(Sample::Syscall(call(2))),
                    counter(1, 7, &[(0, 1), (4, 9)], false),
                    counter(1, 7, &[(0, 3), (4, 9), (6, 1)], false),
                    Record::Sample(Sample::Holding(HoldingSample::default())),
                    Record::Sample(Sample::Pressure(PressureSample::default())),
                    Record::Sample(Sample::Probes(ProbesSample::default())),
                ],
            ),
            Channel::Meta => encode(&[Record::Meta(Meta::Session(SessionMeta::default()))]),
            Channel::Losses => encode(&[Record::Loss(Loss::default()), Record::Loss(Loss::default())]),
            Channel::Ticks => encode(&[Record::Tick(MAX), Record::Tick(Nanos(0))]),
        };
        for (at, byte) in edits {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        let (records, skipped) = decode(channel, &payload);
        prop_assert!(records.is_empty() || skipped.is_ok());
    }
}
