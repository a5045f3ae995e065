//! When the next batch may begin: at once on an idle journal, and the later behind a batch the more
//! records that had.
//!
//! A batch costs processors the same whatever is in it: two operations of the device, and the wakes
//! of everybody who waits. Where a sync takes less than that is worth, one batch follows another with
//! hardly anything in it. Where records come densely a little patience puts many into one; where they
//! come one by one it would only be delay. So each record of a batch buys its successor [`PER_RECORD`]
//! of patience, counted from the beginning of the batch: while the sync takes longer, none is left,
//! and who comes later than that finds an idle journal.

use std::time::Duration;

/// What a batch of one record gives the next one. About twice what a fast disk takes to sync: records
/// that come more densely than this are worth gathering, and a message has three of them (itself, its
/// ack, the ack of its receipt).
const PER_RECORD: Duration = Duration::from_micros(200);

/// The last batch, as far as the next one's beginning depends on it.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    began_at: Duration,
    records: u32,
}

impl Pace {
    /// A batch of so many records begins.
    pub(crate) fn begin(&mut self, records: u32, now: Duration) {
        (self.began_at, self.records) = (now, records);
    }

    /// Until when records are gathered for the next one, at most `gather_max` from the beginning of
    /// the last.
    pub(crate) fn gathers_until(&self, gather_max: Duration) -> Duration {
        self.began_at + PER_RECORD.saturating_mul(self.records).min(gather_max)
    }
}
