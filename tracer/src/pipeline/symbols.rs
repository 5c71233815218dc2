//! The thread that looks names up: off the way of events, because debug information is large and disks are slow.

use std::{
    collections::BTreeMap,
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread::JoinHandle,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tracer_common::Pid;

use crate::{
    record::{FrameMeta, Meta, Record, SymbolMeta},
    source::live::Unnamed,
    symbol::{Lookup, Symbol, Symbolizer},
    target::sys,
};

/// Questions in the queue before new ones wait here.
const QUEUE: usize = 16;
/// Addresses of one question: a second of work at most.
const QUESTION: usize = 2_000;
/// How long the end of a session waits for names.
const PATIENCE: Duration = Duration::from_secs(5);

enum Question {
    /// Keep what is needed to name addresses of this process after its end.
    Remember(Pid),
    /// Name these.
    Name(Vec<Unnamed>),
}

/// The asking end.
pub(super) struct Symbols {
    questions: SyncSender<Question>,
    waiting: Vec<Unnamed>,
    answers: mpsc::UnboundedReceiver<Vec<Record>>,
    asked: usize,
    _thread: JoinHandle<()>,
}

impl Symbols {
    /// Starts the thread.
    pub(super) fn start() -> std::io::Result<Self> {
        let (questions, inbox) = sync_channel(QUEUE);
        let (outbox, answers) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new()
            .name("tracer-symbols".into())
            .spawn(move || answer_all(&inbox, &outbox))?;
        Ok(Self {
            questions,
            waiting: Vec::new(),
            answers,
            asked: 0,
            _thread: thread,
        })
    }

    /// Keeps what is needed to name addresses of `pid` after its end.
    pub(super) fn remember(&mut self, pid: Pid) {
        // When the queue is full there is much else to do; its addresses are asked for soon.
        let _ = self.questions.try_send(Question::Remember(pid));
    }

    /// Asks for names. Never waits.
    pub(super) fn ask(&mut self, unnamed: Vec<Unnamed>) {
        self.waiting.extend(unnamed);
        while !self.waiting.is_empty() {
            let rest = self.waiting.split_off(self.waiting.len().min(QUESTION));
            let question = std::mem::replace(&mut self.waiting, rest);
            match self.questions.try_send(Question::Name(question)) {
                Ok(()) => self.asked += 1,
                Err(TrySendError::Full(Question::Name(question))) => {
                    self.waiting.splice(0..0, question);
                    return;
                }
                Err(TrySendError::Full(Question::Remember(_)) | TrySendError::Disconnected(_)) => {
                    return;
                }
            }
        }
    }

    /// The next answer.
    pub(super) async fn answer(&mut self) -> Vec<Record> {
        match self.answers.recv().await {
            Some(records) => {
                self.asked = self.asked.saturating_sub(1);
                let waiting = std::mem::take(&mut self.waiting);
                self.ask(waiting);
                records
            }
            // The thread is gone; nothing will ever come.
            None => std::future::pending().await,
        }
    }

    /// Every answer that is still to come, as long as patience lasts.
    pub(super) async fn rest(&mut self) -> Vec<Record> {
        let deadline = Instant::now() + PATIENCE;
        let mut records = Vec::new();
        while self.asked > 0 || !self.waiting.is_empty() {
            match timeout_at(deadline, self.answer()).await {
                Ok(more) => records.extend(more),
                Err(_) => {
                    log::warn!("names of {} questions did not come in time", self.asked);
                    break;
                }
            }
        }
        records
    }
}

fn answer_all(questions: &Receiver<Question>, answers: &mpsc::UnboundedSender<Vec<Record>>) {
    let mut symbolizer = Symbolizer::new();
    while let Ok(question) = questions.recv() {
        match question {
            Question::Remember(pid) => symbolizer.remember(pid),
            Question::Name(unnamed) => {
                if answers.send(name(&mut symbolizer, &unnamed)).is_err() {
                    return;
                }
                // Symbol tables were searched, and debug information read.
                sys::give_memory_back();
            }
        }
    }
}

fn name(symbolizer: &mut Symbolizer, unnamed: &[Unnamed]) -> Vec<Record> {
    let mut by_process: BTreeMap<Pid, Vec<Lookup>> = BTreeMap::new();
    for asked in unnamed {
        by_process.entry(asked.pid).or_default().push(Lookup {
            address: asked.address,
            is_return: asked.is_return,
        });
    }
    let mut records = Vec::with_capacity(unnamed.len());
    for (pid, lookups) in by_process {
        let symbols = if pid == Pid(0) {
            symbolizer.kernel(&lookups)
        } else {
            symbolizer.process(pid, &lookups)
        };
        records.extend(symbols.into_iter().map(|symbol| record(pid, symbol)));
    }
    records
}

fn record(pid: Pid, symbol: Symbol) -> Record {
    let frames = symbol
        .frames
        .into_iter()
        .map(|frame| FrameMeta {
            function: frame.function,
            file: frame.file,
            line: frame.line,
        })
        .collect();
    Record::Meta(Meta::Symbol(SymbolMeta {
        pid,
        address: symbol.address,
        module: symbol.module,
        offset: symbol.offset,
        frames,
    }))
}
