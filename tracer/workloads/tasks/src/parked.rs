//! Tasks that wait: very many of one type, or one for each thing that a task can wait for.

use std::{
    future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc as std_mpsc,
    },
    time::Duration,
};

use tokio::{
    net::TcpListener,
    sync::{Mutex, Notify, Semaphore, mpsc, oneshot},
    task::{self, JoinHandle},
    time,
};

use crate::{
    clock::now_ns,
    json::Object,
    kind::{self, id},
    verbs::{Answer, Session, number},
};

/// Longer than anybody looks.
const FOR_EVER: Duration = Duration::from_secs(1_000_000);

pub(crate) async fn idle(session: &mut Session, argument: &str) -> Answer {
    let count = number(argument)?;
    let due = kind::IDLER.polls.get() + count;
    let start_ns = now_ns();
    let spawned = (0..count).map(|_| kind::IDLER.spawn(session.first(), idler()));
    let spawned: Vec<_> = spawned.collect();
    session.idlers.extend(spawned);
    while kind::IDLER.polls.get() < due {
        task::yield_now().await;
    }
    Ok(Object::default()
        .with("did", "idle")
        .with("live", session.idlers.len())
        .with("start_ns", start_ns)
        .with("end_ns", now_ns()))
}

pub(crate) async fn idle_end(session: &mut Session, _: &str) -> Answer {
    let idlers = std::mem::take(&mut session.idlers);
    let start_ns = now_ns();
    kind::IDLER.abort_all(idlers).await?;
    Ok(Object::default()
        .with("did", "idle-end")
        .with("start_ns", start_ns)
        .with("end_ns", now_ns()))
}

async fn idler() {
    kind::IDLER.polls.add(1);
    future::pending().await
}

/// Tasks that wait until `unpark`, and what they wait for.
#[derive(Default)]
pub(crate) struct Parked {
    tasks: Vec<JoinHandle<()>>,
    told: Vec<Object>,
    /// Those that end when they are told to, instead of being aborted.
    closure: Option<JoinHandle<()>>,
    joining: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    // The other ends of what they wait for.
    messages: Option<mpsc::Sender<u32>>,
    word: Option<oneshot::Sender<u32>>,
    release: Option<std_mpsc::Sender<()>>,
}

/// One task for each thing to wait for. All are in its wait, or a moment before, when this is answered.
pub(crate) async fn park(session: &mut Session, _: &str) -> Answer {
    if session.parked.is_some() {
        return Err("tasks are parked; unpark first".to_owned());
    }
    let on = session.first().clone();
    let has_spare_worker = session.workers > 1;
    let mut parked = Parked::default();
    let polls_before = kind::PARKED.polls.get();

    // A task for each line: its function's name, what it waits for, and the call.
    macro_rules! park {
        ($function:ident($($argument:expr),*), $waits_for:literal) => {{
            let future = $function($($argument),*);
            let name = std::any::type_name_of_val(&future);
            let task = kind::PARKED.spawn(&on, future);
            parked.told.push(told(name, "idle", $waits_for, &task));
            task
        }};
    }
    let (messages, inbox) = mpsc::channel(1);
    let (word, answer) = oneshot::channel();
    parked.messages = Some(messages);
    parked.word = Some(word);
    let wanted = Arc::new(Mutex::new(0));
    let held = Arc::clone(&wanted);
    let listener = TcpListener::bind(("127.0.0.1", 0))
        .await
        .map_err(|why| format!("listen: {why}"))?;

    let joined = park!(awaiting_word(answer), "tokio::sync::oneshot");
    let holding = park!(
        holding_mutex(held),
        "nothing; it holds the tokio::sync::Mutex"
    );
    reach(polls_before + 2).await;
    let tasks = vec![
        holding,
        park!(awaiting_mutex(wanted), "tokio::sync::Mutex"),
        park!(awaiting_notify(Notify::new()), "tokio::sync::Notify"),
        park!(
            awaiting_semaphore(Semaphore::new(0)),
            "tokio::sync::Semaphore"
        ),
        park!(awaiting_message(inbox), "tokio::sync::mpsc"),
        park!(sleeping(), "tokio::time::Sleep"),
        park!(awaiting_connection(listener), "tokio::net::TcpListener"),
        park!(calling(), "tokio::time::Sleep, two calls down"),
    ];
    parked.tasks = tasks;
    parked.joining = Some(park!(awaiting_task(joined), "tokio::task::JoinHandle"));
    reach(polls_before + parked.told.len() as u64).await;

    let (release, released) = std_mpsc::channel();
    parked.release = Some(release);
    let begun = kind::PARKED_CLOSURE.polls.get();
    let blocking = kind::PARKED_CLOSURE.spawn_blocking(&on, move || {
        // Ends when the sender is dropped.
        let _ = released.recv();
    });
    parked.told.push(told(
        "closure",
        "running",
        "std::sync::mpsc, on the blocking pool",
        &blocking,
    ));
    while kind::PARKED_CLOSURE.polls.get() == begun {
        task::yield_now().await;
    }
    parked.closure = Some(blocking);
    if has_spare_worker {
        let future = running(Arc::clone(&parked.stop));
        let name = std::any::type_name_of_val(&future);
        let due = kind::PARKED.polls.get() + 1;
        let task = kind::PARKED.spawn(&on, future);
        parked
            .told
            .push(told(name, "running", "nothing; it spins", &task));
        reach(due).await;
        parked.tasks.push(task);
    }

    let answer = Object::default()
        .with("did", "park")
        .with("at_ns", now_ns())
        .with("tasks", parked.told.clone());
    session.parked = Some(parked);
    Ok(answer)
}

