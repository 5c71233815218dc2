//! The event loops of a Node service: one that is held up once a second, and a worker's.

use tracer_common::{Nanos, Pid, Tid, hist::bucket_index};

use super::{SECOND, resources};
use crate::model::{
    Distribution, LongIterationView, LoopCounts, LoopPoint, LoopTimes, LoopView, LoopsView,
};

const MS: u64 = 1_000_000;

fn delay(count: u64, [p50, p99, max]: [u64; 3], sum: u64) -> Distribution {
    Distribution {
        count,
        sum: Nanos(sum),
        p50: Nanos(p50),
        p99: Nanos(p99),
        max: Nanos(max),
    }
}

fn buckets(counts: &[(u64, u64)]) -> Vec<(u32, u64)> {
    let counts = counts.iter();
    counts
        .map(|&(time, count)| (bucket_index(time), count))
        .collect()
}

pub(super) fn loops(now: Nanos) -> LoopsView {
    let history = (0..90).map(|second| LoopPoint {
        at: Nanos(now.0 - (90 - second) * SECOND),
        length: Nanos(SECOND),
        iterations: 430,
        delay_max: Nanos(if second % 5 == 0 { 92 * MS } else { 4 * MS }),
        utilization: Some(0.37),
    });
    let main = LoopView {
        pid: Pid(4182),
        tid: Tid(4182),
        name: "node".to_owned(),
        counts: Some(LoopCounts {
            iterations: 82_140,
            waits: 151_902,
            events: 121_330,
            delay: delay(82_139, [310_000, 62 * MS, 92_400_000], 71 * SECOND),
            delay_buckets: buckets(&[
                (8_000, 12_040),
                (60_000, 21_990),
                (310_000, 46_000),
                (1_700_000, 1_310),
                (7_000_000, 588),
                (22_000_000, 20),
                (62_000_000, 191),
            ]),
            long: 211,
            off: [1_900, 0, 350, 2, 0].map(|ms| Nanos(ms * MS)),
            recent_iterations: 431,
            recent_events: 640,
            recent_delay: delay(431, [310_000, 62 * MS, 92_400_000], 371 * MS),
        }),
        active: Nanos(71 * SECOND),
        idle: Nanos(121 * SECOND),
        recent: LoopTimes {
            active: Nanos(372 * MS),
            idle: Nanos(628 * MS),
        },
        history: history.collect(),
        ..LoopView::default()
    };
    let worker = LoopView {
        pid: Pid(4182),
        tid: Tid(4190),
        name: "thumbnails".to_owned(),
        counts: Some(LoopCounts {
            iterations: 912,
            waits: 1_820,
            events: 905,
            delay: delay(911, [90_000, 3 * MS, 4 * MS], 400 * MS),
            delay_buckets: buckets(&[(90_000, 700), (2_900_000, 211)]),
            recent_iterations: 4,
            recent_events: 4,
            recent_delay: delay(4, [90_000, 3 * MS, 3 * MS], 4 * MS),
            ..LoopCounts::default()
        }),
        active: Nanos(SECOND),
        idle: Nanos(191 * SECOND),
        recent: LoopTimes {
            active: Nanos(4 * MS),
            idle: Nanos(996 * MS),
        },
        going_on: Nanos(340 * MS),
        ..LoopView::default()
    };
    let long = |ago: u64, busy: u64, off: [u64; 5], stack| LongIterationView {
        since: Nanos(now.0 - ago * MS - busy * MS),
        busy: Nanos(busy * MS),
        pid: Pid(4182),
        tid: Tid(4182),
        name: "node".to_owned(),
        off: off.map(|ms| Nanos(ms * MS)),
        stack,
    };
    let mut stacks = resources::cpu().by_stack.into_iter();
    let stack = stacks.next().map(|found| found.stack).unwrap_or_default();
    LoopsView {
        loops: vec![main, worker],
        unlisted: 0,
        long: vec![
            long(400, 92, [4, 0, 0, 0, 0], stack.clone()),
            long(5_400, 91, [3, 0, 0, 0, 0], stack),
            long(9_000, 35, [0, 0, 33, 0, 0], Vec::new()),
        ],
        recognised: true,
        counted: true,
    }
}
