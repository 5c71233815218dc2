//! What the report says of Node: garbage collections and heaps.

use serde::Serialize;

use super::Time;
use crate::model::{CollectionView, HeapView, Snapshot};

/// Garbage collections of one kind in one thread's heap.
#[derive(Debug, Serialize)]
pub(super) struct Gc {
    pid: u32,
    tid: u32,
    thread: String,
    kind: String,
    pause: Time,
}

impl From<&CollectionView> for Gc {
    fn from(view: &CollectionView) -> Self {
        Self {
            pid: view.pid.0,
            tid: view.tid.0,
            thread: view.thread.clone(),
            kind: view.kind.clone(),
            pause: (&view.pause).into(),
        }
    }
}

/// Heaps of V8.
#[derive(Debug, Serialize)]
pub(super) struct Heap {
    isolates: Vec<Isolate>,
}

#[derive(Debug, Serialize)]
struct Isolate {
    pid: u32,
    tid: Option<u32>,
    /// Its process has: this is how it was read last.
    ended: bool,
    used_bytes: u64,
    committed_bytes: u64,
    external_bytes: Option<u64>,
    array_buffer_bytes: Option<u64>,
    limit_bytes: Option<u64>,
    spaces: Vec<Space>,
    full_collections: Option<u64>,
    /// `null` where V8's number of them was not found.
    after_full_gc: Option<Vec<AfterFull>>,
}

#[derive(Debug, Serialize)]
struct Space {
    name: String,
    used_bytes: u64,
    committed_bytes: u64,
}

#[derive(Debug, Serialize)]
struct AfterFull {
    /// Since the accounting began.
    at_ns: u64,
    used_bytes: u64,
}

impl Heap {
    /// `None` where none was read.
    pub(super) fn new(snapshot: &Snapshot) -> Option<Self> {
        let heaps = &snapshot.node.heaps;
        let isolate = |view: &HeapView| Isolate {
            pid: view.pid.0,
            tid: view.tid.map(|tid| tid.0),
            ended: view.has_ended,
            used_bytes: view.used_bytes,
            committed_bytes: view.committed_bytes,
            external_bytes: view.external_bytes,
            array_buffer_bytes: view.array_buffer_bytes,
            limit_bytes: view.limit_bytes,
            spaces: view
                .spaces
                .iter()
                .map(|space| Space {
                    name: space.name.clone(),
                    used_bytes: space.used_bytes,
                    committed_bytes: space.committed_bytes,
                })
                .collect(),
            full_collections: view.full_collections,
            after_full_gc: view.full_collections.map(|_| {
                let levels = view.after_full.iter();
                let started = snapshot.session.started;
                levels
                    .map(|level| AfterFull {
                        at_ns: level.at.since(started).unwrap_or_default().0,
                        used_bytes: level.used_bytes,
                    })
                    .collect()
            }),
        };
        (!heaps.is_empty()).then(|| Self {
            isolates: heaps.iter().map(isolate).collect(),
        })
    }
}
