//! Finding out, after any kind of stop, what is durable. Reads only, through [`SegmentSource`].
//!
//! 1. Every segment is fdatasync'ed before a byte of it is believed: what a killed process left in
//!    the page cache must not be acted on and then be lost by a power cut.
//! 2. The first batch of each slot names its generation. The newest generation whose first batch
//!    is whole is the tip; newer ones without a whole batch were never acknowledged. The header of
//!    such a batch, if it can be read, still vouches for all that was durable before it was written.
//! 3. The tip is read batch by batch. It ends at the first batch that is not whole. If *behind* that
//!    end there is a batch of the same generation, it was written after the broken one had been
//!    durable: that is damage. The same search runs over every slot that is not in the chain.
//! 4. From the tip each first batch names where the durable journal ended before it; following
//!    these marks gives the chain, each segment with its exact end. What lies behind a mark was
//!    torn, and is never read again.
//! 5. Segments before the tip are checked when they are read (`reader`): there, anything that is
//!    not whole is damage.
//!
//! What cannot be told apart from a torn write: damage to the very last batch, when no later batch
//! (not even the seal of a clean stop) vouches for it; and a newest segment that is gone as a whole,
//! unless the store has applied a record of it.

use std::{collections::BTreeMap, path::PathBuf};

use bytes::{Bytes, BytesMut};

use crate::{
    directory::segment_name,
    error::{Damage, DeviceError, RecoveryError},
    format::{BATCH_HEADER_BYTES, BLOCK_BYTES, BatchHeader, Mark, RecoveredRecord, decode_records},
};

/// Bytes read at a time when a segment is searched for batches.
const SEARCH_BYTES: usize = 1 << 20;

/// A segment file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotInfo {
    /// Its number.
    pub slot: u32,
    /// Its length.
    pub bytes: u64,
}

/// Read access to segments; implemented by the directory and by simulated disks.
pub trait SegmentSource {
    /// All segments, in any order.
    ///
    /// # Errors
    /// The directory cannot be read.
    fn slots(&mut self) -> Result<Vec<SlotInfo>, DeviceError>;
    /// Makes durable what the segment holds, and drops cached copies of it.
    ///
    /// # Errors
    /// The device said that it may have lost something.
    fn sync(&mut self, slot: u32) -> Result<(), DeviceError>;
    /// Fills `out` from `offset` on; the range lies inside the segment.
    ///
    /// # Errors
    /// The bytes cannot be read.
    fn read(&mut self, slot: u32, offset: u64, out: &mut [u8]) -> Result<(), DeviceError>;
    /// How the segment is called in messages.
    fn path(&self, slot: u32) -> PathBuf {
        PathBuf::from(segment_name(slot))
    }
}

/// One segment of the durable journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainLink {
    /// Slot.
    pub slot: u32,
    /// Size of the file.
    pub bytes: u64,
    /// Generation.
    pub generation: u64,
    /// Sequence of its first batch.
    pub first_sequence: u64,
    /// Position of its first record.
    pub first_position: u64,
    /// Position of its last record.
    pub last_position: u64,
    /// Offset behind its last durable batch.
    pub end: u64,
    /// What its first batch says about what came before.
    pub previous: Mark,
}

/// What was found, in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Position of the next record.
    pub next_position: u64,
    /// Sequence of the next batch.
    pub next_sequence: u64,
    /// Generation for the next segment.
    pub next_generation: u64,
    /// First position that can be read; `next_position` if there is none.
    pub oldest_position: u64,
    /// Segments in the chain.
    pub segments: usize,
    /// Bytes of batches that were begun and never acknowledged, as far as their headers were
    /// written; they are discarded.
    pub torn_bytes: u64,
}

/// The outcome of [`recover`].
#[derive(Debug, Clone)]
pub struct Recovery {
    /// The durable journal, oldest segment first.
    pub chain: Vec<ChainLink>,
    /// Segments that hold nothing of it.
    pub free: Vec<SlotInfo>,
    /// Where it ends.
    pub durable: Mark,
    /// Numbers for the log.
    pub report: RecoveryReport,
}

