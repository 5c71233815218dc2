//! A live session: attach, fold, record, until told to stop, until its time is over, or until its targets are gone.

use std::{path::PathBuf, sync::Arc, thread::JoinHandle, time::Duration};

use thiserror::Error;
use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout_at},
};
use tracer_common::{LossReason, Nanos, Pid};

use super::{
    observer::Observing,
    recorder::{self, Recorder},
    symbols::Symbols,
};
use crate::{
    bpf::{Detached, LoadError},
    findings::Judge,
    model::Snapshot,
    record::{Loss, Meta, Record},
    recording::RecordingError,
    source::live::{self, Live},
    target::sys,
};

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The processes to trace.
    pub targets: Vec<Pid>,
    /// How.
    pub live: live::Options,
    /// Record into this file.
    pub record_to: Option<PathBuf>,
    /// End after this time.
    pub duration: Option<Duration>,
}

/// Why a session could not begin, or broke off.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The kernel side was refused.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The recording could not be written.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// All targets ended while they were being attached to.
    #[error("the target ended before tracer was attached")]
    Gone,
    /// The system refused a thread, a timer or the like.
    #[error("start the session")]
    System(#[from] std::io::Error),
}

/// How a session ended.
#[derive(Debug)]
pub struct Ended {
    /// The last snapshot: what a report of the recording says too.
    pub snapshot: Arc<Snapshot>,
    /// Size of the recording in bytes.
    pub recorded_bytes: Option<u64>,
}

/// A running session. Dropping it ends it, without waiting.
#[derive(Debug)]
pub struct Session {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    stop: watch::Sender<bool>,
    thread: JoinHandle<Result<Ended, SessionError>>,
}

