//! What a recording promises: what was written is read back; what was cut or damaged is missing and said to be;
//! whatever a file holds, reading it ends.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Cursor, Write},
};

use proptest::{collection::vec, prelude::*, sample::Index, test_runner::RngSeed};
use tracer::{
    record::{
        CounterKey, CounterSample, Loss, Meta, ProcessMeta, Record, Sample, SyscallSample,
        ThreadSample,
    },
    recording::{Outcome, Reader, RecordingError, Writer},
};
use tracer_common::{
    Event, EventHeader, LossReason, Nanos, Pid, State, SyscallKey, SyscallNr, SyscallRow, TableNr,
    ThreadTimes, Tid,
    event::{ThreadExit, ThreadStart},
};

#[path = "common/strategy.rs"]
mod strategy;

use strategy::records;

const NAME: &str = "test.mcap";

fn write(records: &[Record]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), NAME).unwrap();
    for record in records {
        writer.write(record).unwrap();
    }
    writer.finish().unwrap()
}

/// One chunk for each of `chunks`.
fn write_chunks(chunks: &[Vec<Record>]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), NAME).unwrap();
    for chunk in chunks {
        for record in chunk {
            writer.write(record).unwrap();
        }
        writer.flush().unwrap();
    }
    writer.finish().unwrap()
}

fn read(file: &[u8]) -> Result<(Vec<Record>, Outcome), RecordingError> {
    let mut reader = Reader::new(Cursor::new(file), NAME)?;
    let mut records = Vec::new();
    while let Some(batch) = reader.next_batch()? {
        assert!(!batch.is_empty());
        records.extend(batch);
    }
    assert_eq!(reader.next_batch().unwrap(), None, "the end stays the end");
    Ok((records, reader.outcome()))
}

fn loss(reason: LossReason, count: u64) -> Record {
    Record::Loss(Loss { reason, count })
}

/// Splits what was recorded from what the reader said is missing.
fn split(records: Vec<Record>) -> (Vec<Record>, Vec<Loss>) {
    let mut losses = Vec::new();
    let mut recorded = Vec::new();
    for record in records {
        if let Record::Loss(loss) = record
            && loss.reason >= LossReason::DAMAGED_CHUNK
        {
            losses.push(loss);
        } else {
            recorded.push(record);
        }
    }
    (recorded, losses)
}

/// True when all of `part` is in `whole`, in its order.
fn is_subsequence(part: &[Record], whole: &[Record]) -> bool {
    let mut whole = whole.iter();
    part.iter().all(|record| whole.any(|other| other == record))
}

/// `ticks` seconds of a small process, one list per second. No two records are the same.
fn seconds(ticks: u64) -> Vec<Vec<Record>> {
    let mut calls = [SyscallRow::EMPTY; 3];
    let mut times = ThreadTimes::default();
    (1..=ticks)
        .map(|tick| {
            let at = Nanos(tick * 1_000_000_000);
            let (pid, tid, first) = (Pid(70), Tid(71), Nanos(5));
            times.in_state[1] += 200_000_000 + tick;
            times.in_state[4] += 800_000_000 - tick;
            times.voluntary += tick;
            let mut records = vec![
                event(
                    at.0 - 7,
                    Event::ThreadStart(ThreadStart {
                        pid,
                        tid: Tid(100 + tick as u32),
                    }),
                ),
                Record::Sample(Sample::Thread(ThreadSample {
                    at,
                    pid,
                    tid,
                    first,
                    state: State::FUTEX,
                    times,
                    ready_max: Nanos(tick),
                    waiting_on: 0x7000 + tick,
                })),
                Record::Sample(Sample::Counter(counter(tick))),
            ];
            for (nr, row) in calls.iter_mut().enumerate() {
                for call in 0..=nr as u64 {
                    row.record(Some(Nanos(tick * 1000 * (call + 1))), -(call as i64));
                }
                records.push(Record::Sample(Sample::Syscall(syscall_sample(
                    tid, nr as u32, row,
                ))));
            }
            records.push(loss(LossReason::CLOCK_SKEW, tick));
            records.push(Record::Tick(at));
            records
        })
        .collect()
}

