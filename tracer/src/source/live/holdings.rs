//! What has to be looked up in `/proc` because nothing counts it: shared memory, descriptors, pressure, limits. Each
//! look has a price, and none is taken more often than its price allows.

use std::collections::{BTreeMap, BTreeSet};

use tracer_common::{
    Nanos, Pid, Table as _,
    table::{FileKey, FileRow, Files},
};

use crate::{
    record::{
        CounterSample, FileMeta, HoldingSample, LimitsMeta, Meta, PressureSample, Record, Sample,
    },
    target::{
        cpu::{self, Cgroup},
        descriptor::{self, Sockets},
        memory, sys,
    },
};

/// A look may take this share of the time: one that took 1 ms is taken again after 500 ms.
const SHARE: u64 = 500;
/// Ticks after which limits are read again.
const LIMITS_EVERY: u64 = 10;
/// Descriptors described per tick: the others have to wait.
const DESCRIBED_PER_TICK: usize = 256;

#[derive(Default)]
pub(super) struct Holdings {
    looks: BTreeMap<Pid, Looks>,
    /// Descriptors something went through, with how often they had been closed when they were described.
    files: BTreeMap<FileKey, Described>,
    due: BTreeSet<FileKey>,
    cgroup: Option<Cgroup>,
    ticks: u64,
}

#[derive(Default)]
struct Looks {
    rollup: Look,
    held: Look,
    limits: LimitsMeta,
    last: Option<HoldingSample>,
}

#[derive(Default)]
struct Described {
    closes: u64,
    is: FileMeta,
}

/// When something was looked at, and how long that took.
#[derive(Clone, Copy, Default)]
struct Look {
    at: Nanos,
    took: Nanos,
}

impl Look {
    fn is_due(self, now: Nanos) -> bool {
        now.0.saturating_sub(self.at.0) >= self.took.0.saturating_mul(SHARE)
    }

    fn take<T>(&mut self, now: Nanos, look: impl FnOnce() -> T) -> T {
        let result = look();
        self.at = now;
        self.took = sys::monotonic().since(now).unwrap_or_default();
        result
    }
}

impl Holdings {
    /// Looks at `pids`, as far as that is due.
    pub(super) fn tick(&mut self, pids: &[Pid], out: &mut Vec<Record>) {
        self.looks.retain(|pid, _| pids.contains(pid));
        for &pid in pids {
            let looks = self.looks.entry(pid).or_default();
            looks.hold(pid, out);
            if self.ticks.is_multiple_of(LIMITS_EVERY) || looks.limits.pid != pid {
                looks.limit(pid, out);
            }
        }
        if let Some(&first) = pids.first() {
            self.pressure(first, out);
        }
        self.describe(out);
        self.ticks += 1;
    }

    /// Reads what the machine, and the cgroup of the `first` target, are short of.
    pub(super) fn pressure(&mut self, first: Pid, out: &mut Vec<Record>) {
        let cgroup = self.cgroup.get_or_insert_with(|| Cgroup::of(first));
        let host = memory::host_pressure();
        let group = cgroup.memory_pressure();
        out.push(Record::Sample(Sample::Pressure(PressureSample {
            at: sys::monotonic(),
            memory_some: host.map(|(some, _)| some),
            memory_full: host.map(|(_, full)| full),
            cgroup_memory_some: group.map(|(some, _)| some),
            cgroup_memory_full: group.map(|(_, full)| full),
            throttled: cgroup.throttled(),
        })));
    }

    /// Notes a row of the table of descriptors: a new one, or one whose number was closed, has to be looked at.
    pub(super) fn counted(&mut self, sample: &CounterSample) {
        if sample.table != Files::NUMBER {
            return;
        }
        let key: FileKey = sample.key.read();
        if sample.last {
            self.files.remove(&key);
            self.due.remove(&key);
            return;
        }
        let row: FileRow = sample.row();
        let known = self.files.get(&key);
        if known.is_none_or(|known| known.closes != row.closes || known.is.kind.is_empty()) {
            self.files.entry(key).or_default().closes = row.closes;
            self.due.insert(key);
        }
    }

