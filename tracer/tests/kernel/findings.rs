//! Verdicts on programs that are guilty of one thing, and on their innocent twins, which do the same work rightly.

use std::{path::Path, process::Command};

use tracer::{
    bpf,
    findings::Judge,
    model::{FindingId, Severity, Snapshot, SubjectKind},
    source::live::Options,
};
use tracer_common::Nanos;

use crate::common::{ByHand, Workload, example, kernel_test};

/// How long a program is looked at: a verdict takes no longer.
const LOOK: Nanos = Nanos(8_000_000_000);

/// What is concluded of a program.
fn judged(workload: &Workload) -> Snapshot {
    let interval = Nanos(500_000_000);
    let mut session = ByHand::attach_with(
        workload.pid(),
        Options {
            bpf: bpf::Options::default(),
            follow_children: true,
            interval,
            profile: "default".into(),
            max_overhead: Some(0.03),
        },
    );
    session.run(LOOK, interval);
    let mut judge = Judge::new();
    for record in session.records() {
        judge.apply(&record);
    }
    judge.snapshot()
}

fn of_corpus(id: FindingId, kind: &str) -> Snapshot {
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("workloads/corpus/node")
        .join(format!("{}.mjs", id.name()));
    let workload = Workload::start(Command::new("node").arg(script).arg(kind));
    let snapshot = judged(&workload);
    let truth = workload.end();
    println!("{} {kind}: {truth}", id.name());
    for finding in &snapshot.findings.list {
        println!(
            "  {} {} {}: {}",
            finding.severity.name(),
            finding.id.name(),
            finding.subject.name,
            tracer::findings::says(finding)
        );
    }
    snapshot
}

fn found(snapshot: &Snapshot) -> Vec<FindingId> {
    let list = snapshot.findings.list.iter();
    let bad = list.filter(|finding| finding.severity > Severity::Info);
    bad.map(|finding| finding.id).collect()
}

#[test]
fn the_guilty_are_found_and_their_twins_are_not() {
    let Some(_kernel) = kernel_test("the_guilty_are_found_and_their_twins_are_not") else {
        return;
    };
    for (id, kind, name) in [
        (
            FindingId::LongPoll,
            SubjectKind::Function,
            "renderRow (long-poll.mjs:",
        ),
        (
            FindingId::PoolSaturation,
            SubjectKind::Pool,
            "libuv's thread pool, mostly crypto.pbkdf2",
        ),
        (
            FindingId::GcPressure,
            SubjectKind::Thread,
            "the main thread's heap",
        ),
        (FindingId::CpuOversubscription, SubjectKind::Process, "node"),
    ] {
        let snapshot = of_corpus(id, "guilty");
        let mut list = snapshot.findings.list.iter();
        let finding = list.find(|finding| finding.id == id);
        let finding = finding.unwrap_or_else(|| panic!("{id:?}: {:?}", found(&snapshot)));
        assert_eq!(finding.subject.kind, kind);
        let subject = &finding.subject.name;
        assert!(subject.starts_with(name), "{id:?}: {subject}");
        let innocent = of_corpus(id, "innocent");
        assert!(innocent.findings.checked.is_some());
        assert!(
            found(&innocent).is_empty(),
            "{id:?}: {:?}",
            found(&innocent)
        );
    }
}

#[test]
fn a_task_that_blocks_its_worker_is_found() {
    let Some(_kernel) = kernel_test("a_task_that_blocks_its_worker_is_found") else {
        return;
    };
    let workload = Workload::start(Command::new(example("tokio-service")).arg("--load"));
    let snapshot = judged(&workload);
    let list = snapshot.findings.list.iter();
    let tasks: Vec<&str> = list
        .filter(|finding| finding.id == FindingId::LongPoll)
        .map(|finding| finding.subject.name.as_str())
        .collect();
    assert!(
        tasks.iter().any(|name| name.starts_with("poll_blocker")),
        "{tasks:?}"
    );
}