/// A row of a table after `tick` seconds.
fn counter(tick: u64) -> CounterSample {
    CounterSample {
        table: TableNr(1),
        key: CounterKey([3; 32]),
        words: vec![(0, tick), (1, tick * 70_000), (200, 9)],
        last: false,
    }
}

fn event(at: u64, event: Event) -> Record {
    let len = event.payload().len() as u16;
    let header = EventHeader {
        at: Nanos(at),
        pid: Pid(70),
        tid: Tid(70),
        cpu: 1,
        kind: event.kind(),
        len,
    };
    Record::Event(header, event)
}

fn syscall_sample(tid: Tid, nr: u32, row: &SyscallRow) -> SyscallSample {
    SyscallSample {
        key: SyscallKey {
            first: Nanos(5),
            tid,
            nr: SyscallNr(nr),
        },
        count: row.count,
        errors: row.errors,
        timed: row.timed,
        sum: row.sum,
        max: row.max,
        buckets: (0..)
            .zip(row.buckets)
            .filter(|&(_, count)| count > 0)
            .collect(),
        last: false,
    }
}

#[test]
fn a_recording_without_records_is_complete() {
    let (records, outcome) = read(&write(&[])).unwrap();
    assert_eq!(records, []);
    assert!(outcome.is_complete());
    assert_eq!(outcome.bytes_read, outcome.bytes_total);
}

#[test]
fn a_recorded_loss_is_not_taken_for_one_of_this_file() {
    let records = [loss(LossReason::CUT_RECORDING, 1)];
    let (read, outcome) = read(&write(&records)).unwrap();
    assert_eq!(read, records);
    assert!(outcome.is_complete());
}

#[test]
fn a_file_gives_back_what_was_written_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.mcap");
    let records = seconds(9).concat();
    let mut writer = Writer::create(&path).unwrap();
    for record in &records {
        writer.write(record).unwrap();
    }
    writer.finish().unwrap();
    let (read, outcome) = read(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(read, records);
    assert!(outcome.is_complete());
    assert_eq!(outcome.bytes_read, fs::metadata(&path).unwrap().len());
}

#[test]
fn what_was_flushed_outlives_the_writer() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("killed.mcap");
    let records = seconds(5).concat();
    let mut writer = Writer::create(&path).unwrap();
    let empty = writer.bytes_written();
    for record in &records {
        writer.write(record).unwrap();
    }
    assert_eq!(writer.bytes_written(), empty, "nothing was flushed yet");
    writer.flush().unwrap();
    assert_eq!(writer.bytes_written(), fs::metadata(&path).unwrap().len());
    writer.write(&Record::Tick(Nanos(u64::MAX))).unwrap();
    drop(writer);

    let (mut read, outcome) = read(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(read.pop(), Some(loss(LossReason::CUT_RECORDING, 1)));
    assert_eq!(read, records);
    assert!(outcome.cut && outcome.damaged == 0);
    assert_eq!(outcome.bytes_read, outcome.bytes_total);
}

#[test]
fn a_file_cut_anywhere_gives_the_records_before_the_cut() {
    let chunks = seconds(3);
    let all = chunks.concat();
    let file = write_chunks(&chunks);
    let mut longest = 0;
    for length in 0..file.len() {
        match read(&file[..length]) {
            Ok((mut read, outcome)) => {
                assert_eq!(
                    read.pop(),
                    Some(loss(LossReason::CUT_RECORDING, 1)),
                    "{length}"
                );
                assert_eq!(read, all[..read.len()], "{length}");
                assert!(read.len() >= longest, "a longer file gives no less");
                longest = read.len();
                assert_eq!(
                    (outcome.cut, outcome.damaged, outcome.unknown),
                    (true, 0, 0),
                    "{length}"
                );
            }
            Err(RecordingError::Empty { .. }) => assert_eq!(length, 0),
            Err(RecordingError::Cut { .. }) => assert_eq!(longest, 0),
            Err(error) => panic!("{length}: {error}"),
        }
    }
    assert_eq!(longest, all.len());
}

