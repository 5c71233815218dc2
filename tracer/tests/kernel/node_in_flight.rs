//! What Node has in flight in a session, against what it says itself is active.

use std::time::Duration;

use serde_json::Value;
use tracer::{
    bpf,
    model::{LevelView, Snapshot},
    record::{Meta, Record},
    report::not_measured,
};

use crate::{
    common::{ByHand, Workload, fold, kernel_test, wait_until},
    node_builds,
};

/// How many of a type there are now, and were at most.
fn level(snapshot: &Snapshot, what: &str, kind: &str) -> Option<(u64, u64)> {
    let levels = snapshot.levels(what);
    let mut levels = levels.iter();
    let level = levels.find(|level| level.kind.as_deref() == Some(kind))?;
    Some((level.now, level.max))
}

/// Ticks until this many are there now, of each of these types.
fn comes(session: &mut ByHand, want: &[(&str, &str, u64)]) -> Snapshot {
    let mut got = Snapshot::default();
    let came = wait_until(Duration::from_secs(20), || {
        session.tick();
        got = fold(&session.records);
        let mut want = want.iter();
        want.all(|&(what, kind, count)| level(&got, what, kind).map_or(0, |(now, _)| now) == count)
    });
    assert!(came, "{want:?}: {:?}", got.in_flight);
    got
}

fn reads(records: &[Record]) -> usize {
    let is_read = |record: &&Record| matches!(record, Record::Meta(Meta::InFlight(meta)) if meta.why.is_empty());
    records.iter().filter(is_read).count()
}

/// What it says after a command, and that a session says the same.
fn agree(session: &mut ByHand, workload: &mut Workload, command: &str) -> (Value, Snapshot) {
    let answer = workload.ask(command);
    let active = answer["active"].as_object().unwrap();
    let mut want = Vec::new();
    for (what, kind) in [
        (LevelView::REQUESTS, "FSREQCALLBACK"),
        (LevelView::REQUESTS, "GETADDRINFOREQWRAP"),
        (LevelView::HANDLES, "TCPWRAP"),
        (LevelView::HANDLES, "TCPSERVERWRAP"),
    ] {
        let count = active.get(kind).and_then(Value::as_u64).unwrap_or(0);
        want.push((what, kind, count));
    }
    let snapshot = comes(session, &want);
    (answer, snapshot)
}

#[test]
fn what_is_in_flight_in_a_session_is_what_node_says_is_active() {
    let name = "what_is_in_flight_in_a_session_is_what_node_says_is_active";
    let Some(_kernel) = kernel_test(name) else {
        return;
    };
    for build in node_builds::all() {
        let version = build.name;
        let mut workload = build.start("in_flight.mjs", &[]);
        let mut session = ByHand::attach(workload.pid(), bpf::Options::default());
        agree(&mut session, &mut workload, "workers 2");
        let (_, planted) = agree(&mut session, &mut workload, "plant");
        let files = level(&planted, LevelView::REQUESTS, "FSREQCALLBACK");
        assert_eq!(files, Some((25 + 2 * 3, 25 + 2 * 3)), "{version}");
        let (_, released) = agree(&mut session, &mut workload, "release");
        let files = level(&released, LevelView::REQUESTS, "FSREQCALLBACK");
        assert_eq!(files, Some((0, 25 + 2 * 3)), "{version}");
        agree(&mut session, &mut workload, "plant");
        // It never comes back, and is read all the same.
        workload.tell("spin");
        workload.answer();
        let before = reads(&session.records);
        let read_twice = wait_until(Duration::from_secs(20), || {
            session.tick();
            reads(&session.records) >= before + 2
        });
        assert!(read_twice, "{version}");
        let snapshot = fold(&session.records);
        let files = level(&snapshot, LevelView::REQUESTS, "FSREQCALLBACK");
        assert_eq!(files.unwrap().0, 25, "{version}");
        for (what, count) in [(LevelView::TIMERS, 11), (LevelView::IMMEDIATES, 5)] {
            let level = snapshot.levels(what)[0];
            assert_eq!(
                (level.now, &level.kind),
                (count, &None),
                "{version}: {what}"
            );
        }
        assert_eq!(snapshot.resources_unknown, None);
        let missing = not_measured(&snapshot);
        let has = |field: &str| missing.iter().any(|one| one.field == field);
        assert!(has("in_flight[]") && !has("in_flight[].kind"));
        workload.kill();
        // Nobody is left who has any.
        let snapshot = comes(&mut session, &[(LevelView::REQUESTS, "FSREQCALLBACK", 0)]);
        assert_eq!(snapshot.resources_unknown, None);
        let lost: Vec<_> = snapshot.quality.lost;
        println!(
            "{version}: {} reads, lost {lost:?}",
            reads(&session.records)
        );
    }
}

#[test]
fn async_functions_that_wait_are_in_flight_by_where_they_do() {
    let name = "async_functions_that_wait_are_in_flight_by_where_they_do";
    let Some(_kernel) = kernel_test(name) else {
        return;
    };
    for build in node_builds::all() {
        let version = build.name;
        let mut workload = build.start("awaits.mjs", &[]);
        let mut session = ByHand::attach(workload.pid(), bpf::Options::default());
        workload.ask("plain 40");
        let place = |snapshot: &Snapshot, function: &str| {
            let levels = snapshot.levels(LevelView::AWAITS);
            let mut levels = levels.iter().filter_map(|level| {
                let kind = level.kind.as_deref()?;
                kind.starts_with(function).then_some(level.now)
            });
            levels.next()
        };
        let mut got = Snapshot::default();
        let came = wait_until(Duration::from_secs(30), || {
            session.tick();
            got = fold(&session.records);
            place(&got, "queryDb (awaits.mjs:") == Some(40)
        });
        assert!(came, "{version}: {:?}", got.in_flight);
        for function in ["loadUser (", "renderPage (", "plain ("] {
            assert_eq!(place(&got, function), Some(40), "{version}: {function}");
        }
        let all = got.levels(LevelView::PROMISES)[0].now;
        // The program itself waits for nothing else but its next command.
        assert!((160..=165).contains(&all), "{version}: {all}");
    }
}
