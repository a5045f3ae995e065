//! One suite for both devices, on real files: the running thread, its sink, stop and restart.
//!
//! Setup: a journal in a temporary directory on this machine's disk, once with the plain file and
//! once with direct I/O. Where direct I/O does not work (tmpfs, some containers) its half of the
//! suite fails: run the tests on a disk, `TMPDIR` chooses it.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::{
    path::Path,
    sync::{Arc, Mutex, mpsc},
};

use bytes::Bytes;
use ringpost_journal::{
    Batch, Config, DurableSink, JournalError, JournalHandle, JournalThread, Record, Refused, Touch,
    device::DeviceKind, open,
};
use support::{payload, record, small_config};
use tempfile::TempDir;

const DEVICES: [DeviceKind; 2] = [DeviceKind::File, DeviceKind::Glommio];

#[derive(Debug, PartialEq)]
enum Heard {
    Durable(u64, Record, Touch),
    BatchEnd,
    Failed(String),
}

/// Sends what it hears to the test.
struct Ear(mpsc::Sender<Heard>);

impl DurableSink for Ear {
    fn room_changed(&mut self, _lack: Option<&str>) {}
    fn durable(&mut self, position: u64, record: Record, touch: Touch) {
        self.0.send(Heard::Durable(position, record, touch)).expect("the test listens");
    }

    fn batch_end(&mut self) {
        self.0.send(Heard::BatchEnd).expect("the test listens");
    }

    fn failed(&mut self, error: &JournalError) {
        self.0.send(Heard::Failed(error.to_string())).expect("the test listens");
    }
}

fn start(
    directory: &Path,
    config: &Config,
    checkpoint: u64,
    device: DeviceKind,
) -> (JournalThread, mpsc::Receiver<Heard>) {
    let opened = open(directory, config, checkpoint).unwrap();
    let (ear, heard) = mpsc::channel();
    (JournalThread::start(opened, device, Ear(ear)).unwrap(), heard)
}

/// Submits one record, waiting for room if there is none yet.
fn submit(journal: &JournalHandle, payload: &[u8], touch: Touch) {
    loop {
        match journal.try_reserve(1, payload.len() as u64) {
            Ok(room) => {
                let mut batch = Batch::new(room);
                batch.push(record(payload), touch).unwrap();
                return journal.submit(batch).unwrap();
            }
            Err(Refused::InFlight | Refused::SegmentPending) => std::thread::yield_now(),
            Err(other) => panic!("{other}"),
        }
    }
}

/// The next durable record, past the ends of batches.
fn next_durable(heard: &mpsc::Receiver<Heard>) -> (u64, Record, Touch) {
    loop {
        match heard.recv().expect("the journal runs") {
            Heard::Durable(position, record, touch) => return (position, record, touch),
            Heard::BatchEnd => {}
            Heard::Failed(error) => panic!("{error}"),
        }
    }
}

fn payloads_after(directory: &Path, config: &Config, after: u64) -> Vec<Bytes> {
    let opened = open(directory, config, after).unwrap();
    opened.records_after(after).map(|record| record.unwrap().payload).collect()
}

#[test]
fn records_come_out_in_order_with_their_touch_and_survive() {
    for device in DEVICES {
        let directory = TempDir::new().unwrap();
        let config = small_config();
        let (journal, heard) = start(directory.path(), &config, 0, device);
        let handle = journal.handle();
        for number in 1..=60 {
            submit(&handle, &payload(number, number as usize * 90), number << 3);
        }
        for number in 1..=60 {
            let (position, found, touch) = next_durable(&heard);
            assert_eq!((position, touch), (number, number << 3), "{device:?}");
            assert_eq!(found, record(&payload(number, number as usize * 90)));
        }
        assert_eq!(handle.durable_position(), 60);
        let stats = handle.stats().snapshot();
        assert_eq!(stats.records, 60);
        assert_eq!(stats.record_bytes, (1..=60).map(|number| number * 90).sum::<u64>());
        assert!(stats.batches > 0 && stats.syncs == stats.batches);
        assert_eq!(stats.sync_buckets.iter().sum::<u64>(), stats.syncs);
        assert!(stats.written_bytes > stats.record_bytes);
        journal.stop().unwrap();
        let found = payloads_after(directory.path(), &config, 10);
        assert_eq!(found.len(), 50);
        for (number, found) in (11..).zip(found) {
            assert_eq!(found, payload(number, number as usize * 90), "{device:?}");
        }
    }
}

