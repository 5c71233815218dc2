//! Tasks that wait for time, sockets, other tasks and nothing at all.

use std::{
    future::{Future, pending},
    os::fd::AsRawFd as _,
    pin::Pin,
    sync::mpsc,
    task::{Context, Poll},
    thread,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    task::{JoinHandle, JoinSet},
    time::{interval, sleep, timeout},
};
use tracing::Instrument as _;

use crate::truth::{announce, at, fact, parks, reached, spawn, stands};

const LONG: Duration = Duration::from_secs(3_600);

pub fn start() {
    spawn("sleeper", 1, sleeper());
    spawn("ticker", 1, ticker());
    spawn("in_time", 1, in_time());
    spawn("acceptor", 1, acceptor());
    spawn("reader", 1, reader());
    spawn("writer", 1, writer());
    spawn("datagrams", 1, datagrams());
    let awaited = spawn("awaited", 1, awaited());
    fact("awaits", "joiner", awaited.id());
    spawn("joiner", 1, joiner(awaited));
    spawn("set_joiner", 1, set_joiner());
    spawn("boxed", 1, boxed());
    spawn("recursive", 1, recursive(160));
    spawn(
        "instrumented",
        1,
        instrumented().instrument(tracing::info_span!("span")),
    );
    spawn("by_hand", 1, ByHand { inner: inside() });
    spawn("block", 1, async {
        parks!("block", "start");
        pending::<()>().await;
    });
    spawn("busy", 1, busy());
    spawn("method", 1, Worker { id: 3 }.run());
}

async fn sleeper() {
    parks!("sleeper", "sleeper");
    sleep(LONG).await;
}

async fn ticker() {
    let mut interval = interval(LONG);
    interval.tick().await;
    parks!("ticker", "ticker");
    interval.tick().await;
}

async fn in_time() {
    at!("in_time", "in_time");
    let _ = timeout(LONG, never()).await;
}

async fn never() {
    parks!("in_time", "never");
    pending::<()>().await;
}

async fn acceptor() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    fact("fd", "acceptor", listener.as_raw_fd());
    parks!("acceptor", "acceptor");
    let _ = listener.accept().await;
}

/// Two ends of a connection.
async fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
    (client.expect("a client"), server.expect("a server").0)
}

async fn reader() {
    let (mut client, server) = connection().await;
    let mut buffer = [0; 64];
    fact("fd", "reader", client.as_raw_fd());
    parks!("reader", "reader");
    let read = client.read(&mut buffer).await;
    drop((read, server));
}

async fn writer() {
    let (mut client, server) = connection().await;
    let much = vec![0; 1 << 24];
    fact("fd", "writer", client.as_raw_fd());
    parks!("writer", "writer");
    let written = client.write_all(&much).await;
    drop((written, server));
}

async fn datagrams() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let mut buffer = [0; 64];
    fact("fd", "datagrams", socket.as_raw_fd());
    parks!("datagrams", "datagrams");
    let _ = socket.recv_from(&mut buffer).await;
}

async fn awaited() {
    parks!("awaited", "awaited");
    pending::<()>().await;
}

async fn joiner(task: JoinHandle<()>) {
    parks!("joiner", "joiner");
    let _ = task.await;
}

async fn set_joiner() {
    let mut tasks = JoinSet::new();
    for _ in 0..3 {
        let task = tasks.spawn(pending::<()>());
        fact("awaits", "set_joiner", task.id());
    }
    parks!("set_joiner", "set_joiner");
    tasks.join_next().await;
}

async fn boxed() {
    let future: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(inside_box());
    at!("boxed", "boxed");
    future.await;
}

async fn inside_box() {
    parks!("boxed", "inside_box");
    pending::<()>().await;
}

async fn recursive(depth: u32) {
    if depth == 0 {
        parks!("recursive", "recursive");
        pending::<()>().await;
    } else {
        at!("recursive", "recursive");
        Box::pin(recursive(depth - 1)).await;
    }
}

async fn instrumented() {
    parks!("instrumented", "instrumented");
    pending::<()>().await;
}

/// Not `pin_project`: what it holds is pinned with safe code only because it is boxed.
struct ByHand<F> {
    inner: F,
}

impl<F: Future + Unpin> Future for ByHand<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        Pin::new(&mut self.inner).poll(context)
    }
}

fn inside() -> Pin<Box<impl Future<Output = ()>>> {
    Box::pin(async {
        parks!("by_hand", "inside");
        pending::<()>().await;
    })
}

struct Worker {
    id: u64,
}

impl Worker {
    async fn run(mut self) {
        self.id += 1;
        parks!("method", "Worker::run");
        sleep(LONG + Duration::from_secs(self.id)).await;
    }
}

/// A task that has yielded and is not polled again, because the only thread of its runtime does something else. Goes
/// on when what is returned is dropped.
pub fn start_yielding() -> mpsc::Sender<()> {
    let (sender, receiver) = mpsc::channel::<()>();
    announce();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let Ok(runtime) = runtime else { return };
        runtime.block_on(async {
            let task = tokio::spawn(yielding());
            fact("task", "yielding", task.id());
            let blocked = tokio::spawn(async move {
                reached();
                let _ = receiver.recv();
            });
            let _ = blocked.await;
        });
    });
    sender
}

/// A task of a `LocalSet`, which may hold what does not leave its thread. Ends with the program.
pub fn start_local() {
    announce();
    thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let Ok(runtime) = runtime else { return };
        let set = tokio::task::LocalSet::new();
        let task = set.spawn_local(local(std::rc::Rc::new(1)));
        fact("task", "local", task.id());
        runtime.block_on(set);
    });
}

async fn local(count: std::rc::Rc<u64>) {
    parks!("local", "local");
    pending::<()>().await;
    drop(count);
}

async fn yielding() {
    at!("yielding", "yielding");
    tokio::task::yield_now().await;
}

/// Never waits for long, at one of two places, in futures that lie elsewhere each time.
async fn busy() {
    stands("busy", 0, "trees::others::busy", line!() + 4);
    stands("busy", 1, "trees::others::busy", line!() + 4);
    let mut first = true;
    loop {
        step(first).await;
        Box::pin(other_step(first, vec![0; 64])).await;
        first.then(reached);
        first = false;
    }
}

async fn step(first: bool) {
    first.then(|| at!("busy", 0, "step"));
    sleep(Duration::from_millis(1)).await;
}

async fn other_step(first: bool, mut bytes: Vec<u8>) {
    for _ in 0..50 {
        (first && bytes[0] == 0).then(|| at!("busy", 1, "other_step"));
        tokio::task::yield_now().await;
        bytes[0] = 1;
    }
}
