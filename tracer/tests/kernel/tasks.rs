//! Tokio tasks: polls, ends, times and wakes by type, against a program that counts its own.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tracer::{
    bpf::{self, probes::Group},
    model::{PollerView, Snapshot, TaskTypeView},
    record::{ProbeStatus, TaskKind},
    source::live::Options,
};
use tracer_common::Nanos;
use xtask::matrix::{self, Flavour, Matrix, NEWEST};

use crate::common::{ByHand, Workload, agrees_once, example, fold, kernel_test, number};

/// The workload against this version of tokio, built this way.
fn program(version: &str, flavour: Flavour, arguments: &[&str]) -> Workload {
    let matrix = Matrix::of_this_test().unwrap();
    let path = matrix.program(version, flavour).unwrap();
    Workload::start(Command::new(path).args(arguments))
}

/// The newest version, with names for all types: the newer mangling of names tells types exactly.
fn newest() -> Workload {
    program(NEWEST, Flavour::V0, &[])
}

fn attach(workload: &Workload) -> ByHand {
    let session = ByHand::attach(workload.pid(), bpf::Options::default());
    for probe in ["task_poll", "task_poll_return", "task_wake"] {
        let probes = session.live.probes();
        let found = probes.iter().find(|known| known.name == probe).unwrap();
        assert_eq!(found.status, ProbeStatus::Attached, "{}", found.why);
    }
    session
}

/// The type with this name.
fn of_type<'a>(snapshot: &'a Snapshot, name: &str) -> &'a TaskTypeView {
    let types = &snapshot.tasks.types;
    let mut found = types.iter().filter(|view| view.name == name);
    let names: Vec<&str> = types.iter().map(|view| view.name.as_str()).collect();
    let one = found
        .next()
        .unwrap_or_else(|| panic!("no {name} in {names:?}"));
    assert!(found.next().is_none(), "{name} twice in {names:?}");
    one
}

fn kind<'a>(truth: &'a Value, name: &str) -> &'a Value {
    let kinds = truth["kinds"].as_array().unwrap();
    kinds.iter().find(|kind| kind["kind"] == name).unwrap()
}

/// What the script of `go N` does to the runtime, all types together: a task that is aborted is polled once more, to be
/// dropped.
struct Script {
    tasks: u64,
    polls: u64,
    cancelled: u64,
}

impl Script {
    fn of(truth: &Value) -> Self {
        let kinds = truth["kinds"].as_array().unwrap();
        let sum = |field: &str| kinds.iter().map(|kind| number(kind, field)).sum::<u64>();
        Self {
            tasks: sum("spawned"),
            polls: sum("polls") + sum("cancelled"),
            cancelled: sum("cancelled"),
        }
    }
}

fn sum(snapshot: &Snapshot, field: impl Fn(&TaskTypeView) -> u64) -> u64 {
    snapshot.tasks.types.iter().map(field).sum()
}

/// Every poll and every end was seen once, and the books balance.
fn assert_exact(snapshot: &Snapshot, script: &Script) {
    assert_eq!(sum(snapshot, |view| view.polls), script.polls, "polls");
    assert_eq!(
        sum(snapshot, |view| view.busy.count),
        script.polls,
        "returns"
    );
    assert_eq!(
        sum(snapshot, |view| view.spawned.unwrap()),
        script.tasks,
        "spawned"
    );
    assert_eq!(
        sum(snapshot, |view| view.completed),
        script.tasks,
        "completed"
    );
    assert_eq!(
        sum(snapshot, |view| view.cancelled),
        script.cancelled,
        "cancelled"
    );
    assert_eq!(
        sum(snapshot, |view| view.lifetime.count),
        script.tasks,
        "lifetimes"
    );
    assert_eq!(snapshot.quality.lost, []);
    assert_eq!(snapshot.quality.inconsistent, 0);
}

