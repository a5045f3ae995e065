//! Which segments exist, which hold records, which are free. No I/O.
//!
//! ```text
//!            prepare            take              trim
//!  (nothing) -------> spare <--------- live <----------.
//!     ^                 | \_____________^ |            |
//!     |     surplus     v                 '------------'
//!     '--------------- doomed
//! ```
//!
//! - A *slot* is a file; it keeps its number for life. A *generation* is one use of it.
//! - All segments together never exceed the disk budget; only spares that are already prewritten
//!   count as room, so what was admitted can always be written.
//! - The segment that holds the last durable batch is never given away: it carries the chain.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use crate::{
    config::Limits,
    error::{DeviceError, Refused},
    format::Mark,
    recovery::{ChainLink, SlotInfo},
};

/// Pause after a segment could not be prepared, before it is tried again.
pub const PREPARE_RETRY: Duration = Duration::from_secs(1);

/// The segments of one journal.
#[derive(Debug)]
pub(crate) struct Segments {
    segment_bytes: u64,
    record_cost_max: u64,
    disk_budget_bytes: u64,
    spare_wanted: usize,
    spare_kept_max: usize,
    /// Oldest first. If `active`, the last one is being written.
    live: VecDeque<ChainLink>,
    active: bool,
    spare: BTreeSet<u32>,
    /// Surplus or of another size: to be deleted.
    doomed: VecDeque<SlotInfo>,
    /// Every number that has a file, or is about to.
    used: BTreeSet<u32>,
    preparing: Option<u32>,
    removing: Option<SlotInfo>,
    disk_bytes: u64,
    next_generation: u64,
    prepare_failed: Option<(Duration, DeviceError)>,
}

impl Segments {
    pub(crate) fn new(
        limits: &Limits,
        chain: &[ChainLink],
        free: &[SlotInfo],
        next_generation: u64,
    ) -> Self {
        let (mut spare, mut doomed): (Vec<_>, Vec<_>) =
            free.iter().copied().partition(|slot| slot.bytes == limits.segment_bytes);
        doomed.extend(spare.drain(limits.spare_kept_max.min(spare.len())..));
        let slots = chain.iter().map(|link| (link.slot, link.bytes));
        let slots: Vec<_> = slots.chain(free.iter().map(|slot| (slot.slot, slot.bytes))).collect();
        Self {
            segment_bytes: limits.segment_bytes,
            record_cost_max: limits.record_cost_max,
            disk_budget_bytes: limits.disk_budget_bytes,
            spare_wanted: limits.spare_segments,
            spare_kept_max: limits.spare_kept_max,
            live: chain.iter().cloned().collect(),
            active: false,
            spare: spare.iter().map(|slot| slot.slot).collect(),
            doomed: doomed.into(),
            used: slots.iter().map(|&(slot, _)| slot).collect(),
            preparing: None,
            removing: None,
            disk_bytes: slots.iter().map(|&(_, bytes)| bytes).sum(),
            next_generation,
            prepare_failed: None,
        }
    }

    /// The segment being written, if there is one.
    pub(crate) fn active(&self) -> Option<&ChainLink> {
        self.live.back().filter(|_| self.active)
    }

    pub(crate) fn active_mut(&mut self) -> Option<&mut ChainLink> {
        self.live.back_mut().filter(|_| self.active)
    }

    /// Bytes of records, each counted at its cost alone, that fit behind what is durable now.
    ///
    /// A record is never split, so each step into a next segment may leave up to one largest
    /// record unused in the one before; hence the deduction for each spare.
    pub(crate) fn room_bytes(&self) -> u64 {
        let active = self.active().map_or(0, |segment| segment.bytes - segment.end);
        active + self.spare.len() as u64 * (self.segment_bytes - self.record_cost_max)
    }

    /// Why there is not more room.
    pub(crate) fn shortage(&self) -> Refused {
        if self.prepare_failed.is_some() {
            // Also while it is tried again: until that succeeds, nothing says that it will.
            Refused::DiskFull
        } else if self.preparing.is_none() && !self.fits_budget() {
            Refused::DiskBudget
        } else {
            Refused::SegmentPending
        }
    }

