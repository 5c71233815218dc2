//! What a Node service has besides its loops: callbacks, promises, its pool, collections, functions, what is in flight.

use std::sync::Arc;

use tracer_common::{Nanos, Pid, Tid};

use super::SECOND;
use crate::{
    model::{
        AfterFullView, CallbackView, CallbacksView, CollectionView, Distribution, HeapView,
        JsFunctionView, NodeView, PoolView, PromisesView, Snapshot, WorkView,
    },
    record::{FrameMeta, RuntimeMeta, SymbolMeta},
};

const PID: Pid = Pid(4182);
const MS: u64 = 1_000_000;
const US: u64 = 1_000;

fn times(count: u64, [p50, p99, max]: [u64; 3], sum: u64) -> Distribution {
    Distribution {
        count,
        sum: Nanos(sum),
        p50: Nanos(p50),
        p99: Nanos(p99),
        max: Nanos(max),
    }
}

/// Puts it into a snapshot.
pub(super) fn add(snapshot: &mut Snapshot) {
    snapshot.tasks.runtimes = vec![RuntimeMeta {
        pid: PID,
        kind: "node".to_owned(),
        version: "20.20.2".to_owned(),
        module: "/usr/bin/node".to_owned(),
        files: 9,
        notes: Vec::new(),
    }];
    snapshot.callbacks = callbacks();
    snapshot.node = pool_and_collections();
    snapshot.cpu.javascript = functions();
}

fn callbacks() -> CallbacksView {
    let kind = |kind: &str, of: Distribution, ticks: [u64; 3], recent: (u64, u64)| CallbackView {
        pid: PID,
        kind: kind.to_owned(),
        busy: of,
        ticks: times(of.count, ticks, of.count * ticks[0]),
        recent: recent.0,
        recent_time: Nanos(recent.1),
        ..CallbackView::default()
    };
    let handler = CallbackView {
        samples: 1_411,
        function: Some(Arc::new(SymbolMeta {
            pid: PID,
            address: SymbolMeta::GIVEN + 7,
            frames: vec![FrameMeta {
                function: "handler".to_owned(),
                file: "/srv/app/server.js".to_owned(),
                line: 12,
            }],
            ..SymbolMeta::default()
        })),
        ..kind(
            "HTTPINCOMINGMESSAGE",
            times(82_752, [400 * US, 92 * MS, 93 * MS], 34 * SECOND),
            [30 * US, 400 * US, 4 * MS],
            (181, 78 * MS),
        )
    };
    CallbacksView {
        kinds: vec![
            handler,
            kind(
                "Timers",
                times(1_920, [1_900 * US, 2_400 * US, 3 * MS], 3_600 * MS),
                [8 * US, 20 * US, 30 * US],
                (4, 8 * MS),
            ),
            kind(
                "FSREQCALLBACK",
                times(30_100, [14 * US, 90 * US, MS], 500 * MS),
                [3 * US, 40 * US, 300 * US],
                (66, MS),
            ),
        ],
        microtasks: vec![(PID, times(90_000, [25 * US, 380 * US, 4 * MS], 3 * SECOND))],
        promises: vec![PromisesView {
            pid: PID,
            awaits: 496_500,
            resumed: 496_289,
            thrown: 12,
            fulfilled: 512_000,
            rejected: 12,
            thens: 498_000,
            recent_awaits: 1_086,
        }],
        long: Vec::new(),
        watched: Some(0.42),
        promises_watched: Some(0.21),
        recent_on: Nanos(420 * MS),
        recent_promises_on: Nanos(420 * MS),
    }
}

fn pool_and_collections() -> NodeView {
    let work = |kind: &str, count, queued, run| WorkView {
        pid: PID,
        kind: kind.to_owned(),
        queued: times(count, queued, count * queued[0]),
        run: times(count, run, count * run[0]),
    };
    let collection = |kind: &str, pause: Distribution, recent: (u64, u64)| CollectionView {
        pid: PID,
        tid: Tid(PID.0),
        thread: "node".to_owned(),
        kind: kind.to_owned(),
        pause,
        recent: recent.0,
        recent_time: Nanos(recent.1),
    };
    NodeView {
        collections: vec![
            collection(
                "scavenge",
                times(595, [US * 800, 3 * MS, 4 * MS], 600 * MS),
                (3, 3 * MS),
            ),
            collection(
                "mark-compact",
                times(6, [9 * MS, 21 * MS, 22 * MS], 70 * MS),
                (0, 0),
            ),
        ],
        works: vec![
            work(
                "crypto.pbkdf2",
                36_000,
                [83 * MS, 240 * MS, 260 * MS],
                [21 * MS, 24 * MS, 30 * MS],
            ),
            work(
                "fs.read",
                30_100,
                [40 * US, 2 * MS, 8 * MS],
                [18 * US, 90 * US, 3 * MS],
            ),
        ],
        pools: vec![PoolView {
            pid: PID,
            submitted: 66_121,
            threads: 4,
            queued_now: 17,
            running_now: 4,
        }],
        watched: Some(1.0),
        heaps: vec![heap()],
        heaps_unknown: None,
    }
}

fn heap() -> HeapView {
    let after = |at, used_bytes| AfterFullView {
        at: Nanos(at),
        used_bytes,
    };
    HeapView {
        pid: PID,
        tid: Some(Tid(PID.0)),
        used_bytes: 74 << 20,
        committed_bytes: 96 << 20,
        external_bytes: Some(21 << 20),
        array_buffer_bytes: Some(19 << 20),
        limit_bytes: Some(4_144 << 20),
        full_collections: Some(6),
        after_full: vec![
            after(1_000 * SECOND, 52 << 20),
            after(1_040 * SECOND, 66 << 20),
        ],
        ..HeapView::default()
    }
}

fn functions() -> Vec<JsFunctionView> {
    let function = |function: &str, script: &str, line, [own, total]: [u64; 2]| JsFunctionView {
        function: function.to_owned(),
        script: script.to_owned(),
        line,
        own,
        total,
    };
    vec![
        function(
            "renderReport",
            "/srv/app/views/report.js",
            41,
            [4_310, 4_400],
        ),
        function("handler", "/srv/app/server.js", 12, [310, 5_100]),
        function(
            "parserOnHeadersComplete",
            "node:_http_common",
            88,
            [120, 5_300],
        ),
        function("open", "node:internal/fs/promises", 637, [98, 98]),
    ]
}
