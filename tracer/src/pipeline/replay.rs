//! Folding a recording at once, for a report, and playing it, for the dashboard.

use std::{path::PathBuf, sync::Arc, thread::JoinHandle, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};
use tracer_common::Nanos;

use crate::{
    findings::Judge,
    model::Snapshot,
    record::{Meta, Record},
    recording::{Outcome, RecordingError},
    source::file::{Step, Steps},
    tui::{Command, Feed, Pace, SeekTo, Transport},
};

/// Folds the whole recording at `path`.
///
/// # Errors
/// When it is not one, or nothing of it can be read.
pub fn fold(path: &std::path::Path) -> Result<(Snapshot, Outcome), RecordingError> {
    let mut steps = Steps::open(path)?;
    let mut judge = Judge::new();
    while let Some(step) = steps.next_step()? {
        step.records.iter().for_each(|record| judge.apply(record));
    }
    Ok((judge.snapshot(), steps.outcome()))
}

/// Speeds a replay can have: recorded time per time that passes.
const SPEEDS: &[f64] = &[0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 64.0];
const NORMAL: usize = 2;

/// A recording that is played on a thread of its own. The dashboard's side is in `feed`.
pub struct Replay {
    /// What the dashboard shows and asks of it.
    pub feed: Feed,
    thread: JoinHandle<Result<(), RecordingError>>,
}

impl Replay {
    /// Reads the recording once, to know how long it is, and begins to play it.
    ///
    /// # Errors
    /// When it is not a recording, or the system refuses a thread.
    pub fn start(path: PathBuf) -> Result<Self, RecordingError> {
        let span = span(&path)?;
        let (publish, snapshots) = watch::channel(Arc::new(Snapshot::default()));
        let (move_on, transport) = watch::channel(Transport {
            duration: span.duration,
            speed: 1.0,
            ..Transport::default()
        });
        let (commands, asked) = mpsc::unbounded_channel();
        let shown = path.clone();
        let system = move |source| RecordingError::Read {
            path: shown.clone(),
            source,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(&system)?;
        let steps = Steps::open(&path)?;
        let player = Player {
            path,
            span,
            steps,
            judge: Judge::new(),
            next: None,
            speed: NORMAL,
            paused: false,
            position: Nanos(0),
            ended: false,
        };
        let thread = std::thread::Builder::new()
            .name("tracer-player".into())
            .spawn(move || runtime.block_on(player.play(&publish, &move_on, asked)))
            .map_err(&system)?;
        Ok(Self {
            feed: Feed {
                snapshots,
                transport: Some(transport),
                commands,
            },
            thread,
        })
    }

    /// Takes it apart into what the dashboard needs and what tells how it went.
    #[must_use]
    pub fn into_parts(self) -> (Feed, JoinHandle<Result<(), RecordingError>>) {
        (self.feed, self.thread)
    }
}

/// Start and length of a recording.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    started: Nanos,
    duration: Nanos,
}

fn span(path: &std::path::Path) -> Result<Span, RecordingError> {
    let mut steps = Steps::open(path)?;
    let mut started = None;
    let mut last = Nanos(0);
    while let Some(step) = steps.next_step()? {
        for record in &step.records {
            if let Record::Meta(Meta::Session(session)) = record {
                started.get_or_insert(session.started);
            }
        }
        last = step.tick.unwrap_or(last);
    }
    let started = started.unwrap_or_default();
    Ok(Span {
        started,
        duration: last.since(started).unwrap_or_default(),
    })
}

struct Player {
    path: PathBuf,
    span: Span,
    steps: Steps,
    judge: Judge,
    /// Read, and not yet due.
    next: Option<Step>,
    speed: usize,
    paused: bool,
    position: Nanos,
    ended: bool,
}

impl Player {
    async fn play(
        mut self,
        publish: &watch::Sender<Arc<Snapshot>>,
        transport: &watch::Sender<Transport>,
        mut commands: mpsc::UnboundedReceiver<Command>,
    ) -> Result<(), RecordingError> {
        loop {
            self.read_ahead()?;
            transport.send_replace(self.transport());
            let wait = self.time_to_next();
            tokio::select! {
                () = sleep(wait.unwrap_or_default()), if wait.is_some() => self.take_next(),
                command = commands.recv() => match command {
                    Some(command) => self.obey(command)?,
                    None => return Ok(()),
                },
            }
            publish.send_replace(Arc::new(self.judge.snapshot()));
        }
    }

    fn transport(&self) -> Transport {
        Transport {
            position: self.position,
            duration: self.span.duration,
            speed: SPEEDS.get(self.speed).copied().unwrap_or(1.0),
            paused: self.paused,
            ended: self.ended,
        }
    }

    fn read_ahead(&mut self) -> Result<(), RecordingError> {
        if self.next.is_none() && !self.ended {
            self.next = self.steps.next_step()?;
            self.ended = self.next.is_none();
        }
        Ok(())
    }

    fn due(&self, step: &Step) -> Nanos {
        step.tick
            .and_then(|tick| tick.since(self.span.started))
            .unwrap_or(self.position)
    }

    /// Time until the next step is due; `None` when the replay stands still.
    fn time_to_next(&self) -> Option<Duration> {
        let step = self.next.as_ref().filter(|_| !self.paused)?;
        let ahead = self.due(step).since(self.position).unwrap_or_default();
        let speed = SPEEDS.get(self.speed).copied().unwrap_or(1.0);
        Some(Duration::from_nanos(ahead.0).div_f64(speed))
    }

    fn take_next(&mut self) {
        if let Some(step) = self.next.take() {
            self.position = self.due(&step);
            step.records
                .iter()
                .for_each(|record| self.judge.apply(record));
        }
    }

    fn obey(&mut self, command: Command) -> Result<(), RecordingError> {
        match command {
            Command::TogglePause => self.paused = !self.paused,
            Command::Speed(Pace::Faster) => self.speed = (self.speed + 1).min(SPEEDS.len() - 1),
            Command::Speed(Pace::Slower) => self.speed = self.speed.saturating_sub(1),
            Command::Seek(SeekTo::Forward(by)) => self.seek(self.position.plus(by))?,
            Command::Seek(SeekTo::Back(by)) => {
                self.seek(self.position.since(by).unwrap_or_default())?
            }
            Command::Seek(SeekTo::Start) => self.seek(Nanos(0))?,
            Command::Seek(SeekTo::End) => self.seek(self.span.duration)?,
        }
        Ok(())
    }

    /// Folds up to `to`; going back begins anew, because a fold cannot be undone.
    fn seek(&mut self, to: Nanos) -> Result<(), RecordingError> {
        if to < self.position {
            self.steps = Steps::open(&self.path)?;
            self.judge = Judge::new();
            self.next = None;
            self.ended = false;
            self.position = Nanos(0);
        }
        loop {
            self.read_ahead()?;
            match &self.next {
                Some(step) if self.due(step) <= to => self.take_next(),
                Some(_) | None => return Ok(()),
            }
        }
    }
}
