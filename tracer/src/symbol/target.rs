//! One process during one question: its mappings, and the files behind them.

use std::collections::{HashMap, HashSet};

use tracer_common::Pid;

use super::{
    engine::{Engine, Frames},
    files::Files,
    maps::Maps,
};
use crate::target::mapping::FileKey;

pub(super) struct Target {
    pub(super) pid: Pid,
    pub(super) maps: Maps,
    /// It is running, so its directory in `/proc` is about it.
    pub(super) live: bool,
    /// A mapping of each file that was met.
    pub(super) mapping_of: HashMap<FileKey, usize>,
    /// Mappings whose file cannot be opened, tried once per question.
    pub(super) without_file: HashSet<usize>,
}

impl Target {
    /// Which file is behind a mapping. It is opened only when that is not known yet.
    pub(super) fn key(
        &mut self,
        files: &mut Files,
        engine: &mut Engine,
        index: usize,
    ) -> Option<FileKey> {
        let key = match self.maps.mappings[index].key {
            Some(key) => Some(key),
            None if self.without_file.contains(&index) => None,
            None => self.hold(files, engine, index),
        };
        if let Some(key) = key {
            self.mapping_of.insert(key, index);
        } else {
            self.without_file.insert(index);
        }
        key
    }

    /// Opens the file behind a mapping if it is not open.
    pub(super) fn hold(
        &mut self,
        files: &mut Files,
        engine: &mut Engine,
        index: usize,
    ) -> Option<FileKey> {
        let mapping = &self.maps.mappings[index];
        if !mapping.path.starts_with('/') {
            return None;
        }
        let target_path = self.maps.seen_by_target(&mapping.path);
        let key = files.hold(engine, self.pid, mapping, target_path, self.live)?;
        self.maps.mappings[index].key = Some(key);
        Some(key)
    }

    /// Frames of places in a file of this process, one for each file offset. `None` when it was given back and cannot
    /// be opened again, or is not what it was.
    pub(super) fn frames(
        &mut self,
        files: &mut Files,
        engine: &mut Engine,
        key: FileKey,
        offsets: &[u64],
    ) -> Option<Vec<Frames>> {
        let index = *self.mapping_of.get(&key)?;
        if self.hold(files, engine, index)? != key {
            return None;
        }
        files.frames(engine, key, offsets)
    }
}
