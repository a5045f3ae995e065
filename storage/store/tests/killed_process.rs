//! `kill -9` of a process that writes to the embedded engine loses nothing that it had persisted,
//! and leaves a state that is the fold of some prefix of the records.
//!
//! Setup: this test starts itself again as a child that applies records and prints each position
//! that it has persisted. Action: the parent kills it in the middle of its writes and opens the
//! directory; four times over on the same directory. Expectation: the store has at least the last
//! position that was printed, and equals the model there; and each child but the first writes at
//! once although its memtables were full when the last one was killed (fjall's issue 257).
//!
//! What this cannot show is loss of power: the kernel keeps what was written.
#![allow(clippy::disallowed_methods, reason = "processes and files are the subject")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the child talks to its parent")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use ringpost_shard::record::Position;
use ringpost_store::conformance::{Model, World, assert_equal, batch_of};
use ringpost_store::engine::{FjallEngine, FjallLimits};
use ringpost_store::{Store, Tables};

const DIRECTORY: &str = "RINGPOST_TEST_KILLED_DIRECTORY";
const SEED: u64 = 11;
const ROUNDS: u64 = 4;
/// A child that nobody kills ends here.
const RECORDS_MAX: u64 = 200_000;

fn open(directory: &Path) -> Tables<FjallEngine> {
    // Small memtables, so that the kill falls into flushes and compactions too.
    let limits = FjallLimits { memtable_bytes: 256 << 10, ..FjallLimits::default() };
    Tables::open(FjallEngine::open(directory, &limits).unwrap()).unwrap()
}

/// The child: goes on where the store is, and is killed.
fn write_until_killed(directory: &Path) {
    let store = open(directory);
    let mut world = World::new(SEED);
    world.records(store.applied().0 as usize);
    while store.applied().0 < RECORDS_MAX {
        for _ in 0..8 {
            store.apply(&batch_of(store.applied(), &world.records(25))).unwrap();
        }
        println!("persisted {}", store.persist().unwrap().0);
    }
}

#[test]
fn a_killed_process_keeps_what_it_persisted() {
    if let Ok(directory) = std::env::var(DIRECTORY) {
        return write_until_killed(Path::new(&directory));
    }
    let directory = tempfile::tempdir().unwrap();
    for round in 1..=ROUNDS {
        let printed = run_and_kill(directory.path(), round * 9);
        let store = open(directory.path());
        let applied = store.applied();
        assert!(applied >= printed, "{applied:?} found, {printed:?} persisted, round {round}");
        let mut model = Model::new();
        let records = World::new(SEED).records(applied.0 as usize);
        records.iter().for_each(|record| model.apply(record));
        assert_equal(&store, &model, SEED);
    }
}

/// Kills a child after it has told of `reports` persists; returns the last that it told of.
fn run_and_kill(directory: &Path, reports: u64) -> Position {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_killed_process_keeps_what_it_persisted", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut persisted = 0;
    let mut told = 0;
    for line in lines {
        let line = line.unwrap();
        if let Some(position) = line.strip_prefix("persisted ") {
            persisted = position.parse().unwrap();
            told += 1;
            if told == reports {
                child.kill().unwrap();
            }
        }
    }
    let status = child.wait().unwrap();
    assert!(!status.success(), "the child was killed and did not end by itself");
    assert!(told >= reports, "the child told of {told} persists");
    Position(persisted)
}
