//! A pool of threads that is full, so that work queues for it.

use std::collections::BTreeMap;

use tracer_common::{Nanos, Pid};

use super::{Detector, Entry, Raised, Seen, Verdict, change::Added, number, time};
use crate::{
    human,
    model::{Finding, FindingId, Severity, Subject, SubjectKind, Unit},
    record::TaskKind,
};

/// Work that is waiting at any moment, on average (Little's law: the sum of all waits in a second). Below one the queue
/// is empty most of the time.
const LENGTH: f64 = 1.0;
/// A shorter wait for a thread is a matter of waking it: 5 ms is two time slices of Linux's scheduler.
const WAIT: Nanos = Nanos(5_000_000);
/// Work that waits for less than this share of the time that it takes is not what makes a program slow.
const SHARE: f64 = 0.5;
const CRITICAL: Nanos = Nanos(100_000_000);
/// Of less nothing is concluded.
const LEAST: u64 = 10;

pub(super) const DETECTOR: Detector = Detector {
    id: FindingId::PoolSaturation,
    entry: Entry {
        class: "excessive concurrency",
        title: "the blocking pool or libuv's thread pool is full, and work queues for it",
        matters: "File system calls, DNS, crypto and compression of all requests share that pool: what is quick waits behind \
                  what is slow. libuv has four threads unless UV_THREADPOOL_SIZE says otherwise.",
        how: "On average more than one piece of work waits for a thread, each for more than 5 ms (critical: 100 ms) and more \
              than half as long as it then takes.",
        evidence: &[
            ("wait", "how long work waited for a thread, on average"),
            ("queue", "work that was waiting, on average"),
            ("run", "how long it took then, on average"),
            ("busy", "threads that were busy, on average"),
            ("rate", "work begun in a second"),
            (
                "most",
                "the share of the busy time that the kind named took",
            ),
        ],
        remedy: "limit how much is handed in at once, move CPU work off the pool, or make the pool larger",
        node: "UV_THREADPOOL_SIZE=16 node server.js             // read once, at the first use of the pool\n\
               const limit = pLimit(4);                         // npm: p-limit\n\
               await limit(() => pbkdf2(password, salt, 100_000, 64, 'sha512'));",
        rust: "let permit = semaphore.acquire().await?;         // tokio::sync::Semaphore, as many as CPUs\n\
               let digest = spawn_blocking(move || hash(&data)).await?;\n\
               tokio::runtime::Builder::new_multi_thread().max_blocking_threads(64)",
        blind: "Work that is watched at times (see the header) is extrapolated. Pools of other libraries are not seen.",
    },
    judge,
    says,
};

#[derive(Default)]
struct Load {
    queued: Added,
    run: Added,
    /// The kind that took most.
    most: (Nanos, String),
}

impl Load {
    fn add(&mut self, kind: &str, queued: Added, run: Added) {
        self.queued = self.queued.and(queued);
        self.run = self.run.and(run);
        if run.sum > self.most.0 {
            self.most = (run.sum, kind.to_owned());
        }
    }
}

fn judge(seen: &Seen<'_>) -> Verdict {
    let (node, tasks) = (&seen.now.node, &seen.now.tasks);
    if node.watched.is_none() && tasks.wakes_watched.is_none() {
        return Err("work for pools is not watched");
    }
    let mut pools: BTreeMap<(Pid, &str), Load> = BTreeMap::new();
    for view in &node.works {
        let mut before = seen.then.node.works.iter();
        let then = before.find(|then| (then.pid, &then.kind) == (view.pid, &view.kind));
        pools.entry((view.pid, "libuv")).or_default().add(
            &view.kind,
            Added::between(then.map(|then| &then.queued), &view.queued),
            Added::between(then.map(|then| &then.run), &view.run),
        );
    }
    let closures = tasks
        .types
        .iter()
        .filter(|view| view.kind == TaskKind::Blocking);
    for view in closures.filter(|view| !view.is_worker()) {
        let mut before = seen.then.tasks.types.iter();
        let then = before.find(|then| (then.pid, then.vtable) == (view.pid, view.vtable));
        pools.entry((view.pid, "tokio-blocking")).or_default().add(
            &view.name,
            Added::between(then.map(|then| &then.scheduled), &view.scheduled),
            Added::between(then.map(|then| &then.busy), &view.busy),
        );
    }
    let raised = pools
        .into_iter()
        .filter_map(|((pid, pool), load)| raise(seen, pid, pool, load));
    Ok(raised.collect())
}

fn raise(seen: &Seen<'_>, pid: Pid, pool: &str, load: Load) -> Option<Raised> {
    let (wait, run) = (load.queued.mean(), load.run.mean());
    let queue = seen.share(load.queued.sum);
    let is_full = queue >= LENGTH
        && wait >= WAIT
        && wait.0 as f64 >= run.0 as f64 * SHARE
        && load.queued.count >= LEAST;
    if !is_full {
        return None;
    }
    let watched = match pool {
        "libuv" => seen.now.node.watched,
        _ => seen.now.tasks.wakes_watched,
    };
    let name = match pool {
        "libuv" => "libuv's thread pool",
        _ => "tokio's blocking pool",
    };
    Some(Raised {
        severity: if wait >= CRITICAL {
            Severity::Critical
        } else {
            Severity::Warning
        },
        confidence: 0.95 * (0.5 + watched.unwrap_or(0.0) / 2.0),
        weight: queue,
        subject: Subject {
            kind: SubjectKind::Pool,
            pid,
            key: pool.to_owned(),
            name: format!("{name}, mostly {}", load.most.1),
        },
        evidence: vec![
            time("wait", wait),
            number("queue", queue, Unit::Count),
            time("run", run),
            number("busy", seen.share(load.run.sum), Unit::Count),
            number("rate", seen.rate(load.run.count), Unit::PerSecond),
            number("most", human::share(load.most.0, load.run.sum), Unit::Ratio),
        ],
    })
}

fn says(finding: &Finding) -> String {
    format!(
        "is full: work waits {} for a thread and then takes {}; {:.1} wait at any moment, {:.1} threads are busy",
        human::duration(finding.time("wait")),
        human::duration(finding.time("run")),
        finding.value("queue"),
        finding.value("busy"),
    )
}
