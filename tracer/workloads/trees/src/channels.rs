//! Tasks that wait for a channel. The other end of each stays with a task that waits for ever.

use std::future::pending;

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::truth::{at, parks, spawn};

pub fn start() {
    let (bounded, receiver) = mpsc::channel::<u64>(4);
    spawn("mpsc_receiver", 1, mpsc_receiver(receiver));
    let (unbounded, receiver) = mpsc::unbounded_channel::<String>();
    spawn(
        "mpsc_unbounded_receiver",
        1,
        mpsc_unbounded_receiver(receiver),
    );
    let (full, unread) = mpsc::channel::<u64>(1);
    full.try_send(1).expect("there is room for one");
    spawn("mpsc_sender", 1, mpsc_sender(full));
    let (answer, question) = oneshot::channel::<u8>();
    spawn("oneshot_receiver", 1, oneshot_receiver(question));
    let (new, watched) = watch::channel(0u32);
    spawn("watch_receiver", 1, watch_receiver(watched));
    let (station, listener) = broadcast::channel::<u32>(2);
    spawn("broadcast_receiver", 1, broadcast_receiver(listener));
    let ends = (bounded, unbounded, unread, answer, new, station);
    spawn("keeper", 1, keeper(ends));
}

async fn keeper<T: Send + 'static>(ends: T) {
    parks!("keeper", "keeper");
    pending::<()>().await;
    drop(ends);
}

async fn mpsc_receiver(mut receiver: mpsc::Receiver<u64>) {
    parks!("mpsc_receiver", "mpsc_receiver");
    while let Some(value) = receiver.recv().await {
        std::hint::black_box(value);
    }
}

async fn mpsc_unbounded_receiver(mut receiver: mpsc::UnboundedReceiver<String>) {
    at!("mpsc_unbounded_receiver", "mpsc_unbounded_receiver");
    drain(&mut receiver).await;
}

async fn drain(receiver: &mut mpsc::UnboundedReceiver<String>) {
    parks!("mpsc_unbounded_receiver", "drain");
    while receiver.recv().await.is_some() {}
}

async fn mpsc_sender(sender: mpsc::Sender<u64>) {
    parks!("mpsc_sender", "mpsc_sender");
    let _ = sender.send(2).await;
}

async fn oneshot_receiver(receiver: oneshot::Receiver<u8>) {
    parks!("oneshot_receiver", "oneshot_receiver");
    let _ = receiver.await;
}

async fn watch_receiver(mut receiver: watch::Receiver<u32>) {
    parks!("watch_receiver", "watch_receiver");
    let _ = receiver.changed().await;
}

async fn broadcast_receiver(mut receiver: broadcast::Receiver<u32>) {
    parks!("broadcast_receiver", "broadcast_receiver");
    let _ = receiver.recv().await;
}
