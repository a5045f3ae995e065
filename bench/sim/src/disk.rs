//! The disk beneath the journal: what is written is volatile until it is flushed.
//!
//! A flush makes durable what was written, or fails; after a failed one what it should have
//! written is neither durable nor written again, though it can still be read (as Linux does). A
//! loss of power keeps of each unflushed sector the old, the new, or a part of the new. The death
//! of the process alone loses nothing that was written.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use ringpost_journal::{BLOCK_BYTES, BatchHeader, DeviceError, Operation, SegmentSource, SlotInfo};

use crate::content;
use crate::dice::Dice;
use crate::fact::Fact;
use crate::plant::Plant;
use crate::trace::Trace;

/// What is written as one.
const SECTOR_BYTES: usize = 512;

/// The id in every batch of this disk's journal.
pub(crate) const JOURNAL_ID: u64 = 0x5EED_0F51_AB1E_0001;

/// One bit of a durable batch.
struct Flip {
    slot: u32,
    at: usize,
    mask: u8,
}

#[derive(Debug, Clone, Default)]
struct Segment {
    durable: Vec<u8>,
    /// What a read finds.
    cached: Vec<u8>,
    /// Ranges written since the last flush.
    dirty: Vec<(usize, usize)>,
}

/// The segments of one journal.
pub(crate) struct Disk {
    segments: BTreeMap<u32, Segment>,
    dice: Dice,
    trace: Trace,
    plant: Option<Plant>,
    error_in: u64,
    /// There is no room for another segment.
    is_full: bool,
    /// A bit that is not what was written.
    flipped: Option<Flip>,
    /// Where the last batch was written: for a fault that writes there again.
    last_write: Option<(u32, usize)>,
}

impl Disk {
    /// An empty disk, an operation of which fails once in `error_in`.
    #[must_use]
    pub(crate) fn new(dice: Dice, trace: Trace, plant: Option<Plant>, error_in: u64) -> Self {
        Self {
            segments: BTreeMap::new(),
            dice,
            trace,
            plant,
            error_in,
            is_full: false,
            flipped: None,
            last_write: None,
        }
    }

    /// Sets how often an operation fails, and answers how often it did.
    pub(crate) fn fail_once_in(&mut self, times: u64) -> u64 {
        std::mem::replace(&mut self.error_in, times)
    }

    /// Fills the disk, or makes room.
    pub(crate) fn set_full(&mut self, is_full: bool) {
        self.is_full = is_full;
    }

    /// A new segment of zeros, durable at once.
    ///
    /// # Errors
    /// If the disk is full today.
    pub(crate) fn prepare(&mut self, slot: u32, bytes: u64) -> Result<(), DeviceError> {
        if self.is_full || self.fails() {
            return Err(error(Operation::Write, ErrorKind::StorageFull));
        }
        self.flipped.take_if(|flip| flip.slot == slot);
        let zeros = vec![0; bytes as usize];
        let fresh = Segment { durable: zeros.clone(), cached: zeros, dirty: Vec::new() };
        self.segments.insert(slot, fresh);
        Ok(())
    }

    /// Deletes a segment.
    pub(crate) fn remove(&mut self, slot: u32) {
        self.flipped.take_if(|flip| flip.slot == slot);
        self.segments.remove(&slot);
    }

    /// Writes into the cache.
    ///
    /// # Errors
    /// If it fails; then part of it was written.
    pub(crate) fn write(
        &mut self,
        slot: u32,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), DeviceError> {
        let mut at = offset as usize;
        if self.plant == Some(Plant::RewriteDurableBlock)
            && let Some((_, last)) = self.last_write.filter(|last| last.0 == slot)
        {
            at = last;
        }
        self.last_write = Some((slot, at));
        if self.fails() {
            self.write_torn(slot, offset, bytes);
            let kinds = [ErrorKind::StorageFull, ErrorKind::Other];
            return Err(error(Operation::Write, self.dice.pick(&kinds)));
        }
        self.put(slot, at, bytes);
        Ok(())
    }

    /// What a write that was under way leaves behind.
    pub(crate) fn write_torn(&mut self, slot: u32, offset: u64, bytes: &[u8]) {
        for (index, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
            if self.dice.one_in(2) {
                self.put(slot, offset as usize + index * SECTOR_BYTES, sector);
            }
        }
    }

    /// Makes durable what was written to a segment.
    ///
    /// # Errors
    /// If it fails; what it did not write by then is never written.
    pub(crate) fn flush(&mut self, slot: u32) -> Result<(), DeviceError> {
        if self.plant == Some(Plant::AckBeforeFlush) {
            return Ok(());
        }
        let fails = self.fails();
        let Some(segment) = self.segments.get_mut(&slot) else { return Ok(()) };
        for (from, to) in std::mem::take(&mut segment.dirty) {
            for at in (from..to).step_by(SECTOR_BYTES) {
                if !fails || self.dice.one_in(2) {
                    let end = (at + SECTOR_BYTES).min(to);
                    segment.durable[at..end].copy_from_slice(&segment.cached[at..end]);
                }
            }
            tell_durable(&self.trace, &segment.durable, from, to);
        }
        if fails { Err(error(Operation::Sync, ErrorKind::Other)) } else { Ok(()) }
    }

    /// The power is lost.
    pub(crate) fn lose_power(&mut self) {
        for segment in self.segments.values_mut() {
            let Segment { durable, cached, dirty } = segment;
            for (from, to) in dirty.drain(..) {
                for at in (from..to).step_by(SECTOR_BYTES) {
                    let end = (at + SECTOR_BYTES).min(to);
                    let kept = match self.dice.below(4) {
                        0 => at,
                        1 => at + self.dice.index(end - at),
                        _ => end,
                    };
                    durable[at..kept].copy_from_slice(&cached[at..kept]);
                }
                tell_durable(&self.trace, durable, from, to);
            }
            cached.clone_from(durable);
        }
        self.last_write = None;
    }

