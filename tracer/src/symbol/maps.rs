//! What a process has mapped, from `/proc/PID/maps`: which file an address is in, and where in it.

use std::fs;

use procfs::process::Process;
use tracer_common::Pid;

use crate::target::mapping::{self, Mapping};

/// The mappings of a process as they were last seen.
#[derive(Debug, Default)]
pub(super) struct Maps {
    /// Start time of the process in clock ticks since boot: a later process of the same number has another.
    started: Option<u64>,
    /// The process' root directory as this process sees it; empty when it is the same.
    root: String,
    /// By address.
    pub(super) mappings: Vec<Mapping>,
    /// When it was last asked for, in the owner's count.
    pub(super) used: u64,
}

impl Maps {
    /// Reads the mappings again. When the process has ended, what was known stays. True when it is still running,
    /// so that its directory in `/proc` may be used.
    pub(super) fn refresh(&mut self, pid: Pid) -> bool {
        let Some(started) = started(pid) else {
            return false;
        };
        if self.started.is_some_and(|known| known != started) {
            return false;
        }
        let Ok(text) = fs::read(format!("/proc/{}/maps", pid.0)) else {
            return false;
        };
        let mut mappings = mapping::parse(&text);
        // A process that is ending has given back its memory before it is gone.
        if mappings.is_empty() {
            return false;
        }
        for mapping in &mut mappings {
            mapping.key = self
                .at(mapping.start)
                .filter(|known| {
                    (known.inode, known.device) == (mapping.inode, mapping.device)
                        && known.path == mapping.path
                })
                .and_then(|known| known.key);
        }
        self.root = mapping::root(pid);
        self.mappings = mappings;
        self.started = Some(started);
        true
    }

    /// Where in `mappings` the one that holds `address` is.
    pub(super) fn index(&self, address: u64) -> Option<usize> {
        let after = self
            .mappings
            .partition_point(|mapping| mapping.start <= address);
        let index = after.checked_sub(1)?;
        (address < self.mappings.get(index)?.end).then_some(index)
    }

    fn at(&self, address: u64) -> Option<&Mapping> {
        self.mappings.get(self.index(address)?)
    }

    /// What people are told that a mapping is.
    pub(super) fn module(&self, mapping: &Mapping) -> String {
        match self.seen_by_target(&mapping.path) {
            "" => "[anon]".to_owned(),
            path => path.to_owned(),
        }
    }

    /// The path as the process itself sees it: the kernel writes it from the reader's root.
    pub(super) fn seen_by_target<'a>(&self, path: &'a str) -> &'a str {
        mapping::seen_from(&self.root, path)
    }
}

fn started(pid: Pid) -> Option<u64> {
    let process = Process::new(i32::try_from(pid.0).ok()?).ok()?;
    Some(process.stat().ok()?.starttime)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"\
00400000-05a3c000 r-xp 00001000 08:02 173521                             /usr/bin/my node (deleted)
7f0000000000-7f0000001000 rw-p 00000000 00:00 0 \n\
not a line at all
7ffd1-7ffd2\n\
7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0                          [vdso]\n";

    #[test]
    fn an_address_is_in_one_mapping_or_in_none() {
        let maps = Maps {
            mappings: mapping::parse(TEXT),
            ..Maps::default()
        };
        let at = |address| maps.index(address);
        assert_eq!((at(0), at(0x3f_ffff), at(0x5a3_c000)), (None, None, None));
        assert_eq!((at(0x40_0000), at(0x5a3_bfff)), (Some(0), Some(0)));
        assert_eq!((at(0x7ffd_0000_1fff), at(u64::MAX)), (Some(2), None));
    }

    #[test]
    fn a_path_is_told_as_the_target_sees_it() {
        let maps = Maps {
            root: "/tmp/jail".into(),
            ..Maps::default()
        };
        assert_eq!(maps.seen_by_target("/tmp/jail/bin/sleep"), "/bin/sleep");
        assert_eq!(maps.seen_by_target("/tmp/jailed"), "/tmp/jailed");
        assert_eq!(Maps::default().seen_by_target("/bin/sleep"), "/bin/sleep");
    }

    #[test]
    fn a_process_that_is_not_there_keeps_what_was_known() {
        let mut maps = Maps {
            mappings: mapping::parse(TEXT),
            ..Maps::default()
        };
        assert!(!maps.refresh(Pid(i32::MAX as u32)));
        assert_eq!(maps.mappings.len(), 3);
    }
}
