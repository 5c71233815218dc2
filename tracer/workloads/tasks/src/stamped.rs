//! A future around a future that also knows when it was woken, because it hands out a waker of its own.

use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    ptr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use crate::{
    clock::{now_ns, own_tid},
    kind::Kind,
};

thread_local! {
    /// The stamp of the task that this thread is polling, as an address; zero for none.
    static POLLING: Cell<usize> = const { Cell::new(0) };
    /// The number of this thread once it has polled something; before, zero.
    static POLLER: Cell<u64> = const { Cell::new(0) };
}

/// Tells `kind` of each poll of a future, and how long before it was woken for it.
pub(crate) struct Stamped<F> {
    kind: &'static Kind,
    spawned_ns: u64,
    stamp: Option<(Arc<Stamp>, Waker)>,
    future: Pin<Box<F>>,
}

struct Stamp {
    kind: &'static Kind,
    /// When it was first woken since its last poll began; zero when it was not.
    woken_ns: AtomicU64,
    /// The thread that queued it, when that one polls; else zero.
    queued_by: AtomicU64,
    /// That of the first poll: all wakers of a task wake that task.
    waker: Waker,
}

impl Wake for Stamp {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.kind.wakes.add(1);
        if POLLING.get() == self.address() {
            self.kind.self_wakes.add(1);
        }
        // Only the first counts; it is in any case woken now.
        let first =
            self.woken_ns
                .compare_exchange(0, now_ns(), Ordering::Relaxed, Ordering::Relaxed);
        if first.is_ok() {
            self.queued_by.store(POLLER.get(), Ordering::Relaxed);
        }
        self.waker.wake_by_ref();
    }
}

impl Stamp {
    fn address(&self) -> usize {
        ptr::from_ref(self).addr()
    }
}

impl<F: Future> Stamped<F> {
    /// To be spawned at once: the time in the queue begins here.
    pub(crate) fn new(kind: &'static Kind, future: F) -> Self {
        Self {
            kind,
            spawned_ns: now_ns(),
            stamp: None,
            future: Box::pin(future),
        }
    }
}

impl<F: Future> Future for Stamped<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let began = this.kind.begin();
        if POLLER.get() == 0 {
            POLLER.set(own_tid());
        }
        let (stamp, waker) = match &this.stamp {
            Some((stamp, waker)) => {
                let woken_ns = stamp.woken_ns.swap(0, Ordering::Relaxed);
                if woken_ns > 0 {
                    let waited_ns = began.at_ns.saturating_sub(woken_ns);
                    this.kind.scheduled.add(waited_ns);
                }
                let queued_by = stamp.queued_by.swap(0, Ordering::Relaxed);
                if queued_by > 0 && queued_by != POLLER.get() {
                    this.kind.moved.add(1);
                }
                (stamp, waker)
            }
            None => {
                this.kind.queued.add(began.at_ns - this.spawned_ns);
                let stamp = Arc::new(Stamp {
                    kind: this.kind,
                    woken_ns: AtomicU64::new(0),
                    queued_by: AtomicU64::new(0),
                    waker: context.waker().clone(),
                });
                let waker = Waker::from(Arc::clone(&stamp));
                let (stamp, waker) = this.stamp.insert((stamp, waker));
                (&*stamp, &*waker)
            }
        };
        let outer = POLLING.replace(stamp.address());
        let result = this.future.as_mut().poll(&mut Context::from_waker(waker));
        POLLING.set(outer);
        let ended_ns = began.end();
        // Who is woken in the middle of a poll waits from the end of it, in the queue of the thread that polled.
        let woken_ns = stamp.woken_ns.load(Ordering::Relaxed);
        if woken_ns > 0 {
            stamp.woken_ns.store(ended_ns, Ordering::Relaxed);
            stamp.queued_by.store(POLLER.get(), Ordering::Relaxed);
        }
        result
    }
}
