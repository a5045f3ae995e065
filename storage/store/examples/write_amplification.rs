//! Bytes that the embedded store writes to the disk per message, and what applying costs.
//!
//! Setup: 10,000 users with one device each write 300-byte messages to random others. `acked`:
//! the recipient's device acks 200 records later and the sender's acks the receipt 200 after
//! that, as devices do that are online. `offline`: nobody acks. Batches, persists and limits are
//! the server's defaults, at 50,000 records per second of virtual time.
//!
//! Reads `write_bytes` of `/proc/self/io`, from before the first record until compaction rests.
//!
//! ```text
//! cargo run --release -p ringpost-store --example write_amplification -- \
//!     (acked|offline) [messages] [separate_bytes_min] [memtable_mib]
//! ```

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement prints what it measured, by the clock and on a disk"
)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use ringpost_shard::record::{
    AckHead, Advance, DeviceAddedHead, Head, MessageHead, Position, Record, Settled, SharedRecord,
};
use ringpost_store::conformance::World;
use ringpost_store::engine::{FjallEngine, FjallLimits};
use ringpost_store::{Applier, ApplierLimits, Store, Tables};
use ringpost_wire::event::Status;
use ringpost_wire::{DeviceId, DeviceSet, MessageId, ServerId, UserId};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USERS: u64 = 10_000;
const BODY_BYTES: usize = 300;
const RECORDS_PER_SECOND: u64 = 50_000;
const PERSIST_EVERY: Duration = Duration::from_secs(1);
const ACK_AFTER: u64 = 200;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, default: u64| -> anyhow::Result<u64> {
        arguments.get(index).map_or(Ok(default), |text| text.parse().context("a number"))
    };
    let acked = match arguments.first().map(String::as_str) {
        Some("acked") => true,
        Some("offline") => false,
        _ => bail!("say `acked` or `offline`"),
    };
    let messages = number(1, 1_000_000)?;
    let limits = FjallLimits {
        separate_bytes_min: number(2, FjallLimits::default().separate_bytes_min.into())? as u32,
        memtable_bytes: number(3, FjallLimits::default().memtable_bytes >> 20)? << 20,
        ..FjallLimits::default()
    };
    // Beside the build's own files, which are on a disk; the system's /tmp may be memory.
    let directory = tempfile::tempdir_in(std::env::current_exe()?.parent().context("a folder")?)?;
    let store = Tables::open(FjallEngine::open(directory.path(), &limits)?)?;
    let mut run = Run::new(&store);
    for number in 0..USERS {
        run.push(Head::DeviceAdded(DeviceAddedHead {
            user: user(number),
            device: Some(device()),
            at_ms: 0,
        }))?;
    }
    run.flush()?;

    let (written, started, cpu) = (write_bytes()?, Instant::now(), cpu_seconds()?);
    let mut traffic = Traffic { world: World::new(7), acks: VecDeque::new(), acked };
    for number in 0..messages {
        traffic.message(number, &mut run)?;
    }
    traffic.rest(&mut run)?;
    run.flush()?;
    let (applied, applied_cpu) = (started.elapsed(), cpu_seconds()? - cpu);
    settle(&store);
    let written = write_bytes()? - written;

    let per_message = |total: f64| total / messages as f64;
    println!(
        "{} messages of {BODY_BYTES} B, {}: {:.0} B written per message; {:.1} us wall and {:.1} us \
         CPU per message to apply; {} of {} queue entries cancelled; disk {:.0} B per message, \
         log files {}; {limits:?}",
        messages,
        if acked { "acked quickly" } else { "offline queues" },
        per_message(written as f64),
        per_message(applied.as_secs_f64() * 1e6),
        per_message(applied_cpu * 1e6),
        run.applier.cancelled_total(),
        messages,
        per_message(store.stats().disk_bytes as f64),
        store.stats().journal_count,
    );
    Ok(())
}

struct Run<'s> {
    store: &'s dyn Store,
    applier: Applier,
    position: Position,
    persisted_at: Duration,
}

impl<'s> Run<'s> {
    fn new(store: &'s dyn Store) -> Self {
        let applier = Applier::new(store.applied(), ApplierLimits::default());
        Self { store, applier, position: store.applied(), persisted_at: Duration::ZERO }
    }

    fn now(&self) -> Duration {
        Duration::from_micros(self.position.0 * 1_000_000 / RECORDS_PER_SECOND)
    }

