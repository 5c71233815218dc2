//! Who wakes whom: two tasks that wake each other in turn, one that is woken for nothing, and one that wakes many.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use tokio::{sync::Barrier, task};

use crate::{
    clock::{now_ns, spin},
    counted::Counted,
    json::Object,
    kind::{self, Kind, id},
    stamped::Stamped,
    verbs::{Answer, Session, at_least_one, number, numbers},
};

/// What a member of a meeting spins for after each: long enough for another worker to come and take some.
const MEMBER_NS: u64 = 20_000;

/// Where two players hand a ball to each other; `Player::side` says whose place is whose.
#[derive(Default)]
struct Table {
    /// Whose turn it is.
    turn: usize,
    /// How often each may still hit the ball.
    left: [u64; 2],
    wakers: [Option<Waker>; 2],
    /// When each was last woken.
    woken_ns: [u64; 2],
}

struct Player {
    kind: &'static Kind,
    side: usize,
    table: Arc<Mutex<Table>>,
}

fn locked<T>(table: &Mutex<T>) -> MutexGuard<'_, T> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Future for Player {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let began = self.kind.begin();
        let (me, other) = (self.side, 1 - self.side);
        let mut table = locked(&self.table);
        let woken_ns = std::mem::take(&mut table.woken_ns[me]);
        if woken_ns > 0 {
            self.kind
                .scheduled
                .add(began.at_ns.saturating_sub(woken_ns));
        }
        // Before the other is woken, so that it always finds somebody to wake.
        table.wakers[me] = Some(context.waker().clone());
        let mut woken = None;
        if table.turn == me && table.left[me] > 0 {
            table.left[me] -= 1;
            table.turn = other;
            woken = table.wakers[other].take();
        }
        let is_over = table.left == [0, 0];
        if let Some(waker) = woken {
            table.woken_ns[other] = now_ns();
            drop(table);
            partner(self.kind).wakes.add(1);
            waker.wake();
        } else {
            drop(table);
        }
        began.end();
        if is_over {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

fn partner(kind: &Kind) -> &'static Kind {
    if std::ptr::eq(kind, &kind::PING) {
        &kind::PONG
    } else {
        &kind::PING
    }
}

/// N wakes in each direction.
pub(crate) async fn ping(session: &mut Session, argument: &str) -> Answer {
    let count = number(argument)?;
    at_least_one("N", count)?;
    let on = session.first();
    // Ping begins, and pong answers each of its hits.
    let table = Arc::new(Mutex::new(Table {
        left: [count, count],
        ..Table::default()
    }));
    let player = |kind, side| Player {
        kind,
        side,
        table: Arc::clone(&table),
    };
    let start_ns = now_ns();
    let pong = kind::PONG.spawn(on, player(&kind::PONG, 1));
    while locked(&table).wakers[1].is_none() {
        task::yield_now().await;
    }
    let ping = kind::PING.spawn(on, player(&kind::PING, 0));
    let (ping_id, pong_id) = (id(&ping), id(&pong));
    kind::PONG.join(pong).await?;
    kind::PING.join(ping).await?;
    let wakes = |waker, woken| {
        Object::default()
            .with("waker", waker)
            .with("woken", woken)
            .with("count", count)
    };
    Ok(Object::default()
        .with("did", "ping")
        .with(
            "wakes",
            vec![wakes(ping_id, pong_id), wakes(pong_id, ping_id)],
        )
        .with("start_ns", start_ns)
        .with("end_ns", now_ns()))
}

/// What a task that is woken for nothing shares with the one that wakes it.
#[derive(Default)]
struct Nag {
    polls: u64,
    is_over: bool,
    waker: Option<Waker>,
    woken_ns: u64,
}

struct Nagged(Arc<Mutex<Nag>>);

impl Future for Nagged {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let kind = &kind::NAGGED;
        let began = kind.begin();
        let mut nag = locked(&self.0);
        let woken_ns = std::mem::take(&mut nag.woken_ns);
        if woken_ns > 0 {
            kind.scheduled.add(began.at_ns.saturating_sub(woken_ns));
            kind.idle_polls.add(u64::from(!nag.is_over));
        }
        nag.polls += 1;
        nag.waker = Some(context.waker().clone());
        let is_over = nag.is_over;
        drop(nag);
        began.end();
        if is_over {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// N wakes of one task for nothing, and a last one that ends it.
pub(crate) async fn nag(session: &mut Session, argument: &str) -> Answer {
    let count = number(argument)?;
    let on = session.first();
    let nag = Arc::new(Mutex::new(Nag::default()));
    let start_ns = now_ns();
    let nagged = kind::NAGGED.spawn(on, Nagged(Arc::clone(&nag)));
    let nagger = kind::NAGGER.spawn(on, Counted::new(&kind::NAGGER, nagger(nag, count)));
    let wakes = Object::default()
        .with("waker", id(&nagger))
        .with("woken", id(&nagged))
        .with("count", count + 1)
        .with("for_nothing", count);
    kind::NAGGED.join(nagged).await?;
    kind::NAGGER.join(nagger).await?;
    Ok(Object::default()
        .with("did", "nag")
        .with("wakes", vec![wakes])
        .with("start_ns", start_ns)
        .with("end_ns", now_ns()))
}

/// Each wake is one poll: the next one waits until the poll has begun. How often this one yields meanwhile is not known.
async fn nagger(nag: Arc<Mutex<Nag>>, count: u64) {
    for round in 0..=count {
        while locked(&nag).polls <= round {
            task::yield_now().await;
        }
        let mut shared = locked(&nag);
        shared.is_over = round == count;
        shared.woken_ns = now_ns();
        let waker = shared.waker.take();
        drop(shared);
        if let Some(waker) = waker {
            kind::NAGGED.wakes.add(1);
            waker.wake();
        }
    }
}

/// TASKS tasks that wait for each other N times.
pub(crate) async fn meet(session: &mut Session, argument: &str) -> Answer {
    let [count, tasks] = numbers(argument, "N TASKS")?;
    at_least_one("TASKS", tasks)?;
    let on = session.first();
    let place = Arc::new(Barrier::new(tasks as usize));
    let moved = kind::MEMBER.moved.get();
    let start_ns = now_ns();
    let member = |_| {
        let member = Stamped::new(&kind::MEMBER, member(Arc::clone(&place), count));
        kind::MEMBER.spawn(on, member)
    };
    kind::MEMBER
        .join_all((0..tasks).map(member).collect())
        .await?;
    Ok(Object::default()
        .with("did", "meet")
        .with("moved", kind::MEMBER.moved.get() - moved)
        .with("start_ns", start_ns)
        .with("end_ns", now_ns()))
}

async fn member(place: Arc<Barrier>, count: u64) {
    for _ in 0..count {
        let _one_leads = place.wait().await;
        spin(MEMBER_NS);
    }
}
