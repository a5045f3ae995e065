//! Directories as an operator may leave them: other formats, missing files, leftovers; and the
//! listing of a journal.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::{fs, os::unix::fs::FileExt, path::Path, process::Command};

use ringpost_journal::{
    Batch, Directory, DurableSink, JournalError, JournalThread, OpenError, Record, RecoveryError,
    SegmentRole, Touch,
    device::{
        DeviceKind,
        probe::{DeviceChoice, probe, probe_child},
    },
    inspect, open,
};
use support::{payload, record, small_config};
use tempfile::TempDir;

struct Deaf;

impl DurableSink for Deaf {
    fn room_changed(&mut self, _lack: Option<&str>) {}
    fn durable(&mut self, _: u64, _: Record, _: Touch) {}
    fn batch_end(&mut self) {}
    fn failed(&mut self, error: &JournalError) {
        panic!("{error}");
    }
}

/// A journal with `records` records of 3,000 bytes, cleanly stopped.
fn journal_with(directory: &Path, records: u64) {
    let journal =
        JournalThread::start(open(directory, &small_config(), 0).unwrap(), DeviceKind::File, Deaf)
            .unwrap();
    let handle = journal.handle();
    for number in 1..=records {
        let room = loop {
            if let Ok(room) = handle.try_reserve(1, 3000) {
                break room;
            }
            std::thread::yield_now();
        };
        let mut batch = Batch::new(room);
        batch.push(record(&payload(number, 3000)), 0).unwrap();
        handle.submit(batch).unwrap();
    }
    journal.stop().unwrap();
}

#[test]
fn a_newer_format_is_refused_with_what_to_do() {
    let directory = TempDir::new().unwrap();
    journal_with(directory.path(), 1);
    fs::write(directory.path().join("format"), "ringpost-journal 2 0123456789abcdef\n").unwrap();
    let error = open(directory.path(), &small_config(), 0).unwrap_err();
    assert!(matches!(error, OpenError::NewerFormat { found: 2, known: 1, .. }), "{error}");
    assert!(error.to_string().contains("newer"), "{error}");
    assert!(inspect(directory.path()).is_err());
}

#[test]
fn a_journal_that_begins_behind_a_position_goes_on_there_and_nowhere_else() {
    let directory = TempDir::new().unwrap();
    Directory::begin_behind(directory.path(), 41).unwrap();
    assert!(Directory::begin_behind(directory.path(), 41).is_err(), "it is there already");
    for checkpoint in [42, 1_000] {
        let error = open(directory.path(), &small_config(), checkpoint).unwrap_err();
        let is_ahead = matches!(error, OpenError::Recovery(RecoveryError::CheckpointAhead { .. }));
        assert!(is_ahead, "{error}");
    }
    let opened = open(directory.path(), &small_config(), 41).unwrap();
    assert_eq!(opened.report().next_position, 42);
    assert_eq!(opened.records_after(41).count(), 0);
    drop(opened);
    assert!(inspect(directory.path()).unwrap().damage.is_empty());
}

#[test]
fn a_format_file_that_says_something_else_is_refused() {
    for text in [
        "",
        "ringpost-journal",
        "ringpost-journal 1",
        "ringpost-journal 1 12",
        "ringpost-journal 1 0123456789abcdeg\n",
        "ringpost-journal 1 0123456789abcdef 9\n",
        "ringpost-journal 1 0123456789abcdef behind\n",
        "ringpost-journal 1 0123456789abcdef behind x\n",
        "ringpost-journal 1 0123456789abcdef behind 9 9\n",
        "ringpost-journal x 0123456789abcdef\n",
        "another-journal 1 0123456789abcdef\n",
        "\u{1b}[2J",
    ] {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("format"), text).unwrap();
        let error = open(directory.path(), &small_config(), 0).unwrap_err();
        assert!(matches!(error, OpenError::UnknownFormat { .. }), "{text:?}: {error}");
        assert!(!error.to_string().contains('\u{1b}'), "no terminal codes in messages");
    }
}

#[test]
fn segments_without_their_format_file_are_never_taken_for_a_new_journal() {
    let directory = TempDir::new().unwrap();
    journal_with(directory.path(), 3);
    fs::remove_file(directory.path().join("format")).unwrap();
    let error = open(directory.path(), &small_config(), 0).unwrap_err();
    assert!(matches!(error, OpenError::UnknownFormat { .. }), "{error}");
}

#[test]
fn a_path_that_is_a_file_is_refused_by_name() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("journal");
    fs::write(&path, "").unwrap();
    let error = open(&path, &small_config(), 0).unwrap_err();
    assert!(matches!(error, OpenError::Device(_)), "{error}");
    assert!(error.to_string().contains("journal"), "{error}");
}

