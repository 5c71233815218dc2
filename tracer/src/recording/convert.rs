//! Records into columns and back.
//!
//! A batch is one message of the file: records of one channel, in order. Samples build on earlier ones. Decoding
//! trusts nothing: a message whose columns do not fit together gives no record at all, and what this version does
//! not know is counted.

mod event;
mod history;
mod meta;
mod sample;

use std::slice;

use prost::Message;
use tracer_common::{LossReason, Nanos};

use history::History;
pub(crate) use sample::Skipped;

use super::{
    BATCH_BYTES, BATCH_RECORDS, MAX_MESSAGE_BYTES, MAX_MESSAGE_RECORDS,
    schema::{self, Channel},
};
use crate::record::{Loss, Meta, Record, Sample};

/// A message whose columns do not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Turns records into messages.
#[derive(Default)]
pub(crate) struct Encoder {
    batch: Batch,
    history: History,
    /// The next sample is to stand for itself.
    restart: bool,
}

impl Encoder {
    /// True when `record`, of at most `size` bytes, can follow in the message that is being filled.
    pub(crate) fn takes(&self, record: &Record, size: usize) -> bool {
        self.batch.takes(record, size)
    }

    /// Appends `record`, of at most `size` bytes. Only after [`Encoder::takes`] agreed.
    pub(crate) fn push(&mut self, record: &Record, size: usize) {
        let batch = &mut self.batch;
        match (
            batch.columns.get_or_insert_with(|| Columns::new(record)),
            record,
        ) {
            (Columns::Events(columns), Record::Event(header, event)) => columns.push(header, event),
            (Columns::Samples(columns), Record::Sample(sample)) => {
                if std::mem::take(&mut self.restart) {
                    columns.restart(&mut self.history);
                }
                columns.push(sample, &mut self.history);
            }
            (Columns::Losses(columns), Record::Loss(loss)) => {
                columns.reason.push(loss.reason.0);
                columns.count.push(loss.count);
            }
            (Columns::Ticks(columns, delta), Record::Tick(at)) => {
                columns.at_delta.push(delta.of(at.0))
            }
            (Columns::Meta(_), _) => {}
            (columns, _) => debug_assert_eq!(columns.channel(), Channel::of(record)),
        }
        batch.records += 1;
        batch.bytes += size;
        if let Some(at) = time(record) {
            batch.times = Some((batch.times.map_or(at, |(first, _)| first), at));
        }
    }

    /// The message as far as it is filled; the next one is empty.
    pub(crate) fn take(&mut self) -> Batch {
        std::mem::take(&mut self.batch)
    }

    /// From the next sample on, nothing builds on what came before.
    pub(crate) fn restart(&mut self) {
        self.restart = true;
    }
}

/// Records of one channel on their way into a message.
#[derive(Default)]
pub(crate) struct Batch {
    columns: Option<Columns>,
    records: usize,
    /// No less than the size of the encoded message.
    bytes: usize,
    times: Option<(Nanos, Nanos)>,
}

enum Columns {
    Events(event::Columns),
    Samples(Box<sample::Columns>),
    Meta(schema::Meta),
    Losses(schema::Losses),
    Ticks(schema::Ticks, Delta),
}

impl Columns {
    fn new(record: &Record) -> Self {
        match record {
            Record::Event(..) => Self::Events(event::Columns::default()),
            Record::Sample(_) => Self::Samples(Box::default()),
            Record::Meta(meta) => Self::Meta(meta::encode(meta)),
            Record::Loss(_) => Self::Losses(schema::Losses::default()),
            Record::Tick(_) => Self::Ticks(schema::Ticks::default(), Delta::default()),
        }
    }

    fn channel(&self) -> Channel {
        match self {
            Self::Events(_) => Channel::Events,
            Self::Samples(_) => Channel::Samples,
            Self::Meta(_) => Channel::Meta,
            Self::Losses(_) => Channel::Losses,
            Self::Ticks(..) => Channel::Ticks,
        }
    }
}

impl Batch {
    fn takes(&self, record: &Record, size: usize) -> bool {
        let Some(columns) = &self.columns else {
            return true;
        };
        let channel = columns.channel();
        // There is one description per message.
        channel == Channel::of(record)
            && channel != Channel::Meta
            && self.records < BATCH_RECORDS
            && self.bytes + size <= BATCH_BYTES
    }

