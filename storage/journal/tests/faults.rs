//! Failing, stuck and full disks under the running journal (fsync EIO, ENOSPC, a stuck disk).
//!
//! A device that obeys the test stands between the journal thread and the file device.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::{fs, io, path::Path, sync::mpsc};

use crossbeam::channel::{Receiver, Sender, bounded, unbounded};
use ringpost_journal::{
    Batch, Config, DeviceError, DurableSink, JournalError, JournalHandle, JournalThread, Operation,
    Record, Refused, Touch,
    device::{DeviceKind, LogDevice, file::FileDevice},
    open,
};
use support::{payload, record, small_config};
use tempfile::TempDir;

/// Waits for the test's word at every sync: `Ok` to do it, an error to fail with it.
struct Obedient {
    inner: FileDevice,
    asking: Sender<()>,
    orders: Receiver<io::Result<()>>,
}

impl LogDevice for Obedient {
    type Buffer = <FileDevice as LogDevice>::Buffer;

    fn buffer(&mut self, bytes: usize) -> Self::Buffer {
        self.inner.buffer(bytes)
    }

    async fn write(
        &mut self,
        slot: u32,
        offset: u64,
        buffer: Self::Buffer,
    ) -> Result<(), DeviceError> {
        self.inner.write(slot, offset, buffer).await
    }

    async fn sync(&mut self, slot: u32) -> Result<(), DeviceError> {
        self.asking.send(()).unwrap();
        match self.orders.recv().unwrap() {
            Ok(()) => self.inner.sync(slot).await,
            Err(error) => Err(DeviceError::new(Operation::Sync, "the disk", error)),
        }
    }

    async fn close(&mut self) {
        self.inner.close().await;
    }
}

#[derive(Debug, PartialEq)]
enum Heard {
    Durable(u64),
    Failed(u64),
}

struct Ear(mpsc::Sender<Heard>);

impl DurableSink for Ear {
    fn room_changed(&mut self, _lack: Option<&str>) {}
    fn durable(&mut self, position: u64, _: Record, _: Touch) {
        self.0.send(Heard::Durable(position)).unwrap();
    }
    fn batch_end(&mut self) {}
    fn failed(&mut self, error: &JournalError) {
        self.0.send(Heard::Failed(error.durable)).unwrap();
    }
}

struct Rig {
    journal: JournalThread,
    heard: mpsc::Receiver<Heard>,
    asked: Receiver<()>,
    order: Sender<io::Result<()>>,
}

fn start(directory: &Path, config: &Config) -> Rig {
    let opened = open(directory, config, 0).unwrap();
    let (sender, heard) = mpsc::channel();
    let (asking, asked) = unbounded();
    let (order, orders) = bounded(1);
    let device = |directory| Obedient { inner: FileDevice::new(directory), asking, orders };
    let journal = JournalThread::start_with(opened, device, Ear(sender)).unwrap();
    Rig { journal, heard, asked, order }
}

fn try_submit(journal: &JournalHandle, payload: &[u8]) -> Result<(), Refused> {
    let mut batch = Batch::new(journal.try_reserve(1, payload.len() as u64)?);
    batch.push(record(payload), 0)?;
    journal.submit(batch)
}

#[test]
fn after_a_failed_fdatasync_nothing_is_acknowledged_until_the_restart() {
    let directory = TempDir::new().unwrap();
    let Rig { journal, heard, asked, order } = start(directory.path(), &small_config());
    let handle = journal.handle();
    try_submit(&handle, b"good").unwrap();
    order.send(Ok(())).unwrap();
    assert_eq!(heard.recv().unwrap(), Heard::Durable(1));
    asked.recv().unwrap();
    try_submit(&handle, b"in the failing batch").unwrap();
    asked.recv().unwrap();
    try_submit(&handle, b"behind it").unwrap();
    order.send(Err(io::Error::from_raw_os_error(5))).unwrap();
    assert_eq!(heard.recv().unwrap(), Heard::Failed(1));
    assert!(heard.recv().is_err(), "nothing after it");
    assert_eq!(try_submit(&handle, b"later"), Err(Refused::Failed));
    assert_eq!(handle.records_after(0).err(), Some(Refused::Failed));
    assert_eq!(handle.durable_position(), 1);
    let error = journal.stop().unwrap_err();
    assert!(error.to_string().contains("fdatasync failed on the disk"), "{error}");
    // The restart finds what was acknowledged, and perhaps what was of unknown outcome.
    let opened = open(directory.path(), &small_config(), 0).unwrap();
    let found: Vec<_> = opened.records_after(0).map(|record| record.unwrap().payload).collect();
    assert_eq!(&found[0][..], b"good");
    assert!(found.len() <= 2);
}

