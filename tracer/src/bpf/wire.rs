//! Lets the types of `tracer-common` be keys and values of maps. The one `unsafe` of the agent.

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Any plain wire type, as a key, a value or a global.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub(super) struct Wire<T>(pub(super) T);

#[expect(
    unsafe_code,
    reason = "aya::Pod is an unsafe trait; the proof stands below"
)]
// SAFETY: `FromBytes` means that every bit pattern is a valid `T`, `IntoBytes` that `T` has no padding;
// together that is what `aya::Pod` asks for, and `repr(transparent)` hands it on to `Wire<T>`.
unsafe impl<T: FromBytes + IntoBytes + Immutable + Copy + 'static> aya::Pod for Wire<T> {}
