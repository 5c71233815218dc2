//! Event loops of Node against what `perf_hooks` and libuv's own counters say of them.

use serde_json::Value;
use tracer::{
    bpf::{self, probes::Group},
    model::{LoopView, Role, Snapshot},
};
use tracer_common::{LossReason, Nanos, Tid};

use crate::{
    common::{ByHand, Workload, agrees_once, assert_close, fold, kernel_test, lost, number},
    node_builds::{self, Build},
};

const MS: u64 = 1_000_000;

fn of(got: &Snapshot, tid: u64) -> LoopView {
    let tid = Tid(u32::try_from(tid).unwrap());
    let mut loops = got.loops.loops.iter();
    let found = loops.find(|view| view.tid == tid);
    found
        .unwrap_or_else(|| panic!("no loop of {tid:?}"))
        .clone()
}

/// The loop of a thread now, in the middle of a session.
fn now(session: &mut ByHand, tid: u64) -> LoopView {
    session.tick();
    of(&fold(&session.records), tid)
}

fn grown(before: &Value, after: &Value, field: &str) -> u64 {
    number(after, field) - number(before, field)
}

/// What the loop did between two looks agrees with what its own process says of nearly the same time.
fn assert_agrees(before: (&Value, &LoopView), after: (&Value, &LoopView)) {
    let active = grown(before.0, after.0, "active_ns");
    let idle = grown(before.0, after.0, "idle_ns");
    let theirs = active as f64 / (active + idle) as f64;
    let spent = |of: fn(&LoopView) -> Nanos| of(after.1).since(of(before.1)).unwrap();
    let (active, idle) = (spent(|view| view.active), spent(|view| view.idle));
    let ours = active.0 as f64 / active.plus(idle).0 as f64;
    println!("utilisation: {ours:.4} against {theirs:.4}");
    // A loop that does next to nothing is measured to half a percent of the time.
    assert!(
        (ours - theirs).abs() < 0.05 * theirs.max(0.1),
        "utilisation: {ours} against {theirs}"
    );
}

#[test]
fn iterations_and_utilisation_are_those_its_own_process_counts() {
    let Some(_kernel) = kernel_test("iterations_and_utilisation_are_those_its_own_process_counts")
    else {
        return;
    };
    for build in node_builds::all() {
        agrees_once(|| counts_agree(&build));
    }
}

fn counts_agree(build: &Build) {
    println!("{}", build.name);
    let mut node = build.start("loop.mjs", &[]);
    let mut session = ByHand::attach(node.pid(), bpf::Options::default());
    let begin = node.ask("mark")["after"].clone();
    let tid = number(&begin, "tid");
    let before = now(&mut session, tid);
    node.ask("serve 300");
    node.ask("turns 1000");
    node.ask("block 60 3 100");
    node.ask("idle 700");
    let end = node.ask("mark")["after"].clone();
    let after = now(&mut session, tid);
    assert_agrees((&begin, &before), (&end, &after));
    let counts = |view: &LoopView| view.counts.clone().unwrap();
    let (before, after) = (counts(&before), counts(&after));
    for (what, ours, field) in [
        (
            "iterations",
            after.iterations - before.iterations,
            "uv_iterations",
        ),
        ("events", after.events - before.events, "uv_events"),
    ] {
        // Node 18 does not tell them.
        if begin[field].is_null() {
            continue;
        }
        let theirs = grown(&begin, &end, field);
        println!("{what}: {ours} against {theirs}");
        // The answers to the marks come in between.
        assert!(
            ours.abs_diff(theirs) <= 3,
            "{what}: {ours} against {theirs}"
        );
    }
    let got = session.finish();
    // The other books: each wait of a loop is a system call.
    let waits: u64 = got
        .loops
        .loops
        .iter()
        .filter_map(|view| Some(view.counts.as_ref()?.waits))
        .sum();
    let mut calls = got.syscalls.iter();
    let calls = calls.find(|call| call.name.starts_with("epoll_")).unwrap();
    assert_eq!(waits, calls.count);
    assert_eq!(got.role(node.pid(), Tid(node.pid().0)), Some(Role::Loop));
    assert_eq!(got.quality.inconsistent, 0);
}

#[test]
fn planted_blocks_are_long_iterations() {
    let Some(_kernel) = kernel_test("planted_blocks_are_long_iterations") else {
        return;
    };
    for build in node_builds::all() {
        agrees_once(|| blocks_agree(&build));
    }
}

