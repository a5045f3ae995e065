//! A disk that is full or fails for a while: the store takes no writes then, and the journal gets no
//! segment. Decides when, by a dice of its own: what chance has in store for the rest of a run does
//! not depend on it. Owns how far a store that was opened again has caught up.

use std::collections::VecDeque;
use std::time::Duration;

use ringpost_shard::Position;
use ringpost_shard::record::SharedRecord;
use ringpost_store::StoreError;
use ringpost_store::engine::MemoryEngine;

use crate::dice::Dice;
use crate::disk::Disk;
use crate::trace::Trace;

/// One step in so many begins an outage, where disks fail at all.
const BEGINS_IN: u64 = 200;

/// Longest outage.
const LONGEST: Duration = Duration::from_secs(4);

/// Commits of those that were not persisted that are found again, at most.
const KEPT_MAX: u64 = 3;

/// How the store stands.
pub(crate) enum Standing {
    /// It takes writes.
    Well,
    /// It has refused one.
    Out,
    /// It was opened again, and these are still to be applied.
    CatchingUp(VecDeque<(Position, SharedRecord)>),
}

/// When the disk is out.
pub(crate) struct Outage {
    dice: Dice,
    can_begin: bool,
    ends_at: Option<Duration>,
}

impl Outage {
    pub(crate) fn new(dice: Dice, can_begin: bool) -> Self {
        Self { dice, can_begin, ends_at: None }
    }

    /// An outage may begin, or end.
    pub(crate) fn step(
        &mut self,
        now: Duration,
        disk: &mut Disk,
        engine: &MemoryEngine,
        trace: &Trace,
    ) {
        match self.ends_at {
            Some(end) if end <= now => self.end(disk, engine),
            None if self.can_begin && self.dice.one_in(BEGINS_IN) => {
                let is_full = self.dice.one_in(2);
                let error = if is_full { StoreError::NoSpace } else { StoreError::Stopped };
                trace.note(&format!("the disk is out: {error}"));
                engine.fail(error, self.dice.below(KEPT_MAX) as usize);
                disk.set_full(is_full);
                let thousandths = self.dice.below(1_000) as u32;
                self.ends_at = Some(now + LONGEST * thousandths / 1_000);
            }
            _ => {}
        }
    }

    /// From here on there is none.
    pub(crate) fn heal(&mut self, disk: &mut Disk, engine: &MemoryEngine) {
        self.can_begin = false;
        self.end(disk, engine);
    }

    fn end(&mut self, disk: &mut Disk, engine: &MemoryEngine) {
        self.ends_at = None;
        disk.set_full(false);
        engine.mend();
    }

    /// How many records are applied in the next step of catching up.
    pub(crate) fn pace(&mut self) -> usize {
        1 + self.dice.index(40)
    }
}
