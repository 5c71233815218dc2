//! What this process knows about itself: counters that the parts add to, and the line made of them.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::{Serialize, Serializer};
use tokio::runtime::Handle;

/// A counter that only grows. Relaxed: each stands for itself, and a line is read while they move.
#[derive(Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    pub(crate) fn add_ns(&self, by: Duration) {
        self.add(by.as_nanos() as u64);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.get())
    }
}

#[derive(Default, Serialize)]
pub(crate) struct Truth {
    /// Requests answered.
    pub(crate) routes: Routes,
    /// Requests nothing answers to: an unknown path or method.
    pub(crate) failed: Count,
    /// Connections accepted. Each is one task, spawned by axum and so not in `tasks_spawned`.
    pub(crate) connections: Count,
    /// Tasks this program spawned on the service's runtime.
    pub(crate) tasks_spawned: Count,

    pub(crate) blocker_runs: Count,
    /// The length of the polls that blocked; more than `blocker_cpu_ns` where the worker was preempted.
    pub(crate) blocker_wall_ns: Count,
    pub(crate) blocker_cpu_ns: Count,

    /// Closures that ran to their end on the blocking pool.
    pub(crate) blocking_jobs: Count,
    pub(crate) blocking_wall_ns: Count,
    pub(crate) blocking_cpu_ns: Count,

    pub(crate) lock_acquisitions: Count,
    /// Of those, how many found the lock taken.
    pub(crate) lock_contended: Count,
    pub(crate) lock_wait_ns: Count,
    pub(crate) lock_held_ns: Count,

    /// The load generator's own view; zeros without `--load`.
    pub(crate) load: Load,
}

#[derive(Default, Serialize)]
pub(crate) struct Routes {
    pub(crate) item: Count,
    pub(crate) delay: Count,
    pub(crate) digest: Count,
}

#[derive(Default, Serialize)]
pub(crate) struct Load {
    pub(crate) sent: Count,
    pub(crate) ok: Count,
    pub(crate) failed: Count,
}

/// One line of truth.
#[derive(Serialize)]
pub(crate) struct Line<'a> {
    event: &'static str,
    r#final: bool,
    /// The monotonic clock, which is the one of kernel events.
    at_ns: u64,
    uptime_ns: u64,
    /// CPU time of the whole process.
    cpu_ns: u64,
    rss_bytes: u64,
    requests: u64,
    #[serde(flatten)]
    truth: &'a Truth,
    runtime: RuntimeView,
}

/// What the service's runtime says about itself through its stable metrics.
#[derive(Serialize)]
struct RuntimeView {
    num_workers: usize,
    num_alive_tasks: usize,
    worker_busy_ns: Vec<u64>,
    worker_park_count: Vec<u64>,
}

impl<'a> Line<'a> {
    pub(crate) fn read(truth: &'a Truth, runtime: &Handle, started: Instant, last: bool) -> Self {
        let Routes {
            item,
            delay,
            digest,
        } = &truth.routes;
        Line {
            event: "truth",
            r#final: last,
            at_ns: now_ns(),
            uptime_ns: started.elapsed().as_nanos() as u64,
            cpu_ns: clock_ns(ClockId::ProcessCPUTime),
            rss_bytes: rss_bytes(),
            requests: item.get() + delay.get() + digest.get(),
            truth,
            runtime: RuntimeView::read(runtime),
        }
    }
}

impl RuntimeView {
    fn read(runtime: &Handle) -> Self {
        let metrics = runtime.metrics();
        let workers = 0..metrics.num_workers();
        RuntimeView {
            num_workers: metrics.num_workers(),
            num_alive_tasks: metrics.num_alive_tasks(),
            worker_busy_ns: workers
                .clone()
                .map(|worker| metrics.worker_total_busy_duration(worker).as_nanos() as u64)
                .collect(),
            worker_park_count: workers
                .map(|worker| metrics.worker_park_count(worker))
                .collect(),
        }
    }
}

pub(crate) fn now_ns() -> u64 {
    clock_ns(ClockId::Monotonic)
}

pub(crate) fn thread_cpu_ns() -> u64 {
    clock_ns(ClockId::ThreadCPUTime)
}

fn clock_ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    // Neither the monotonic nor a CPU clock is ever negative.
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Zero where `/proc` is missing.
fn rss_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    kib.and_then(|text| text.trim().parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}
