//! Waits on epoll sets: empty, ready, and made ready by another thread.

use std::mem::MaybeUninit;
use std::sync::Arc;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::time::Timespec;
use serde_json::json;
use syscalls::Sysno;

use crate::Answer;
use crate::clock::{nanosleep, now_ns, observe, timed, timespec};
use crate::numbers::{Spread, at_least_one, number, numbers};
use crate::rendezvous::{Meeting, meet};
use crate::threads::{Place, finish, start};
use crate::verbs::Session;

/// What rustix calls unless the timeout is longer than 2^31 ms.
const CALL: &str = "epoll_pwait";

pub(crate) fn empty(_: &mut Session, argument: &str) -> Answer {
    let ms = number(argument)?;
    let set = new_set()?;
    let epoller = start("epoller", move || {
        let mut events = [const { MaybeUninit::uninit() }; 1];
        let mut result = Ok(0);
        let span = observe(|| {
            result =
                epoll::wait(&set, &mut events, Some(&timespec(ms))).map(|(ready, _)| ready.len());
        });
        (span, result)
    })?;
    let (span, result) = finish(epoller)?;
    let ready = result.map_err(|why| format!("wait on the epoll set: {why}"))?;
    let mut answer = span.answer("epoll");
    answer["syscall"] = CALL.into();
    answer["ready"] = ready.into();
    Ok(answer)
}

fn new_set() -> Result<OwnedFd, String> {
    epoll::create(CreateFlags::CLOEXEC).map_err(|why| format!("create an epoll set: {why}"))
}

/// An eventfd in the set, ready from the start where its value is not zero.
fn member(set: &OwnedFd, value: u32) -> Result<OwnedFd, String> {
    let event =
        eventfd(value, EventfdFlags::CLOEXEC).map_err(|why| format!("open an eventfd: {why}"))?;
    epoll::add(set, &event, EventData::new_u64(0), EventFlags::IN)
        .map_err(|why| format!("add to the epoll set: {why}"))?;
    Ok(event)
}

/// One wait for as many events as there is room for.
fn wait(
    set: &OwnedFd,
    room: &mut [MaybeUninit<Event>],
    timeout: Option<&Timespec>,
) -> Result<usize, String> {
    epoll::wait(set, room, timeout)
        .map(|(ready, _)| ready.len())
        .map_err(|why| format!("wait on the epoll set: {why}"))
}

pub(crate) fn ready(_: &mut Session, argument: &str) -> Answer {
    let [fds, count] = numbers(argument, "K N")?;
    at_least_one("K", fds)?;
    crate::files::raise_fd_limit()?;
    let set = new_set()?;
    let members = (0..fds)
        .map(|_| member(&set, 1))
        .collect::<Result<Vec<_>, String>>()?;
    let epoller = start("epoller", move || {
        let mut room = vec![MaybeUninit::uninit(); fds as usize];
        let mut result = Ok(0);
        let span = observe(|| {
            result = (0..count).try_fold(0, |events, _| {
                Ok::<_, String>(events + wait(&set, &mut room, None)?)
            });
        });
        (span, result)
    })?;
    let (span, events) = finish(epoller)?;
    drop(members);
    let mut answer = span.answer("epoll-ready");
    answer["syscall"] = CALL.into();
    answer["waits"] = count.into();
    answer["events"] = events?.into();
    Ok(answer)
}

pub(crate) fn timeout(_: &mut Session, argument: &str) -> Answer {
    let [count, ms] = numbers(argument, "N MS")?;
    let set = new_set()?;
    let epoller = start("epoller", move || {
        let mut room = [const { MaybeUninit::uninit() }; 1];
        let mut blocked = Spread::default();
        let mut result = Ok(0);
        let timeout = timespec(ms);
        let span = observe(|| {
            result = (0..count).try_fold(0, |events, _| {
                let (before, found, after) = timed(|| wait(&set, &mut room, Some(&timeout)));
                blocked.add(after - before);
                Ok::<_, String>(events + found?)
            });
        });
        (span, result, blocked)
    })?;
    let (span, events, blocked) = finish(epoller)?;
    let mut answer = span.answer("epoll-timeout");
    answer["syscall"] = CALL.into();
    answer["waits"] = count.into();
    answer["timeouts"] = count.into();
    answer["events"] = events?.into();
    blocked.put(&mut answer, "blocked");
    Ok(answer)
}

/// One waits on the set, the other writes to the eventfd in it.
struct Blocked {
    set: OwnedFd,
    event: OwnedFd,
    ms: u32,
}

impl Meeting for Blocked {
    const SLEEPER: &str = "epoller";
    const WAKER: &str = "writer";

    fn place(&self, _: u32) -> Place {
        Place {
            call: Sysno::epoll_pwait,
            argument: usize::try_from(self.set.as_raw_fd()).ok(),
        }
    }

    fn sleep(&self, _: u32) -> Result<(u64, u64), String> {
        let mut room = [const { MaybeUninit::uninit() }; 1];
        let (before, events, after) = timed(|| wait(&self.set, &mut room, None));
        if events? != 1 {
            return Err("the wait ended without an event".to_owned());
        }
        // Taken out again, so that the next wait blocks.
        transfer(
            "read the eventfd",
            rustix::io::read(&self.event, &mut [0; 8]),
        )?;
        Ok((before, after))
    }

    fn pause(&self) {
        nanosleep(self.ms);
    }

    fn wake(&self, _: u32) -> Result<u64, String> {
        let before = now_ns();
        let written = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        transfer("write the eventfd", written)?;
        Ok(before)
    }
}

fn transfer(what: &str, bytes: Result<usize, Errno>) -> Result<(), String> {
    match bytes {
        Ok(8) => Ok(()),
        Ok(bytes) => Err(format!("{what}: {bytes} bytes instead of 8")),
        Err(why) => Err(format!("{what}: {why}")),
    }
}

pub(crate) fn block(_: &mut Session, argument: &str) -> Answer {
    let [count, ms] = numbers(argument, "N MS")?;
    let set = new_set()?;
    let event = member(&set, 0)?;
    let rounds = meet(&Arc::new(Blocked { set, event, ms }), count)?;
    let mut answer = json!({
        "did": "epoll-block",
        "syscall": CALL,
        "epoller_tid": rounds.sleeper_tid,
        "writer_tid": rounds.waker_tid,
        "waits": count,
        "events": count,
    });
    rounds.put(&mut answer, "blocked");
    Ok(answer)
}
