//! Counters of one journal: plain atomics, written by the journal thread (refusals by anybody),
//! read by the metrics at any time. Values of one moment need not fit together exactly.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::error::Refused;

/// Upper bounds of the fdatasync latency buckets, in microseconds; a last one is without bound.
pub const SYNC_BUCKETS_US: [u64; 14] =
    [50, 100, 150, 200, 300, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 200_000, 1_000_000];

/// See the module's head.
#[derive(Debug, Default)]
pub struct Stats {
    batches: AtomicU64,
    records: AtomicU64,
    record_bytes: AtomicU64,
    written_bytes: AtomicU64,
    syncs: AtomicU64,
    sync_ns: AtomicU64,
    sync_buckets: [AtomicU64; SYNC_BUCKETS_US.len() + 1],
    segments_live: AtomicU64,
    segments_spare: AtomicU64,
    segments_prepared: AtomicU64,
    segments_taken: AtomicU64,
    prepare_failures: AtomicU64,
    disk_bytes: AtomicU64,
    refused: [AtomicU64; Refused::ALL.len()],
}

/// A copy of the counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatsSnapshot {
    /// Batches made durable, seals included.
    pub batches: u64,
    /// Records made durable.
    pub records: u64,
    /// Bytes of these records as they were submitted.
    pub record_bytes: u64,
    /// Bytes written for them, with headers and padding.
    pub written_bytes: u64,
    /// fdatasyncs that succeeded.
    pub syncs: u64,
    /// Time spent in them.
    pub sync_time: Duration,
    /// How many took at most [`SYNC_BUCKETS_US`], not cumulated; the last one took longer.
    pub sync_buckets: [u64; SYNC_BUCKETS_US.len() + 1],
    /// Segments that hold records.
    pub segments_live: u64,
    /// Prewritten segments that are free.
    pub segments_spare: u64,
    /// Segments created since the start.
    pub segments_prepared: u64,
    /// Segments put to use since the start; without those prepared: recycled.
    pub segments_taken: u64,
    /// Attempts to create a segment that failed.
    pub prepare_failures: u64,
    /// Bytes of all segment files.
    pub disk_bytes: u64,
    /// Refusals, by [`Refused::index`].
    pub refused: [u64; Refused::ALL.len()],
}

impl Stats {
    pub(crate) fn on_batch(&self, records: u64, record_bytes: u64, written_bytes: u64) {
        self.batches.fetch_add(1, Relaxed);
        self.records.fetch_add(records, Relaxed);
        self.record_bytes.fetch_add(record_bytes, Relaxed);
        self.written_bytes.fetch_add(written_bytes, Relaxed);
    }

    pub(crate) fn on_sync(&self, took: Duration) {
        self.syncs.fetch_add(1, Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sync_ns.fetch_add(nanos, Relaxed);
        let bucket = SYNC_BUCKETS_US.partition_point(|&bound| bound * 1000 < nanos);
        self.sync_buckets[bucket].fetch_add(1, Relaxed);
    }

    pub(crate) fn on_prepared(&self, prepared: bool) {
        let counter = if prepared { &self.segments_prepared } else { &self.prepare_failures };
        counter.fetch_add(1, Relaxed);
    }

    pub(crate) fn on_segment_taken(&self) {
        self.segments_taken.fetch_add(1, Relaxed);
    }

    pub(crate) fn set_segments(&self, live: usize, spare: usize, disk_bytes: u64) {
        self.segments_live.store(live as u64, Relaxed);
        self.segments_spare.store(spare as u64, Relaxed);
        self.disk_bytes.store(disk_bytes, Relaxed);
    }

    pub(crate) fn on_refused(&self, reason: Refused) {
        self.refused[reason.index()].fetch_add(1, Relaxed);
    }

    /// A copy of the counters.
    #[must_use]
    pub fn snapshot(&self) -> StatsSnapshot {
        StatsSnapshot {
            batches: self.batches.load(Relaxed),
            records: self.records.load(Relaxed),
            record_bytes: self.record_bytes.load(Relaxed),
            written_bytes: self.written_bytes.load(Relaxed),
            syncs: self.syncs.load(Relaxed),
            sync_time: Duration::from_nanos(self.sync_ns.load(Relaxed)),
            sync_buckets: std::array::from_fn(|index| self.sync_buckets[index].load(Relaxed)),
            segments_live: self.segments_live.load(Relaxed),
            segments_spare: self.segments_spare.load(Relaxed),
            segments_prepared: self.segments_prepared.load(Relaxed),
            segments_taken: self.segments_taken.load(Relaxed),
            prepare_failures: self.prepare_failures.load(Relaxed),
            disk_bytes: self.disk_bytes.load(Relaxed),
            refused: std::array::from_fn(|index| self.refused[index].load(Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_is_counted_in_the_bucket_whose_bound_it_does_not_exceed() {
        let check = |took, bucket| {
            let stats = Stats::default();
            stats.on_sync(took);
            let snapshot = stats.snapshot();
            assert_eq!((snapshot.syncs, snapshot.sync_time), (1, took));
            assert_eq!(snapshot.sync_buckets[bucket], 1, "{took:?}");
        };
        check(Duration::from_nanos(1), 0);
        check(Duration::from_micros(50), 0);
        check(Duration::from_nanos(50_001), 1);
        check(Duration::from_secs(1), SYNC_BUCKETS_US.len() - 1);
        check(Duration::from_secs(2), SYNC_BUCKETS_US.len());
    }
}
