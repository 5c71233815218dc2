//! One process or thread as `/proc` shows it. A process may be gone at any moment: that is `None`, not an error.

use procfs::process::{Process, Task};
use tracer_common::{Pid, State, Tid};

use super::syscall::class_of;

/// What a process is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// The process.
    pub pid: Pid,
    /// Its parent.
    pub parent: Pid,
    /// Short name.
    pub comm: String,
    /// Path of its program; empty when it may not be read.
    pub exe: String,
    /// Command line, arguments joined by a space.
    pub cmdline: String,
}

/// A thread as it was met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveThread {
    /// The thread.
    pub tid: Tid,
    /// What it was doing; [`State::UNKNOWN`] when it ran or when that may not be read.
    pub state: State,
}

/// Memory and faults of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Resident set in bytes.
    pub rss_bytes: u64,
    /// Page faults without I/O since it started.
    pub minor_faults: u64,
    /// Page faults with I/O since it started.
    pub major_faults: u64,
}

fn open(pid: Pid) -> Option<Process> {
    Process::new(i32::try_from(pid.0).ok()?).ok()
}

/// Describes `pid`, or `None` when there is no such process.
#[must_use]
pub fn describe(pid: Pid) -> Option<Description> {
    let process = open(pid)?;
    let stat = process.stat().ok()?;
    Some(Description {
        pid,
        parent: Pid(u32::try_from(stat.ppid).unwrap_or(0)),
        comm: stat.comm,
        exe: process
            .exe()
            .map(|path| path.to_string_lossy().into_owned())
            .unwrap_or_default(),
        cmdline: process
            .cmdline()
            .map(|arguments| arguments.join(" "))
            .unwrap_or_default(),
    })
}

/// True when `pid` exists and is not a zombie.
#[must_use]
pub fn is_alive(pid: Pid) -> bool {
    open(pid)
        .and_then(|process| process.stat().ok())
        .is_some_and(|stat| !matches!(stat.state, 'Z' | 'X'))
}

/// True when `pid` is stopped, by a signal or a debugger.
#[must_use]
pub fn is_stopped(pid: Pid) -> bool {
    open(pid)
        .and_then(|process| process.stat().ok())
        .is_some_and(|stat| matches!(stat.state, 'T' | 't'))
}

/// The number of `tid` in the innermost PID namespace it is in, as the process itself sees it.
#[must_use]
pub fn own_tid(pid: Pid, tid: Tid) -> Option<u32> {
    let task = open(pid)?.task_from_tid(i32::try_from(tid.0).ok()?).ok()?;
    let inner = task.status().ok()?.nspid?.last().copied();
    u32::try_from(inner?).ok()
}

/// The threads of `pid`, each with what it is doing right now.
#[must_use]
pub fn threads(pid: Pid) -> Vec<LiveThread> {
    let Some(tasks) = open(pid).and_then(|process| process.tasks().ok()) else {
        return Vec::new();
    };
    tasks
        .filter_map(Result::ok)
        .filter_map(|task| {
            let state = state_of(&task)?;
            Some(LiveThread {
                tid: Tid(u32::try_from(task.tid).ok()?),
                state,
            })
        })
        .collect()
}

/// True when the thread still exists.
#[must_use]
pub fn thread_is_alive(pid: Pid, tid: Tid) -> bool {
    std::fs::symlink_metadata(format!("/proc/{}/task/{}", pid.0, tid.0)).is_ok()
}

/// The thread's name, or `None` when it is gone.
#[must_use]
pub fn thread_name(pid: Pid, tid: Tid) -> Option<String> {
    let bytes = std::fs::read(format!("/proc/{}/task/{}/comm", pid.0, tid.0)).ok()?;
    Some(String::from_utf8_lossy(bytes.strip_suffix(b"\n").unwrap_or(&bytes)).into_owned())
}

