//! Polls that are too long, one of each reason: the CPU, a sleeping thread, a lock of the standard library.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

use tokio::task;

use crate::{
    clock::{doze, now_ns, own_tid, spin},
    counted::Counted,
    json::Object,
    kind::{self, id},
    verbs::{Answer, Session, numbers},
};

/// MS of each, N times, one after another.
pub(crate) async fn slow(session: &mut Session, argument: &str) -> Answer {
    let [ms, count] = numbers(argument, "MS N")?;
    let ns = ms * 1_000_000;
    let on = session.first();
    let (start_ns, mut ids) = (now_ns(), Vec::new());
    for _ in 0..count {
        let task = kind::SPINNER.spawn(on, Counted::new(&kind::SPINNER, spinner(ns)));
        ids.push(told("spinner", &task));
        kind::SPINNER.join(task).await?;

        let task = kind::DOZER.spawn(on, Counted::new(&kind::DOZER, dozer(ns)));
        ids.push(told("dozer", &task));
        kind::DOZER.join(task).await?;

        let door = hold(ns)?;
        let task = kind::LOCK_WAITER.spawn(on, Counted::new(&kind::LOCK_WAITER, lock_waiter(door)));
        ids.push(told("lock-waiter", &task));
        kind::LOCK_WAITER.join(task).await?;
    }
    Ok(Object::default()
        .with("did", "slow")
        .with("each_ns", ns)
        .with("tasks", ids)
        .with("start_ns", start_ns)
        .with("end_ns", now_ns()))
}

fn told(kind: &str, task: &task::JoinHandle<()>) -> Object {
    Object::default().with("kind", kind).with("id", id(task))
}

/// An ordinary poll, then a long one.
async fn spinner(ns: u64) {
    task::yield_now().await;
    spin(ns);
}

async fn dozer(ns: u64) {
    task::yield_now().await;
    doze(ns);
}

async fn lock_waiter(door: Arc<Door>) {
    task::yield_now().await;
    door.is_asked.store(true, Ordering::Release);
    *door.lock.lock().unwrap_or_else(PoisonError::into_inner) += 1;
}

#[derive(Default)]
struct Door {
    lock: Mutex<u32>,
    is_asked: AtomicBool,
}

/// A lock that a thread `lock-holder` has taken, and gives back `ns` after somebody asked for it.
fn hold(ns: u64) -> Result<Arc<Door>, String> {
    let door = Arc::new(Door::default());
    let (tell, taken) = mpsc::channel();
    thread::Builder::new()
        .name("lock-holder".to_owned())
        .spawn({
            let door = Arc::clone(&door);
            move || {
                let held = door.lock.lock().unwrap_or_else(PoisonError::into_inner);
                // A receiver that is gone has no use for the lock.
                let _ = tell.send(own_tid());
                while !door.is_asked.load(Ordering::Acquire) {
                    thread::yield_now();
                }
                doze(ns);
                drop(held);
            }
        })
        .map_err(|why| format!("start a thread: {why}"))?;
    taken
        .recv()
        .map_err(|_gone| "the holder of the lock is gone".to_owned())?;
    Ok(door)
}
