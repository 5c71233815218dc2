//! Reads a recording, also one that was cut or damaged.
//!
//! The unit of trust is the chunk: its CRC holds or none of its records is given. Lengths are believed only
//! after another field confirms them, so a damaged one does not take its neighbours along: the next chunk is
//! searched for byte by byte. Each byte is read once, twice while searching, so that reading takes time in
//! proportion to what the file holds, and always ends.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use tracer_common::LossReason;

use super::{
    FORMAT, MAX_CHUNK_BYTES,
    container::{self, ChunkHead, Fields, MAGIC, PREFIX, op},
    convert::{Decoder, Malformed},
    error::RecordingError,
    schema::Channel,
};
use crate::record::{Loss, Record};

/// The longest header or metadata record: ours take under 100 bytes.
const MAX_HEADER_BYTES: u64 = 1 << 16;
/// How much is looked at at once in search of a chunk.
const SEARCH_BYTES: usize = 1 << 16;

/// What became of a recording, so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// True when the file ended without its closing part: the recorder was killed, or the file was cut.
    pub cut: bool,
    /// Parts that were damaged and skipped, or are missing: a chunk, a message of one, or several in a row.
    pub damaged: u64,
    /// Samples that were skipped because they say only what changed since one in a damaged part. Their counters are
    /// cumulative, so nothing else is wrong for it.
    pub orphans: u64,
    /// Channels' messages, records and fields of a kind this version does not know; skipped.
    pub unknown: u64,
    /// Bytes of the file that could be made use of.
    pub bytes_read: u64,
    /// Bytes of the file, when it was opened.
    pub bytes_total: u64,
}

impl Outcome {
    /// True when nothing is missing.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.cut && self.damaged == 0 && self.unknown == 0
    }
}

/// A recording being read. Memory is bounded, whatever the file holds.
///
/// What is missing is among the records, where it is missing, as [`Record::Loss`], with the count so far.
pub struct Reader<R: Read + Seek = File> {
    source: Source<R>,
    path: PathBuf,
    position: u64,
    body: Vec<u8>,
    decompressor: zstd::bulk::Decompressor<'static>,
    /// The records of the current chunk, decompressed.
    records: Vec<u8>,
    /// How far they were read.
    records_read: usize,
    intake: Intake,
    /// The first batch, which was read to know that there is one.
    first: Option<Vec<Record>>,
    /// What of the outcome was already given as records.
    reported: Outcome,
    ended: bool,
}

impl Reader<File> {
    /// Opens the recording at `path`.
    ///
    /// # Errors
    /// When there is no such file, it cannot be read, it is not a recording, a newer version made it, or it was
    /// cut before its first record.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, RecordingError> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|source| {
            let path = path.to_owned();
            if source.kind() == io::ErrorKind::NotFound {
                RecordingError::NotFound { path }
            } else {
                RecordingError::Read { path, source }
            }
        })?;
        Self::new(file, path)
    }
}

impl<R: Read + Seek> Reader<R> {
    /// Begins to read the recording `source` holds. Errors call it `path`.
    ///
    /// # Errors
    /// As [`Reader::open`], but for what concerns opening a file.
    pub fn new(source: R, path: impl Into<PathBuf>) -> Result<Self, RecordingError> {
        let path = path.into();
        let opened =
            Source::new(source).and_then(|source| Ok((source, zstd::bulk::Decompressor::new()?)));
        let (source, decompressor) = match opened {
            Ok(opened) => opened,
            Err(source) => return Err(RecordingError::Read { path, source }),
        };
        let bytes_total = source.length;
        let mut reader = Self {
            source,
            path,
            position: 0,
            body: Vec::new(),
            decompressor,
            records: Vec::new(),
            records_read: 0,
            intake: Intake {
                decoder: Decoder::default(),
                sequence: Some(1),
                outcome: Outcome {
                    bytes_total,
                    ..Outcome::default()
                },
            },
            first: None,
            reported: Outcome::default(),
            ended: false,
        };
        reader.read_header()?;
        reader.read_first()?;
        Ok(reader)
    }

    /// The next records, in the order they were written; never an empty list. `None` at the end.
    ///
    /// # Errors
    /// When the file cannot be read (not: when it is damaged). Nothing follows then.
    pub fn next_batch(&mut self) -> Result<Option<Vec<Record>>, RecordingError> {
        match self.first.take() {
            Some(batch) => Ok(Some(batch)),
            None => self.read_batch(),
        }
    }