/// Each poll has a reason: it was the first, it followed a wake that was seen, or one during the poll before. A task
/// that is aborted is queued without a wake.
fn assert_balanced(snapshot: &Snapshot, script: &Script) {
    let reasons = sum(snapshot, |view| {
        view.spawned.unwrap() + view.queued + view.rescheduled
    });
    assert_eq!(reasons + script.cancelled, script.polls);
}

/// What works on a build, as a row of a table.
fn row(version: &str, flavour: Flavour, snapshot: &Snapshot) -> String {
    let types: Vec<&TaskTypeView> = snapshot
        .tasks
        .types
        .iter()
        .filter(|view| view.polls > 0)
        .collect();
    let nameless = |view: &&&TaskTypeView| view.name.contains("type #");
    let named = types.len() - types.iter().filter(nameless).count();
    let placed = types.iter().filter(|view| view.line > 0).count();
    let probe = |name: &str| {
        let mut probes = snapshot.quality.probes.iter();
        match probes.find(|probe| probe.name == name).unwrap().status {
            ProbeStatus::Attached => "yes",
            ProbeStatus::Degraded | ProbeStatus::Refused | ProbeStatus::Off => "no",
        }
    };
    format!(
        "| {version} {} | exact | {named} of {} | {placed} | {} | {} | {} |",
        flavour.name(),
        types.len(),
        probe("task_wake"),
        probe("task_spawn"),
        probe("running_task"),
    )
}

#[test]
fn every_poll_of_every_version_is_counted_once_however_it_was_built() {
    let Some(_kernel) =
        kernel_test("every_poll_of_every_version_is_counted_once_however_it_was_built")
    else {
        return;
    };
    println!(
        "| tokio, build | polls, ends | types named | with source | wakes | blocking queue | current task |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for (version, flavour) in matrix::all() {
        let mut workload = program(version, flavour, &[]);
        let session = ByHand::attach(workload.pid(), bpf::Options::default());
        let script = Script::of(&workload.ask("go 20"));
        let snapshot = session.finish();
        let [runtime] = &snapshot.tasks.runtimes[..] else {
            panic!("{:?}", snapshot.tasks.runtimes)
        };
        assert_eq!(runtime.kind, "tokio");
        assert!(runtime.version.starts_with(version), "{}", runtime.version);
        if (version, flavour) == ("1.20", Flavour::Stripped) {
            // Its vtables have no shape of their own, and there is no name that leads to them.
            assert_eq!(runtime.notes.len(), 1);
            assert!(snapshot.tasks.types.is_empty());
            println!(
                "| {version} {} | none: {} | | | | | |",
                flavour.name(),
                runtime.notes[0]
            );
            continue;
        }
        println!("{}", row(version, flavour, &snapshot));
        assert_exact(&snapshot, &script);
        assert_balanced(&snapshot, &script);
    }
}

#[test]
fn every_kind_of_runtime_is_seen_whole() {
    let Some(_kernel) = kernel_test("every_kind_of_runtime_is_seen_whole") else {
        return;
    };
    for runtime in ["multi_thread", "current_thread", "local"] {
        for second in [false, true] {
            let mut arguments = vec!["--runtime", runtime];
            arguments.extend(second.then_some("--second"));
            let mut workload = program(NEWEST, Flavour::Release, &arguments);
            let session = attach(&workload);
            let script = Script::of(&workload.ask("go 20"));
            let snapshot = session.finish();
            assert_exact(&snapshot, &script);
            assert_balanced(&snapshot, &script);
        }
    }
    // A task that blocks in place gives its worker's work to another thread, and its poll goes on there.
    let mut workload = newest();
    let session = attach(&workload);
    workload.ask("in-place 20 3");
    let script = Script::of(&workload.ask("truth"));
    let mut snapshot = session.finish();
    // Each thread that takes over is a task of the blocking pool, which never ends.
    snapshot
        .tasks
        .types
        .retain(|view| view.kind == TaskKind::Async);
    assert_exact(&snapshot, &script);
}

