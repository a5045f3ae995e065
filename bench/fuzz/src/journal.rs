//! The journal: lives that end in crashes, and recovery from whatever is found on a disk.
//!
//! The disk in memory and the checks of a life are those of the journal's own tests, which draw
//! them from seeds.

use ringpost_journal::{BATCH_HEADER_BYTES, BLOCK_BYTES, BatchHeader, Mark, RECORD_HEADER_BYTES};

use support::lives::{Oracle, live};
use support::{JOURNAL_ID, MemoryDisk, Random, World, small_config};

#[path = "../../../storage/journal/tests/support/mod.rs"]
mod support;

/// Segments that are found on a disk of any bytes.
const SLOTS: u32 = 3;

/// Their length, blocks.
const BLOCKS: u64 = 16;

/// Lives of one input, at most.
const LIVES_MAX: usize = 8;

/// The first byte chooses: a life that the others lead, or a disk that they write.
///
/// # Panics
/// Where a promise is broken.
pub fn run(input: &[u8]) {
    let Some((&choice, script)) = input.split_first() else { return };
    match choice % 3 {
        0 => lives(script),
        1 => any_batches(script),
        _ => any_bytes(script),
    }
}

/// After every crash, recovery yields what was promised and nothing that was given up.
fn lives(script: &[u8]) {
    let mut random = Random::from_script(script);
    let mut oracle = Oracle::default();
    let mut world = World::new(small_config());
    for _ in 0..LIVES_MAX {
        if random.is_spent() {
            break;
        }
        live(&mut world, &mut oracle, &mut random);
        if !random.chance(3) {
            world.disk.lose_power(&mut random);
        }
        world = world.reopen(oracle.checkpoint).expect("a crash is no damage");
        oracle.check(&world);
    }
}

/// Bytes at the start of segments.
fn any_bytes(script: &[u8]) {
    let mut disk = empty_segments();
    let bytes_max = (BLOCKS as usize) * BLOCK_BYTES;
    for (slot, part) in (0..SLOTS).zip(script.chunks(bytes_max)) {
        disk.overwrite(slot, 0, part);
    }
    recover(disk, 0);
}

/// Batches whose checksums are right and whose claims are anybody's: what a checksum does not
/// catch, the rest of recovery must.
fn any_batches(script: &[u8]) {
    let mut random = Random::from_script(script);
    let mut disk = empty_segments();
    let checkpoint = random.below(8);
    while !random.is_spent() {
        let (slot, block) = (random.below(SLOTS.into()) as u32, random.below(BLOCKS));
        let offset = block * BLOCK_BYTES as u64;
        let mut bytes = batch(slot, offset, &mut random);
        bytes.truncate(((BLOCKS - block) as usize) * BLOCK_BYTES);
        disk.overwrite(slot, offset, &bytes);
    }
    recover(disk, checkpoint);
}

/// A batch at its place, mostly: each claim is likely to be true and may be false.
fn batch(slot: u32, offset: u64, random: &mut Random) -> Vec<u8> {
    let generation = 1 + random.below(4);
    let first_position = 1 + random.below(12);
    let records = random.below(4);
    let mut payload = Vec::new();
    let mut digest = crc32fast::Hasher::new();
    for index in 0..records {
        let bytes = random.below(64) as usize * random.below(64) as usize;
        let mut record = vec![0; RECORD_HEADER_BYTES + bytes];
        let head_bytes = (bytes / 3 + random.below(2) as usize * bytes) as u32;
        record[4..8].copy_from_slice(&(bytes as u32).to_le_bytes());
        record[8..12].copy_from_slice(&head_bytes.to_le_bytes());
        record[12..20].copy_from_slice(&generation.to_le_bytes());
        record[20..28].copy_from_slice(&(first_position + index).to_le_bytes());
        let crc = crc32fast::hash(&record[4..]);
        record[..4].copy_from_slice(&crc.to_le_bytes());
        digest.update(&crc.to_le_bytes());
        payload.extend_from_slice(&record);
    }
    let (sequence, previous) = (1 + random.below(12), random.below(4));
    let lie = |random: &mut Random, truth: u64| match random.below(16) {
        0 => u64::MAX - random.below(256),
        1 => truth + random.below(8),
        _ => truth,
    };
    let header = BatchHeader {
        journal_id: JOURNAL_ID,
        generation: lie(random, generation),
        sequence: lie(random, sequence),
        first_position: lie(random, first_position),
        previous: Mark {
            generation: lie(random, previous),
            slot: random.below(u64::from(SLOTS) + 1) as u32,
            end: lie(random, BLOCK_BYTES as u64),
        },
        slot,
        offset: lie(random, offset),
        trimmed_through: lie(random, 0),
        records: lie(random, records) as u32,
        payload_bytes: lie(random, payload.len() as u64) as u32,
        digest: digest.finalize(),
    };
    let mut bytes = vec![0; BATCH_HEADER_BYTES];
    header.encode(&mut bytes);
    bytes.extend_from_slice(&payload);
    bytes
}

fn empty_segments() -> MemoryDisk {
    let mut disk = MemoryDisk::default();
    for slot in 0..SLOTS {
        disk.prepare(slot, BLOCKS * BLOCK_BYTES as u64);
    }
    disk
}

/// Recovery answers; what it yields has no hole, and reads the same when asked again.
fn recover(disk: MemoryDisk, checkpoint: u64) {
    let Ok(world) = World::open(disk, small_config(), checkpoint) else { return };
    let Ok(records) = world.read(checkpoint) else { return };
    for (position, record) in (checkpoint + 1..).zip(&records) {
        assert_eq!(record.position, position, "no hole");
        assert!(record.head_bytes <= record.payload.len());
    }
    let end = checkpoint + records.len() as u64;
    assert_eq!(world.recovery.report.next_position, end + 1, "all that is durable is read");
    let again = world.reopen(checkpoint).expect("what was opened opens again");
    assert_eq!(again.read(checkpoint).expect("and reads again"), records);
}