/// Memory and faults of `pid`, or `None` when it is gone.
#[must_use]
pub fn usage(pid: Pid) -> Option<Usage> {
    let stat = open(pid)?.stat().ok()?;
    Some(Usage {
        rss_bytes: stat.rss.saturating_mul(procfs::page_size()),
        minor_faults: stat.minflt,
        major_faults: stat.majflt,
    })
}

/// Where the heap of `pid` ends, rounded up to whole pages; `None` when it has none.
#[must_use]
pub fn heap_end(pid: Pid) -> Option<u64> {
    let maps = open(pid)?.maps().ok()?;
    maps.iter()
        .find(|map| map.pathname == procfs::process::MMapPath::Heap)
        .map(|map| map.address.1)
}

/// `pid` and all its living descendants, parents first.
#[must_use]
pub fn with_descendants(pid: Pid) -> Vec<Pid> {
    let all: Vec<(Pid, Pid)> = procfs::process::all_processes()
        .map(|processes| {
            processes
                .filter_map(|process| {
                    let stat = process.ok()?.stat().ok()?;
                    Some((
                        Pid(u32::try_from(stat.pid).ok()?),
                        Pid(u32::try_from(stat.ppid).ok()?),
                    ))
                })
                .collect()
        })
        .unwrap_or_default();
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        for &(child, its_parent) in &all {
            if its_parent == parent && !family.contains(&child) {
                family.push(child);
            }
        }
        next += 1;
    }
    family
}

/// What a thread is doing, from its state letter and the call it is blocked in. `None` when it is gone.
///
/// <https://github.com/torvalds/linux/blob/v6.12/fs/proc/base.c#L662> (`proc_pid_syscall`)
fn state_of(task: &Task) -> Option<State> {
    let letter = task.stat().ok()?.state;
    if matches!(letter, 'Z' | 'X') {
        return None;
    }
    if letter == 'R' {
        return Some(State::UNKNOWN);
    }
    Some(match blocked_in(task) {
        Some((nr, argument)) if nr >= 0 => match class_of(nr.unsigned_abs()) {
            State::BY_FILE => waits_for_file(task, argument),
            state => state,
        },
        Some(_) if letter == 'D' => State::PAGE_FAULT,
        Some(_) => State::OTHER,
        None => State::UNKNOWN,
    })
}

/// What a thread waits for that blocks on its descriptor `fd`.
fn waits_for_file(task: &Task, fd: u64) -> State {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(format!("/proc/{}/task/{}/fd/{fd}", task.pid, task.tid))
        .map_or(State::OTHER, |found| State::of_file(found.mode()))
}

/// The number of the call a thread is blocked in and its first argument, −1 when it blocks outside any; `None` when it
/// runs, or when that may not be read. `procfs` takes a −1, which stands with fewer fields, for an error.
fn blocked_in(task: &Task) -> Option<(i64, u64)> {
    let line =
        std::fs::read_to_string(format!("/proc/{}/task/{}/syscall", task.pid, task.tid)).ok()?;
    let mut words = line.split_ascii_whitespace();
    let nr = words.next()?.parse().ok()?;
    let argument = words
        .next()
        .and_then(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok());
    Some((nr, argument.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_described() {
        let own = describe(Pid(std::process::id())).unwrap();
        assert_eq!(own.exe, std::env::current_exe().unwrap().to_string_lossy());
        assert!(is_alive(own.pid) && threads(own.pid).len() > 1);
        assert!(usage(own.pid).unwrap().rss_bytes > 100_000);
    }

    #[test]
    fn a_process_that_is_not_there_is_none() {
        let none = Pid(i32::MAX as u32);
        assert_eq!(
            (describe(none), is_alive(none), threads(none).len()),
            (None, false, 0)
        );
    }

    #[test]
    fn a_child_belongs_to_the_family() {
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let family = with_descendants(Pid(std::process::id()));
        assert!(family.contains(&Pid(child.id())));
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
