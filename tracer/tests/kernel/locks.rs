//! Futexes: every wait by address, how long, who woke whom, how calls ended.

use serde_json::Value;
use tracer::{
    bpf::{self, probes::Group},
    model::{LockView, Snapshot},
};
use tracer_common::{
    LossReason, State, Tid,
    table::{LockKind, Locks},
};

use crate::common::{ByHand, Workload, fold, kernel_test, lost, number, rows};

fn light() -> bpf::Options {
    bpf::Options {
        groups: Group::LIGHT.to_vec(),
        ..bpf::Options::default()
    }
}

fn hex(value: &Value) -> u64 {
    let text = value.as_str().unwrap();
    u64::from_str_radix(text.strip_prefix("0x").unwrap(), 16).unwrap()
}

fn lock<'a>(snapshot: &'a Snapshot, address: &Value) -> &'a LockView {
    let address = hex(address);
    snapshot
        .locks
        .iter()
        .find(|lock| lock.address == address)
        .unwrap_or_else(|| panic!("no wait at {address:#x}"))
}

fn tid(answer: &Value, field: &str) -> Tid {
    Tid(u32::try_from(number(answer, field)).unwrap())
}

/// The time blocked lies between what was seen asleep and what the call took, and within 2 % of either when waits are
/// long: the bounds of the truth are exact, so no allowance is needed.
fn assert_slept(lock: &LockView, truth: &Value) {
    let slept = lock.wait.sum.0;
    let bounds = number(truth, "asleep_ns")..=number(truth, "call_ns");
    assert!(bounds.contains(&slept), "{slept} is not in {bounds:?}");
}

fn waits_are_exact(test: &str, options: bpf::Options) {
    let Some(_kernel) = kernel_test(test) else {
        return;
    };
    let with_calls = options.groups.contains(&Group::Syscall);
    let mut truth = Workload::truth();
    let session = ByHand::attach(truth.pid(), options);
    let answer = truth.ask("futex-waits 40 3");
    let snapshot = session.finish();
    let lock = lock(&snapshot, &answer["address"]);
    assert_eq!(lock.wait.count, 40);
    assert_eq!(lock.woken, 40);
    assert_eq!(lock.kind, LockKind::PRIVATE);
    assert_slept(lock, &answer);
    let [waiter] = &lock.waiters[..] else {
        panic!("{:?}", lock.waiters)
    };
    assert_eq!((waiter.tid, waiter.count), (tid(&answer, "waiter_tid"), 40));
    assert_eq!(waiter.name, "waiter");
    let [waker] = &lock.wakers[..] else {
        panic!("{:?}", lock.wakers)
    };
    assert_eq!((waker.tid, waker.count), (tid(&answer, "waker_tid"), 40));
    assert_eq!(waker.name, "waker");
    if with_calls {
        assert_eq!((lock.wake_calls, lock.wake_results), (Some(40), Some(40)));
        assert_eq!((lock.timeouts, lock.again), (Some(0), Some(0)));
    } else {
        assert_eq!((lock.wake_calls, lock.timeouts), (None, None));
    }
    let quantiles = [lock.wait.p50.0, lock.wait.p99.0];
    assert!(
        quantiles.iter().all(|&wait| wait >= 2_800_000),
        "{quantiles:?}"
    );
    assert_eq!(snapshot.quality.inconsistent, 0);
    assert_eq!(snapshot.quality.lost, []);
}

#[test]
fn waits_between_two_threads_are_counted_exactly() {
    waits_are_exact(
        "waits_between_two_threads_are_counted_exactly",
        bpf::Options::default(),
    );
}

#[test]
fn waits_need_no_system_call_hook() {
    waits_are_exact("waits_need_no_system_call_hook", light());
}

#[test]
fn other_kinds_of_futex_are_told_apart() {
    let Some(_kernel) = kernel_test("other_kinds_of_futex_are_told_apart") else {
        return;
    };
    let mut truth = Workload::truth();
    // One session each: the program uses the same words again.
    let mut watched = |command: &str| {
        let session = ByHand::attach(truth.pid(), bpf::Options::default());
        let answer = truth.ask(command);
        (answer, session.finish())
    };
    for (command, bits) in [
        ("futex-shared 10 1", LockKind::SHARED),
        ("futex-waitv 10 1", LockKind::VECTOR),
        ("futex-pi 10 1", LockKind::PI),
    ] {
        let (answer, snapshot) = &watched(command);
        let lock = lock(snapshot, &answer["address"]);
        assert!(lock.kind.has(bits), "{answer}: {:?}", lock.kind);
        assert_eq!(lock.wait.count, 10, "{answer}");
        assert_slept(lock, answer);
        assert_eq!(lock.wakers[0].tid, tid(answer, "waker_tid"), "{answer}");
    }
    let (requeue, snapshot) = watched("futex-requeue 10 1");
    // A waiter that is requeued sleeps on: one wait, charged to where it began.
    let lock = lock(&snapshot, &requeue["address"]);
    assert_eq!(lock.wait.count, 10);
    assert_slept(lock, &requeue);
    // The requeue found a waiter each time.
    assert_eq!(lock.wake_results, Some(number(&requeue, "requeues")));
}

