//! How much CPU a process may use: affinity, cpuset, and its cgroup's quota, version 1 or 2.

use std::path::PathBuf;

use procfs::process::Process;
use tracer_common::{Nanos, Pid};

use super::memory;

/// How much CPU a process may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// CPUs it may run on.
    pub cpus: u32,
    /// Thousandths of a CPU its cgroup's quota allows; `None` without one.
    pub quota_millicpus: Option<u32>,
}

/// Where the cgroups of a process are.
#[derive(Clone, Debug, Default)]
pub struct Cgroup {
    /// Version 2, from the mount point down; every ancestor may have a quota.
    unified: Option<PathBuf>,
    /// Version 1, of the `cpu` controller.
    cpu: Option<PathBuf>,
}

/// The limits of `pid`, or `None` when it is gone.
#[must_use]
pub fn limits(pid: Pid) -> Option<Limits> {
    let process = Process::new(i32::try_from(pid.0).ok()?).ok()?;
    let allowed = process.status().ok()?.cpus_allowed?;
    let cpus = allowed.iter().map(|word| word.count_ones()).sum();
    Some(Limits {
        cpus,
        quota_millicpus: Cgroup::of(pid).quota_millicpus(),
    })
}

impl Cgroup {
    /// The cgroups of `pid`; what cannot be found is not there.
    #[must_use]
    pub fn of(pid: Pid) -> Self {
        let Some(process) = i32::try_from(pid.0)
            .ok()
            .and_then(|pid| Process::new(pid).ok())
        else {
            return Self::default();
        };
        let memberships = process.cgroups().map(|groups| groups.0).unwrap_or_default();
        let mounts = Process::myself()
            .and_then(|own| own.mountinfo())
            .map(|mounts| mounts.0)
            .unwrap_or_default();
        let path = |of: &procfs::ProcessCGroup| {
            let unified = of.hierarchy == 0;
            let mount = mounts.iter().find(|mount| {
                if unified {
                    mount.fs_type == "cgroup2"
                } else {
                    mount.fs_type == "cgroup" && mount.super_options.contains_key("cpu")
                }
            })?;
            Some(mount.mount_point.join(of.pathname.trim_start_matches('/')))
        };
        Self {
            unified: memberships
                .iter()
                .find(|group| group.hierarchy == 0)
                .and_then(path),
            cpu: memberships
                .iter()
                .find(|group| group.controllers.iter().any(|name| name == "cpu"))
                .and_then(path),
        }
    }

    /// The least quota of the group and those above it, in thousandths of a CPU.
    #[must_use]
    pub fn quota_millicpus(&self) -> Option<u32> {
        let unified = self
            .unified
            .iter()
            .flat_map(|path| path.ancestors())
            .filter_map(|path| {
                let text = std::fs::read_to_string(path.join("cpu.max")).ok()?;
                let (quota, period) = text.trim().split_once(' ')?;
                millicpus(quota.parse().ok()?, period.parse().ok()?)
            });
        let cpu = self
            .cpu
            .iter()
            .flat_map(|path| path.ancestors())
            .filter_map(|path| {
                let number = |file: &str| {
                    let text = std::fs::read_to_string(path.join(file)).ok()?;
                    // -1 is no quota.
                    text.trim().parse::<u64>().ok()
                };
                millicpus(number("cpu.cfs_quota_us")?, number("cpu.cfs_period_us")?)
            });
        unified.chain(cpu).min()
    }

    /// Time the group was throttled since it was made, over all CPUs.
    #[must_use]
    pub fn throttled(&self) -> Option<Nanos> {
        let read = |path: &PathBuf, field: &str, unit: u64| {
            let text = std::fs::read_to_string(path.join("cpu.stat")).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix(field))?;
            let count: u64 = line.trim().parse().ok()?;
            Some(Nanos(count.saturating_mul(unit)))
        };
        let unified = self
            .unified
            .as_ref()
            .and_then(|path| read(path, "throttled_usec", 1_000));
        let cpu = || {
            self.cpu
                .as_ref()
                .and_then(|path| read(path, "throttled_time", 1))
        };
        unified.or_else(cpu)
    }

    /// Time its tasks waited for memory, some and all of them; `None` when the kernel does not say.
    #[must_use]
    pub fn memory_pressure(&self) -> Option<(Nanos, Nanos)> {
        let path = self.unified.as_ref()?.join("memory.pressure");
        memory::pressure(&std::fs::read_to_string(path).ok()?)
    }
}

fn millicpus(quota: u64, period: u64) -> Option<u32> {
    u32::try_from(quota.saturating_mul(1_000).checked_div(period)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_may_run_somewhere() {
        let limits = limits(Pid(std::process::id())).unwrap();
        assert!(limits.cpus >= 1);
        assert_eq!(
            limits.quota_millicpus,
            Cgroup::of(Pid(std::process::id())).quota_millicpus()
        );
    }

    #[test]
    fn a_quota_is_a_share_of_a_period() {
        assert_eq!(millicpus(150_000, 100_000), Some(1_500));
        assert_eq!(millicpus(1, 0), None);
    }
}
