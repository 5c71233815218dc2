//! Waits on futexes, each kind by its own call.

use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};

use rustix::io::Errno;
use rustix::thread::futex::{self, Flags, Wait, WaitFlags, WaitPtr, WaitvFlags};
use rustix::time::ClockId;
use serde_json::{Value, json};
use syscalls::Sysno;

use crate::Answer;
use crate::clock::{nanosleep, now_ns, observe, spin_until, timed, timespec};
use crate::mapping::SharedWord;
use crate::numbers::{Spread, at_least_one, hex, number, numbers};
use crate::rendezvous::{Meeting, Rounds, meet};
use crate::threads::{Place, finish, own_tid, start, wait_while};
use crate::verbs::Session;

pub(crate) fn condition(_: &mut Session, argument: &str) -> Answer {
    let ms = number(argument)?;
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let (entering, about_to_wait) = mpsc::channel();
    let waiter = start("futex-wait", {
        let gate = Arc::clone(&gate);
        move || {
            let (open, opened) = &*gate;
            let mut guard = open.lock().unwrap_or_else(PoisonError::into_inner);
            let _gone = entering.send(());
            let mut waits = 0_u32;
            let span = observe(|| {
                while !*guard {
                    waits += 1;
                    guard = opened.wait(guard).unwrap_or_else(PoisonError::into_inner);
                }
            });
            (span, waits)
        }
    })?;
    about_to_wait
        .recv()
        .map_err(|_recv| "the waiter ended early".to_owned())?;
    nanosleep(ms);
    let (open, opened) = &*gate;
    // Released before the wake-up, so that the waiter finds the mutex free and waits once, not twice.
    *open.lock().unwrap_or_else(PoisonError::into_inner) = true;
    opened.notify_one();
    let (span, waits) = finish(waiter)?;
    let mut answer = span.answer("futex");
    answer["wait_ns"] = span.wall_ns().into();
    answer["waits"] = waits.into();
    Ok(answer)
}

fn address(word: &AtomicU32) -> usize {
    ptr::from_ref(word).addr()
}

fn asleep_on(word: &AtomicU32) -> Place {
    Place {
        call: Sysno::futex,
        argument: Some(address(word)),
    }
}

/// A wait for a value the word has.
fn wait(word: &AtomicU32, flags: Flags) -> Result<(u64, u64), String> {
    let value = word.load(Ordering::Relaxed);
    let (before, result, after) = timed(|| futex::wait(word, flags, value, None));
    result.map_err(|why| format!("wait on a futex: {why}"))?;
    Ok((before, after))
}

/// A wake-up of exactly one.
fn wake(word: &AtomicU32, flags: Flags) -> Result<u64, String> {
    let (before, woken, _) = timed(|| futex::wake(word, flags, 1));
    expect_one("wake", woken)?;
    Ok(before)
}

fn expect_one(what: &str, affected: Result<usize, Errno>) -> Result<(), String> {
    match affected {
        Ok(1) => Ok(()),
        Ok(count) => Err(format!("{what}: {count} waiters instead of 1")),
        Err(why) => Err(format!("{what}: {why}")),
    }
}

/// What the answers of all meetings have.
fn answer(did: &str, word: usize, rounds: &Rounds, count: u32) -> Value {
    let mut answer = json!({
        "did": did,
        "syscall": "futex",
        "address": hex(word),
        "waiter_tid": rounds.sleeper_tid,
        "waker_tid": rounds.waker_tid,
        "waits": count,
        "wakes": count,
    });
    rounds.put(&mut answer, "slept");
    answer
}

struct Private {
    word: AtomicU32,
    ms: u32,
}

impl Meeting for Private {
    fn place(&self, _: u32) -> Place {
        asleep_on(&self.word)
    }

    fn sleep(&self, _: u32) -> Result<(u64, u64), String> {
        wait(&self.word, Flags::PRIVATE)
    }

    fn pause(&self) {
        nanosleep(self.ms);
    }

    fn wake(&self, _: u32) -> Result<u64, String> {
        wake(&self.word, Flags::PRIVATE)
    }
}

pub(crate) fn waits(_: &mut Session, argument: &str) -> Answer {
    let [count, ms] = numbers(argument, "N MS")?;
    let word = AtomicU32::new(0);
    let meeting = Arc::new(Private { word, ms });
    let rounds = meet(&meeting, count)?;
    Ok(answer(
        "futex-waits",
        address(&meeting.word),
        &rounds,
        count,
    ))
}

struct Shared {
    word: SharedWord,
    ms: u32,
}

impl Meeting for Shared {
    fn place(&self, _: u32) -> Place {
        asleep_on(&self.word)
    }

    fn sleep(&self, _: u32) -> Result<(u64, u64), String> {
        wait(&self.word, Flags::empty())
    }

    fn pause(&self) {
        nanosleep(self.ms);
    }

