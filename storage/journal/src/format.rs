//! Bytes on disk: batches and records. Pure functions.
//!
//! A segment is a row of batches. Each batch starts on a fresh block of 4,096 bytes:
//!
//! ```text
//! | batch header (96) | record | record | ... | zeros up to the next block |
//!
//! batch header, little endian          record header, little endian
//!  0 magic            u64               0 crc32 of what follows, payload included  u32
//!  8 journal id       u64               4 payload length     u32
//! 16 generation       u64               8 length of its head u32
//! 24 batch sequence   u64              12 generation         u64
//! 32 first position   u64              20 position           u64
//! 40 previous: generation u64          28 payload = head, then body
//! 48 previous: end    u64
//! 56 previous: slot   u32
//! 60 own slot         u32
//! 64 own offset       u64
//! 72 trimmed through  u64
//! 80 records          u32
//! 84 payload length   u32 (everything after the header, without the zeros)
//! 88 crc32 of the records' checksums, in order   u32
//! 92 crc32 of bytes 0..92
//! ```
//!
//! - The *journal id* is random per journal and known to nobody outside: bytes that a client sends
//!   can therefore never look like a batch header, wherever a torn write leaves them.
//! - The *generation* is new for each use of a segment, so what an earlier use left behind is told
//!   apart from what was written now.
//! - The header's checksum of checksums ties it to these very records: blocks of two attempts at the
//!   same place never add up to a batch that nobody wrote.
//! - *Own slot and offset* expose a write that the device put somewhere else.
//! - *Previous* is where the durable journal ended when this batch was written. It links the
//!   segments into a chain, and makes everything before it durable by statement: what is broken
//!   there is damage, never a torn tail.
//!
//! Format version 1 (the version stands in the directory, see `directory`).

use bytes::Bytes;

/// Unit of writing. The largest sector that devices write atomically today; fixed by the format.
pub const BLOCK_BYTES: usize = 4096;
/// Length of a batch header.
pub const BATCH_HEADER_BYTES: usize = 96;
/// Length of a record header.
pub const RECORD_HEADER_BYTES: usize = 28;

/// Largest number in a header. A journal that writes a million batches a second counts to it for
/// 146,000 years.
const NUMBER_MAX: u64 = 1 << 62;

const MAGIC: u64 = u64::from_le_bytes(*b"RPJBATCH");
const HEADER_CRC_AT: usize = 92;

/// A record on its way into the journal: two pieces, so that a ciphertext needs no copy to get a
/// head in front of it. On disk they lie side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// First piece; its length is kept.
    pub head: Bytes,
    /// Second piece; may be empty.
    pub body: Bytes,
}

impl Record {
    /// Bytes of both pieces.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        (self.head.len() + self.body.len()) as u64
    }

    /// Bytes on disk if the record had a batch of its own: the most that it can cost.
    #[must_use]
    pub fn cost(&self) -> u64 {
        record_cost(self.bytes())
    }
}

/// Bytes on disk of a batch that holds one record of `payload_bytes`.
#[must_use]
pub fn record_cost(payload_bytes: u64) -> u64 {
    align_up((BATCH_HEADER_BYTES + RECORD_HEADER_BYTES) as u64 + payload_bytes)
}

/// The next multiple of [`BLOCK_BYTES`].
#[must_use]
pub(crate) fn align_up(bytes: u64) -> u64 {
    bytes.next_multiple_of(BLOCK_BYTES as u64)
}

/// Where a durable prefix of the journal ends. `Mark::ORIGIN` is before the first batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Generation of the segment; 0 = there was none yet.
    pub generation: u64,
    /// Slot of the segment.
    pub slot: u32,
    /// First offset in the segment behind the last durable block.
    pub end: u64,
}

impl Mark {
    /// Nothing was ever durable.
    pub const ORIGIN: Mark = Mark { generation: 0, slot: 0, end: 0 };
}

