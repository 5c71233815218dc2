//! System calls in exact numbers, one held open, and the name of the thread.

use std::ffi::CString;
use std::fs;
use std::hint::black_box;
use std::sync::mpsc;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use serde_json::json;

use crate::Answer;
use crate::clock::{nanosleep, now_ns, observe};
use crate::numbers::number;
use crate::threads::{finish, own_tid, start, state_of};
use crate::verbs::Session;

/// A syscall that takes nothing, changes nothing and enters the kernel every time.
pub(crate) struct Cheap {
    /// The word in the command; `fail` is named for what it is for, not for what it calls.
    pub(crate) name: &'static str,
    syscall: &'static str,
    call: fn() -> Result<(), Errno>,
}

#[rustfmt::skip]
pub(crate) const CHEAP: &[Cheap] = &[
    Cheap { name: "getppid", syscall: "getppid", call: || { black_box(rustix::process::getppid()); Ok(()) } },
    Cheap { name: "getpid", syscall: "getpid", call: || { black_box(rustix::process::getpid()); Ok(()) } },
    Cheap { name: "getuid", syscall: "getuid", call: || { black_box(rustix::process::getuid()); Ok(()) } },
    Cheap { name: "sched_yield", syscall: "sched_yield", call: || { rustix::thread::sched_yield(); Ok(()) } },
    Cheap { name: "fail", syscall: "openat", call: open_nothing },
];

fn open_nothing() -> Result<(), Errno> {
    rustix::fs::openat(
        CWD,
        c"/nonexistent/truth",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map(drop)
}

pub(crate) fn syscalls(session: &mut Session, argument: &str) -> Answer {
    let (name, count) = argument.split_once(' ').ok_or("wants NAME N")?;
    let count = number(count)?;
    let cheap = CHEAP
        .iter()
        .find(|cheap| cheap.name == name)
        .ok_or("unknown syscall name")?;

    let mut errors = 0_u32;
    let mut errno = None;
    // No thread clock here: reading one is a syscall, reading the monotonic clock is not.
    let start_ns = now_ns();
    for _ in 0..count {
        if let Err(why) = (cheap.call)() {
            errors += 1;
            errno = Some(why.raw_os_error());
        }
    }
    let end_ns = now_ns();
    Ok(json!({
        "did": "syscalls",
        "syscall": cheap.syscall,
        "count": count,
        "errors": errors,
        "errno": errno,
        "tid": session.main_tid,
        "start_ns": start_ns,
        "end_ns": end_ns,
    }))
}

pub(crate) fn hold(session: &mut Session, argument: &str) -> Answer {
    let ms = number(argument)?;
    if session.holder.is_some() {
        return Err("already holding; join first".to_owned());
    }
    let (entering, about_to_enter) = mpsc::channel();
    let holder = start("holder", move || {
        // A receiver that is gone means the main thread is ending; the thread goes with it.
        let _gone = entering.send(own_tid());
        observe(|| nanosleep(ms))
    })?;
    let tid = about_to_enter
        .recv()
        .map_err(|_recv| "the holder ended early".to_owned())?;
    // Between the message and the sleep the thread is running; once it is not, it is inside the call.
    while !holder.is_finished() && state_of(tid) != Some('S') {}
    session.holder = Some(holder);
    Ok(json!({ "did": "holding", "syscall": "nanosleep", "tid": tid, "at_ns": now_ns() }))
}

pub(crate) fn join_holder(session: &mut Session, _: &str) -> Answer {
    let holder = session.holder.take().ok_or("nothing is held")?;
    Ok(finish(holder)?.answer("join"))
}

pub(crate) fn rename(session: &mut Session, argument: &str) -> Answer {
    let name = CString::new(argument).map_err(|_nul| "a name has no NUL".to_owned())?;
    rustix::thread::set_name(&name).map_err(|why| format!("set the name: {why}"))?;
    // Read back, because the kernel keeps 15 bytes.
    let kept = fs::read("/proc/thread-self/comm").map_err(|why| format!("read the name: {why}"))?;
    Ok(json!({
        "did": "rename",
        "name": String::from_utf8_lossy(&kept).trim_end_matches('\n'),
        "tid": session.main_tid,
    }))
}
