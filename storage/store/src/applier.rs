//! The applier: records in, store batches out, completions in. Sans-IO: it knows no store, no
//! thread and no clock.
//!
//! ```text
//!  push(record) --> gathering --poll_batch--> in flight --on_applied--> applied
//! ```
//!
//! Invariants: a record goes into a batch exactly once, in the journal's order; at most one
//! batch is in flight; a record at or below `applied` is skipped, so that the applier may be
//! started again at any earlier place in the journal.
//!
//! It gathers on purpose: the longer a batch, the more queue entries are put and acked within
//! it and never reach the store. Somebody who waits for a position kicks it.

use std::time::Duration;

use ringpost_shard::record::{Position, SharedRecord};

use crate::batch::{Batch, BatchBuilder};

/// Limits of an [`Applier`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ApplierLimits {
    /// Most records in one batch. Default 16,384.
    pub batch_records_max: usize,
    /// A batch is complete at this size, bytes; the last record may go beyond. Default 8 MiB.
    pub batch_bytes_max: usize,
    /// A record waits at most this long for others. Default 200 ms: longer than a device on a
    /// phone network takes to ack.
    pub linger: Duration,
}

impl Default for ApplierLimits {
    fn default() -> Self {
        Self {
            batch_records_max: 16_384,
            batch_bytes_max: 8 * 1024 * 1024,
            linger: Duration::from_millis(200),
        }
    }
}

/// What became of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pushed {
    /// It will be in a batch.
    Gathered,
    /// The store has it already.
    AlreadyApplied,
}

/// Why a record was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PushError {
    /// A record is missing between the last one and this one.
    #[error("record {found} where {expected} should follow")]
    OutOfOrder {
        /// The next position.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// A batch is in flight and the next one is complete: wait for [`Applier::on_applied`].
    #[error("the next batch is complete and the last one not yet applied")]
    Full,
}

/// Folds records into batches.
pub struct Applier {
    limits: ApplierLimits,
    gathering: BatchBuilder,
    /// When the first record of `gathering` came.
    since: Option<Duration>,
    /// The end and the size of the batch that the store is writing.
    in_flight: Option<(Position, usize)>,
    applied: Position,
    kicked: Position,
    cancelled: u64,
}

impl Applier {
    /// An applier for a store that has applied everything up to `applied`.
    pub fn new(applied: Position, limits: ApplierLimits) -> Self {
        assert!(limits.batch_records_max > 0, "a batch has room for a record");
        Self {
            limits,
            gathering: BatchBuilder::new(applied),
            since: None,
            in_flight: None,
            applied,
            kicked: Position::default(),
            cancelled: 0,
        }
    }

    /// Begins anew for a store that was opened again and has everything up to `applied`: what was
    /// gathered or in flight is forgotten and comes again from the journal.
    pub fn restart(&mut self, applied: Position) {
        let Self { limits, kicked, cancelled, .. } = *self;
        *self = Self { kicked, cancelled, ..Self::new(applied, limits) };
    }

    /// Takes the next record of the journal.
    ///
    /// # Errors
    /// If a record is missing before it, or there is no room.
    pub fn push(
        &mut self,
        now: Duration,
        position: Position,
        record: &SharedRecord,
    ) -> Result<Pushed, PushError> {
        self.take(now, position, |gathering| gathering.push(position, record))
    }

    /// Passes over the next record of the journal: it counts as applied and changes nothing.
    ///
    /// # Errors
    /// As [`Applier::push`].
    pub fn skip(&mut self, now: Duration, position: Position) -> Result<Pushed, PushError> {
        self.take(now, position, |gathering| gathering.skip(position))
    }

    fn take(
        &mut self,
        now: Duration,
        position: Position,
        gather: impl FnOnce(&mut BatchBuilder),
    ) -> Result<Pushed, PushError> {
        let expected = self.gathering.through().0 + 1;
        if position.0 < expected {
            return Ok(Pushed::AlreadyApplied);
        }
        if position.0 > expected {
            return Err(PushError::OutOfOrder { expected, found: position.0 });
        }
        if !self.has_room() {
            return Err(PushError::Full);
        }
        gather(&mut self.gathering);
        self.since.get_or_insert(now);
        Ok(Pushed::Gathered)
    }

    /// Whether [`Applier::push`] takes a record now.
    pub fn has_room(&self) -> bool {
        !self.is_complete()
    }

    /// Somebody waits for `through`: do not gather longer than until it is there.
    pub fn kick(&mut self, through: Position) {
        self.kicked = self.kicked.max(through);
    }

    /// The next batch for the store, if one is due and none is in flight.
    pub fn poll_batch(&mut self, now: Duration) -> Option<Batch> {
        let is_due = self.is_complete()
            || self.kicked > self.applied
            || self.next_deadline().is_some_and(|deadline| deadline <= now);
        if self.in_flight.is_some() || self.gathering.is_empty() || !is_due {
            return None;
        }
        self.cancelled += self.gathering.cancelled() as u64;
        let next = BatchBuilder::new(self.gathering.through());
        let batch = std::mem::replace(&mut self.gathering, next).finish();
        self.since = None;
        self.in_flight = Some((batch.through(), batch.bytes()));
        Some(batch)
    }

