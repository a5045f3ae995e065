//! A crash at every byte of the last batch, on files that both devices wrote.
//!
//! Setup: a journal with batches before the last one; the process is "killed" by copying the files
//! while the journal runs. Action: at each byte of the last batch the file is truncated, zeroed
//! from there on, or the byte is garbled. Expectation: exactly the batches before it are recovered.
//! The same done to the batch *before* it is damage, with segment and offset, because the last one
//! says that everything before it was durable.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::{fs, os::unix::fs::FileExt, path::Path, sync::mpsc};

use ringpost_journal::{
    Batch, Config, Directory, DurableSink, JournalError, JournalThread, Record, RecordReader,
    RecoveredRecord, RecoveryError, Touch, device::DeviceKind, open, recover,
};
use support::{payload, record, small_config};
use tempfile::TempDir;

/// Records of each batch; the sizes put record boundaries inside blocks and across them.
const BATCHES: [&[usize]; 3] = [&[700], &[40, 3900, 0, 500], &[1, 4096, 300]];
const SEGMENT: &str = "segment-00000000";

struct Forward(mpsc::Sender<u64>);

impl DurableSink for Forward {
    fn room_changed(&mut self, _lack: Option<&str>) {}
    fn durable(&mut self, position: u64, _: Record, _: Touch) {
        self.0.send(position).unwrap();
    }
    fn batch_end(&mut self) {}
    fn failed(&mut self, error: &JournalError) {
        panic!("{error}");
    }
}

fn config() -> Config {
    Config { spare_segments: 1, ..small_config() }
}

/// Writes the batches with `device` and copies what is on disk then to `copy`.
fn crash_after_batches(device: DeviceKind, copy: &Path) {
    let directory = TempDir::new().unwrap();
    let opened = open(directory.path(), &config(), 0).unwrap();
    let (sender, durable) = mpsc::channel();
    let journal = JournalThread::start(opened, device, Forward(sender)).unwrap();
    let handle = journal.handle();
    let mut position = 0;
    for sizes in BATCHES {
        let bytes = sizes.iter().sum::<usize>() as u64;
        let mut batch = Batch::new(handle.try_reserve(sizes.len() as u32, bytes).unwrap());
        for &bytes in sizes {
            position += 1;
            batch.push(record(&payload(position, bytes)), 0).unwrap();
        }
        handle.submit(batch).unwrap();
        while durable.recv().unwrap() < position {}
    }
    // Batches submitted at once are written at once: the offsets below rely on it.
    assert_eq!(handle.stats().snapshot().batches, BATCHES.len() as u64);
    for entry in fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        if !entry.file_name().to_string_lossy().ends_with(".new") {
            fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
    }
    journal.stop().unwrap();
}

fn batch_bytes(sizes: &[usize]) -> u64 {
    96 + sizes.iter().map(|bytes| 28 + *bytes as u64).sum::<u64>()
}

fn batch_offset(index: usize) -> u64 {
    BATCHES[..index].iter().map(|sizes| batch_bytes(sizes).next_multiple_of(4096)).sum()
}

fn read_all(directory: &Directory) -> Result<Vec<RecoveredRecord>, RecoveryError> {
    let id = directory.journal_id();
    // Without the fdatasync of a real boot: ten thousands of them would take minutes.
    let recovery = recover(&mut directory.read_only_source(), id, 0)?;
    RecordReader::new(directory.read_only_source(), id, &recovery.chain, 0).collect()
}

fn assert_prefix(found: &[RecoveredRecord], batches: usize, context: &str) {
    let sizes: Vec<_> = BATCHES[..batches].concat();
    assert_eq!(found.len(), sizes.len(), "{context}");
    for ((position, bytes), found) in (1..).zip(sizes).zip(found) {
        assert_eq!((found.position, found.head_bytes), (position, bytes / 3), "{context}");
        assert_eq!(found.payload, payload(position, bytes), "{context}");
    }
}

#[derive(Debug, Clone, Copy)]
enum Cut {
    Truncated,
    Zeroed,
    Garbled,
}

