//! What Node has in flight, by type.

use std::collections::BTreeMap;

use tracer_common::{Nanos, Pid};

use super::{level::Level, snapshot::LevelView};
use crate::record::InFlightMeta;

/// Types kept: Node has some 70 of both together.
const KINDS: usize = 512;
/// Places of one process kept.
const PLACES: usize = 64;
/// Processes kept.
const PROCESSES: usize = 4_096;

/// Requests and handles of all targets together.
#[derive(Debug, Default)]
pub(super) struct Resources {
    /// What was last read of each process.
    of: BTreeMap<Pid, InFlightMeta>,
    /// By what they are, and their type.
    levels: BTreeMap<(&'static str, String), Level>,
    timers: Level,
    immediates: Level,
    /// Async functions that wait, as they were last read of each process, and whether that was since the last tick.
    awaits: BTreeMap<Pid, (u64, Vec<(String, u64)>)>,
    awaits_are_new: bool,
    promises: Level,
    await_levels: BTreeMap<String, Level>,
    /// For how long these were known.
    awaits_known: Nanos,
    was_read: bool,
    /// For how long it was known.
    known: Nanos,
}

impl Resources {
    pub(super) fn read(&mut self, meta: &InFlightMeta) {
        self.was_read = true;
        if let Some(count) = meta.awaits
            && (self.awaits.len() < PROCESSES || self.awaits.contains_key(&meta.pid))
        {
            self.awaits_are_new = true;
            let places = meta.await_places.iter().take(PLACES).cloned().collect();
            self.awaits.insert(meta.pid, (count, places));
        }
        if self.of.len() < PROCESSES || self.of.contains_key(&meta.pid) {
            self.of.insert(meta.pid, meta.clone());
        }
    }

    /// A process ended or runs another program.
    pub(super) fn left(&mut self, pid: Pid) {
        self.of.remove(&pid);
        self.awaits.remove(&pid);
    }

    /// Why it is not known of all processes; `None` when it is.
    pub(super) fn unknown(&self) -> Option<String> {
        let mut whys = self.of.values().map(|meta| meta.why.as_str());
        let why = whys.find(|why| !why.is_empty());
        let nobody = "it has not been read yet, or the version that recorded did not";
        let why = why.or((!self.was_read).then_some(nobody));
        why.map(str::to_owned)
    }

    /// A window of this length ends, in which async functions may have been read.
    fn close_awaits(&mut self, window: Nanos) {
        if !std::mem::take(&mut self.awaits_are_new) {
            return;
        }
        let counts = self.awaits.values().map(|(count, _)| *count);
        let all = counts.fold(0u64, u64::saturating_add);
        self.promises.close(Some(all), window);
        let mut now: BTreeMap<&str, u64> = BTreeMap::new();
        for (place, count) in self.awaits.values().flat_map(|(_, places)| places) {
            let sum = now.entry(place).or_default();
            *sum = sum.saturating_add(*count);
        }
        for &place in now.keys() {
            if self.await_levels.len() < KINDS && !self.await_levels.contains_key(place) {
                let level = Level::none_for(self.awaits_known);
                self.await_levels.insert(place.to_owned(), level);
            }
        }
        for (place, level) in &mut self.await_levels {
            let count = now.get(place.as_str()).copied().unwrap_or(0);
            level.close(Some(count), window);
        }
        self.awaits_known = self.awaits_known.plus(window);
    }

    /// A window of this length ends. Where one process is not known the sum is not, and stays as it was.
    pub(super) fn close(&mut self, window: Nanos) {
        self.close_awaits(window);
        if self.unknown().is_some() {
            return;
        }
        let mut now: BTreeMap<(&'static str, &str), u64> = BTreeMap::new();
        for meta in self.of.values() {
            let lists = [
                (LevelView::REQUESTS, &meta.requests),
                (LevelView::HANDLES, &meta.handles),
            ];
            for (what, counts) in lists {
                for (kind, count) in counts {
                    let sum = now.entry((what, kind)).or_default();
                    *sum = sum.saturating_add(*count);
                }
            }
        }
        for &(what, kind) in now.keys() {
            let key = (what, kind.to_owned());
            if self.levels.len() < KINDS && !self.levels.contains_key(&key) {
                self.levels.insert(key, Level::none_for(self.known));
            }
        }
        for ((what, kind), level) in &mut self.levels {
            let count = now.get(&(*what, kind.as_str())).copied().unwrap_or(0);
            level.close(Some(count), window);
        }
        let sum = |of: fn(&InFlightMeta) -> Option<u64>| {
            let mut counts = self.of.values().map(of);
            counts.try_fold(0u64, |sum, count| Some(sum.saturating_add(count?)))
        };
        let sums = [sum(|meta| meta.timers), sum(|meta| meta.immediates)];
        let is_over = self.of.is_empty();
        for (level, sum) in [&mut self.timers, &mut self.immediates]
            .into_iter()
            .zip(sums)
        {
            // Nobody is left to have any, whose number was never known.
            level.close(sum.filter(|_| !is_over || level.is_known()), window);
        }
        self.known = self.known.plus(window);
    }

    /// All types that were ever there.
    pub(super) fn views(&self) -> impl Iterator<Item = LevelView> {
        let whole = [
            self.timers.view(LevelView::TIMERS),
            self.immediates.view(LevelView::IMMEDIATES),
            self.promises.view(LevelView::PROMISES),
        ];
        let awaits = self.await_levels.iter().filter_map(|(place, level)| {
            Some(LevelView {
                kind: Some(place.clone()),
                ..level.view(LevelView::AWAITS)?
            })
        });
        let levels = self.levels.iter();
        let levels = levels.filter_map(|((what, kind), level)| {
            let kind = Some(kind.clone());
            Some(LevelView {
                kind,
                ..level.view(what)?
            })
        });
        whole.into_iter().flatten().chain(levels).chain(awaits)
    }
}
