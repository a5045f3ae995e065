//! What is between the store and the journal while the store takes no writes.
//!
//! ```text
//!   taking --begin--> out: records are noted, not kept --end, once all are applied--> taking
//! ```
//! The journal has every record that is noted here, so that nobody waits for a store that is out and
//! nothing is held for it. Owns the number of the last record that was passed over, and what those
//! that were count in the backlog.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ringpost_shard::record::Position;

#[derive(Default)]
struct Passed {
    through: Position,
    bytes: u64,
}

/// Whether the store is out, and what it has missed.
#[derive(Default)]
pub(super) struct Outage {
    is_out: AtomicBool,
    passed: Mutex<Passed>,
}

impl Outage {
    fn lock(&self) -> MutexGuard<'_, Passed> {
        // Two numbers: whole after any panic.
        self.passed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_out(&self) -> bool {
        self.is_out.load(Ordering::Acquire)
    }

    /// The store takes no writes from here on. `bytes` are what was gathered for it.
    pub(super) fn begin(&self, bytes: u64) {
        let mut passed = self.lock();
        passed.bytes += bytes;
        self.is_out.store(true, Ordering::Release);
    }

    /// Notes a record instead of keeping it; `false` if the store takes records again.
    pub(super) fn pass_over(&self, position: Position, bytes: u64) -> bool {
        let mut passed = self.lock();
        if !self.is_out() {
            return false;
        }
        passed.through = passed.through.max(position);
        passed.bytes += bytes;
        true
    }

    /// The store takes records again if it has applied all that was passed over; answers what those
    /// counted in the backlog, bytes.
    pub(super) fn end(&self, applied: Position) -> Option<u64> {
        let mut passed = self.lock();
        if passed.through > applied {
            return None;
        }
        self.is_out.store(false, Ordering::Release);
        Some(std::mem::take(&mut passed.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_ends_when_all_that_was_passed_over_is_applied() {
        let outage = Outage::default();
        assert!(!outage.pass_over(Position(1), 10), "the store takes records");
        outage.begin(5);
        assert!(outage.pass_over(Position(7), 10));
        assert_eq!(outage.end(Position(6)), None);
        assert!(outage.is_out());
        assert_eq!(outage.end(Position(7)), Some(15));
        assert!(!outage.pass_over(Position(8), 10));
    }
}
