//! Tasks of an async runtime as poll probes see them: what a thread polls now, and what is remembered of a task from
//! one poll to the next.
//!
//! A task is known by the address of its header and its id: addresses are used again at once. All of it is pure, so
//! that the kernel side and the tests run the same lines.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    id::{Nanos, Pid, Tid},
    table::plain,
    thread::{State, ThreadTimes},
};

/// Words read from a task's header on: state, vtable and id are among them in every version of tokio.
pub const HEADER_WORDS: usize = 8;

/// Bits of the first word of a task's header.
/// <https://github.com/tokio-rs/tokio/blob/tokio-1.44.2/tokio/src/runtime/task/state.rs>
pub mod state {
    /// A thread polls it.
    pub const RUNNING: u64 = 1;
    /// It has ended.
    pub const COMPLETE: u64 = 2;
    /// It is queued, or will be when the poll that goes on ends.
    pub const NOTIFIED: u64 = 4;
    /// Somebody holds its `JoinHandle`.
    pub const JOIN_INTEREST: u64 = 8;
    /// Somebody waits at its `JoinHandle`.
    pub const JOIN_WAKER: u64 = 16;
    /// It was aborted.
    pub const CANCELLED: u64 = 32;
    /// From this bit on the word counts references.
    pub const REFERENCES: u32 = 6;

    /// False for a word that no task's header begins with: its memory was freed and used again. More references than
    /// this nobody holds.
    #[must_use]
    #[inline(always)]
    pub fn is_plausible(word: u64) -> bool {
        let references = word >> REFERENCES;
        references > 0 && references < 1 << 20
    }
}

/// What a task is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskState {
    /// A thread polls it.
    Running,
    /// It waits for one.
    Queued,
    /// It waits to be woken.
    #[default]
    Idle,
    /// It has ended, but nobody took its result.
    Complete,
}

impl TaskState {
    /// What a state word of tokio says.
    #[must_use]
    pub fn of(word: u64) -> Self {
        use state::{COMPLETE, NOTIFIED, RUNNING};
        if word & COMPLETE != 0 {
            Self::Complete
        } else if word & RUNNING != 0 {
            Self::Running
        } else if word & NOTIFIED != 0 {
            Self::Queued
        } else {
            Self::Idle
        }
    }

    /// The word used on screens and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Queued => "queued",
            Self::Idle => "idle",
            Self::Complete => "complete",
        }
    }
}

/// Places in the kernel side's array of what its programs at functions have seen.
pub mod seen {
    /// Polls.
    pub const POLLS: u32 = 0;
    /// Wakes, and closures handed to the blocking pool.
    pub const WAKES: u32 = 1;
    /// Samples in which the id that a thread keeps was that of the task it polled.
    pub const AGREED: u32 = 2;
    /// Those in which it was not.
    pub const DIFFERED: u32 = 3;
    /// Polls that ran into a trap while nobody watched.
    pub const UNWATCHED_POLLS: u32 = 4;
    /// The same of wakes.
    pub const UNWATCHED_WAKES: u32 = 5;
    /// Work handed to pools.
    pub const WORKS: u32 = 6;
    /// Work that ran into traps while nobody watched.
    pub const UNWATCHED_WORKS: u32 = 7;
    /// Work that `uv_queue_work` was given, when it begins.
    pub const QUEUED_WORKS: u32 = 8;
    /// Callbacks of Node.
    pub const CALLBACKS: u32 = 9;
    /// The same while nobody watched.
    pub const UNWATCHED_CALLBACKS: u32 = 10;
    /// Runs of V8's microtask queue.
    pub const MICROTASKS: u32 = 11;
    /// The same while nobody watched.
    pub const UNWATCHED_MICROTASKS: u32 = 12;
    /// Things that happened to promises.
    pub const PROMISES: u32 = 13;
    /// The same while nobody watched.
    pub const UNWATCHED_PROMISES: u32 = 14;
    /// How many places there are.
    pub const COUNT: u32 = 15;
}

/// What a poll or wake probe has to know about its place, in the attach cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cookie(pub u64);

impl Cookie {
    /// From where the header has the vtable's address and (unless 0) the id, in bytes, and the register (DWARF's
    /// number) that holds the header's address.
    #[must_use]
    pub fn new(vtable: u64, id: u64, header_register: u8, is_blocking: bool) -> Self {
        Self(
            (vtable / 8) & 0xff
                | ((id / 8) & 0xff) << 8
                | (header_register as u64) << 16
                | (is_blocking as u64) << 24,
        )
    }

    /// The word of the header that is the vtable's address.
    #[must_use]
    #[inline(always)]
    pub fn vtable_word(self) -> u64 {
        self.0 & 0xff
    }

