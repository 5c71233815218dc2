//! What is known of one type of task, and of all there are.

use std::{
    any,
    future::Future,
    ops::Deref,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{runtime::Handle, task::JoinHandle};

use crate::{clock::now_ns, json::Object, spread::Spread};

/// A counter that only grows. Relaxed: each stands for itself.
pub(crate) struct Count(AtomicU64);

impl Count {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(crate) fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The tasks of one type.
pub(crate) struct Kind {
    name: &'static str,
    /// The type of what was spawned, as the compiler calls it.
    future: OnceLock<&'static str>,
    numbers: &'static Numbers,
}

/// The truth about them. Apart, so that this is nothing but zeros, of which a program's file holds none.
pub(crate) struct Numbers {
    pub(crate) spawned: Count,
    /// Ran to their end; counted where the task is waited for.
    pub(crate) completed: Count,
    /// Aborted before that.
    pub(crate) cancelled: Count,
    /// Counted one by one in tasks that count themselves, else added up from what the task is known to do.
    pub(crate) polls: Count,
    /// Polls that came for nothing: nothing had changed, and the task went on waiting.
    pub(crate) idle_polls: Count,
    pub(crate) wakes: Count,
    /// Wakes by the task itself, in its own poll.
    pub(crate) self_wakes: Count,
    /// Polls on another thread than the one that queued the task, where that one polls as well; of tasks that stamp their
    /// wakes.
    pub(crate) moved: Count,
    /// The length of polls; of closures on the blocking pool, of their run.
    pub(crate) busy: Spread,
    /// From being spawned to the first poll or the run.
    pub(crate) queued: Spread,
    /// From being woken to the next poll.
    pub(crate) scheduled: Spread,
}

impl Deref for Kind {
    type Target = Numbers;

    fn deref(&self) -> &Numbers {
        self.numbers
    }
}

impl Numbers {
    const fn new() -> Self {
        Self {
            spawned: Count::new(),
            completed: Count::new(),
            cancelled: Count::new(),
            polls: Count::new(),
            idle_polls: Count::new(),
            wakes: Count::new(),
            self_wakes: Count::new(),
            moved: Count::new(),
            busy: Spread::new(),
            queued: Spread::new(),
            scheduled: Spread::new(),
        }
    }
}

/// One poll under way.
pub(crate) struct Began {
    kind: &'static Kind,
    pub(crate) at_ns: u64,
}

impl Began {
    /// Returns the moment it ended.
    pub(crate) fn end(self) -> u64 {
        let now = now_ns();
        self.kind.busy.add(now - self.at_ns);
        now
    }
}

impl Kind {
    pub(crate) fn spawn<F>(&'static self, on: &Handle, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.is_spawned::<F>();
        on.spawn(future)
    }

    /// On the set of the thread that calls, and nowhere else.
    pub(crate) fn spawn_local<F>(&'static self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.is_spawned::<F>();
        tokio::task::spawn_local(future)
    }

    /// A closure on the blocking pool that says when it began and how long it ran.
    pub(crate) fn spawn_blocking<F>(&'static self, on: &Handle, work: F) -> JoinHandle<()>
    where
        F: FnOnce() + Send + 'static,
    {
        let spawned = now_ns();
        let timed = move || {
            let began = self.begin();
            self.queued.add(began.at_ns - spawned);
            work();
            began.end();
        };
        self.is_spawned_value(&timed);
        on.spawn_blocking(timed)
    }

    fn is_spawned<F>(&self) {
        self.future.get_or_init(any::type_name::<F>);
        self.spawned.add(1);
    }

    fn is_spawned_value<F>(&self, _: &F) {
        self.is_spawned::<F>();
    }

    /// A poll, or a run, begins now.
    pub(crate) fn begin(&'static self) -> Began {
        self.polls.add(1);
        Began {
            kind: self,
            at_ns: now_ns(),
        }
    }

    /// Waits for a task's end and counts it. An error other than being cancelled is a fault of this program.
    pub(crate) async fn join(&self, task: JoinHandle<()>) -> Result<(), String> {
        match task.await {
            Ok(()) => self.completed.add(1),
            Err(error) if error.is_cancelled() => self.cancelled.add(1),
            Err(error) => return Err(format!("a task `{}` failed: {error}", self.name)),
        }
        Ok(())
    }

    pub(crate) async fn join_all(&self, tasks: Vec<JoinHandle<()>>) -> Result<(), String> {
        for task in tasks {
            self.join(task).await?;
        }
        Ok(())
    }

    pub(crate) async fn abort_all(&self, tasks: Vec<JoinHandle<()>>) -> Result<(), String> {
        tasks.iter().for_each(JoinHandle::abort);
        self.join_all(tasks).await
    }

    fn told(&self) -> Object {
        let (completed, cancelled) = (self.completed.get(), self.cancelled.get());
        let spawned = self.spawned.get();
        Object::default()
            .with("kind", self.name)
            .with("future", self.future.get().copied())
            .with("spawned", spawned)
            .with("completed", completed)
            .with("cancelled", cancelled)
            .with("live", spawned.saturating_sub(completed + cancelled))
            .with("polls", self.polls.get())
            .with("idle_polls", self.idle_polls.get())
            .with("wakes", self.wakes.get())
            .with("self_wakes", self.self_wakes.get())
            .with("moved", self.moved.get())
            .with("busy", self.busy.told())
            .with("queued", self.queued.told())
            .with("scheduled", self.scheduled.told())
    }
}

/// The number of a task, which versions before 1.21 do not give out. The handle's debug form is the only place that has it in
/// all later ones.
pub(crate) fn id(task: &JoinHandle<()>) -> Option<u64> {
    id_in(&format!("{task:?}"))
}

fn id_in(handle: &str) -> Option<u64> {
    let (_, rest) = handle.split_once("Id(")?;
    rest.split_once(')')?.0.parse().ok()
}

/// What was spawned so far, one object for each type.
pub(crate) fn all_told() -> Vec<Object> {
    let spawned = ALL.iter().filter(|kind| kind.spawned.get() > 0);
    spawned.map(|kind| kind.told()).collect()
}

macro_rules! kinds {
    ($($constant:ident $name:literal,)*) => {
        $(pub(crate) static $constant: Kind = Kind {
            name: $name,
            future: OnceLock::new(),
            numbers: {
                static NUMBERS: Numbers = Numbers::new();
                &NUMBERS
            },
        };)*
        static ALL: &[&Kind] = &[$(&$constant,)*];
    };
}

kinds! {
    PLAIN "plain",
    BLOCK "block",
    BOXED_ONCE "boxed-once",
    BOXED_TWICE "boxed-twice",
    COUNTDOWN "countdown",
    COUNTED "counted",
    STAMPED "stamped",
    SLEEPER "sleeper",
    ABORTED "aborted",
    BLOCKING "blocking",
    LOCAL "local",
    SPINNER "spinner",
    DOZER "dozer",
    LOCK_WAITER "lock-waiter",
    POOLED "pooled",
    IN_PLACE "in-place",
    STEADY "steady",
    YIELDER "yielder",
    ACCEPTOR "acceptor",
    REQUEST "request",
    IDLER "idler",
    PARKED "parked",
    PARKED_CLOSURE "parked-closure",
    PING "ping",
    PONG "pong",
    NAGGED "nagged",
    NAGGER "nagger",
    MEMBER "member",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_says_the_number_of_its_task() {
        assert_eq!(id_in("JoinHandle { id: Id(71) }"), Some(71));
        assert_eq!(id_in("JoinHandle"), None);
    }
}
