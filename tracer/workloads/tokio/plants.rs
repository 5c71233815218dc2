//! The planted faults: a task that blocks its worker, a caller of the blocking pool, a lock with a queue at its door, and a
//! steady trickle of short tasks.

use std::future::Future;
use std::hash::{DefaultHasher, Hasher};
use std::hint::black_box;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::crew::Crew;
use crate::truth::{Truth, thread_cpu_ns};

const BLOCKER_PERIOD: Duration = Duration::from_millis(100);
const BLOCKER_CPU: Duration = Duration::from_millis(20);
const JOB_PERIOD: Duration = Duration::from_millis(100);
const JOB_SLEEP: Duration = Duration::from_millis(15);
const JOB_BYTES: usize = 1 << 20;
/// Everyone who wants the lock comes at the same beat, so that there is a queue each time.
const LEDGER_PERIOD: Duration = Duration::from_millis(40);
const TASK_HOLDS: Duration = Duration::from_millis(1);
const THREAD_HOLDS: Duration = Duration::from_millis(2);
const LEDGER_TASKS: usize = 2;
const LEDGER_THREADS: usize = 2;
const VISITOR_PERIOD: Duration = Duration::from_millis(100);
const VISITORS: u32 = 10;

static LEDGER: Mutex<u64> = Mutex::new(0);

/// Must be called inside the runtime.
pub(crate) fn spawn(truth: &Arc<Truth>) {
    spawn_counted(truth, poll_blocker(Arc::clone(truth)));
    spawn_counted(truth, blocking_caller(Arc::clone(truth)));
    for _ in 0..LEDGER_TASKS {
        spawn_counted(truth, ledger_writer(Arc::clone(truth)));
    }
    spawn_counted(truth, visitor_source(Arc::clone(truth)));
}

pub(crate) fn spawn_counted(truth: &Truth, task: impl Future<Output = ()> + Send + 'static) {
    truth.tasks_spawned.add(1);
    tokio::spawn(task);
}

pub(crate) fn start_ledger_threads(truth: &Arc<Truth>) -> io::Result<Crew> {
    let mut crew = Crew::default();
    for number in 0..LEDGER_THREADS {
        let truth = Arc::clone(truth);
        crew.start(&format!("ledger-{number}"), move |stopping| {
            let mut next = Instant::now();
            while !stopping.is_asked() {
                write_ledger(&truth, THREAD_HOLDS);
                next += LEDGER_PERIOD;
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        })?;
    }
    Ok(crew)
}

async fn poll_blocker(truth: Arc<Truth>) {
    let mut beat = beat(BLOCKER_PERIOD);
    loop {
        beat.tick().await;
        let (began, cpu_before) = (Instant::now(), thread_cpu_ns());
        use_cpu(BLOCKER_CPU);
        truth.blocker_wall_ns.add_ns(began.elapsed());
        truth.blocker_cpu_ns.add(thread_cpu_ns() - cpu_before);
        truth.blocker_runs.add(1);
    }
}

async fn blocking_caller(truth: Arc<Truth>) {
    let mut beat = beat(JOB_PERIOD);
    loop {
        beat.tick().await;
        let truth = Arc::clone(&truth);
        // An error here is the runtime going away, and this task with it.
        let _ended = tokio::task::spawn_blocking(move || blocking_job(&truth)).await;
    }
}

fn blocking_job(truth: &Truth) {
    let (began, cpu_before) = (Instant::now(), thread_cpu_ns());
    black_box(digest(JOB_BYTES));
    thread::sleep(JOB_SLEEP);
    truth.blocking_wall_ns.add_ns(began.elapsed());
    truth.blocking_cpu_ns.add(thread_cpu_ns() - cpu_before);
    truth.blocking_jobs.add(1);
}

async fn ledger_writer(truth: Arc<Truth>) {
    let mut beat = beat(LEDGER_PERIOD);
    loop {
        beat.tick().await;
        // Waits on the worker, as code does that takes a std lock in a task.
        write_ledger(&truth, TASK_HOLDS);
    }
}

fn write_ledger(truth: &Truth, hold: Duration) {
    let came = Instant::now();
    let mut total = match LEDGER.try_lock() {
        Ok(free) => free,
        Err(TryLockError::Poisoned(free)) => free.into_inner(),
        Err(TryLockError::WouldBlock) => {
            truth.lock_contended.add(1);
            LEDGER.lock().unwrap_or_else(PoisonError::into_inner)
        }
    };
    let entered = Instant::now();
    use_cpu(hold);
    *total += 1;
    drop(total);
    truth.lock_held_ns.add_ns(entered.elapsed());
    truth.lock_wait_ns.add_ns(entered - came);
    truth.lock_acquisitions.add(1);
}

async fn visitor_source(truth: Arc<Truth>) {
    let mut beat = beat(VISITOR_PERIOD);
    loop {
        beat.tick().await;
        for _ in 0..VISITORS {
            spawn_counted(&truth, visitor());
        }
    }
}

async fn visitor() {
    sleep(Duration::from_millis(5)).await;
}

/// A beat that is late once is not late twice: what is missed is left out.
fn beat(period: Duration) -> tokio::time::Interval {
    let mut beat = interval(period);
    beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
    beat
}

/// Uses this much CPU time of the calling thread, however often it is preempted.
fn use_cpu(cpu: Duration) {
    let until = thread_cpu_ns() + cpu.as_nanos() as u64;
    while thread_cpu_ns() < until {
        // Tens of microseconds: reading the clock is a syscall and must stay the smaller part.
        black_box(digest(16 << 10));
    }
}

pub(crate) fn digest(bytes: usize) -> u64 {
    const BLOCK: [u8; 4096] = [0x5a; 4096];
    let mut hasher = DefaultHasher::new();
    for _ in 0..bytes.div_ceil(BLOCK.len()) {
        hasher.write(black_box(&BLOCK));
    }
    hasher.finish()
}
