//! A thread's time, split without remainder: in every moment a thread is in exactly one [`State`], and each
//! scheduler [`Edge`] closes one interval and opens the next.
//!
//! The same functions run in the kernel and in tests. The sum over all states equals the time since the
//! thread was first accounted, always; the agent uses that to notice a torn copy.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    event_loop::Looping,
    id::{Nanos, Pid, Tid},
    syscall::SyscallNr,
    table::LockKind,
};

/// What a thread is doing. A number on the wire; unknown numbers are shown as [`State::OTHER`].
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(transparent)]
pub struct State(pub u8);

/// Number of states a row has room for.
pub const STATES: usize = 16;

impl State {
    /// Not known: the thread was met in the middle of it.
    pub const UNKNOWN: Self = Self(0);
    /// On a CPU.
    pub const ON_CPU: Self = Self(1);
    /// Woken or new, waiting for a CPU.
    pub const RUNNABLE: Self = Self(2);
    /// Taken off its CPU while it wanted to run on, waiting for a CPU.
    pub const PREEMPTED: Self = Self(3);
    /// Off-CPU in a futex wait.
    pub const FUTEX: Self = Self(4);
    /// Off-CPU in epoll, poll or select.
    pub const EPOLL: Self = Self(5);
    /// Off-CPU in a call that waits for storage.
    pub const DISK: Self = Self(6);
    /// Off-CPU in a socket call.
    pub const NETWORK: Self = Self(7);
    /// Off-CPU, uninterruptible, outside any system call: a page fault.
    pub const PAGE_FAULT: Self = Self(8);
    /// Off-CPU in nanosleep.
    pub const SLEEP: Self = Self(9);
    /// Ready, but the cgroup's CPU quota is used up.
    pub const THROTTLED: Self = Self(10);
    /// Off-CPU for any other reason.
    pub const OTHER: Self = Self(11);
    /// Gone. Takes no time.
    pub const DEAD: Self = Self(12);

    /// Not a state but a question: what a thread waits for in this call depends on what its descriptor is.
    pub const BY_FILE: Self = Self(15);

    /// The state of a thread that blocks on a file of this mode (`inode.i_mode`, `stat.st_mode`).
    /// <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/stat.h#L9>
    #[must_use]
    #[inline(always)]
    pub fn of_file(mode: u32) -> Self {
        const S_IFMT: u32 = 0o170_000;
        const S_IFSOCK: u32 = 0o140_000;
        const S_IFREG: u32 = 0o100_000;
        const S_IFBLK: u32 = 0o060_000;
        const S_IFDIR: u32 = 0o040_000;
        let kind = mode & S_IFMT;
        if kind == S_IFSOCK {
            Self::NETWORK
        } else if kind == S_IFREG || kind == S_IFBLK || kind == S_IFDIR {
            Self::DISK
        } else {
            Self::OTHER
        }
    }

    /// True for the states of a thread that is blocked: only these end with a wake-up.
    #[must_use]
    #[inline(always)]
    pub fn is_blocked(self) -> bool {
        self.0 >= Self::FUTEX.0 && self.0 < Self::DEAD.0 && self.0 != Self::THROTTLED.0
    }

    /// True for the states of a thread that only waits to get a CPU.
    #[must_use]
    #[inline(always)]
    pub fn is_ready(self) -> bool {
        self.0 == Self::RUNNABLE.0 || self.0 == Self::PREEMPTED.0 || self.0 == Self::THROTTLED.0
    }
}

/// Something the scheduler did to a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// It got a CPU.
    SwitchIn,
    /// It lost its CPU and is now in this state.
    SwitchOut(State),
    /// It became runnable, or it would be if its quota were not used up: then it is [`State::THROTTLED`].
    Wakeup(State),
}

/// Time by state, and how often the thread left its CPU. Cumulative since the thread was first accounted.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ThreadTimes {
    /// Nanoseconds by [`State`].
    pub in_state: [u64; STATES],
    /// Times it left its CPU to wait (voluntary context switches).
    pub voluntary: u64,
    /// Times it was taken off its CPU (involuntary context switches).
    pub involuntary: u64,
    /// Times it came back on another CPU.
    pub migrations: u64,
}

impl ThreadTimes {
    /// Nanoseconds in `state`.
    #[must_use]
    pub fn of(&self, state: State) -> Nanos {
        Nanos(self.in_state.get(state.0 as usize).copied().unwrap_or(0))
    }

    /// Nanoseconds over all states: the accounted wall time.
    #[must_use]
    pub fn total(&self) -> Nanos {
        Nanos(
            self.in_state
                .iter()
                .fold(0, |sum, &ns| sum.wrapping_add(ns)),
        )
    }
}

/// Bits of the packed word that hold the state; the rest is the time, good for 36 years of uptime.
const STATE_BITS: u32 = 4;

