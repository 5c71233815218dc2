//! Node's callbacks, ticks, awaits and promises, against a program that knows its own.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::{
    common::{ByHand, Workload, agrees_once, assert_close, kernel_test, number},
    node_builds::{self, Build},
};
use serde_json::Value;
use tracer::{
    bpf::{self, probes::Group},
    model::{CallbackView, Snapshot},
    record::ProbeStatus,
    source::live::Options,
};
use tracer_common::Nanos;

const MS: u64 = 1_000_000;
/// How long the program spins where it is told to.
const SPIN: u64 = 2 * MS;

fn start(build: &Build, arguments: &[&str]) -> Workload {
    build.start("callbacks.mjs", arguments)
}

fn attach(build: &Build, workload: &Workload) -> ByHand {
    let options = bpf::Options {
        groups: Group::ALL.to_vec(),
        ..bpf::Options::default()
    };
    let session = ByHand::attach(workload.pid(), options);
    for probe in [
        "callback_resource",
        "callback",
        "callback_close",
        "callback_return",
        "immediates",
        "microtasks",
        "microtasks_return",
        "promise",
    ] {
        let mut known = session.live.probes().iter();
        let found = known.find(|known| known.name == probe).unwrap();
        // Older ones copy the functions for promises, and a copy of a probe would end a process that starts a worker.
        if probe == "promise" && build.major() < 20 {
            assert_ne!(found.status, ProbeStatus::Attached, "{}", build.name);
            continue;
        }
        assert_eq!(
            found.status,
            ProbeStatus::Attached,
            "{probe}: {}",
            found.why
        );
    }
    session
}

fn kind<'a>(snapshot: &'a Snapshot, kind: &str) -> &'a CallbackView {
    let kinds = &snapshot.callbacks.kinds;
    let names: Vec<&str> = kinds.iter().map(|view| view.kind.as_str()).collect();
    let found = kinds.iter().find(|view| view.kind == kind);
    found.unwrap_or_else(|| panic!("{kind} is not in {names:?}"))
}

/// What the program is told to do.
const DO: [(&str, u64); 9] = [
    ("stat", 200),
    ("promise", 150),
    ("tick", 20),
    ("pbkdf2", 30),
    ("lookup", 10),
    ("request", 40),
    ("timer", 25),
    ("immediate", 300),
    ("spin", 20),
];

/// Kinds of which each run of the program has as many.
const SAME: [&str; 6] = [
    "FSREQCALLBACK",
    "FSREQPROMISE",
    "PBKDF2REQUEST",
    "GETADDRINFOREQWRAP",
    "TCPSERVERWRAP",
    "TCPCONNECTWRAP",
];

#[test]
fn callbacks_are_counted_by_kind_as_async_hooks_does() {
    let Some(_kernel) = kernel_test("callbacks_are_counted_by_kind_as_async_hooks_does") else {
        return;
    };
    for build in node_builds::all() {
        callbacks_agree(&build);
    }
}

fn callbacks_agree(build: &Build) {
    let version = build.name;
    let do_all = |workload: &mut Workload| {
        let answers = DO.map(|(verb, count)| workload.ask(&format!("{verb} {count}")));
        answers.last().unwrap().clone()
    };
    let mut hooked = start(build, &["--hooks", "1"]);
    let truth = do_all(&mut hooked);
    let mut workload = start(build, &[]);
    let session = attach(build, &workload);
    do_all(&mut workload);
    let snapshot = session.finish();
    let view = &snapshot.callbacks;
    assert_eq!(view.watched, Some(1.0));
    let counts: Vec<String> = view
        .kinds
        .iter()
        .map(|view| format!("{} {}", view.kind, view.busy.count))
        .collect();
    println!("{version}: {} of {}", counts.join(", "), truth["made"]);
    for name in SAME {
        let made = truth["made"][name].as_u64().unwrap();
        let found = kind(&snapshot, name);
        assert_eq!(found.busy.count, made, "{version}: {name}");
        assert_eq!(found.ticks.count, made, "{version}: {name}");
    }
    // How often the kernel gives what was written is not the same each time.
    let made = truth["made"]["HTTPINCOMINGMESSAGE"].as_u64().unwrap();
    let found = kind(&snapshot, "HTTPINCOMINGMESSAGE").busy.count;
    assert!(found.abs_diff(made) <= made / 10, "{found} of {made}");
    // One timer is due at a time, and Node has its own.
    let timers = kind(&snapshot, "Timers").busy.count;
    assert!((25..=40).contains(&timers), "{timers} runs of timers");
    let immediates = kind(&snapshot, "Immediates").busy.count;
    assert_eq!(immediates, 300, "{version}");
}

#[test]
fn callbacks_take_as_long_as_they_do() {
    let Some(_kernel) = kernel_test("callbacks_take_as_long_as_they_do") else {
        return;
    };
    for build in node_builds::all() {
        agrees_once(|| times_agree(&build));
    }
}

/// Sum and median of what the program spun.
fn spun(answer: &Value) -> (u64, u64) {
    let times = answer["spun"].as_array().unwrap().iter();
    let mut times: Vec<u64> = times.map(|time| time.as_u64().unwrap()).collect();
    times.sort_unstable();
    (times.iter().sum(), times[times.len() / 2])
}