    /// What was found so far; after the last batch, what became of the recording.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.intake.outcome
    }

    /// Reads up to the chunk of declarations: magic, header, format.
    fn read_header(&mut self) -> Result<(), RecordingError> {
        let path = || self.path.clone();
        if self.source.length == 0 {
            return Err(RecordingError::Empty { path: path() });
        }
        let magic = self.source.read(0, MAGIC.len() as u64, &mut self.body);
        magic.map_err(|source| RecordingError::Read {
            path: path(),
            source,
        })?;
        if !MAGIC.starts_with(&self.body) {
            return Err(RecordingError::NotARecording { path: path() });
        }
        if self.body.len() < MAGIC.len() {
            return Err(RecordingError::Cut { path: path() });
        }
        self.position = MAGIC.len() as u64;

        self.read_header_record(op::HEADER)?;
        let damaged = || RecordingError::DamagedHeader {
            path: self.path.clone(),
        };
        let mut header = Fields(&self.body);
        let (profile, _library) = header.string().zip(header.string()).ok_or_else(damaged)?;
        if profile != container::PROFILE {
            let profile = profile.chars().take(40).collect();
            return Err(RecordingError::OtherTool {
                path: self.path.clone(),
                profile,
            });
        }

        self.read_header_record(op::METADATA)?;
        let damaged = || RecordingError::DamagedHeader {
            path: self.path.clone(),
        };
        let mut metadata = Fields(&self.body);
        if metadata.string() != Some(container::METADATA) {
            return Err(damaged());
        }
        let format = metadata
            .lookup(container::FORMAT_KEY)
            .and_then(|format| format.parse().ok());
        match format {
            Some(found) if found > FORMAT => Err(RecordingError::UnsupportedFormat {
                path: self.path.clone(),
                found,
            }),
            Some(1..) => {
                self.intake.outcome.bytes_read = self.position;
                Ok(())
            }
            Some(0) | None => Err(damaged()),
        }
    }

    /// Reads the body of the next record, which has to be an `expected` one.
    fn read_header_record(&mut self, expected: u8) -> Result<(), RecordingError> {
        self.read(self.position, PREFIX as u64)?;
        let Some((opcode, length)) = Fields(&self.body).prefix() else {
            return Err(RecordingError::Cut {
                path: self.path.clone(),
            });
        };
        if opcode != expected || length > MAX_HEADER_BYTES {
            return Err(RecordingError::DamagedHeader {
                path: self.path.clone(),
            });
        }
        self.read(self.position + PREFIX as u64, length)?;
        if (self.body.len() as u64) < length {
            return Err(RecordingError::Cut {
                path: self.path.clone(),
            });
        }
        self.position += PREFIX as u64 + length;
        Ok(())
    }

    fn read_first(&mut self) -> Result<(), RecordingError> {
        self.first = self.read_batch()?;
        let cut = [Record::Loss(Loss {
            reason: LossReason::CUT_RECORDING,
            count: 1,
        })];
        if self.intake.outcome.cut && self.first.as_deref() == Some(&cut) {
            return Err(RecordingError::Cut {
                path: self.path.clone(),
            });
        }
        Ok(())
    }

    fn read_batch(&mut self) -> Result<Option<Vec<Record>>, RecordingError> {
        loop {
            let mut batch = Vec::new();
            if self.records_read < self.records.len() {
                self.read_message(&mut batch);
            } else if self.ended {
                return Ok(None);
            } else {
                // An error ends the reading too.
                self.ended = true;
                self.ended = self.read_part()?;
            }
            self.report(&mut batch);
            if !batch.is_empty() {
                return Ok(Some(batch));
            }
        }
    }

    /// Appends what is newly known to be missing.
    fn report(&mut self, batch: &mut Vec<Record>) {
        let (found, reported) = (self.intake.outcome, self.reported);
        for (reason, count, before) in [
            (LossReason::DAMAGED_CHUNK, found.damaged, reported.damaged),
            (LossReason::UNKNOWN_RECORD, found.unknown, reported.unknown),
            (
                LossReason::CUT_RECORDING,
                found.cut.into(),
                reported.cut.into(),
            ),
        ] {
            if count != before {
                batch.push(Record::Loss(Loss { reason, count }));
            }
        }
        self.reported = found;
    }

    /// Decodes the next message of the chunk.
    fn read_message(&mut self, batch: &mut Vec<Record>) {
        let mut rest = Fields(self.records.get(self.records_read..).unwrap_or_default());
        let record = rest.record();
        self.records_read = self.records.len() - rest.0.len();
        match record {
            Some((op::MESSAGE, body)) => self.intake.message(body, batch),
            // The numbers of the channels are part of the format; these are for other readers.
            Some((op::SCHEMA | op::CHANNEL, _)) => {}
            Some(_) => self.intake.outcome.unknown += 1,
            None => {
                self.records_read = self.records.len();
                self.intake.damaged();
            }
        }
    }

    /// Reads the next part of the file: takes it in if it is a chunk, passes over it otherwise. True at the end.
    fn read_part(&mut self) -> Result<bool, RecordingError> {
        let start = self.position;
        self.read(start, ChunkHead::BYTES as u64)?;
        if let Some(head) = ChunkHead::recognise(&self.body) {
            return self.read_chunk(start, head);
        }
        let Some((opcode, length)) = Fields(&self.body).prefix() else {
            self.intake.outcome.cut = true;
            return Ok(true);
        };
        let end = start.saturating_add(PREFIX as u64).saturating_add(length);
        let known = matches!(opcode, op::FOOTER..=op::CHANNEL | op::MESSAGE_INDEX..=op::DATA_END);
        // The file does not bear out what stands here. Messages stand in chunks only, and unrecognised chunks are
        // damaged, so both are searched past as well.
        if end > self.source.length || !known && opcode < op::PRIVATE {
            return self.search(start);
        }
        if opcode == op::FOOTER {
            self.read(end, MAGIC.len() as u64)?;
            self.intake.outcome.cut = self.body != MAGIC;
            self.position = end + self.body.len() as u64;
            self.intake.outcome.bytes_read += self.position - start;
            return Ok(true);
        }
        if !known {
            self.intake.outcome.unknown += 1;
        }
        self.intake.outcome.bytes_read += end - start;
        self.position = end;
        Ok(false)
    }

    /// Takes in the chunk at `start`.
    fn read_chunk(&mut self, start: u64, head: ChunkHead) -> Result<bool, RecordingError> {
        let end = start
            .saturating_add(PREFIX as u64)
            .saturating_add(head.length);
        if end > self.source.length {
            self.intake.outcome.cut = true;
            return Ok(true);
        }
        self.position = end;
        let mut records = None;
        if head.length <= MAX_CHUNK_BYTES {
            self.read(start + PREFIX as u64, head.length)?;
            let buffer = std::mem::take(&mut self.records);
            records = head.decompress(&self.body, &mut self.decompressor, buffer);
        }
        match &records {
            Some(_) => self.intake.outcome.bytes_read += end - start,
            None => self.intake.damaged(),
        }
        self.records = records.unwrap_or_default();
        self.records_read = 0;
        Ok(false)
    }

    /// What is at `start` makes no sense: goes on with the next chunk that can be recognised. True when there is
    /// none.
    fn search(&mut self, start: u64) -> Result<bool, RecordingError> {
        let mut from = start + 1;
        loop {
            self.read(from, SEARCH_BYTES as u64)?;
            for (offset, window) in self.body.windows(ChunkHead::BYTES).enumerate() {
                let at = from + offset as u64;
                if window.first() == Some(&op::CHUNK)
                    && ChunkHead::recognise(window)
                        .is_some_and(|head| head.length <= self.source.length - at - PREFIX as u64)
                {
                    self.position = at;
                    self.intake.damaged();
                    return Ok(false);
                }
            }
            if self.body.len() < SEARCH_BYTES {
                break;
            }
            from += (SEARCH_BYTES - ChunkHead::BYTES + 1) as u64;
        }
        self.read(
            self.source.length.saturating_sub(MAGIC.len() as u64),
            MAGIC.len() as u64,
        )?;
        if self.body == MAGIC && start + (MAGIC.len() as u64) < self.source.length {
            self.intake.damaged();
        } else {
            self.intake.outcome.cut = true;
        }
        Ok(true)
    }

    fn read(&mut self, from: u64, length: u64) -> Result<(), RecordingError> {
        self.source
            .read(from, length, &mut self.body)
            .map_err(|source| RecordingError::Read {
                path: self.path.clone(),
                source,
            })
    }
}

