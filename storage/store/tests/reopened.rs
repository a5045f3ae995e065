//! An engine that a failed write has stopped goes on when it is opened again, in the same process
//! and on the same files: with all that it had persisted, and with no read in between that shows
//! less than one before it.
//!
//! Setup for the embedded engine: this test starts itself again as a child whose files may have a
//! size (`RLIMIT_FSIZE`; a larger one fails like a full disk, but says "file too large"). Action: the
//! child's writes fail, its own log's or those of the engine's threads, then the limit goes away.
//! Expectation: the engine says so, still answers reads, is opened again, and takes what it lacks.
#![allow(clippy::disallowed_methods, reason = "processes and files are the subject")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use ringpost_shard::record::{Position, SharedRecord};
use ringpost_store::accounts::{AccountKey, AccountTables, Accounts, CodeName};
use ringpost_store::conformance::{Model, World, assert_equal, batch_of};
use ringpost_store::engine::{Engine, FjallEngine, FjallLimits, MemoryEngine};
use ringpost_store::store::ReopenError;
use ringpost_store::{Store, StoreError, Tables};
use ringpost_wire::UserId;

const DIRECTORY: &str = "RINGPOST_TEST_REOPENED_DIRECTORY";
const CASE: &str = "RINGPOST_TEST_REOPENED_CASE";
const SEED: u64 = 23;
/// Records of a batch.
const STEP: usize = 50;

fn model_of(records: &[SharedRecord]) -> Model {
    let mut model = Model::new();
    records.iter().for_each(|record| model.apply(record));
    model
}

/// Applies the next records, up to the one with this number.
fn apply_up_to(store: &impl Store, records: &[SharedRecord], end: usize) -> Result<(), StoreError> {
    while (store.applied().0 as usize) < end {
        let after = store.applied();
        let from = after.0 as usize;
        store.apply(&batch_of(after, &records[from..end.min(from + STEP)]))?;
    }
    Ok(())
}

#[test]
fn a_store_that_was_opened_again_shows_no_less_than_it_did() {
    let engine = MemoryEngine::new();
    let store = Tables::open(engine.clone()).unwrap();
    let records = World::new(SEED).records(400);
    apply_up_to(&store, &records, 100).unwrap();
    store.persist().unwrap();
    apply_up_to(&store, &records, 300).unwrap();
    let user = World::users()[0];
    let shown = store.user(user).unwrap();

    engine.fail(StoreError::NoSpace, 2);
    assert!(matches!(store.check(), Err(StoreError::NoSpace)));
    let refused = store.reopen().unwrap_err();
    assert!(matches!(refused, ReopenError::Engine(_)) && refused.may_pass(), "{refused}");
    assert_eq!(store.user(user).unwrap(), shown, "the disk is full still; what is there is there");

    engine.mend();
    assert_eq!(store.reopen().unwrap(), Position(200), "two batches behind what was persisted");
    assert_eq!(store.user(user), Err(StoreError::CatchingUp));
    apply_up_to(&store, &records, 250).unwrap();
    assert_eq!(store.user(user), Err(StoreError::CatchingUp));
    apply_up_to(&store, &records, 300).unwrap();
    assert_eq!(store.user(user).unwrap(), shown);
    apply_up_to(&store, &records, 400).unwrap();
    assert_equal(&store, &model_of(&records), SEED);
}

#[test]
fn a_store_that_has_lost_what_it_had_persisted_does_not_go_on() {
    let engine = MemoryEngine::new();
    let store = Tables::open(engine.clone()).unwrap();
    let records = World::new(SEED).records(100);
    apply_up_to(&store, &records, 100).unwrap();
    // As of a disk that says it has flushed and has not: the mark is that of an earlier batch.
    let mark = ringpost_store::layout::mark_value(Position(50), store.highest_stamp());
    store.persist().unwrap();
    let key = ringpost_store::layout::Key::from_slice(&ringpost_store::layout::MARK);
    let space = ringpost_store::engine::Space::Index;
    engine.commit(vec![ringpost_store::engine::Write::Put(space, key, mark)]).unwrap();
    engine.fail(StoreError::Stopped, 1);
    engine.mend();
    let lost = store.reopen().unwrap_err();
    assert!(matches!(lost, ReopenError::Lost { found: 50, persisted: 100 }), "{lost}");
    assert!(!lost.may_pass());
}

