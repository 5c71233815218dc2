//! The files that processes have mapped, held open: a file that was deleted or replaced, or whose process has ended,
//! can then still be asked for names.
//!
//! A file is known by what it is, not by its path, so all processes of a program share what is known about it.

use std::{collections::HashMap, fs::File, os::fd::AsRawFd, path::PathBuf};

use tracer_common::Pid;

use super::engine::{Engine, Frames};
use crate::target::mapping::{FileKey, Mapping, open};

struct Held {
    file: File,
    /// Cleared when its debug information turned out to be unusable.
    debug: bool,
    /// No ELF file, or one that cannot be read.
    useless: bool,
    /// When it was last asked for, in `Files::clock`.
    used: u64,
}

/// Open files, never more than a cap; what was not asked for longest is given back first.
pub(super) struct Files {
    held: HashMap<FileKey, Held>,
    cap: usize,
    clock: u64,
}

impl Files {
    /// Holds at most `cap` files. Each costs a descriptor here and one or two in the engine.
    pub(super) fn new(cap: usize) -> Self {
        Self {
            held: HashMap::new(),
            cap: cap.max(1),
            clock: 0,
        }
    }

    /// Makes sure that the file behind `mapping` is open, and says which it is. `live`: the process is running.
    pub(super) fn hold(
        &mut self,
        engine: &mut Engine,
        pid: Pid,
        mapping: &Mapping,
        target_path: &str,
        live: bool,
    ) -> Option<FileKey> {
        if let Some(key) = mapping.key.filter(|key| self.held.contains_key(key)) {
            return Some(key);
        }
        let (file, key) = open(pid, mapping, target_path, live)?;
        self.clock += 1;
        if let Some(known) = self.held.get_mut(&key) {
            known.used = self.clock;
            return Some(key);
        }
        while self.held.len() >= self.cap {
            let Some(oldest) = self.oldest() else { break };
            if let Some(held) = self.held.remove(&oldest) {
                engine.forget(own_path(&held.file));
            }
        }
        self.held.insert(
            key,
            Held {
                file,
                debug: true,
                useless: false,
                used: self.clock,
            },
        );
        Some(key)
    }

    fn oldest(&self) -> Option<FileKey> {
        let oldest = self.held.iter().min_by_key(|(_, held)| held.used)?;
        Some(*oldest.0)
    }

    /// Frames of places in a file that is held, one for each file offset; all empty when it can give none.
    pub(super) fn frames(
        &mut self,
        engine: &mut Engine,
        key: FileKey,
        offsets: &[u64],
    ) -> Option<Vec<Frames>> {
        self.clock += 1;
        let held = self.held.get_mut(&key)?;
        held.used = self.clock;
        if !held.useless {
            let frames = engine.file(&own_path(&held.file), &mut held.debug, offsets);
            if frames.is_some() {
                return frames;
            }
            held.useless = true;
        }
        Some(vec![Frames::default(); offsets.len()])
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }
}

/// A path that leads to an open file whatever became of its name, for code that opens by path. It also keeps debug
/// links working: resolved, it is the path that the file has for this process.
fn own_path(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}
