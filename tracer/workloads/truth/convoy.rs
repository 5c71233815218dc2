//! Many threads, one mutex.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use serde_json::json;
use syscalls::Sysno;

use crate::Answer;
use crate::clock::{now_ns, spin_until};
use crate::numbers::{Spread, at_least_one, hex, numbers};
use crate::threads::{Mailbox, Place, Thread, Watch, finish, own_tid, start_small};
use crate::verbs::Session;

/// What one thread measured around the lock.
#[derive(Default)]
struct Member {
    waited: Spread,
    held: Spread,
    contended: u64,
}

/// Guards the number of times it was taken.
type Lock = Mutex<u64>;

pub(crate) fn convoy(_: &mut Session, argument: &str) -> Answer {
    let [threads, rounds, us] = numbers(argument, "THREADS ROUNDS US")?;
    at_least_one("THREADS", threads)?;
    at_least_one("ROUNDS", rounds)?;
    let lock = Arc::new(Lock::default());
    // Held until every thread is asleep in it, which is also how its address is learnt: from the kernel, not from the
    // layout of a type that promises none.
    let gate = lock.lock().unwrap_or_else(PoisonError::into_inner);
    let started: Vec<_> = (0..threads)
        .map(|_| join_in(&lock, rounds, u64::from(us) * 1000))
        .collect();
    let gathered: Result<Vec<_>, String> = started
        .iter()
        .map(|one| match one {
            Ok((mailbox, _)) => asleep_in_lock(mailbox.take()),
            Err(why) => Err(why.clone()),
        })
        .collect();
    let start_ns = now_ns();
    drop(gate);

    let ended: Vec<_> = started.into_iter().map(|one| finish(one?.1)).collect();
    let end_ns = now_ns();
    let gathered = gathered?;
    let members = ended.into_iter().collect::<Result<Vec<Member>, String>>()?;
    let address = gathered[0].1;
    if gathered.iter().any(|&(_, other)| other != address) {
        return Err("the threads did not sleep on one address".to_owned());
    }

    let mut total = Member::default();
    for member in members {
        total.waited.merge(member.waited);
        total.held.merge(member.held);
        total.contended += member.contended;
    }
    let mut answer = json!({
        "did": "convoy",
        "address": hex(address),
        "tids": gathered.iter().map(|&(tid, _)| tid).collect::<Vec<_>>(),
        "threads": threads,
        "acquisitions": *lock.lock().unwrap_or_else(PoisonError::into_inner),
        "contended": total.contended,
        "start_ns": start_ns,
        "end_ns": end_ns,
    });
    total.waited.put(&mut answer, "waited");
    total.held.put(&mut answer, "held");
    Ok(answer)
}

fn join_in(
    lock: &Arc<Lock>,
    rounds: u32,
    hold_ns: u64,
) -> Result<(Arc<Mailbox>, Thread<Member>), String> {
    let mailbox = Arc::new(Mailbox::default());
    let thread = start_small("convoy", {
        let (lock, mailbox) = (Arc::clone(lock), Arc::clone(&mailbox));
        move || {
            mailbox.put(own_tid());
            let mut member = Member::default();
            for _ in 0..rounds {
                member.pass(&lock, hold_ns);
            }
            member
        }
    })?;
    Ok((mailbox, thread))
}

impl Member {
    fn pass(&mut self, lock: &Lock, hold_ns: u64) {
        let asked = now_ns();
        let mut guard: MutexGuard<'_, u64> = match lock.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poison)) => poison.into_inner(),
            Err(TryLockError::WouldBlock) => {
                self.contended += 1;
                lock.lock().unwrap_or_else(PoisonError::into_inner)
            }
        };
        let taken = now_ns();
        *guard += 1;
        spin_until(taken + hold_ns);
        let over = now_ns();
        drop(guard);
        self.waited.add(taken - asked);
        self.held.add(over - taken);
    }
}

/// The tid again, and the address it sleeps on.
fn asleep_in_lock(tid: i32) -> Result<(i32, usize), String> {
    let anywhere = Place {
        call: Sysno::futex,
        argument: None,
    };
    Ok((tid, Watch::of(tid)?.until_asleep(anywhere)?))
}
