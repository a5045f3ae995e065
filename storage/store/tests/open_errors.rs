//! A store directory that cannot be opened is refused with what is wrong and what to do, and left
//! as it is. Never is a directory that has lost its files taken for a new one.
#![allow(clippy::disallowed_methods, reason = "files are the subject")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use ringpost_shard::record::Position;
use ringpost_store::accounts::{ACCOUNT_KEY_FILE, AccountError, AccountKey, AccountTables};
use ringpost_store::conformance::{World, batch_of};
use ringpost_store::engine::{
    Engine, FjallEngine, FjallLimits, OpenError, Order, Space, View, Write,
};
use ringpost_store::layout::{FORMAT_VERSION, Key};
use ringpost_store::{Store, Tables};
use tempfile::TempDir;

fn open(directory: &Path) -> Result<FjallEngine, OpenError> {
    FjallEngine::open(directory, &FjallLimits { threads: 1, ..FjallLimits::default() })
}

/// A directory with some records in it, closed in order.
fn written() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let store = Tables::open(open(directory.path()).unwrap()).unwrap();
    store.apply(&batch_of(Position(0), &World::new(1).records(50))).unwrap();
    store.persist().unwrap();
    directory
}

fn set_format(directory: &TempDir, text: &str) {
    fs::write(directory.path().join("FORMAT"), text).unwrap();
}

/// The error of an open that must fail, and its text.
fn refusal(directory: &Path) -> (OpenError, String) {
    let Err(error) = open(directory) else { panic!("the directory must be refused") };
    let text = error.to_string();
    assert!(text.contains(directory.to_str().unwrap()), "{text}: names the directory");
    (error, text)
}

/// All files of a directory, with their contents.
fn files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for file in fs::read_dir(directory).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.clone(), fs::read(path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn a_newer_format_is_refused_and_left_untouched() {
    let directory = written();
    let newer = FORMAT_VERSION + 1;
    set_format(&directory, &format!("ringpost store {newer}\n"));
    let before = files(directory.path());
    let (error, text) = refusal(directory.path());
    assert!(matches!(error, OpenError::Newer { found, .. } if found == newer), "{text}");
    assert!(text.contains("newer ringpost"));
    assert!(files(directory.path()) == before, "not a byte has changed");
}

#[test]
fn an_older_format_is_refused_with_what_to_do() {
    let directory = written();
    for older in 0..FORMAT_VERSION {
        set_format(&directory, &format!("ringpost store {older}\n"));
        let (error, text) = refusal(directory.path());
        assert!(matches!(error, OpenError::Older { found, .. } if found == older), "{text}");
        assert!(text.contains("run the release that wrote it"));
    }
}

#[test]
fn a_format_file_that_says_nothing_is_damage() {
    let long = "ringpost store 1".repeat(100);
    for text in ["", "ringpost store", "ringpost store x", "fjall 1", long.as_str()] {
        let directory = written();
        set_format(&directory, text);
        let (error, message) = refusal(directory.path());
        assert!(matches!(error, OpenError::Damaged { .. }), "{message}");
    }
}

#[test]
fn a_store_that_lost_its_files_is_not_taken_for_a_new_one() {
    let directory = written();
    fs::remove_dir_all(directory.path().join("fjall")).unwrap();
    let (error, text) = refusal(directory.path());
    assert!(matches!(error, OpenError::Damaged { .. }), "{text}");
    assert!(text.contains("restore the data directory from a backup"));
}

/// fjall makes a keyspace anew where it does not find it, and deletes one that has lost its marker.
#[test]
fn a_store_that_lost_a_part_is_refused_before_the_engine_touches_it() {
    for number in 0..=4 {
        for lost in ["current", ""] {
            let directory = written();
            let keyspace = directory.path().join(format!("fjall/keyspaces/{number}"));
            match lost {
                "" => fs::remove_dir_all(&keyspace).unwrap(),
                file => fs::remove_file(keyspace.join(file)).unwrap(),
            }
            let before = files(directory.path());
            let (error, text) = refusal(directory.path());
            assert!(matches!(error, OpenError::Damaged { .. }), "{number}: {text}");
            assert!(text.contains("keyspaces"), "{text}: names the part");
            assert!(files(directory.path()) == before, "not a byte has changed");
        }
    }
}

/// What was persisted is missing of the engine's log: all of it, its end, or a part in the middle.
#[test]
fn a_store_that_lost_commits_of_its_log_is_refused() {
    let log = |directory: &TempDir| directory.path().join("fjall/0.jnl");
    let directory = written();
    fs::remove_file(log(&directory)).unwrap();
    let (_, text) = refusal(directory.path());
    assert!(text.contains("log"), "{text}");
    for keep in [0, 1, 2] {
        let directory = written();
        // The engine makes it long in advance.
        let content = fs::read(log(&directory)).unwrap();
        let length = content.iter().rposition(|byte| *byte != 0).unwrap() as u64;
        let file = fs::File::options().write(true).open(log(&directory)).unwrap();
        file.set_len(length * keep / 3).unwrap();
        let (error, text) = refusal(directory.path());
        assert!(matches!(error, OpenError::Damaged { .. }), "{keep}: {text}");
    }
}

#[test]
fn a_part_of_another_store_or_another_moment_is_refused() {
    let (directory, other) = (written(), written());
    let witness = |directory: &TempDir| directory.path().join("WITNESS");
    fs::copy(witness(&other), witness(&directory)).unwrap();
    let (_, text) = refusal(directory.path());
    assert!(text.contains("of another store"), "{text}");

    let directory = written();
    let (log, kept) = (directory.path().join("fjall/0.jnl"), other.path().join("kept"));
    fs::copy(&log, &kept).unwrap();
    let store = Tables::open(open(directory.path()).unwrap()).unwrap();
    let records = World::new(2).records(50);
    store.apply(&batch_of(store.applied(), &records)).unwrap();
    store.persist().unwrap();
    drop(store);
    fs::copy(&kept, &log).unwrap();
    let (_, text) = refusal(directory.path());
    assert!(text.contains(" commits"), "{text}");
}

/// Rows that are taken out of a store can be put into another: its own numbers are not among them.
#[test]
fn a_scan_of_all_rows_shows_what_was_written_alone() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).unwrap();
    let own = Key::from_slice(&[1]);
    engine.commit(vec![Write::Put(Space::Users, own.clone(), b"row"[..].into())]).unwrap();
    let mut seen = Vec::new();
    for space in Space::ALL {
        let view = engine.view();
        view.scan(space, &[], &[u8::MAX], Order::Rising, &mut |key, _| {
            seen.push((space, Key::from_slice(key)));
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
    }
    assert_eq!(seen, [(Space::Users, own)]);
}

#[test]
fn a_store_without_a_witness_is_refused() {
    let directory = written();
    fs::remove_file(directory.path().join("WITNESS")).unwrap();
    let (_, text) = refusal(directory.path());
    assert!(text.contains("WITNESS is missing"), "{text}");
}

#[test]
fn a_store_that_lost_its_format_file_is_not_taken_for_a_new_one() {
    let directory = written();
    fs::remove_file(directory.path().join("FORMAT")).unwrap();
    let (error, text) = refusal(directory.path());
    assert!(matches!(error, OpenError::Damaged { .. }), "{text}");
}

#[test]
fn a_creation_that_was_cut_short_is_finished() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()).unwrap());
    fs::remove_file(directory.path().join("FORMAT")).unwrap();
    let store = Tables::open(open(directory.path()).unwrap()).unwrap();
    assert_eq!(store.applied(), Position(0));
    assert!(directory.path().join("FORMAT").exists());
}