    fn wake(&self, _: u32) -> Result<u64, String> {
        wake(&self.word, Flags::empty())
    }
}

pub(crate) fn shared(_: &mut Session, argument: &str) -> Answer {
    let [count, ms] = numbers(argument, "N MS")?;
    let word = SharedWord::new().map_err(|why| format!("map shared memory: {why}"))?;
    let meeting = Arc::new(Shared { word, ms });
    let rounds = meet(&meeting, count)?;
    Ok(answer(
        "futex-shared",
        address(&meeting.word),
        &rounds,
        count,
    ))
}

struct Waitv {
    words: [AtomicU32; 2],
    ms: u32,
}

impl Waitv {
    fn woken_in(round: u32) -> usize {
        round as usize % 2
    }
}

impl Meeting for Waitv {
    fn place(&self, _: u32) -> Place {
        // Its first argument is the list, which is on the waiter's stack.
        Place {
            call: Sysno::futex_waitv,
            argument: None,
        }
    }

    fn sleep(&self, round: u32) -> Result<(u64, u64), String> {
        let list = self.words.each_ref().map(|word| {
            let mut wait = Wait::new();
            wait.uaddr = WaitPtr::new(word.as_ptr().cast());
            wait.flags = WaitFlags::SIZE_U32 | WaitFlags::PRIVATE;
            wait
        });
        let (before, woken, after) =
            timed(|| futex::waitv(&list, WaitvFlags::empty(), None, ClockId::Monotonic));
        match woken {
            Ok(index) if index == Self::woken_in(round) => Ok((before, after)),
            Ok(index) => Err(format!("futex_waitv: woken at address {index}")),
            Err(why) => Err(format!("futex_waitv: {why}")),
        }
    }

    fn pause(&self) {
        nanosleep(self.ms);
    }

    fn wake(&self, round: u32) -> Result<u64, String> {
        wake(&self.words[Self::woken_in(round)], Flags::PRIVATE)
    }
}

pub(crate) fn waitv(_: &mut Session, argument: &str) -> Answer {
    let [count, ms] = numbers(argument, "N MS")?;
    let words = [AtomicU32::new(0), AtomicU32::new(0)];
    let meeting = Arc::new(Waitv { words, ms });
    let rounds = meet(&meeting, count)?;
    let addresses = meeting.words.each_ref().map(address);
    let mut answer = answer("futex-waitv", addresses[0], &rounds, count);
    answer["syscall"] = "futex_waitv".into();
    answer["addresses"] = json!(addresses.map(hex));
    answer["wakes_by_address"] = json!([count.div_ceil(2), count / 2]);
    Ok(answer)
}

/// A lock with priority inheritance: the kernel hands it from the owner to the waiter.
struct Pi {
    word: AtomicU32,
    /// How often the owner has taken it and the waiter has given it back; the waiter asks for it when they differ.
    taken: AtomicU32,
    returned: AtomicU32,
    ms: u32,
}

impl Meeting for Pi {
    const WAKER: &str = "owner";

    fn place(&self, _: u32) -> Place {
        asleep_on(&self.word)
    }

    fn prepare(&self, round: u32) -> Result<(), String> {
        wait_while(|| self.returned.load(Ordering::Acquire) != round);
        // Taken without a call, as the protocol has it for a lock that is free.
        let owner = own_tid() as u32;
        self.word
            .compare_exchange(0, owner, Ordering::Acquire, Ordering::Relaxed)
            .map_err(|found| format!("the lock was not free: {found:#x}"))?;
        self.taken.store(round + 1, Ordering::Release);
        Ok(())
    }

    fn sleep(&self, round: u32) -> Result<(u64, u64), String> {
        wait_while(|| self.taken.load(Ordering::Acquire) == round);
        let (before, locked, after) = timed(|| futex::lock_pi(&self.word, Flags::PRIVATE, None));
        locked.map_err(|why| format!("lock a PI futex: {why}"))?;
        futex::unlock_pi(&self.word, Flags::PRIVATE)
            .map_err(|why| format!("unlock a PI futex: {why}"))?;
        self.returned.store(round + 1, Ordering::Release);
        Ok((before, after))
    }

    fn pause(&self) {
        nanosleep(self.ms);
    }

    fn wake(&self, _: u32) -> Result<u64, String> {
        let (before, unlocked, _) = timed(|| futex::unlock_pi(&self.word, Flags::PRIVATE));
        unlocked.map_err(|why| format!("unlock a PI futex: {why}"))?;
        Ok(before)
    }
}

pub(crate) fn pi(_: &mut Session, argument: &str) -> Answer {
    let [count, ms] = numbers(argument, "N MS")?;
    let meeting = Arc::new(Pi {
        word: AtomicU32::new(0),
        taken: AtomicU32::new(0),
        returned: AtomicU32::new(0),
        ms,
    });
    let rounds = meet(&meeting, count)?;
    let mut answer = answer("futex-pi", address(&meeting.word), &rounds, count);
    answer["lock_calls"] = count.into();
    answer["unlock_calls"] = (2 * u64::from(count)).into();
    Ok(answer)
}

