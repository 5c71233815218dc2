//! What only the kernel can add up: shared and swapped memory, pressure.

use std::collections::HashMap;

use procfs::process::Process;
use tracer_common::{Nanos, Pid};

/// Memory of a process as its page tables have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rollup {
    /// Resident memory with shared pages divided among those who share them.
    pub pss_bytes: u64,
    /// Memory swapped out.
    pub swap_bytes: u64,
}

/// Adds up the mappings of `pid`, or `None` when it is gone or may not be read.
///
/// Not cheap: the kernel walks all page tables of the process and holds its mapping lock for reading meanwhile, about
/// 10 ms per GiB of resident memory.
/// <https://github.com/torvalds/linux/blob/v6.12/fs/proc/task_mmu.c#L1090>
#[must_use]
pub fn rollup(pid: Pid) -> Option<Rollup> {
    let process = Process::new(i32::try_from(pid.0).ok()?).ok()?;
    let maps = process.smaps_rollup().ok()?;
    let totals: &HashMap<String, u64> = &maps.memory_map_rollup.iter().next()?.extension.map;
    let of = |name: &str| totals.get(name).copied().unwrap_or(0);
    Some(Rollup {
        pss_bytes: of("Pss"),
        swap_bytes: of("Swap"),
    })
}

/// Time waited for memory since boot, by some and by all tasks; `None` when the kernel does not say
/// (`CONFIG_PSI`, Linux 4.20).
#[must_use]
pub fn host_pressure() -> Option<(Nanos, Nanos)> {
    pressure(&std::fs::read_to_string("/proc/pressure/memory").ok()?)
}

/// Reads the totals of a pressure file, which are in microseconds.
pub(super) fn pressure(text: &str) -> Option<(Nanos, Nanos)> {
    let total = |kind: &str| {
        let line = text.lines().find(|line| line.starts_with(kind))?;
        let micros: u64 = line.rsplit_once("total=")?.1.trim().parse().ok()?;
        Some(Nanos(micros.saturating_mul(1_000)))
    };
    Some((total("some ")?, total("full ")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_memory_is_added_up() {
        let rollup = rollup(Pid(std::process::id())).unwrap();
        let rss = super::super::process::usage(Pid(std::process::id()))
            .unwrap()
            .rss_bytes;
        assert!(rollup.pss_bytes > 100_000 && rollup.pss_bytes <= rss * 2);
    }

    #[test]
    fn totals_are_read_in_microseconds() {
        let text = "some avg10=0.00 avg60=0.00 avg300=0.00 total=1500\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        assert_eq!(pressure(text), Some((Nanos(1_500_000), Nanos(7_000))));
        assert_eq!(pressure(""), None);
    }
}