/// Head of a batch, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchHeader {
    /// Random id of the journal.
    pub journal_id: u64,
    /// Generation of the segment.
    pub generation: u64,
    /// Counts batches over the life of the journal, from 1.
    pub sequence: u64,
    /// Position of the first record; of the next one to come if the batch is empty (a seal).
    pub first_position: u64,
    /// End of the durable journal when this batch was written.
    pub previous: Mark,
    /// Slot of the segment that this batch was written to.
    pub slot: u32,
    /// Offset in the segment that this batch was written to.
    pub offset: u64,
    /// Records up to this position may be gone.
    pub trimmed_through: u64,
    /// Number of records; 0 in a seal.
    pub records: u32,
    /// Bytes of all records with their headers.
    pub payload_bytes: u32,
    /// CRC32 over the CRC32s of the records, in order.
    pub digest: u32,
}

impl BatchHeader {
    /// Bytes of the batch without the padding.
    #[must_use]
    pub fn batch_bytes(&self) -> u64 {
        BATCH_HEADER_BYTES as u64 + u64::from(self.payload_bytes)
    }

    /// Offset of the block behind the batch.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset + align_up(self.batch_bytes())
    }

    /// Position of the last record; one below `first_position` in a seal.
    #[must_use]
    pub fn last_position(&self) -> u64 {
        self.first_position + u64::from(self.records) - 1
    }

    /// Writes the header to the first [`BATCH_HEADER_BYTES`] of `out`.
    ///
    /// # Panics
    /// If `out` is shorter.
    pub fn encode(&self, out: &mut [u8]) {
        let out = &mut out[..BATCH_HEADER_BYTES];
        put_u64(out, 0, MAGIC);
        put_u64(out, 8, self.journal_id);
        put_u64(out, 16, self.generation);
        put_u64(out, 24, self.sequence);
        put_u64(out, 32, self.first_position);
        put_u64(out, 40, self.previous.generation);
        put_u64(out, 48, self.previous.end);
        put_u32(out, 56, self.previous.slot);
        put_u32(out, 60, self.slot);
        put_u64(out, 64, self.offset);
        put_u64(out, 72, self.trimmed_through);
        put_u32(out, 80, self.records);
        put_u32(out, 84, self.payload_bytes);
        put_u32(out, 88, self.digest);
        let crc = crc32fast::hash(&out[..HEADER_CRC_AT]);
        put_u32(out, HEADER_CRC_AT, crc);
    }

    /// Reads a header of the journal `journal_id`; `None` if these bytes are not one. Cheap on
    /// other bytes: the magic and the id are compared before the checksum is computed.
    #[must_use]
    pub fn decode(bytes: &[u8], journal_id: u64) -> Option<BatchHeader> {
        let bytes = bytes.get(..BATCH_HEADER_BYTES)?;
        if u64_at(bytes, 0) != MAGIC
            || u64_at(bytes, 8) != journal_id
            || u32_at(bytes, HEADER_CRC_AT) != crc32fast::hash(&bytes[..HEADER_CRC_AT])
        {
            return None;
        }
        let header = BatchHeader {
            journal_id,
            generation: u64_at(bytes, 16),
            sequence: u64_at(bytes, 24),
            first_position: u64_at(bytes, 32),
            previous: Mark {
                generation: u64_at(bytes, 40),
                end: u64_at(bytes, 48),
                slot: u32_at(bytes, 56),
            },
            slot: u32_at(bytes, 60),
            offset: u64_at(bytes, 64),
            trimmed_through: u64_at(bytes, 72),
            records: u32_at(bytes, 80),
            payload_bytes: u32_at(bytes, 84),
            digest: u32_at(bytes, 88),
        };
        // A writer never breaks these; with them no arithmetic on a header can wrap, either way.
        let numbers = [
            header.generation,
            header.sequence,
            header.first_position,
            header.previous.end,
            header.offset,
            header.trimmed_through,
        ];
        (header.first_position > 0
            && header.generation >= header.previous.generation
            && numbers.iter().all(|number| *number <= NUMBER_MAX))
        .then_some(header)
    }
}

