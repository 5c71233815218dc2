//! Callbacks of Node.js as probes at its scopes see them: what a thread is in now.
//!
//! Node calls into JavaScript through a scope (`node::InternalCallbackScope`): it is opened, a function is called, and
//! when it is closed `process.nextTick` and microtasks run. Scopes may be inside each other. All of it is pure, so that the
//! kernel side and the tests run the same lines.
//! <https://github.com/nodejs/node/blob/v20.20.0/src/api/callback.cc>

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    id::{Nanos, Pid},
    table::plain,
};

plain! {
    /// A kind of callback: the number Node has for the kind of resource (`AsyncWrap::ProviderType`), or one of those below.
    CallbackKind {
        /// The number.
        number: u32,
    }
}

impl CallbackKind {
    /// From here on the numbers are ours.
    pub const OURS: u32 = 0x1000;
    /// A run of the timers that were due.
    pub const TIMERS: Self = Self { number: 0x1000 };
    /// A run of the functions that were given to `setImmediate`.
    pub const IMMEDIATES: Self = Self { number: 0x1001 };
    /// Of no resource: what Node or an addon calls by itself.
    pub const NONE: Self = Self { number: 0x1002 };
    /// A run of V8's microtask queue. It happens in the ticks of others, or in none.
    pub const MICROTASKS: Self = Self { number: 0x1003 };
}

plain! {
    /// A kind of callback in a process, and which time of it.
    CallbackKey {
        /// The process.
        pid: Pid,
        /// Which kind.
        kind: CallbackKind,
        /// Which time.
        what: CallbackTime,
        /// Zero.
        reserved: u32,
    }
}

plain! {
    /// A time in a callback, without that of callbacks inside of it.
    CallbackTime {
        /// The number.
        number: u32,
    }
}

impl CallbackTime {
    /// From its beginning to the end of the function that was called.
    pub const BUSY: Self = Self { number: 1 };
    /// What ran because of it afterwards: `process.nextTick` and microtasks.
    pub const TICKS: Self = Self { number: 2 };
}

plain! {
    /// What happens to promises in a process.
    PromiseKey {
        /// The process.
        pid: Pid,
        /// What.
        what: PromiseStep,
    }
}

plain! {
    /// Something that happens to a promise.
    PromiseStep {
        /// The number.
        number: u32,
    }
}

impl PromiseStep {
    /// An `await` began.
    pub const AWAIT: Self = Self { number: 1 };
    /// One goes on with a value.
    pub const RESUMED: Self = Self { number: 2 };
    /// One goes on with an error.
    pub const THROWN: Self = Self { number: 3 };
    /// A promise got its value.
    pub const FULFILLED: Self = Self { number: 4 };
    /// A promise got its error.
    pub const REJECTED: Self = Self { number: 5 };
    /// Somebody waits for a promise, by `then` or `await`.
    pub const THEN: Self = Self { number: 6 };
}

plain! {
    /// How often.
    PromiseRow {
        /// Times.
        count: u64,
    }
}

/// The resource whose callback is about to be made.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Resource {
    /// Its `async_id`, as Node has it: the bits of a floating point number. 0 where there is none.
    pub id: u64,
    /// Of which kind it is.
    pub kind: CallbackKind,
    /// 1 when there is one.
    pub is_set: u32,
}

/// A callback that goes on.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Frame {
    /// Address of the scope.
    pub scope: u64,
    /// The stack pointer at its opening.
    pub stack_pointer: u64,
    /// When it was opened.
    pub since: Nanos,
    /// When closing it began; 0 before.
    pub closing: Nanos,
    /// The stack pointer then.
    pub closing_stack: u64,
    /// Time in callbacks inside of it, in nanoseconds: before closing it began, afterwards those since.
    pub inside: u64,
    /// Time in its function, without those inside, in nanoseconds; set when closing it begins.
    pub busy: u64,
    /// Whose callback it seems to be, until closing it begins; afterwards, whose it is.
    pub resource: Resource,
    /// The `async_id` of what caused it; set when closing it begins.
    pub trigger: u64,
}

/// A callback that has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// When it began.
    pub since: Nanos,
    /// Time in its function, in nanoseconds.
    pub busy: u64,
    /// Time in `process.nextTick` and microtasks, in nanoseconds.
    pub ticks: u64,
    /// Whose it was.
    pub resource: Resource,
    /// The `async_id` of what caused it.
    pub trigger: u64,
}

/// Callbacks inside each other that are followed: a stream's reads a request, the parser's emits it, its handler ends
/// another.
pub const DEPTH: usize = 6;

/// The callbacks a thread is in, the outermost first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Scopes {
    /// How many.
    pub depth: u64,
    /// Whose callback the next one seems to be.
    pub next: Resource,
    /// They; those beyond the depth are old.
    pub frames: [Frame; DEPTH],
}

impl Scopes {
    /// The innermost callback.
    #[must_use]
    #[inline(always)]
    pub fn top(&self) -> Option<&Frame> {
        // Compared at run time, so that the verifier sees the bound (as in `task::Running`).
        let index = core::hint::black_box(self.depth.wrapping_sub(1) as usize);
        if index < DEPTH {
            Some(&self.frames[index])
        } else {
            None
        }
    }

