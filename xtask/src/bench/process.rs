//! What `/proc` says about a process from outside, so that asking costs it nothing.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};

/// The CPU time of all threads of `pid`, to the nanosecond, but up to a tick behind for a thread that is running.
/// A thread that has ended takes its time with it, so this is for programs that keep theirs.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let mut sum = Duration::ZERO;
    for task in tasks(pid)? {
        // One that has just ended has no file any more.
        if let Ok(text) = fs::read_to_string(task.join("schedstat")) {
            let time = text
                .split_whitespace()
                .next()
                .and_then(|ns| ns.parse().ok());
            sum += Duration::from_nanos(time.context("read schedstat: not a number")?);
        }
    }
    Ok(sum)
}

/// Resident memory in bytes.
pub(crate) fn resident(pid: u32) -> Result<u64> {
    let kib: Option<u64> = status(&directory(pid), "VmRSS:")
        .and_then(|value| value.split_whitespace().next()?.parse().ok());
    let kib = kib.with_context(|| format!("process {pid} has no resident memory: it has ended"))?;
    Ok(kib * 1024)
}

/// Whether every thread of `pid` is traced by `tracer` in the manner of a debugger.
pub(crate) fn is_traced_by(pid: u32, tracer: u32) -> Result<bool> {
    let tracer = tracer.to_string();
    let mut tasks = tasks(pid)?.into_iter();
    Ok(tasks.all(|task| status(&task, "TracerPid:").is_none_or(|by| by == tracer)))
}

/// How many perf events and BPF links `pid` holds open.
pub(crate) fn hooks(pid: u32) -> usize {
    let Ok(entries) = fs::read_dir(directory(pid).join("fd")) else {
        return 0;
    };
    let links = entries
        .flatten()
        .filter_map(|one| fs::read_link(one.path()).ok());
    links
        .filter(|link| {
            let kind = link.to_string_lossy();
            kind == "anon_inode:[perf_event]" || kind.starts_with("anon_inode:bpf_link")
        })
        .count()
}

/// Whether the main thread of `pid` waits for something.
pub(crate) fn is_asleep(pid: u32) -> bool {
    status(&directory(pid), "State:").is_some_and(|state| state.starts_with('S'))
}

fn directory(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}"))
}

fn tasks(pid: u32) -> Result<Vec<PathBuf>> {
    let directory = directory(pid).join("task");
    let entries = fs::read_dir(&directory).with_context(|| format!("process {pid} has ended"))?;
    Ok(entries.flatten().map(|task| task.path()).collect())
}

fn status(of: &Path, key: &str) -> Option<String> {
    let text = fs::read_to_string(of.join("status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_runs_uses_time_and_memory() -> Result<()> {
        let pid = std::process::id();
        let before = cpu_time(pid)?;
        // Reading is work too, so this ends.
        while cpu_time(pid)? == before {}
        assert!(resident(pid)? > 100_000);
        assert!(is_traced_by(pid, 0)?);
        assert!(!is_traced_by(pid, pid)?);
        Ok(())
    }

    #[test]
    fn a_process_that_is_gone_has_nothing() {
        assert!(cpu_time(u32::MAX).is_err());
        assert!(resident(u32::MAX).is_err());
        assert_eq!(hooks(u32::MAX), 0);
        assert!(!is_asleep(u32::MAX));
    }
}
