//! The event loop of a thread, as its waits for events show it: a turn is what it does from the return of one wait to
//! the entry of the next.
//!
//! No function of the program is probed. libuv asks epoll twice where it measures its idle time (Node always does): at
//! once, and only when nothing was there with a time-out. Both are one turn, see [`Looping::returned`]. All of it is
//! pure, so that the kernel side and the tests run the same lines.
//! <https://github.com/libuv/libuv/blob/v1.46.0/src/unix/linux.c#L1281>

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    id::{Nanos, Pid, Tid},
    table::{Timed, plain},
    task::{OFF_PARTS, off_parts},
    thread::ThreadTimes,
};

plain! {
    /// A thread with an event loop.
    LoopKey {
        /// The process.
        pid: Pid,
        /// The thread.
        tid: Tid,
    }
}

/// What an event loop did. Only its own thread writes its row.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct LoopRow {
    /// Turns that began to wait for events.
    pub iterations: u64,
    /// Returns of its waits: two of a turn where libuv first asks what is there already.
    pub waits: u64,
    /// Events they gave.
    pub events: u64,
    /// Time in waits that may block, in nanoseconds: what Node calls idle.
    pub idle: u64,
    /// Time in and between the waits of one turn that may not, in nanoseconds.
    pub asking: u64,
    /// When the last wait returned (monotonic clock). With the times of the thread it tells what goes on.
    pub returned: u64,
    /// Time the thread had slept in waits for events until then, in nanoseconds.
    pub slept: u64,
    /// Turns that took longer than the threshold.
    pub long: u64,
    /// Time inside turns that the thread waited for a CPU, in nanoseconds.
    pub ready: u64,
    /// Time inside turns that the thread waited for a futex.
    pub futex: u64,
    /// Time inside turns that the thread waited for I/O.
    pub io: u64,
    /// Time inside turns that the thread waited for a page.
    pub fault: u64,
    /// Time inside turns that the thread slept or waited for something else.
    pub other: u64,
    /// From the return of one wait to the entry of the next: what a turn did.
    pub busy: Timed,
}

/// A wait for events that has returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wait {
    /// The epoll descriptor.
    pub fd: u32,
    /// 0 when it was not to block.
    pub may_block: u32,
    /// What it returned: events, or a negative error number.
    pub result: i64,
    /// When it was entered; 0 when that was not seen.
    pub entered: Nanos,
    /// When it returned.
    pub at: Nanos,
    /// Waits have been watched without a gap since then.
    pub watched_since: Nanos,
}

/// What the return of a wait says of the turn before it and of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// When the turn began; 0 when that was not seen.
    pub since: Nanos,
    /// When it ended: the entry of the wait.
    pub until: Nanos,
    /// Time in the wait, in nanoseconds.
    pub waited: u64,
    /// 1 when the wait is the first of its turn. Otherwise the time since the wait before is a part of asking.
    pub is_new: u64,
    /// 1 when the thread left its CPU in the turn: [`Left`] says for how long.
    pub has_left: u32,
    /// 1 when it left its CPU in the wait as well.
    pub was_parked: u32,
}

/// The event loop of a thread, from one wait to the next: a part of the thread's row, so that to follow it takes no
/// lookup.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Looping {
    /// When its last wait returned; 0 when none was seen.
    pub returned: Nanos,
    /// When the thread left its CPU in the wait that goes on; 0 while it has not.
    pub parked: Nanos,
    /// Its epoll descriptor.
    pub fd: u32,
    /// 1 when the last wait gave no event.
    pub was_empty: u8,
    /// 1 when each wait is a turn: one that may block has followed one that gave events.
    pub is_simple: u8,
    /// 1 once the thread has left its CPU in this turn.
    pub has_left: u8,
    /// Zero.
    pub reserved: u8,
}

/// What is to be noted in [`Left`] when a thread leaves its CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// Nothing.
    Nothing,
    /// It leaves in this turn for the first time.
    Before,
    /// It has left in this turn, which is over now.
    Parked,
}

/// The time of a thread off its CPU, around a turn in which it left it, in the parts of [`off_parts`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Left {
    /// When it first left.
    pub before: [u64; OFF_PARTS],
    /// When it left in the wait that followed.
    pub parked: [u64; OFF_PARTS],
}