/// Guaranteed: every record given is one that was written, in order; records of other chunks than the damaged one
/// are missing only if they are samples that follow one in it; and if any is missing, that is said.
#[test]
fn a_damaged_byte_costs_no_more_than_its_chunk_and_is_noticed() {
    let chunks = seconds(4);
    let all = chunks.concat();
    let file = write_chunks(&chunks);
    for at in 0..file.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut file = file.clone();
            file[at] ^= flip;
            let context = format!("byte {at} ^ {flip}");
            let (read, losses, outcome) = match read(&file) {
                Ok((records, outcome)) => {
                    let (read, losses) = split(records);
                    (read, losses, outcome)
                }
                Err(
                    RecordingError::NotARecording { .. }
                    | RecordingError::OtherTool { .. }
                    | RecordingError::UnsupportedFormat { .. }
                    | RecordingError::DamagedHeader { .. }
                    | RecordingError::Cut { .. },
                ) if at < 200 => continue,
                Err(error) => panic!("{context}: {error}"),
            };
            assert!(is_subsequence(&read, &all), "{context}");
            assert_eq!(
                read.len() == all.len() && losses.is_empty(),
                outcome.is_complete(),
                "{context}"
            );
            let untouched = chunks.iter().filter(|chunk| {
                chunk
                    .iter()
                    .filter(|record| !matches!(record, Record::Sample(_)))
                    .all(|record| read.contains(record))
            });
            assert!(untouched.count() >= chunks.len() - 1, "{context}");
            let lost_samples = all.len() - read.len();
            assert!(
                lost_samples <= chunks[0].len() + outcome.orphans as usize,
                "{context}"
            );
        }
    }
}

#[test]
fn samples_are_whole_again_a_minute_after_damage() {
    let chunks = seconds(150);
    let mut file = write_chunks(&chunks);
    // Somewhere in the second minute.
    let middle = file.len() * 6 / 10;
    file[middle] ^= 0xff;
    let (records, outcome) = read(&file).unwrap();
    assert_eq!(
        (outcome.damaged, outcome.cut, outcome.unknown),
        (1, false, 0)
    );
    assert!(
        outcome.orphans > 0 && outcome.orphans <= 5 * 60,
        "{outcome:?}"
    );
    let (read, losses) = split(records);
    assert_eq!(
        losses,
        [Loss {
            reason: LossReason::DAMAGED_CHUNK,
            count: 1
        }]
    );
    assert!(is_subsequence(&read, &chunks.concat()));
    assert!(read.ends_with(&chunks[120..].concat()));
}

#[test]
fn a_missing_chunk_is_noticed() {
    let chunks = seconds(5);
    let with = |count: usize| write_chunks(&chunks[..count]);
    let ending = with(0).len() as u64 - unfinished(&[]).len() as u64;
    let (second, third) = (
        with(2).len() - ending as usize,
        with(3).len() - ending as usize,
    );
    let mut file = write_chunks(&chunks);
    file.drain(second..third);
    let (records, outcome) = read(&file).unwrap();
    assert_eq!((outcome.damaged, outcome.cut), (1, false));
    let (read, _) = split(records);
    assert!(is_subsequence(&read, &chunks.concat()));
    assert!(outcome.orphans > 0);
}

/// A file as a killed recorder leaves it.
fn unfinished(records: &[Record]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes, NAME).unwrap();
    for record in records {
        writer.write(record).unwrap();
    }
    writer.flush().unwrap();
    drop(writer);
    bytes
}