impl Session {
    /// Attaches, and returns when counting has begun.
    ///
    /// # Errors
    /// When the recording cannot be created, or the kernel side cannot be loaded, or the targets are gone.
    pub async fn start(plan: Plan) -> Result<Self, SessionError> {
        let output = plan
            .record_to
            .clone()
            .map(recorder::Output::claim)
            .transpose()?;
        let (publish, snapshots) = watch::channel(Arc::new(Snapshot::default()));
        let (stop, stopped) = watch::channel(false);
        let (attached, is_attached) = oneshot::channel();
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(run(plan, output, &publish, stopped, attached))
        };
        let thread = std::thread::Builder::new()
            .name("tracer-session".into())
            .spawn(run)?;
        if is_attached.await.is_ok() {
            return Ok(Self {
                snapshots,
                stop,
                thread,
            });
        }
        // The session ended before it began; its result says why.
        match thread.join() {
            Ok(result) => Err(result.err().unwrap_or(SessionError::Gone)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Snapshots, a new one each tick. Closed when the session has ended.
    #[must_use]
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.clone()
    }

    /// Tells the session to end in good order.
    pub fn stop(&self) {
        let _ = self.stop.send(true);
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// When the recording could not be written to its end.
    pub async fn ended(self) -> Result<Ended, SessionError> {
        let thread = self.thread;
        match tokio::task::spawn_blocking(move || thread.join()).await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(join) => Err(SessionError::System(std::io::Error::other(join))),
        }
    }
}

/// Where records go: into the model and to the detectors, and into the file.
struct Sinks {
    judge: Judge,
    recorder: Option<Recorder>,
    /// Losses of the recorder that have been put on record.
    dropped: u64,
}

impl Sinks {
    /// False when the recorder broke.
    fn push(&mut self, records: &[Record]) -> bool {
        for record in records {
            self.judge.apply(record);
        }
        let Some(recorder) = &mut self.recorder else {
            return true;
        };
        let alive = recorder.push(records);
        let dropped = recorder.dropped();
        if dropped > self.dropped {
            self.dropped = dropped;
            let loss = Record::Loss(Loss {
                reason: LossReason::RECORDER_BEHIND,
                count: dropped,
            });
            self.judge.apply(&loss);
            return recorder.push(&[loss]);
        }
        alive
    }
}

/// Length of the first window.
const FIRST: Duration = Duration::from_millis(100);
/// How long the kernel measures what programs cost, each time.
const ASKED: Duration = Duration::from_millis(50);

/// How long the end of a session waits for samples that are being looked at.
const PATIENCE: Duration = Duration::from_secs(2);

/// Processes that came: what is needed to name their addresses is kept, in case they end before that.
fn remember(symbols: &mut Symbols, records: &[Record]) {
    for record in records {
        if let Record::Meta(Meta::Process(process)) = record {
            symbols.remember(process.pid);
        }
    }
}

/// A moment of the monotonic clock as one of the timer's.
fn instant(at: Option<Nanos>) -> Instant {
    let left = at.and_then(|at| at.since(sys::monotonic()));
    Instant::now() + Duration::from_nanos(left.unwrap_or_default().0)
}

/// Drops what was detached side by side, away from the events: the kernel waits tens of milliseconds with each.
fn close(closing: &mut JoinSet<()>, detached: Vec<Detached>) {
    for link in detached {
        closing.spawn_blocking(move || drop(link));
    }
    while closing.try_join_next().is_some() {}
}

async fn run(
    plan: Plan,
    output: Option<recorder::Output>,
    publish: &watch::Sender<Arc<Snapshot>>,
    mut stopped: watch::Receiver<bool>,
    attached: oneshot::Sender<()>,
) -> Result<Ended, SessionError> {
    let interval = Duration::from_nanos(plan.live.interval.0);
    let mut records = Vec::new();
    let asked = Instant::now();
    let mut live = Live::attach(&plan.targets, plan.live, &mut records)?;
    if !live.any_found() {
        return Err(SessionError::Gone);
    }
    let recorder = match output {
        Some(output) => Some(Recorder::start(output.create()?)?),
        None => None,
    };
    let begun = Instant::now();
    log::info!(
        "attached to {} processes in {:?}",
        plan.targets.len(),
        begun - asked
    );
    let ready = live.ready()?;
    let mut sinks = Sinks {
        judge: Judge::new(),
        recorder,
        dropped: 0,
    };
    let mut symbols = Symbols::start()?;
    let mut observing = Observing::start()?;
    let mut closing = JoinSet::new();
    observing.ask(live.questions());
    remember(&mut symbols, &records);
    sinks.push(&records);
    publish.send_replace(Arc::new(sinks.judge.snapshot()));
    let _ = attached.send(());

    // The first window is short: there is something to see at once, and what costs too much is found out early.
    let mut ticks = interval_at(begun + interval.min(FIRST), interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut listen_at = begun + ASKED;
    let far = begun + Duration::from_secs(100 * 365 * 24 * 3600);
    let end = plan
        .duration
        .and_then(|duration| begun.checked_add(duration))
        .unwrap_or(far);
    loop {
        records.clear();
        let ticked = tokio::select! {
            // The end comes first, so that a last tick does not fall just before it.
            biased;
            () = sleep_until(end) => break,
            changed = stopped.changed() => {
                // A dropped sender: nobody is left to show anything to.
                if changed.is_err() || *stopped.borrow() { break }
                false
            }
            _ = ticks.tick() => {
                live.tick(&mut records);
                listen_at = Instant::now() + ASKED;
                true
            }
            waiting = ready.wait() => {
                live.drain(&mut records);
                waiting?.clear_ready();
                false
            }
            () = sleep_until(listen_at), if live.is_asking() => {
                live.listen();
                false
            }
            () = sleep_until(instant(live.due())), if live.due().is_some() => {
                live.keep_to_plan();
                false
            }
            answer = observing.answer() => {
                live.answered(answer, &mut records);
                false
            }
            names = symbols.answer() => {
                records = names;
                false
            }
        };
        close(&mut closing, live.detached());
        remember(&mut symbols, &records);
        symbols.ask(live.unnamed());
        observing.ask(live.questions());
        let recording = sinks.push(&records);
        if ticked {
            log::debug!("a tick took {} records", records.len());
            publish.send_replace(Arc::new(sinks.judge.snapshot()));
        }
        if !recording || live.all_exited() {
            break;
        }
    }
    log::info!("detaching after {:?}", begun.elapsed());
    let told = Instant::now();
    records.clear();
    live.drain(&mut records);
    observing.ask(live.questions());
    let deadline = Instant::now() + PATIENCE;
    while live.waits_for_names() {
        match timeout_at(deadline, observing.answer()).await {
            Ok(answer) => live.answered(answer, &mut records),
            Err(_) => break,
        }
    }
    live.unwatch();
    close(&mut closing, live.detached());
    let unnamed = live.finish(&mut records);
    log::info!(
        "detached and read the last counters in {:?}",
        told.elapsed()
    );
    closing.join_all().await;
    symbols.ask(unnamed);
    // The last tick is the end of what was measured, so names go before it.
    let names = symbols.rest().await;
    sinks.push(&names);
    sinks.push(&records);
    let snapshot = Arc::new(sinks.judge.snapshot());
    publish.send_replace(snapshot.clone());
    let recorded_bytes = sinks.recorder.map(Recorder::finish).transpose()?;
    Ok(Ended {
        snapshot,
        recorded_bytes,
    })
}
