//! The fleet: clients that send, ack, forget and come back, and the ledger of what they saw.
//!
//! Tasks that do harm to a running server share it. This file owns the course of the clients:
//! gather (all devices sign in), send (while harm is done), drain (no new messages, no harm, until
//! everything has arrived), end (the ledger is closed). [`client`] is one device, [`ledger`] knows
//! the promises.

mod client;
mod ledger;
mod link;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::bail;
use ringpost_wire::{DeviceId, UserId};
use uuid::Builder;

use client::{Client, Role};
use ledger::{Device, Ledger};

use crate::seeded::Chance;
use crate::server::Server;

pub(crate) use ledger::Counts;

/// Users who send, and as many to whom they send.
const PAIRS: usize = 4;

/// How long a run may stand still while it gathers or drains.
const STANDSTILL_MAX: Duration = Duration::from_secs(30);

/// Between two looks at what the clients have done.
const WATCH: Duration = Duration::from_millis(20);

/// Violations that are printed.
const FAULTS_SHOWN: usize = 10;

/// The clients of a run.
pub(crate) struct Fleet {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    begun: Instant,
}

/// What a run has come to.
pub(crate) struct Outcome {
    pub(crate) counts: Counts,
    /// Every promise that was broken, and why the run broke off if it did.
    pub(crate) faults: Vec<String>,
}

impl Fleet {
    /// Has every device sign in at `address`, behind which `server` is, ready.
    ///
    /// # Errors
    /// When the server signs no tokens, or the devices do not come in.
    pub(crate) fn gather(seed: u64, server: &Server, address: SocketAddr) -> anyhow::Result<Self> {
        let roster = roster(seed);
        let devices = roster.len();
        let shared = Arc::new(Shared {
            ledger: Mutex::new(Ledger::new(roster.iter().map(|(device, _)| *device).collect())),
            stage: AtomicU8::new(Stage::Gather as u8),
            gathered: AtomicUsize::new(0),
            faults: Mutex::new(Vec::new()),
        });
        let threads = connect(seed, roster, server, address, &shared)?;
        let fleet = Self { shared, threads, begun: Instant::now() };
        fleet.await_progress("gather", STANDSTILL_MAX, || {
            fleet.shared.gathered.load(Ordering::Relaxed) == devices
        })?;
        Ok(fleet)
    }

    /// From now on messages are made.
    pub(crate) fn send(&self) {
        self.shared.enter(Stage::Send);
    }

    /// Makes no more messages, and waits until all were answered and shown.
    ///
    /// # Errors
    /// When a promise is broken, or nothing happens any more.
    pub(crate) fn drain(&self) -> anyhow::Result<()> {
        self.drain_within(STANDSTILL_MAX)
    }

    /// [`Fleet::drain`], with another measure of standing still.
    pub(crate) fn drain_within(&self, standstill_max: Duration) -> anyhow::Result<()> {
        self.shared.enter(Stage::Drain);
        self.await_progress("drain", standstill_max, || self.shared.ledger().is_drained())
    }

    /// What was counted so far.
    pub(crate) fn counts(&self) -> Counts {
        self.shared.ledger().counts
    }

    /// Whether a promise was broken so far.
    pub(crate) fn has_fault(&self) -> bool {
        !self.shared.faults().is_empty()
    }

    /// Ends the clients and closes the ledger. `course` is how the run went.
    pub(crate) fn end(self, course: anyhow::Result<()>) -> Outcome {
        self.shared.enter(Stage::Stop);
        for thread in self.threads {
            if thread.join().is_err() {
                self.shared.fault("a client panicked; its message stands above".to_owned());
            }
        }
        let ledger = self.shared.ledger();
        report(&ledger.counts, self.begun.elapsed());
        let mut faults = std::mem::take(&mut *self.shared.faults());
        if let Err(failure) = course {
            faults.push(format!("{failure:#}"));
        }
        // Where a run broke off, what has not arrived is no news.
        if faults.is_empty() || ledger.is_drained() {
            faults.extend(ledger.close());
        }
        Outcome { counts: ledger.counts, faults }
    }

    /// Waits until `is_done`, as long as something still happens.
    fn await_progress(
        &self,
        what: &str,
        standstill_max: Duration,
        is_done: impl Fn() -> bool,
    ) -> anyhow::Result<()> {
        let shared = &self.shared;
        let progress = || {
            let counts = shared.ledger().counts;
            counts.acknowledged + counts.shown + counts.copies + counts.sessions
        };
        let (mut before, mut moved) = (progress(), Instant::now());
        while !is_done() {
            if !shared.faults().is_empty() {
                bail!("broken off: {what}");
            }
            let now = progress();
            if now != before {
                (before, moved) = (now, Instant::now());
            }
            if moved.elapsed() > standstill_max {
                for fault in shared.ledger().close() {
                    shared.fault(fault);
                }
                bail!("nothing happened for {standstill_max:?} on the way to {what}");
            }
            thread::sleep(WATCH);
        }
        Ok(())
    }
}