#[test]
fn what_was_being_prepared_at_the_crash_is_removed() {
    let directory = TempDir::new().unwrap();
    journal_with(directory.path(), 3);
    let leftover = directory.path().join("segment-00000009.new");
    fs::write(&leftover, [0; 100]).unwrap();
    let foreign = directory.path().join("notes.txt");
    fs::write(&foreign, "not ours").unwrap();
    let opened = open(directory.path(), &small_config(), 0).unwrap();
    assert_eq!(opened.records_after(0).map(Result::unwrap).count(), 3);
    assert!(!leftover.exists());
    assert!(foreign.exists(), "what is not ours stays");
}

#[test]
fn a_missing_segment_is_damage() {
    let directory = TempDir::new().unwrap();
    journal_with(directory.path(), 70);
    fs::remove_file(directory.path().join("segment-00000001")).unwrap();
    let error = open(directory.path(), &small_config(), 0).unwrap_err();
    let OpenError::Recovery(RecoveryError::Damage(damage)) = error else { panic!("{error}") };
    assert_eq!((damage.slot, damage.position), (1, 1));
    assert!(damage.to_string().contains("the file is missing"), "{damage}");
}

#[test]
fn an_emptied_journal_does_not_pass_for_the_one_that_the_store_knows() {
    let directory = TempDir::new().unwrap();
    let error = open(directory.path(), &small_config(), 7).unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::Recovery(RecoveryError::CheckpointAhead { checkpoint: 7, last: 0 })
        ),
        "{error}"
    );
}

#[test]
fn the_listing_shows_segments_positions_and_damage_and_writes_nothing() {
    let directory = TempDir::new().unwrap();
    journal_with(directory.path(), 70);
    let before: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().path()).collect();
    let sound = inspect(directory.path()).unwrap();
    assert_eq!(sound.positions, Some((1, 70)));
    assert!(sound.damage.is_empty(), "{sound}");
    let live: Vec<_> =
        sound.segments.iter().filter(|segment| segment.role == SegmentRole::Live).collect();
    assert!(live.len() >= 3);
    assert_eq!(live.iter().map(|segment| segment.records).sum::<u64>(), 70);
    assert_eq!((live[0].first_position, live[0].generation), (1, 1));
    for (one, next) in live.iter().zip(&live[1..]) {
        assert_eq!(one.last_position + 1, next.first_position);
    }
    let text = sound.to_string();
    assert!(text.contains("segment-00000000") && text.contains("records 1 to 70"), "{text}");

    let path = directory.path().join("segment-00000001");
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(b"scratch", 4096 + 500).unwrap();
    let damaged = inspect(directory.path()).unwrap();
    assert_eq!(damaged.damage.len(), 1, "{damaged}");
    let text = damaged.to_string();
    assert!(
        text.contains("DAMAGE: segment-00000001") && text.contains("not whole at byte 0;"),
        "{text}"
    );
    assert!(!text.contains("can be replayed"), "{text}");
    let after: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(before, after);
}

/// Not a test of its own: what the child process of the test below runs.
#[test]
fn probe_entry() {
    if let Some(directory) = std::env::var_os("RINGPOST_PROBE_DIRECTORY") {
        probe_child(Path::new(&directory)).unwrap();
    }
}

#[test]
fn the_direct_device_is_tried_in_a_child_process_and_what_it_says_is_heard() {
    let itself = |directory: &Path| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "probe_entry"]).env("RINGPOST_PROBE_DIRECTORY", directory);
        command
    };
    let directory = TempDir::new().unwrap();
    assert_eq!(probe(itself(directory.path())), DeviceChoice::Glommio);
    assert_eq!(probe(itself(directory.path())).kind(), DeviceKind::Glommio, "once more");
    let opened = open(directory.path(), &small_config(), 0).unwrap();
    assert_eq!(opened.report().next_position, 1, "the trial leaves nothing behind");

    let reason = |command| match probe(command) {
        DeviceChoice::File { reason } => reason,
        DeviceChoice::Glommio => panic!("it cannot work there"),
    };
    let mut dying = Command::new("sh");
    dying.args(["-c", "echo 'no such device' >&2; kill -ABRT $$"]);
    let said = reason(dying);
    assert!(said.contains("no such device") && said.contains("signal: 6"), "{said}");
    assert!(reason(Command::new("/nonexistent")).contains("could not be started"));
    // A file system without block device: glommio panics there, and the child dies for us.
    assert!(!reason(itself(Path::new("/proc/nowhere"))).is_empty());
}