#[test]
fn a_stuck_disk_refuses_when_the_bound_in_flight_is_reached_and_shows_for_how_long() {
    let directory = TempDir::new().unwrap();
    let mut config = small_config();
    config.inflight_bytes_max = 64 << 10;
    config.segment_bytes = 1 << 20;
    config.disk_budget_bytes = 4 << 20;
    let Rig { journal, heard, asked, order } = start(directory.path(), &config);
    let handle = journal.handle();
    assert_eq!(handle.waiting_for(), None);
    let mut accepted = 0;
    let reason = loop {
        match try_submit(&handle, &payload(1, 100)) {
            Ok(()) => accepted += 1,
            Err(reason) => break reason,
        }
    };
    assert_eq!(reason, Refused::InFlight);
    assert!((10..=16).contains(&accepted), "{accepted} records of one block each in 64 KiB");
    asked.recv().unwrap();
    assert!(handle.waiting_for().is_some());
    assert_eq!(handle.stats().snapshot().refused[Refused::InFlight.index()], 1);
    // The disk comes back: all that was accepted becomes durable.
    let released = std::thread::spawn(move || while order.send(Ok(())).is_ok() {});
    for position in 1..=accepted {
        assert_eq!(heard.recv().unwrap(), Heard::Durable(position));
    }
    try_submit(&handle, b"goes on").unwrap();
    assert_eq!(heard.recv().unwrap(), Heard::Durable(accepted + 1));
    journal.stop().unwrap();
    released.join().unwrap();
}

#[test]
fn a_file_system_without_room_refuses_by_reason_and_loses_nothing() {
    let directory = TempDir::new().unwrap();
    let config = Config { spare_segments: 1, ..small_config() };
    let opened = open(directory.path(), &config, 0).unwrap();
    // Whatever is to become the next segment cannot be created.
    let blocked = directory.path().join("segment-00000001.new");
    fs::create_dir(&blocked).unwrap();
    let (sender, heard) = mpsc::channel();
    let journal = JournalThread::start(opened, DeviceKind::File, Ear(sender)).unwrap();
    let handle = journal.handle();
    let mut accepted = 0;
    loop {
        match try_submit(&handle, &payload(accepted, 3000)) {
            Ok(()) => {
                accepted += 1;
                assert_eq!(heard.recv().unwrap(), Heard::Durable(accepted));
            }
            Err(Refused::SegmentPending) => std::thread::yield_now(),
            Err(reason) => {
                assert_eq!(reason, Refused::DiskFull);
                break;
            }
        }
    }
    assert!(accepted >= 13, "{accepted}: the first segment is used up to its last blocks");
    assert!(handle.stats().snapshot().prepare_failures > 0);
    assert_eq!(handle.failure().map(|error| error.to_string()), None, "refusing is not failing");
    // Room again: the journal finds out by itself.
    fs::remove_dir(&blocked).unwrap();
    while let Err(reason) = try_submit(&handle, b"room again") {
        assert!(matches!(reason, Refused::DiskFull | Refused::SegmentPending), "{reason}");
        std::thread::yield_now();
    }
    assert_eq!(heard.recv().unwrap(), Heard::Durable(accepted + 1));
    journal.stop().unwrap();
    let opened = open(directory.path(), &config, 0).unwrap();
    assert_eq!(opened.records_after(0).map(Result::unwrap).count() as u64, accepted + 1);
}

#[test]
fn an_applier_that_fell_behind_reads_from_the_running_journal() {
    for device in [DeviceKind::File, DeviceKind::Glommio] {
        let directory = TempDir::new().unwrap();
        let opened = open(directory.path(), &small_config(), 0).unwrap();
        let (sender, heard) = mpsc::channel();
        let journal = JournalThread::start(opened, device, Ear(sender)).unwrap();
        let handle = journal.handle();
        assert_eq!(handle.records_after(0).unwrap().count(), 0, "nothing yet");
        let mut applied = 0;
        for number in 1..=300 {
            while try_submit(&handle, &payload(number, 2000)).is_err() {
                std::thread::yield_now();
            }
            assert_eq!(heard.recv().unwrap(), Heard::Durable(number));
            if number % 17 == 0 {
                for found in handle.records_after(applied).unwrap() {
                    applied += 1;
                    let found = found.unwrap();
                    assert_eq!(found.position, applied, "{device:?}");
                    assert_eq!(found.payload, payload(applied, 2000), "{device:?}");
                }
                assert_eq!(applied, number, "up to what is durable");
                handle.trim(applied);
            }
        }
        journal.stop().unwrap();
        assert_eq!(handle.records_after(applied).err(), Some(Refused::Closed));
    }
}
