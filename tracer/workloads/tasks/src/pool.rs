//! The blocking pool with a queue before it, and blocking in the middle of a task.

use tokio::task;

use crate::{
    clock::{doze, now_ns},
    counted::Counted,
    json::Object,
    kind,
    verbs::{Answer, Session, numbers},
};

/// N closures at once that sleep MS each: with fewer threads than that, each has a known time in the queue.
pub(crate) async fn blocking(session: &mut Session, argument: &str) -> Answer {
    let [count, ms] = numbers(argument, "N MS")?;
    let ns = ms * 1_000_000;
    let on = session.first();
    let start_ns = now_ns();
    let spawned = (0..count).map(|_| kind::POOLED.spawn_blocking(on, move || doze(ns)));
    kind::POOLED.join_all(spawned.collect()).await?;
    let threads = session.blocking_threads;
    let rounds = |index: u64| index / threads;
    Ok(Object::default()
        .with("did", "blocking")
        .with("count", count)
        .with("threads", threads)
        .with("each_ns", ns)
        .with("least_queued_ns", (0..count).map(rounds).sum::<u64>() * ns)
        .with("start_ns", start_ns)
        .with("end_ns", now_ns()))
}

/// N tasks at once that block MS each, having given their worker's other tasks away.
pub(crate) async fn in_place(session: &mut Session, argument: &str) -> Answer {
    let [count, ms] = numbers(argument, "N MS")?;
    let ns = ms * 1_000_000;
    if !session.is_multi_thread {
        return Err("only a multi_thread runtime has block_in_place".to_owned());
    }
    let start_ns = now_ns();
    let start = |_| {
        let task = Counted::new(&kind::IN_PLACE, blocking_in_place(ns));
        kind::IN_PLACE.spawn(session.first(), task)
    };
    kind::IN_PLACE
        .join_all((0..count).map(start).collect())
        .await?;
    Ok(Object::default()
        .with("did", "in-place")
        .with("count", count)
        .with("each_ns", ns)
        .with("start_ns", start_ns)
        .with("end_ns", now_ns()))
}

async fn blocking_in_place(ns: u64) {
    task::yield_now().await;
    task::block_in_place(|| doze(ns));
}
