//! The file format of a recording, and nothing else: [`Writer`] takes [`Record`](crate::record::Record)s,
//! [`Reader`] gives the same records back in the same order. It knows no model, no clock and no thread.
//!
//! A recording is an MCAP file (<https://mcap.dev/spec>) of zstd chunks. A run of records that belong on the
//! same [`Channel`](schema::Channel) is one message, in columns; `recording.proto` says what the columns hold
//! and is in the file as its schema. The chunk is the unit of loss: [`Writer::flush`] closes one, so that a
//! killed recorder loses what came after its last flush, and damage costs the chunk it is in. Samples say what
//! changed since the sample before, so damage also costs those that follow a lost one, for a minute at most.
//!
//! What the format promises a reader of format [`FORMAT`], in addition to the MCAP specification:
//! - the profile is `tracer`, and the record after the header is the metadata `tracer.recording` with `format`;
//! - channel numbers are those of `recording.proto`, so losing the chunk that declares them loses nothing else;
//! - every chunk is zstd, with its CRC, and its times, indexes and the summary section may be missing: an index
//!   grows with every flush, and a recorder that runs for a week must not;
//! - the limits below.

mod container;
mod convert;
mod error;
mod reader;
mod schema;
mod writer;

pub use error::RecordingError;
pub use reader::{Outcome, Reader};
pub use writer::Writer;

/// The version of the format this version writes, and the newest it reads.
pub const FORMAT: u32 = 1;

/// A batch is closed when it has this many records…
const BATCH_RECORDS: usize = 8192;
/// …or may take this many bytes.
const BATCH_BYTES: usize = 1 << 20;
/// A chunk is closed when it has this many bytes before compression.
const CHUNK_BYTES: usize = 1 << 20;

/// Samples build on earlier ones for this many chunks at most; with a flush every second, for a minute.
const GROUP_CHUNKS: u64 = 60;

/// The largest record, encoded: above the 2 MiB Linux gives a command line by default.
const MAX_RECORD_BYTES: usize = 3 << 20;
/// The most records a reader takes out of one message.
const MAX_MESSAGE_RECORDS: usize = 1 << 16;
/// The longest message a reader decodes; columns take up to eight times that in memory.
const MAX_MESSAGE_BYTES: usize = 4 << 20;
/// The largest chunk a reader reads or decompresses.
const MAX_CHUNK_BYTES: u64 = 64 << 20;

const _: () = assert!(BATCH_BYTES + MAX_RECORD_BYTES <= MAX_MESSAGE_BYTES);
const _: () = assert!(BATCH_RECORDS <= MAX_MESSAGE_RECORDS);
