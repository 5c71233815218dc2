//! What the example has of Node.

use tracer_common::{Nanos, Tid};

use super::{MS, distribution, tasks::PID};
use crate::model::{
    AfterFullView, CollectionView, HeapSpaceView, HeapView, NodeView, PoolView, WorkView,
};

pub(super) fn node() -> NodeView {
    let collection = |kind: &str, count, times: [u64; 3], sum| CollectionView {
        pid: PID,
        tid: Tid(4182),
        thread: "node".into(),
        kind: kind.into(),
        pause: distribution(count, times, sum),
        recent: 2,
        recent_time: Nanos(3 * MS),
    };
    let work = |kind: &str, [queued, run]: [[u64; 3]; 2], count| WorkView {
        pid: PID,
        kind: kind.into(),
        queued: distribution(count, queued, count * queued[0]),
        run: distribution(count, run, count * run[0]),
    };
    NodeView {
        collections: vec![
            collection("mark-compact", 3, [9 * MS, 21 * MS, 22 * MS], 40 * MS),
            collection("scavenge", 31, [800_000, 3 * MS, 4 * MS], 31 * MS),
        ],
        works: vec![
            work(
                "crypto.pbkdf2",
                [[83 * MS, 240 * MS, 260 * MS], [21 * MS, 24 * MS, 30 * MS]],
                96,
            ),
            work(
                "fs.read",
                [[40_000, 2 * MS, 8 * MS], [18_000, 90_000, 3 * MS]],
                1_216,
            ),
        ],
        watched: Some(1.0),
        pools: vec![PoolView {
            pid: PID,
            submitted: 1_320,
            threads: 4,
            queued_now: 4,
            running_now: 4,
        }],
        heaps: vec![heap()],
        heaps_unknown: None,
    }
}

fn heap() -> HeapView {
    let space = |name: &str, used_bytes, committed_bytes| HeapSpaceView {
        name: name.into(),
        used_bytes,
        committed_bytes,
    };
    let after = |at, used_bytes| AfterFullView {
        at: Nanos(at * MS),
        used_bytes,
    };
    HeapView {
        pid: PID,
        tid: Some(Tid(4182)),
        has_ended: false,
        used_bytes: 74 << 20,
        committed_bytes: 96 << 20,
        external_bytes: Some(21 << 20),
        array_buffer_bytes: Some(19 << 20),
        limit_bytes: Some(4_144 << 20),
        spaces: vec![
            space("old_space", 58 << 20, 61 << 20),
            space("new_space", 4 << 20, 16 << 20),
            space("large_object_space", 12 << 20, 19 << 20),
        ],
        full_collections: Some(5),
        after_full: vec![
            after(2_000, 52 << 20),
            after(5_000, 59 << 20),
            after(9_000, 66 << 20),
        ],
    }
}