#[test]
fn calls_that_do_not_end_by_a_wake_are_told_apart() {
    let Some(_kernel) = kernel_test("calls_that_do_not_end_by_a_wake_are_told_apart") else {
        return;
    };
    let mut truth = Workload::truth();
    let session = ByHand::attach(truth.pid(), bpf::Options::default());
    let timeouts = truth.ask("futex-timeouts 15 2");
    let again = truth.ask("futex-again 200");
    let snapshot = session.finish();
    let timed = lock(&snapshot, &timeouts["address"]);
    assert_eq!((timed.wait.count, timed.timeouts), (15, Some(15)));
    assert_eq!((timed.woken, timed.again), (0, Some(0)));
    assert_eq!(timed.wakers, []);
    let refused = lock(&snapshot, &again["address"]);
    assert_eq!((refused.wait.count, refused.again), (0, Some(200)));
}

#[test]
fn a_convoy_shows_as_one_lock_with_many_waiters() {
    let Some(_kernel) = kernel_test("a_convoy_shows_as_one_lock_with_many_waiters") else {
        return;
    };
    let mut truth = Workload::truth();
    let session = ByHand::attach(truth.pid(), light());
    let answer = truth.ask("convoy 6 20 300");
    let snapshot = session.finish();
    let lock = lock(&snapshot, &answer["address"]);
    let threads: Vec<u64> = answer["tids"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tid| tid.as_u64().unwrap())
        .collect();
    assert_eq!(lock.waiters.len(), 6);
    for waiter in &lock.waiters {
        assert!(threads.contains(&u64::from(waiter.tid.0)), "{waiter:?}");
        // One that was on its way out when the session ended could not be asked any more.
        assert!(["convoy", ""].contains(&waiter.name.as_str()), "{waiter:?}");
    }
    // All six slept for it before the first got it.
    assert!(lock.wait.count >= 6);
    let waiting: u64 = lock.waiters.iter().map(|waiter| waiter.waited.0).sum();
    assert_eq!(waiting, lock.wait.sum.0, "every wait has a waiter");
    assert_eq!(snapshot.locks[0].address, lock.address, "it stands first");
}

#[test]
fn a_long_wait_is_an_event_with_both_stacks() {
    let Some(_kernel) = kernel_test("a_long_wait_is_an_event_with_both_stacks") else {
        return;
    };
    let mut truth = Workload::truth();
    let session = ByHand::attach(truth.pid(), light());
    let answer = truth.ask("futex-waits 6 25");
    let snapshot = session.finish();
    let waiter = tid(&answer, "waiter_tid");
    let waits: Vec<_> = snapshot
        .long_waits
        .iter()
        .filter(|wait| wait.state == State::FUTEX && wait.tid == waiter)
        .collect();
    let count: u64 = waits.iter().map(|wait| wait.count).sum();
    let sum: u64 = waits.iter().map(|wait| wait.sum.0).sum();
    assert_eq!(count, 6);
    assert!((number(&answer, "asleep_ns")..=number(&answer, "call_ns")).contains(&sum));
    for wait in waits {
        assert!(!wait.stack.is_empty() && !wait.waker_stack.is_empty());
    }
    let at_lock = lock(&snapshot, &answer["address"]);
    assert!(!at_lock.stack.is_empty() && !at_lock.waker_stack.is_empty());
}

#[test]
fn ten_thousand_addresses_are_counted_or_said_to_be_lost() {
    let Some(_kernel) = kernel_test("ten_thousand_addresses_are_counted_or_said_to_be_lost") else {
        return;
    };
    let mut truth = Workload::truth();
    let mut session = ByHand::attach(truth.pid(), light());
    let answer = truth.ask("addresses 10000");
    session.tick();
    let records = session.records();
    let snapshot = fold(&records);
    let first = hex(&answer["address"]);
    let last = first + number(&answer, "step_bytes") * 10_000;
    let counted: u64 = rows::<Locks>(&records)
        .iter()
        .filter(|(key, _)| (first..last).contains(&key.address))
        .map(|(_, row)| row.wait.count)
        .sum();
    let lost = lost(&snapshot, LossReason::LOCK_TABLE_FULL);
    // Helper threads of the program wait elsewhere: a few of the lost may be theirs.
    assert!(
        counted <= 10_000 && counted + lost >= 10_000,
        "{counted} + {lost}"
    );
    assert!(counted + lost <= 10_100, "{counted} + {lost}");
    assert!(snapshot.locks.len() as u64 + snapshot.locks_unlisted >= 8_000);
}