/// Applies `cut` at `at`, recovers, and restores the file.
fn recover_cut(
    path: &Path,
    whole: &[u8],
    cut: Cut,
    at: u64,
    end: u64,
) -> Result<Vec<RecoveredRecord>, RecoveryError> {
    let file = fs::OpenOptions::new().write(true).open(path.join(SEGMENT)).unwrap();
    let (start, stop) = (at as usize, end as usize);
    match cut {
        Cut::Truncated => file.set_len(at).unwrap(),
        Cut::Zeroed => file.write_all_at(&vec![0; stop - start], at).unwrap(),
        Cut::Garbled => file.write_all_at(&[whole[start] ^ 0x5A], at).unwrap(),
    }
    let found = read_all(&Directory::open_existing(path).unwrap());
    file.write_all_at(&whole[start..], at).unwrap();
    found
}

#[test]
fn every_cut_in_the_last_batch_leaves_exactly_the_batches_before_it() {
    for device in [DeviceKind::File, DeviceKind::Glommio] {
        let copy = TempDir::new().unwrap();
        crash_after_batches(device, copy.path());
        let whole = fs::read(copy.path().join(SEGMENT)).unwrap();
        assert_prefix(&read_all(&Directory::open_existing(copy.path()).unwrap()).unwrap(), 3, "");
        let start = batch_offset(2);
        let end = start + batch_bytes(BATCHES[2]);
        for at in start..end {
            for cut in [Cut::Truncated, Cut::Zeroed, Cut::Garbled] {
                let context = format!("{device:?}, {cut:?} at {at} of {start}..{end}");
                if matches!(cut, Cut::Zeroed)
                    && whole[at as usize..end as usize].iter().all(|b| *b == 0)
                {
                    continue; // nothing would change
                }
                let found = recover_cut(copy.path(), &whole, cut, at, end).expect(&context);
                assert_prefix(&found, 2, &context);
            }
        }
        // Behind its last byte there is only padding.
        let found = recover_cut(copy.path(), &whole, Cut::Garbled, end, end).unwrap();
        assert_prefix(&found, 3, "garbled padding");
    }
}

#[test]
fn every_garbled_byte_below_the_durable_mark_is_damage_and_never_a_torn_tail() {
    for device in [DeviceKind::File, DeviceKind::Glommio] {
        let copy = TempDir::new().unwrap();
        crash_after_batches(device, copy.path());
        let whole = fs::read(copy.path().join(SEGMENT)).unwrap();
        let start = batch_offset(1);
        let end = start + batch_bytes(BATCHES[1]);
        for at in start..end {
            let context = format!("{device:?}, garbled at {at} of {start}..{end}");
            match recover_cut(copy.path(), &whole, Cut::Garbled, at, end) {
                Err(RecoveryError::Damage(damage)) => {
                    assert_eq!((damage.segment.as_str(), damage.offset), (SEGMENT, start));
                    assert_eq!(damage.position, 2, "{context}");
                }
                other => panic!("{context}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_torn_journal_goes_on_and_both_halves_are_read_later() {
    for device in [DeviceKind::File, DeviceKind::Glommio] {
        let copy = TempDir::new().unwrap();
        crash_after_batches(device, copy.path());
        let file = fs::OpenOptions::new().write(true).open(copy.path().join(SEGMENT)).unwrap();
        file.write_all_at(&[0; 4096], batch_offset(2) + 4096).unwrap();
        let opened = open(copy.path(), &config(), 0).unwrap();
        assert_eq!(opened.report().next_position, 6);
        assert_eq!(opened.report().torn_bytes, batch_bytes(BATCHES[2]));
        let (sender, durable) = mpsc::channel();
        let journal = JournalThread::start(opened, device, Forward(sender)).unwrap();
        let mut batch = Batch::new(journal.handle().try_reserve(1, 100).unwrap());
        batch.push(record(b"after the crash"), 0).unwrap();
        journal.handle().submit(batch).unwrap();
        assert_eq!(durable.recv().unwrap(), 6);
        journal.stop().unwrap();
        let found = read_all(&Directory::open_existing(copy.path()).unwrap()).unwrap();
        assert_prefix(&found[..5], 2, "before");
        assert_eq!(&found[5].payload[..], b"after the crash");
    }
}