#[test]
fn account_data_that_was_not_synced_before_the_engine_was_opened_again_is_not_called_durable() {
    /// Stops the engine between a change's commit and its sync, and opens it again.
    #[derive(Clone)]
    struct Interrupted(MemoryEngine, Arc<std::sync::atomic::AtomicBool>);

    impl Engine for Interrupted {
        type View<'e> = <MemoryEngine as Engine>::View<'e>;

        fn view(&self) -> Self::View<'_> {
            self.0.view()
        }

        fn commit(&self, writes: Vec<ringpost_store::engine::Write>) -> Result<(), StoreError> {
            self.0.commit(writes)
        }

        fn persist(&self) -> Result<(), StoreError> {
            if self.1.swap(false, std::sync::atomic::Ordering::SeqCst) {
                self.0.fail(StoreError::NoSpace, 0);
                self.0.mend();
                self.0.reopen().unwrap();
            }
            self.0.persist()
        }

        fn check(&self) -> Result<(), StoreError> {
            self.0.check()
        }

        fn reopen(&self) -> Result<(), ringpost_store::engine::OpenError> {
            self.0.reopen()
        }

        fn openings(&self) -> u64 {
            self.0.openings()
        }

        fn stats(&self) -> ringpost_store::store::StoreStats {
            self.0.stats()
        }
    }

    let interrupts = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let engine = Interrupted(MemoryEngine::new(), Arc::clone(&interrupts));
    let accounts = AccountTables::open(engine, AccountKey::from_bytes(&[7; 32])).unwrap();
    let (phone, user) = ("+4915100000000", UserId([1; 16]));
    interrupts.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(accounts.bind_phone(phone, user).is_err());
    assert_eq!(accounts.user_of(phone).unwrap(), None);
    assert_eq!(accounts.bind_phone(phone, user).unwrap(), user);
    // A code whose removal was lost is there again, and is counted again.
    let name = CodeName { phone, request: "r" };
    accounts.put_code(name, Some("123456"), 3, u64::MAX).unwrap();
    interrupts.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(accounts.check_code(name, "123456", 1).is_err());
    assert!(accounts.check_code(name, "123456", 1).is_ok());
    assert!(accounts.put_code(name, Some("654321"), 3, u64::MAX).is_ok());
}

/// Lets the child's files have this size at most; longer ones stay as they are.
fn limit_files(bytes: &str) {
    let pid = std::process::id().to_string();
    let limit = format!("--fsize={bytes}:unlimited");
    assert!(Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap().success());
}

/// The child: fails, is well again, goes on.
fn fail_and_go_on(directory: &Path, limit: &str) {
    // Small memtables: the engine's threads write as well.
    let limits = FjallLimits { memtable_bytes: 256 << 10, ..FjallLimits::default() };
    let engine = FjallEngine::open(directory, &limits).unwrap();
    let store = Tables::open(engine.clone()).unwrap();
    let records = World::new(SEED).records(20_000);
    for round in 1..=3 {
        let start = round * 4_000;
        apply_up_to(&store, &records, start).unwrap();
        let persisted = store.persist().unwrap();
        limit_files(limit);
        let failed = (start..records.len())
            .step_by(STEP)
            .find_map(|end| apply_up_to(&store, &records, end).and(store.check()).err());
        let failed = failed.expect("the limit is reached");
        assert!(failed.may_pass(), "{failed}");
        let reached = store.applied().0 as usize;
        assert_equal(&store, &model_of(&records[..reached]), SEED);
        let refused = store.reopen().unwrap_err();
        assert!(refused.may_pass(), "{refused}");

        limit_files("unlimited");
        let found = store.reopen().unwrap();
        assert!(found >= persisted, "{found:?} found, {persisted:?} persisted");
        apply_up_to(&store, &records, reached).unwrap();
        assert_equal(&store, &model_of(&records[..reached]), SEED);
    }
    apply_up_to(&store, &records, records.len()).unwrap();
    store.persist().unwrap();
    drop((store, engine));
    let store = Tables::open(FjallEngine::open(directory, &limits).unwrap()).unwrap();
    assert_equal(&store, &model_of(&records), SEED);
}

#[test]
fn the_embedded_engine_goes_on_after_a_failed_write() {
    let name = "the_embedded_engine_goes_on_after_a_failed_write";
    if let (Ok(directory), Ok(case)) = (std::env::var(DIRECTORY), std::env::var(CASE)) {
        return fail_and_go_on(Path::new(&directory), &case);
    }
    // Of the log no byte; of anything no more than a small table has.
    for case in ["1", "65536"] {
        let directory = tempfile::tempdir().unwrap();
        let mut child = Command::new("sh");
        // Without the signal the write itself fails.
        child.args(["-c", r#"trap "" XFSZ; exec "$0" "$@""#]);
        child.arg(std::env::current_exe().unwrap()).args(["--exact", name, "--nocapture"]);
        let output = child.env(DIRECTORY, directory.path()).env(CASE, case).output().unwrap();
        assert!(output.status.success(), "{case}: {output:?}");
    }
}
