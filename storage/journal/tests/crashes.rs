//! Random lives of a journal: submissions, slow and failing disks, trims, kills and power cuts.
//!
//! Setup: one seed, a disk in memory that keeps, loses or tears each sector that was not synced.
//! Expectation, after every crash: recovery yields a prefix of what was submitted, without a gap,
//! with the right content, at least as long as what was acknowledged; and nothing ever comes back
//! that an earlier recovery had given up. A second test flips bits in what is durable: the answer
//! is the truth or an error, never less than what a later batch vouches for.
//!
//! A failing run prints its seed; `RINGPOST_SEED=N` runs that one alone.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that names its seed")]

mod support;

use ringpost_journal::RecoveryError;
use support::lives::{Oracle, live};
use support::{MemoryDisk, Random, World, payload, small_config};

fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("RINGPOST_SEED") {
        Ok(seed) => vec![seed.parse().expect("RINGPOST_SEED is a number")],
        Err(_) => (1..=count).collect(),
    }
}

/// Names the seed when the test fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with RINGPOST_SEED={}", self.0);
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_given_up_comes_back() {
    let mut crashes = 0;
    let mut torn = 0;
    for seed in seeds(400) {
        let _seed = Seed(seed);
        let mut random = Random::new(seed);
        let mut oracle = Oracle::default();
        let mut world = World::new(small_config());
        for _ in 0..1 + random.below(12) {
            live(&mut world, &mut oracle, &mut random);
            if !random.chance(3) {
                world.disk.lose_power(&mut random);
            }
            world = world.reopen(oracle.checkpoint).unwrap();
            oracle.check(&world);
            crashes += 1;
            torn += u64::from(world.recovery.report.torn_bytes > 0);
        }
        let budget = small_config().disk_budget_bytes;
        assert!(world.journal.disk_bytes() <= budget, "the disk budget holds");
    }
    assert!(crashes > 0 && (torn > 0 || std::env::var("RINGPOST_SEED").is_ok()), "{torn} torn");
}

#[test]
fn a_flipped_bit_is_found_or_harmless() {
    let (mut damaged, mut harmless, mut torn) = (0, 0, 0);
    for seed in seeds(40) {
        let _seed = Seed(seed);
        let mut random = Random::new(seed);
        let mut oracle = Oracle::default();
        let mut world = World::new(small_config());
        while oracle.submitted.len() < 40 {
            live(&mut world, &mut oracle, &mut random);
            if world.journal.is_finished() {
                world = world.reopen(oracle.checkpoint).unwrap();
                oracle.check(&world);
            }
            oracle.checkpoint = oracle.checkpoint.max(oracle.acknowledged.saturating_sub(30));
            world.journal.trim(oracle.checkpoint);
        }
        world.settle();
        oracle.hear(&mut world);
        let Some(last_batch) = last_batch_records(&mut world, &mut oracle, &mut random) else {
            continue;
        };
        for _ in 0..120 {
            let mut disk = world.disk.clone();
            flip_somewhere(&mut disk, &mut random);
            let found = World::open(disk, small_config(), oracle.checkpoint)
                .and_then(|world| world.read(oracle.checkpoint));
            match found {
                Err(RecoveryError::Damage(_)) => damaged += 1,
                // The last batch, vouched for by nobody, held what the store already has.
                Err(RecoveryError::CheckpointAhead { .. }) => torn += 1,
                Err(other) => panic!("{other}"),
                Ok(found) => {
                    let end = oracle.checkpoint + found.len() as u64;
                    let short = oracle.acknowledged - end;
                    assert!(short == 0 || short == last_batch, "{short} records are missing");
                    if short == 0 {
                        harmless += 1
                    } else {
                        torn += 1
                    }
                    for (position, record) in (oracle.checkpoint + 1..).zip(&found) {
                        let (content, bytes) = oracle.submitted[position as usize - 1];
                        assert!(record.payload == payload(content, bytes), "{position}");
                    }
                }
            }
        }
    }
    assert!(damaged > 0 && harmless > 0 && torn > 0, "{damaged} {harmless} {torn}");
}

/// Writes one more batch and says how many records it has; `None` if there is no room.
fn last_batch_records(world: &mut World, oracle: &mut Oracle, random: &mut Random) -> Option<u64> {
    if world.journal.is_finished() {
        return None;
    }
    let before = oracle.submitted.len();
    oracle.submit(world, random);
    world.settle();
    let records = world.durable.last().map(|batch| batch.entries.len() as u64);
    oracle.hear(world);
    records.filter(|_| oracle.submitted.len() > before)
}

fn flip_somewhere(disk: &mut MemoryDisk, random: &mut Random) {
    let slots = disk.slot_numbers();
    let slot = slots[random.below(slots.len() as u64) as usize];
    let offset = random.below(disk.bytes_of(slot).len() as u64);
    disk.flip(slot, offset, random.below(8) as u8);
}
