//! Two event loops, as a program with a worker thread has them: the main one is held up at times.

use tracer_common::{Nanos, Pid, Tid};

use super::{MS, distribution, stack};
use crate::model::{LongIterationView, LoopCounts, LoopTimes, LoopView, LoopsView};

pub(super) fn loops() -> LoopsView {
    LoopsView {
        loops: vec![
            LoopView {
                pid: Pid(4182),
                tid: Tid(4182),
                name: "app".into(),
                counts: Some(LoopCounts {
                    iterations: 4_200,
                    waits: 7_900,
                    events: 6_100,
                    delay: distribution(4_199, [310_000, 62 * MS, 92_400_000], 3_700 * MS),
                    delay_buckets: vec![(130, 4_100), (180, 99)],
                    long: 41,
                    off: [120, 0, 35, 2, 0].map(|ms| Nanos(ms * MS)),
                    recent_iterations: 420,
                    recent_events: 610,
                    recent_delay: distribution(420, [310_000, 62 * MS, 90 * MS], 370 * MS),
                }),
                active: Nanos(3_720 * MS),
                idle: Nanos(6_280 * MS),
                recent: LoopTimes {
                    active: Nanos(372 * MS),
                    idle: Nanos(628 * MS),
                },
                ..LoopView::default()
            },
            LoopView {
                pid: Pid(4182),
                tid: Tid(4190),
                name: "worker".into(),
                counts: Some(LoopCounts {
                    iterations: 120,
                    waits: 240,
                    events: 118,
                    delay: distribution(119, [40_000, 3 * MS, 4 * MS], 40 * MS),
                    ..LoopCounts::default()
                }),
                active: Nanos(42 * MS),
                idle: Nanos(9_958 * MS),
                ..LoopView::default()
            },
        ],
        unlisted: 0,
        long: vec![
            LongIterationView {
                since: Nanos(12_000 * MS),
                busy: Nanos(92_400_000),
                pid: Pid(4182),
                tid: Tid(4182),
                name: "app".into(),
                off: [4, 0, 0, 0, 0].map(|ms| Nanos(ms * MS)),
                stack: stack(&[("render_report", "views/report.js", 41)]),
            },
            LongIterationView {
                since: Nanos(9_000 * MS),
                busy: Nanos(35 * MS),
                pid: Pid(4182),
                tid: Tid(4182),
                name: "app".into(),
                off: [0, 0, 33, 0, 0].map(|ms| Nanos(ms * MS)),
                ..LongIterationView::default()
            },
        ],
        recognised: true,
        counted: true,
    }
}
