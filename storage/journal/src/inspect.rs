//! A readable listing of a journal directory, for `ringpost journal inspect DIR`. Writes nothing.
//!
//! It goes on where recovery would stop: the listing says for each segment how far it can be read,
//! and what recovery says about the whole.

use std::{fmt, path::Path};

use crate::{
    directory::{Directory, FORMAT_VERSION},
    error::OpenError,
    format::{BATCH_HEADER_BYTES, BLOCK_BYTES, BatchHeader},
    recovery::{ChainLink, Recovery, SegmentSource, SlotInfo, Walk, find},
};

/// What is in a journal directory.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// Version of the format.
    pub format: u32,
    /// All segments, oldest generation first, empty ones last.
    pub segments: Vec<SegmentListing>,
    /// First and last durable position, `None` if there is no record or the end is not known.
    pub positions: Option<(u64, u64)>,
    /// Bytes of unacknowledged batches behind the end.
    pub torn_bytes: u64,
    /// Each thing that is damaged, in words. Empty = sound.
    pub damage: Vec<String>,
}

/// One segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentListing {
    /// File name.
    pub name: String,
    /// Size of the file.
    pub bytes: u64,
    /// What it is good for.
    pub role: SegmentRole,
    /// Its generation; 0 if it holds no readable batch.
    pub generation: u64,
    /// Whole batches from its start, up to its durable end if that is known.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Position of the first of them.
    pub first_position: u64,
    /// Position of the last of them.
    pub last_position: u64,
    /// Offset behind the last whole batch.
    pub used_bytes: u64,
}

/// What a segment is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentRole {
    /// Part of the durable journal.
    Live,
    /// Free: unused, or what it holds was trimmed or never acknowledged.
    Free,
    /// Not known, because recovery stops at damage.
    Unknown,
}

/// Lists the journal in `directory`.
///
/// # Errors
/// It is not a journal of this format, or its files cannot be read at all.
pub fn inspect(directory: &Path) -> Result<Inspection, OpenError> {
    let directory = Directory::open_existing(directory)?;
    let mut source = directory.read_only_source();
    let journal_id = directory.journal_id();
    let found = find(&mut source, journal_id, directory.base(), None);
    let chain = found.as_ref().ok().map(|recovery| recovery.chain.as_slice());
    let mut damage: Vec<_> = found.as_ref().err().map(ToString::to_string).into_iter().collect();
    let mut segments = Vec::new();
    for slot in source.slots()? {
        let (listing, broken) = list(&mut source, journal_id, slot, chain)?;
        segments.push(listing);
        damage.extend(broken);
    }
    segments
        .sort_by_key(|listing| (listing.generation == 0, listing.generation, listing.name.clone()));
    let positions = found.as_ref().ok().and_then(positions);
    let torn_bytes = found.as_ref().map_or(0, |recovery| recovery.report.torn_bytes);
    Ok(Inspection { format: FORMAT_VERSION, segments, positions, torn_bytes, damage })
}

fn positions(recovery: &Recovery) -> Option<(u64, u64)> {
    let (oldest, next) = (recovery.report.oldest_position, recovery.report.next_position);
    (oldest < next).then(|| (oldest, next - 1))
}

/// One segment, and what is wrong with it.
fn list(
    source: &mut impl SegmentSource,
    journal_id: u64,
    slot: SlotInfo,
    chain: Option<&[ChainLink]>,
) -> Result<(SegmentListing, Option<String>), OpenError> {
    let link = chain.and_then(|chain| chain.iter().find(|link| link.slot == slot.slot));
    let mut listing = SegmentListing {
        name: crate::segment_name(slot.slot),
        bytes: slot.bytes,
        role: match (chain, link) {
            (None, _) => SegmentRole::Unknown,
            (Some(_), Some(_)) => SegmentRole::Live,
            (Some(_), None) => SegmentRole::Free,
        },
        generation: 0,
        batches: 0,
        records: 0,
        first_position: 0,
        last_position: 0,
        used_bytes: 0,
    };
    let mut head = [0; BATCH_HEADER_BYTES];
    if slot.bytes >= BLOCK_BYTES as u64 {
        source.read(slot.slot, 0, &mut head)?;
    }
    let first = BatchHeader::decode(&head, journal_id)
        .filter(|header| header.slot == slot.slot && header.offset == 0);
    let Some(first) = first else { return Ok((listing, None)) };
    let end = link.map_or(slot.bytes, |link| link.end);
    let mut walk = Walk::new(slot, &first);
    listing.generation = first.generation;
    listing.first_position = first.first_position;
    while walk.offset < end {
        let Some(batch) = walk.next(source, journal_id)? else { break };
        listing.batches += 1;
        listing.records += batch.records.len() as u64;
        listing.last_position = batch.header.last_position();
        listing.used_bytes = walk.offset;
    }
    let broken = link.filter(|link| walk.offset != link.end).map(|link| {
        format!(
            "{} (generation {}): durable up to byte {}, but not whole at byte {}; records from \
             position {} to {} cannot be read",
            listing.name, link.generation, link.end, walk.offset, walk.position, link.last_position
        )
    });
    Ok((listing, broken))
}

impl fmt::Display for SegmentRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            SegmentRole::Live => "live",
            SegmentRole::Free => "free",
            SegmentRole::Unknown => "unknown",
        })
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "journal format {}, {} segments", self.format, self.segments.len())?;
        writeln!(
            f,
            "{:<17} {:<7} {:>10} {:>8} {:>9} {:>21} {:>11} {:>11}",
            "segment", "role", "generation", "batches", "records", "positions", "used", "size"
        )?;
        for segment in &self.segments {
            let positions = match segment.records {
                0 => "-".to_owned(),
                _ => format!("{}..{}", segment.first_position, segment.last_position),
            };
            let generation = match segment.generation {
                0 => "-".to_owned(),
                generation => generation.to_string(),
            };
            writeln!(
                f,
                "{:<17} {:<7} {generation:>10} {:>8} {:>9} {positions:>21} {:>11} {:>11}",
                segment.name,
                segment.role,
                segment.batches,
                segment.records,
                segment.used_bytes,
                segment.bytes
            )?;
        }
        match self.positions {
            _ if !self.damage.is_empty() => {}
            Some((first, last)) => writeln!(f, "records {first} to {last} can be replayed")?,
            None => writeln!(f, "no records")?,
        }
        if self.torn_bytes > 0 {
            writeln!(
                f,
                "{} bytes behind the end were never acknowledged (a write cut short by a crash); \
                 they are ignored",
                self.torn_bytes
            )?;
        }
        for damage in &self.damage {
            writeln!(f, "DAMAGE: {damage}")?;
        }
        Ok(())
    }
}