/// Finds the durable journal in `source`. `checkpoint` is the position up to which the store has
/// persisted (0 for nothing); every record above it must be there.
///
/// # Errors
/// See [`RecoveryError`].
pub fn recover(
    source: &mut impl SegmentSource,
    journal_id: u64,
    checkpoint: u64,
) -> Result<Recovery, RecoveryError> {
    recover_behind(source, journal_id, 0, checkpoint)
}

/// The same of a journal whose first record stands behind the position `base`.
///
/// # Errors
/// See [`RecoveryError`].
pub fn recover_behind(
    source: &mut impl SegmentSource,
    journal_id: u64,
    base: u64,
    checkpoint: u64,
) -> Result<Recovery, RecoveryError> {
    let recovery = find(source, journal_id, base, Some(checkpoint))?;
    let last = recovery.report.next_position - 1;
    if checkpoint > last {
        return Err(RecoveryError::CheckpointAhead { checkpoint, last });
    }
    Ok(recovery)
}

/// [`recover`], without a store to compare with if `checkpoint` is `None`.
pub(crate) fn find(
    source: &mut impl SegmentSource,
    journal_id: u64,
    base: u64,
    checkpoint: Option<u64>,
) -> Result<Recovery, RecoveryError> {
    let mut slots = source.slots()?;
    slots.sort_by_key(|slot| slot.slot);
    for slot in &slots {
        source.sync(slot.slot)?;
    }
    let mut finder = Finder { source, journal_id, checkpoint, firsts: BTreeMap::new(), torn: 0 };
    finder.read_firsts(&slots)?;
    let tip = finder.find_tip()?;
    let chain = match &tip {
        Some(tip) => finder.follow(&slots, tip)?,
        None => Vec::new(),
    };
    let free: Vec<_> = slots
        .iter()
        .filter(|slot| chain.iter().all(|link| link.slot != slot.slot))
        .copied()
        .collect();
    let newest = finder.search_free(&free, tip.as_ref())?;
    let report = RecoveryReport {
        next_position: tip.as_ref().map_or(base + 1, |tip| tip.link.last_position + 1),
        next_sequence: tip.as_ref().map_or(1, |tip| tip.next_sequence),
        next_generation: newest + 1,
        oldest_position: chain.first().map_or(base + 1, |link| link.first_position),
        segments: chain.len(),
        torn_bytes: finder.torn,
    };
    let durable = chain.last().map_or(Mark::ORIGIN, |link| Mark {
        generation: link.generation,
        slot: link.slot,
        end: link.end,
    });
    Ok(Recovery { chain, free, durable, report })
}

struct Tip {
    link: ChainLink,
    next_sequence: u64,
    trimmed_through: u64,
}

struct Finder<'a, S> {
    source: &'a mut S,
    journal_id: u64,
    checkpoint: Option<u64>,
    /// First header of each slot that has one, by generation.
    firsts: BTreeMap<u64, (SlotInfo, BatchHeader)>,
    torn: u64,
}

