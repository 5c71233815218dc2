//! System calls counted in the kernel: one row per thread and number.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    hist::{BUCKETS, unchecked_index},
    id::{Nanos, Tid},
};

/// Numbers below this have a class; the largest in use on x86-64 and arm64 is below 480 (Linux 6.18).
pub const SYSCALL_CLASS_COUNT: usize = 512;

/// A system call number of the kernel's own architecture, or one of the two special values below.
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
pub struct SyscallNr(pub u32);

impl SyscallNr {
    /// The thread is known to be outside any system call.
    pub const NONE: Self = Self(u32::MAX);
    /// The thread was met in the middle: it may be inside a call whose entry was not seen.
    pub const UNSEEN: Self = Self(u32::MAX - 1);
}

/// Which thread, which call.
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
#[repr(C)]
pub struct SyscallKey {
    /// When the thread was first accounted; with `tid` its identity.
    pub first: Nanos,
    /// The thread.
    pub tid: Tid,
    /// The call.
    pub nr: SyscallNr,
}

/// What happened in one call of one thread since it was first accounted. All counters only grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SyscallRow {
    /// Returns from the call.
    pub count: u64,
    /// Returns with an errno.
    pub errors: u64,
    /// Returns whose entry was seen too, so that they have a duration: those in `buckets`.
    pub timed: u64,
    /// Sum of the durations in nanoseconds.
    pub sum: Nanos,
    /// The longest duration in nanoseconds.
    pub max: Nanos,
    /// Durations by bucket of `hist`.
    pub buckets: [u32; BUCKETS],
}

impl SyscallRow {
    /// Nothing happened yet.
    pub const EMPTY: Self = Self {
        count: 0,
        errors: 0,
        timed: 0,
        sum: Nanos(0),
        max: Nanos(0),
        buckets: [0; BUCKETS],
    };

    /// Counts one return. `duration` is `None` when the entry was not seen; `result` is what the call returned.
    #[inline(always)]
    pub fn record(&mut self, duration: Option<Nanos>, result: i64) {
        self.count += 1;
        if is_errno(result) {
            self.errors += 1;
        }
        let Some(duration) = duration else { return };
        self.timed += 1;
        self.sum = Nanos(self.sum.0.wrapping_add(duration.0));
        if duration.0 > self.max.0 {
            self.max = duration;
        }
        if let Some(bucket) = self.buckets.get_mut(unchecked_index(duration.0)) {
            *bucket += 1;
        }
    }

    /// True when the buckets agree with the count of timed calls. The thread may write while the agent
    /// copies the row; a copy that fails this was torn and is read again.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        self.timed <= self.count
            && self.buckets.iter().map(|&n| u64::from(n)).sum::<u64>() == self.timed
    }
}

/// Linux returns −4095…−1 for an error (`include/linux/err.h`, `MAX_ERRNO`).
#[inline(always)]
fn is_errno(result: i64) -> bool {
    (-4095..0).contains(&result)
}

const _: () = assert!(size_of::<SyscallKey>() == 16);
const _: () = assert!(size_of::<SyscallRow>() == 40 + 4 * BUCKETS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_return_without_its_entry_is_counted_but_has_no_duration() {
        let mut row = SyscallRow::EMPTY;
        row.record(None, 3);
        row.record(Some(Nanos(1000)), -11);
        assert_eq!(
            (row.count, row.errors, row.timed, row.sum, row.max),
            (2, 1, 1, Nanos(1000), Nanos(1000))
        );
        assert!(row.is_consistent());
    }

    #[test]
    fn only_the_errno_range_is_an_error() {
        for (result, error) in [
            (0, false),
            (-1, true),
            (-4095, true),
            (-4096, false),
            (i64::MIN, false),
            (7, false),
        ] {
            assert_eq!(is_errno(result), error, "{result}");
        }
    }

    #[test]
    fn a_torn_copy_is_noticed() {
        let mut row = SyscallRow::EMPTY;
        row.record(Some(Nanos(5)), 0);
        row.buckets[5] = 0;
        assert!(!row.is_consistent());
    }
}
