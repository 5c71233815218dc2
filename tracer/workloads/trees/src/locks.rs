//! Tasks that wait for locks, and those that hold them.

use std::{future::pending, sync::Arc};

use tokio::sync::{Barrier, Mutex, Notify, RwLock, Semaphore};

use crate::truth::{at, fact, parks, place, spawn};

pub fn start() {
    let mutex = Arc::new(Mutex::new(7u64));
    let taken = Arc::new(Semaphore::new(0));
    place("lock", "mutex_waiter", &*mutex);
    place("lock", "mutex_owned_waiter", &*mutex);
    let holder = spawn(
        "mutex_holder",
        1,
        mutex_holder(mutex.clone(), taken.clone()),
    );
    fact("holder", "mutex_waiter", holder.id());
    spawn(
        "mutex_waiter",
        1,
        mutex_waiter(mutex.clone(), taken.clone()),
    );
    spawn(
        "mutex_owned_waiter",
        1,
        mutex_owned_waiter(mutex, taken.clone()),
    );

    let rwlock = Arc::new(RwLock::new(String::new()));
    let written = Arc::new(Semaphore::new(0));
    place("lock", "rwlock_reader", &*rwlock);
    let writer = spawn(
        "rwlock_writer",
        1,
        rwlock_writer(rwlock.clone(), written.clone()),
    );
    fact("holder", "rwlock_reader", writer.id());
    spawn("rwlock_reader", 1, rwlock_reader(rwlock, written));

    let semaphore = Arc::new(Semaphore::new(2));
    let half = Arc::new(Semaphore::new(0));
    place("lock", "semaphore_waiter", &*semaphore);
    let holder = spawn(
        "semaphore_holder",
        1,
        semaphore_holder(semaphore.clone(), half.clone()),
    );
    fact("holder", "semaphore_waiter", holder.id());
    spawn("semaphore_waiter", 1, semaphore_waiter(semaphore, half));

    let owned = Arc::new(Mutex::new(()));
    let locked = owned.clone().try_lock_owned().ok();
    place("lock", "owned_guard_waiter", &*owned);
    let holder = spawn("owned_guard_holder", 1, owned_guard_holder(locked));
    fact("holder", "owned_guard_waiter", holder.id());
    spawn("owned_guard_waiter", 1, owned_guard_waiter(owned));

    let free = Arc::new(Mutex::new(()));
    let locked = free.clone().try_lock_owned().ok();
    spawn("innocent", 1, innocent(locked));
    let locked = free.clone().lock_owned();
    spawn("innocent_block", 1, async move {
        let guard = locked.await;
        drop(guard);
        parks!("innocent_block", "start");
        pending::<()>().await;
    });

    let notify = Arc::new(Notify::new());
    place("lock", "notified", &*notify);
    spawn("notified", 1, notified(notify));
    let barrier = Arc::new(Barrier::new(2));
    place("lock", "at_barrier", &*barrier);
    spawn("at_barrier", 1, at_barrier(barrier));
}

async fn mutex_holder(mutex: Arc<Mutex<u64>>, taken: Arc<Semaphore>) {
    let mut guard = mutex.lock().await;
    *guard += 1;
    taken.add_permits(2);
    parks!("mutex_holder", "mutex_holder");
    pending::<()>().await;
}

async fn mutex_waiter(mutex: Arc<Mutex<u64>>, taken: Arc<Semaphore>) {
    taken.acquire().await.expect("never closed").forget();
    at!("mutex_waiter", "mutex_waiter");
    let value = query(&mutex).await;
    std::hint::black_box(value);
}

async fn query(mutex: &Mutex<u64>) -> u64 {
    parks!("mutex_waiter", "query");
    *mutex.lock().await
}

async fn mutex_owned_waiter(mutex: Arc<Mutex<u64>>, taken: Arc<Semaphore>) {
    taken.acquire().await.expect("never closed").forget();
    parks!("mutex_owned_waiter", "mutex_owned_waiter");
    let guard = mutex.lock_owned().await;
    drop(guard);
}

async fn rwlock_writer(lock: Arc<RwLock<String>>, written: Arc<Semaphore>) {
    let mut text = lock.write().await;
    text.push('x');
    written.add_permits(1);
    parks!("rwlock_writer", "rwlock_writer");
    pending::<()>().await;
}

async fn rwlock_reader(lock: Arc<RwLock<String>>, written: Arc<Semaphore>) {
    written.acquire().await.expect("never closed").forget();
    parks!("rwlock_reader", "rwlock_reader");
    let text = lock.read().await;
    drop(text);
}

async fn semaphore_holder(semaphore: Arc<Semaphore>, half: Arc<Semaphore>) {
    let permit = semaphore.acquire().await;
    half.add_permits(1);
    parks!("semaphore_holder", "semaphore_holder");
    pending::<()>().await;
    drop(permit);
}

async fn semaphore_waiter(semaphore: Arc<Semaphore>, half: Arc<Semaphore>) {
    half.acquire().await.expect("never closed").forget();
    parks!("semaphore_waiter", "semaphore_waiter");
    let both = semaphore.acquire_many(2).await;
    drop(both);
}

async fn owned_guard_holder(guard: Option<tokio::sync::OwnedMutexGuard<()>>) {
    parks!("owned_guard_holder", "owned_guard_holder");
    pending::<()>().await;
    drop(guard);
}

async fn owned_guard_waiter(mutex: Arc<Mutex<()>>) {
    parks!("owned_guard_waiter", "owned_guard_waiter");
    let guard = mutex.lock().await;
    drop(guard);
}

/// Had a guard and gave it back.
async fn innocent(guard: Option<tokio::sync::OwnedMutexGuard<()>>) {
    let guard = std::hint::black_box(guard);
    drop(guard);
    parks!("innocent", "innocent");
    pending::<()>().await;
}

async fn notified(notify: Arc<Notify>) {
    parks!("notified", "notified");
    notify.notified().await;
}

async fn at_barrier(barrier: Arc<Barrier>) {
    parks!("at_barrier", "at_barrier");
    barrier.wait().await;
}
