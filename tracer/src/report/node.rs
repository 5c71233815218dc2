//! What the report says of Node.

use serde::Serialize;

use super::Time;
use crate::model::CollectionView;

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
