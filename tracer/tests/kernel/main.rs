//! Tests on the running kernel: programs that know their own numbers, and the numbers the tracer says of them.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it ran"
)]

#[path = "../common/mod.rs"]
mod common;

mod bounds;
mod cpu;
mod findings;
mod governor;
mod harm;
mod harm_node;
mod io;
mod locks;
mod memory;
mod node;
mod node_builds;
mod node_callbacks;
mod node_heap;
mod node_in_flight;
mod node_loop;
mod node_pool;
mod node_published;
mod node_waits;
mod published;
mod tasks;

use common::{ByHand, Workload, agrees_once, assert_close, fold, kernel_test, number};
use tracer::{
    bpf::{
        self,
        probes::{Group, RUNNING_TASK},
    },
    model::{Life, Snapshot, SyscallView, ThreadView},
    record::ProbeStatus,
};
use tracer_common::{LossReason, State, Tid};

fn call<'a>(snapshot: &'a Snapshot, name: &str) -> &'a SyscallView {
    snapshot
        .syscalls
        .iter()
        .find(|view| view.name == name)
        .unwrap_or_else(|| panic!("no {name} was counted"))
}

fn thread(snapshot: &Snapshot, tid: u64) -> &ThreadView {
    let tid = Some(Tid(u32::try_from(tid).unwrap()));
    snapshot
        .threads
        .iter()
        .find(|view| view.tid == tid)
        .unwrap_or_else(|| panic!("no thread {tid:?}"))
}

/// Threads and system calls, and none of the events that threads cause besides their life.
fn only_calls() -> bpf::Options {
    bpf::Options {
        groups: vec![Group::Process, Group::Sched, Group::Syscall, Group::Timing],
        ..bpf::Options::default()
    }
}

/// Probes that are not of these groups, or wait for a runtime that the target has not.
fn off_by_choice(groups: &[Group]) -> usize {
    bpf::probes::PROBES
        .iter()
        .filter(|probe| !groups.contains(&probe.group) || probe.name == RUNNING_TASK)
        .count()
}

fn assert_balanced(snapshot: &Snapshot) {
    assert_eq!(snapshot.quality.inconsistent, 0);
    for view in &snapshot.threads {
        assert_eq!(view.times.total(), view.wall, "{}", view.name);
        assert!(view.wall.0 > 0, "{} has no time", view.name);
    }
}

#[test]
fn every_probe_loads_and_attaches() {
    let Some(_kernel) = kernel_test("every_probe_loads_and_attaches") else {
        return;
    };
    let all = bpf::Options {
        groups: Group::ALL.to_vec(),
        ..bpf::Options::default()
    };
    let kernel = bpf::Kernel::load(&all).unwrap();
    assert_eq!(kernel.probes().len(), bpf::probes::PROBES.len());
    for probe in kernel.probes() {
        // Those at functions of a runtime wait for a target that has one: see `tasks`.
        let at_functions = Group::ALL.iter().filter(|group| group.is_at_functions());
        let at_functions = at_functions.map(|group| group.name());
        let waits = probe.name == RUNNING_TASK
            || at_functions.into_iter().any(|group| group == probe.group);
        let expected = if waits {
            ProbeStatus::Off
        } else {
            ProbeStatus::Attached
        };
        assert_eq!(probe.status, expected, "{}: {}", probe.name, probe.why);
    }
}

#[test]
fn every_call_is_counted_once() {
    let Some(_kernel) = kernel_test("every_call_is_counted_once") else {
        return;
    };
    let mut truth = Workload::truth();
    let session = ByHand::attach(truth.pid(), bpf::Options::default());
    let started = truth.ask("clocks");
    for (command, count) in [
        ("getppid", 1),
        ("getuid", 777),
        ("getppid", 9_999),
        ("fail", 123),
    ] {
        let answer = truth.ask(&format!("syscalls {command} {count}"));
        assert_eq!(number(&answer, "count"), count);
    }
    let ended = truth.ask("clocks");
    let got = session.finish();
    assert_balanced(&got);
    let getppid = call(&got, "getppid");
    assert_eq!(
        (getppid.count, getppid.errors, getppid.time.count),
        (10_000, 0, 10_000)
    );
    assert_eq!(call(&got, "getuid").count, 777);
    assert_eq!(call(&got, "openat").errors, 123);
    assert_eq!(got.quality.lost, []);

    let elapsed = number(&ended, "at_ns") - number(&started, "at_ns");
    assert!(
        getppid.time.sum.0 < elapsed && getppid.time.p50 <= getppid.time.p99,
        "{:?}",
        getppid.time
    );
    // The other books: the kernel's own count of context switches of that thread.
    let main = thread(&got, number(&ended, "tid"));
    for (field, switches) in [
        ("voluntary_switches", main.times.voluntary),
        ("involuntary_switches", main.times.involuntary),
    ] {
        let theirs = number(&ended, field) - number(&started, field);
        // It was switched a few times more before the first and after the last look at its own books.
        assert!(
            (theirs..=theirs + 8).contains(&switches),
            "{field}: {switches} against {theirs}"
        );
    }
}