impl<S: SegmentSource> Finder<'_, S> {
    fn read_firsts(&mut self, slots: &[SlotInfo]) -> Result<(), RecoveryError> {
        let mut head = [0; BATCH_HEADER_BYTES];
        for slot in slots {
            if slot.bytes < BLOCK_BYTES as u64 {
                continue;
            }
            self.source.read(slot.slot, 0, &mut head)?;
            let header = BatchHeader::decode(&head, self.journal_id)
                .filter(|header| header.slot == slot.slot && header.offset == 0)
                // A segment is begun behind an older one. Marks that lead back to where they
                // stand would be followed for ever.
                .filter(|header| header.previous.generation < header.generation);
            if let Some(header) = header {
                self.firsts.insert(header.generation, (*slot, header));
            }
        }
        Ok(())
    }

    /// The newest segment with at least one whole batch, read to its end.
    fn find_tip(&mut self) -> Result<Option<Tip>, RecoveryError> {
        let candidates: Vec<_> = self.firsts.values().rev().cloned().collect();
        let mut vouched = Mark::ORIGIN;
        for (slot, first) in candidates {
            let mut walk = Walk::new(slot, &first);
            let mut trimmed_through = 0;
            while let Some(batch) = walk.next(self.source, self.journal_id)? {
                trimmed_through = batch.header.trimmed_through;
            }
            self.refuse_later_batch(slot, walk.offset, first.generation, walk.position)?;
            self.torn += walk.torn_bytes;
            if walk.offset > 0 {
                refuse_shorter(first.generation, walk.offset, walk.position, vouched)?;
                let link = link(slot, &first, walk.position - 1, walk.offset);
                let next_sequence = walk.sequence;
                return Ok(Some(Tip { link, next_sequence, trimmed_through }));
            }
            if (first.previous.generation, first.previous.end) > (vouched.generation, vouched.end) {
                vouched = first.previous;
            }
        }
        refuse_shorter(0, 0, 1, vouched)?;
        Ok(None)
    }

    /// The chain that ends in `tip`, oldest first, as far as it is still there.
    fn follow(&self, slots: &[SlotInfo], tip: &Tip) -> Result<Vec<ChainLink>, RecoveryError> {
        let mut chain = vec![tip.link.clone()];
        let mut oldest = &tip.link;
        while let Some((slot, first)) = self.firsts.get(&oldest.previous.generation) {
            if slot.slot != oldest.previous.slot {
                break;
            }
            chain.push(link(*slot, first, oldest.first_position - 1, oldest.previous.end));
            oldest = chain.last().expect("pushed above");
        }
        let (oldest, previous) = (oldest.first_position, oldest.previous);
        // Without a store to ask, what was trimmed is what is not needed.
        let checkpoint = self.checkpoint.unwrap_or(tip.trimmed_through);
        if oldest > checkpoint + 1 {
            if oldest <= tip.trimmed_through + 1 {
                return Err(RecoveryError::CheckpointBehind { checkpoint, oldest });
            }
            let what = if slots.iter().any(|slot| slot.slot == previous.slot) {
                "its first batch is not readable, and a later segment says that it is durable"
            } else {
                "the file is missing, and a later segment says that it is durable"
            };
            let (slot, generation) = (previous.slot, previous.generation);
            return Err(damage(slot, generation, 0, checkpoint + 1, what).into());
        }
        chain.reverse();
        Ok(chain)
    }

    /// Searches the slots outside the chain for what should not be there, and answers with the
    /// newest generation seen anywhere.
    fn search_free(&mut self, free: &[SlotInfo], tip: Option<&Tip>) -> Result<u64, RecoveryError> {
        let (tip_generation, position) =
            tip.map_or((0, 1), |tip| (tip.link.generation, tip.link.last_position + 1));
        let newest = self.firsts.keys().next_back().copied().unwrap_or(0);
        for slot in free {
            self.refuse_later_batch(*slot, 0, tip_generation + 1, position)?;
        }
        Ok(newest)
    }

    /// Damage if a batch of `generation` or a newer one starts behind the block at `offset`.
    fn refuse_later_batch(
        &mut self,
        slot: SlotInfo,
        offset: u64,
        generation: u64,
        position: u64,
    ) -> Result<(), RecoveryError> {
        let search_bytes = SEARCH_BYTES.min(usize::try_from(slot.bytes).unwrap_or(SEARCH_BYTES));
        let mut chunk = vec![0; search_bytes];
        let mut at = offset + BLOCK_BYTES as u64;
        while at < slot.bytes {
            let bytes = usize::try_from(slot.bytes - at).unwrap_or(usize::MAX).min(search_bytes);
            self.source.read(slot.slot, at, &mut chunk[..bytes])?;
            for (index, block) in chunk[..bytes].chunks(BLOCK_BYTES).enumerate() {
                let found = at + (index * BLOCK_BYTES) as u64;
                let later = BatchHeader::decode(block, self.journal_id).filter(|header| {
                    header.slot == slot.slot
                        && header.offset == found
                        && header.generation >= generation
                });
                if let Some(later) = later {
                    let what = format!(
                        "no whole batch here, but batch {} at byte {found} was written after it",
                        later.sequence
                    );
                    let generation = later.generation;
                    return Err(damage(slot.slot, generation, offset, position, &what).into());
                }
            }
            at += bytes as u64;
        }
        Ok(())
    }
}

