//! The newtypes that cross the kernel boundary: a number with a meaning and a unit.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Nanoseconds of the kernel's monotonic clock (`bpf_ktime_get_ns`, `CLOCK_MONOTONIC`), or a duration in it.
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
pub struct Nanos(pub u64);

impl Nanos {
    /// The time from `earlier` to `self`, or `None` when the clocks of two CPUs disagree about the order.
    #[must_use]
    pub fn since(self, earlier: Self) -> Option<Self> {
        self.0.checked_sub(earlier.0).map(Self)
    }

    /// The sum, stopping at the largest value: 584 years.
    #[must_use]
    pub fn plus(self, more: Self) -> Self {
        Self(self.0.saturating_add(more.0))
    }
}

/// A process: the kernel's thread-group id, in the initial PID namespace.
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
pub struct Pid(pub u32);

/// A thread: the kernel's task id, in the initial PID namespace. Reused by the kernel, so a thread is
/// identified by its `Tid` together with the time it was first accounted.
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
pub struct Tid(pub u32);