/// Within `share` of it, or nearer than `least`.
fn assert_near(what: &str, got: u64, want: u64, share: f64, least: u64) {
    let allowed = ((want as f64 * share) as u64).max(least);
    assert!(
        got.abs_diff(want) <= allowed,
        "{what}: {got} is not within {allowed} of {want}"
    );
}

#[test]
fn polls_and_queues_take_as_long_as_the_program_measures() {
    let Some(_kernel) = kernel_test("polls_and_queues_take_as_long_as_the_program_measures") else {
        return;
    };
    /// What a probed entry and return add to what is measured inside or outside of them.
    const PROBES: u64 = 3_000;
    agrees_once(|| {
        let mut workload = newest();
        let session = attach(&workload);
        workload.ask("go 200");
        workload.ask("slow 20 8");
        let truth = workload.ask("truth");
        let snapshot = session.finish();
        for (name, kind_name) in [
            ("Counted<counted>", "counted"),
            ("Counted<spinner>", "spinner"),
            ("Counted<dozer>", "dozer"),
        ] {
            let (view, kind) = (of_type(&snapshot, name), kind(&truth, kind_name));
            let busy = &kind["busy"];
            assert_eq!(view.busy.count, number(kind, "polls"), "{name}");
            let (sum, polls) = (number(busy, "sum_ns"), view.busy.count);
            // A poll that is preempted between the program's clock readings and the probes' is longer for the probes only.
            let off: u64 = view.off.iter().map(|time| time.0).sum();
            // An interrupt there is a hundredth at most.
            let bounds = sum..=sum + sum / 50 + off + polls * PROBES;
            let got = view.busy.sum.0;
            assert!(bounds.contains(&got), "{name}: {got} is not in {bounds:?}");
            // A quantile is the middle of a bucket that is an eighth wide. Half of the polls of the slow ones are short,
            // so their middle is anywhere between; the slowest of a thousand short ones are those an interrupt met.
            let (got, field, share) = if kind_name == "counted" {
                (view.busy.p50, "p50_ns", 0.08)
            } else {
                (view.busy.p99, "p99_ns", 0.1)
            };
            assert_near(
                &format!("{name} {field}"),
                got.0,
                number(busy, field),
                share,
                PROBES,
            );
        }
        for (name, kind_name) in [("Stamped<stamped>", "stamped"), ("Countdown", "countdown")] {
            let (view, kind) = (of_type(&snapshot, name), kind(&truth, kind_name));
            let scheduled = &kind["scheduled"];
            let count = number(scheduled, "count");
            assert_eq!(view.scheduled.count, count, "{name}");
            let p50 = number(scheduled, "p50_ns");
            assert_near(name, view.scheduled.p50.0, p50, 0.08, PROBES);
        }
    });
}

#[test]
fn a_wake_has_a_waker() {
    let Some(_kernel) = kernel_test("a_wake_has_a_waker") else {
        return;
    };
    let mut workload = newest();
    // With the kernel side's debug lines: programs at functions are loaded in another way than the others.
    let options = bpf::Options {
        debug: true,
        ..bpf::Options::default()
    };
    let session = ByHand::attach(workload.pid(), options);
    workload.ask("ping 50");
    workload.ask("nag 40");
    let truth = workload.ask("truth");
    let snapshot = session.finish();
    let players = of_type(&snapshot, "Player");
    assert_eq!((players.polls, players.wakes), (102, Some(100)));
    assert_eq!(
        (players.self_wakes, players.redundant_wakes),
        (Some(0), Some(0))
    );
    assert_eq!(players.wakers, [("Player".to_owned(), 100)]);
    let nagged = kind(&truth, "nagged");
    let found = snapshot
        .tasks
        .types
        .iter()
        .find(|view| view.polls == number(nagged, "polls"));
    println!("{found:?}");
}