/// The kernel's row of one thread. Written by one CPU at a time (the scheduler's run-queue locks order the
/// edges of a thread; system calls happen on the thread itself).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ThreadRow {
    /// Start of the accounting: attach, or the thread's creation. With the tid its identity.
    pub first: Nanos,
    /// State and the time it began, in one word so that a reader never sees half of a change.
    state_since: u64,
    /// Closed intervals.
    pub times: ThreadTimes,
    /// The longest it was ready and did not get a CPU.
    pub ready_max: Nanos,
    /// When the system call the thread is in was entered; 0 when that was not seen.
    pub syscall_entered: Nanos,
    /// The system call the thread is in.
    pub syscall: SyscallNr,
    /// The thread's process.
    pub pid: Pid,
    /// CPU the thread last ran on plus one; 0 when that was not seen.
    pub cpu: u32,
    /// Who is waking it; 0 when no thread in a system call of its own does. Set before the wake-up edge.
    pub waker: Tid,
    /// What it waits on while it is blocked: the address of a futex, an epoll descriptor; 0 when not known.
    pub waiting_on: u64,
    /// What kind of futex it waits on.
    pub lock_kind: LockKind,
    /// What was kept of the stack of the wait that goes on: [`crate::stack::kept`].
    pub has_stack: u16,
    /// The lower bits of what it waited on when it last waited for events and was not found to be inside of JavaScript: to
    /// wait there again is to be idle. Not more of them: some programs of the kernel side have a row on their stack.
    pub idle_on: u16,
    /// From when on the stack of a wait may be taken again.
    pub stack_at: Nanos,
    /// When it was woken from the wait it returns from; 0 when the call did not block.
    pub woken_at: Nanos,
    /// Type of the task it ran when it left its CPU, as far as that is known without probes in the target; else 0.
    pub task_type: u64,
    /// Bytes asked for in memory calls since the last one whose stack was sent.
    pub unsent_bytes: u64,
    /// Its event loop, if it has one.
    pub looping: Looping,
}

impl ThreadRow {
    /// A row that starts at `first` in `state`.
    #[must_use]
    #[inline(always)]
    pub fn new(pid: Pid, first: Nanos, state: State, syscall: SyscallNr) -> Self {
        Self {
            first,
            state_since: pack(state, first),
            times: ThreadTimes {
                in_state: [0; STATES],
                voluntary: 0,
                involuntary: 0,
                migrations: 0,
            },
            ready_max: Nanos(0),
            syscall_entered: Nanos(0),
            syscall,
            pid,
            cpu: 0,
            waker: Tid(0),
            waiting_on: 0,
            lock_kind: LockKind::PRIVATE,
            has_stack: 0,
            idle_on: 0,
            stack_at: Nanos(0),
            woken_at: Nanos(0),
            task_type: 0,
            unsent_bytes: 0,
            looping: Looping {
                returned: Nanos(0),
                parked: Nanos(0),
                fd: 0,
                was_empty: 0,
                is_simple: 0,
                has_left: 0,
                reserved: 0,
            },
        }
    }

    /// The state the thread is in.
    #[must_use]
    #[inline(always)]
    pub fn state(&self) -> State {
        State((self.state_since & ((1 << STATE_BITS) - 1)) as u8)
    }

    /// When that state began.
    #[must_use]
    #[inline(always)]
    pub fn since(&self) -> Nanos {
        Nanos(self.state_since >> STATE_BITS)
    }

    /// Applies `edge` at time `at`. False when `at` lies before the state began (clock skew between CPUs):
    /// then the state changes and no time is charged.
    #[inline(always)]
    pub fn apply(&mut self, edge: Edge, at: Nanos) -> bool {
        let held = self.state();
        let (charged, next) = match edge {
            Edge::Wakeup(next) => {
                // A thread that is on a CPU or runnable already is not woken: try_to_wake_up() reports it
                // all the same when the thread was only about to sleep.
                if !held.is_blocked() && held != State::UNKNOWN {
                    return true;
                }
                (held, next)
            }
            // Each edge proves what a thread met in the middle had been doing since: one that gets a CPU
            // without having been woken was waiting for it, one that leaves its CPU was on it.
            Edge::SwitchIn if held == State::UNKNOWN => (State::RUNNABLE, State::ON_CPU),
            Edge::SwitchIn => (held, State::ON_CPU),
            Edge::SwitchOut(next) => {
                if next == State::PREEMPTED || next == State::THROTTLED {
                    self.times.involuntary += 1;
                } else {
                    self.times.voluntary += 1;
                }
                (
                    if held == State::UNKNOWN {
                        State::ON_CPU
                    } else {
                        held
                    },
                    next,
                )
            }
        };
        let in_order = at.0 >= self.since().0;
        let now = if in_order { at } else { self.since() };
        let elapsed = now.0 - self.since().0;
        if let Some(time) = self
            .times
            .in_state
            .get_mut((charged.0 as usize) & (STATES - 1))
        {
            *time += elapsed;
        }
        if charged.is_ready() && elapsed > self.ready_max.0 {
            self.ready_max = Nanos(elapsed);
        }
        self.state_since = pack(next, now);
        in_order
    }

