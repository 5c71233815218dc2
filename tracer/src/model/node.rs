//! Node: garbage collections and libuv's thread pool, from the tables of the kernel side.

use std::{cmp::Reverse, collections::BTreeMap};

use tracer_common::{
    Nanos, Pid,
    table::{Collector, Timed, WorkKey, WorkKind, WorkPoolRow, WorkTime},
};

use super::{
    Model,
    counters::{EXACT, Sum as _, Tables, distribution, scale_all},
    snapshot::{CollectionView, LISTED, NodeView, PoolView, WorkView},
};
use crate::record::WorkTypeMeta;

/// Names of vtables kept: Node has a few hundred classes.
const NAMES: usize = 4_096;

/// Operations of libuv on files, by its numbers from 0 on.
/// <https://github.com/libuv/libuv/blob/v1.51.0/include/uv.h>: `uv_fs_type`
const FS: [&str; 37] = [
    "custom",
    "open",
    "close",
    "read",
    "write",
    "sendfile",
    "stat",
    "lstat",
    "fstat",
    "ftruncate",
    "utime",
    "futime",
    "access",
    "chmod",
    "fchmod",
    "fsync",
    "fdatasync",
    "unlink",
    "rmdir",
    "mkdir",
    "mkdtemp",
    "rename",
    "scandir",
    "link",
    "symlink",
    "readlink",
    "chown",
    "fchown",
    "realpath",
    "copyfile",
    "lchown",
    "opendir",
    "readdir",
    "closedir",
    "statfs",
    "mkstemp",
    "lutime",
];

/// Names of what work belongs to.
#[derive(Debug, Default)]
pub(super) struct Node {
    names: BTreeMap<(Pid, u64), String>,
}

impl Node {
    pub(super) fn name(&mut self, meta: &WorkTypeMeta) {
        let key = (meta.pid, meta.vtable);
        if self.names.len() < NAMES || self.names.contains_key(&key) {
            self.names.insert(key, meta.name.clone());
        }
    }

    /// What work of this kind is called.
    fn kind(&self, pid: Pid, kind: WorkKind, vtable: u64) -> String {
        let name = match kind {
            WorkKind::GETADDRINFO => "dns.getaddrinfo",
            WorkKind::GETNAMEINFO => "dns.getnameinfo",
            WorkKind::RANDOM => "random",
            WorkKind::QUEUED => match self.names.get(&(pid, vtable)) {
                Some(name) => name.as_str(),
                None => "work",
            },
            WorkKind { number } => {
                let operation = number.checked_sub(WorkKind::FS);
                let operation = operation.and_then(|number| FS.get(number as usize));
                return match operation {
                    Some(operation) => format!("fs.{operation}"),
                    None => "fs".to_owned(),
                };
            }
        };
        name.to_owned()
    }
}

/// Work for the pools of all processes that has begun or waits; `None` where no pool is watched.
pub(super) fn in_flight(tables: &Tables) -> Option<u64> {
    let pools = tables.work_pools.largest(usize::MAX);
    if pools.is_empty() {
        return None;
    }
    let sum = |of: fn(&WorkPoolRow) -> u64| {
        let counts = pools.iter().map(|found| of(&found.row));
        counts.fold(0u64, u64::saturating_add)
    };
    Some(sum(|row| row.submitted).saturating_sub(sum(|row| row.ended)))
}

impl Model {
    pub(super) fn node_view(&self) -> NodeView {
        let names = self.threads.names();
        let mut collections: Vec<CollectionView> = self
            .tables
            .collections
            .largest(LISTED)
            .into_iter()
            .map(|found| CollectionView {
                pid: found.key.pid,
                tid: found.key.tid,
                thread: names.get(&found.key.tid).cloned().unwrap_or_default(),
                kind: collector(found.key.kind).to_owned(),
                pause: distribution(&found.row),
                recent: found.recent[0],
                recent_time: Nanos(found.recent[1]),
            })
            .collect();
        collections.sort_by_key(|view| (Reverse(view.pause.sum), view.pid, view.tid));
        NodeView {
            collections,
            works: self.work_views(),
            pools: self.pool_views(),
            watched: self.tasks.works_watched(),
            heaps: self.heaps.views(),
            heaps_unknown: self.heaps.unknown(),
        }
    }

    fn work_views(&self) -> Vec<WorkView> {
        let watched = self.tasks.works_watched();
        // Several classes may go by one name.
        let mut sums: BTreeMap<(Pid, String), [Timed; 2]> = BTreeMap::new();
        for found in self.tables.works.largest(usize::MAX) {
            let WorkKey {
                vtable, pid, kind, ..
            } = found.key;
            let of = sums.entry((pid, self.node.kind(pid, kind, vtable)));
            let [queued, run] = of.or_default();
            match found.key.what {
                WorkTime::QUEUED => queued.add(&found.row),
                WorkTime::RUN => run.add(&found.row),
                _ => {}
            }
        }
        let views = sums
            .into_iter()
            .map(|((pid, kind), [queued, run])| WorkView {
                pid,
                kind,
                queued: scale_all(distribution(&queued), watched),
                run: scale_all(distribution(&run), watched),
            });
        let mut views: Vec<WorkView> = views.collect();
        views.sort_by_key(|view| Reverse(view.run.sum.max(view.queued.sum)));
        views.truncate(LISTED);
        views
    }

    fn pool_views(&self) -> Vec<PoolView> {
        // In bursts the beginning of some work is seen and its end is not.
        if self
            .tasks
            .works_watched()
            .is_some_and(|share| share < EXACT)
        {
            return Vec::new();
        }
        let mut pools: BTreeMap<Pid, PoolView> = BTreeMap::new();
        for found in self.tables.work_pools.largest(usize::MAX) {
            let pool = pools.entry(found.key.pid).or_default();
            pool.submitted = pool.submitted.saturating_add(found.row.submitted);
            // First what has begun and ended; what is open is the difference, made below.
            pool.running_now = pool.running_now.saturating_add(found.row.ended);
            pool.queued_now = pool.queued_now.saturating_add(found.row.begun);
            pool.threads += u64::from(found.row.begun > 0);
        }
        let pools = pools.into_iter().map(|(pid, pool)| PoolView {
            pid,
            queued_now: pool.submitted.saturating_sub(pool.queued_now),
            running_now: pool.queued_now.saturating_sub(pool.running_now),
            ..pool
        });
        pools.collect()
    }
}

/// The names that the field has for them.
fn collector(kind: Collector) -> &'static str {
    match kind {
        Collector::SCAVENGER => "scavenge",
        Collector::MARK_COMPACTOR => "mark-compact",
        Collector::MINOR_MARK_COMPACTOR => "minor-mark-compact",
        _ => "unknown",
    }
}