#[test]
fn a_second_process_is_refused() {
    let directory = written();
    let _first = open(directory.path()).unwrap();
    let (error, text) = refusal(directory.path());
    assert!(matches!(error, OpenError::Locked { .. }), "{text}");
}

#[test]
fn a_broken_engine_file_is_damage() {
    let directory = written();
    fs::write(directory.path().join("fjall/version"), b"FJL\x09").unwrap();
    let (error, text) = refusal(directory.path());
    assert!(matches!(error, OpenError::Damaged { .. }), "{text}");
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error_and_no_panic() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, b"").unwrap();
    let (error, text) = refusal(&file.join("store"));
    assert!(matches!(error, OpenError::Io { .. } | OpenError::ReadOnly { .. }), "{text}");
}

/// `/proc` takes no writes from anybody, not even from root, whom permissions do not stop.
#[test]
fn a_read_only_directory_is_refused_as_such() {
    let (error, text) = refusal(Path::new("/proc/ringpost-store"));
    assert!(
        matches!(error, OpenError::ReadOnly { .. } | OpenError::Damaged { .. }),
        "{error:?}: {text}"
    );
}

#[test]
fn the_account_key_is_made_once_and_only_its_owner_reads_it() {
    use std::os::unix::fs::PermissionsExt as _;

    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).unwrap();
    let tables = |key| AccountTables::open(engine.clone(), key);
    tables(AccountKey::open(directory.path()).unwrap()).unwrap();
    tables(AccountKey::open(directory.path()).unwrap()).unwrap();
    let file = directory.path().join(ACCOUNT_KEY_FILE);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    fs::remove_file(&file).unwrap();
    let other = tables(AccountKey::open(directory.path()).unwrap());
    assert!(matches!(other.err(), Some(AccountError::WrongKey)));
    fs::write(&file, b"short").unwrap();
    assert!(matches!(AccountKey::open(directory.path()).err(), Some(OpenError::Damaged { .. })));
}
