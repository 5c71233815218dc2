//! Reads and writes on pipes, files and eventfds, by the main thread.

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

use crate::Answer;
use crate::clock::now_ns;
use crate::numbers::{at_least_one, number, numbers};
use crate::verbs::Session;

/// As many open files as this process may have. Returns how many that is, where there is a limit.
pub(crate) fn raise_fd_limit() -> Result<Option<u64>, String> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        let current = maximum;
        setrlimit(Resource::Nofile, Rlimit { current, maximum })
            .map_err(|why| format!("raise the limit of open files: {why}"))?;
    }
    Ok(maximum)
}

/// A call that must move all of it at once.
fn whole(what: &str, bytes: Result<usize, Errno>, wanted: usize) -> Result<(), String> {
    match bytes {
        Ok(bytes) if bytes == wanted => Ok(()),
        Ok(bytes) => Err(format!("{what}: {bytes} bytes instead of {wanted}")),
        Err(why) => Err(format!("{what}: {why}")),
    }
}

pub(crate) fn pipe_io(session: &mut Session, argument: &str) -> Answer {
    // A new pipe holds 16 pages; a write of more would wait for a reader that is the same thread.
    const ROOM: u32 = 64 << 10;
    let [count, bytes] = numbers(argument, "N BYTES")?;
    at_least_one("BYTES", bytes)?;
    if bytes > ROOM {
        return Err(format!("a pipe holds {ROOM} bytes"));
    }
    let (reader, writer) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|why| format!("open a pipe: {why}"))?;
    let mut buffer = vec![0_u8; bytes as usize];
    let wanted = buffer.len();
    let start_ns = now_ns();
    for _ in 0..count {
        whole("write", rustix::io::write(&writer, &buffer), wanted)?;
        whole("read", rustix::io::read(&reader, &mut buffer[..]), wanted)?;
    }
    let end_ns = now_ns();
    Ok(json!({
        "did": "pipe-io",
        "read_fd": reader.as_raw_fd(),
        "write_fd": writer.as_raw_fd(),
        "reads": count,
        "writes": count,
        "read_bytes": u64::from(count) * u64::from(bytes),
        "written_bytes": u64::from(count) * u64::from(bytes),
        "tid": session.main_tid,
        "start_ns": start_ns,
        "end_ns": end_ns,
    }))
}

pub(crate) fn file_io(session: &mut Session, argument: &str) -> Answer {
    const WANTS: &str = "wants N BYTES PATH";
    // The path may have blanks in it.
    let mut words = argument.splitn(3, ' ');
    let count = number(words.next().ok_or(WANTS)?)?;
    let bytes = number(words.next().ok_or(WANTS)?)?;
    let path = words.next().ok_or(WANTS)?;
    at_least_one("BYTES", bytes)?;

    // Never a file that is already there: it is removed afterwards.
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, path, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|why| format!("create {path}: {why}"))?;
    let mut buffer = vec![0_u8; bytes as usize];
    let wanted = buffer.len();
    let offset = |index: u32| u64::from(index) * u64::from(bytes);
    let mut work = || -> Result<(), String> {
        for index in 0..count {
            let written = rustix::io::pwrite(&file, &buffer, offset(index));
            whole("pwrite", written, wanted)?;
        }
        for index in 0..count {
            let read = rustix::io::pread(&file, &mut buffer[..], offset(index));
            whole("pread", read, wanted)?;
        }
        Ok(())
    };
    let start_ns = now_ns();
    let worked = work();
    let end_ns = now_ns();
    rustix::fs::unlink(path).map_err(|why| format!("remove {path}: {why}"))?;
    worked?;
    Ok(json!({
        "did": "file-io",
        "syscalls": ["pwrite64", "pread64"],
        "fd": file.as_raw_fd(),
        "path": path,
        "reads": count,
        "writes": count,
        "read_bytes": offset(count),
        "written_bytes": offset(count),
        "tid": session.main_tid,
        "start_ns": start_ns,
        "end_ns": end_ns,
    }))
}

pub(crate) fn fds(session: &mut Session, argument: &str) -> Answer {
    let count = number(argument)?;
    at_least_one("N", count)?;
    if !session.fds.is_empty() {
        return Err("eventfds are open; fds-close first".to_owned());
    }
    let limit = raise_fd_limit()?;
    // Room for all before the first, so that the allocator calls nothing meanwhile.
    let mut fds = Vec::with_capacity(count as usize);
    let start_ns = now_ns();
    for _ in 0..count {
        fds.push(used_eventfd()?);
    }
    let end_ns = now_ns();
    let numbers = || fds.iter().map(AsRawFd::as_raw_fd);
    let answer = json!({
        "did": "fds",
        "fds": count,
        "first_fd": numbers().min(),
        "last_fd": numbers().max(),
        "limit": limit,
        "reads": count,
        "writes": count,
        "read_bytes": 8 * u64::from(count),
        "written_bytes": 8 * u64::from(count),
        "tid": session.main_tid,
        "start_ns": start_ns,
        "end_ns": end_ns,
    });
    session.fds = fds;
    Ok(answer)
}

fn used_eventfd() -> Result<OwnedFd, String> {
    let fd = eventfd(0, EventfdFlags::CLOEXEC).map_err(|why| format!("open an eventfd: {why}"))?;
    whole("write", rustix::io::write(&fd, &1_u64.to_ne_bytes()), 8)?;
    whole("read", rustix::io::read(&fd, &mut [0; 8]), 8)?;
    Ok(fd)
}

pub(crate) fn fds_close(session: &mut Session, _: &str) -> Answer {
    let count = session.fds.len();
    if count == 0 {
        return Err("no eventfds are open".to_owned());
    }
    let start_ns = now_ns();
    session.fds.clear();
    let end_ns = now_ns();
    Ok(json!({
        "did": "fds-close",
        "fds": count,
        "tid": session.main_tid,
        "start_ns": start_ns,
        "end_ns": end_ns,
    }))
}