#[test]
fn each_device_continues_what_the_other_wrote() {
    let directory = TempDir::new().unwrap();
    let config = small_config();
    let mut expected = 0;
    for device in [DEVICES, DEVICES].concat() {
        let (journal, heard) = start(directory.path(), &config, 0, device);
        for _ in 0..5 {
            expected += 1;
            submit(&journal.handle(), &payload(expected, 500), 0);
            assert_eq!(next_durable(&heard).0, expected, "{device:?}");
        }
        journal.stop().unwrap();
    }
    assert_eq!(payloads_after(directory.path(), &config, 0).len() as u64, expected);
}

#[test]
fn trimming_behind_the_store_recycles_segments_without_end() {
    for device in DEVICES {
        let directory = TempDir::new().unwrap();
        let config = small_config();
        let (journal, heard) = start(directory.path(), &config, 0, device);
        let handle = journal.handle();
        // Ten times what the disk budget holds.
        for number in 1..=1500 {
            submit(&handle, &payload(number, 3000), 0);
            assert_eq!(next_durable(&heard).0, number);
            if number % 10 == 0 {
                handle.trim(number);
            }
        }
        let stats = handle.stats().snapshot();
        assert!(stats.disk_bytes <= config.disk_budget_bytes);
        assert!(stats.segments_taken > 90, "{stats:?}");
        assert!(stats.segments_prepared < 8, "{stats:?}");
        journal.stop().unwrap();
        let found = payloads_after(directory.path(), &config, 1490);
        assert_eq!(found.len(), 10, "{device:?}");
        assert_eq!(found[9], payload(1500, 3000));
    }
}

#[test]
fn many_threads_share_one_order() {
    for device in DEVICES {
        let directory = TempDir::new().unwrap();
        let mut config = small_config();
        config.disk_budget_bytes *= 8;
        let (journal, heard) = start(directory.path(), &config, 0, device);
        let threads: Vec<_> = (0..4_u8)
            .map(|thread| {
                let handle = journal.handle();
                std::thread::spawn(move || {
                    for number in 0..100_u8 {
                        submit(&handle, &[thread, number], u64::from(thread));
                    }
                })
            })
            .collect();
        let mut next = [0_u8; 4];
        for position in 1..=400 {
            let (found, record, touch) = next_durable(&heard);
            assert_eq!(found, position);
            let thread = touch as usize;
            assert_eq!(record, support::record(&[touch as u8, next[thread]]), "{device:?}");
            next[thread] += 1;
        }
        for thread in threads {
            thread.join().unwrap();
        }
        let batches = journal.handle().stats().snapshot().batches;
        assert!(batches <= 400, "{batches} batches for 400 records");
        journal.stop().unwrap();
    }
}

#[test]
fn a_segment_that_is_gone_ends_the_journal_and_everybody_is_told() {
    for device in DEVICES {
        let directory = TempDir::new().unwrap();
        let (journal, heard) = start(directory.path(), &small_config(), 0, device);
        let handle = journal.handle();
        std::fs::remove_file(directory.path().join("segment-00000000")).unwrap();
        submit(&handle, b"lost", 0);
        let Heard::Failed(message) = heard.recv().unwrap() else { panic!("not durable") };
        assert!(message.contains("segment-00000000"), "{message}");
        let error = journal.stop().unwrap_err();
        assert_eq!(error.durable, 0);
        assert_eq!(handle.durable_position(), 0);
        assert_eq!(handle.try_reserve(1, 1).unwrap_err(), Refused::Failed);
        assert!(handle.failure().is_some());
        let refused = handle.stats().snapshot().refused;
        assert_eq!(refused[Refused::Failed.index()], 1);
        assert!(heard.recv().is_err(), "nothing is heard after the failure");
    }
}

