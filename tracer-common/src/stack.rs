//! Call stacks: raw return addresses, innermost first.
//!
//! The kernel side sends them behind the payload of an event; the agent gives each different one a number, puts it
//! on record once, and writes the number into the event. Behind the stacks of a process with JavaScript in it follows
//! what the kernel side read at its inner end ([`JsTop`]) and of each frame ([`JsFrame`]) of the first one.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::id::Nanos;

/// The number the agent gave a stack; 0 is none.
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
pub struct StackId(pub u32);

impl StackId {
    /// There is none, or it could not be read.
    pub const NONE: Self = Self(0);
}

/// Frames of one stack that are kept; deeper ones are cut at the outer end.
pub const FRAMES: usize = 64;

/// What is kept of the stack of a thread that waits.
pub mod kept {
    /// Nothing.
    pub const NOTHING: u16 = 0;
    /// Addresses.
    pub const ADDRESSES: u16 = 1;
    /// The frames of JavaScript functions too.
    pub const JAVASCRIPT: u16 = 2;
}

/// Two stacks behind the payload of an event. What they are depends on the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StackTail {
    /// Bytes of `frames` that are filled, or an errno below 0.
    pub first_bytes: i64,
    /// The same of `second`.
    pub second_bytes: i64,
    /// The user stack the event is about.
    pub first: [u64; FRAMES],
    /// For a sample of a running thread its kernel stack, for a wait the user stack of the waker.
    pub second: [u64; FRAMES],
}

impl StackTail {
    /// The frames of the first stack.
    #[must_use]
    pub fn first(&self) -> &[u64] {
        filled(&self.first, self.first_bytes)
    }

    /// The frames of the second stack.
    #[must_use]
    pub fn second(&self) -> &[u64] {
        filled(&self.second, self.second_bytes)
    }
}

fn filled(frames: &[u64; FRAMES], bytes: i64) -> &[u64] {
    let count = usize::try_from(bytes).unwrap_or(0) / 8;
    frames.get(..count.min(FRAMES)).unwrap_or_default()
}

/// The user stack of a thread that waits, kept until the wait is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct WaitStack {
    /// Bytes of `frames` that are filled, or an errno below 0.
    pub bytes: i64,
    /// The frames.
    pub frames: [u64; FRAMES],
}

/// The user stack of a thread that waits inside of JavaScript, kept until the wait is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct JsWaitStack {
    /// Frames that are filled.
    pub count: u64,
    /// From when on the stack of a wait for events may be taken again.
    pub next: Nanos,
    /// The frames.
    pub addresses: [u64; FRAMES],
    /// What was read of each.
    pub frames: [JsFrame; FRAMES],
}

/// What the kernel side reads of a frame of a JavaScript function when it takes a stack: what the agent reads later may
/// have been moved by then. Words as V8 keeps them; all 0 for any other frame.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct JsFrame {
    /// Its function's `SharedFunctionInfo`.
    pub shared: u64,
    /// Its function's code, or where the table of code has it.
    pub code: u64,
    /// Its function's `FeedbackCell`.
    pub cell: u64,
    /// Where an interpreted frame has its bytecode.
    pub bytecode: u64,
    /// Where an interpreted frame has its place in the bytecode.
    pub offset: u64,
}

impl JsFrame {
    /// It is a frame of a JavaScript function.
    #[must_use]
    pub fn is_js(&self) -> bool {
        self.shared != 0
    }
}

/// What the kernel side reads at the inner end of a stack with frames of JavaScript functions: the interpreter keeps its
/// place in registers, and functions without a frame of their own leave no more than the address they return to.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct JsTop {
    /// The register in which the interpreter has the bytecode.
    pub bytecode: u64,
    /// The register in which it has its place in it, in bytes from the pointer on.
    pub offset: u64,
    /// The words last pushed.
    pub pushed: [u64; 2],
}

/// Where V8 keeps things in a process: what the kernel side needs to tell frames of JavaScript functions. Offsets in
/// bytes, from the object's start.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct JsLayout {
    /// The lowest instance type of functions.
    pub first_type: u32,
    /// The highest.
    pub last_type: u32,
    /// `Map.instance_type`
    pub map_type: u32,
    /// `JSFunction.shared_function_info`
    pub shared: u32,
    /// `JSFunction.code`, or `JSFunction.dispatch_handle`
    pub code: u32,
    /// `JSFunction.feedback_cell`
    pub cell: u32,
    /// Where an isolate has the frame with which JavaScript called what is none (`ThreadLocalTop.c_entry_fp_`); 0 when
    /// that is not known.
    pub exit: u32,
    /// 1: the number of a thread-local variable is at `isolate_slot` (`pthread_key_create`).
    pub is_key: u32,
    /// Where a thread has the address of the isolate it is in, from the thread pointer on.
    pub isolate: i64,
    /// The address in the process where it says so; 0: see `isolate`.
    pub isolate_slot: u64,
}

const _: () = assert!(size_of::<JsFrame>() == 40 && size_of::<JsTop>() == 32);
const _: () = assert!(size_of::<StackTail>() == 16 + 2 * 8 * FRAMES);
const _: () = assert!(size_of::<WaitStack>() == 8 + 8 * FRAMES);
const _: () = assert!(size_of::<JsWaitStack>() == 16 + 48 * FRAMES);
const _: () = assert!(size_of::<JsLayout>() == 48);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_filled_frames_are_shown() {
        let mut tail = StackTail {
            first_bytes: 16,
            second_bytes: -14,
            first: [7; FRAMES],
            second: [7; FRAMES],
        };
        assert_eq!((tail.first(), tail.second()), (&[7, 7][..], &[][..]));
        tail.first_bytes = 1 << 40;
        assert_eq!(tail.first().len(), FRAMES);
    }
}
