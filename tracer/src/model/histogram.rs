//! Counts by bucket, and the summaries people read. The buckets are stored, never the summaries.

use tracer_common::{
    Nanos,
    hist::{BUCKETS, bucket_bounds},
};

use super::snapshot::Distribution;

/// A histogram over the buckets of [`tracer_common::hist`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    counts: Vec<u64>,
    sum: Nanos,
    max: Nanos,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            sum: Nanos(0),
            max: Nanos(0),
        }
    }
}

impl Histogram {
    /// Adds `more` values of one bucket. False when there is no such bucket.
    pub fn add(&mut self, bucket: u32, more: u64) -> bool {
        let Some(count) = self.counts.get_mut(bucket as usize) else {
            return false;
        };
        *count = count.saturating_add(more);
        true
    }

    /// Adds to the sum of all values, and raises the largest.
    pub fn add_sum(&mut self, sum: Nanos, max: Nanos) {
        self.sum = self.sum.plus(sum);
        self.max = self.max.max(max);
    }

    /// The value below which `share` of all values lie: the middle of its bucket, at most 6.25 % off, and never
    /// above the largest value.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Nanos {
        let total: u64 = self
            .counts
            .iter()
            .fold(0, |sum, &count| sum.saturating_add(count));
        let rank = (share * total as f64).ceil().max(1.0) as u64;
        let mut seen = 0u64;
        for (bucket, &count) in (0u32..).zip(&self.counts) {
            seen = seen.saturating_add(count);
            if count > 0 && seen >= rank {
                let (low, high) = bucket_bounds(bucket);
                return Nanos(low + (high - low) / 2).min(self.max);
            }
        }
        Nanos(0)
    }

    /// Count, sum, median, 99th percentile and largest value.
    #[must_use]
    pub fn summary(&self) -> Distribution {
        Distribution {
            count: self
                .counts
                .iter()
                .fold(0, |sum, &count| sum.saturating_add(count)),
            sum: self.sum,
            p50: self.quantile(0.5),
            p99: self.quantile(0.99),
            max: self.max,
        }
    }
}

#[cfg(test)]
mod tests {
    use tracer_common::hist::bucket_index;

    use super::*;

    fn of(values: impl Iterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::default();
        for value in values {
            assert!(histogram.add(bucket_index(value), 1));
            histogram.add_sum(Nanos(value), Nanos(value));
        }
        histogram
    }

    #[test]
    fn quantiles_are_within_the_width_of_a_bucket() {
        let summary = of((1..=10_000u64).map(|value| value * 1_000)).summary();
        assert_eq!((summary.count, summary.max), (10_000, Nanos(10_000_000)));
        for (got, exact) in [(summary.p50, 5_000_000.0), (summary.p99, 9_900_000.0)] {
            assert!(
                (got.0 as f64 / exact - 1.0).abs() < 0.0625,
                "{got:?} against {exact}"
            );
        }
    }

    #[test]
    fn a_quantile_is_never_above_the_largest_value() {
        let summary = of([1_000_000_001].into_iter()).summary();
        assert!(summary.p99 <= summary.max && summary.p50 <= summary.max);
        assert_eq!(Histogram::default().summary(), Distribution::default());
    }

    #[test]
    fn a_bucket_that_is_not_there_is_refused() {
        assert!(!Histogram::default().add(BUCKETS as u32, 1));
    }
}
