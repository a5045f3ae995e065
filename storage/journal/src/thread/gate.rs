//! Admission: room is taken before the cause, by any worker, without asking the journal thread.
//!
//! Two atomics, two promises. `available` is what the prepared segments still take; what got its
//! room from it can always be written. `reserved` is what is anywhere between a worker and the
//! disk; it bounds memory and the queue. Room is counted in the cost of a record alone in a batch
//! ([`crate::record_cost`]), which covers whatever batch it ends up in.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU8, Ordering::AcqRel, Ordering::Acquire, Ordering::Release},
};

use crossbeam::utils::CachePadded;

use crate::{
    config::Limits,
    error::Refused,
    format::{BATCH_HEADER_BYTES, BLOCK_BYTES, RECORD_HEADER_BYTES, Record},
    logic::Touch,
    stats::Stats,
};

const OPEN: u8 = u8::MAX;

#[derive(Debug)]
pub(crate) struct Gate {
    available: CachePadded<AtomicI64>,
    reserved: CachePadded<AtomicI64>,
    inflight_bytes_max: i64,
    record_bytes_max: u64,
    reserve_bytes: i64,
    /// Index of the [`Refused`] with which everything is refused, or `OPEN`.
    closed: AtomicU8,
    /// Index of the [`Refused`] that explains a lack of room.
    shortage: AtomicU8,
    stats: Arc<Stats>,
}

impl Gate {
    pub(crate) fn new(limits: &Limits, stats: Arc<Stats>) -> Self {
        let inflight_bytes_max = i64::try_from(limits.inflight_bytes_max).unwrap_or(i64::MAX);
        Self {
            available: CachePadded::new(AtomicI64::new(0)),
            reserved: CachePadded::new(AtomicI64::new(0)),
            inflight_bytes_max,
            record_bytes_max: limits.record_bytes_max,
            reserve_bytes: i64::try_from(limits.reserve_bytes).unwrap_or(i64::MAX),
            closed: AtomicU8::new(OPEN),
            shortage: AtomicU8::new(Refused::SegmentPending.index() as u8),
            stats,
        }
    }

    /// Takes `cost` bytes of room. A refusal is counted, unless this is one more attempt at the same.
    pub(crate) fn try_reserve(
        self: &Arc<Self>,
        cost: u64,
        is_repeated: bool,
    ) -> Result<Room, Refused> {
        let taken = self.take(cost);
        if let Err(reason) = taken
            && !is_repeated
        {
            self.stats.on_refused(reason);
        }
        taken.map(|()| Room { gate: Arc::clone(self), cost })
    }

    /// Whether more work may be taken on; see [`crate::Journal::lack`].
    pub(crate) fn admit(&self) -> Result<(), Refused> {
        if let Some(reason) = self.closed() {
            return Err(reason);
        }
        let shortage = Refused::ALL[usize::from(self.shortage.load(Acquire))];
        let is_short = shortage != Refused::SegmentPending
            && self.available.load(Acquire) < self.reserve_bytes;
        if is_short { Err(shortage) } else { Ok(()) }
    }

    fn take(&self, cost: u64) -> Result<(), Refused> {
        if let Some(reason) = self.closed() {
            return Err(reason);
        }
        let cost = i64::try_from(cost).map_err(|_| Refused::InFlight)?;
        let grow = |reserved: i64| {
            reserved.checked_add(cost).filter(|&sum| sum <= self.inflight_bytes_max)
        };
        self.reserved.fetch_update(AcqRel, Acquire, grow).map_err(|_| Refused::InFlight)?;
        let shrink = |available: i64| (available >= cost).then(|| available - cost);
        if self.available.fetch_update(AcqRel, Acquire, shrink).is_err() {
            self.reserved.fetch_sub(cost, AcqRel);
            return Err(Refused::ALL[usize::from(self.shortage.load(Acquire))]);
        }
        Ok(())
    }

    fn give_back(&self, cost: u64) {
        let cost = i64::try_from(cost).expect("was taken before");
        self.available.fetch_add(cost, AcqRel);
        self.reserved.fetch_sub(cost, AcqRel);
    }

    /// Records of this cost are durable, and the room has changed by `room_change` as a whole.
    /// One addition, so that nobody ever sees room that is not there.
    pub(crate) fn settle(&self, durable_cost: u64, room_change: i64) {
        let cost = i64::try_from(durable_cost).expect("was taken before");
        self.available.fetch_add(cost + room_change, AcqRel);
        self.reserved.fetch_sub(cost, AcqRel);
    }

    /// Nothing is anywhere between a worker and the disk.
    pub(crate) fn is_idle(&self) -> bool {
        self.reserved.load(Acquire) == 0
    }

    pub(crate) fn set_shortage(&self, reason: Refused) {
        self.shortage.store(reason.index() as u8, Release);
    }

    /// Refuses everything from now on; the first reason stays.
    pub(crate) fn close(&self, reason: Refused) {
        let _ = self.closed.compare_exchange(OPEN, reason.index() as u8, AcqRel, Acquire);
    }

    pub(crate) fn closed(&self) -> Option<Refused> {
        let closed = self.closed.load(Acquire);
        (closed != OPEN).then(|| Refused::ALL[usize::from(closed)])
    }
}

/// The most that `records` records of `bytes` bytes together can cost.
pub(crate) fn cost_max(records: u32, bytes: u64) -> u64 {
    let overhead = (BLOCK_BYTES + BATCH_HEADER_BYTES + RECORD_HEADER_BYTES) as u64;
    (u64::from(records) * overhead).saturating_add(bytes)
}

