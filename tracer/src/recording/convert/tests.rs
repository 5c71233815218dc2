//! What a message gives back when it is as it should be, and when it is not.

use proptest::{collection::vec, prelude::*, sample::Index, test_runner::RngSeed};
use prost::Message;
use tracer_common::{
    Event, EventHeader, EventKind, Pid, State, SyscallKey, SyscallNr, ThreadTimes, Tid,
    event::{Exec, ThreadExit},
    thread::STATES,
};

use super::*;
use crate::record::{
    AgentSample, ProbeMeta, ProcessSample, SessionMeta, SyscallSample, ThreadSample,
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
    }
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
    message.order = vec![99, 1, 5];
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
        decode(Channel::Meta, &[0x7a, 1, b'x']),
        (vec![], unknown(1)),
        "field 15"
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
    let mut encoder = Encoder::default();
    let mut message = |records: &[Record], restart: bool| {
        if restart {
            encoder.restart();
        }
        for record in records {
            encoder.push(record, size(record));
        }
        let mut out = Vec::new();
        encoder.take().encode(&mut out);
        out
    };
    let _lost = message(&[sample(1)], false);
    let orphans = message(&[sample(2), sample(3)], false);
    let shrunk = message(&[sample(2), sample(4)], false);
    let restarted = message(&[sample(5), sample(6)], true);

    let mut decoder = Decoder::default();
    let mut records = Vec::new();
    let mut decode = |payload: &[u8]| decoder.decode(Channel::Samples, payload, &mut records);
    assert_eq!(
        decode(&orphans),
        Ok(Skipped {
            unknown: 0,
            orphans: 2
        })
    );
    assert_eq!(
        decode(&shrunk),
        unknown(0),
        "counters that went back stand for themselves"
    );
    assert_eq!(decode(&restarted), unknown(0));
    assert_eq!(records, [2, 4, 5, 6].map(sample));
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
                &[Sample::Thread(thread()), Sample::Syscall(call(1)), Sample::Syscall(call(2))].map(Record::Sample),
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
