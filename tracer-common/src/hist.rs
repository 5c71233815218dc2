//! Log-linear buckets: 8 per power of two, so a bucket is at most 12.5 % wide and its middle at most 6.25 % off.
//!
//! Pure, used by the kernel side to count and by the agent to summarise. Bucket edges are fixed, so
//! histograms of any two threads, ticks or processes add exactly.

/// Buckets per power of two.
pub const SUB_BUCKETS: u32 = 8;
const SUB_BITS: u32 = 3;

/// Number of buckets that cover every `u64`.
pub const BUCKETS: usize = ((64 - SUB_BITS + 1) * SUB_BUCKETS) as usize;

/// The bucket of `value`: below 8 each value has its own.
#[must_use]
#[inline(always)]
pub fn bucket_index(value: u64) -> u32 {
    if value < SUB_BUCKETS as u64 {
        return value as u32;
    }
    let exponent = log2(value);
    let shift = exponent - SUB_BITS;
    let sub = (value >> shift) as u32 & (SUB_BUCKETS - 1);
    (shift + 1) * SUB_BUCKETS + sub
}

/// The bucket of `value` as an index that is still to be checked. Opaque, so that the compiler keeps a check it can
/// prove needless: the verifier of Linux 6.1 cannot.
#[must_use]
#[inline(always)]
pub fn unchecked_index(value: u64) -> usize {
    core::hint::black_box(bucket_index(value) as usize)
}

/// Lowest and highest value of bucket `index`, both inclusive. An index past the last gives the last bucket.
#[must_use]
pub fn bucket_bounds(index: u32) -> (u64, u64) {
    let index = if index as usize >= BUCKETS {
        BUCKETS as u32 - 1
    } else {
        index
    };
    if index < SUB_BUCKETS {
        return (index as u64, index as u64);
    }
    let shift = index / SUB_BUCKETS - 1;
    let low = ((SUB_BUCKETS + index % SUB_BUCKETS) as u64) << shift;
    (low, low + ((1u64 << shift) - 1))
}

/// Position of the highest set bit, by halving: BPF has no instruction for it and LLVM's expansion of
/// `leading_zeros` is about 40 instructions.
#[inline(always)]
fn log2(value: u64) -> u32 {
    let mut rest = value;
    let mut result = 0;
    if rest >> 32 != 0 {
        rest >>= 32;
        result += 32;
    }
    if rest >> 16 != 0 {
        rest >>= 16;
        result += 16;
    }
    if rest >> 8 != 0 {
        rest >>= 8;
        result += 8;
    }
    if rest >> 4 != 0 {
        rest >>= 4;
        result += 4;
    }
    if rest >> 2 != 0 {
        rest >>= 2;
        result += 2;
    }
    if rest >> 1 != 0 {
        result += 1;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around_powers_of_two() -> impl Iterator<Item = u64> {
        (0..64).flat_map(|bit| {
            let power = 1u64 << bit;
            [
                power.wrapping_sub(1),
                power,
                power + 1,
                power + power / 3,
                power | (power - 1),
            ]
        })
    }

    #[test]
    fn log2_agrees_with_the_standard_library() {
        for value in around_powers_of_two().filter(|&value| value > 0) {
            assert_eq!(log2(value), value.ilog2(), "{value}");
        }
    }

    #[test]
    fn every_value_lies_inside_its_bucket() {
        for value in around_powers_of_two().chain([0, u64::MAX]) {
            let index = bucket_index(value);
            let (low, high) = bucket_bounds(index);
            assert!(
                (index as usize) < BUCKETS && low <= value && value <= high,
                "{value}"
            );
        }
    }

    #[test]
    fn buckets_follow_each_other_without_gap_to_the_largest_value() {
        for index in 1..BUCKETS as u32 {
            assert_eq!(bucket_bounds(index - 1).1 + 1, bucket_bounds(index).0);
        }
        assert_eq!(bucket_bounds(BUCKETS as u32 - 1).1, u64::MAX);
    }

    #[test]
    fn a_bucket_is_at_most_an_eighth_of_its_value_wide() {
        for index in SUB_BUCKETS..BUCKETS as u32 {
            let (low, high) = bucket_bounds(index);
            assert!((high - low) as f64 <= low as f64 / 8.0);
        }
    }
}