/// Aborts the tasks, and lets the closure end.
pub(crate) async fn unpark(session: &mut Session, _: &str) -> Answer {
    let mut parked = session.parked.take().ok_or("nothing is parked")?;
    parked.stop.store(true, Ordering::Relaxed);
    drop(parked.release.take());
    if let Some(closure) = parked.closure.take() {
        kind::PARKED_CLOSURE.join(closure).await?;
    }
    drop(parked.word.take());
    if let Some(joining) = parked.joining.take() {
        kind::PARKED.join(joining).await?;
        // And the one it waited for; each was polled once more.
        kind::PARKED.completed.add(1);
        kind::PARKED.polls.add(2);
    }
    kind::PARKED.abort_all(parked.tasks).await?;
    Ok(Object::default()
        .with("did", "unpark")
        .with("end_ns", now_ns()))
}

fn told(future: &str, state: &str, waits_for: &str, task: &JoinHandle<()>) -> Object {
    Object::default()
        .with("future", future)
        .with("id", id(task))
        .with("state", state)
        .with("waits_for", waits_for)
}

async fn reach(polls: u64) {
    while kind::PARKED.polls.get() < polls {
        task::yield_now().await;
    }
}

fn arrive() {
    kind::PARKED.polls.add(1);
}

async fn sleeping() {
    arrive();
    time::sleep(FOR_EVER).await;
}

async fn holding_mutex(mutex: Arc<Mutex<u32>>) {
    let _held = mutex.lock().await;
    arrive();
    future::pending().await
}

async fn awaiting_mutex(mutex: Arc<Mutex<u32>>) {
    arrive();
    *mutex.lock().await += 1;
}

async fn awaiting_notify(notify: Notify) {
    arrive();
    notify.notified().await;
}

async fn awaiting_semaphore(semaphore: Semaphore) {
    arrive();
    let _permit = semaphore.acquire().await;
}

async fn awaiting_message(mut inbox: mpsc::Receiver<u32>) {
    arrive();
    let _message = inbox.recv().await;
}

async fn awaiting_word(word: oneshot::Receiver<u32>) {
    arrive();
    let _word = word.await;
}

async fn awaiting_task(task: JoinHandle<()>) {
    arrive();
    let _ended = task.await;
}

async fn awaiting_connection(listener: TcpListener) {
    arrive();
    let _connection = listener.accept().await;
}

async fn calling() {
    called().await;
}

async fn called() {
    arrive();
    time::sleep(FOR_EVER).await;
}

async fn running(stop: Arc<AtomicBool>) {
    arrive();
    while !stop.load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
}
