//! Probes in a program under load: attached and taken off many times, by an agent that is killed too. Every request
//! is answered, every task comes to its end.

use std::process::Command;

use tracer::{
    bpf::{Kernel, Options, probes::Group},
    runtime::{self, cache::Cache},
    source::live,
    target::sys,
};
use tracer_common::Target;
use xtask::matrix::{Flavour, Matrix, NEWEST};

use crate::common::{Workload, kernel_test, number};

/// Attaching and detaching, so often: more where `TRACER_HARM_CYCLES` says so.
const CYCLES: u32 = 150;
/// Agents that are killed.
const KILLS: u32 = 10;
/// Requests of one storm, a task each, and how many are under way at once.
const STORM: (u64, u64) = (20_000, 64);

fn workload() -> Workload {
    let matrix = Matrix::of_this_test().unwrap();
    let path = matrix.program(NEWEST, Flavour::Release).unwrap();
    Workload::start(&mut Command::new(path))
}

/// Starts a storm; [`calm`] waits for its end.
fn storm(workload: &mut Workload) {
    let (requests, at_once) = STORM;
    workload.tell(&format!("storm {requests} {at_once}"));
}

/// All requests of the storm were answered.
fn calm(workload: &mut Workload) {
    let answer = workload.answer();
    assert_eq!(number(&answer, "requests"), STORM.0, "{answer}");
}

#[test]
fn probes_come_and_go_under_load() {
    let Some(_kernel) = kernel_test("probes_come_and_go_under_load") else {
        return;
    };
    let mut workload = workload();
    let pid = workload.pid();
    let found = runtime::find(pid, &Cache::off());
    let mut kernel = Kernel::load(&Options::default()).unwrap();
    let target = Target {
        since: sys::monotonic(),
        follow_children: 0,
        has_loops: 0,
    };
    assert!(kernel.add_target(pid, target).unwrap());
    for mapped in &found.tokio {
        for (which, points) in live::points(pid, mapped) {
            kernel.add_functions(which, points);
        }
    }
    for group in [Group::Task, Group::Wake] {
        assert!(!kernel.attach_functions(group).is_empty());
    }
    storm(&mut workload);
    let asked = std::env::var("TRACER_HARM_CYCLES").ok();
    let cycles = asked.map_or(CYCLES, |count| count.parse().unwrap());
    for cycle in 0..cycles {
        for on in [false, true] {
            for group in [Group::Task, Group::Wake] {
                assert!(kernel.switch(group, on), "cycle {cycle}");
            }
            drop(kernel.detached());
        }
        if cycle % 50 == 49 {
            calm(&mut workload);
            storm(&mut workload);
        }
    }
    calm(&mut workload);
    let seen = kernel.seen();
    assert!(seen.polls > 0 && seen.wakes > 0, "they counted meanwhile");
    drop(kernel);
    let truth = workload.end();
    assert_eq!(truth["final"], true);
}

#[test]
fn an_agent_that_is_killed_leaves_nothing_behind() {
    let Some(_kernel) = kernel_test("an_agent_that_is_killed_leaves_nothing_behind") else {
        return;
    };
    let mut workload = workload();
    let pid = workload.pid().0.to_string();
    for _ in 0..KILLS {
        storm(&mut workload);
        let mut agent = Command::new(env!("CARGO_BIN_EXE_tracer"))
            .env("TRACER_CACHE_DIR", "")
            .args([
                "report",
                "-q",
                "-d",
                "1h",
                "--max-overhead",
                "none",
                "-p",
                &pid,
            ])
            .spawn()
            .unwrap();
        calm(&mut workload);
        // It is attached, or about to be: both have to be harmless.
        storm(&mut workload);
        agent.kill().unwrap();
        agent.wait().unwrap();
        calm(&mut workload);
    }
    let truth = workload.end();
    assert_eq!(truth["final"], true);
}