#[test]
fn what_finds_no_room_in_the_ring_is_counted() {
    let Some(_kernel) = kernel_test("what_finds_no_room_in_the_ring_is_counted") else {
        return;
    };
    let mut truth = Workload::truth();
    let options = bpf::Options {
        ring_bytes: Some(4096),
        ..only_calls()
    };
    let mut session = ByHand::attach(truth.pid(), options);
    // Each thread sends two events, its start and its exit, and nobody takes any out meanwhile.
    const THREADS: u64 = 300;
    truth.ask(&format!("threads {THREADS}"));
    session.live.drain(&mut session.records);
    let seen = fold(&session.records).quality.events;
    let got = session.finish();
    let lost = got
        .quality
        .lost
        .iter()
        .find(|(reason, _)| *reason == LossReason::RING_FULL)
        .map_or(0, |(_, n)| *n);
    assert!(seen > 0 && lost > 0, "seen {seen}, lost {lost}");
    assert_eq!(seen + lost, 2 * THREADS);
    // The times of those whose exit found no room were taken from the kernel's table: none is missing.
    assert_eq!(call(&got, "getppid").count, THREADS);
    assert!(
        got.threads
            .iter()
            .all(|view| view.life != Life::Alive || view.pid == Some(truth.pid()))
    );
    assert_eq!(
        got.threads
            .iter()
            .filter(|view| view.life == Life::Alive)
            .count(),
        1
    );
}

#[test]
fn a_spinning_thread_is_on_the_cpu_as_long_as_its_own_clock_says() {
    let Some(_kernel) =
        kernel_test("a_spinning_thread_is_on_the_cpu_as_long_as_its_own_clock_says")
    else {
        return;
    };
    agrees_once(|| {
        let mut truth = Workload::truth();
        let session = ByHand::attach(truth.pid(), bpf::Options::default());
        let answer = truth.ask("spin-thread 400");
        let got = session.finish();
        assert_balanced(&got);
        let spinner = thread(&got, number(&answer, "tid"));
        assert_eq!(spinner.name, "spinner");
        assert_close(
            "on-CPU time",
            spinner.times.of(State::ON_CPU).0,
            number(&answer, "cpu_ns"),
            0.02,
        );
    });
}

#[test]
fn waits_are_as_long_as_the_waiting_thread_says_and_for_the_right_reason() {
    let Some(_kernel) =
        kernel_test("waits_are_as_long_as_the_waiting_thread_says_and_for_the_right_reason")
    else {
        return;
    };
    let mut truth = Workload::truth();
    let session = ByHand::attach(truth.pid(), bpf::Options::default());
    let answers = [
        (State::SLEEP, truth.ask("sleep-thread 300")),
        (State::FUTEX, truth.ask("futex 300")),
        (State::EPOLL, truth.ask("epoll 300")),
    ];
    let got = session.finish();
    assert_balanced(&got);
    for (state, answer) in answers {
        let waiter = thread(&got, number(&answer, "tid"));
        let wall = number(&answer, "wall_ns");
        let (blocked, runnable) = (waiter.times.of(state).0, waiter.times.of(State::RUNNABLE).0);
        // The thread's own clock runs on while it waits for a CPU after it was woken; it does not run while the
        // thread waits for one before its first and after its last line.
        assert!(blocked <= wall + wall / 50, "{answer}: {:?}", waiter.times);
        assert!(
            blocked + runnable >= wall - wall / 50,
            "{answer}: {:?}",
            waiter.times
        );
        assert!(blocked >= wall / 2, "{answer}: {:?}", waiter.times);
    }
}

#[test]
fn without_system_call_probes_waits_are_told_apart_all_the_same() {
    let Some(_kernel) = kernel_test("without_system_call_probes_waits_are_told_apart_all_the_same")
    else {
        return;
    };
    let mut truth = Workload::truth();
    let options = bpf::Options {
        groups: vec![Group::Process, Group::Sched],
        ..bpf::Options::default()
    };
    let session = ByHand::attach(truth.pid(), options);
    let answer = truth.ask("epoll 200");
    let got = session.finish();
    assert_close(
        "epoll",
        thread(&got, number(&answer, "tid"))
            .times
            .of(State::EPOLL)
            .0,
        number(&answer, "wall_ns"),
        0.1,
    );
    assert!(got.syscalls.is_empty());
    let off: Vec<_> = got
        .quality
        .probes
        .iter()
        .filter(|probe| probe.status == ProbeStatus::Off)
        .map(|probe| &probe.name)
        .collect();
    assert_eq!(off.len(), off_by_choice(&[Group::Process, Group::Sched]));
}

