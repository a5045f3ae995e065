//! How many records per second the journal commits: 300-byte records, group commit, both devices,
//! from one to many outstanding. Prints; asserts nothing.
//!
//! `cargo run --release -p ringpost-journal --example commit_rate [DIRECTORY] [SECONDS]`
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring program")]

use std::{
    path::PathBuf,
    sync::mpsc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use ringpost_journal::{
    Batch, Config, DurableSink, JournalError, JournalThread, Record, Touch, device::DeviceKind,
    open,
};

const RECORD_BYTES: usize = 300;
const CHECKPOINT_EVERY: u64 = 50_000;

struct Count {
    durable: u64,
    told: mpsc::Sender<u64>,
}

impl DurableSink for Count {
    fn room_changed(&mut self, _lack: Option<&str>) {}
    fn durable(&mut self, position: u64, _: Record, _: Touch) {
        self.durable = position;
    }
    fn batch_end(&mut self) {
        let _ = self.told.send(self.durable);
    }
    fn failed(&mut self, error: &JournalError) {
        panic!("{error}");
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds = arguments.next().map_or(2.0, |text| text.parse().unwrap());
    println!("device   outstanding  records/s  records/batch  sync mean us  written/payload");
    for device in [DeviceKind::File, DeviceKind::Glommio] {
        for outstanding in [1, 10, 100, 1000, 10_000] {
            run(&directory, device, outstanding, Duration::from_secs_f64(seconds));
        }
    }
}

/// Keeps `outstanding` records in flight, submitted in turns as they become durable.
fn run(directory: &std::path::Path, device: DeviceKind, outstanding: u64, time: Duration) {
    let directory = tempfile::tempdir_in(directory).unwrap();
    let opened = open(directory.path(), &Config::default(), 0).unwrap();
    let (told, heard) = mpsc::channel();
    let journal = JournalThread::start(opened, device, Count { durable: 0, told }).unwrap();
    let handle = journal.handle();
    let payload = Bytes::from(vec![7; RECORD_BYTES - 40]);
    let head = Bytes::from(vec![9; 40]);
    let (mut submitted, mut durable, mut trimmed) = (0, 0, 0);
    let started = Instant::now();
    while started.elapsed() < time {
        let free = outstanding - (submitted - durable);
        if free > 0 {
            let records = free.min(256) as u32;
            let bytes = u64::from(records) * RECORD_BYTES as u64;
            if let Ok(room) = handle.try_reserve(records, bytes) {
                let mut batch = Batch::new(room);
                for _ in 0..records {
                    batch.push(Record { head: head.clone(), body: payload.clone() }, 1).unwrap();
                }
                handle.submit(batch).unwrap();
                submitted += u64::from(records);
                if submitted - durable < outstanding {
                    continue;
                }
            } else if submitted == durable {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
        }
        durable = heard.recv().unwrap();
        while let Ok(later) = heard.try_recv() {
            durable = later;
        }
        if durable >= trimmed + CHECKPOINT_EVERY {
            trimmed = durable;
            handle.trim(trimmed);
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    journal.stop().unwrap();
    let stats = handle.stats().snapshot();
    println!(
        "{:8} {outstanding:11} {:10.0} {:14.1} {:13.0} {:16.2}",
        device.label(),
        durable as f64 / seconds,
        stats.records as f64 / stats.batches as f64,
        stats.sync_time.as_micros() as f64 / stats.syncs as f64,
        stats.written_bytes as f64 / stats.record_bytes as f64,
    );
}