#[test]
fn other_files_are_told_apart() {
    let error = |file: &[u8]| read(file).unwrap_err().to_string();
    assert_eq!(error(b""), "recording test.mcap is empty");
    assert_eq!(error(b"hello, world"), "test.mcap is not a recording");
    assert_eq!(error(b"hell"), "test.mcap is not a recording");
    assert_eq!(
        error(b"\x89MCA"),
        "recording test.mcap was cut before anything could be read"
    );
    assert_eq!(
        error(&unfinished(&[])),
        "recording test.mcap was cut before anything could be read"
    );

    let mut other = Vec::new();
    let mut writer = mcap::WriteOptions::new()
        .profile("ros2")
        .create(Cursor::new(&mut other))
        .unwrap();
    writer.finish().unwrap();
    drop(writer);
    assert_eq!(
        error(&other),
        "test.mcap is not a recording of tracer but an MCAP file with the profile \"ros2\""
    );
    assert_eq!(
        error(&by_hand("7", &[])),
        "recording test.mcap has format 7, and this version reads formats up to 1"
    );
    assert_eq!(
        error(&by_hand("x", &[])),
        "the header of recording test.mcap is damaged"
    );

    let nowhere = tempfile::tempdir().unwrap().path().join("none.mcap");
    assert!(
        matches!(Reader::open(&nowhere), Err(RecordingError::NotFound { path }) if path == nowhere)
    );
    assert!(
        matches!(Writer::create(&nowhere), Err(RecordingError::Create { path, .. }) if path == nowhere)
    );
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(
        Reader::open(directory.path()),
        Err(RecordingError::Read { .. })
    ));
}

/// A recording made by the `mcap` crate: the six channels are `recording.proto`'s and an unknown one, and the
/// messages go to the channels as numbered.
fn by_hand(format: &str, messages: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = mcap::WriteOptions::new()
        .profile("tracer")
        .create(Cursor::new(&mut bytes))
        .unwrap();
    let metadata = [("format".to_owned(), format.to_owned())].into();
    writer
        .write_metadata(&mcap::records::Metadata {
            name: "tracer.recording".to_owned(),
            metadata,
        })
        .unwrap();
    for topic in ["events", "samples", "meta", "losses", "ticks", "future"] {
        writer
            .add_channel(0, topic, "protobuf", &[].into())
            .unwrap();
    }
    for (sequence, &(channel_id, payload)) in (1..).zip(messages) {
        let header = mcap::records::MessageHeader {
            channel_id,
            sequence,
            log_time: 0,
            publish_time: 0,
        };
        writer.write_to_known_channel(&header, payload).unwrap();
    }
    writer.finish().unwrap();
    drop(writer);
    bytes
}

#[test]
fn what_is_unknown_is_skipped_and_counted() {
    // A packed column of one zigzag number: a tick at 3.
    let tick = [0x0a, 1, 6];
    // The same, and a field 15 that no version has yet.
    let more = [0x0a, 1, 6, 0x78, 1];
    let file = by_hand("1", &[(5, &tick), (6, b"who knows"), (5, &more)]);
    let (records, outcome) = read(&file).unwrap();
    let unknown = |count| loss(LossReason::UNKNOWN_RECORD, count);
    let tick = Record::Tick(Nanos(3));
    assert_eq!(records, [tick.clone(), unknown(1), tick, unknown(2)]);
    assert_eq!(
        (outcome.unknown, outcome.damaged, outcome.cut),
        (2, 0, false)
    );
}

#[test]
fn a_message_that_makes_no_sense_is_skipped_and_counted() {
    let tick = [0x0a, 1, 6];
    // A loss with a reason and no count; half a field.
    let file = by_hand("1", &[(4, &[0x0a, 1, 4]), (5, &[0x0a, 9]), (5, &tick)]);
    let (records, outcome) = read(&file).unwrap();
    let damaged = |count| loss(LossReason::DAMAGED_CHUNK, count);
    assert_eq!(records, [damaged(1), damaged(2), Record::Tick(Nanos(3))]);
    assert_eq!(
        (outcome.unknown, outcome.damaged, outcome.cut),
        (0, 2, false)
    );
}

