//! A record that brings down whoever folds it is known when it does, and missing from the store it
//! breaks nothing.
#![allow(clippy::disallowed_methods, reason = "a thread that panics is the subject")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};

use ringpost_shard::Head;
use ringpost_shard::at_hand::{self, Span};
use ringpost_shard::record::Position;
use ringpost_store::batch::BatchBuilder;
use ringpost_store::conformance::{World, batch_of};
use ringpost_store::engine::{Engine, MemoryEngine, OpenError, Write};
use ringpost_store::store::StoreStats;
use ringpost_store::{Store, StoreError, Tables};

/// An engine with a bug that some row meets.
#[derive(Clone)]
struct Buggy(MemoryEngine);

impl Engine for Buggy {
    type View<'e> = <MemoryEngine as Engine>::View<'e>;

    fn view(&self) -> Self::View<'_> {
        self.0.view()
    }

    fn commit(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        assert!(writes.is_empty(), "a bug");
        Ok(())
    }

    fn persist(&self) -> Result<(), StoreError> {
        self.0.persist()
    }

    fn check(&self) -> Result<(), StoreError> {
        self.0.check()
    }

    fn reopen(&self) -> Result<(), OpenError> {
        self.0.reopen()
    }

    fn openings(&self) -> u64 {
        self.0.openings()
    }

    fn stats(&self) -> StoreStats {
        self.0.stats()
    }
}

#[test]
fn a_panic_while_records_are_applied_is_told_which() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    std::panic::set_hook(Box::new(move |_| noted.lock().unwrap().push(at_hand::current())));
    let records = World::new(1).records(3);
    for (after, count) in [(0, 3), (0, 1)] {
        let batch = batch_of(Position(after), &records[..count]);
        let store = Tables::open(Buggy(MemoryEngine::new())).unwrap();
        std::thread::spawn(move || store.apply(&batch)).join().unwrap_err();
    }
    let _ = std::panic::take_hook();
    let many = Span { after: Position(0), through: Position(3) };
    let one = Span::of(Position(1));
    assert_eq!(*seen.lock().unwrap(), [Some(many), Some(one)]);
    assert_eq!(one.single(), Some(Position(1)), "applied alone, the record is named");
}

#[test]
fn a_record_that_is_missing_breaks_no_fold_and_no_read() {
    let records = World::new(8).records(250);
    for missing in 1..=records.len() as u64 {
        let store = Tables::open(MemoryEngine::new()).unwrap();
        for (chunk, first) in records.chunks(25).zip((1..).step_by(25)) {
            let mut batch = BatchBuilder::new(Position(first - 1));
            for (record, position) in chunk.iter().zip(first..) {
                match position == missing {
                    true => batch.skip(Position(position)),
                    false => batch.push(Position(position), record),
                }
            }
            store.apply(&batch.finish()).unwrap();
        }
        assert_eq!(store.applied(), Position(records.len() as u64));
        let users = World::users();
        for &user in &users {
            store.user(user).unwrap();
            store.timeline(user, Position(0), None, 200).unwrap();
            for &peer in &users {
                store.history(user, peer, None, 200).unwrap();
            }
        }
        for record in &records {
            if let Head::Message(head) = &record.head {
                store.received(head.id).unwrap();
                store.trace(head.id).unwrap();
            }
        }
    }
}