impl Left {
    /// Time off the CPU in a turn after which the thread has these times.
    #[must_use]
    #[inline(always)]
    pub fn within(&self, turn: &Turn, times: &ThreadTimes) -> [u64; OFF_PARTS] {
        let mut off = if turn.was_parked != 0 {
            self.parked
        } else {
            off_parts(times)
        };
        for (part, before) in off.iter_mut().zip(self.before) {
            *part = part.wrapping_sub(before);
        }
        off
    }
}

impl Looping {
    /// The thread leaves its CPU, in a wait for events at `waits_on` or, with `None`, for any other reason.
    #[must_use]
    #[inline(always)]
    pub fn leave_cpu(&mut self, waits_on: Option<u64>, at: Nanos) -> Note {
        if self.returned.0 == 0 || self.parked.0 != 0 {
            // No loop, or its turn is over already.
            return Note::Nothing;
        }
        if waits_on == Some(self.fd as u64) {
            self.parked = at;
            if self.has_left != 0 {
                Note::Parked
            } else {
                Note::Nothing
            }
        } else if self.has_left == 0 {
            self.has_left = 1;
            Note::Before
        } else {
            Note::Nothing
        }
    }

    /// A wait of the thread returned. `None` for a wait that is not its loop's: a loop inside a turn (`execFileSync`
    /// runs one) has a descriptor of its own, and one that was made later, so its number is higher.
    ///
    /// A wait that may block and follows one that had nothing to give belongs to the same turn, because libuv's first
    /// wait of a turn may not block; unless a wait that may block ever followed one that gave events: then this is
    /// another program, whose every wait is a turn.
    #[must_use]
    #[inline(always)]
    pub fn returned(&mut self, wait: &Wait) -> Option<Turn> {
        if self.returned.0 == 0 || wait.fd < self.fd {
            *self = Self {
                fd: wait.fd,
                ..Self::default()
            };
        } else if wait.fd > self.fd {
            return None;
        }
        let may_block = wait.may_block != 0;
        // What was noted before waits were not watched for a while says nothing any more.
        let is_known = self.returned.0 != 0 && self.returned.0 >= wait.watched_since.0;
        if is_known && may_block && self.was_empty == 0 {
            self.is_simple = 1;
        }
        let is_new = !is_known || !may_block || self.was_empty == 0 || self.is_simple != 0;
        // Without the entry: where it slept, that is when it went to sleep, and otherwise a wait takes no time.
        let mut until = if wait.entered.0 != 0 {
            wait.entered
        } else if self.parked.0 != 0 {
            self.parked
        } else {
            wait.at
        };
        if until.0 < self.returned.0 {
            until = self.returned;
        }
        let turn = Turn {
            since: if is_known { self.returned } else { Nanos(0) },
            until,
            waited: wait.at.0.saturating_sub(until.0),
            is_new: is_new as u64,
            has_left: self.has_left as u32,
            was_parked: (self.parked.0 != 0) as u32,
        };
        self.returned = wait.at;
        self.parked = Nanos(0);
        self.has_left = 0;
        self.was_empty = (wait.result <= 0) as u8;
        Some(turn)
    }
}