#[test]
fn a_long_poll_says_what_held_it() {
    let Some(_kernel) = kernel_test("a_long_poll_says_what_held_it") else {
        return;
    };
    const MS: u64 = 1_000_000;
    let mut workload = newest();
    let session = attach(&workload);
    workload.ask("slow 30 6");
    let snapshot = session.finish();
    let split = |name: &str| {
        let view = of_type(&snapshot, name);
        assert!(view.long_polls >= 6, "{name}: {}", view.long_polls);
        let [ready, futex, io, fault, other] = view.off.map(|time| time.0);
        println!("{name}: busy {:?}, off {:?}", view.busy, view.off);
        assert!(io + fault < view.busy.sum.0 / 20);
        (ready, futex, other, view.busy.sum.0)
    };
    let (_, futex, other, _) = split("Counted<spinner>");
    assert!(futex + other < 10 * MS);
    let (_, _, other, _) = split("Counted<dozer>");
    assert!(other >= 6 * 29 * MS);
    let (_, futex, ..) = split("Counted<lock_waiter>");
    assert!(futex >= 6 * 20 * MS);
    let polls = &snapshot.tasks.long_polls;
    assert!(
        polls.len() >= 18
            && polls
                .iter()
                .all(|poll| poll.task != 0 && poll.busy.0 >= 10 * MS)
    );
    // The second CPU sample of the same poll, if not the first, falls into the spin; waits always have a stack.
    for name in ["Counted<dozer>", "Counted<spinner>"] {
        let of_name = polls.iter().filter(|poll| poll.name == name);
        let placed = of_name.filter(|poll| !poll.stack.is_empty()).count();
        assert!(placed >= 4, "{name}: {placed}");
    }
}

#[test]
fn without_a_probe_in_the_target_time_is_charged_to_tasks() {
    let Some(_kernel) = kernel_test("without_a_probe_in_the_target_time_is_charged_to_tasks")
    else {
        return;
    };
    let mut workload = Workload::start(&mut Command::new(example("tokio-service")));
    let options = bpf::Options {
        groups: Group::LIGHT.to_vec(),
        ..bpf::Options::default()
    };
    let mut session = ByHand::attach(workload.pid(), options);
    let first = workload.answer();
    session.tick();
    let last = loop {
        let last = workload.answer();
        session.tick();
        if number(&last, "blocker_runs") >= number(&first, "blocker_runs") + 20 {
            break last;
        }
    };
    let snapshot = session.finish();
    let spent = |field: &str| number(&last, field) - number(&first, field);
    let blocker = of_type(&snapshot, "poll_blocker");
    println!("{blocker:?}");
    // One sample stands for 10 ms of CPU time, and the first second is not in the truth.
    let cpu = spent("blocker_cpu_ns");
    let got = blocker.sampled_cpu.0;
    assert!(got > cpu / 2 && got < 3 * cpu, "{got} of {cpu}");
    assert!(blocker.alive.is_some_and(|alive| alive.unfinished() == 1));
    assert_eq!(blocker.polls, 0, "polls are not watched");
    let writers = of_type(&snapshot, "ledger_writer");
    assert!(
        writers.off[1].0 > spent("lock_wait_ns") / 8,
        "{:?}",
        writers.off
    );
}

