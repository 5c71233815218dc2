//! The runtimes that the arguments ask for, and what tokio itself says of them.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::runtime::{Builder, Handle, Runtime};

use crate::{clock::own_tid, json::Object};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    MultiThread,
    CurrentThread,
    /// A current_thread runtime that runs a LocalSet.
    Local,
}

impl Flavour {
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        [Self::MultiThread, Self::CurrentThread, Self::Local]
            .into_iter()
            .find(|flavour| flavour.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::MultiThread => "multi_thread",
            Self::CurrentThread => "current_thread",
            Self::Local => "local",
        }
    }
}

/// One runtime as the program knows it.
pub(crate) struct Told {
    flavour: Flavour,
    workers: u64,
    /// Workers and threads of the blocking pool; tokio does not tell them apart here.
    tids: Mutex<Vec<u64>>,
    stopped: AtomicU64,
}

pub(crate) fn build(
    flavour: Flavour,
    workers: u64,
    blocking_threads: u64,
) -> io::Result<(Runtime, Arc<Told>)> {
    let told = Arc::new(Told {
        flavour,
        workers,
        tids: Mutex::default(),
        stopped: AtomicU64::new(0),
    });
    let mut builder = match flavour {
        Flavour::MultiThread => Builder::new_multi_thread(),
        Flavour::CurrentThread | Flavour::Local => Builder::new_current_thread(),
    };
    if flavour == Flavour::MultiThread {
        builder.worker_threads(workers as usize);
    }
    builder
        .max_blocking_threads(blocking_threads as usize)
        .enable_all()
        .on_thread_start({
            let told = Arc::clone(&told);
            move || {
                let mut tids = told.tids.lock().unwrap_or_else(PoisonError::into_inner);
                tids.push(own_tid());
            }
        })
        .on_thread_stop({
            let told = Arc::clone(&told);
            move || {
                told.stopped.fetch_add(1, Ordering::Relaxed);
            }
        });
    Ok((builder.build()?, told))
}

impl Told {
    /// What holds now. What this version of tokio does not say is null.
    pub(crate) fn now(&self, handle: &Handle) -> Object {
        let tids = self.tids.lock().unwrap_or_else(PoisonError::into_inner);
        let line = Object::default()
            .with("flavour", self.flavour.name())
            .with("workers", self.workers)
            .with("thread_tids", tids.clone())
            .with("threads_stopped", self.stopped.load(Ordering::Relaxed));
        with_metrics(line, handle)
    }
}

/// A number that tokio tells from some version on.
macro_rules! since {
    ($feature:literal, $value:expr) => {{
        #[cfg(feature = $feature)]
        {
            Some($value)
        }
        #[cfg(not(feature = $feature))]
        {
            None::<u64>
        }
    }};
}

/// `num_workers` is there from 1.38 on, the next two in 1.44, and all in the newest.
#[allow(unused_variables, reason = "the oldest versions tell nothing")]
fn with_metrics(line: Object, handle: &Handle) -> Object {
    #[cfg(feature = "metrics")]
    let metrics = handle.metrics();
    line.with("num_workers", since!("metrics", metrics.num_workers()))
        .with(
            "num_alive_tasks",
            since!("task-metrics", metrics.num_alive_tasks()),
        )
        .with(
            "global_queue_depth",
            since!("task-metrics", metrics.global_queue_depth()),
        )
        .with(
            "worker_busy_ns",
            since!(
                "worker-metrics",
                each_worker(
                    &metrics,
                    |worker| metrics.worker_total_busy_duration(worker).as_nanos() as u64
                )
            ),
        )
        .with(
            "worker_park_count",
            since!(
                "worker-metrics",
                each_worker(&metrics, |worker| metrics.worker_park_count(worker))
            ),
        )
}

#[cfg(feature = "worker-metrics")]
fn each_worker(
    metrics: &tokio::runtime::RuntimeMetrics,
    number: impl Fn(usize) -> u64,
) -> Vec<u64> {
    (0..metrics.num_workers()).map(number).collect()
}
