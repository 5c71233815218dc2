//! Durations that many threads add to: count, sum and extreme exactly, percentiles to a thirty-second part.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::json::Object;

/// Buckets for each power of two.
const STEPS: usize = 32;
/// Up to 2^40 ns, which is 18 minutes; what is longer counts there.
const POWERS: usize = 36;

/// A distribution of nanoseconds. Relaxed: it is read when nobody adds, or while it moves.
pub(crate) struct Spread {
    sum: AtomicU64,
    max: AtomicU64,
    buckets: [AtomicU64; STEPS * POWERS],
}

impl Spread {
    pub(crate) const fn new() -> Self {
        Self {
            sum: AtomicU64::new(0),
            max: AtomicU64::new(0),
            buckets: [const { AtomicU64::new(0) }; STEPS * POWERS],
        }
    }

    pub(crate) fn add(&self, ns: u64) {
        self.sum.fetch_add(ns, Ordering::Relaxed);
        self.max.fetch_max(ns, Ordering::Relaxed);
        self.buckets[bucket(ns)].fetch_add(1, Ordering::Relaxed);
    }

    /// Nothing where nothing was measured.
    pub(crate) fn told(&self) -> Option<Object> {
        let counts: Vec<u64> = self
            .buckets
            .iter()
            .map(|bucket| bucket.load(Ordering::Relaxed))
            .collect();
        let count: u64 = counts.iter().sum();
        let max = self.max.load(Ordering::Relaxed);
        (count > 0).then(|| {
            Object::default()
                .with("count", count)
                .with("sum_ns", self.sum.load(Ordering::Relaxed))
                .with("p50_ns", percentile(&counts, count.div_ceil(2)).min(max))
                .with(
                    "p99_ns",
                    percentile(&counts, (count * 99).div_ceil(100)).min(max),
                )
                .with("max_ns", max)
        })
    }
}

/// The first `STEPS` numbers have a bucket each; after them each power of two has as many.
fn bucket(ns: u64) -> usize {
    let steps = STEPS as u64;
    if ns < steps {
        return ns as usize;
    }
    let power = ns.ilog2() - STEPS.ilog2();
    let step = (ns >> power) - steps;
    (STEPS * (power as usize + 1) + step as usize).min(STEPS * POWERS - 1)
}

/// The greatest number that falls into bucket `index`.
fn top(index: usize) -> u64 {
    if index < STEPS {
        return index as u64;
    }
    let power = index / STEPS - 1;
    (((index % STEPS + STEPS + 1) as u64) << power) - 1
}

/// Where the `rank`th smallest is, at most.
fn percentile(counts: &[u64], rank: u64) -> u64 {
    let mut below = 0;
    let found = counts.iter().position(|count| {
        below += count;
        below >= rank
    });
    found.map_or(0, top)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_at_most_a_thirty_second_part_below_the_top_of_its_bucket() {
        for ns in (0..4096).chain([1 << 20, 123_456_789, (1 << 39) + 5]) {
            let top = top(bucket(ns));
            assert!(top >= ns && top - ns <= ns / 32, "{ns}: {top}");
        }
        assert_eq!(bucket(u64::MAX), STEPS * POWERS - 1);
    }

    #[test]
    fn percentiles_are_those_of_the_numbers() {
        let spread = Spread::new();
        assert!(spread.told().is_none());
        (1..=30).for_each(|ns| spread.add(ns));
        spread.add(1_000_000);
        let told = spread.told().map(|told| told.line()).unwrap_or_default();
        assert_eq!(
            told,
            "{\"count\":31,\"sum_ns\":1000465,\"p50_ns\":16,\"p99_ns\":1000000,\"max_ns\":1000000}\n"
        );
    }
}