/// A session takes the probes off before it reads the last numbers, and closes their links side by side: the time that
/// takes is not time in which polls went unseen.
#[test]
fn the_end_of_a_session_makes_no_estimate_of_a_count() {
    let Some(_kernel) = kernel_test("the_end_of_a_session_makes_no_estimate_of_a_count") else {
        return;
    };
    let mut workload = newest();
    let pid = workload.pid().0.to_string();
    let tracer = Command::new(env!("CARGO_BIN_EXE_tracer"))
        .args(["report", "--json", "-d", "1h", "--max-overhead", "none"])
        .args(["-p", &pid, "-v"])
        .env("TRACER_CACHE_DIR", "")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut tracer = Ended(tracer);
    let mut lines = BufReader::new(tracer.0.stderr.take().unwrap()).lines();
    let ready = lines.find(|line| line.as_ref().unwrap().contains("ready to be watched"));
    assert!(ready.is_some());
    workload.ask("go 20");
    let truth = workload.ask("truth");
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&tracer.0),
        rustix::process::Signal::INT,
    )
    .unwrap();
    let report: Value = serde_json::from_reader(tracer.0.stdout.take().unwrap()).unwrap();
    assert!(lines.all(|line| line.is_ok()));
    let tasks = report["tasks"].as_array().unwrap();
    let plain = tasks.iter().find(|of| of["type"] == "plain").unwrap();
    let told = kind(&truth, "plain");
    for count in ["spawned", "completed", "polls"] {
        assert_eq!(plain[count], told[count], "{count}: {plain}");
    }
}

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_is_watched_at_times_is_extrapolated() {
    let Some(_kernel) = kernel_test("what_is_watched_at_times_is_extrapolated") else {
        return;
    };
    let mut workload = newest();
    let interval = Nanos(200_000_000);
    let mut session = ByHand::attach_with(
        workload.pid(),
        Options {
            bpf: bpf::Options::default(),
            follow_children: true,
            interval,
            profile: "default".into(),
            max_overhead: Some(0.2),
        },
    );
    // A hundred polls each 5 ms, on the clock of the program.
    workload.ask("load 20000");
    session.run(Nanos(8_000_000_000), interval);
    let truth = workload.ask("truth");
    let snapshot = session.finish();
    let polls = number(kind(&truth, "steady"), "polls");
    let share = snapshot.tasks.watched.unwrap();
    assert!((0.01..0.95).contains(&share), "{share}");
    assert!(snapshot.tasks.is_sampled());
    let view = of_type(&snapshot, "Counted<steady>");
    assert_near("polls", view.polls, polls, 0.1, 0);
    let wakes = view.wakes.unwrap();
    assert_near("wakes", wakes, polls, 0.1, 0);
    assert_eq!(view.spawned, None, "that would be a guess");
    let parks = by_pollers(&snapshot, |poller| poller.parks);
    println!("{parks} parks of {} sleeps", sleeps(&snapshot));
    // Nothing sleeps in a poll here. A few hundred parks, in 3 to 5 % of the time: 11 % off at most in three runs.
    assert_near("parks", parks, sleeps(&snapshot), 0.3, 0);
    let ratio = snapshot.quality.target_cpu_ratio.unwrap();
    println!(
        "{share} of the time, {} of {polls} polls, cost {ratio}",
        view.polls
    );
    for probe in &snapshot.quality.probes {
        if probe.name.starts_with("task_") {
            assert_eq!(probe.status, ProbeStatus::Degraded, "{}", probe.name);
        }
    }
}

#[test]
fn closures_for_the_blocking_pool_wait_for_a_thread() {
    let Some(_kernel) = kernel_test("closures_for_the_blocking_pool_wait_for_a_thread") else {
        return;
    };
    const MS: u64 = 1_000_000;
    for version in ["1.32", "1.38", "1.44", NEWEST] {
        // 12 closures of 10 ms on 2 threads: the last two wait 50 ms.
        let mut workload = program(version, Flavour::V0, &["--blocking-threads", "2"]);
        let session = attach(&workload);
        workload.ask("blocking 12 10");
        let truth = workload.ask("truth");
        let snapshot = session.finish();
        let mut types = snapshot.tasks.types.iter();
        let closures = types.find(|view| view.completed == 12).unwrap();
        assert_eq!(closures.kind, TaskKind::Blocking);
        let queued = &kind(&truth, "pooled")["queued"];
        let waited = &closures.scheduled;
        assert_eq!(
            (waited.count, closures.spawned),
            (12, Some(12)),
            "{version}"
        );
        assert_near(
            version,
            waited.sum.0,
            number(queued, "sum_ns"),
            0.1,
            12 * MS,
        );
        assert_near(version, waited.max.0, number(queued, "max_ns"), 0.1, MS);
        assert!(closures.busy.p50.0 >= 9 * MS, "{:?}", closures.busy);
        let threads = snapshot
            .tasks
            .pollers
            .iter()
            .filter(|poller| poller.blocking > 0);
        assert_eq!(threads.count(), 2);
    }
}