    /// Turns one bit of a durable batch over, unless one is turned over already. Not of the newest:
    /// nothing vouches for it yet, and its damage looks like a write that was torn. Nor where another
    /// batch is on its way to the disk: that one would be torn now and whole after a repair.
    pub(crate) fn flip_a_bit(&mut self) {
        let mut batches = self.batches();
        batches.sort_unstable();
        batches.pop();
        batches.retain(|&(_, slot, at, bytes)| {
            let segment = &self.segments[&slot];
            segment.cached[at..at + bytes] == segment.durable[at..at + bytes]
        });
        if batches.is_empty() || self.flipped.is_some() {
            return;
        }
        let (_, slot, at, bytes) = batches[self.dice.index(batches.len())];
        let flip = Flip { slot, at: at + self.dice.index(bytes), mask: 1 << self.dice.below(8) };
        self.turn_over(&flip);
        self.flipped = Some(flip);
        self.trace.fact(Fact::Damaged);
    }

    /// Turns the bit back, as a disk does that reads better the next time.
    pub(crate) fn repair(&mut self) {
        if let Some(flip) = self.flipped.take() {
            self.turn_over(&flip);
            self.trace.fact(Fact::Repaired);
        }
    }

    fn turn_over(&mut self, flip: &Flip) {
        let segment = self.segments.get_mut(&flip.slot).expect("what is removed is forgotten");
        segment.durable[flip.at] ^= flip.mask;
        segment.cached[flip.at] ^= flip.mask;
    }

    /// Durable batches with records: what they are ordered by, slot, offset, bytes. A batch that was
    /// never acknowledged may have the sequence of a later one, in a segment of a later generation.
    fn batches(&self) -> Vec<((u64, u64), u32, usize, usize)> {
        let of_segment = |(&slot, segment): (&u32, &Segment)| {
            let blocks = segment.durable.chunks(BLOCK_BYTES).enumerate();
            blocks
                .filter_map(|(index, block)| {
                    let header = BatchHeader::decode(block, JOURNAL_ID)?;
                    let at = index * BLOCK_BYTES;
                    let bytes = (header.batch_bytes() as usize).min(segment.durable.len() - at);
                    let order = (header.generation, header.sequence);
                    (header.records > 0).then_some((order, slot, at, bytes))
                })
                .collect::<Vec<_>>()
        };
        self.segments.iter().flat_map(of_segment).collect()
    }

    fn put(&mut self, slot: u32, at: usize, bytes: &[u8]) {
        let segment = self.segments.get_mut(&slot).expect("a segment is prepared first");
        let end = at + bytes.len();
        self.flipped.take_if(|flip| flip.slot == slot && (at..end).contains(&flip.at));
        segment.cached[at..end].copy_from_slice(bytes);
        segment.dirty.push((at, end));
    }

    fn fails(&mut self) -> bool {
        let fails = self.dice.one_in(self.error_in);
        if fails {
            self.trace.fact(Fact::DiskFailed);
        }
        fails
    }

    /// For [`Plant::CutTooMuch`]: the newest batch is made unreadable before recovery.
    pub(crate) fn cut_newest_batch(&mut self) {
        let newest = self.batches().into_iter().max();
        if let Some((_, slot, at, _)) = newest {
            let segment = self.segments.get_mut(&slot).expect("found above");
            segment.cached[at..at + SECTOR_BYTES].fill(0);
            segment.durable[at..at + SECTOR_BYTES].fill(0);
        }
    }
}

/// Tells the checkers what content is found in bytes that survive now, whoever meant them to; also
/// that which begins or ends beside them.
fn tell_durable(trace: &Trace, durable: &[u8], from: usize, to: usize) {
    let from = from.saturating_sub(content::BYTES_MIN);
    let to = (to + content::BYTES_MIN).min(durable.len());
    for canary in content::canaries(&durable[from..to]) {
        trace.fact(Fact::Durable { canary });
    }
}

/// Reads for recovery: a copy of the disk that flushes through to it.
impl SegmentSource for &mut Disk {
    fn slots(&mut self) -> Result<Vec<SlotInfo>, DeviceError> {
        if self.fails() {
            return Err(error(Operation::Directory, ErrorKind::Other));
        }
        let info = |(&slot, segment): (&u32, &Segment)| SlotInfo {
            slot,
            bytes: segment.cached.len() as u64,
        };
        Ok(self.segments.iter().map(info).collect())
    }

    fn sync(&mut self, slot: u32) -> Result<(), DeviceError> {
        if self.plant == Some(Plant::UnflushedRecovery) {
            return Ok(());
        }
        self.flush(slot)?;
        // What an earlier failed flush has lost is not read again either.
        if self.plant != Some(Plant::AckBeforeFlush)
            && let Some(segment) = self.segments.get_mut(&slot)
        {
            segment.cached.clone_from(&segment.durable);
        }
        Ok(())
    }

    fn read(&mut self, slot: u32, offset: u64, out: &mut [u8]) -> Result<(), DeviceError> {
        if self.fails() {
            return Err(error(Operation::Read, ErrorKind::Other));
        }
        let start = offset as usize;
        let segment = &self.segments[&slot];
        out.copy_from_slice(&segment.cached[start..start + out.len()]);
        Ok(())
    }
}

fn error(operation: Operation, kind: ErrorKind) -> DeviceError {
    DeviceError::new(operation, "simulated", kind.into())
}