    /// The channel, or `None` when nothing is in the batch.
    pub(crate) fn channel(&self) -> Option<Channel> {
        self.columns.as_ref().map(Columns::channel)
    }

    /// The times of the first and the last record that have one.
    pub(crate) fn times(&self) -> Option<(Nanos, Nanos)> {
        self.times
    }

    /// Appends the message to `out`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match &self.columns {
            None => {}
            Some(Columns::Events(columns)) => put(columns.message(), out),
            Some(Columns::Samples(columns)) => put(columns.message(), out),
            Some(Columns::Meta(message)) => put(message, out),
            Some(Columns::Losses(message)) => put(message, out),
            Some(Columns::Ticks(message, _)) => put(message, out),
        }
    }
}

fn put(message: &impl Message, out: &mut Vec<u8>) {
    out.reserve(message.encoded_len());
    message.encode_raw(out);
}

/// No less than the bytes `record` takes in a message.
pub(crate) fn size(record: &Record) -> usize {
    match record {
        Record::Event(_, event) => 64 + event.payload().len(),
        Record::Sample(Sample::Thread(_)) => 320,
        Record::Sample(Sample::Counter(sample)) => 80 + 16 * sample.words.len(),
        Record::Sample(Sample::Holding(_) | Sample::Pressure(_) | Sample::Probes(_)) => 96,
        Record::Sample(Sample::Syscall(sample)) => 128 + 10 * sample.buckets.len(),
        Record::Sample(Sample::Process(_) | Sample::Agent(_)) => 64,
        Record::Sample(Sample::Alive(_) | Sample::Task(_)) => 128,
        Record::Meta(meta) => 128 + meta::text(meta),
        Record::Loss(_) | Record::Tick(_) => 24,
    }
}

/// When a record happened, if it says.
fn time(record: &Record) -> Option<Nanos> {
    match record {
        Record::Event(header, _) => Some(header.at),
        Record::Sample(Sample::Thread(sample)) => Some(sample.at),
        Record::Sample(Sample::Process(sample)) => Some(sample.at),
        Record::Sample(Sample::Agent(sample)) => Some(sample.at),
        Record::Sample(Sample::Holding(sample)) => Some(sample.at),
        Record::Sample(Sample::Pressure(sample)) => Some(sample.at),
        Record::Sample(Sample::Probes(sample)) => Some(sample.at),
        Record::Sample(Sample::Alive(sample)) => Some(sample.at),
        Record::Sample(Sample::Task(sample)) => Some(sample.at),
        Record::Meta(Meta::Session(session)) => Some(session.started),
        Record::Meta(Meta::Process(process)) => Some(process.since),
        Record::Tick(at) => Some(*at),
        Record::Sample(Sample::Syscall(_) | Sample::Counter(_))
        | Record::Meta(
            Meta::ThreadName(_)
            | Meta::SyscallName(_)
            | Meta::Probe(_)
            | Meta::Stack(_)
            | Meta::Symbol(_)
            | Meta::File(_)
            | Meta::Limits(_)
            | Meta::Runtime(_)
            | Meta::TaskType(_)
            | Meta::Waits(_)
            | Meta::WorkType(_)
            | Meta::CallbackKind(_)
            | Meta::InFlight(_)
            | Meta::Heaps(_),
        )
        | Record::Loss(_) => None,
    }
}

/// Turns messages into records.
#[derive(Default)]
pub(crate) struct Decoder {
    history: History,
}

impl Decoder {
    /// Appends a message's records to `records`, all or none. After an error, and wherever else a message is
    /// missing, [`Decoder::forget`] has to be called.
    pub(crate) fn decode(
        &mut self,
        channel: Channel,
        payload: &[u8],
        records: &mut Vec<Record>,
    ) -> Result<Skipped, Malformed> {
        if payload.len() > MAX_MESSAGE_BYTES {
            return Err(Malformed);
        }
        let before = records.len();
        let skipped = self.append(channel, payload, records);
        if skipped.is_err() {
            records.truncate(before);
        }
        skipped
    }

    /// Builds on nothing that was decoded so far.
    pub(crate) fn forget(&mut self) {
        self.history.forget();
    }