/// Room in the journal, taken before the work that needs it. Dropping it gives it back.
#[derive(Debug)]
pub struct Room {
    gate: Arc<Gate>,
    cost: u64,
}

impl Room {
    /// Keeps only `cost` of it.
    fn shrink_to(&mut self, cost: u64) {
        self.gate.give_back(self.cost - cost);
        self.cost = cost;
    }

    /// The records take it with them; it comes back when they are durable.
    fn hand_over(mut self) {
        self.cost = 0;
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.cost > 0 {
            self.gate.give_back(self.cost);
        }
    }
}

/// The records of one turn of a worker, with the room that was taken for them.
#[derive(Debug)]
pub struct Batch {
    room: Room,
    cost: u64,
    submissions: Vec<(Record, Touch)>,
}

impl Batch {
    /// An empty batch that can be filled as far as `room` goes.
    #[must_use]
    pub fn new(room: Room) -> Self {
        Self { room, cost: 0, submissions: Vec::new() }
    }

    /// Adds a record. Cannot fail later: what is in the batch is written, or the journal fails.
    ///
    /// # Errors
    /// `InFlight` if the room does not reach, `RecordTooLarge`.
    pub fn push(&mut self, record: Record, touch: Touch) -> Result<(), Refused> {
        let gate = &self.room.gate;
        let refuse = |reason| {
            gate.stats.on_refused(reason);
            Err(reason)
        };
        if record.bytes() > gate.record_bytes_max {
            return refuse(Refused::RecordTooLarge);
        }
        let cost = self.cost + record.cost();
        if cost > self.room.cost {
            return refuse(Refused::InFlight);
        }
        self.cost = cost;
        self.submissions.push((record, touch));
        Ok(())
    }

    /// Whether a record of `bytes` would be taken.
    #[must_use]
    pub fn has_room_for(&self, bytes: u64) -> bool {
        bytes <= self.room.gate.record_bytes_max
            && self.cost + crate::record_cost(bytes) <= self.room.cost
    }

    /// Number of records in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.submissions.len()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.submissions.is_empty()
    }

    /// The records, and what gives back the room that they do not use.
    pub(crate) fn into_parts(mut self) -> (Vec<(Record, Touch)>, BatchRoom) {
        self.room.shrink_to(self.cost);
        (self.submissions, BatchRoom(self.room))
    }
}

/// Room of records on their way into the queue.
#[derive(Debug)]
pub(crate) struct BatchRoom(Room);

impl BatchRoom {
    /// They are in the queue.
    pub(crate) fn submitted(self) {
        self.0.hand_over();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn gate(room: i64) -> Arc<Gate> {
        let limits = Limits::new(&Config::default()).unwrap();
        let gate = Arc::new(Gate::new(&limits, Arc::new(Stats::default())));
        gate.settle(0, room);
        gate
    }

    #[test]
    fn room_is_neither_made_nor_lost_between_threads() {
        let gate = gate(100_000);
        let taken = Arc::new(AtomicI64::new(0));
        std::thread::scope(|scope| {
            for step in 1..=4_u64 {
                let (gate, taken) = (Arc::clone(&gate), Arc::clone(&taken));
                scope.spawn(move || {
                    for round in 0..20_000 {
                        let cost = 1 + (round * step) % 40_000;
                        let Ok(room) = gate.try_reserve(cost, false) else { continue };
                        let now = taken.fetch_add(cost as i64, AcqRel) + cost as i64;
                        assert!(now <= 100_000, "{now} bytes handed out");
                        taken.fetch_sub(cost as i64, AcqRel);
                        if round % 3 == 0 {
                            // As a record that becomes durable and is trimmed at once.
                            room.hand_over();
                            gate.settle(cost, 0);
                        }
                    }
                });
            }
        });
        assert_eq!(gate.available.load(Acquire), 100_000);
        assert_eq!(gate.reserved.load(Acquire), 0);
        assert!(gate.try_reserve(100_000, false).is_ok());
    }

    #[test]
    fn the_reason_of_a_refusal_is_the_one_that_holds() {
        let gate = gate(8192);
        assert_eq!(gate.try_reserve(8193, false).unwrap_err(), Refused::SegmentPending);
        gate.set_shortage(Refused::DiskBudget);
        assert_eq!(gate.try_reserve(8193, false).unwrap_err(), Refused::DiskBudget);
        assert_eq!(gate.try_reserve(u64::MAX, false).unwrap_err(), Refused::InFlight);
        assert_eq!(gate.try_reserve((64 << 20) + 1, false).unwrap_err(), Refused::InFlight);
        assert!(gate.try_reserve(8193, true).is_err(), "one more attempt at the same");
        gate.close(Refused::Failed);
        gate.close(Refused::Closed);
        assert_eq!(
            gate.try_reserve(1, false).unwrap_err(),
            Refused::Failed,
            "the first reason stays"
        );
        assert_eq!(gate.stats.snapshot().refused.iter().sum::<u64>(), 5);
    }

    #[test]
    fn work_is_taken_on_while_there_is_more_than_the_reserve_or_more_will_come() {
        let gate = gate(0);
        let reserve = gate.reserve_bytes;
        assert_eq!(gate.admit(), Ok(()), "a segment is on its way");
        gate.set_shortage(Refused::DiskFull);
        assert_eq!(gate.admit(), Err(Refused::DiskFull));
        gate.settle(0, reserve);
        assert_eq!(gate.admit(), Ok(()));
        let room = gate.try_reserve(1, false).unwrap();
        assert_eq!(gate.admit(), Err(Refused::DiskFull));
        drop(room);
        gate.close(Refused::Failed);
        assert_eq!(gate.admit(), Err(Refused::Failed));
    }
}