    /// The word that is the id; 0 for none.
    #[must_use]
    #[inline(always)]
    pub fn id_word(self) -> u64 {
        self.0 >> 8 & 0xff
    }

    /// The register that holds the header's address.
    #[must_use]
    #[inline(always)]
    pub fn header_register(self) -> u64 {
        self.0 >> 16 & 0xff
    }

    /// True for types that run on the blocking pool: one poll may take as long as it likes.
    #[must_use]
    #[inline(always)]
    pub fn is_blocking(self) -> bool {
        self.0 >> 24 & 1 != 0
    }
}

/// What a task's header says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The state word.
    pub state: u64,
    /// Address of the vtable: its type.
    pub vtable: u64,
    /// Its id; 0 when this version has none.
    pub id: u64,
}

impl Header {
    /// Reads it from the words at the header's address.
    #[must_use]
    #[inline(always)]
    pub fn of(words: &[u64; HEADER_WORDS], cookie: Cookie) -> Self {
        // Compared, not indexed: an index that is not a constant is no access to a program's stack before Linux 5.12,
        // and dear afterwards.
        let vtable = match cookie.vtable_word() {
            2 => words[2],
            3 => words[3],
            4 => words[4],
            _ => 0,
        };
        let id = match cookie.id_word() {
            3 => words[3],
            4 => words[4],
            5 => words[5],
            6 => words[6],
            7 => words[7],
            _ => 0,
        };
        Self {
            state: words[0],
            vtable,
            id,
        }
    }
}

plain! {
    /// A task, by where it is.
    TaskKey {
        /// Address of its header.
        header: u64,
        /// Its process.
        pid: Pid,
        /// Zero.
        reserved: u32,
    }
}

plain! {
    /// A task, by its id.
    IdKey {
        /// Its id.
        id: u64,
        /// Its process.
        pid: Pid,
        /// Zero.
        reserved: u32,
    }
}

/// In place of a type: that of a task which ended before anybody knew its type. No table is there.
pub const UNKNOWN_TYPE: u64 = 1;

/// What is remembered of a task from one poll to the next.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct TaskRow {
    /// Its id; 0 when this version of the runtime has none.
    pub id: u64,
    /// Its type.
    pub vtable: u64,
    /// When it was first seen; 0 when it was there before the probes were.
    pub first: Nanos,
    /// Since when it is queued; 0 while it is not, or when that was not seen.
    pub queued: Nanos,
    /// When its last poll ended; 0 when none was seen.
    pub polled: Nanos,
    /// Why it is queued: one of [`queued`].
    pub why: u32,
    /// The thread in whose queue a wake put it, or that polls it and queues it again; 0 when that was not seen.
    pub by: Tid,
}

/// Why a task is queued.
pub mod queued {
    /// It was woken while it was idle.
    pub const WOKEN: u32 = 0;
    /// It was woken during its last poll.
    pub const RESCHEDULED: u32 = 1;
    /// It was handed to the blocking pool, and not polled yet.
    pub const SPAWNED: u32 = 2;
}

impl TaskRow {
    /// True when this is the task that the header says.
    #[must_use]
    #[inline(always)]
    pub fn is(&self, header: &Header) -> bool {
        self.id == header.id && self.vtable == header.vtable
    }
}

/// Parts of a poll in which its thread was off the CPU.
pub const OFF_PARTS: usize = 5;

/// Which part of a poll the time in a thread's state belongs to: ready, futex, I/O, page fault, other.
#[must_use]
#[inline(always)]
pub fn off_parts(times: &ThreadTimes) -> [u64; OFF_PARTS] {
    let of = |state: State| times.in_state[state.0 as usize];
    [
        of(State::RUNNABLE)
            .wrapping_add(of(State::PREEMPTED))
            .wrapping_add(of(State::THROTTLED)),
        of(State::FUTEX),
        of(State::EPOLL)
            .wrapping_add(of(State::DISK))
            .wrapping_add(of(State::NETWORK)),
        of(State::PAGE_FAULT),
        of(State::SLEEP)
            .wrapping_add(of(State::OTHER))
            .wrapping_add(of(State::UNKNOWN)),
    ]
}

/// The part of [`off_parts`] that the time in a state belongs to; `None` for a state in which the thread runs.
#[must_use]
#[inline(always)]
pub fn off_part(state: State) -> Option<usize> {
    if state.is_ready() {
        Some(0)
    } else if state == State::FUTEX {
        Some(1)
    } else if state == State::EPOLL || state == State::DISK || state == State::NETWORK {
        Some(2)
    } else if state == State::PAGE_FAULT {
        Some(3)
    } else if state == State::ON_CPU || state == State::DEAD {
        None
    } else {
        Some(4)
    }
}