    /// Makes a spare the active segment and returns it. Its first batch will have `sequence`,
    /// follow `previous`, and start behind `last_position`.
    ///
    /// # Panics
    /// If there is no spare: room was promised that does not exist.
    pub(crate) fn take_spare(
        &mut self,
        sequence: u64,
        previous: Mark,
        last_position: u64,
    ) -> &ChainLink {
        let slot = self.spare.pop_first().expect("room is only promised for prepared segments");
        let generation = self.next_generation;
        self.next_generation += 1;
        self.active = true;
        self.live.push_back(ChainLink {
            slot,
            bytes: self.segment_bytes,
            generation,
            first_sequence: sequence,
            first_position: last_position + 1,
            last_position,
            end: 0,
            previous,
        });
        self.live.back().expect("pushed above")
    }

    /// Frees segments whose records all lie at or below `through`. The segment of
    /// `durable_generation`, and what follows it, stays.
    pub(crate) fn trim(&mut self, through: u64, durable_generation: u64) {
        while let Some(front) = self.live.front() {
            if front.last_position > through || front.generation >= durable_generation {
                break;
            }
            let freed = self.live.pop_front().expect("looked at above");
            if freed.bytes == self.segment_bytes && self.spare.len() < self.spare_kept_max {
                self.spare.insert(freed.slot);
            } else {
                self.doomed.push_back(SlotInfo { slot: freed.slot, bytes: freed.bytes });
            }
        }
    }

    /// The slot to prewrite next, if one is wanted and may be.
    pub(crate) fn poll_prepare(&mut self, now: Duration) -> Option<u32> {
        let paused = self.prepare_failed.as_ref().is_some_and(|&(at, _)| now < at);
        if paused || !self.wants_prepare() {
            return None;
        }
        let slot = (0..=u32::MAX).find(|slot| !self.used.contains(slot))?;
        self.used.insert(slot);
        self.preparing = Some(slot);
        Some(slot)
    }

    pub(crate) fn on_prepared(
        &mut self,
        slot: u32,
        result: Result<(), DeviceError>,
        now: Duration,
    ) {
        assert_eq!(self.preparing.take(), Some(slot), "one preparation at a time");
        match result {
            Ok(()) => {
                self.prepare_failed = None;
                self.disk_bytes += self.segment_bytes;
                self.spare.insert(slot);
            }
            Err(error) => {
                self.used.remove(&slot);
                self.prepare_failed = Some((now + PREPARE_RETRY, error));
            }
        }
    }

    /// When a failed preparation is to be tried again.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let failed = self.prepare_failed.as_ref().filter(|_| self.wants_prepare());
        failed.map(|&(at, _)| at)
    }

    /// Why the last preparation failed.
    pub(crate) fn prepare_error(&self) -> Option<&DeviceError> {
        self.prepare_failed.as_ref().map(|(_, error)| error)
    }

    /// The next surplus slot to delete.
    pub(crate) fn poll_remove(&mut self) -> Option<u32> {
        if self.removing.is_some() {
            return None;
        }
        self.removing = self.doomed.pop_front();
        self.removing.map(|slot| slot.slot)
    }

    /// A slot that could not be deleted goes on counting as disk space; the next boot finds it.
    pub(crate) fn on_removed(&mut self, slot: u32, removed: bool) {
        let removing = self.removing.take().expect("one removal at a time");
        assert_eq!(removing.slot, slot, "one removal at a time");
        if removed {
            self.used.remove(&slot);
            self.disk_bytes -= removing.bytes;
        }
    }

    /// The durable journal as it is now, oldest segment first.
    pub(crate) fn durable_chain(&self) -> Vec<ChainLink> {
        self.live.iter().filter(|link| link.end > 0).cloned().collect()
    }

    pub(crate) fn live_count(&self) -> usize {
        self.live.len()
    }

    pub(crate) fn spare_count(&self) -> usize {
        self.spare.len()
    }

    pub(crate) fn disk_bytes(&self) -> u64 {
        self.disk_bytes
    }

    fn wants_prepare(&self) -> bool {
        self.preparing.is_none() && self.spare.len() < self.spare_wanted && self.fits_budget()
    }

    fn fits_budget(&self) -> bool {
        self.disk_bytes + self.segment_bytes <= self.disk_budget_bytes
    }
}
