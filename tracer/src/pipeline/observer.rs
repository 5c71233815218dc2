//! The thread that reads files and memory of the targets: off the way of events, because programs are large.

use std::{
    sync::mpsc::{Receiver, Sender, channel},
    thread::JoinHandle,
};

use tokio::sync::mpsc;

use crate::{
    runtime::cache::Cache,
    source::live::{Answer, Observer, Question},
    target::sys,
};

/// The asking end.
pub(super) struct Observing {
    questions: Sender<Question>,
    answers: mpsc::UnboundedReceiver<Answer>,
    _thread: JoinHandle<()>,
}

impl Observing {
    /// Starts the thread.
    pub(super) fn start() -> std::io::Result<Self> {
        // Not bounded: there are never more questions than two for each process.
        let (questions, inbox) = channel();
        let (outbox, answers) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new()
            .name("tracer-observer".into())
            .spawn(move || answer_all(&inbox, &outbox))?;
        Ok(Self {
            questions,
            answers,
            _thread: thread,
        })
    }

    /// Asks. Never waits.
    pub(super) fn ask(&mut self, questions: Vec<Question>) {
        for question in questions {
            // When the thread is gone nothing will ever be answered, and the session goes on without.
            let _ = self.questions.send(question);
        }
    }

    /// The next answer.
    pub(super) async fn answer(&mut self) -> Answer {
        match self.answers.recv().await {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }
}

fn answer_all(questions: &Receiver<Question>, answers: &mpsc::UnboundedSender<Answer>) {
    let mut observer = Observer::new(Cache::of_environment());
    while let Ok(question) = questions.recv() {
        let was_large = matches!(question, Question::Find(_));
        if let Some(answer) = observer.answer(question)
            && answers.send(answer).is_err()
        {
            return;
        }
        if was_large {
            sys::give_memory_back();
        }
    }
}
