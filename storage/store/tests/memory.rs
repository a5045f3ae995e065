//! Setup: an engine with small limits, an allocator that counts. Action: far more is stored than its
//! memory holds, in commits as large as they come, and read back. Expectation: what the engine counts
//! stays within its limit after each commit, for which commits wait, what the allocator handed out within the line that is
//! printed at boot, and no row costs more than that line reckons with.
//!
//! The allocator counts for the whole process: this file is one test.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::System;

use cap::Cap;
use ringpost_store::engine::{Engine, FjallEngine, FjallLimits, Space, View, Write};
use ringpost_store::layout::Key;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Rows of one commit, and what the engine counts for them: keys of 24 B, values of 300, 16, 0 and
/// 40 B by turns, 80 B beside each.
const ROWS: u64 = 16_384;
const COMMIT_BYTES: u64 = ROWS * (24 + 80) + ROWS / 4 * (300 + 16 + 40);

/// A key as short as the shortest of the tables, spread over the space as ids are.
fn key(number: u64) -> Key {
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    Key::from_slice(&[spread, number.to_be_bytes(), spread].concat())
}

fn put(space: Space, number: u64, bytes: usize) -> Write {
    Write::Put(space, key(number), vec![number as u8; bytes].into())
}

/// Writes `rounds` commits of small rows to all spaces, every other one a deletion, and of bodies;
/// the most that was allocated at a commit, beyond `before`.
fn fill(engine: &FjallEngine, limits: &FjallLimits, rounds: u64, before: usize) -> usize {
    let mut most = 0;
    for round in 0..rounds {
        let rows = round * ROWS..(round + 1) * ROWS;
        let writes = rows.map(|number| match number % 4 {
            0 => put(Space::Messages, number, 300),
            1 => put(Space::Index, number, 16),
            2 => Write::Delete(Space::Users, key(number)),
            _ => put(Space::Users, number, 40),
        });
        engine.commit(writes.collect()).unwrap();
        let counted = engine.stats().write_buffer_bytes;
        let allowed = limits.counted_bytes_max() + COMMIT_BYTES;
        assert!(counted <= allowed, "{counted} of {allowed} after commit {round}");
        most = most.max(ALLOCATOR.allocated().saturating_sub(before));
        if round % 8 == 0 {
            engine.persist().unwrap();
        }
    }
    most
}

/// Reads more than the cache holds.
fn read(engine: &FjallEngine, rows: u64) {
    for number in (0..rows).step_by(4) {
        assert!(engine.view().read(Space::Messages, &key(number)).unwrap().is_some(), "{number}");
    }
}

#[test]
fn what_the_engine_takes_stays_within_the_line_that_is_printed_at_boot() {
    // Without a flush: what a row costs beside what is counted for it.
    let directory = tempfile::tempdir().unwrap();
    let large = FjallLimits { memtable_bytes: 1 << 30, ..FjallLimits::default() };
    let before = ALLOCATOR.allocated();
    let engine = FjallEngine::open(directory.path(), &large).unwrap();
    fill(&engine, &large, 8, before);
    let (counted, cost) = (engine.stats().write_buffer_bytes, ALLOCATOR.allocated() - before);
    assert!(cost as u64 > counted, "{cost} for {counted}: the test sees what rows cost");
    // Of twice, a header of 24 B for key and value is not there before a flush.
    let headers = 8 * ROWS * 48;
    assert!(cost as u64 + headers <= 2 * counted, "{cost} for {counted}");
    drop(engine);

    let directory = tempfile::tempdir().unwrap();
    let limits =
        FjallLimits { memtable_bytes: 1 << 20, cache_bytes: 4 << 20, ..FjallLimits::default() };
    let allowed = limits.memory_bytes_max() as usize;
    let before = ALLOCATOR.allocated();
    let engine = FjallEngine::open(directory.path(), &limits).unwrap();
    // What stays for ever would show: this is twenty times what all memtables hold.
    let first = fill(&engine, &limits, 16, before);
    read(&engine, 8 * ROWS);
    let most = fill(&engine, &limits, 32, before).max(ALLOCATOR.allocated() - before);
    let stats = engine.stats();
    assert!(stats.cache_bytes <= limits.cache_bytes, "{stats:?}");
    assert!(first > 0 && most <= allowed, "{most} of {allowed}, {stats:?}");
    assert!(stats.commits_held > 0, "who wrote faster than was flushed had to wait: {stats:?}");
}