impl Outcome {
    /// Prints what is wrong.
    ///
    /// # Errors
    /// When something is.
    pub(crate) fn judge(&self) -> anyhow::Result<()> {
        for fault in self.faults.iter().take(FAULTS_SHOWN) {
            println!("violation: {fault}");
        }
        if !self.faults.is_empty() {
            bail!("{} violations", self.faults.len());
        }
        Ok(())
    }
}

/// What the clients are to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Stage {
    Gather,
    Send,
    Drain,
    Stop,
}

/// What all threads of a run share.
struct Shared {
    ledger: Mutex<Ledger>,
    stage: AtomicU8,
    gathered: AtomicUsize,
    faults: Mutex<Vec<String>>,
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("no thread panics while it holds the ledger")
    }

    fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Relaxed) {
            0 => Stage::Gather,
            1 => Stage::Send,
            2 => Stage::Drain,
            _ => Stage::Stop,
        }
    }

    fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    /// A device has signed in for the first time.
    fn gathered(&self) {
        self.gathered.fetch_add(1, Ordering::Relaxed);
    }

    fn fault(&self, what: String) {
        self.faults().push(what);
    }

    fn faults(&self) -> MutexGuard<'_, Vec<String>> {
        self.faults.lock().expect("no thread panics while it holds the faults")
    }
}

/// Who takes part, and to whom each sends: users with one and with two devices on both sides.
fn roster(seed: u64) -> Vec<(Device, Vec<UserId>)> {
    let mut chance = Chance::new(seed, u64::MAX);
    let mut user = || {
        let bytes = u128::from(chance.number()) << 64 | u128::from(chance.number());
        UserId::from(Builder::from_random_bytes(bytes.to_be_bytes()).into_uuid())
    };
    let senders = std::array::from_fn::<_, PAIRS, _>(|_| user());
    let receivers = std::array::from_fn::<_, PAIRS, _>(|_| user());
    let mut roster = Vec::new();
    for pair in 0..PAIRS {
        for number in 1..=1 + (pair % 2) as u8 {
            let number = DeviceId::new(number).expect("1 and 2 are device numbers");
            roster.push((Device { user: senders[pair], number }, receivers.to_vec()));
            roster.push((Device { user: receivers[pair], number }, Vec::new()));
        }
    }
    roster
}

/// Starts a thread for each device.
fn connect(
    seed: u64,
    roster: Vec<(Device, Vec<UserId>)>,
    server: &Server,
    address: SocketAddr,
    shared: &Arc<Shared>,
) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let token = |device: Device| server.tokens(&[device.user], device.number);
    let tokens = roster.iter().map(|(device, _)| token(*device));
    let tokens = tokens.collect::<anyhow::Result<Vec<_>>>()?.concat();
    let start = |(stream, ((device, partners), token))| {
        let role = Role { device, partners, token, address };
        let client = Client::new(role, Arc::clone(shared), Chance::new(seed, stream));
        thread::spawn(move || client.run())
    };
    Ok((1..).zip(roster.into_iter().zip(tokens)).map(start).collect())
}

fn report(counts: &Counts, took: Duration) {
    let rows = [
        ("messages made", counts.made),
        ("acknowledged", counts.acknowledged),
        ("sent again", counts.repeats),
        ("acknowledged again", counts.acknowledged_again),
        ("conflicts", counts.conflicts),
        ("refused for a while", counts.refusals),
        ("shown to recipients' devices", counts.shown),
        ("copies shown", counts.copies),
        ("redelivered, not shown again", counts.redeliveries),
        ("delivered receipts", counts.delivered),
        ("sign-ins", counts.sessions),
        ("of these by ticket", counts.resumed),
    ];
    println!("in {:.1} s", took.as_secs_f64());
    for (name, count) in rows {
        println!("  {name:<30} {count:>9}");
    }
}

#[cfg(test)]
mod tests {
    use super::{Device, UserId, roster};

    #[test]
    fn both_sides_have_users_with_one_and_with_two_devices() {
        let roster = roster(1);
        let second = |(device, partners): &&(Device, Vec<UserId>)| {
            device.number.number() == 2 && !partners.is_empty()
        };
        assert_eq!(roster.len(), 12);
        assert_eq!(roster.iter().filter(second).count(), 2);
    }
}