#[test]
fn a_thread_met_inside_a_call_is_charged_to_it_from_attach_on() {
    let Some(_kernel) = kernel_test("a_thread_met_inside_a_call_is_charged_to_it_from_attach_on")
    else {
        return;
    };
    let mut truth = Workload::truth();
    let holding = truth.ask("hold-syscall 2500");
    let session = ByHand::attach(truth.pid(), bpf::Options::default());
    let joined = truth.ask("join");
    let got = session.finish();
    assert_balanced(&got);
    let holder = thread(&got, number(&holding, "tid"));
    let left = number(&joined, "end_ns") - got.session.started.0;
    assert!(
        left > 100_000_000,
        "the machine was too slow to meet it asleep: {left} ns left"
    );
    let (slept, runnable) = (
        holder.times.of(State::SLEEP).0,
        holder.times.of(State::RUNNABLE).0,
    );
    assert!(
        slept <= left + left / 50 && slept + runnable >= left - left / 50,
        "{left} left: {:?}",
        holder.times
    );
    assert_eq!(holder.times.of(State::UNKNOWN).0, 0);
    // The call is known to have returned, but not how long it took.
    let nanosleep = call(&got, number_name(&holding));
    assert_eq!(
        (nanosleep.count, nanosleep.time.count, nanosleep.time.sum.0),
        (1, 0, 0)
    );
}

fn number_name(answer: &serde_json::Value) -> &str {
    answer["syscall"].as_str().unwrap()
}

#[test]
fn a_storm_of_short_threads_is_counted_to_the_last_one() {
    let Some(_kernel) = kernel_test("a_storm_of_short_threads_is_counted_to_the_last_one") else {
        return;
    };
    const THREADS: u64 = 2_000;
    let mut truth = Workload::truth();
    let mut session = ByHand::attach(truth.pid(), only_calls());
    truth.ask(&format!("threads {}", THREADS / 2));
    session.live.tick(&mut session.records);
    truth.ask(&format!("threads {}", THREADS / 2));
    let got = session.finish();
    assert_balanced(&got);
    assert_eq!(got.quality.lost, []);
    assert_eq!(got.quality.events, 2 * THREADS);
    assert_eq!(call(&got, "getppid").count, THREADS);
    let storm: u64 = got
        .threads
        .iter()
        .filter(|view| view.name == "storm")
        .map(|view| match view.life {
            Life::Alive => 0,
            Life::Ended => 1,
            Life::Folded(count) => count,
        })
        .sum();
    assert_eq!(storm, THREADS);
}

#[test]
fn threads_and_children_born_while_attaching_are_neither_missed_nor_doubled() {
    let Some(_kernel) =
        kernel_test("threads_and_children_born_while_attaching_are_neither_missed_nor_doubled")
    else {
        return;
    };
    // Enough to last through loading, and no system calls: nobody takes them out of their table meanwhile.
    let options = bpf::Options {
        groups: vec![Group::Process, Group::Sched],
        ..bpf::Options::default()
    };
    for command in ["threads 10000", "fork 1000"] {
        let mut truth = Workload::truth();
        truth.tell(command);
        let session = ByHand::attach(truth.pid(), options.clone());
        truth.answer();
        let got = session.finish();
        assert!(
            got.quality.events > 0,
            "{command} was over before tracer was attached"
        );
        // A second identity of a thread would have no time, or never end.
        for view in &got.threads {
            assert!(view.wall.0 > 0, "{command}: {view:?}");
            assert_eq!(view.times.total(), view.wall);
        }
        let living = |view: &&ThreadView| view.life == Life::Alive;
        let living: Vec<_> = got.threads.iter().filter(living).collect();
        assert_eq!(living.len(), 1, "{command}: {living:?}");
        assert_eq!(got.quality.lost, []);
        let left = got
            .processes
            .iter()
            .filter(|process| process.exit.is_none())
            .count();
        assert_eq!(left, 1, "{command}: {:?}", got.processes);
    }
}

