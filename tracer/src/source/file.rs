//! Records from a recording, in steps that each end with a tick: what a report folds and a replay plays.

use std::path::Path;

use tracer_common::Nanos;

use crate::{
    record::Record,
    recording::{Outcome, Reader, RecordingError},
};

/// A recording, step by step.
pub struct Steps {
    reader: Reader,
    /// Records read and not yet given out.
    pending: std::vec::IntoIter<Record>,
}

/// What happened up to a tick.
pub struct Step {
    /// In order; the tick is the last of them, but at the end of a recording that was cut.
    pub records: Vec<Record>,
    /// The tick; `None` when the recording ends without one.
    pub tick: Option<Nanos>,
}

impl Steps {
    /// Opens the recording at `path`.
    ///
    /// # Errors
    /// When it is not one, or nothing of it can be read.
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        Ok(Self {
            reader: Reader::open(path)?,
            pending: Vec::new().into_iter(),
        })
    }

    /// The next step, `None` at the end.
    ///
    /// # Errors
    /// When the file cannot be read any further.
    pub fn next_step(&mut self) -> Result<Option<Step>, RecordingError> {
        let mut records = Vec::new();
        loop {
            for record in self.pending.by_ref() {
                let tick = if let Record::Tick(at) = record {
                    Some(at)
                } else {
                    None
                };
                records.push(record);
                if tick.is_some() {
                    return Ok(Some(Step { records, tick }));
                }
            }
            match self.reader.next_batch()? {
                Some(batch) => self.pending = batch.into_iter(),
                None if records.is_empty() => return Ok(None),
                None => {
                    return Ok(Some(Step {
                        records,
                        tick: None,
                    }));
                }
            }
        }
    }

    /// What became of the recording; known after the last step.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.reader.outcome()
    }
}
