//! A store directory that cannot be opened is refused with what is wrong and what to do, and left
//! as it is. Never is a directory that has lost its files taken for a new one.
#![allow(clippy::disallowed_methods, reason = "files are the subject")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use ringpost_shard::record::Position;
use ringpost_store::accounts::{ACCOUNT_KEY_FILE, AccountError, AccountKey, AccountTables};
use ringpost_store::conformance::{World, batch_of};
use ringpost_store::engine::{FjallEngine, FjallLimits, OpenError};
use ringpost_store::layout::FORMAT_VERSION;
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
