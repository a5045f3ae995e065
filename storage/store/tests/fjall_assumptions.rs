//! What this crate relies on in fjall, pinned. These tests guard against an upgrade as much as
//! against ourselves; none is to be deleted because it has always passed.
#![allow(clippy::disallowed_methods, reason = "the engine's own threads are waited for")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use ringpost_shard::record::Position;
use ringpost_store::conformance::{World, batch_of};
use ringpost_store::engine::{Engine, FjallEngine, FjallLimits, Space, View, Write};
use ringpost_store::layout::Key;
use ringpost_store::{Store, Tables};

const PATIENCE: Duration = Duration::from_secs(60);

fn put(space: Space, key: u64, length: usize) -> Write {
    Write::Put(space, Key::from_slice(&key.to_be_bytes()), vec![key as u8; length].into())
}

/// A space that was written once does not keep log files for ever, though another space fills many
/// of them.
#[test]
fn an_idle_space_does_not_pin_the_log() {
    let directory = tempfile::tempdir().unwrap();
    // fjall's own limit is out of reach, so that only this crate's rotation can help.
    let limits =
        FjallLimits { memtable_bytes: 8 << 20, log_bytes_max: 1 << 40, ..FjallLimits::default() };
    let engine = FjallEngine::open(directory.path(), &limits).unwrap();
    engine.commit(vec![put(Space::Accounts, 1, 100)]).unwrap();
    let mut highest = 0;
    // 512 MB of log, eight files of 64.
    for round in 0..512_u64 {
        let writes = (0..16).map(|row| put(Space::Messages, round * 16 + row, 64 << 10));
        engine.commit(writes.collect()).unwrap();
        engine.persist().unwrap();
        highest = highest.max(engine.stats().journal_count);
    }
    let deadline = Instant::now() + PATIENCE;
    while engine.stats().journal_count > 2 && Instant::now() < deadline {
        engine.persist().unwrap();
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(highest >= 4, "the log was rotated often enough for the test to mean something");
    assert!(engine.stats().journal_count <= 2, "{} log files stay", engine.stats().journal_count);
}

/// Commits are visible in one piece across spaces, and a view does not change.
#[test]
fn a_view_is_one_state_of_all_spaces() {
    let directory = tempfile::tempdir().unwrap();
    let engine = FjallEngine::open(directory.path(), &FjallLimits::default()).unwrap();
    let before = engine.view();
    engine.commit(vec![put(Space::Index, 1, 10), put(Space::Users, 1, 10)]).unwrap();
    let after = engine.view();
    engine
        .commit(vec![Write::Delete(Space::Index, Key::from_slice(&1_u64.to_be_bytes()))])
        .unwrap();
    for (view, expected) in [(&before, false), (&after, true)] {
        for space in [Space::Index, Space::Users] {
            let row = view.read(space, &1_u64.to_be_bytes()).unwrap();
            assert_eq!(row.is_some(), expected, "{space:?}");
        }
    }
}

/// Bodies stay readable after their memtable has become a blob file and been compacted.
#[test]
fn separated_bodies_are_read_back_from_files() {
    let directory = tempfile::tempdir().unwrap();
    let limits = FjallLimits { memtable_bytes: 128 << 10, ..FjallLimits::default() };
    let records = World::new(3).records(4_000);
    let ids: Vec<_> = {
        let store = Tables::open(FjallEngine::open(directory.path(), &limits).unwrap()).unwrap();
        for (index, records) in records.chunks(100).enumerate() {
            store.apply(&batch_of(Position(index as u64 * 100), records)).unwrap();
        }
        store.persist().unwrap();
        let head = |record: &ringpost_shard::record::SharedRecord| match &record.head {
            ringpost_shard::Head::Message(head) => Some((head.id, record.body.clone())),
            _ => None,
        };
        records.iter().filter_map(head).collect()
    };
    let store = Tables::open(FjallEngine::open(directory.path(), &limits).unwrap()).unwrap();
    for chunk in ids.chunks(100) {
        let asked: Vec<_> = chunk.iter().map(|(id, _)| *id).collect();
        let bodies = store.messages(&asked).unwrap().into_iter().map(|row| row.unwrap().body);
        assert!(bodies.eq(chunk.iter().map(|(_, body)| body.clone())));
    }
    assert!(ids.len() > 1_000, "{} messages were checked", ids.len());
}