#[test]
fn children_are_followed_and_their_exits_reported() {
    let Some(_kernel) = kernel_test("children_are_followed_and_their_exits_reported") else {
        return;
    };
    let mut truth = Workload::truth();
    let session = ByHand::attach(truth.pid(), bpf::Options::default());
    truth.ask("fork 20");
    let got = session.finish();
    assert_balanced(&got);
    let children: Vec<_> = got
        .processes
        .iter()
        .filter(|process| process.pid != truth.pid())
        .collect();
    assert_eq!(children.len(), 20);
    for child in children {
        assert_eq!(
            (child.exit, child.parent),
            (Some(0), truth.pid()),
            "{child:?}"
        );
    }
    assert_eq!(call(&got, "execve").count, 20);
}

#[test]
fn a_target_that_ends_is_said_to_have_ended() {
    let Some(_kernel) = kernel_test("a_target_that_ends_is_said_to_have_ended") else {
        return;
    };
    let truth = Workload::truth();
    let pid = truth.pid();
    let mut session = ByHand::attach(pid, bpf::Options::default());
    truth.end();
    let gone = common::wait_until(std::time::Duration::from_secs(5), || {
        session.live.drain(&mut session.records);
        session.live.all_exited()
    });
    assert!(gone, "its exit was not seen");
    let got = session.finish();
    assert_balanced(&got);
    assert!(got.all_exited());
    assert_eq!(got.processes[0].exit, Some(0));
    assert!(
        got.threads.iter().all(|view| view.life != Life::Alive),
        "{:?}",
        got.threads
    );
}

#[test]
fn every_living_thread_is_accounted_for_the_whole_window() {
    let Some(_kernel) = kernel_test("every_living_thread_is_accounted_for_the_whole_window") else {
        return;
    };
    let mut service = Workload::node(&["service.mjs"]);
    let mut session = ByHand::attach(service.pid(), bpf::Options::default());
    // The service says its truth each second.
    service.ask("");
    session.live.tick(&mut session.records);
    service.ask("");
    let got = session.finish();
    assert_balanced(&got);
    let living: Vec<_> = got
        .threads
        .iter()
        .filter(|view| view.life == Life::Alive)
        .collect();
    assert!(living.len() >= 5, "{living:?}");
    for view in living {
        assert_close(&view.name, view.wall.0, got.duration().0, 0.01);
        assert_eq!(view.times.of(State::UNKNOWN).0, 0, "{view:?}");
    }
}

/// CPU time and run queue latency of all threads of a process, in nanoseconds, by the scheduler's own books
/// (`/proc/PID/task/TID/schedstat`).
fn schedstat(pid: u32) -> (u64, u64) {
    let mut sum = (0, 0);
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let line = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
        let mut numbers = line
            .split(' ')
            .map(|word| word.trim().parse::<u64>().unwrap());
        sum.0 += numbers.next().unwrap();
        sum.1 += numbers.next().unwrap();
    }
    sum
}

#[test]
fn cpu_time_and_run_queue_latency_agree_with_the_schedulers_own_books() {
    let Some(_kernel) =
        kernel_test("cpu_time_and_run_queue_latency_agree_with_the_schedulers_own_books")
    else {
        return;
    };
    let mut service = Workload::node(&["service.mjs"]);
    let port = service.ready["port"].to_string();
    let client = Workload::node(&["client.mjs", "--port", &port]);
    service.ask("");
    let mut session = ByHand::attach(service.pid(), bpf::Options::default());
    // A tick ends with the threads, so their books are read at the same moments, whatever the machine does besides.
    session.tick();
    let before = schedstat(service.pid().0);
    let first = fold(&session.records);
    for _ in 0..3 {
        service.ask("");
    }
    session.tick();
    let after = schedstat(service.pid().0);
    let got = fold(&session.records);
    drop((session, client));
    let sum = |snapshot: &Snapshot, states: &[State]| -> u64 {
        snapshot
            .threads
            .iter()
            .flat_map(|view| states.iter().map(|&state| view.times.of(state).0))
            .sum()
    };
    let ours = |states: &[State]| sum(&got, states) - sum(&first, states);
    // The kernel takes its time when a switch begins, the tracepoint sits in its middle: some microseconds for each,
    // more when the CPU comes out of idle with cold caches. Threads with few switches are held to 2 % elsewhere.
    let switches: u64 = got
        .threads
        .iter()
        .map(|view| view.times.voluntary + view.times.involuntary)
        .sum();
    for (what, states, theirs) in [
        ("on-CPU", &[State::ON_CPU][..], after.0 - before.0),
        (
            "run queue",
            &[State::RUNNABLE, State::PREEMPTED],
            after.1 - before.1,
        ),
    ] {
        let ours = ours(states);
        let slack = theirs / 50 + switches * 15_000;
        assert!(
            ours.abs_diff(theirs) < slack,
            "{what}: {ours} against {theirs}, {switches} switches"
        );
    }
}