#[test]
fn the_disk_budget_refuses_by_reason_until_the_store_has_caught_up() {
    for device in DEVICES {
        let directory = TempDir::new().unwrap();
        let config = small_config();
        let (journal, heard) = start(directory.path(), &config, 0, device);
        let handle = journal.handle();
        let mut accepted = 0;
        loop {
            match handle.try_reserve(1, 3000) {
                Ok(room) => {
                    let mut batch = Batch::new(room);
                    batch.push(record(&payload(accepted, 3000)), 0).unwrap();
                    handle.submit(batch).unwrap();
                    accepted += 1;
                    assert_eq!(next_durable(&heard).0, accepted);
                }
                Err(Refused::SegmentPending) => std::thread::yield_now(),
                Err(reason) => {
                    assert_eq!(reason, Refused::DiskBudget);
                    break;
                }
            }
        }
        assert!(accepted > 80, "{accepted}");
        assert_eq!(handle.stats().snapshot().refused[Refused::DiskBudget.index()], 1);
        handle.trim(accepted);
        while let Err(reason) = handle.try_reserve(1, 3000) {
            assert_eq!(reason, Refused::DiskBudget, "until the trim has arrived");
            std::thread::yield_now();
        }
        submit(&handle, b"again", 0);
        assert_eq!(next_durable(&heard).0, accepted + 1);
        journal.stop().unwrap();
    }
}

#[test]
fn room_that_is_not_used_comes_back() {
    let directory = TempDir::new().unwrap();
    let mut config = small_config();
    config.segment_bytes = 1 << 20; // one segment is enough for all: no waiting for the next
    config.disk_budget_bytes = 4 << 20;
    config.inflight_bytes_max = 64 << 10;
    let (journal, heard) = start(directory.path(), &config, 0, DeviceKind::File);
    let handle = journal.handle();
    for number in 1..=100 {
        let room = handle.try_reserve(8, 2000).expect("the last one came back");
        let mut batch = Batch::new(room);
        assert!(batch.has_room_for(2000));
        assert!(!batch.has_room_for(6001), "above the largest record");
        assert_eq!(batch.push(record(&[0; 6001]), 0), Err(Refused::RecordTooLarge));
        batch.push(record(b"one of eight"), 0).unwrap();
        assert_eq!(batch.len(), 1);
        handle.submit(batch).unwrap();
        assert_eq!(next_durable(&heard).0, number);
        drop(handle.try_reserve(8, 2000).expect("dropped unused"));
        let empty = Batch::new(handle.try_reserve(8, 2000).expect("never submitted"));
        handle.submit(empty).unwrap();
    }
    let room = handle.try_reserve(8, 2000).unwrap();
    assert_eq!(handle.try_reserve(16, 2000).unwrap_err(), Refused::InFlight);
    let mut batch = Batch::new(room);
    let pushed = (0..100).take_while(|_| batch.push(record(&[0; 1000]), 0).is_ok()).count();
    assert!((4..=8).contains(&pushed), "{pushed} records fit into the room of eight");
    drop(batch);
    journal.stop().unwrap();
    assert_eq!(handle.try_reserve(1, 1).unwrap_err(), Refused::Closed);
}

#[test]
fn stopping_flushes_what_was_submitted() {
    for device in DEVICES {
        let directory = TempDir::new().unwrap();
        let heard = Arc::new(Mutex::new(0));
        struct Count(Arc<Mutex<u64>>);
        impl DurableSink for Count {
            fn room_changed(&mut self, _lack: Option<&str>) {}
            fn durable(&mut self, position: u64, _: Record, _: Touch) {
                *self.0.lock().unwrap() = position;
            }
            fn batch_end(&mut self) {}
            fn failed(&mut self, error: &JournalError) {
                panic!("{error}");
            }
        }
        let opened = open(directory.path(), &small_config(), 0).unwrap();
        let journal = JournalThread::start(opened, device, Count(Arc::clone(&heard))).unwrap();
        for _ in 0..40 {
            submit(&journal.handle(), b"in the queue", 0);
        }
        drop(journal); // as `stop`
        assert_eq!(*heard.lock().unwrap(), 40, "{device:?}");
        assert_eq!(payloads_after(directory.path(), &small_config(), 0).len(), 40);
    }
}
