//! Threads that sleep on one lock.
//!
//! Idle threads sleep at futexes too: parked workers, pools with nothing to do. What tells a lock is that those who wait
//! for it are those who wake others there, because each of them holds it for a while.

use std::collections::BTreeSet;

use tracer_common::Nanos;

use super::{Detector, Entry, Raised, Seen, Verdict, change::Added, number, time};
use crate::{
    human,
    model::{
        Finding, FindingId, LockView, PartyView, Severity, StackView, Subject, SubjectKind, Unit,
    },
};

/// Threads that wait for it at any moment, on average.
const WAITING: f64 = 0.1;
const CRITICAL: f64 = 1.0;
/// The share of its waiters' own time.
const SHARE: f64 = 0.05;
/// Of fewer waits nothing is concluded.
const LEAST: u64 = 20;
/// The share of wakes that came from threads which wait for it as well.
const OWN: f64 = 0.5;
/// Functions that wait for something to do, or for each other, by parts of their names.
const IDLE: &[&str] = &[
    "cond_wait",
    "cond_timedwait",
    "Condvar",
    "condition_variable",
    "park",
    "sem_wait",
    "Barrier",
    "barrier",
    "epoll_wait",
    "Notified",
];

pub(super) const DETECTOR: Detector = Detector {
    id: FindingId::LockContention,
    entry: Entry {
        class: "blocking",
        title: "threads sleep on one lock",
        matters: "What runs on those threads stands still, tasks of an async runtime included, and more threads make it worse.",
        how: "At least 20 waits within ten seconds at one futex, on average a tenth of a thread waiting for it (critical: a \
              whole one), which is a twentieth of its waiters' time, where those who wake are those who wait: idle threads are \
              woken by others.",
        evidence: &[
            ("waiting", "threads that were waiting for it, on average"),
            ("share", "the share of the time of the threads that do"),
            ("rate", "waits in a second"),
            ("wait", "how long one was, on average"),
            ("longest", "the longest since attach"),
            ("threads", "threads that wait for it"),
        ],
        remedy: "hold it for less, split it, or use one that does not block its thread",
        node: "// Locks of JavaScript are Atomics.wait() alone: in native code, see the stack.",
        rust: "let value = { cache.lock().unwrap().get(&key).cloned() };   // not across the work\n\
               let cache: DashMap<Key, Value> = DashMap::new();          // sharded: crate dashmap\n\
               let guard = mutex.lock().await;                           // tokio::sync::Mutex, if held across .await",
        blind: "Locks that spin, and waits that end before the thread sleeps, are not seen. Names of the place need frame \
                pointers and waits of more than 10 ms.",
    },
    judge,
    says,
};

fn judge(seen: &Seen<'_>) -> Verdict {
    let mut probes = seen.now.quality.probes.iter();
    let is_on = probes.any(|probe| {
        use crate::record::ProbeStatus::{Attached, Degraded};
        probe.name == "futex_waits" && matches!(probe.status, Attached | Degraded)
    });
    if !is_on {
        return Err("waits at futexes are not counted");
    }
    let locks = seen.now.locks.iter();
    Ok(locks.filter_map(|lock| raise(seen, lock)).collect())
}

fn raise(seen: &Seen<'_>, lock: &LockView) -> Option<Raised> {
    let mut before = seen.then.locks.iter();
    let then = before.find(|then| (then.pid, then.address) == (lock.pid, lock.address));
    let added = Added::between(then.map(|then| &then.wait), &lock.wait);
    let waiting = seen.share(added.sum);
    let threads = lock.waiters.len();
    let share = waiting / threads.max(1) as f64;
    let is_slow = added.count >= LEAST && waiting >= WAITING && share >= SHARE;
    if !is_slow || !is_lock(lock) {
        return None;
    }
    let place = human::place(&lock.stack);
    let address = human::short_address(lock.address);
    Some(Raised {
        severity: if waiting >= CRITICAL {
            Severity::Critical
        } else {
            Severity::Warning
        },
        confidence: if place.is_some() { 0.95 } else { 0.8 },
        weight: waiting,
        subject: Subject {
            kind: SubjectKind::Lock,
            pid: lock.pid,
            key: format!("{:#x}", lock.address),
            name: match place {
                Some(place) => format!("the lock at {address}, waited for in {place}"),
                None => format!("the lock at {address}"),
            },
        },
        evidence: vec![
            number("waiting", waiting, Unit::Count),
            number("share", share.min(1.0), Unit::Ratio),
            number("rate", seen.rate(added.count), Unit::PerSecond),
            time("wait", added.mean()),
            time("longest", lock.wait.max),
            number("threads", threads as f64, Unit::Count),
        ],
    })
}

fn is_lock(lock: &LockView) -> bool {
    if lock.waiters.len() < 2 || lock.wakers.len() < 2 || waits_for_work(&lock.stack) {
        return false;
    }
    let waiters: BTreeSet<_> = lock.waiters.iter().map(|party| party.tid).collect();
    let count = |parties: &mut dyn Iterator<Item = &PartyView>| {
        parties.fold(0u64, |sum, party| sum.saturating_add(party.count))
    };
    let all = count(&mut lock.wakers.iter());
    let own = count(
        &mut lock
            .wakers
            .iter()
            .filter(|party| waiters.contains(&party.tid)),
    );
    own as f64 >= all as f64 * OWN
}

fn waits_for_work(stack: &StackView) -> bool {
    let mut functions = stack
        .iter()
        .flat_map(|symbol| &symbol.frames)
        .map(|frame| frame.function.as_str());
    functions.any(|function| IDLE.iter().any(|part| function.contains(part)))
}

fn says(finding: &Finding) -> String {
    format!(
        "is waited for by {} threads, {} of their time: {} waits, {} each, {} at most",
        finding.value("threads"),
        human::percent(finding.value("share")),
        human::per_second(finding.value("rate")),
        human::duration(finding.time("wait")),
        human::duration(Nanos(finding.value("longest") as u64)),
    )
}