/// What all threads together counted.
fn by_pollers(snapshot: &Snapshot, field: impl Fn(&PollerView) -> u64) -> u64 {
    snapshot.tasks.pollers.iter().map(field).sum()
}

/// How often those threads left their CPU to wait, since attach.
fn sleeps(snapshot: &Snapshot) -> u64 {
    by_pollers(snapshot, |poller| {
        let mut threads = snapshot.threads.iter();
        let thread = threads.find(|thread| thread.tid == Some(poller.tid));
        thread.unwrap().times.voluntary
    })
}

#[test]
fn a_worker_parks_as_often_as_tokio_says() {
    let Some(_kernel) = kernel_test("a_worker_parks_as_often_as_tokio_says") else {
        return;
    };
    let parks_of = |truth: &Value| -> u64 {
        let of_workers = truth["runtimes"][0]["worker_park_count"].as_array();
        of_workers.unwrap().iter().filter_map(Value::as_u64).sum()
    };
    let second = Nanos(1_000_000_000);
    // A thread that takes over for a task which blocks in place is seen to begin its loop: a closure with polls inside.
    for (runtime, in_place) in [
        ("multi_thread", 0),
        ("multi_thread", 4),
        ("current_thread", 0),
    ] {
        let mut workload = program(NEWEST, Flavour::V0, &["--runtime", runtime]);
        let mut session = attach(&workload);
        if in_place > 0 {
            workload.ask(&format!("in-place {in_place} 5"));
        }
        let before = parks_of(&workload.ask("truth"));
        // Ten timers, each 5 ms.
        workload.ask("load 2000");
        session.run(second, second);
        workload.ask("load-end");
        let want = parks_of(&workload.ask("truth")) - before;
        session.tick();
        let got = by_pollers(&fold(&session.records), |poller| poller.parks);
        println!("{runtime}: {got} parks, tokio says {want}");
        // Of those that tokio counts, 51 to 92 of 100 slept: the others had been woken already, or a timer was due.
        assert!(got <= want + want / 10 && got >= want / 3);
        // Fifty sleeps in a poll, and as many waits for a lock: no parks, and in the other books.
        workload.ask("slow 2 50");
        let snapshot = session.finish();
        let voluntary = sleeps(&snapshot);
        let got = by_pollers(&snapshot, |poller| poller.parks);
        println!("{runtime}: {got} parks of {voluntary} sleeps");
        assert_near("sleeps", got + 2 * 50 + in_place, voluntary, 0.03, 10);
    }
}

#[test]
fn a_task_that_another_worker_had_woken_has_moved() {
    let Some(_kernel) = kernel_test("a_task_that_another_worker_had_woken_has_moved") else {
        return;
    };
    let mut workload = newest();
    let session = attach(&workload);
    workload.ask("meet 300 16");
    let truth = workload.ask("truth");
    let snapshot = session.finish();
    let want = number(kind(&truth, "member"), "moved");
    let got = by_pollers(&snapshot, |poller| poller.moved.unwrap());
    println!("{got} moved, {want} by the program");
    // A thread that wakes others in its very first poll is one that polls to the program, and not yet to the probes. A
    // wake at the end of a poll may be one during it to the one, and after it to the other.
    assert_near("moved", got, want, 0.01, 16);
    assert!(want > 16);
}
