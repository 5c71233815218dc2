//! Rows of a snapshot, made from what the tables and the stacks hold.

use std::collections::BTreeMap;

use tracer_common::{
    LossReason, Nanos, Pid, State, SyscallNr, Tid,
    table::{LockKey, LockKind, MemoryCall},
};

use super::{
    Model,
    counters::distribution,
    snapshot::{
        CpuView, FileView, LISTED, LevelView, LockView, MemoryCallView, MemoryView, PartyView,
        PollView, WaitView,
    },
};

/// Waiters and wakers listed of one lock.
const PARTIES: usize = 8;
/// Windows the growth of memory is taken from: a minute of the usual ones.
const SLOPE_WINDOWS: usize = 60;
/// Windows there must be, or a slope would be noise.
const SLOPE_LEAST: usize = 5;

type Pairs = BTreeMap<LockKey, Vec<(Tid, Tid, u64, u64)>>;

impl Model {
    pub(super) fn lock_views(&self) -> Vec<LockView> {
        let rows = self.tables.locks.largest(LISTED);
        let counted = self.calls_are_counted();
        let names = self.threads.names();
        let mut waiting: BTreeMap<(Pid, u64), u32> = BTreeMap::new();
        for (pid, on) in self.threads.waiting_on_futexes() {
            *waiting.entry((pid, on)).or_default() += 1;
        }
        let pairs = self.pairs(rows.iter().map(|row| row.key));
        rows.into_iter()
            .map(|found| {
                let (key, row) = (found.key, found.row);
                let of_lock = pairs.get(&key).map_or(&[][..], Vec::as_slice);
                let (stack, waker_stack) = self.stacks.of_lock(key.pid, key.address);
                LockView {
                    pid: key.pid,
                    address: key.address,
                    kind: LockKind(key.kind.0 | row.kinds as u32),
                    wait: distribution(&row.wait),
                    recent_waits: found.recent[0],
                    recent_time: Nanos(found.recent[1]),
                    woken: row.woken,
                    again: counted.then_some(row.again),
                    timeouts: counted.then_some(row.timeouts),
                    interrupted: counted.then_some(row.interrupted),
                    wake_calls: counted.then_some(row.wake_calls),
                    wake_results: counted.then_some(row.wake_results),
                    waiting_now: waiting
                        .get(&(key.pid, key.address))
                        .copied()
                        .unwrap_or_default(),
                    waiters: parties(
                        of_lock,
                        &names,
                        |&(waiter, ..)| waiter,
                        |party| party.waited.0,
                    ),
                    wakers: parties(
                        of_lock,
                        &names,
                        |&(_, waker, ..)| waker,
                        |party| party.count,
                    ),
                    stack,
                    waker_stack,
                }
            })
            .collect()
    }

    /// Waiter, waker, count and time at each of `locks`.
    fn pairs(&self, locks: impl Iterator<Item = LockKey>) -> Pairs {
        let mut pairs: Pairs = locks.map(|key| (key, Vec::new())).collect();
        for (key, [count, waited]) in self.tables.wakes.headlines() {
            let lock = LockKey {
                address: key.address,
                pid: key.pid,
                kind: key.kind,
            };
            if let Some(found) = pairs.get_mut(&lock) {
                found.push((key.waiter, key.waker, count, waited));
            }
        }
        pairs
    }

    pub(super) fn wait_views(&self) -> Vec<WaitView> {
        let names = self.threads.names();
        let mut all: Vec<_> = self.stacks.waits.iter().collect();
        all.sort_by(|a, b| b.1.sum.cmp(&a.1.sum).then(a.0.cmp(b.0)));
        all.truncate(LISTED);
        all.into_iter()
            .map(|(&(state, stack), waits)| WaitView {
                state,
                stack: self.stacks.view(stack),
                waker_stack: self.stacks.view(waits.waker_stack),
                tid: waits.tid,
                thread: names.get(&waits.tid).cloned().unwrap_or_default(),
                count: waits.count,
                sum: waits.sum,
                max: waits.max,
            })
            .collect()
    }