/// Writes `record` at the start of `out` and returns the bytes used; its checksum goes into
/// `digest` as well.
///
/// # Panics
/// If `out` is too short.
pub(crate) fn encode_record(
    record: &Record,
    generation: u64,
    position: u64,
    digest: &mut crc32fast::Hasher,
    out: &mut [u8],
) -> usize {
    let head_bytes = record.head.len();
    let payload_bytes = head_bytes + record.body.len();
    let out = &mut out[..RECORD_HEADER_BYTES + payload_bytes];
    put_u32(out, 4, u32::try_from(payload_bytes).expect("record_bytes_max is below a segment"));
    put_u32(out, 8, u32::try_from(head_bytes).expect("a head is not longer than its record"));
    put_u64(out, 12, generation);
    put_u64(out, 20, position);
    out[RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + head_bytes].copy_from_slice(&record.head);
    out[RECORD_HEADER_BYTES + head_bytes..].copy_from_slice(&record.body);
    let crc = crc32fast::hash(&out[4..]);
    put_u32(out, 0, crc);
    digest.update(&crc.to_le_bytes());
    out.len()
}

/// A record read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveredRecord {
    /// Its position.
    pub position: u64,
    /// Bytes of the head; the body is the rest of `payload`.
    pub head_bytes: usize,
    /// Head and body. Shares its memory with the other records of the batch.
    pub payload: Bytes,
}

/// Takes the records of a batch apart. `payload` is what follows the batch header.
///
/// # Errors
/// The offset in `payload` of the first record that is not what the header announced.
pub(crate) fn decode_records(
    header: &BatchHeader,
    payload: &Bytes,
) -> Result<Vec<RecoveredRecord>, usize> {
    let records_max = payload.len() / RECORD_HEADER_BYTES;
    let mut records = Vec::with_capacity((header.records as usize).min(records_max));
    let mut digest = crc32fast::Hasher::new();
    let mut at = 0;
    for index in 0..header.records {
        let rest = &payload[at..];
        let fixed = rest.get(..RECORD_HEADER_BYTES).ok_or(at)?;
        let payload_bytes = u32_at(fixed, 4) as usize;
        let head_bytes = u32_at(fixed, 8) as usize;
        let position = header.first_position + u64::from(index);
        let whole = rest.get(..RECORD_HEADER_BYTES + payload_bytes).ok_or(at)?;
        if u32_at(fixed, 0) != crc32fast::hash(&whole[4..])
            || u64_at(fixed, 12) != header.generation
            || u64_at(fixed, 20) != position
            || head_bytes > payload_bytes
        {
            return Err(at);
        }
        digest.update(&fixed[..4]);
        let start = at + RECORD_HEADER_BYTES;
        at = start + payload_bytes;
        records.push(RecoveredRecord { position, head_bytes, payload: payload.slice(start..at) });
    }
    let whole = at == payload.len() && digest.finalize() == header.digest;
    if whole { Ok(records) } else { Err(at) }
}