const _: () = assert!(size_of::<Looping>() == 24);
const _: () = assert!(size_of::<Left>() == 80);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::thread::State;

    fn wait(fd: u32, timeout: i32, result: i64, entered: u64, at: u64) -> Wait {
        Wait {
            fd,
            may_block: u32::from(timeout != 0),
            result,
            entered: Nanos(entered),
            at: Nanos(at),
            watched_since: Nanos(1),
        }
    }

    /// Busy time of each new turn.
    fn turns(waits: &[Wait]) -> [u64; 8] {
        let mut looping = Looping::default();
        let mut busy = [0; 8];
        let mut count = 0;
        for wait in waits {
            if let Some(turn) = looping.returned(wait)
                && turn.is_new != 0
            {
                busy[count] = turn.until.0 - turn.since.0.min(turn.until.0);
                count += 1;
            }
        }
        assert!(count > 0);
        busy
    }

    #[test]
    fn libuv_asks_twice_in_one_turn() {
        let got = turns(&[
            wait(9, 0, 1, 100, 101),
            wait(9, 0, 0, 150, 151),
            wait(9, -1, 1, 152, 300),
            wait(9, 0, 0, 320, 321),
            // It woke a moment too early for its timer, and waits for the rest.
            wait(9, 5, 0, 322, 330),
            wait(9, 1, 0, 331, 340),
            wait(9, 0, 2, 350, 351),
        ]);
        assert_eq!(got[1..], [49, 20, 10, 0, 0, 0, 0]);
    }

    #[test]
    fn in_other_programs_each_wait_is_a_turn() {
        let got = turns(&[
            wait(9, -1, 1, 100, 200),
            wait(9, -1, 1, 210, 300),
            wait(9, 10, 0, 330, 400),
            wait(9, 10, 1, 440, 450),
        ]);
        assert_eq!(got[1..4], [10, 30, 40]);
    }

    #[test]
    fn a_loop_inside_a_turn_is_a_part_of_it() {
        let mut looping = Looping::default();
        // Met inside.
        let inner = wait(20, -1, 1, 10, 20);
        assert!(looping.returned(&inner).is_some());
        let outer = wait(9, 0, 1, 90, 100);
        let met = looping.returned(&outer).unwrap();
        assert_eq!((met.since, met.is_new), (Nanos(0), 1));
        let inner = wait(20, -1, 1, 110, 400);
        assert_eq!(looping.returned(&inner), None);
        let outer = wait(9, 0, 0, 500, 501);
        let turn = looping.returned(&outer).unwrap();
        assert_eq!((turn.since, turn.until), (Nanos(100), Nanos(500)));
    }

    #[test]
    fn time_off_the_cpu_in_the_wait_is_not_the_turns() {
        let mut times = ThreadTimes::default();
        let mut looping = Looping::default();
        let mut left = Left::default();
        let leave =
            |looping: &mut Looping, left: &mut Left, times: &ThreadTimes, on, at| match looping
                .leave_cpu(on, Nanos(at))
            {
                Note::Nothing => {}
                Note::Before => left.before = off_parts(times),
                Note::Parked => left.parked = off_parts(times),
            };
        leave(&mut looping, &mut left, &times, Some(9), 80);
        assert_eq!(looping, Looping::default(), "it is no loop yet");
        let _ = looping.returned(&wait(9, 0, 1, 90, 100));
        leave(&mut looping, &mut left, &times, None, 110);
        times.in_state[usize::from(State::FUTEX.0)] += 40;
        // A wait of a loop inside this turn.
        leave(&mut looping, &mut left, &times, Some(20), 160);
        times.in_state[usize::from(State::EPOLL.0)] += 5;
        leave(&mut looping, &mut left, &times, Some(9), 200);
        times.in_state[usize::from(State::EPOLL.0)] += 1000;
        leave(&mut looping, &mut left, &times, None, 1210);
        times.in_state[usize::from(State::PREEMPTED.0)] += 7;
        // Its entry was not seen: it is when the thread went to sleep.
        let turn = looping.returned(&wait(9, -1, 1, 0, 1230)).unwrap();
        assert_eq!((turn.since, turn.until), (Nanos(100), Nanos(200)));
        assert_eq!((turn.waited, turn.has_left), (1030, 1));
        assert_eq!(left.within(&turn, &times), [0, 40, 5, 0, 0]);
        leave(&mut looping, &mut left, &times, None, 1240);
        times.in_state[usize::from(State::DISK.0)] += 3;
        let turn = looping.returned(&wait(9, 0, 1, 1300, 1301)).unwrap();
        assert_eq!(left.within(&turn, &times), [0, 0, 3, 0, 0]);
        let turn = looping.returned(&wait(9, 0, 1, 1310, 1311)).unwrap();
        assert_eq!(turn.has_left, 0);
    }

    #[test]
    fn what_was_before_a_gap_is_no_turn() {
        let mut looping = Looping::default();
        let _ = looping.returned(&wait(9, 0, 1, 90, 100));
        let late = Wait {
            watched_since: Nanos(500),
            ..wait(9, 0, 1, 600, 610)
        };
        let turn = looping.returned(&late).unwrap();
        assert_eq!((turn.since, turn.is_new), (Nanos(0), 1));
    }
}
