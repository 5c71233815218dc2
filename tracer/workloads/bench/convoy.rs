//! A lock convoy: threads that have the same lock handed over to them in strict order, so that each turn is one futex
//! wake and one futex wait.
//!
//! Strict, because where anybody may take the lock a slow tracer makes the program faster: threads that it holds back do
//! not contend. On one CPU, because a wake on another one costs up to three times as much, and which it is changes from
//! second to second; it also keeps every switch between threads of this program, so what is done at a switch shows.

use std::{
    io,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, Thread},
};

use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};

use crate::{Started, count};

const THREADS: usize = 4;

/// Whose turn it is.
static TURN: AtomicUsize = AtomicUsize::new(0);

static CREW: OnceLock<Vec<Thread>> = OnceLock::new();

pub(crate) fn start(_: u16) -> io::Result<Started> {
    let mut cpus = CpuSet::new();
    cpus.set(sched_getcpu());
    // Inherited by the threads.
    sched_setaffinity(None, &cpus)?;
    let start = |number| {
        let member = thread::Builder::new().name(format!("convoy-{number}"));
        let handle = member.spawn(move || take_turns(number, CREW.wait()))?;
        Ok(handle.thread().clone())
    };
    let crew = (0..THREADS).map(start).collect::<io::Result<_>>()?;
    CREW.get_or_init(|| crew);
    Ok(Started::default())
}

fn take_turns(number: usize, crew: &[Thread]) {
    let next = (number + 1) % THREADS;
    loop {
        while TURN.load(Ordering::Acquire) != number {
            thread::park();
        }
        count();
        TURN.store(next, Ordering::Release);
        crew[next].unpark();
    }
}