    /// The store has applied the batch in flight.
    ///
    /// # Panics
    /// If it was another one.
    pub fn on_applied(&mut self, through: Position) {
        let (expected, _) = self.in_flight.take().expect("a batch is in flight");
        assert_eq!(through, expected, "the batch in flight is the one that was applied");
        self.applied = through;
    }

    /// When the gathered records are due; `None` without any.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.since.map(|since| since + self.limits.linger)
    }

    /// The last record that the store has.
    pub const fn applied(&self) -> Position {
        self.applied
    }

    /// The last record that was taken.
    pub const fn gathered(&self) -> Position {
        self.gathering.through()
    }

    /// Size of what was taken and is not yet applied, bytes.
    pub fn backlog_bytes(&self) -> usize {
        self.gathering.bytes() + self.in_flight.map_or(0, |(_, bytes)| bytes)
    }

    /// Queue entries so far that were put and acked within one batch: they cost the store nothing.
    pub const fn cancelled_total(&self) -> u64 {
        self.cancelled
    }

    fn is_complete(&self) -> bool {
        self.gathering.records() >= self.limits.batch_records_max
            || self.gathering.bytes() >= self.limits.batch_bytes_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::World;

    const NOW: Duration = Duration::from_secs(5);

    fn limits() -> ApplierLimits {
        ApplierLimits { batch_records_max: 3, ..ApplierLimits::default() }
    }

    /// An applier of a store at 10 which has gathered `count` records.
    fn gathered(count: u64) -> Applier {
        let mut applier = Applier::new(Position(10), limits());
        let records = World::new(1).records(count as usize);
        for (position, record) in (11..).zip(&records) {
            assert_eq!(applier.push(NOW, Position(position), record), Ok(Pushed::Gathered));
        }
        applier
    }

    #[test]
    fn a_full_batch_is_due_at_once() {
        let mut applier = gathered(3);
        let batch = applier.poll_batch(NOW).unwrap();
        assert_eq!((batch.after(), batch.through()), (Position(10), Position(13)));
        assert_eq!(batch.records(), 3);
    }

    #[test]
    fn records_linger_and_are_due_when_the_first_one_is() {
        let mut applier = gathered(2);
        let due = NOW + limits().linger;
        assert_eq!(applier.next_deadline(), Some(due));
        assert_eq!(applier.poll_batch(due - Duration::from_nanos(1)), None);
        assert!(applier.poll_batch(due).is_some());
        assert_eq!(applier.next_deadline(), None);
    }

    #[test]
    fn a_kick_makes_what_is_gathered_due() {
        let mut applier = gathered(1);
        applier.kick(Position(10));
        assert_eq!(applier.poll_batch(NOW), None, "that is applied already");
        applier.kick(Position(11));
        assert!(applier.poll_batch(NOW).is_some());
    }

    #[test]
    fn one_batch_is_in_flight_while_the_next_gathers() {
        let mut applier = gathered(3);
        applier.poll_batch(NOW).unwrap();
        let records = World::new(2).records(4);
        for (position, record) in (14..=16).zip(&records) {
            applier.push(NOW, Position(position), record).unwrap();
        }
        assert!(!applier.has_room());
        assert_eq!(applier.push(NOW, Position(17), &records[3]), Err(PushError::Full));
        assert_eq!(applier.poll_batch(NOW), None);
        let backlog = applier.backlog_bytes();
        applier.on_applied(Position(13));
        assert_eq!(applier.applied(), Position(13));
        assert!(applier.backlog_bytes() < backlog);
        assert_eq!(applier.poll_batch(NOW).unwrap().after(), Position(13));
    }

    #[test]
    fn an_applier_of_a_store_that_has_gone_back_takes_the_records_again() {
        let mut applier = gathered(3);
        applier.poll_batch(NOW).unwrap();
        applier.restart(Position(9));
        assert_eq!((applier.applied(), applier.backlog_bytes()), (Position(9), 0));
        let records = World::new(1).records(2);
        for (position, record) in (10..).zip(&records) {
            assert_eq!(applier.push(NOW, Position(position), record), Ok(Pushed::Gathered));
        }
        applier.kick(Position(11));
        assert_eq!(applier.poll_batch(NOW).unwrap().after(), Position(9));
    }

    #[test]
    fn a_replay_is_skipped_and_a_hole_is_refused() {
        let mut applier = gathered(1);
        let record = &World::new(3).record();
        for position in [1, 10, 11] {
            let pushed = applier.push(NOW, Position(position), record);
            assert_eq!(pushed, Ok(Pushed::AlreadyApplied));
        }
        let hole = Err(PushError::OutOfOrder { expected: 12, found: 13 });
        assert_eq!(applier.push(NOW, Position(13), record), hole);
    }

    #[test]
    #[should_panic(expected = "a batch is in flight")]
    fn a_completion_without_a_batch_is_a_bug() {
        gathered(1).on_applied(Position(11));
    }
}