fn blocks_agree(build: &Build) {
    println!("{}", build.name);
    let mut node = build.start("loop.mjs", &[]);
    let mut session = ByHand::attach(node.pid(), bpf::Options::default());
    // What it does for the first time takes a while.
    node.ask("block 1 2 5");
    node.ask("execute 1");
    let tid = number(&node.ask("mark")["after"], "tid");
    let before = now(&mut session, tid).counts.unwrap();
    let on_cpu = node.ask("block 60 5 50");
    let in_child = node.ask("execute 80");
    let after = now(&mut session, tid).counts.unwrap();
    let blocks: Vec<&Value> = [&on_cpu, &in_child]
        .into_iter()
        .flat_map(|answer| answer["blocks"].as_array().unwrap())
        .collect();
    assert_eq!(after.long - before.long, blocks.len() as u64);
    assert!(after.recent_delay.max.0 >= 60 * MS);
    let got = session.finish();
    assert_eq!(lost(&got, LossReason::LONG_ITERATIONS_LIMITED), 0);
    let mut with_stack = 0;
    for (index, block) in blocks.iter().enumerate() {
        let (start, end) = (number(block, "start_ns"), number(block, "end_ns"));
        let long = got
            .loops
            .long
            .iter()
            .find(|long| long.since.0 <= start && long.since.plus(long.busy).0 >= end);
        let long = long.unwrap_or_else(|| panic!("no iteration has block {index}"));
        assert_close("a block", long.busy.0, end - start, 0.05);
        let off = long.off.iter().map(|part| part.0).sum::<u64>();
        println!(
            "{:?} of {} ms: {:?}",
            long.busy,
            (end - start) / MS,
            long.off
        );
        assert!(off <= long.busy.0, "{long:?}");
        if index < 5 {
            // It wanted to run all the time.
            assert!(off - long.off[0].0 < long.busy.0 / 10, "{long:?}");
            with_stack += u32::from(!long.stack.is_empty());
        } else {
            // It waited for its child in a loop of that moment.
            assert!(long.off[2].0 > 60 * MS, "{long:?}");
        }
    }
    assert!(with_stack > 0, "a sample fell into one of them");
}

#[test]
fn a_worker_thread_has_a_loop_of_its_own() {
    let Some(_kernel) = kernel_test("a_worker_thread_has_a_loop_of_its_own") else {
        return;
    };
    agrees_once(|| {
        let mut node = Workload::node(&["loop.mjs"]);
        let mut session = ByHand::attach(node.pid(), bpf::Options::default());
        let begin = node.ask("mark")["after"].clone();
        let main = number(&begin, "tid");
        let before = now(&mut session, main);
        let said = node.ask("worker block 40 8 60");
        let worker = &said["worker"];
        let tid = number(&worker["after"], "tid");
        let view = now(&mut session, tid);
        assert!(!view.is_main());
        // From its first wait on, against its blocks and the time around them.
        let theirs = number(&worker["after"], "active_ns") - number(&worker["before"], "active_ns");
        let long = view.counts.as_ref().unwrap();
        let blocked: u64 = worker["blocks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|block| number(block, "end_ns") - number(block, "start_ns"))
            .sum();
        println!(
            "active {:?}, theirs {theirs}, blocked {blocked}",
            view.active
        );
        assert!(long.long >= 8 && view.active.0 >= blocked, "{view:?}");
        assert_close("the worker", view.active.0, theirs, 0.15);
        let end = node.ask("mark")["after"].clone();
        let after = now(&mut session, main);
        assert_agrees((&begin, &before), (&end, &after));
        let got = session.finish();
        assert!(got.loops.main().unwrap().is_main());
        let mut long = got.loops.long.iter();
        assert!(long.any(|long| u64::from(long.tid.0) == tid && long.busy.0 >= 40 * MS));
    });
}

#[test]
fn without_system_calls_the_utilisation_is_by_the_threads_states() {
    let Some(_kernel) =
        kernel_test("without_system_calls_the_utilisation_is_by_the_threads_states")
    else {
        return;
    };
    agrees_once(|| {
        let mut node = Workload::node(&["loop.mjs"]);
        let light = bpf::Options {
            groups: Group::LIGHT.to_vec(),
            ..bpf::Options::default()
        };
        let mut session = ByHand::attach(node.pid(), light);
        let begin = node.ask("mark")["after"].clone();
        let tid = number(&begin, "tid");
        let before = now(&mut session, tid);
        node.ask("block 60 5 100");
        node.ask("idle 500");
        let end = node.ask("mark")["after"].clone();
        let after = now(&mut session, tid);
        assert_agrees((&begin, &before), (&end, &after));
        assert_eq!(after.counts, None);
        let got = session.finish();
        assert!(!got.loops.counted && got.loops.long.is_empty());
    });
}

#[test]
fn without_entries_of_calls_the_times_are_those_of_the_scheduler() {
    let Some(_kernel) =
        kernel_test("without_entries_of_calls_the_times_are_those_of_the_scheduler")
    else {
        return;
    };
    agrees_once(|| {
        let mut node = Workload::node(&["loop.mjs"]);
        let mut groups = Group::DEFAULT.to_vec();
        groups.retain(|group| *group != Group::Timing);
        let untimed = bpf::Options {
            groups,
            ..bpf::Options::default()
        };
        let mut session = ByHand::attach(node.pid(), untimed);
        let begin = node.ask("mark")["after"].clone();
        let tid = number(&begin, "tid");
        let before = now(&mut session, tid);
        let said = node.ask("block 60 5 100");
        let end = node.ask("mark")["after"].clone();
        let after = now(&mut session, tid);
        assert_agrees((&begin, &before), (&end, &after));
        let blocks = said["blocks"].as_array().unwrap().len() as u64;
        let long = |view: &LoopView| view.counts.as_ref().unwrap().long;
        assert_eq!(long(&after) - long(&before), blocks);
    });
}