    fn push(&mut self, head: Head) -> anyhow::Result<u64> {
        let body = match head {
            Head::Message(_) => vec![0x5a; BODY_BYTES].into(),
            _ => Default::default(),
        };
        let record: SharedRecord = Arc::new(Record { head, body });
        self.position.0 += 1;
        let now = self.now();
        self.applier.push(now, self.position, &record)?;
        self.apply(now)?;
        if now > self.persisted_at + PERSIST_EVERY {
            self.persisted_at = now;
            self.store.persist()?;
        }
        Ok(self.position.0)
    }

    fn apply(&mut self, now: Duration) -> anyhow::Result<()> {
        if let Some(batch) = self.applier.poll_batch(now) {
            self.store.apply(&batch)?;
            self.applier.on_applied(batch.through());
        }
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        self.applier.kick(self.position);
        self.apply(self.now())?;
        self.store.persist()?;
        Ok(())
    }
}

/// An ack that a device will send once the journal is at `at`.
struct Due {
    at: u64,
    head: Head,
    is_delivery: bool,
}

struct Traffic {
    world: World,
    acks: VecDeque<Due>,
    acked: bool,
}

impl Traffic {
    fn message(&mut self, number: u64, run: &mut Run<'_>) -> anyhow::Result<()> {
        let (from, to) = (user(self.world.below(USERS)), user(self.world.below(USERS)));
        let id = ServerId((u128::from(number + 1) << 64).to_be_bytes());
        let random = u128::from(self.world.below(u64::MAX));
        let message_id = MessageId((u128::from(number + 1) << 64 | random).to_be_bytes());
        let devices = DeviceSet::only(device());
        let position = run.push(Head::Message(MessageHead {
            id,
            accepted_ms: 0,
            message_id,
            from,
            from_device: device(),
            to,
            reply_to: None,
            client_timestamp_ms: 1,
            plain: false,
            digest: [3; 16],
            recipient_devices: devices,
            recipient_gaps: DeviceSet::EMPTY,
            sender_devices: devices,
            copy_devices: DeviceSet::EMPTY,
            copy_gaps: DeviceSet::EMPTY,
        }))?;
        if self.acked {
            let delivered = Advance { sender: from, sender_devices: devices, id, message_id };
            let head = ack(to, vec![position], vec![], vec![delivered]);
            self.acks.push_back(Due { at: position + ACK_AFTER, head, is_delivery: true });
        }
        while self.acks.front().is_some_and(|due| due.at <= run.position.0) {
            self.ack(run)?;
        }
        Ok(())
    }

    fn ack(&mut self, run: &mut Run<'_>) -> anyhow::Result<()> {
        let Some(due) = self.acks.pop_front() else { return Ok(()) };
        let receipt = match &due.head {
            Head::Ack(ack) if due.is_delivery => Some((ack.user, ack.delivered[0].sender)),
            _ => None,
        };
        let position = run.push(due.head)?;
        if let Some((peer, sender)) = receipt {
            let settled = Settled { peer, status: Status::Delivered as u8, position };
            let head = ack(sender, vec![], vec![settled], vec![]);
            self.acks.push_back(Due { at: position + ACK_AFTER, head, is_delivery: false });
        }
        Ok(())
    }

    fn rest(&mut self, run: &mut Run<'_>) -> anyhow::Result<()> {
        while !self.acks.is_empty() {
            self.ack(run)?;
        }
        Ok(())
    }
}

fn ack(user: UserId, removed: Vec<u64>, settled: Vec<Settled>, delivered: Vec<Advance>) -> Head {
    Head::Ack(AckHead {
        user,
        device: device(),
        at_ms: 1,
        removed,
        missed_after: None,
        early: None,
        settled,
        delivered,
    })
}

/// Users are spread over the key space as random UUIDs are.
fn user(number: u64) -> UserId {
    let spread = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    UserId((u128::from(spread) << 64 | u128::from(number)).to_be_bytes())
}

fn device() -> DeviceId {
    DeviceId::new(1).expect("1 is a device")
}

/// Waits until flushes and compactions have rested for half a second.
fn settle(store: &dyn Store) {
    let mut quiet = 0;
    while quiet < 10 {
        std::thread::sleep(Duration::from_millis(50));
        let stats = store.stats();
        let is_quiet = stats.flushes_outstanding == 0 && stats.compactions_active == 0;
        quiet = if is_quiet { quiet + 1 } else { 0 };
    }
}

fn write_bytes() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/io")?;
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(line.context("write_bytes in /proc/self/io")?.parse()?)
}

/// User and system time of all threads.
fn cpu_seconds() -> anyhow::Result<f64> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> =
        text.rsplit_once(')').context("a stat line")?.1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(ticks as f64 / 100.0)
}
