//! Polls at a rate, polls as fast as they come, and a task for each request.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{runtime::Handle, sync::Semaphore, task, time};

use crate::{
    clock::now_ns,
    counted::Counted,
    json::Object,
    kind,
    verbs::{Answer, Session, at_least_one, number, numbers},
};

/// Polls a second of one task; the timer's beat is a millisecond.
const EACH: u64 = 200;

/// Tasks that tick until they are told to stop.
#[derive(Default)]
pub(crate) struct Load {
    tasks: Vec<task::JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

pub(crate) async fn load(session: &mut Session, argument: &str) -> Answer {
    let per_second = number(argument)?;
    at_least_one("PER_SECOND", per_second)?;
    if session.load.is_some() {
        return Err("a load is on; load-end first".to_owned());
    }
    let stop = Arc::new(AtomicBool::new(false));
    let count = per_second.div_ceil(EACH);
    let period = Duration::from_nanos(1_000_000_000 * count / per_second);
    let start = |_| {
        let task = Counted::new(&kind::STEADY, steady(period, Arc::clone(&stop)));
        kind::STEADY.spawn(session.first(), task)
    };
    let tasks = (0..count).map(start).collect();
    session.load = Some(Load { tasks, stop });
    Ok(Object::default()
        .with("did", "load")
        .with("tasks", count)
        .with("start_ns", now_ns()))
}

pub(crate) async fn load_end(session: &mut Session, _: &str) -> Answer {
    let load = session.load.take().ok_or("no load is on")?;
    load.stop.store(true, Ordering::Relaxed);
    kind::STEADY.join_all(load.tasks).await?;
    Ok(Object::default()
        .with("did", "load-end")
        .with("polls", kind::STEADY.polls.get())
        .with("end_ns", now_ns()))
}

async fn steady(period: Duration, stop: Arc<AtomicBool>) {
    let mut beat = time::interval(period);
    while !stop.load(Ordering::Relaxed) {
        beat.tick().await;
    }
}

/// N yields of each of TASKS.
pub(crate) async fn yields(session: &mut Session, argument: &str) -> Answer {
    let [count, tasks] = numbers(argument, "N TASKS")?;
    let on = session.first();
    let start_ns = now_ns();
    let spawned = (0..tasks).map(|_| kind::YIELDER.spawn(on, yielder(count)));
    kind::YIELDER.join_all(spawned.collect()).await?;
    let end_ns = now_ns();
    let polls = (count + 1) * tasks;
    kind::YIELDER.polls.add(polls);
    Ok(Object::default()
        .with("did", "yields")
        .with("polls", polls)
        .with("start_ns", start_ns)
        .with("end_ns", end_ns))
}

async fn yielder(count: u64) {
    for _ in 0..count {
        task::yield_now().await;
    }
}

/// N requests, a task each that nobody waits for, at most AT_ONCE under way.
pub(crate) async fn storm(session: &mut Session, argument: &str) -> Answer {
    let [count, at_once] = numbers(argument, "N AT_ONCE")?;
    at_least_one("AT_ONCE", at_once)?;
    let on = session.first();
    let start_ns = now_ns();
    let acceptor = Counted::new(&kind::ACCEPTOR, acceptor(on.clone(), count, at_once));
    let acceptor = kind::ACCEPTOR.spawn(on, acceptor);
    kind::ACCEPTOR.join(acceptor).await?;
    Ok(Object::default()
        .with("did", "storm")
        .with("requests", count)
        .with("start_ns", start_ns)
        .with("end_ns", now_ns()))
}

async fn acceptor(on: Handle, count: u64, at_once: u64) {
    let seats = Arc::new(Semaphore::new(at_once as usize));
    for _ in 0..count {
        // Nobody closes it.
        if let Ok(seat) = Arc::clone(&seats).acquire_owned().await {
            let request = Counted::new(&kind::REQUEST, async move {
                task::yield_now().await;
                kind::REQUEST.completed.add(1);
                drop(seat);
            });
            drop(kind::REQUEST.spawn(&on, request));
        }
    }
    // All seats are free again when the last request is answered.
    let _all = seats.acquire_many(at_once as u32).await;
}