    /// The times including the interval that is open at `now`.
    #[must_use]
    pub fn times_at(&self, now: Nanos) -> ThreadTimes {
        let mut times = self.times;
        if self.state() != State::DEAD
            && let Some(open) = now.since(self.since())
            && let Some(time) = times.in_state.get_mut(self.state().0 as usize)
        {
            *time = time.wrapping_add(open.0);
        }
        times
    }

    /// True when the closed intervals add up to the time from `first` to `since`; otherwise the copy was torn.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        self.first.plus(self.times.total()) == self.since()
    }
}

#[inline(always)]
fn pack(state: State, since: Nanos) -> u64 {
    (since.0 << STATE_BITS) | state.0 as u64
}

/// A traced process.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Target {
    /// Since when it is traced.
    pub since: Nanos,
    /// 1 when its future children are traced too.
    pub follow_children: u32,
    /// 1 when long turns of its threads' event loops are events: unless it is known that it has none.
    pub has_loops: u32,
}

const _: () = assert!(size_of::<ThreadTimes>() == 152);
const _: () = assert!(size_of::<ThreadRow>() == 272);
const _: () = assert!(size_of::<Target>() == 16);

#[cfg(test)]
mod tests {
    use super::*;

    fn row(state: State) -> ThreadRow {
        ThreadRow::new(Pid(1), Nanos(100), state, SyscallNr::NONE)
    }

    #[test]
    fn a_wait_is_split_into_blocked_and_runnable() {
        let mut row = row(State::ON_CPU);
        assert!(row.apply(Edge::SwitchOut(State::FUTEX), Nanos(110)));
        assert!(row.apply(Edge::Wakeup(State::RUNNABLE), Nanos(150)));
        assert!(row.apply(Edge::SwitchIn, Nanos(157)));
        let times = row.times_at(Nanos(160));
        assert_eq!(
            [State::ON_CPU, State::FUTEX, State::RUNNABLE].map(|state| times.of(state).0),
            [10 + 3, 40, 7]
        );
        assert_eq!((times.voluntary, times.involuntary), (1, 0));
    }

    #[test]
    fn the_first_edge_proves_what_a_thread_met_in_the_middle_was_doing() {
        for (edge, proved) in [
            (Edge::SwitchOut(State::EPOLL), State::ON_CPU),
            (Edge::SwitchIn, State::RUNNABLE),
            (Edge::Wakeup(State::RUNNABLE), State::UNKNOWN),
        ] {
            let mut row = row(State::UNKNOWN);
            row.apply(edge, Nanos(130));
            assert_eq!(row.times.of(proved), Nanos(30), "{edge:?}");
        }
    }

    #[test]
    fn a_wakeup_of_a_running_thread_changes_nothing() {
        for state in [State::ON_CPU, State::RUNNABLE, State::PREEMPTED] {
            let mut row = row(state);
            assert!(row.apply(Edge::Wakeup(State::RUNNABLE), Nanos(130)));
            assert_eq!((row.state(), row.since()), (state, Nanos(100)));
        }
    }

    #[test]
    fn what_a_read_waits_for_depends_on_the_file() {
        assert_eq!(State::of_file(0o140_777), State::NETWORK);
        assert_eq!(State::of_file(0o100_644), State::DISK);
        assert_eq!(State::of_file(0o010_600), State::OTHER, "a pipe");
        assert_eq!(State::of_file(0o020_620), State::OTHER, "a terminal");
    }

    #[test]
    fn clock_skew_charges_nothing_and_keeps_the_books_balanced() {
        let mut row = row(State::FUTEX);
        assert!(!row.apply(Edge::Wakeup(State::RUNNABLE), Nanos(90)));
        assert_eq!(
            (row.state(), row.times.total()),
            (State::RUNNABLE, Nanos(0))
        );
        assert!(row.is_consistent());
    }

    #[test]
    fn closed_intervals_always_add_up() {
        let mut row = row(State::UNKNOWN);
        let edges = [
            Edge::Wakeup(State::RUNNABLE),
            Edge::SwitchIn,
            Edge::SwitchOut(State::PREEMPTED),
            Edge::SwitchIn,
            Edge::SwitchOut(State::SLEEP),
            Edge::SwitchIn,
        ];
        for (step, edge) in edges.into_iter().enumerate() {
            row.apply(edge, Nanos(100 + 7 * (step as u64 + 1)));
            assert!(row.is_consistent());
            assert_eq!(row.times_at(Nanos(1000)).total(), Nanos(900));
        }
        row.times.in_state[State::ON_CPU.0 as usize] += 1;
        assert!(!row.is_consistent(), "a torn copy is noticed");
    }
}
