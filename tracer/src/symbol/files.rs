//! The files that processes have mapped, held open: a file that was deleted or replaced, or whose process has ended,
//! can then still be asked for names.
//!
//! A file is known by what it is, not by its path, so all processes of a program share what is known about it.

use std::{
    collections::HashMap,
    fs::{File, Metadata, OpenOptions},
    os::{
        fd::AsRawFd,
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use tracer_common::Pid;

use super::{
    engine::{Engine, Frames},
    maps::Mapping,
};

/// Which file, and which content of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct FileKey {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
}

impl FileKey {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

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

/// How far a path is trusted to lead to the mapped file.
#[derive(Clone, Copy)]
enum Trust {
    /// It is the mapping.
    Full,
    /// It is in the target's own file system: the inode has to be the mapped one. The device cannot be compared,
    /// because `/proc/PID/maps` and `stat` tell different ones on btrfs.
    Inode,
    /// It may be anywhere: device and inode have to be the mapped ones.
    Device,
}

/// Opens the file behind a mapping by the first of these that leads to it:
/// - `map_files`, which is the mapping itself, deleted or not, but needs `CAP_SYS_ADMIN` or `CAP_CHECKPOINT_RESTORE`:
///   <https://github.com/torvalds/linux/blob/v6.12/fs/proc/base.c> (`proc_map_files_get_link`)
/// - `exe`, which also is not by name;
/// - the path in the target's root directory, and at last in ours.
fn open(pid: Pid, mapping: &Mapping, target_path: &str, live: bool) -> Option<(File, FileKey)> {
    let process = format!("/proc/{}", pid.0);
    let (start, end) = (mapping.start, mapping.end);
    let of_process = [
        (
            format!("{process}/map_files/{start:x}-{end:x}"),
            Trust::Full,
        ),
        (format!("{process}/exe"), Trust::Inode),
        (format!("{process}/root{target_path}"), Trust::Inode),
    ];
    of_process
        .iter()
        .filter(|_| live)
        .map(|(path, trust)| (Path::new(path), *trust))
        .chain([(Path::new(&*mapping.path), Trust::Device)])
        .find_map(|(path, trust)| open_if(path, |metadata| fits(metadata, mapping, trust)))
}

/// What [`open`] finds where `map_files` may not be read.
#[cfg(test)]
pub(super) fn open_without_map_files(
    pid: Pid,
    mapping: &Mapping,
    target_path: &str,
) -> Option<FileKey> {
    // No mapping is like this, so there is no such entry.
    let (start, end) = (0, 0);
    let mapping = Mapping {
        start,
        end,
        ..mapping.clone()
    };
    Some(open(pid, &mapping, target_path, true)?.1)
}

fn fits(metadata: &Metadata, mapping: &Mapping, trust: Trust) -> bool {
    match trust {
        Trust::Full => true,
        Trust::Inode => metadata.ino() == mapping.inode,
        Trust::Device => metadata.ino() == mapping.inode && metadata.dev() == mapping.device,
    }
}

/// Opens a regular file that `fits`. Anything else is not even opened: a device may do something, and a pipe would
/// wait (should one be put in the file's place in between, not waiting is asked for too).
fn open_if(path: &Path, fits: impl Fn(&Metadata) -> bool) -> Option<(File, FileKey)> {
    let regular = |metadata: &Metadata| metadata.is_file() && fits(metadata);
    path.metadata().ok().filter(regular)?;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .ok()?;
    let metadata = file.metadata().ok().filter(regular)?;
    Some((file, FileKey::of(&metadata)))
}