    pub(super) fn file_views(&self) -> Vec<FileView> {
        let rows = self.tables.files.largest(LISTED);
        rows.into_iter()
            .map(|found| {
                let (key, row) = (found.key, found.row);
                let meta = self.files.get(&(key.pid, key.fd));
                FileView {
                    pid: key.pid,
                    fd: key.fd,
                    kind: meta.map(|meta| meta.kind.clone()).unwrap_or_default(),
                    name: meta.map(|meta| meta.name.clone()).unwrap_or_default(),
                    reads: row.reads,
                    read_bytes: row.read_bytes,
                    writes: row.writes,
                    write_bytes: row.write_bytes,
                    connects: row.connects,
                    errors: row.errors,
                    again: row.again,
                    closes: row.closes,
                    time: Nanos(row.time),
                    time_max: Nanos(row.time_max),
                    recent_bytes: found.recent[1],
                    recent_calls: found.recent[0],
                }
            })
            .collect()
    }

    pub(super) fn poll_views(&self) -> Vec<PollView> {
        let rows = self.tables.polls.largest(LISTED);
        rows.into_iter()
            .map(|found| PollView {
                pid: found.key.pid,
                fd: found.key.fd,
                waits: found.row.waits,
                empty: found.row.empty,
                events: found.row.events,
                events_max: found.row.events_max,
                latency: distribution(&found.row.latency),
            })
            .collect()
    }

    /// Errors of a call by number. `None` when they are not told apart, or some were lost.
    pub(super) fn errnos(&self) -> Option<BTreeMap<SyscallNr, Vec<(u32, u64)>>> {
        if !self.group_is_on("call_errors")
            || self.losses.contains_key(&LossReason::ERROR_TABLE_FULL)
        {
            return None;
        }
        let mut errnos: BTreeMap<SyscallNr, Vec<(u32, u64)>> = BTreeMap::new();
        for (key, [count, _]) in self.tables.errors.headlines() {
            errnos.entry(key.nr).or_default().push((key.errno, count));
        }
        Some(errnos)
    }

    pub(super) fn memory_view(&self) -> MemoryView {
        let sampled = || self.processes.values().filter_map(|process| process.sample);
        let rss_bytes = sampled().fold(0, |sum: u64, sample| sum.saturating_add(sample.rss_bytes));
        let held = |field: fn(&super::Process) -> Option<u64>| {
            self.processes
                .values()
                .filter_map(field)
                .fold(None, |sum: Option<u64>, bytes| {
                    Some(sum.unwrap_or(0).saturating_add(bytes))
                })
        };
        let counted = self.group_is_on("memory_calls");
        let mut calls: BTreeMap<MemoryCall, MemoryCallView> = BTreeMap::new();
        for (key, [count, bytes]) in self.tables.memory.headlines() {
            let call = calls.entry(key.what).or_insert(MemoryCallView {
                what: key.what,
                ..MemoryCallView::default()
            });
            call.calls = call.calls.saturating_add(count);
            call.bytes = call.bytes.saturating_add(bytes);
        }
        let pressure = &self.pressure;
        MemoryView {
            rss_bytes: sampled().next().map(|_| rss_bytes),
            pss_bytes: held(|process| process.pss_bytes),
            swap_bytes: held(|process| process.swap_bytes),
            rss_slope: self.rss_slope(),
            minor_faults: self.faults.map(|(minor, _)| minor),
            major_faults: self.faults.map(|(_, major)| major),
            fault_time: self.threads.total(State::PAGE_FAULT),
            fault_cpu: self.stacks.fault_cpu(),
            calls: counted.then(|| calls.into_values().collect()),
            by_stack: self.stacks.memory_views(),
            pressure_some: pressure.share(|sample| sample.memory_some),
            pressure_full: pressure.share(|sample| sample.memory_full),
            cgroup_pressure: pressure
                .share(|sample| sample.cgroup_memory_some)
                .zip(pressure.share(|sample| sample.cgroup_memory_full)),
        }
    }

