//! The threads that read files and memory of the targets: off the way of events, because programs are large.

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
    /// What is about JavaScript has a thread of its own: to find tasks may take seconds, and what frames point at
    /// moves.
    about_js: Sender<Question>,
    answers: mpsc::UnboundedReceiver<Answer>,
    _threads: [JoinHandle<()>; 2],
}

impl Observing {
    /// Starts the threads.
    pub(super) fn start() -> std::io::Result<Self> {
        let (outbox, answers) = mpsc::unbounded_channel();
        let (questions, thread) = observe("tracer-observer", outbox.clone())?;
        let (about_js, js_thread) = observe("tracer-js", outbox)?;
        Ok(Self {
            questions,
            about_js,
            answers,
            _threads: [thread, js_thread],
        })
    }

    /// Asks. Never waits.
    pub(super) fn ask(&mut self, questions: Vec<Question>) {
        for question in questions {
            // When the thread is gone nothing will ever be answered, and the session goes on without.
            if question.is_about_js() {
                let _ = self.about_js.send(question.clone());
            }
            if question.is_about_tasks() {
                let _ = self.questions.send(question);
            }
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

fn observe(
    name: &str,
    outbox: mpsc::UnboundedSender<Answer>,
) -> std::io::Result<(Sender<Question>, JoinHandle<()>)> {
    // Not bounded: there are never more questions than three for each process, and the session bounds the samples.
    let (questions, inbox) = channel();
    let thread = std::thread::Builder::new()
        .name(name.into())
        .spawn(move || answer_all(&inbox, &outbox))?;
    Ok((questions, thread))
}

fn answer_all(questions: &Receiver<Question>, answers: &mpsc::UnboundedSender<Answer>) {
    let mut observer = Observer::new(Cache::of_environment());
    while let Ok(question) = questions.recv() {
        let was_large = matches!(question, Question::Find(_) | Question::FindJs(_));
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
