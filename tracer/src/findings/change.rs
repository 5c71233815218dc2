//! What changed between two snapshots.

use tracer_common::Nanos;

use crate::model::Distribution;

/// Values that were added to a distribution, and their sum. Extrapolated ones may have been more before: then none were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Added {
    pub(super) count: u64,
    pub(super) sum: Nanos,
}

impl Added {
    pub(super) fn between(then: Option<&Distribution>, now: &Distribution) -> Self {
        let then = then.copied().unwrap_or_default();
        Self {
            count: now.count.saturating_sub(then.count),
            sum: now.sum.since(then.sum).unwrap_or_default(),
        }
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self {
            count: self.count.saturating_add(other.count),
            sum: self.sum.plus(other.sum),
        }
    }

    /// 0 when there were none.
    pub(super) fn mean(self) -> Nanos {
        Nanos(self.sum.0 / self.count.max(1))
    }
}