/// A poll that goes on.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Frame {
    /// Address of the task's header.
    pub header: u64,
    /// Its type.
    pub vtable: u64,
    /// Its id.
    pub id: u64,
    /// When the poll began.
    pub since: Nanos,
    /// The stack pointer at its entry: what tells a poll from one that it is inside of.
    pub stack_pointer: u64,
    /// 1 once the thread has left its CPU in this poll.
    pub has_left: u16,
    /// 1 when the task was aborted before: this poll drops it.
    pub is_cancelled: u16,
    /// 1 when the type runs on the blocking pool.
    pub is_blocking: u16,
    /// 1 once there was another poll inside of it: what runs on the blocking pool then is a worker's loop, or a
    /// `block_on`.
    pub has_polled: u16,
    /// The thread's time off the CPU before, in the parts of [`off_parts`]; set when it first leaves in this poll,
    /// until when nothing is added to any of them.
    pub off_before: [u64; OFF_PARTS],
}

/// Polls inside each other that are followed: a worker runs inside a task of the blocking pool, `block_on` inside a
/// task runs others, a `LocalSet` is a task that polls tasks.
pub const DEPTH: usize = 4;

/// The polls a thread is in, the outermost first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Running {
    /// How many.
    pub depth: u64,
    /// They; those beyond the depth are old.
    pub frames: [Frame; DEPTH],
}

impl Running {
    /// The innermost poll.
    #[must_use]
    #[inline(always)]
    pub fn top(&self) -> Option<&Frame> {
        let index = core::hint::black_box(self.depth.wrapping_sub(1) as usize);
        if index < DEPTH {
            Some(&self.frames[index])
        } else {
            None
        }
    }

    /// Enters a poll. Those that are over without having been seen to end are taken off first: they began before
    /// `since`, or deeper in the stack than a poll around this one could be. False when there is no room.
    #[must_use]
    #[inline(always)]
    pub fn enter(&mut self, frame: &Frame, since: Nanos) -> bool {
        for _ in 0..DEPTH {
            let over = match self.top() {
                Some(top) => top.since.0 < since.0 || top.stack_pointer <= frame.stack_pointer,
                None => false,
            };
            if over {
                self.depth -= 1;
            }
        }
        let around = core::hint::black_box(self.depth.wrapping_sub(1) as usize);
        if around < DEPTH {
            self.frames[around].has_polled = 1;
        }
        let index = core::hint::black_box(self.depth as usize);
        if index >= DEPTH {
            return false;
        }
        self.frames[index] = *frame;
        self.depth += 1;
        true
    }

    /// Leaves the poll whose return leaves the stack pointer at `stack_pointer`: where it was at its entry, plus the
    /// return address. Its place in `frames`; `None` when its entry was not seen.
    #[must_use]
    #[inline(always)]
    pub fn leave(&mut self, stack_pointer: u64) -> Option<usize> {
        let mut found = None;
        for _ in 0..DEPTH {
            let index = core::hint::black_box(self.depth.wrapping_sub(1) as usize);
            if index < DEPTH && self.frames[index].stack_pointer < stack_pointer {
                let is_it = self.frames[index].stack_pointer.wrapping_add(8) == stack_pointer;
                found = if is_it { Some(index) } else { None };
                self.depth -= 1;
            }
        }
        found
    }

    /// The thread leaves its CPU for the first time, or again, for this state: these are its times before. True when it
    /// parks: it goes to sleep at a futex or in epoll while it is in no poll that began at `since` or later. A worker's
    /// own loop, and a closure that blocks on a future, may go on around that.
    #[inline(always)]
    pub fn leave_cpu(&mut self, times: &ThreadTimes, state: State, since: Nanos) -> bool {
        let mut is_polling = false;
        for (index, frame) in self.frames.iter_mut().enumerate() {
            if index as u64 >= self.depth {
                continue;
            }
            let is_loop = frame.is_blocking != 0 && frame.has_polled != 0;
            is_polling |= !is_loop && frame.since.0 >= since.0;
            if frame.has_left == 0 {
                frame.has_left = 1;
                frame.off_before = off_parts(times);
            }
        }
        !is_polling && (state == State::FUTEX || state == State::EPOLL)
    }
}

