//! How large the heaps of V8 are, and what each full collection left.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque, btree_map::Entry},
};

use tracer_common::Pid;

use super::snapshot::{AfterFullView, HeapSpaceView, HeapView};
use crate::record::{HeapMeta, HeapSpaceMeta, HeapsMeta};

/// Processes kept.
const PROCESSES: usize = 4_096;
/// Heaps kept of one process, and in all.
const HEAPS: usize = 256;
const ALL_HEAPS: usize = 4_096;
/// Heaps kept of processes that ended.
const ENDED: usize = 64;
/// Spaces kept of a heap: V8 14 has 13.
const SPACES: usize = 32;

/// The heaps of all targets.
#[derive(Debug, Default)]
pub(super) struct Heaps {
    /// What was last read of each process.
    of: BTreeMap<Pid, HeapsMeta>,
    /// Of each heap what full collections left, by its isolate.
    full: BTreeMap<(Pid, u64), Full>,
    /// As they were when their processes ended, the last ones.
    ended: VecDeque<HeapView>,
    was_read: bool,
}

/// What full collections left in one heap.
#[derive(Debug, Default)]
struct Full {
    /// How many there were when it was last read.
    count: u64,
    last: Last,
    levels: VecDeque<AfterFullView>,
}

/// What is known of the last full collection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Last {
    /// It was before anybody looked.
    #[default]
    Before,
    /// It is not known yet what it left.
    Due,
    /// The last level is what it left, as it was at the first look: perhaps in the middle of it.
    Met,
    /// The same, as it was later. It becomes less while V8 sweeps.
    Settled,
}

impl Heaps {
    pub(super) fn read(&mut self, meta: &HeapsMeta) {
        self.was_read = true;
        let mut meta = meta.clone();
        meta.heaps.truncate(HEAPS);
        for heap in &mut meta.heaps {
            heap.spaces.truncate(SPACES);
        }
        if !self.of.contains_key(&meta.pid) && self.of.len() >= PROCESSES {
            return;
        }
        if meta.why.is_empty() {
            // A thread that ended takes its heap with it.
            self.full.retain(|(pid, isolate), _| {
                let mut heaps = meta.heaps.iter();
                *pid != meta.pid || heaps.any(|heap| heap.isolate == *isolate)
            });
        }
        for heap in &meta.heaps {
            self.collected(&meta, heap);
        }
        self.of.insert(meta.pid, meta);
    }

    /// Whether a heap was collected since it was last read, and what that left.
    fn collected(&mut self, meta: &HeapsMeta, heap: &HeapMeta) {
        let Some(count) = heap.full_collections else {
            return;
        };
        let key = (meta.pid, heap.isolate);
        let is_full = self.full.len() >= ALL_HEAPS;
        let full = match self.full.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(_) if is_full => return,
            Entry::Vacant(new) => new.insert(Full {
                count,
                ..Full::default()
            }),
        };
        if count != full.count {
            (full.count, full.last) = (count, Last::Due);
        }
        let Some(used_bytes) = heap.after_full_bytes else {
            return;
        };
        match (full.last, full.levels.back_mut()) {
            (Last::Before, _) => {}
            (Last::Due, _) => {
                if full.levels.len() >= HeapView::LEVELS {
                    full.levels.pop_front();
                }
                full.levels.push_back(AfterFullView {
                    at: meta.at,
                    used_bytes,
                });
                full.last = Last::Met;
            }
            (Last::Met, Some(level)) => {
                level.used_bytes = used_bytes;
                full.last = Last::Settled;
            }
            (Last::Settled, Some(level)) => {
                level.used_bytes = level.used_bytes.min(used_bytes);
            }
            (Last::Met | Last::Settled, None) => {}
        }
    }

    /// A process ended or runs another program.
    pub(super) fn left(&mut self, pid: Pid) {
        let heaps = self.of.remove(&pid).unwrap_or_default().heaps;
        for heap in heaps {
            if self.ended.len() >= ENDED {
                self.ended.pop_front();
            }
            let view = HeapView {
                has_ended: true,
                ..self.view(pid, &heap)
            };
            self.ended.push_back(view);
        }
        self.full.retain(|(of, _), _| *of != pid);
    }

    /// Why it is not known of all processes; `None` when it is.
    pub(super) fn unknown(&self) -> Option<String> {
        let mut whys = self.of.values().map(|meta| meta.why.as_str());
        let why = whys.find(|why| !why.is_empty());
        let nobody = "they have not been read yet, or the version that recorded did not";
        let why = why.or((!self.was_read).then_some(nobody));
        why.map(str::to_owned)
    }

    pub(super) fn views(&self) -> Vec<HeapView> {
        let heaps = self.of.values();
        let heaps = heaps.flat_map(|meta| meta.heaps.iter().map(|heap| (meta.pid, heap)));
        let mut views: Vec<HeapView> = heaps.map(|(pid, heap)| self.view(pid, heap)).collect();
        views.sort_by_key(|view| (view.pid, Reverse(view.used_bytes), view.tid));
        views.extend(self.ended.iter().rev().cloned());
        views
    }

    fn view(&self, pid: Pid, heap: &HeapMeta) -> HeapView {
        let sum = |of: fn(&HeapSpaceMeta) -> u64| {
            let sizes = heap.spaces.iter().map(of);
            sizes.fold(0, u64::saturating_add)
        };
        let full = self.full.get(&(pid, heap.isolate));
        let spaces = heap.spaces.iter();
        let spaces = spaces.filter(|space| space.committed_bytes > 0);
        HeapView {
            pid,
            tid: heap.tid,
            has_ended: false,
            used_bytes: sum(|space| space.used_bytes),
            committed_bytes: sum(|space| space.committed_bytes),
            external_bytes: heap.external_bytes,
            array_buffer_bytes: heap.array_buffer_bytes,
            limit_bytes: heap.limit_bytes,
            spaces: spaces
                .map(|space| HeapSpaceView {
                    name: space.name.clone(),
                    used_bytes: space.used_bytes,
                    committed_bytes: space.committed_bytes,
                })
                .collect(),
            full_collections: heap.full_collections,
            after_full: full.map_or_else(Vec::new, |full| full.levels.iter().copied().collect()),
        }
    }
}
