//! What the example has of Node's callbacks.

use std::sync::Arc;

use tracer_common::{Nanos, Tid};

use super::{MS, distribution, tasks::PID};
use crate::{
    model::{CallbackView, CallbacksView, LongCallbackView, PromisesView},
    record::{FrameMeta, SymbolMeta},
};

pub(super) fn callbacks() -> CallbacksView {
    let function = |name: &str, file: &str, line| {
        Some(Arc::new(SymbolMeta {
            pid: PID,
            address: SymbolMeta::GIVEN + 1,
            frames: vec![FrameMeta {
                function: name.into(),
                file: file.into(),
                line,
            }],
            ..SymbolMeta::default()
        }))
    };
    let handler = CallbackView {
        pid: PID,
        kind: "HTTPINCOMINGMESSAGE".into(),
        busy: distribution(4_310, [400_000, 92 * MS, 93 * MS], 1_724 * MS),
        ticks: distribution(4_310, [30_000, 400_000, 4 * MS], 130 * MS),
        samples: 171,
        function: function("handler", "/srv/server.js", 12),
        recent: 431,
        recent_time: Nanos(185 * MS),
    };
    let timers = CallbackView {
        pid: PID,
        kind: "Timers".into(),
        busy: distribution(100, [1_900_000, 2_400_000, 3 * MS], 190 * MS),
        ticks: distribution(100, [8_000, 20_000, 30_000], 800_000),
        samples: 0,
        function: None,
        recent: 10,
        recent_time: Nanos(19 * MS),
    };
    CallbacksView {
        kinds: vec![handler, timers],
        microtasks: vec![(
            PID,
            distribution(4_410, [25_000, 380_000, 4 * MS], 120 * MS),
        )],
        promises: vec![PromisesView {
            pid: PID,
            awaits: 25_860,
            resumed: 25_640,
            thrown: 9,
            fulfilled: 30_200,
            rejected: 9,
            thens: 25_900,
            recent_awaits: 2_586,
        }],
        long: vec![LongCallbackView {
            since: Nanos(9_000 * MS),
            pid: PID,
            tid: Tid(4182),
            kind: "HTTPINCOMINGMESSAGE".into(),
            busy: Nanos(92 * MS),
            ticks: Nanos(300_000),
            async_id: 8_812,
            trigger_async_id: 8_811,
        }],
        watched: Some(0.42),
        promises_watched: Some(0.42),
        recent_on: Nanos(1_000 * MS),
        recent_promises_on: Nanos(1_000 * MS),
    }
}
