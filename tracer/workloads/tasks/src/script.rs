//! A fixed number of tasks of each type, from beginning to end, each with a known number of polls.

use std::{
    future::{self, Future},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{runtime::Handle, task, time};

use crate::{
    clock::{now_ns, spin},
    counted::Counted,
    json::Object,
    kind::{self, Kind, all_told},
    stamped::Stamped,
    verbs::{Answer, Session, number},
};

/// What a poll of `counted` spins for.
const WORK_NS: u64 = 20_000;

/// What a closure on the blocking pool spins for.
const BLOCKING_NS: u64 = 50_000;

/// N of each on each runtime.
pub(crate) async fn go(session: &mut Session, argument: &str) -> Answer {
    let count = number(argument)?;
    let start_ns = now_ns();
    for handle in session.handles.clone() {
        run(&handle, count).await?;
    }
    if session.is_local {
        let tasks =
            (0..count).map(|_| kind::LOCAL.spawn_local(Counted::new(&kind::LOCAL, local())));
        kind::LOCAL.join_all(tasks.collect()).await?;
    }
    Ok(Object::default()
        .with("did", "go")
        .with("count", count)
        .with("start_ns", start_ns)
        .with("end_ns", now_ns())
        .with("kinds", all_told()))
}

async fn run(on: &Handle, count: u64) -> Result<(), String> {
    use kind::{
        ABORTED, BLOCK, BLOCKING, BOXED_ONCE, BOXED_TWICE, COUNTDOWN, COUNTED, PLAIN, SLEEPER,
        STAMPED,
    };
    let each = 0..count;
    let polled_before = ABORTED.polls.get();

    // All are spawned before any is waited for, so that they run beside each other.
    let plain = each.clone().map(|_| PLAIN.spawn(on, plain())).collect();
    let block = each.clone().map(|_| {
        BLOCK.spawn(on, async {
            task::yield_now().await;
            task::yield_now().await;
        })
    });
    let block = block.collect();
    let once = each
        .clone()
        .map(|_| BOXED_ONCE.spawn(on, boxed_once()))
        .collect();
    let twice = each
        .clone()
        .map(|_| BOXED_TWICE.spawn(on, boxed_twice()))
        .collect();
    let countdown = each.clone().map(|_| COUNTDOWN.spawn(on, Countdown::new(5)));
    let countdown = countdown.collect();
    let counted = each
        .clone()
        .map(|_| COUNTED.spawn(on, Counted::new(&COUNTED, counted())));
    let counted = counted.collect();
    let stamped = each
        .clone()
        .map(|_| STAMPED.spawn(on, Stamped::new(&STAMPED, stamped())));
    let stamped = stamped.collect();
    let sleeper = each
        .clone()
        .map(|_| SLEEPER.spawn(on, Counted::new(&SLEEPER, sleeper())));
    let sleeper = sleeper.collect();
    let aborted = each
        .clone()
        .map(|_| ABORTED.spawn(on, Counted::new(&ABORTED, aborted())));
    let aborted = aborted.collect();
    let blocking = each.map(|_| BLOCKING.spawn_blocking(on, || spin(BLOCKING_NS)));
    let blocking = blocking.collect();

    join_known(&PLAIN, plain, 4 * count).await?;
    join_known(&BLOCK, block, 3 * count).await?;
    join_known(&BOXED_ONCE, once, 2 * count).await?;
    join_known(&BOXED_TWICE, twice, 3 * count).await?;
    COUNTDOWN.join_all(countdown).await?;
    COUNTED.join_all(counted).await?;
    STAMPED.join_all(stamped).await?;
    SLEEPER.join_all(sleeper).await?;
    while ABORTED.polls.get() < polled_before + count {
        task::yield_now().await;
    }
    ABORTED.abort_all(aborted).await?;
    BLOCKING.join_all(blocking).await
}

/// Tasks that do not count their polls, because nothing is wrapped around them: they are known.
async fn join_known(
    kind: &Kind,
    tasks: Vec<task::JoinHandle<()>>,
    polls: u64,
) -> Result<(), String> {
    kind.join_all(tasks).await?;
    kind.polls.add(polls);
    Ok(())
}

async fn plain() {
    for _ in 0..3 {
        task::yield_now().await;
    }
}

type Boxed = Pin<Box<dyn Future<Output = ()> + Send>>;

fn boxed_once() -> Boxed {
    Box::pin(task::yield_now())
}

fn boxed_twice() -> Boxed {
    Box::pin(async {
        task::yield_now().await;
        task::yield_now().await;
    })
}

async fn counted() {
    for _ in 0..4 {
        spin(WORK_NS);
        task::yield_now().await;
    }
}

async fn stamped() {
    for _ in 0..3 {
        task::yield_now().await;
    }
}

async fn sleeper() {
    time::sleep(Duration::from_millis(1)).await;
    time::sleep(Duration::from_millis(1)).await;
}

async fn aborted() {
    future::pending().await
}

async fn local() {
    task::yield_now().await;
}

/// Written by hand: wakes itself `left` times, and says how long it then had to wait.
struct Countdown {
    left: u32,
    spawned_ns: u64,
    woken_ns: Option<u64>,
}

impl Countdown {
    fn new(left: u32) -> Self {
        Self {
            left,
            spawned_ns: now_ns(),
            woken_ns: None,
        }
    }
}

impl Future for Countdown {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let kind = &kind::COUNTDOWN;
        let began = kind.begin();
        match self.woken_ns {
            Some(woken) => kind.scheduled.add(began.at_ns - woken),
            None => kind.queued.add(began.at_ns - self.spawned_ns),
        }
        if self.left == 0 {
            began.end();
            return Poll::Ready(());
        }
        self.left -= 1;
        kind.wakes.add(1);
        kind.self_wakes.add(1);
        context.waker().wake_by_ref();
        // It waits from the end of this poll.
        self.woken_ns = Some(began.end());
        Poll::Pending
    }
}
