//! The memory of another process, read while it runs.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt as _};

use tracer_common::Pid;

/// Memory by virtual address. The owner goes on writing it, so two words read at once may be of two moments.
pub trait Memory {
    /// Fills `buffer` from `address` on; false when not all of it is mapped and readable.
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool;

    /// A little-endian word.
    fn word(&self, address: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)
            .then(|| u64::from_le_bytes(bytes))
    }

    /// The parts of `range` that are in memory, in order. What is not there was never touched, or would have to be
    /// fetched from swap.
    fn resident(&self, range: Range<u64>) -> Vec<Range<u64>> {
        vec![range]
    }
}

/// The memory of a process through `/proc/PID/mem`: the target is not stopped and does not notice. Needs the right to
/// trace the process (`ptrace_may_access`), as probes do.
///
/// <https://github.com/torvalds/linux/blob/v6.12/fs/proc/base.c> (`mem_rw`)
#[derive(Debug)]
pub struct ProcessMemory {
    file: File,
    /// A word for each page; `None` where it may not be read.
    pages: Option<File>,
}

impl ProcessMemory {
    /// The memory of `pid`.
    ///
    /// # Errors
    /// When the process is gone or may not be read.
    pub fn of(pid: Pid) -> io::Result<Self> {
        let file = File::open(format!("/proc/{}/mem", pid.0))?;
        let pages = File::open(format!("/proc/{}/pagemap", pid.0)).ok();
        Ok(Self { file, pages })
    }
}

impl Memory for ProcessMemory {
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        self.file.read_exact_at(buffer, address).is_ok()
    }

    /// <https://github.com/torvalds/linux/blob/v6.12/Documentation/admin-guide/mm/pagemap.rst>
    fn resident(&self, range: Range<u64>) -> Vec<Range<u64>> {
        const PAGE: u64 = 4_096;
        const PRESENT: u64 = 1 << 63;
        let first = range.start / PAGE;
        let count = range.end.div_ceil(PAGE).saturating_sub(first);
        let size = usize::try_from(count.saturating_mul(8)).unwrap_or(0);
        let mut words = vec![0; size];
        let read = self
            .pages
            .as_ref()
            .is_some_and(|pages| pages.read_exact_at(&mut words, first * 8).is_ok());
        if !read {
            return vec![range];
        }
        let mut parts: Vec<Range<u64>> = Vec::new();
        for (page, word) in (first..).zip(words.as_chunks::<8>().0) {
            if u64::from_le_bytes(*word) & PRESENT == 0 {
                continue;
            }
            let start = (page * PAGE).max(range.start);
            let end = (page + 1).saturating_mul(PAGE).min(range.end);
            match parts.last_mut() {
                Some(last) if last.end == start => last.end = end,
                Some(_) | None => parts.push(start..end),
            }
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_was_never_touched_is_not_resident() {
        let memory = ProcessMemory::of(Pid(std::process::id())).expect("our own memory");
        let mut large = vec![0u8; 64 << 20];
        let start = large.as_ptr().addr() as u64;
        let middle = large.len() / 2;
        large[middle] = 1;
        let parts = memory.resident(start..start + large.len() as u64);
        let size: u64 = parts.iter().map(|part| part.end - part.start).sum();
        assert!(
            parts
                .iter()
                .any(|part| part.contains(&(start + middle as u64)))
        );
        assert!(size < large.len() as u64 / 2, "{parts:?}");
    }

    #[test]
    fn what_is_mapped_is_read_and_what_is_not_is_refused() {
        let memory = ProcessMemory::of(Pid(std::process::id())).expect("our own memory");
        let known: Box<[u64; 2]> = Box::new([0x1234_5678_9abc_def0, 7]);
        let address = std::ptr::from_ref(&*known).addr() as u64;
        assert_eq!(memory.word(address), Some(known[0]));
        let mut both = [0; 16];
        assert!(memory.read(address, &mut both));
        assert_eq!(both[8..], 7u64.to_le_bytes());
        assert_eq!(memory.word(8), None);
        assert_eq!(memory.word(u64::MAX - 3), None);
    }
}