    fn describe(&mut self, out: &mut Vec<Record>) {
        let mut sockets: Option<(Pid, Sockets)> = None;
        for _ in 0..DESCRIBED_PER_TICK {
            let Some(key) = self.due.pop_first() else {
                return;
            };
            if sockets.as_ref().is_none_or(|(pid, _)| *pid != key.pid) {
                sockets = Some((key.pid, Sockets::of(key.pid)));
            }
            let Some((_, of_process)) = &sockets else {
                return;
            };
            // Closed already: what it was stays what was said of it last.
            let Some(found) = of_process.describe(key.pid, key.fd) else {
                continue;
            };
            let is = FileMeta {
                pid: key.pid,
                fd: key.fd,
                kind: found.kind.to_owned(),
                name: found.name,
            };
            if let Some(described) = self.files.get_mut(&key)
                && described.is != is
            {
                described.is.clone_from(&is);
                out.push(Record::Meta(Meta::File(is)));
            }
        }
    }
}

impl Looks {
    fn hold(&mut self, pid: Pid, out: &mut Vec<Record>) {
        let now = sys::monotonic();
        let rollup = self
            .rollup
            .is_due(now)
            .then(|| self.rollup.take(now, || memory::rollup(pid)))
            .flatten();
        let now = sys::monotonic();
        let held = self
            .held
            .is_due(now)
            .then(|| self.held.take(now, || descriptor::held(pid)))
            .flatten();
        if let Some(held) = held
            && held.io_uring
            && self.limits.io_uring == 0
            && self.limits.pid == pid
        {
            self.limits.io_uring = 1;
            out.push(Record::Meta(Meta::Limits(self.limits)));
        }
        let sample = HoldingSample {
            at: now,
            pid,
            pss_bytes: rollup.map(|rollup| rollup.pss_bytes),
            swap_bytes: rollup.map(|rollup| rollup.swap_bytes),
            descriptors: held.map(|held| held.descriptors),
            sockets: held.map(|held| held.sockets),
        };
        let same = self.last.is_some_and(|last| {
            HoldingSample {
                at: sample.at,
                ..last
            } == sample
        });
        if (rollup.is_some() || held.is_some()) && !same {
            self.last = Some(sample);
            out.push(Record::Sample(Sample::Holding(sample)));
        }
    }

    fn limit(&mut self, pid: Pid, out: &mut Vec<Record>) {
        let Some(found) = cpu::limits(pid) else {
            return;
        };
        let limits = LimitsMeta {
            pid,
            cpus: found.cpus,
            quota_millicpus: found.quota_millicpus.unwrap_or(0),
            io_uring: self.limits.io_uring,
        };
        if limits != self.limits {
            self.limits = limits;
            out.push(Record::Meta(Meta::Limits(limits)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dear_look_is_taken_seldom() {
        let look = Look {
            at: Nanos(1_000_000_000),
            took: Nanos(2_000_000),
        };
        assert!(!look.is_due(Nanos(1_999_999_999)) && look.is_due(Nanos(2_000_000_000)));
        assert!(Look::default().is_due(Nanos(0)));
    }

    #[test]
    fn own_process_is_looked_at() {
        let (mut holdings, mut out) = (Holdings::default(), Vec::new());
        let own = Pid(std::process::id());
        holdings.tick(&[own], &mut out);
        let held = out.iter().find_map(|record| {
            if let Record::Sample(Sample::Holding(sample)) = record {
                Some(*sample)
            } else {
                None
            }
        });
        assert!(held.is_some_and(|held| held.pss_bytes > Some(0) && held.descriptors > Some(2)));
        assert!(
            out.iter().any(
                |record| matches!(record, Record::Meta(Meta::Limits(limits)) if limits.cpus > 0)
            )
        );
    }
}
