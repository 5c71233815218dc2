//! Writes a recording. Records gather in a batch, batches in a chunk; a chunk is compressed and written at once.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::{
    CHUNK_BYTES, GROUP_CHUNKS, MAX_RECORD_BYTES,
    container::{self, MessageHead},
    convert::{self, Encoder},
    error::RecordingError,
};
use crate::record::Record;

/// The fastest level: measured on batches in columns, the next ones cost more time than they save space.
const ZSTD_LEVEL: i32 = 1;

/// A recording being written. Memory is bounded, however long it runs.
///
/// Without [`Writer::finish`], a reader calls the recording cut; it loses what came after the last
/// [`Writer::flush`] and was not yet a full chunk.
pub struct Writer<W: Write = File> {
    sink: W,
    path: PathBuf,
    encoder: Encoder,
    /// Messages of the next chunk, not compressed.
    messages: Vec<u8>,
    message_times: Option<(u64, u64)>,
    compressor: zstd::bulk::Compressor<'static>,
    compressed: Vec<u8>,
    chunk: Vec<u8>,
    /// Chunks so far.
    chunks: u64,
    /// Messages so far.
    sequence: u32,
    /// The last time a record had.
    last: u64,
    bytes_written: u64,
    /// Why nothing can be written any more.
    failed: Option<io::ErrorKind>,
}

impl Writer<File> {
    /// Creates a recording at `path`, or empties the file that is there.
    ///
    /// # Errors
    /// When the file cannot be created or its first bytes cannot be written.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, RecordingError> {
        let path = path.as_ref();
        let file = File::create(path).map_err(|source| RecordingError::Create {
            path: path.to_owned(),
            source,
        })?;
        Self::new(file, path)
    }
}

impl<W: Write> Writer<W> {
    /// Begins a recording on `sink`. Errors call it `path`. Every write is a whole chunk, so the sink
    /// needs no buffer of its own.
    ///
    /// # Errors
    /// When the first bytes cannot be written.
    pub fn new(sink: W, path: impl Into<PathBuf>) -> Result<Self, RecordingError> {
        let path = path.into();
        let compressor = match zstd::bulk::Compressor::new(ZSTD_LEVEL) {
            Ok(compressor) => compressor,
            Err(source) => return Err(RecordingError::Create { path, source }),
        };
        let mut writer = Self {
            sink,
            path,
            encoder: Encoder::default(),
            messages: Vec::new(),
            message_times: None,
            compressor,
            compressed: Vec::new(),
            chunk: Vec::new(),
            chunks: 0,
            sequence: 0,
            last: 0,
            bytes_written: 0,
            failed: None,
        };
        let preamble = container::preamble(|declarations| writer.compressor.compress(declarations));
        let written = preamble.and_then(|preamble| writer.put(&preamble));
        writer.checked(written)?;
        Ok(writer)
    }

    /// Appends a record. It is in the file after the next [`Writer::flush`], or earlier.
    ///
    /// The kind in an event's header is not stored: it is the event's.
    ///
    /// # Errors
    /// When the record is too large for the format, which harms nothing else; or when a chunk cannot be written,
    /// after which nothing more can be.
    pub fn write(&mut self, record: &Record) -> Result<(), RecordingError> {
        self.usable()?;
        let size = convert::size(record);
        if size > MAX_RECORD_BYTES {
            return Err(RecordingError::RecordTooLarge {
                path: self.path.clone(),
                bytes: size,
            });
        }
        if !self.encoder.takes(record, size) {
            self.close_batch();
            if self.messages.len() >= CHUNK_BYTES {
                self.close_chunk()?;
            }
        }
        self.encoder.push(record, size);
        Ok(())
    }

    /// Hands everything written so far to the operating system: from then on a reader finds it, whatever
    /// happens to this process.
    ///
    /// # Errors
    /// When it cannot be written; nothing more can be then.
    pub fn flush(&mut self) -> Result<(), RecordingError> {
        self.usable()?;
        self.close_batch();
        self.close_chunk()?;
        let flushed = self.sink.flush();
        self.checked(flushed)
    }

    /// Bytes of the file so far, without those still to be flushed.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.bytes_written
    }

    /// Writes what is left and the closing part that makes the recording complete. Gives the sink back.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> Result<W, RecordingError> {
        self.flush()?;
        let written = self
            .put(&container::ending())
            .and_then(|()| self.sink.flush());
        self.checked(written)?;
        Ok(self.sink)
    }

    /// Makes the batch a message of the next chunk.
    fn close_batch(&mut self) {
        let batch = self.encoder.take();
        let Some(channel) = batch.channel() else {
            return;
        };
        let (log_time, publish_time) = batch
            .times()
            .map_or((self.last, self.last), |(first, last)| (first.0, last.0));
        self.sequence = self.sequence.wrapping_add(1);
        self.last = publish_time;
        let (start, end) = self.message_times.unwrap_or((log_time, log_time));
        self.message_times = Some((start.min(log_time), end.max(log_time)));
        let head = MessageHead {
            channel: channel.number(),
            sequence: self.sequence,
            log_time,
            publish_time,
        };
        container::put_message(&mut self.messages, head, |out| batch.encode(out));
    }

    /// Compresses the messages so far and writes them.
    fn close_chunk(&mut self) -> Result<(), RecordingError> {
        if self.messages.is_empty() {
            return Ok(());
        }
        let written = self.write_chunk();
        self.messages.clear();
        self.message_times = None;
        self.chunks += 1;
        if self.chunks.is_multiple_of(GROUP_CHUNKS) {
            self.encoder.restart();
        }
        self.checked(written)
    }

    fn write_chunk(&mut self) -> io::Result<()> {
        self.compressed.clear();
        self.compressed
            .reserve(zstd::zstd_safe::compress_bound(self.messages.len()));
        self.compressor
            .compress_to_buffer(&self.messages, &mut self.compressed)?;
        let mut chunk = std::mem::take(&mut self.chunk);
        chunk.clear();
        let times = self.message_times.unwrap_or_default();
        container::put_chunk(&mut chunk, times, &self.messages, &self.compressed);
        let written = self.put(&chunk);
        self.chunk = chunk;
        written
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sink.write_all(bytes)?;
        self.bytes_written += bytes.len() as u64;
        Ok(())
    }

    /// After a part of a chunk was written, what follows it would be read as a part of it.
    fn usable(&self) -> Result<(), RecordingError> {
        match self.failed {
            None => Ok(()),
            Some(kind) => Err(RecordingError::Write {
                path: self.path.clone(),
                source: kind.into(),
            }),
        }
    }

    fn checked(&mut self, written: io::Result<()>) -> Result<(), RecordingError> {
        written.map_err(|source| {
            self.failed = Some(source.kind());
            RecordingError::Write {
                path: self.path.clone(),
                source,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::Reader;

    #[test]
    fn writer_and_reader_may_live_on_any_thread() {
        fn movable<T: Send + 'static>() {}
        movable::<Writer>();
        movable::<Reader>();
    }
}
