//! The single list of events that cross the kernel boundary, with their fixed-size payloads.
//!
//! One line in [`events!`] gives an event its number, its payload and its place in [`Event`]. A longer payload
//! than this version knows is the same event; a shorter one (of an older writer) reads as zero at its end; an
//! unknown number is skipped and counted. Numbers are retired, never reused. There are no references and no
//! strings in events but one: a thread's name at its exit, because afterwards nobody can ask for it. Call stacks
//! follow a payload on the wire as a [`crate::stack::StackTail`], and are numbers from there on.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    callback::CallbackKind,
    id::{Nanos, Pid, Tid},
    stack::StackId,
    syscall::SyscallNr,
    task::OFF_PARTS,
    thread::{State, ThreadTimes},
};

/// The number of an event. A newtype, so that an unknown number is a value and not undefined behaviour.
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
pub struct EventKind(pub u16);

/// What every event begins with.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct EventHeader {
    /// When it happened.
    pub at: Nanos,
    /// The process in whose context it happened.
    pub pid: Pid,
    /// The thread in whose context it happened.
    pub tid: Tid,
    /// The CPU it happened on.
    pub cpu: u32,
    /// Which event it is.
    pub kind: EventKind,
    /// Size of the payload that follows, in bytes.
    pub len: u16,
}

/// A payload that knows its event's number.
pub trait Payload: FromBytes + IntoBytes + Immutable + KnownLayout + Copy {
    /// The number of the event.
    const KIND: EventKind;
}

macro_rules! events {
    ($($number:literal $name:ident $doc:literal)*) => {
        $(impl Payload for $name { const KIND: EventKind = EventKind($number); })*

        /// Every event this version knows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Event { $(#[doc = $doc] $name($name)),* }

        impl Event {
            /// Reads the payload of an event, or `None` when its number is unknown.
            #[must_use]
            pub fn decode(kind: EventKind, payload: &[u8]) -> Option<Self> {
                match kind {
                    $(<$name as Payload>::KIND => Some(Self::$name(extend(payload))),)*
                    _ => None,
                }
            }

            /// The event's number.
            #[must_use]
            pub fn kind(&self) -> EventKind {
                match self { $(Self::$name(_) => <$name as Payload>::KIND),* }
            }

            /// The event's payload as it crosses the kernel boundary.
            #[must_use]
            pub fn payload(&self) -> &[u8] {
                match self { $(Self::$name(payload) => payload.as_bytes()),* }
            }

            /// Numbers and names of all events, in the order of the list.
            pub const NAMES: &'static [(EventKind, &'static str)] =
                &[$((<$name as Payload>::KIND, stringify!($name))),*];
        }
    };
}

events! {
    1 ThreadStart "A thread, or the first thread of a process, was created."
    2 ThreadExit "A thread is gone, with its final times."
    3 ProcessExit "The last thread of a process began to exit."
    4 Exec "A process runs another program now."
    5 LongWait "A thread waited for longer than the threshold, and was woken."
    6 CpuSample "A thread was found running."
    7 Mapped "Memory was mapped; one of several that stands for so many bytes."
    8 Unmapped "Memory of which a `Mapped` told was unmapped."
    9 Call "A system call returned. Only when each call is asked for."
    10 LongPoll "A poll took longer than the threshold."
    11 LongIteration "A turn of an event loop took longer than the threshold."
    12 LongCallback "A callback of Node took longer than the threshold."
}

/// A thread was created. The header names the creating thread.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ThreadStart {
    /// Its process: the header's, or a new one (fork).
    pub pid: Pid,
    /// The new thread.
    pub tid: Tid,
}

/// A thread is gone.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ThreadExit {
    /// When it was first accounted.
    pub first: Nanos,
    /// Its final times.
    pub times: ThreadTimes,
    /// Its name (`comm`), padded with zeros.
    pub name: [u8; 16],
    /// The longest it was ready and did not get a CPU.
    pub ready_max: Nanos,
}

/// The last thread of a process began to exit.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ProcessExit {
    /// As `wait` reports it: exit status in bits 8–15, signal in bits 0–6.
    pub code: u32,
    /// Zero.
    pub reserved: u32,
}

/// A process runs another program now.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Exec {
    /// The thread that called exec; it goes on under the process's own number.
    pub old_tid: Tid,
    /// Zero.
    pub reserved: u32,
}

/// A thread waited for longer than the threshold. The header names the waker: the current thread when it was woken.
/// Two stacks follow on the wire: where the waiter and where the waker had called from.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct LongWait {
    /// When the waiting thread was first accounted.
    pub first: Nanos,
    /// When it left its CPU.
    pub since: Nanos,
    /// What it waited on: the address of a futex, a descriptor; 0 when not known.
    pub on: u64,
    /// The thread that waited.
    pub tid: Tid,
    /// Its process.
    pub pid: Pid,
    /// Where it had called from; [`StackId::NONE`] on the wire.
    pub stack: StackId,
    /// Where the waker had called from; [`StackId::NONE`] on the wire.
    pub waker_stack: StackId,
    /// 1 when the current thread woke it in a system call of its own; 0: a timer, a signal, a device.
    pub by_current: u32,
    /// How it waited.
    pub state: State,
    /// Zero.
    pub reserved: [u8; 3],
}