/// Damage if the journal is said to have been durable up to `vouched`, and ends before it.
fn refuse_shorter(
    generation: u64,
    end: u64,
    position: u64,
    vouched: Mark,
) -> Result<(), RecoveryError> {
    if (vouched.generation, vouched.end) <= (generation, end) {
        return Ok(());
    }
    let offset = if vouched.generation == generation { end } else { 0 };
    let what = "no whole batch here, but a later segment was begun behind a durable one";
    Err(damage(vouched.slot, vouched.generation, offset, position, what).into())
}

/// Reads the batches of one segment in order, and stops at the first that is not what must follow.
#[derive(Debug)]
pub(crate) struct Walk {
    slot: SlotInfo,
    generation: u64,
    /// Offset of the batch that comes next: the end of what was whole.
    pub(crate) offset: u64,
    /// Sequence that it must have.
    pub(crate) sequence: u64,
    /// Position that it must start with.
    pub(crate) position: u64,
    /// Length of the batch that was begun at `offset` and is not whole; 0 if there is none.
    pub(crate) torn_bytes: u64,
    previous: Mark,
}

/// A whole batch.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) header: BatchHeader,
    pub(crate) records: Vec<RecoveredRecord>,
}

impl Walk {
    /// `first` is the header at offset 0.
    pub(crate) fn new(slot: SlotInfo, first: &BatchHeader) -> Self {
        let (generation, previous) = (first.generation, first.previous);
        Self::starting(slot, generation, first.sequence, first.first_position, previous)
    }

    pub(crate) fn of(link: &ChainLink) -> Self {
        let slot = SlotInfo { slot: link.slot, bytes: link.bytes };
        let ChainLink { generation, first_sequence, first_position, previous, .. } = *link;
        Self::starting(slot, generation, first_sequence, first_position, previous)
    }

    fn starting(
        slot: SlotInfo,
        generation: u64,
        sequence: u64,
        position: u64,
        previous: Mark,
    ) -> Self {
        Self { slot, generation, offset: 0, sequence, position, torn_bytes: 0, previous }
    }

    /// The next whole batch; `None` at the first that is not.
    pub(crate) fn next(
        &mut self,
        source: &mut impl SegmentSource,
        journal_id: u64,
    ) -> Result<Option<Batch>, DeviceError> {
        let left = self.slot.bytes.saturating_sub(self.offset);
        if left < BLOCK_BYTES as u64 {
            return Ok(None);
        }
        let mut bytes = BytesMut::zeroed(BLOCK_BYTES);
        source.read(self.slot.slot, self.offset, &mut bytes)?;
        let header = BatchHeader::decode(&bytes, journal_id).filter(|header| {
            header.generation == self.generation
                && header.slot == self.slot.slot
                && header.offset == self.offset
                && header.sequence == self.sequence
                && header.first_position == self.position
                && header.previous == self.previous
                && header.batch_bytes() <= left
        });
        let Some(header) = header else { return Ok(None) };
        let batch_bytes = usize::try_from(header.batch_bytes()).expect("64-bit machine");
        bytes.resize(batch_bytes, 0);
        if batch_bytes > BLOCK_BYTES {
            let rest = self.offset + BLOCK_BYTES as u64;
            source.read(self.slot.slot, rest, &mut bytes[BLOCK_BYTES..])?;
        }
        let payload: Bytes = bytes.freeze().slice(BATCH_HEADER_BYTES..);
        let Ok(records) = decode_records(&header, &payload) else {
            self.torn_bytes = header.batch_bytes();
            return Ok(None);
        };
        self.offset = header.end();
        self.sequence += 1;
        self.position = header.last_position() + 1;
        self.previous =
            Mark { generation: self.generation, slot: self.slot.slot, end: self.offset };
        Ok(Some(Batch { header, records }))
    }
}

fn link(slot: SlotInfo, first: &BatchHeader, last_position: u64, end: u64) -> ChainLink {
    ChainLink {
        slot: slot.slot,
        bytes: slot.bytes,
        generation: first.generation,
        first_sequence: first.sequence,
        first_position: first.first_position,
        last_position,
        end,
        previous: first.previous,
    }
}

pub(crate) fn damage(slot: u32, generation: u64, offset: u64, position: u64, what: &str) -> Damage {
    let segment = segment_name(slot);
    Damage { segment, slot, generation, offset, position, what: what.to_owned() }
}
