//! Sizes of V8's heaps in a session, against what V8 says itself, and what full collections leave as planted.

use std::time::Duration;

use serde_json::{Value, json};
use tracer::{
    bpf,
    model::{HeapView, Snapshot},
    report::{Report, not_measured, text},
};
use tracer_common::Tid;

use crate::{
    common::{ByHand, fold, kernel_test, wait_until},
    node_builds,
};

const MIB: u64 = 1 << 20;
/// What is kept more at each step.
const STEP: u64 = 8;
/// What the parts of a heap that are not planted may change by.
const SLACK: u64 = 512 << 10;

fn main_heap(snapshot: &Snapshot, pid: u32) -> Option<&HeapView> {
    let mut heaps = snapshot.node.heaps.iter();
    heaps.find(|heap| heap.tid == Some(Tid(pid)))
}

fn said(answer: &Value, what: &str) -> u64 {
    let spaces = answer["heaps"][0]["spaces"].as_array().unwrap();
    spaces.iter().filter_map(|space| space[what].as_u64()).sum()
}

#[test]
fn heaps_in_a_session_are_as_large_as_v8_says_and_grow_as_planted() {
    let name = "heaps_in_a_session_are_as_large_as_v8_says_and_grow_as_planted";
    let Some(_kernel) = kernel_test(name) else {
        return;
    };
    for build in node_builds::all() {
        let version = build.name;
        let mut workload = build.start("heap.mjs", &[]);
        let pid = workload.pid().0;
        let mut session = ByHand::attach(workload.pid(), bpf::Options::default());
        let mut got = Snapshot::default();
        let comes = wait_until(Duration::from_secs(20), || {
            session.tick();
            got = fold(&session.records);
            main_heap(&got, pid).is_some()
        });
        assert!(comes, "{version}: {:?}", got.node.heaps_unknown);
        for step in 1..=4 {
            let answer = workload.ask(&format!("keep {STEP}"));
            let used = said(&answer, "space_used_size");
            // Until it was read twice since: what a collection leaves becomes less while V8 sweeps.
            let comes = wait_until(Duration::from_secs(20), || {
                session.tick();
                got = fold(&session.records);
                main_heap(&got, pid).is_some_and(|heap| {
                    let last = heap.after_full.last().map_or(0, |level| level.used_bytes);
                    heap.after_full.len() >= step
                        && heap.used_bytes.abs_diff(used) < SLACK
                        && last.abs_diff(used) < 2 * SLACK
                })
            });
            let heap = main_heap(&got, pid).unwrap();
            assert!(comes, "{version}: {used} used, {heap:?}");
        }
        let heap = main_heap(&got, pid).unwrap();
        let levels: Vec<u64> = heap.after_full.iter().map(|one| one.used_bytes).collect();
        println!("{version}: after full collections {levels:?}");
        for pair in levels[levels.len() - 4..].windows(2) {
            let more = pair[1] - pair[0];
            assert!(more.abs_diff(STEP * MIB) < SLACK, "{version}: {levels:?}");
        }
        let answer = workload.ask("workers 2");
        let comes = wait_until(Duration::from_secs(20), || {
            session.tick();
            got = fold(&session.records);
            got.node.heaps.len() == 3
        });
        assert!(comes, "{version}: {:?}", got.node.heaps);
        let known = got.node.heaps.iter().filter(|heap| heap.tid.is_some());
        assert_eq!(known.count(), 3, "{version}");
        let report = Report::new(&got).json().unwrap();
        let report: Value = serde_json::from_str(&report).unwrap();
        let isolates = report["heap"]["isolates"].as_array().unwrap();
        let own = isolates
            .iter()
            .find(|one| one["tid"] == json!(pid))
            .unwrap();
        assert_eq!(own["limit_bytes"], answer["heaps"][0]["limit"], "{version}");
        let missing = not_measured(&got);
        let of_heap = missing.iter().filter(|one| one.field.starts_with("heap"));
        assert_eq!(of_heap.count(), 0, "{version}: {missing:?}");
        assert!(text(&got).contains("old objects after each mark-compact:"));
        workload.kill();
        let ends = wait_until(Duration::from_secs(20), || {
            session.tick();
            got = fold(&session.records);
            got.node.heaps.iter().all(|heap| heap.has_ended)
        });
        assert!(ends && got.node.heaps.len() == 3, "{version}");
    }
}