    /// Opens a scope. Those that are over without having been seen to close are taken off first: they were opened before
    /// `watched`, or deeper in the stack, or where this one is. Of the latter it is remembered whose it was: where one
    /// function that opens a scope calls another, this is the second time. False when there was no room: then only this
    /// one is left.
    #[must_use]
    #[inline(always)]
    pub fn open(&mut self, scope: u64, stack_pointer: u64, at: Nanos, watched: Nanos) -> bool {
        for _ in 0..DEPTH {
            let mut same = self.next;
            let over = match self.top() {
                Some(top) => {
                    if top.scope == scope && self.next.is_set == 0 {
                        same = top.resource;
                    }
                    // Scopes of addons that open and close them by two calls are not in the stack.
                    let is_deeper = top.stack_pointer <= stack_pointer && is_in_stack(top);
                    is_deeper || top.since.0 < watched.0 || top.scope == scope
                }
                None => false,
            };
            if over {
                self.depth -= 1;
                self.next = same;
            }
        }
        let mut index = core::hint::black_box(self.depth as usize);
        let has_room = index < DEPTH;
        if !has_room {
            self.depth = 0;
            index = 0;
        }
        let frame = &mut self.frames[index];
        frame.scope = scope;
        frame.stack_pointer = stack_pointer;
        frame.since = at;
        frame.closing = Nanos(0);
        frame.closing_stack = 0;
        frame.inside = 0;
        frame.busy = 0;
        frame.resource = self.next;
        frame.trigger = 0;
        self.next.is_set = 0;
        self.depth += 1;
        has_room
    }

    /// Closing a scope begins, which says that its callback has these ids. Nothing when its opening was not seen, or when
    /// it is closed: Node tries twice.
    #[inline(always)]
    pub fn close(&mut self, scope: u64, stack_pointer: u64, at: Nanos, ids: [u64; 2]) {
        let mut found = DEPTH;
        for (index, frame) in self.frames.iter().enumerate() {
            let is_open = (index as u64) < self.depth && frame.closing.0 == 0;
            if is_open && frame.scope == scope {
                found = index;
            }
        }
        let index = core::hint::black_box(found);
        if index >= DEPTH {
            return;
        }
        // Those inside of it are over.
        self.depth = index as u64 + 1;
        let frame = &mut self.frames[index];
        frame.closing = at;
        frame.closing_stack = stack_pointer;
        frame.busy =
            at.0.saturating_sub(frame.since.0)
                .saturating_sub(frame.inside);
        frame.inside = 0;
        let [id, trigger] = ids;
        if frame.resource.is_set == 0 || frame.resource.id != id {
            frame.resource.kind = CallbackKind::NONE;
        }
        frame.resource.id = id;
        frame.trigger = trigger;
    }

    /// A scope was closed by the call whose return leaves the stack pointer at `stack_pointer`: where it was at its entry,
    /// plus the return address. `None` for a call that had nothing to close.
    #[must_use]
    #[inline(always)]
    pub fn closed(&mut self, stack_pointer: u64, at: Nanos) -> Option<Ended> {
        let mut found = DEPTH;
        for (index, frame) in self.frames.iter().enumerate() {
            let is_closing = (index as u64) < self.depth && frame.closing.0 != 0;
            if is_closing && frame.closing_stack.wrapping_add(8) == stack_pointer {
                found = index;
            }
        }
        let index = core::hint::black_box(found);
        if index >= DEPTH {
            return None;
        }
        self.depth = index as u64;
        let frame = &self.frames[index];
        let ended = Ended {
            since: frame.since,
            busy: frame.busy,
            ticks: at
                .0
                .saturating_sub(frame.closing.0)
                .saturating_sub(frame.inside),
            resource: frame.resource,
            trigger: frame.trigger,
        };
        let whole = at.0.saturating_sub(frame.since.0);
        let around = core::hint::black_box(index.wrapping_sub(1));
        if around < DEPTH {
            self.frames[around].inside += whole;
        }
        Some(ended)
    }
}

/// Frames of functions are no larger than this.
const NEAR: u64 = 1 << 20;

#[inline(always)]
fn is_in_stack(frame: &Frame) -> bool {
    frame.scope.wrapping_sub(frame.stack_pointer) < NEAR
}

