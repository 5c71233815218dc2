//! What grows without end elsewhere is bounded here, and what does not fit is said.

use tracer::{
    bpf::{self, probes::Group},
    model::Life,
};
use tracer_common::{Nanos, State};

use crate::common::{ByHand, Workload, fold, kernel_test, number};

#[test]
fn two_thousand_threads_are_each_accounted() {
    let Some(_kernel) = kernel_test("two_thousand_threads_are_each_accounted") else {
        return;
    };
    let mut truth = Workload::truth();
    // No events besides lives and ends: nobody takes any out of the ring while the crowd comes and goes.
    let options = bpf::Options {
        groups: vec![Group::Process, Group::Sched, Group::Lock, Group::Syscall],
        long_wait: Nanos(u64::MAX / 2),
        ..bpf::Options::default()
    };
    let mut session = ByHand::attach(truth.pid(), options);
    truth.ask("crowd 2000");
    session.tick();
    let snapshot = fold(&session.records);
    let waiting = snapshot
        .threads
        .iter()
        .filter(|thread| thread.life == Life::Alive && thread.state == State::FUTEX)
        .filter(|thread| thread.waiting_on != 0)
        .count();
    assert_eq!(waiting, 2_000, "and each says what it waits on");
    assert_eq!(snapshot.quality.lost, []);
    let ended = truth.ask("crowd-end");
    let snapshot = session.finish();
    assert_eq!(number(&ended, "threads"), 2_000);
    let ended: u64 = snapshot
        .threads
        .iter()
        .map(|thread| match thread.life {
            Life::Alive => 0,
            Life::Ended => 1,
            Life::Folded(count) => count,
        })
        .sum();
    assert!(ended >= 2_000, "{ended}");
    assert_eq!(snapshot.quality.lost, []);
}

#[test]
fn five_hundred_forks_a_second_are_followed() {
    let Some(_kernel) = kernel_test("five_hundred_forks_a_second_are_followed") else {
        return;
    };
    let mut truth = Workload::truth();
    let mut session = ByHand::attach(truth.pid(), bpf::Options::default());
    truth.tell("forks 1500 500");
    // The command takes three seconds: ticks as often as in life.
    for _ in 0..30 {
        crate::common::wait_until(std::time::Duration::from_millis(100), || {
            session.live.drain(&mut session.records);
            false
        });
        session.tick();
    }
    let answer = truth.answer();
    let snapshot = session.finish();
    assert_eq!(number(&answer, "count"), 1_500);
    let exited = snapshot
        .processes
        .iter()
        .filter(|process| process.exit.is_some())
        .count() as u64;
    assert_eq!(exited + snapshot.processes_folded, 1_500);
    assert_eq!(snapshot.quality.lost, []);
    assert_eq!(snapshot.quality.inconsistent, 0);
}