    fn append(
        &mut self,
        channel: Channel,
        payload: &[u8],
        records: &mut Vec<Record>,
    ) -> Result<Skipped, Malformed> {
        let mut skipped = Skipped::default();
        match channel {
            Channel::Events => {
                let (message, fields) = parse(payload)?;
                skipped.unknown = fields + event::decode(&message, records)?;
            }
            Channel::Samples => {
                let (message, fields) = parse(payload)?;
                skipped = sample::decode(&message, &mut self.history, records)?;
                skipped.unknown += fields;
            }
            Channel::Meta => {
                // A description of an unknown kind is an unknown field of the message, not one more.
                let (message, fields) = parse(payload)?;
                skipped.unknown = fields.max(meta::decode(message, records));
            }
            Channel::Losses => {
                let (message, fields) = parse(payload)?;
                skipped.unknown = fields;
                losses(&message, records)?;
            }
            Channel::Ticks => {
                let (message, fields) = parse(payload)?;
                skipped.unknown = fields;
                ticks(&message, records)?;
            }
        }
        Ok(skipped)
    }
}

/// A message, and 1 when it holds fields this version does not know. A message is written by the shortest
/// encoding of what it holds, so bytes that encoding it again does not give are such fields.
fn parse<M: Message + Default>(payload: &[u8]) -> Result<(M, u64), Malformed> {
    match M::decode(payload) {
        Ok(message) => {
            let unknown = u64::from(message.encoded_len() != payload.len());
            Ok((message, unknown))
        }
        Err(_) => Err(Malformed),
    }
}

fn losses(message: &schema::Losses, records: &mut Vec<Record>) -> Result<(), Malformed> {
    let mut counts = Column::new(&message.count);
    for &reason in rows(&message.reason)? {
        records.push(Record::Loss(Loss {
            reason: LossReason(reason),
            count: counts.next()?,
        }));
    }
    Ok(())
}

fn ticks(message: &schema::Ticks, records: &mut Vec<Record>) -> Result<(), Malformed> {
    let mut delta = Delta::default();
    for &at in rows(&message.at_delta)? {
        records.push(Record::Tick(Nanos(delta.add(at))));
    }
    Ok(())
}

/// The column that says how many rows there are.
fn rows<T>(column: &[T]) -> Result<&[T], Malformed> {
    if column.len() > MAX_MESSAGE_RECORDS {
        Err(Malformed)
    } else {
        Ok(column)
    }
}

/// A column that is read from the top.
struct Column<'a, T>(slice::Iter<'a, T>);

impl<'a, T: Copy> Column<'a, T> {
    fn new(cells: &'a [T]) -> Self {
        Self(cells.iter())
    }

    fn next(&mut self) -> Result<T, Malformed> {
        self.0.next().copied().ok_or(Malformed)
    }
}

/// A column that older files do not have: then every cell is 0.
struct Later<'a, T>(Option<Column<'a, T>>);

impl<'a, T: Copy + Default> Later<'a, T> {
    fn new(cells: &'a [T]) -> Self {
        Self((!cells.is_empty()).then(|| Column::new(cells)))
    }

    fn next(&mut self) -> Result<T, Malformed> {
        match &mut self.0 {
            Some(column) => column.next(),
            None => Ok(T::default()),
        }
    }
}

/// A column of times, kept as differences.
struct Times<'a>(Column<'a, i64>, Delta);

impl<'a> Times<'a> {
    fn new(cells: &'a [i64]) -> Self {
        Self(Column::new(cells), Delta::default())
    }

    fn next(&mut self) -> Result<Nanos, Malformed> {
        Ok(Nanos(self.1.add(self.0.next()?)))
    }
}

/// The last value of a column that is kept as differences.
#[derive(Clone, Copy, Default)]
struct Delta(u64);

impl Delta {
    /// The difference to the value before.
    fn of(&mut self, value: u64) -> i64 {
        let difference = value.wrapping_sub(self.0) as i64;
        self.0 = value;
        difference
    }

    /// The value a difference leads to.
    fn add(&mut self, difference: i64) -> u64 {
        self.0 = self.0.wrapping_add(difference as u64);
        self.0
    }
}

#[cfg(test)]
mod tests;
