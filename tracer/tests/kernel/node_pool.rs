//! Node's garbage collections and libuv's thread pool, against a program that counts its own.

use std::time::Duration;

use serde_json::Value;
use tracer::{
    bpf,
    model::{Snapshot, WorkView},
    record::ProbeStatus,
    source::live::Options,
};
use tracer_common::Nanos;

use crate::{
    common::{ByHand, Workload, agrees_once, fold, kernel_test, number, wait_until},
    node_builds,
};

/// The program on each version of Node there is, with the version.
fn on_each_version(test: impl Fn(&str, Workload)) {
    for build in node_builds::versions() {
        // Node's own clock runs for a little longer than a collection: its thread may lose its CPU in between.
        agrees_once(|| test(build.name, build.start("pool.mjs", &[])));
    }
}

fn attach(workload: &Workload, probes: &[&str]) -> ByHand {
    let session = ByHand::attach(workload.pid(), bpf::Options::default());
    for probe in probes {
        let mut known = session.live.probes().iter();
        let found = known.find(|known| known.name == *probe).unwrap();
        assert_eq!(found.status, ProbeStatus::Attached, "{}", found.why);
    }
    session
}

/// Collections of a kind: how many, and their time in nanoseconds.
fn collections(truth: &Value, kind: &str) -> (u64, f64) {
    let of_kind = &truth["collections"][kind];
    let count = of_kind["count"].as_u64().unwrap_or(0);
    (count, of_kind["sum_ms"].as_f64().unwrap_or(0.0) * 1e6)
}

#[test]
fn collections_are_counted_and_timed_as_node_does() {
    let Some(_kernel) = kernel_test("collections_are_counted_and_timed_as_node_does") else {
        return;
    };
    on_each_version(collections_agree);
}

fn collections_agree(version: &str, mut workload: Workload) {
    let before = workload.ask("litter 100000");
    let session = attach(&workload, &["collection", "collection_return"]);
    let after = workload.ask("litter 3000000");
    let snapshot = session.finish();
    // One that was put off may come between the answer and the end of the session.
    let end = workload.ask("truth");
    for kind in ["scavenge", "mark-compact"] {
        let (count_before, sum_before) = collections(&before, kind);
        let counts = [&after, &end].map(|truth| collections(truth, kind).0 - count_before);
        let sums = [&after, &end].map(|truth| collections(truth, kind).1 - sum_before);
        let mut views = snapshot.node.collections.iter();
        let view = views.find(|view| view.kind == kind).unwrap();
        assert_eq!(view.tid.0, workload.pid().0, "the heap of the main thread");
        println!(
            "{version}, {kind}: {:?} of {counts:?}, {sums:?} ns",
            view.pause
        );
        assert!(
            (counts[0]..=counts[1]).contains(&view.pause.count),
            "{kind}"
        );
        assert!(counts[0] > 0, "{kind}: {after}");
        let sum = view.pause.sum.0 as f64;
        assert!((sums[0] * 0.95..=sums[1] * 1.05).contains(&sum), "{kind}");
    }
}

fn work<'a>(snapshot: &'a Snapshot, kind: &str) -> &'a WorkView {
    let works = &snapshot.node.works;
    let kinds: Vec<&str> = works.iter().map(|view| view.kind.as_str()).collect();
    let found = works.iter().find(|view| view.kind == kind);
    found.unwrap_or_else(|| panic!("{kind} is not in {kinds:?}"))
}

#[test]
fn work_for_the_pool_is_counted_by_kind() {
    let Some(_kernel) = kernel_test("work_for_the_pool_is_counted_by_kind") else {
        return;
    };
    on_each_version(work_agrees);
}

fn work_agrees(version: &str, mut workload: Workload) {
    let session = attach(&workload, &["work_submit", "work", "work_return"]);
    let mut took = 0;
    let verbs = [
        ("pbkdf2", "crypto.pbkdf2", 40, 1),
        // What is given, then the end of the stream.
        ("deflate", "zlib", 30, 2),
        ("stat", "fs.stat", 100, 1),
        ("lookup", "dns.getaddrinfo", 5, 1),
    ];
    for (verb, _, count, _) in verbs {
        let answer = workload.ask(&format!("{verb} {count}"));
        if verb == "pbkdf2" {
            took = number(&answer, "took_ns");
        }
    }
    let snapshot = session.finish();
    println!("{version}: {:?}", snapshot.node.pools);
    for (_, kind, count, each) in verbs {
        let count = count * each;
        let view = work(&snapshot, kind);
        assert_eq!(
            (view.queued.count, view.run.count),
            (count, count),
            "{kind}"
        );
    }
    let submitted = verbs.iter().map(|&(_, _, count, each)| count * each).sum();
    let [pool] = &snapshot.node.pools[..] else {
        panic!("{:?}", snapshot.node.pools)
    };
    assert_eq!((pool.submitted, pool.threads), (submitted, 4));
    assert_eq!((pool.queued_now, pool.running_now), (0, 0));
    // Ten rounds of four: the last ones wait for nine of them, and all run within what the program measures.
    let pbkdf2 = work(&snapshot, "crypto.pbkdf2");
    let waited = pbkdf2.queued.max.0;
    assert!((took / 4..took).contains(&waited), "{waited} of {took}");
    assert!(pbkdf2.run.sum.0 < 4 * took);
    assert!(waited + pbkdf2.run.p50.0 / 2 < took);
}

/// Probes at functions are taken off and put on again; the file they are in is the same one then.
#[test]
fn work_is_watched_again_after_a_burst() {
    let Some(_kernel) = kernel_test("work_is_watched_again_after_a_burst") else {
        return;
    };
    let mut workload = Workload::node(&["pool.mjs"]);
    let interval = Nanos(100_000_000);
    let mut session = ByHand::attach_with(
        workload.pid(),
        Options {
            bpf: bpf::Options::default(),
            follow_children: true,
            interval,
            profile: "default".into(),
            max_overhead: Some(0.5),
        },
    );
    session.run(Nanos(500_000_000), interval);
    // Its links are put on again when those of others are gone: that may be a moment later than planned.
    let is_counted = wait_until(Duration::from_secs(20), || {
        workload.ask("stat 200");
        session.run(Nanos(200_000_000), interval);
        let so_far = fold(&session.records);
        let mut works = so_far.node.works.iter();
        works.any(|view| view.kind == "fs.stat" && view.run.count >= 200)
    });
    assert!(is_counted);
    let snapshot = session.finish();
    let share = snapshot.node.watched.unwrap();
    assert!((0.3..0.999).contains(&share), "{share}");
    let view = work(&snapshot, "fs.stat");
    assert!(view.run.count >= 200, "{view:?}");
}
