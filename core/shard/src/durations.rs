//! How long things took: a histogram of one owner, in plain numbers. No allocation, no lock, no
//! cell that another core writes: whoever exports it takes a copy.

use std::time::Duration;

/// Number of bounds.
const BOUNDS: usize = 25;

/// Upper bounds of the buckets, seconds: powers of two from 1 us to 16.8 s.
pub const BOUNDS_S: [f64; BOUNDS] = {
    let mut bounds = [0.0; BOUNDS];
    let mut index = 0;
    while index < BOUNDS {
        bounds[index] = (1_u64 << index) as f64 / 1e6;
        index += 1;
    }
    bounds
};

/// Counts of durations by bucket, and their sum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Durations {
    /// Per bucket, not added up; the last is beyond every bound.
    pub buckets: [u64; BOUNDS + 1],
    /// Sum of all durations.
    pub sum: Duration,
}

impl Durations {
    /// Counts one duration.
    pub fn observe(&mut self, duration: Duration) {
        let whole_us = duration.as_secs().saturating_mul(1_000_000);
        let us = whole_us.saturating_add(duration.subsec_nanos().div_ceil(1_000).into()).max(1);
        // 1 us is bucket 0, up to 2 us bucket 1, up to 4 us bucket 2, ...
        let bucket = (u64::BITS - (us - 1).leading_zeros()) as usize;
        self.buckets[bucket.min(BOUNDS)] += 1;
        self.sum = self.sum.saturating_add(duration);
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let bucket_of = |duration| {
            let mut durations = Durations::default();
            durations.observe(duration);
            assert_eq!((durations.count(), durations.sum), (1, duration));
            durations.buckets.iter().position(|&count| count == 1).expect("counted")
        };
        for ns in [0, 1, 999, 1_000, 1_001, 2_000, 2_001, 4_000, 1_000_000, 16_777_216_000] {
            let seconds = ns as f64 / 1e9;
            let expected = BOUNDS_S.iter().position(|bound| seconds <= *bound);
            assert_eq!(Some(bucket_of(Duration::from_nanos(ns))), expected, "{ns} ns");
        }
        assert_eq!(bucket_of(Duration::from_nanos(16_777_216_001)), BOUNDS);
        assert_eq!(bucket_of(Duration::MAX), BOUNDS);
    }
}