fn put_u32(out: &mut [u8], at: usize, value: u32) {
    out[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn put_u64(out: &mut [u8], at: usize, value: u64) {
    out[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> BatchHeader {
        BatchHeader {
            journal_id: 0x1122_3344_5566_7788,
            generation: 7,
            sequence: 41,
            first_position: 1000,
            previous: Mark { generation: 6, slot: 3, end: 8192 },
            slot: 2,
            offset: 4096,
            trimmed_through: 12,
            records: 2,
            payload_bytes: 0,
            digest: 0,
        }
    }

    fn batch() -> (BatchHeader, Bytes) {
        let mut out = vec![0; 256];
        let first = Record { head: Bytes::from_static(b"head"), body: Bytes::from_static(b"body") };
        let second = Record { head: Bytes::new(), body: Bytes::new() };
        let mut digest = crc32fast::Hasher::new();
        let mut used = encode_record(&first, 7, 1000, &mut digest, &mut out);
        used += encode_record(&second, 7, 1001, &mut digest, &mut out[used..]);
        out.truncate(used);
        let digest = digest.finalize();
        (BatchHeader { payload_bytes: used as u32, digest, ..header() }, Bytes::from(out))
    }

    #[test]
    fn a_header_survives_the_round_trip_and_no_flipped_bit() {
        let header = header();
        let mut bytes = [0; BATCH_HEADER_BYTES];
        header.encode(&mut bytes);
        assert_eq!(BatchHeader::decode(&bytes, header.journal_id), Some(header.clone()));
        assert_eq!(BatchHeader::decode(&bytes, header.journal_id + 1), None, "another journal");
        assert_eq!(BatchHeader::decode(&bytes[..95], header.journal_id), None, "cut short");
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(BatchHeader::decode(&bytes, header.journal_id), None, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn a_header_with_a_number_that_no_writer_reaches_is_none() {
        let read = |change: fn(&mut BatchHeader)| {
            let mut header = header();
            change(&mut header);
            let mut bytes = [0; BATCH_HEADER_BYTES];
            header.encode(&mut bytes);
            BatchHeader::decode(&bytes, header.journal_id)
        };
        assert!(read(|header| header.generation = NUMBER_MAX).is_some());
        assert_eq!(read(|header| header.generation = u64::MAX), None);
        assert_eq!(read(|header| header.sequence = u64::MAX), None);
        assert_eq!(read(|header| header.first_position = u64::MAX), None);
        assert_eq!(read(|header| header.first_position = 0), None);
        assert_eq!(read(|header| header.previous.end = u64::MAX - 4095), None);
        assert_eq!(read(|header| header.offset = u64::MAX - 4095), None);
        assert_eq!(read(|header| header.trimmed_through = u64::MAX), None);
    }

    #[test]
    fn records_survive_the_round_trip_and_no_flipped_bit() {
        let (header, payload) = batch();
        let records = decode_records(&header, &payload).unwrap();
        assert_eq!(records.len(), 2);
        assert_eq!((records[0].position, records[0].head_bytes), (1000, 4));
        assert_eq!(&records[0].payload[..], b"headbody");
        assert_eq!((records[1].position, records[1].payload.len()), (1001, 0));
        for bit in 0..payload.len() * 8 {
            let mut broken = payload.to_vec();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_records(&header, &Bytes::from(broken)).is_err(), "bit {bit}");
        }
        for cut in 0..payload.len() {
            assert!(decode_records(&header, &payload.slice(..cut)).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_record_of_another_generation_is_not_taken() {
        let (header, payload) = batch();
        let stale = BatchHeader { generation: 8, ..header };
        assert_eq!(decode_records(&stale, &payload), Err(0));
    }

    #[test]
    fn records_of_another_attempt_are_not_taken() {
        let (header, payload) = batch();
        let mut digest = crc32fast::Hasher::new();
        let mut mixed = payload.to_vec();
        let other = Record { head: Bytes::from_static(b"HEAD"), body: Bytes::from_static(b"BODY") };
        encode_record(&other, 7, 1000, &mut digest, &mut mixed);
        assert_eq!(decode_records(&header, &Bytes::from(mixed)), Err(payload.len()));
    }

    #[test]
    fn the_cost_of_single_records_covers_their_common_batch() {
        for sizes in [[0, 0, 0], [3976, 3977, 1], [300, 300, 300], [4096, 8192, 100_000]] {
            let single: u64 = sizes.iter().map(|&bytes| record_cost(bytes)).sum();
            let joint: u64 = sizes.iter().map(|bytes| RECORD_HEADER_BYTES as u64 + bytes).sum();
            assert!(align_up(BATCH_HEADER_BYTES as u64 + joint) <= single);
        }
    }
}