/// What becomes of the messages.
struct Intake {
    decoder: Decoder,
    /// The number of the next message, when it is known.
    sequence: Option<u32>,
    outcome: Outcome,
}

impl Intake {
    /// Takes in a message, of which nothing is known but that it was written like this.
    fn message(&mut self, body: &[u8], batch: &mut Vec<Record>) {
        let mut payload = Fields(body);
        let Some(head) = payload.message_head() else {
            return self.damaged();
        };
        if self
            .sequence
            .is_some_and(|expected| expected != head.sequence)
        {
            self.damaged();
        }
        self.sequence = Some(head.sequence.wrapping_add(1));
        let Some(channel) = Channel::from_number(head.channel) else {
            self.outcome.unknown += 1;
            return;
        };
        match self.decoder.decode(channel, payload.0, batch) {
            Ok(skipped) => {
                self.outcome.unknown += skipped.unknown;
                self.outcome.orphans += skipped.orphans;
            }
            Err(Malformed) => self.damaged(),
        }
    }

    /// A part of the recording is missing.
    fn damaged(&mut self) {
        self.outcome.damaged += 1;
        self.sequence = None;
        self.decoder.forget();
    }
}

/// A file of known length that is read mostly from front to back.
struct Source<R> {
    inner: BufReader<R>,
    position: u64,
    length: u64,
}

impl<R: Read + Seek> Source<R> {
    fn new(mut inner: R) -> io::Result<Self> {
        let length = inner.seek(SeekFrom::End(0))?;
        inner.seek(SeekFrom::Start(0))?;
        Ok(Self {
            inner: BufReader::with_capacity(SEARCH_BYTES, inner),
            position: 0,
            length,
        })
    }

    /// Fills `bytes` with the `length` bytes at `from`, or with fewer at the end of the file.
    fn read(&mut self, from: u64, length: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
        bytes.clear();
        let length = length.min(self.length.saturating_sub(from));
        if length == 0 {
            return Ok(());
        }
        self.inner
            .seek_relative(from.wrapping_sub(self.position) as i64)?;
        self.position = from;
        // The memory grows with what is there, not with what the file claims.
        let result = self.inner.by_ref().take(length).read_to_end(bytes);
        self.position += bytes.len() as u64;
        result.map(|_| ())
    }
}
