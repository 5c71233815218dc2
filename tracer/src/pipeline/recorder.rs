//! The recorder's thread: takes records in batches, writes them, and makes them safe each second.

use std::{
    fs::OpenOptions,
    path::PathBuf,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    thread::JoinHandle,
    time::Duration,
};

use crate::{
    record::Record,
    recording::{RecordingError, Writer},
};

/// Batches in the queue before records are kept back.
const QUEUE: usize = 64;
/// Records kept back before they are dropped and counted: some tens of MiB.
const KEPT_BACK: usize = 500_000;
/// What was written is readable after at most this time, `kill -9` included.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// A file that will hold a recording. Claimed before attaching, because an output that cannot be written must not
/// cost the target anything; emptied only after, because a session that was refused must not cost an older recording.
pub(super) struct Output {
    path: PathBuf,
    /// It was not there before.
    is_new: bool,
}

impl Output {
    /// Makes sure that the file can be written, without changing it.
    pub(super) fn claim(path: PathBuf) -> Result<Self, RecordingError> {
        let is_new = !path.exists();
        match OpenOptions::new().append(true).create(true).open(&path) {
            Ok(_) => Ok(Self { path, is_new }),
            Err(source) => Err(RecordingError::Create { path, source }),
        }
    }

    /// Begins the recording.
    pub(super) fn create(mut self) -> Result<Writer, RecordingError> {
        self.is_new = false;
        Writer::create(&self.path)
    }
}

impl Drop for Output {
    /// Leaves no empty file of a session that never began.
    fn drop(&mut self) {
        if self.is_new {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The sending end.
pub(super) struct Recorder {
    queue: SyncSender<Vec<Record>>,
    kept_back: Vec<Record>,
    dropped: u64,
    thread: JoinHandle<Result<u64, RecordingError>>,
}

impl Recorder {
    /// Starts the thread that writes to `writer`.
    pub(super) fn start(mut writer: Writer) -> std::io::Result<Self> {
        let (queue, batches) = sync_channel(QUEUE);
        let write = move || {
            write_all(&mut writer, &batches)?;
            let file = writer.finish()?;
            Ok(file.metadata().map_or(0, |meta| meta.len()))
        };
        let thread = std::thread::Builder::new()
            .name("tracer-recorder".into())
            .spawn(write)?;
        Ok(Self {
            queue,
            kept_back: Vec::new(),
            dropped: 0,
            thread,
        })
    }

    /// Hands over records. Never waits. False when the recorder has ended, which it does only on an error.
    pub(super) fn push(&mut self, records: &[Record]) -> bool {
        if self.kept_back.len() + records.len() > KEPT_BACK {
            self.dropped += records.len() as u64;
        } else {
            self.kept_back.extend_from_slice(records);
        }
        match self.queue.try_send(std::mem::take(&mut self.kept_back)) {
            Ok(()) => true,
            Err(TrySendError::Full(records)) => {
                self.kept_back = records;
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        }
    }

    /// Records dropped so far because the recorder could not keep up.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Writes what is left, closes the file, and says how large it is in bytes.
    pub(super) fn finish(self) -> Result<u64, RecordingError> {
        let Self {
            queue,
            kept_back,
            thread,
            ..
        } = self;
        // A recorder that ended early says why below.
        let _ = queue.send(kept_back);
        drop(queue);
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn write_all(writer: &mut Writer, batches: &Receiver<Vec<Record>>) -> Result<(), RecordingError> {
    loop {
        match batches.recv_timeout(FLUSH_EVERY) {
            Ok(records) => {
                let mut ticked = false;
                for record in &records {
                    writer.write(record)?;
                    ticked |= matches!(record, Record::Tick(_));
                }
                if ticked {
                    writer.flush()?;
                }
            }
            Err(RecvTimeoutError::Timeout) => writer.flush()?,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use rustix::pipe::pipe;
    use tracer_common::Nanos;

    use super::*;

    #[test]
    fn a_disk_that_hangs_stops_nobody_and_what_is_dropped_is_counted() {
        // Nobody reads this pipe: the recorder's thread hangs in its write.
        let (reader, writer) = pipe().unwrap();
        let writer = Writer::new(File::from(writer), "pipe").unwrap();
        let mut recorder = Recorder::start(writer).unwrap();
        let mut clock = 0u64;
        let mut batch = || {
            (0..5_000)
                .map(|_| {
                    // Times that do not compress.
                    clock = clock
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    Record::Tick(Nanos(clock >> 8))
                })
                .collect::<Vec<_>>()
        };
        let mut pushed = 0;
        while recorder.dropped() == 0 {
            assert!(recorder.push(&batch()), "it has not ended");
            pushed += 5_000;
            assert!(pushed < 10_000_000, "nothing was dropped");
        }
        assert_eq!(recorder.dropped(), 5_000);
        drop(reader);
        assert!(matches!(
            recorder.finish(),
            Err(RecordingError::Write { .. })
        ));
    }
}
