//! Tasks that can never go on because each has what another one waits for, others that only look so, and many that wait
//! in the same way.

use std::{future::pending, sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, Semaphore, oneshot},
    time::timeout,
};

use crate::truth::{at, parks, spawn};

const ALIKE: usize = 4_000;
const LONG: Duration = Duration::from_secs(3_600);

/// A lock that is taken, and the word that it is.
#[derive(Default)]
struct Account {
    lock: Mutex<u64>,
    taken: OnceTold,
}

struct OnceTold(Semaphore);

impl Default for OnceTold {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

impl OnceTold {
    fn tell(&self) {
        self.0.add_permits(1);
    }

    async fn wait(&self) {
        self.0.acquire().await.expect("never closed").forget();
    }
}

pub fn start() {
    let (one, other) = <(Arc<Account>, Arc<Account>)>::default();
    spawn("pay", 1, pay(one.clone(), other.clone()));
    spawn("ship", 1, ship(one, other));
    spawn("twice", 1, twice(Mutex::new(7)));
    let (one, other) = <(Arc<Account>, Arc<Account>)>::default();
    spawn("patient", 1, patient(one.clone(), other.clone()));
    spawn("impatient", 1, impatient(one, other));
    let mut answers = Vec::new();
    for _ in 0..ALIKE {
        let (answer, question) = oneshot::channel::<u8>();
        answers.push(answer);
        spawn("alike", 1, alike(question));
    }
    spawn("answers", 1, keep(answers));
}

async fn pay(one: Arc<Account>, other: Arc<Account>) {
    let mut from = one.lock.lock().await;
    one.taken.tell();
    other.taken.wait().await;
    parks!("pay", "pay");
    let mut to = other.lock.lock().await;
    *from -= 1;
    *to += 1;
}

async fn ship(one: Arc<Account>, other: Arc<Account>) {
    let mut from = other.lock.lock().await;
    other.taken.tell();
    one.taken.wait().await;
    parks!("ship", "ship");
    let mut to = one.lock.lock().await;
    *from -= 1;
    *to += 1;
}

async fn twice(lock: Mutex<u64>) {
    let first = lock.lock().await;
    parks!("twice", "twice");
    let second = lock.lock().await;
    drop((first, second));
}

/// Waits for what the other one has, and it for what this has, but not for ever.
async fn patient(one: Arc<Account>, other: Arc<Account>) {
    let from = one.lock.lock().await;
    one.taken.tell();
    other.taken.wait().await;
    parks!("patient", "patient");
    let to = timeout(LONG, other.lock.lock()).await;
    drop((from, to));
}

async fn impatient(one: Arc<Account>, other: Arc<Account>) {
    let from = other.lock.lock().await;
    other.taken.tell();
    one.taken.wait().await;
    parks!("impatient", "impatient");
    let to = one.lock.lock().await;
    drop((from, to));
}

async fn alike(question: oneshot::Receiver<u8>) {
    parks!("alike", "alike");
    let _ = question.await;
}

async fn keep<T: Send + 'static>(ends: T) {
    parks!("answers", "keep");
    pending::<()>().await;
    drop(ends);
}