    /// Bytes per second the resident set grows by, as the line through the last windows has it.
    fn rss_slope(&self) -> Option<f64> {
        let skipped = self.history.len().saturating_sub(SLOPE_WINDOWS);
        let points: Vec<(f64, f64)> = self
            .history
            .iter()
            .skip(skipped)
            .filter(|point| point.rss_bytes > 0)
            .map(|point| {
                let at = point.at.since(self.session.started).unwrap_or_default();
                (at.0 as f64 / 1e9, point.rss_bytes as f64)
            })
            .collect();
        if points.len() < SLOPE_LEAST {
            return None;
        }
        let count = points.len() as f64;
        let mean_at = points.iter().map(|&(at, _)| at).sum::<f64>() / count;
        let mean = points.iter().map(|&(_, bytes)| bytes).sum::<f64>() / count;
        let (mut covariance, mut variance) = (0.0, 0.0);
        for (at, bytes) in points {
            covariance += (at - mean_at) * (bytes - mean);
            variance += (at - mean_at) * (at - mean_at);
        }
        (variance > 0.0).then(|| covariance / variance)
    }

    pub(super) fn cpu_view(&self) -> CpuView {
        let limits = || self.limits.values();
        CpuView {
            allowed: limits().map(|limits| limits.cpus).max(),
            quota_millicpus: limits()
                .map(|limits| limits.quota_millicpus)
                .filter(|&quota| quota > 0)
                .min(),
            throttled: self.pressure.since_first(|sample| sample.throttled),
            samples: self.stacks.sample_count,
            period: self.stacks.sample_period,
            by_stack: self.stacks.cpu_views(),
            javascript: self.stacks.js_functions(),
            io_uring: limits().any(|limits| limits.io_uring != 0),
        }
    }

    pub(super) fn level_views(&self) -> Vec<LevelView> {
        let mut levels = Vec::new();
        if let Some(sockets) = self.sockets.view("sockets") {
            levels.push(sockets);
        }
        levels.extend(self.tasks.level.view("tasks"));
        levels.extend(self.tasks.pool_level.view("pool"));
        levels.extend(self.resources.views());
        levels
    }

    /// True when the probe of this name counts, at least at times.
    pub(super) fn group_is_on(&self, probe: &str) -> bool {
        use crate::record::ProbeStatus::{Attached, Degraded};
        self.probes
            .iter()
            .any(|known| known.name == probe && matches!(known.status, Attached | Degraded))
    }

    fn calls_are_counted(&self) -> bool {
        self.group_is_on("sys_exit")
    }
}

/// Sums up pairs by one of the two, largest first.
fn parties(
    pairs: &[(Tid, Tid, u64, u64)],
    names: &BTreeMap<Tid, String>,
    which: impl Fn(&(Tid, Tid, u64, u64)) -> Tid,
    size: impl Fn(&PartyView) -> u64,
) -> Vec<PartyView> {
    let mut parties: BTreeMap<Tid, PartyView> = BTreeMap::new();
    for pair in pairs {
        let tid = which(pair);
        if tid.0 == 0 {
            continue;
        }
        let party = parties.entry(tid).or_insert_with(|| PartyView {
            tid,
            name: names.get(&tid).cloned().unwrap_or_default(),
            ..PartyView::default()
        });
        party.count = party.count.saturating_add(pair.2);
        party.waited = party.waited.plus(Nanos(pair.3));
    }
    let mut parties: Vec<PartyView> = parties.into_values().collect();
    parties.sort_by(|a, b| size(b).cmp(&size(a)).then(a.tid.cmp(&b.tid)));
    parties.truncate(PARTIES);
    parties
}
