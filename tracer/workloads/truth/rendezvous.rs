//! Two threads, many rounds: one falls asleep, the other sees it sleep, lets time pass, and wakes it.
//!
//! They meet through `/proc` and atomics alone, so that the only calls that block or wake are the ones that are counted.

use std::sync::Arc;

use serde_json::Value;

use crate::clock::now_ns;
use crate::numbers::Spread;
use crate::threads::{Mailbox, Place, Watch, finish, own_tid, start};

/// What the two threads do in a round.
pub(crate) trait Meeting: Send + Sync + 'static {
    const SLEEPER: &str = "waiter";
    const WAKER: &str = "waker";

    /// Where the sleeper sleeps.
    fn place(&self, round: u32) -> Place;

    /// On the waker, before the sleeper may begin.
    fn prepare(&self, _round: u32) -> Result<(), String> {
        Ok(())
    }

    /// On the sleeper: the moments before and after the call that blocks.
    fn sleep(&self, round: u32) -> Result<(u64, u64), String>;

    /// On the waker: lets time pass.
    fn pause(&self);

    /// On the waker: ends the sleep. Returns the moment before the call that did.
    fn wake(&self, round: u32) -> Result<u64, String>;
}

/// What both saw, one entry a round.
pub(crate) struct Rounds {
    pub(crate) sleeper_tid: i32,
    pub(crate) waker_tid: i32,
    /// Moments before and after the call that blocked.
    calls: Vec<(u64, u64)>,
    /// Moments at which it was seen asleep, and before it was woken.
    sleeps: Vec<(u64, u64)>,
    start_ns: u64,
    end_ns: u64,
}

pub(crate) fn meet<M: Meeting>(meeting: &Arc<M>, rounds: u32) -> Result<Rounds, String> {
    let mailbox = Arc::new(Mailbox::default());
    let start_ns = now_ns();
    let sleeper = start(M::SLEEPER, {
        let (meeting, mailbox) = (Arc::clone(meeting), Arc::clone(&mailbox));
        move || {
            let mut calls = Vec::with_capacity(rounds as usize);
            mailbox.put(own_tid());
            for round in 0..rounds {
                calls.push(meeting.sleep(round)?);
            }
            Ok::<_, String>((own_tid(), calls))
        }
    })?;
    let waker = start(M::WAKER, {
        let meeting = Arc::clone(meeting);
        move || {
            let mut sleeps = Vec::with_capacity(rounds as usize);
            let tid = mailbox.take();
            // Opened before the first round, when the sleeper cannot have ended.
            let watch = if rounds > 0 {
                Some(Watch::of(tid)?)
            } else {
                None
            };
            for round in 0..rounds {
                meeting.prepare(round)?;
                if let Some(watch) = &watch {
                    watch.until_asleep(meeting.place(round))?;
                }
                let asleep = now_ns();
                meeting.pause();
                sleeps.push((asleep, meeting.wake(round)?));
            }
            Ok::<_, String>((own_tid(), sleeps))
        }
    });
    let woken = waker.and_then(finish).and_then(|ended| ended);
    // A sleeper that nobody will wake is left asleep; its own error is the better one.
    if woken.is_err() && !sleeper.is_finished() {
        return Err(woken.err().unwrap_or_default());
    }
    let (sleeper_tid, calls) = finish(sleeper)??;
    let (waker_tid, sleeps) = woken?;
    Ok(Rounds {
        sleeper_tid,
        waker_tid,
        calls,
        sleeps,
        start_ns,
        end_ns: now_ns(),
    })
}

impl Rounds {
    /// From before the call to before the wake-up.
    fn slept(&self) -> Spread {
        self.pairs().map(|(call, sleep)| sleep.1 - call.0).collect()
    }

    /// From being seen asleep to before the wake-up: certainly blocked.
    fn seen_asleep(&self) -> Spread {
        self.sleeps.iter().map(|sleep| sleep.1 - sleep.0).collect()
    }

    /// From before the call to after it: blocked at most this long.
    fn in_call(&self) -> Spread {
        self.calls.iter().map(|call| call.1 - call.0).collect()
    }

    /// From before the wake-up to after the call.
    fn back(&self) -> Spread {
        self.pairs().map(|(call, sleep)| call.1 - sleep.1).collect()
    }

    fn pairs(&self) -> impl Iterator<Item = (&(u64, u64), &(u64, u64))> {
        self.calls.iter().zip(&self.sleeps)
    }

    /// All of it. `slept` is what the answer calls the time from before the call to before the wake-up.
    pub(crate) fn put(&self, answer: &mut Value, slept: &str) {
        self.slept().put(answer, slept);
        self.seen_asleep().put(answer, "asleep");
        self.in_call().put(answer, "call");
        self.back().put(answer, "latency");
        answer["start_ns"] = self.start_ns.into();
        answer["end_ns"] = self.end_ns.into();
    }
}
