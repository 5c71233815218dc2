//! The channels of a recording and their messages, as `recording.proto` describes them.

use crate::record::Record;

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated; recording.proto has the comments, and not everything in it needs one"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/tracer.recording.v1.rs"));
}

pub(crate) use generated::*;

/// `recording.proto`, compiled.
pub(crate) const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/recording.fds"));

/// Where a kind of records is in the file. The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    Events = 1,
    Samples = 2,
    Meta = 3,
    Losses = 4,
    Ticks = 5,
}

impl Channel {
    pub(crate) const ALL: [Self; 5] = [
        Self::Events,
        Self::Samples,
        Self::Meta,
        Self::Losses,
        Self::Ticks,
    ];

    /// The channel a record belongs on.
    pub(crate) fn of(record: &Record) -> Self {
        match record {
            Record::Event(..) => Self::Events,
            Record::Sample(_) => Self::Samples,
            Record::Meta(_) => Self::Meta,
            Record::Loss(_) => Self::Losses,
            Record::Tick(_) => Self::Ticks,
        }
    }

    pub(crate) fn number(self) -> u16 {
        self as u16
    }

    pub(crate) fn from_number(number: u16) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|channel| channel.number() == number)
    }

    pub(crate) fn topic(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Samples => "samples",
            Self::Meta => "meta",
            Self::Losses => "losses",
            Self::Ticks => "ticks",
        }
    }

    /// The full name of the channel's message.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::Events => "tracer.recording.v1.Events",
            Self::Samples => "tracer.recording.v1.Samples",
            Self::Meta => "tracer.recording.v1.Meta",
            Self::Losses => "tracer.recording.v1.Losses",
            Self::Ticks => "tracer.recording.v1.Ticks",
        }
    }
}
