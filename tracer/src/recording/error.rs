//! What can be wrong with a recording as a whole. Damage inside one is not an error: it is skipped and counted.

use std::{io, path::PathBuf};

use super::FORMAT;

/// Why a recording cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file cannot be created.
    #[error("cannot create recording {}", path.display())]
    Create {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be written any further; it holds what was flushed before.
    #[error("cannot write recording {}", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A record is larger than the format allows. It was not written; the recording can go on.
    #[error("a record of {bytes} bytes is too large for recording {}", path.display())]
    RecordTooLarge {
        /// The recording.
        path: PathBuf,
        /// The record's size.
        bytes: usize,
    },
    /// There is no such file.
    #[error("no recording at {}", path.display())]
    NotFound {
        /// Where.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("cannot read recording {}", path.display())]
    Read {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file has no bytes.
    #[error("recording {} is empty", path.display())]
    Empty {
        /// Where.
        path: PathBuf,
    },
    /// The file is something else.
    #[error("{} is not a recording", path.display())]
    NotARecording {
        /// Where.
        path: PathBuf,
    },
    /// The file has the right container, made by another tool.
    #[error("{} is not a recording of tracer but an MCAP file with the profile {profile:?}", path.display())]
    OtherTool {
        /// Where.
        path: PathBuf,
        /// What kind of MCAP file it says it is.
        profile: String,
    },
    /// A newer version wrote the file.
    #[error("recording {} has format {found}, and this version reads formats up to {FORMAT}", path.display())]
    UnsupportedFormat {
        /// Where.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The first part of the file, which says how to read the rest, is damaged.
    #[error("the header of recording {} is damaged", path.display())]
    DamagedHeader {
        /// Where.
        path: PathBuf,
    },
    /// The file ends before its first record.
    #[error("recording {} was cut before anything could be read", path.display())]
    Cut {
        /// Where.
        path: PathBuf,
    },
}
