//! Threads and children: born and gone at once, or many at the same time.

use std::hint::black_box;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::Errno;
use rustix::thread::futex::{self, Flags};
use rustix::time::{ClockId, Timespec};
use serde_json::json;
use syscalls::Sysno;

use crate::Answer;
use crate::clock::now_ns;
use crate::numbers::{at_least_one, hex, number, numbers};
use crate::threads::{Mailbox, Place, Thread, Watch, finish, own_tid, start, start_small};
use crate::verbs::Session;

pub(crate) fn threads(_: &mut Session, argument: &str) -> Answer {
    const AT_ONCE: u32 = 64;
    let count = number(argument)?;
    let start_ns = now_ns();
    let mut left = count;
    while left > 0 {
        let batch = left.min(AT_ONCE);
        let started: Vec<_> = (0..batch)
            .map(|_| start("storm", || _ = black_box(rustix::process::getppid())))
            .collect();
        // All of the batch is waited for before an error is told, so that no thread outlives its answer.
        let ended: Vec<_> = started.into_iter().map(|thread| finish(thread?)).collect();
        ended.into_iter().collect::<Result<Vec<()>, String>>()?;
        left -= batch;
    }
    Ok(json!({ "did": "threads", "count": count, "start_ns": start_ns, "end_ns": now_ns() }))
}

pub(crate) fn fork(_: &mut Session, argument: &str) -> Answer {
    let count = number(argument)?;
    let start_ns = now_ns();
    for _ in 0..count {
        end_well(start_child()?)?;
    }
    Ok(json!({ "did": "fork", "count": count, "start_ns": start_ns, "end_ns": now_ns() }))
}

fn start_child() -> Result<Child, String> {
    Command::new("/proc/self/exe")
        .arg("exit0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|why| format!("start a child: {why}"))
}

fn end_well(mut child: Child) -> Result<(), String> {
    let status = child
        .wait()
        .map_err(|why| format!("wait for a child: {why}"))?;
    if !status.success() {
        return Err(format!("a child ended with {status}"));
    }
    Ok(())
}

pub(crate) fn forks(session: &mut Session, argument: &str) -> Answer {
    let [count, per_second] = numbers(argument, "N PER_SECOND")?;
    at_least_one("PER_SECOND", per_second)?;
    let mut pids = Vec::with_capacity(count as usize);
    let mut most_late_ns = 0;
    let start_ns = now_ns();
    for index in 0..count {
        let due_ns = start_ns + u64::from(index) * 1_000_000_000 / u64::from(per_second);
        sleep_until(due_ns)?;
        most_late_ns = most_late_ns.max(now_ns() - due_ns);
        let child = start_child()?;
        pids.push(child.id());
        end_well(child)?;
    }
    Ok(json!({
        "did": "forks",
        "count": count,
        "pids": pids,
        "most_late_ns": most_late_ns,
        "tid": session.main_tid,
        "start_ns": start_ns,
        "end_ns": now_ns(),
    }))
}

fn sleep_until(ns: u64) -> Result<(), String> {
    // No monotonic clock comes near the end of i64.
    let moment = Timespec {
        tv_sec: (ns / 1_000_000_000) as i64,
        tv_nsec: (ns % 1_000_000_000) as i64,
    };
    rustix::thread::clock_nanosleep_absolute(ClockId::Monotonic, &moment)
        .map_err(|why| format!("sleep: {why}"))
}

/// Threads that do nothing until they are told to end.
#[derive(Default)]
pub(crate) struct Crowd {
    seats: Vec<Arc<Seat>>,
    threads: Vec<Thread<()>>,
}

/// One thread's own futex: zero until it may go.
#[derive(Default)]
struct Seat {
    word: AtomicU32,
    mailbox: Mailbox,
}

impl Seat {
    fn address(&self) -> usize {
        std::ptr::from_ref(&self.word).addr()
    }

    fn sit(&self) {
        self.mailbox.put(own_tid());
        while self.word.load(Ordering::Acquire) == 0 {
            match futex::wait(&self.word, Flags::PRIVATE, 0, None) {
                Ok(()) | Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_never) => return,
            }
        }
    }
}

impl Crowd {
    fn sit_down(&mut self) -> Result<(), String> {
        let seat = Arc::new(Seat::default());
        let thread = start_small("crowd", {
            let seat = Arc::clone(&seat);
            move || seat.sit()
        })?;
        self.seats.push(seat);
        self.threads.push(thread);
        Ok(())
    }

    /// The tids, once every thread is asleep on its futex.
    fn asleep(&self) -> Result<Vec<i32>, String> {
        let asleep = |seat: &Arc<Seat>| {
            let tid = seat.mailbox.take();
            let place = Place {
                call: Sysno::futex,
                argument: Some(seat.address()),
            };
            Watch::of(tid)?.until_asleep(place)?;
            Ok(tid)
        };
        self.seats.iter().map(asleep).collect()
    }

    /// Wakes and joins all. Returns how many were asleep.
    fn end(self) -> Result<usize, String> {
        let mut woken = 0;
        for seat in &self.seats {
            seat.word.store(1, Ordering::Release);
            woken += futex::wake(&seat.word, Flags::PRIVATE, 1)
                .map_err(|why| format!("wake a thread: {why}"))?;
        }
        let ended: Vec<_> = self.threads.into_iter().map(finish).collect();
        ended.into_iter().collect::<Result<Vec<()>, String>>()?;
        Ok(woken)
    }
}

pub(crate) fn gather(session: &mut Session, argument: &str) -> Answer {
    let count = number(argument)?;
    at_least_one("N", count)?;
    if session.crowd.is_some() {
        return Err("a crowd is here; crowd-end first".to_owned());
    }
    let start_ns = now_ns();
    let mut crowd = Crowd::default();
    let gathered = (0..count)
        .try_for_each(|_| crowd.sit_down())
        .and_then(|()| crowd.asleep());
    let tids = match gathered {
        Ok(tids) => tids,
        Err(why) => {
            crowd.end()?;
            return Err(why);
        }
    };
    let addresses: Vec<_> = crowd.seats.iter().map(|seat| hex(seat.address())).collect();
    session.crowd = Some(crowd);
    Ok(json!({
        "did": "crowd",
        "threads": count,
        "tids": tids,
        "addresses": addresses,
        "start_ns": start_ns,
        "at_ns": now_ns(),
    }))
}

pub(crate) fn end(session: &mut Session, _: &str) -> Answer {
    let crowd = session.crowd.take().ok_or("no crowd is here")?;
    let threads = crowd.threads.len();
    let start_ns = now_ns();
    let woken = crowd.end()?;
    Ok(json!({
        "did": "crowd-end",
        "threads": threads,
        "woken": woken,
        "start_ns": start_ns,
        "end_ns": now_ns(),
    }))
}