const _: () = assert!(size_of::<TaskRow>() == 48);
const _: () = assert!(size_of::<Frame>() == 88);
const _: () = assert!(size_of::<Running>() == 8 + DEPTH * 88);

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(stack_pointer: u64, at: u64) -> Frame {
        Frame {
            stack_pointer,
            since: Nanos(at),
            ..Frame::default()
        }
    }

    #[test]
    fn a_cookie_says_where_things_are() {
        let cookie = Cookie::new(16, 40, 5, true);
        let words = [0x84, 1, 0x5555, 3, 4, 17, 6, 7];
        assert_eq!(
            Header::of(&words, cookie),
            Header {
                state: 0x84,
                vtable: 0x5555,
                id: 17
            }
        );
        assert_eq!((cookie.header_register(), cookie.is_blocking()), (5, true));
        assert_eq!(Header::of(&words, Cookie::new(32, 0, 3, false)).id, 0);
    }

    #[test]
    fn polls_inside_each_other_end_in_turn() {
        let mut running = Running::default();
        assert!(running.enter(&poll(0x9000, 1), Nanos(0)));
        assert!(running.enter(&poll(0x8000, 2), Nanos(0)));
        assert_eq!(running.leave(0x8008), Some(1));
        assert_eq!(running.leave(0x8008), None, "its entry was not seen");
        assert_eq!(running.leave(0x9008), Some(0));
        assert_eq!((running.depth, running.leave(0x9008)), (0, None));
    }

    #[test]
    fn a_poll_that_was_not_seen_to_end_is_not_around_the_next() {
        let mut running = Running::default();
        assert!(running.enter(&poll(0x9000, 1), Nanos(0)));
        assert!(running.enter(&poll(0x8000, 2), Nanos(0)));
        assert!(running.enter(&poll(0x8000, 3), Nanos(0)));
        assert_eq!(running.depth, 2, "the second took the place of the first");
        assert!(running.enter(&poll(0x7000, 9), Nanos(5)));
        assert_eq!(running.depth, 1, "what began before the probes is over");
        assert_eq!(running.leave(0x9008), None);
    }

    #[test]
    fn more_polls_than_are_followed_are_refused() {
        let mut running = Running::default();
        for level in 0..DEPTH as u64 {
            assert!(running.enter(&poll(0x9000 - level * 0x100, level), Nanos(0)));
        }
        assert!(!running.enter(&poll(0x100, 9), Nanos(0)));
        assert_eq!(running.depth, DEPTH as u64);
    }

    #[test]
    fn times_are_noted_when_the_thread_first_leaves_its_cpu() {
        let mut running = Running::default();
        assert!(running.enter(&poll(0x9000, 1), Nanos(0)));
        let mut times = ThreadTimes::default();
        times.in_state[State::FUTEX.0 as usize] = 7;
        assert!(!running.leave_cpu(&times, State::FUTEX, Nanos(0)));
        times.in_state[State::FUTEX.0 as usize] = 99;
        assert!(!running.leave_cpu(&times, State::FUTEX, Nanos(0)));
        assert_eq!(running.frames[0].off_before, [0, 7, 0, 0, 0]);
        assert_eq!(running.frames[1].has_left, 0);
    }

    #[test]
    fn a_thread_parks_outside_of_its_polls() {
        let mut running = Running::default();
        let parks = |running: &mut Running, state, since| {
            running.leave_cpu(&ThreadTimes::default(), state, Nanos(since))
        };
        assert!(parks(&mut running, State::EPOLL, 1));
        assert!(parks(&mut running, State::FUTEX, 1));
        assert!(!parks(&mut running, State::PREEMPTED, 1));
        assert!(!parks(&mut running, State::PAGE_FAULT, 1));
        let closure = Frame {
            is_blocking: 1,
            ..poll(0x9000, 2)
        };
        assert!(running.enter(&closure, Nanos(1)));
        assert!(!parks(&mut running, State::FUTEX, 1), "in a closure");
        assert!(running.enter(&poll(0x8000, 3), Nanos(1)));
        assert!(!parks(&mut running, State::FUTEX, 1), "in a poll");
        assert!(running.leave(0x8008).is_some());
        assert!(parks(&mut running, State::FUTEX, 1), "it is a loop");
        assert!(running.leave(0x9008).is_some());
        assert!(running.enter(&poll(0x9000, 4), Nanos(1)));
        let later = parks(&mut running, State::FUTEX, 5);
        assert!(later, "its end was not seen");
    }

    #[test]
    fn time_off_the_cpu_belongs_to_one_part() {
        for state in 0..=State::DEAD.0 {
            let mut times = ThreadTimes::default();
            times.in_state[usize::from(state)] = 7;
            let mut parts = [0; OFF_PARTS];
            if let Some(part) = off_part(State(state)) {
                parts[part] = 7;
            }
            assert_eq!(off_parts(&times), parts, "{state}");
        }
    }

    #[test]
    fn a_word_that_no_header_has_is_told() {
        assert!(state::is_plausible(0x84));
        assert!(!state::is_plausible(0));
        assert!(!state::is_plausible(0x7f12_3456_789a_bcd0));
    }
}