fn times_agree(build: &Build) {
    let version = build.name;
    let mut workload = start(build, &[]);
    for (verb, of, other) in [("spin", "busy", "ticks"), ("tick", "ticks", "busy")] {
        let session = attach(build, &workload);
        let (sum, median) = spun(&workload.ask(&format!("{verb} 30")));
        let snapshot = session.finish();
        let view = kind(&snapshot, "FSREQCALLBACK");
        println!("{version}, {verb}: {:?}, ticks {:?}", view.busy, view.ticks);
        assert_eq!(view.busy.count, 30);
        let [got, rest] = [of, other].map(|what| match what {
            "busy" => view.busy,
            _ => view.ticks,
        });
        // What it takes to begin and to hand in the next is in it too; on a busy machine the CPU may be taken away there.
        assert!(
            (sum * 99 / 100..sum * 6 / 5).contains(&got.sum.0),
            "{of}: {got:?} of {sum}"
        );
        let half = median..median * 6 / 5;
        assert!(half.contains(&got.p50.0), "{of}: {got:?} of {half:?}");
        assert!(rest.sum.0 < sum / 4, "{other}: {rest:?}");
    }
}

#[test]
fn awaits_are_counted_one_by_one() {
    let Some(_kernel) = kernel_test("awaits_are_counted_one_by_one") else {
        return;
    };
    let builds = node_builds::versions();
    for build in builds.iter().filter(|build| build.major() >= 20) {
        let version = build.name;
        let mut workload = start(build, &[]);
        // Interpreted first, then compiled: it makes no difference.
        for count in [100, 20_000] {
            let session = attach(build, &workload);
            workload.ask(&format!("awaits {count}"));
            let snapshot = session.finish();
            let promises = snapshot.callbacks.promises[0];
            println!("{version}: {promises:?}");
            assert_eq!(promises.awaits, 2 * count, "{version}");
            assert_eq!((promises.resumed, promises.thrown), (2 * count, 0));
            assert!(promises.fulfilled >= count, "{promises:?}");
            let (_, runs) = snapshot.callbacks.microtasks[0];
            assert!(runs.count > 0 && runs.sum.0 > 0, "{runs:?}");
        }
        let session = attach(build, &workload);
        workload.ask("throws 500");
        let snapshot = session.finish();
        let promises = snapshot.callbacks.promises[0];
        assert_eq!((promises.awaits, promises.resumed), (500, 0), "{version}");
        assert_eq!((promises.thrown, promises.rejected), (500, 500));
    }
}

#[test]
fn a_long_callback_is_told_with_its_ids() {
    let Some(_kernel) = kernel_test("a_long_callback_is_told_with_its_ids") else {
        return;
    };
    let mut workload = start(&node_builds::versions()[1], &[]);
    let options = bpf::Options {
        long_poll: Nanos(MS),
        ..bpf::Options::default()
    };
    let session = ByHand::attach(workload.pid(), options);
    workload.ask("spin 5");
    let snapshot = session.finish();
    let long = snapshot.callbacks.long.iter();
    let long: Vec<_> = long.filter(|long| long.kind == "FSREQCALLBACK").collect();
    assert_eq!(long.len(), 5);
    for pair in long.windows(2) {
        assert!(pair[0].busy.0 >= SPIN * 95 / 100, "{:?}", pair[0]);
        assert!(pair[0].since > pair[1].since, "latest first");
        // Each was begun in the callback of the one before.
        assert_eq!(pair[0].trigger_async_id, pair[1].async_id);
    }
}

#[test]
fn callbacks_that_come_too_often_are_watched_at_times() {
    let Some(_kernel) = kernel_test("callbacks_that_come_too_often_are_watched_at_times") else {
        return;
    };
    let mut workload = start(&node_builds::versions()[1], &[]);
    let interval = Nanos(100 * MS);
    // Alone: work for the pool, which comes before it, would take most of what may be spent.
    let alone = bpf::Options {
        groups: vec![Group::Callback],
        ..bpf::Options::default()
    };
    let mut session = ByHand::attach_with(
        workload.pid(),
        Options {
            bpf: alone,
            follow_children: true,
            interval,
            profile: "default".into(),
            max_overhead: Some(0.4),
        },
    );
    let is_over = AtomicBool::new(false);
    let done: u64 = std::thread::scope(|scope| {
        let work = scope.spawn(|| {
            let mut done = 0;
            while !is_over.load(Ordering::Relaxed) {
                done += number(&workload.ask("stat 500"), "count");
            }
            done
        });
        session.run(Nanos(3_000 * MS), interval);
        is_over.store(true, Ordering::Relaxed);
        work.join().unwrap()
    });
    let snapshot = session.finish();
    let share = snapshot.callbacks.watched.unwrap();
    assert!((0.001..0.9).contains(&share), "{share}");
    let found = kind(&snapshot, "FSREQCALLBACK").busy.count;
    println!("{found} of {done}, watched {share:.3} of the time");
    // What lies between two commands is not in all bursts alike.
    assert_close("extrapolated", found, done, 0.5);
}