/// Asleep on the first, moved to the second by the kernel, woken there.
struct Requeue {
    words: [AtomicU32; 2],
    ms: u32,
}

impl Meeting for Requeue {
    fn place(&self, _: u32) -> Place {
        asleep_on(&self.words[0])
    }

    fn sleep(&self, _: u32) -> Result<(u64, u64), String> {
        wait(&self.words[0], Flags::PRIVATE)
    }

    fn pause(&self) {
        nanosleep(self.ms);
    }

    fn wake(&self, _: u32) -> Result<u64, String> {
        let [from, to] = &self.words;
        let value = from.load(Ordering::Relaxed);
        let moved = futex::cmp_requeue(from, Flags::PRIVATE, 0, 1, to, value);
        expect_one("requeue", moved)?;
        nanosleep(self.ms);
        wake(to, Flags::PRIVATE)
    }
}

pub(crate) fn requeue(_: &mut Session, argument: &str) -> Answer {
    let [count, ms] = numbers(argument, "N MS")?;
    let words = [AtomicU32::new(0), AtomicU32::new(0)];
    let meeting = Arc::new(Requeue { words, ms });
    let rounds = meet(&meeting, count)?;
    let [from, to] = meeting.words.each_ref().map(address);
    let mut answer = answer("futex-requeue", from, &rounds, count);
    answer["requeued_to"] = hex(to).into();
    answer["requeues"] = count.into();
    Ok(answer)
}

/// One wait on each of many words.
struct Addresses(Vec<AtomicU32>);

const SHORTEST_NS: u64 = 50_000;

impl Meeting for Addresses {
    fn place(&self, round: u32) -> Place {
        asleep_on(&self.0[round as usize])
    }

    fn sleep(&self, round: u32) -> Result<(u64, u64), String> {
        wait(&self.0[round as usize], Flags::PRIVATE)
    }

    fn pause(&self) {
        spin_until(now_ns() + SHORTEST_NS);
    }

    fn wake(&self, round: u32) -> Result<u64, String> {
        wake(&self.0[round as usize], Flags::PRIVATE)
    }
}

pub(crate) fn addresses(_: &mut Session, argument: &str) -> Answer {
    let [count] = numbers(argument, "N")?;
    at_least_one("N", count)?;
    let words = (0..count).map(|_| AtomicU32::new(0)).collect();
    let meeting = Arc::new(Addresses(words));
    let rounds = meet(&meeting, count)?;
    let first = address(&meeting.0[0]);
    let mut answer = answer("addresses", first, &rounds, count);
    answer["addresses"] = count.into();
    answer["step_bytes"] = size_of::<AtomicU32>().into();
    Ok(answer)
}

/// Waits on one thread that all end in the same error.
fn alone(
    did: &str,
    count: u32,
    ends_with: Errno,
    call: impl Fn(&AtomicU32) -> Result<(), Errno> + Send + 'static,
) -> Result<(Value, Spread), String> {
    let waiter = start("waiter", move || {
        let word = AtomicU32::new(0);
        let mut spread = Spread::default();
        let mut other = None;
        let span = observe(|| {
            for _ in 0..count {
                let (before, result, after) = timed(|| call(&word));
                spread.add(after - before);
                if result != Err(ends_with) {
                    other = Some(result);
                }
            }
        });
        (span, spread, other, address(&word))
    })?;
    let (span, spread, other, address) = finish(waiter)?;
    if let Some(other) = other {
        return Err(format!("a wait ended with {other:?}"));
    }
    let mut answer = span.answer(did);
    answer["syscall"] = "futex".into();
    answer["address"] = hex(address).into();
    answer["waits"] = count.into();
    answer["errno"] = ends_with.raw_os_error().into();
    Ok((answer, spread))
}

pub(crate) fn timeouts(_: &mut Session, argument: &str) -> Answer {
    let [count, ms] = numbers(argument, "N MS")?;
    let timeout = timespec(ms);
    let (mut answer, slept) = alone("futex-timeouts", count, Errno::TIMEDOUT, move |word| {
        futex::wait(word, Flags::PRIVATE, 0, Some(&timeout))
    })?;
    answer["timeouts"] = count.into();
    slept.put(&mut answer, "slept");
    Ok(answer)
}

pub(crate) fn again(_: &mut Session, argument: &str) -> Answer {
    let [count] = numbers(argument, "N")?;
    let (mut answer, calls) = alone("futex-again", count, Errno::AGAIN, |word| {
        futex::wait(word, Flags::PRIVATE, 1, None)
    })?;
    answer["again"] = count.into();
    calls.put(&mut answer, "call");
    Ok(answer)
}