#[test]
fn the_mcap_crate_reads_what_the_writer_wrote() {
    let file = write_chunks(&seconds(3));
    let mut seen = Vec::new();
    for message in mcap::MessageStream::new(&file).unwrap() {
        let message = message.unwrap();
        let schema = message.channel.schema.as_ref().unwrap();
        assert_eq!(schema.encoding, "protobuf");
        assert!(schema.name.starts_with("tracer.recording.v1."));
        assert!(!schema.data.is_empty());
        seen.push((
            message.sequence,
            message.channel.topic.clone(),
            message.log_time / 1_000_000_000,
        ));
    }
    let topics = ["events", "samples", "losses", "ticks"];
    let expected: Vec<_> = (0..3)
        .flat_map(|second| topics.map(|topic| (second, topic)))
        .zip(1..)
        .map(|((second, topic), sequence)| {
            (
                sequence,
                topic.to_owned(),
                second + u64::from(topic != "events"),
            )
        })
        .collect();
    assert_eq!(seen, expected);

    for record in mcap::read::LinearReader::new(&file).unwrap() {
        if let mcap::records::Record::Chunk { header, data } = record.unwrap() {
            for record in mcap::read::ChunkReader::new(header, &data).unwrap() {
                record.expect("the CRC holds");
            }
        }
    }
}