/// A thread was found running. Two stacks follow on the wire: user and kernel.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct CpuSample {
    /// Its user stack; [`StackId::NONE`] on the wire.
    pub stack: StackId,
    /// Its kernel stack; [`StackId::NONE`] on the wire, and while it runs its own code.
    pub kernel_stack: StackId,
    /// CPU time it stands for, in nanoseconds.
    pub period: u64,
    /// Type of the task it was polling (address of the vtable); 0 for none, or when that is not known.
    pub vtable: u64,
    /// The task's id; 0 when there is none.
    pub task: u64,
    /// When that poll began; 0 when that was not seen.
    pub poll: Nanos,
    /// The kind of Node's callback it was in, plus 1; 0 for none, or when that is not known.
    pub callback: u32,
    /// Zero.
    pub reserved: u32,
}

/// Memory was mapped. One user stack follows on the wire.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Mapped {
    /// Where.
    pub address: u64,
    /// How much, in bytes.
    pub bytes: u64,
    /// Bytes of memory calls it stands for: those since the one before on this thread.
    pub weight: u64,
    /// Where it was called from; [`StackId::NONE`] on the wire.
    pub stack: StackId,
    /// Which call: [`crate::table::MemoryCall`].
    pub what: u32,
}

/// Memory of which a [`Mapped`] told was unmapped.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Unmapped {
    /// Where it began.
    pub address: u64,
    /// How much, in bytes.
    pub bytes: u64,
}

/// A system call returned.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Call {
    /// Time inside in nanoseconds; `u64::MAX` when its entry was not seen.
    pub duration: u64,
    /// What it returned.
    pub result: i64,
    /// Which.
    pub nr: SyscallNr,
    /// Zero.
    pub reserved: u32,
}

/// A poll took longer than the threshold. The header's time is its end, the header's thread polled.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct LongPoll {
    /// When it began.
    pub since: Nanos,
    /// Address of the task's header.
    pub header: u64,
    /// Its type: the address of its vtable.
    pub vtable: u64,
    /// Its id; 0 when it has none.
    pub task: u64,
    /// Time off the CPU in nanoseconds: ready, futex, I/O, page fault, other ([`crate::task::off_parts`]).
    pub off: [u64; OFF_PARTS],
}

/// A turn of an event loop took longer than the threshold. The header's time is its end: the entry of the wait that
/// followed. The header's thread is the loop's.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct LongIteration {
    /// When it began: the wait before returned.
    pub since: Nanos,
    /// Time off the CPU in nanoseconds: ready, futex, I/O, page fault, other ([`crate::task::off_parts`]).
    pub off: [u64; OFF_PARTS],
}

/// A callback of Node took longer than the threshold, in its function or in what ran because of it. The header's time is
/// its end, the header's thread ran it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct LongCallback {
    /// When it began.
    pub since: Nanos,
    /// Time in its function in nanoseconds, without callbacks inside of it.
    pub busy: u64,
    /// Time in `process.nextTick` and microtasks afterwards in nanoseconds, without callbacks inside.
    pub ticks: u64,
    /// Its `async_id`: the bits of a floating point number, as Node has it.
    pub async_id: u64,
    /// That of what caused it.
    pub trigger_async_id: u64,
    /// Which kind it is.
    pub kind: CallbackKind,
    /// Zero.
    pub reserved: u32,
}

const _: () = assert!(size_of::<LongCallback>() == 48);
const _: () = assert!(size_of::<LongIteration>() == 48);
const _: () = assert!(size_of::<LongPoll>() == 72);
const _: () = assert!(size_of::<EventHeader>() == 24);
const _: () = assert!(size_of::<LongWait>() == 48);
const _: () = assert!(size_of::<CpuSample>() == 48);
const _: () = assert!(size_of::<Mapped>() == 32);
const _: () = assert!(size_of::<Unmapped>() == 16);
const _: () = assert!(size_of::<Call>() == 24);
const _: () = assert!(size_of::<ThreadStart>() == 8);
const _: () = assert!(size_of::<ThreadExit>() == 184);
const _: () = assert!(size_of::<ProcessExit>() == 8);
const _: () = assert!(size_of::<Exec>() == 8);

/// Reads a `T` from bytes that may be longer (newer writer) or shorter (older writer) than it.
fn extend<T: FromBytes + IntoBytes>(bytes: &[u8]) -> T {
    let mut value = T::new_zeroed();
    let known = bytes.len().min(size_of::<T>());
    if let (Some(to), Some(from)) = (value.as_mut_bytes().get_mut(..known), bytes.get(..known)) {
        to.copy_from_slice(from);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_survives_the_wire_whatever_its_length() {
        let start = ThreadStart {
            pid: Pid(7),
            tid: Tid(9),
        };
        let mut wire = [0u8; 12];
        wire[..8].copy_from_slice(start.as_bytes());
        assert_eq!(
            Event::decode(EventKind(1), &wire[..8]),
            Some(Event::ThreadStart(start))
        );
        assert_eq!(
            Event::decode(EventKind(1), &wire),
            Some(Event::ThreadStart(start)),
            "a newer writer"
        );
        assert_eq!(
            Event::decode(EventKind(1), &wire[..4]),
            Some(Event::ThreadStart(ThreadStart {
                pid: Pid(7),
                tid: Tid(0)
            })),
            "an older writer"
        );
    }

    #[test]
    fn an_unknown_number_is_no_event() {
        assert_eq!(Event::decode(EventKind(65535), &[]), None);
    }

    #[test]
    fn numbers_are_unique() {
        for (index, (kind, _)) in Event::NAMES.iter().enumerate() {
            assert!(
                Event::NAMES
                    .iter()
                    .skip(index + 1)
                    .all(|(other, _)| other != kind)
            );
        }
    }
}
