//! Cells that parts count in: relaxed atomics, read by the scrape.
//!
//! A scrape may see one cell later than another; each by itself is right and never goes back.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A counter that any thread may raise.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn increment(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// The count so far.
    pub fn count(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Upper bounds of the buckets, seconds: powers of two from 1 us to 16.8 s.
pub const BUCKETS_S: [f64; 25] = bounds();

const fn bounds() -> [f64; 25] {
    let mut bounds = [0.0; 25];
    let mut index = 0;
    while index < bounds.len() {
        bounds[index] = (1_u64 << index) as f64 / 1e6;
        index += 1;
    }
    bounds
}

/// A histogram of durations with *one* writing thread: a plain load and store for each cell, no
/// locked instruction. Two writers would lose counts.
#[derive(Debug, Default)]
pub struct Durations {
    /// The last one is for what is longer than every bound.
    buckets: [AtomicU64; BUCKETS_S.len() + 1],
    sum_ns: AtomicU64,
}

impl Durations {
    /// Counts one duration. Only ever called by the one thread that owns it.
    pub fn observe(&self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let us = ns.div_ceil(1_000).max(1);
        // 1 us is bucket 0, up to 2 us bucket 1, up to 4 us bucket 2, ...
        let bucket = (u64::BITS - (us - 1).leading_zeros()) as usize;
        let cell = &self.buckets[bucket.min(BUCKETS_S.len())];
        cell.store(cell.load(Relaxed) + 1, Relaxed);
        self.sum_ns.store(self.sum_ns.load(Relaxed).saturating_add(ns), Relaxed);
    }

    /// What was counted so far.
    pub fn snapshot(&self) -> DurationSnapshot {
        let mut snapshot = DurationSnapshot::default();
        for (count, cell) in snapshot.buckets.iter_mut().zip(&self.buckets) {
            *count = cell.load(Relaxed);
        }
        snapshot.sum_ns = self.sum_ns.load(Relaxed);
        snapshot
    }
}

/// Counts of a histogram at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DurationSnapshot {
    /// Per bucket, not added up; the last is beyond every bound.
    pub buckets: [u64; BUCKETS_S.len() + 1],
    /// Sum of all durations, nanoseconds.
    pub sum_ns: u64,
}

impl DurationSnapshot {
    /// Adds another thread's counts.
    pub fn add(&mut self, other: &Self) {
        for (sum, count) in self.buckets.iter_mut().zip(other.buckets) {
            *sum += count;
        }
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
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
        let bucket_of = |ns: u64| {
            let durations = Durations::default();
            durations.observe(Duration::from_nanos(ns));
            durations.snapshot().buckets.iter().position(|&count| count == 1).unwrap()
        };
        for ns in [0, 1, 999, 1_000, 1_001, 2_000, 2_001, 4_000, 1_000_000, 16_777_216_000] {
            let seconds = ns as f64 / 1e9;
            let expected = BUCKETS_S.iter().position(|bound| seconds <= *bound).unwrap();
            assert_eq!(bucket_of(ns), expected, "{ns} ns");
        }
        assert_eq!(bucket_of(16_777_216_001), BUCKETS_S.len());
        assert_eq!(bucket_of(u64::MAX), BUCKETS_S.len());
    }
}