/// A disk with room for so many bytes.
struct Disk(usize);

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fits = bytes.len().min(self.0);
        self.0 -= fits;
        if fits == 0 && !bytes.is_empty() {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(fits)
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_an_error_and_stays_one() {
    assert!(matches!(
        Writer::new(Disk(100), NAME),
        Err(RecordingError::Write { .. })
    ));

    let preamble = unfinished(&[]).len();
    let mut writer = Writer::new(Disk(preamble + 50), NAME).unwrap();
    let tick = Record::Tick(Nanos(1));
    writer.write(&tick).unwrap();
    for _ in 0..2 {
        let error = writer.flush().unwrap_err();
        assert!(
            matches!(&error, RecordingError::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull),
            "{error}"
        );
        assert!(writer.write(&tick).is_err());
    }
    assert!(writer.finish().is_err());
}

#[test]
fn a_record_that_is_too_large_is_refused_and_harms_nothing() {
    let process = |cmdline| {
        Record::Meta(Meta::Process(ProcessMeta {
            cmdline,
            ..ProcessMeta::default()
        }))
    };
    let mut writer = Writer::new(Vec::new(), NAME).unwrap();
    let largest = process("x".repeat(2 << 20));
    writer.write(&Record::Tick(Nanos(1))).unwrap();
    let refused = writer.write(&process("x".repeat(4 << 20))).unwrap_err();
    assert!(
        matches!(
            refused,
            RecordingError::RecordTooLarge {
                bytes: 4_194_304..,
                ..
            }
        ),
        "{refused}"
    );
    writer.write(&largest).unwrap();
    let (records, outcome) = read(&writer.finish().unwrap()).unwrap();
    assert!(records == [Record::Tick(Nanos(1)), largest]);
    assert!(outcome.is_complete());
}

#[test]
fn more_records_than_fit_a_batch_or_a_chunk_keep_their_order() {
    let records: Vec<_> = (0..20_000u32)
        .flat_map(|n| {
            let exit = ThreadExit {
                first: Nanos(n.into()),
                ..ThreadExit::default()
            };
            let sample = ThreadSample {
                tid: Tid(n),
                at: Nanos(n.into()),
                ..ThreadSample::default()
            };
            [
                event(n.into(), Event::ThreadExit(exit)),
                Record::Sample(Sample::Thread(sample)),
            ]
            .into_iter()
            .take(if n % 5000 == 0 { 2 } else { 1 })
        })
        .chain((0..20_000).map(|n| Record::Tick(Nanos(n))))
        // More threads than the history holds.
        .chain((0..20_000).map(|n| {
            Record::Sample(Sample::Thread(ThreadSample {
                tid: Tid(n % 9000),
                ..ThreadSample::default()
            }))
        }))
        .collect();
    let (read, outcome) = read(&write(&records)).unwrap();
    assert!(read == records);
    assert!(outcome.is_complete());
}

/// A small recording to damage.
fn recording() -> impl Strategy<Value = Vec<u8>> {
    (1..6u64).prop_map(|ticks| write_chunks(&seconds(ticks)))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_is_written_is_read(chunks in vec(vec(records(), 0..30), 0..8)) {
        let (read, outcome) = read(&write_chunks(&chunks)).unwrap();
        prop_assert_eq!(read, chunks.concat());
        prop_assert!(outcome.is_complete());
        prop_assert_eq!(outcome.bytes_read, outcome.bytes_total);
    }

    #[test]
    fn counters_that_grow_are_read_as_written(
        steps in vec((0..3u32, 0..3u32, vec(0..10_000_000u64, 0..20), any::<bool>()), 0..200),
    ) {
        let mut rows = [[SyscallRow::EMPTY; 3]; 3];
        let mut writer = Writer::new(Vec::new(), NAME).unwrap();
        let mut written = Vec::new();
        for (tid, nr, durations, flush) in steps {
            let row = &mut rows[tid as usize][nr as usize];
            for duration in durations {
                row.record(Some(Nanos(duration)), 0);
            }
            written.push(Record::Sample(Sample::Syscall(syscall_sample(Tid(tid), nr, row))));
            writer.write(written.last().unwrap()).unwrap();
            if flush {
                writer.flush().unwrap();
            }
        }
        let (read, outcome) = read(&writer.finish().unwrap()).unwrap();
        prop_assert_eq!(read, written);
        prop_assert!(outcome.is_complete());
    }

    #[test]
    fn rows_that_grow_and_are_forgotten_are_read_as_written(
        steps in vec((1..4u32, 0..3u8, vec((0..300u32, any::<u32>()), 0..20), 0..8u8), 0..200),
    ) {
        let mut rows = BTreeMap::<_, BTreeMap<u32, u64>>::new();
        let mut writer = Writer::new(Vec::new(), NAME).unwrap();
        let mut written = Vec::new();
        for (table, key, more, what) in steps {
            let row = rows.entry((table, key)).or_default();
            for (place, more) in more {
                *row.entry(place).or_default() += u64::from(more);
            }
            let last = what == 0;
            written.push(Record::Sample(Sample::Counter(CounterSample {
                table: TableNr(table),
                key: CounterKey([key; 32]),
                words: row.iter().map(|(&place, &word)| (place, word)).collect(),
                last,
            })));
            if last {
                row.clear();
            }
            writer.write(written.last().unwrap()).unwrap();
            if what == 1 {
                writer.flush().unwrap();
            }
        }
        let (read, outcome) = read(&writer.finish().unwrap()).unwrap();
        prop_assert_eq!(read, written);
        prop_assert!(outcome.is_complete());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..3000), start in 0..4u8) {
        let mut file = match start {
            0 => Vec::new(),
            1 => b"\x89MCAP0\r\n".to_vec(),
            // Everything up to the first record.
            _ => unfinished(&[]),
        };
        file.extend(bytes);
        if let Ok((records, _)) = read(&file) {
            prop_assert!(split(records).0.is_empty(), "records out of nothing");
        }
    }

    #[test]
    fn any_damage_leaves_only_what_was_written(
        ticks in 1..6u64,
        edits in vec((any::<Index>(), any::<u8>(), 0..4u8, 0..200usize), 1..6),
    ) {
        let chunks = seconds(ticks);
        let mut file = write_chunks(&chunks);
        for (at, byte, what, length) in edits {
            let at = at.index(file.len());
            let end = (at + length).min(file.len());
            match what {
                0 => file[at] = byte,
                1 => drop(file.drain(at..end)),
                2 => file.insert(at, byte),
                _ => file[at..end].fill(byte),
            }
            if file.is_empty() {
                break;
            }
        }
        if let Ok((records, outcome)) = read(&file) {
            let all = chunks.concat();
            let (read, losses) = split(records);
            prop_assert!(is_subsequence(&read, &all));
            prop_assert!(read.len() == all.len() || !losses.is_empty(), "{outcome:?}");
        }
    }

    #[test]
    fn two_recordings_in_one_file_end_with_the_first(one in recording(), other in recording()) {
        let alone = read(&one).unwrap().0;
        prop_assert_eq!(read(&[one, other].concat()).unwrap().0, alone);
    }
}