const _: () = assert!(size_of::<Frame>() == 80);
const _: () = assert!(size_of::<Scopes>() == 24 + DEPTH * 80);

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: CallbackKind = CallbackKind { number: 30 };

    /// Opens a scope 16 bytes above the stack pointer.
    fn open(scopes: &mut Scopes, stack_pointer: u64, at: u64) {
        assert!(scopes.open(stack_pointer + 16, stack_pointer, Nanos(at), Nanos(1)));
    }

    fn close(scopes: &mut Scopes, stack_pointer: u64, at: u64, id: u64) {
        let scope = stack_pointer + 16;
        scopes.close(scope, stack_pointer - 8, Nanos(at), [id, 3]);
    }

    fn of(id: u64) -> Resource {
        Resource {
            id,
            kind: TCP,
            is_set: 1,
        }
    }

    #[test]
    fn a_callback_has_a_function_and_ticks() {
        let mut scopes = Scopes {
            next: of(7),
            ..Scopes::default()
        };
        open(&mut scopes, 0x9000, 100);
        close(&mut scopes, 0x9000, 130, 7);
        let ended = scopes.closed(0x9000, Nanos(135));
        let expected = Ended {
            since: Nanos(100),
            busy: 30,
            ticks: 5,
            resource: of(7),
            trigger: 3,
        };
        assert_eq!(ended, Some(expected));
        close(&mut scopes, 0x9000, 136, 7);
        assert_eq!(scopes.closed(0x9000, Nanos(137)), None, "closed twice");
    }

    #[test]
    fn callbacks_inside_are_not_counted_twice() {
        let mut scopes = Scopes::default();
        open(&mut scopes, 0x9000, 100);
        scopes.next = of(7);
        open(&mut scopes, 0x8000, 110);
        close(&mut scopes, 0x8000, 120, 7);
        assert_eq!(scopes.closed(0x8000, Nanos(125)).unwrap().busy, 10);
        close(&mut scopes, 0x9000, 140, 0);
        // One more in the ticks of the outer one.
        open(&mut scopes, 0x8000, 141);
        close(&mut scopes, 0x8000, 145, 9);
        assert!(scopes.closed(0x8000, Nanos(146)).is_some());
        close(&mut scopes, 0x8000, 147, 9);
        assert_eq!(scopes.closed(0x8000, Nanos(148)), None);
        let outer = scopes.closed(0x9000, Nanos(150)).unwrap();
        assert_eq!((outer.busy, outer.ticks), (25, 5));
        assert_eq!(outer.resource.kind, CallbackKind::NONE);
        assert_eq!(scopes.depth, 0);
    }

    #[test]
    fn a_scope_that_two_functions_open_is_one() {
        let mut scopes = Scopes {
            next: of(7),
            ..Scopes::default()
        };
        assert!(scopes.open(0x9010, 0x9000, Nanos(100), Nanos(1)));
        assert!(scopes.open(0x9010, 0x8f00, Nanos(101), Nanos(1)));
        assert_eq!(scopes.depth, 1);
        scopes.close(0x9010, 0x8ff8, Nanos(130), [7, 3]);
        let ended = scopes.closed(0x9000, Nanos(135)).unwrap();
        assert_eq!((ended.resource, ended.busy), (of(7), 29));
    }

    #[test]
    fn whose_callback_it_is_is_believed_only_with_its_id() {
        let mut scopes = Scopes {
            next: of(7),
            ..Scopes::default()
        };
        open(&mut scopes, 0x9000, 100);
        close(&mut scopes, 0x9000, 130, 8);
        let ended = scopes.closed(0x9000, Nanos(135)).unwrap();
        assert_eq!(
            (ended.resource.kind, ended.resource.id),
            (CallbackKind::NONE, 8)
        );
        open(&mut scopes, 0x9000, 140);
        close(&mut scopes, 0x9000, 150, 7);
        let ended = scopes.closed(0x9000, Nanos(151)).unwrap();
        assert_eq!(
            ended.resource.kind,
            CallbackKind::NONE,
            "it was of the one before"
        );
    }

    #[test]
    fn scopes_that_were_not_seen_to_close_are_over() {
        let mut scopes = Scopes::default();
        open(&mut scopes, 0x9000, 100);
        open(&mut scopes, 0x8000, 110);
        open(&mut scopes, 0x8800, 120);
        assert_eq!(scopes.depth, 2, "it was deeper in the stack");
        assert!(scopes.open(0x7010, 0x7000, Nanos(200), Nanos(150)));
        assert_eq!(scopes.depth, 1, "what was opened before the probes is over");
        assert_eq!(scopes.closed(0x9000, Nanos(210)), None);
    }

    #[test]
    fn scopes_of_addons_are_not_in_the_stack() {
        let mut scopes = Scopes::default();
        let heap = 0x5555_0000;
        assert!(scopes.open(heap, 0x9000, Nanos(100), Nanos(1)));
        open(&mut scopes, 0x9800, 110);
        close(&mut scopes, 0x9800, 112, 4);
        assert!(scopes.closed(0x9800, Nanos(113)).is_some());
        scopes.close(heap, 0x8f00, Nanos(120), [0, 0]);
        let ended = scopes.closed(0x8f08, Nanos(121)).unwrap();
        assert_eq!((ended.busy, ended.ticks), (17, 1));
    }

    #[test]
    fn more_scopes_than_are_followed_begin_again() {
        let mut scopes = Scopes::default();
        for level in 0..DEPTH as u64 {
            open(&mut scopes, 0x9000 - level * 0x100, 100 + level);
        }
        assert!(!scopes.open(0x1010, 0x1000, Nanos(200), Nanos(1)));
        assert_eq!((scopes.depth, scopes.frames[0].scope), (1, 0x1010));
    }
}
