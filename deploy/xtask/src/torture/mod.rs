//! `cargo xtask torture`: clients send while the server is killed with SIGKILL and started again.
//!
//! This file owns the course of a run: gather (all devices sign in), send (while the server is
//! killed), drain (no new messages, no kills, until everything has arrived), close the ledger.
//! [`client`] is one device, [`ledger`] knows the promises, [`Server`] is the process.
//!
//! A run that saw nothing proves nothing, so it fails when it counted no message, no delivery or,
//! over [`KILLS_TELLING`] kills, no repeated message, no second answer or no conflict.
//!
//! SIGKILL leaves the page cache alone: this shows that what is acknowledged survives the
//! process, not that it survives the machine. For that the journal's own tests cut its files.

mod client;
mod ledger;
mod link;
mod seeded;

use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use ringpost_wire::{DeviceId, UserId};
use uuid::Builder;

use client::{Client, Role};
use ledger::{Counts, Device, Ledger};
use seeded::Chance;

use crate::server::{self, Server};

/// Users who send, and as many to whom they send.
const PAIRS: usize = 4;

/// From ready to the kill, milliseconds.
const KILL_AFTER_MS: std::ops::Range<u64> = 100..600;

/// So many kills must have cut off at least one message that was under way.
const KILLS_TELLING: u32 = 5;

/// Small segments, so that switching and trimming happen between kills.
const SETTINGS: &[&str] = &["--set", "journal.segment_bytes=4MiB", "--log-level", "info"];

/// How long a run may stand still while it gathers or drains.
const STANDSTILL_MAX: Duration = Duration::from_secs(30);

/// Between two looks at what the clients have done.
const WATCH: Duration = Duration::from_millis(20);

/// Violations that are printed.
const FAULTS_SHOWN: usize = 10;

/// Kills of the gate's step.
const GATE_KILLS: u32 = 20;

/// Seed of the gate's step: fixed, so that the gate does not differ from one run to the next.
const GATE_SEED: u64 = 1;

/// The command line of a run.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many times the server is killed.
    #[arg(long, default_value_t = GATE_KILLS, value_parser = clap::value_parser!(u32).range(1..))]
    kills: u32,
    /// What the moments of the kills and the habits of the clients are drawn from.
    #[arg(long, default_value_t = GATE_SEED)]
    seed: u64,
    /// Worker threads of the server.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,
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

/// Builds the server and tortures it.
///
/// # Errors
/// When a promise was broken, the server ended by itself, or nothing was counted. The text names
/// what, the log, and the command that does it again.
pub(crate) fn run(args: &Args, repository: &Path) -> anyhow::Result<()> {
    server::build(repository)?;
    let replay = format!(
        "cargo xtask torture --kills {} --seed {} --workers {}",
        args.kills, args.seed, args.workers
    );
    println!("torture: seed {}; to do it again: {replay}", args.seed);
    let mut server = Server::prepare(repository, "torture", args.workers, SETTINGS)?;
    let outcome = torture(args, &mut server);
    if let Err(failure) = outcome {
        bail!("{failure:#}\nserver log: {}\nto do it again: {replay}", server.log().display());
    }
    server.remove()
}

/// The gate's step: few kills, always the same seed.
///
/// # Errors
/// As [`run`].
pub(crate) fn gate(repository: &Path) -> anyhow::Result<()> {
    run(&Args { kills: GATE_KILLS, seed: GATE_SEED, workers: 2 }, repository)
}

fn torture(args: &Args, server: &mut Server) -> anyhow::Result<()> {
    let begun = Instant::now();
    let roster = roster(args.seed);
    let shared = Arc::new(Shared {
        ledger: Mutex::new(Ledger::new(roster.iter().map(|(device, _)| *device).collect())),
        stage: AtomicU8::new(Stage::Gather as u8),
        gathered: AtomicUsize::new(0),
        faults: Mutex::new(Vec::new()),
    });
    server.start()?;
    let devices = roster.len();
    let clients = connect(args.seed, roster, server, &shared)?;
    let course = course(args, server, &shared, devices);
    shared.enter(Stage::Stop);
    for client in clients {
        if client.join().is_err() {
            shared.fault("a client panicked; its message stands above".to_owned());
        }
    }
    let ledger = shared.ledger();
    report(&ledger.counts, args, devices, begun.elapsed());
    let mut faults = std::mem::take(&mut *shared.faults());
    if let Err(failure) = course {
        faults.push(format!("{failure:#}"));
    }
    // Where a run broke off, what has not arrived is no news.
    if faults.is_empty() || ledger.is_drained() {
        faults.extend(ledger.close());
    }
    if faults.is_empty() {
        return check_counted(&ledger.counts, args.kills);
    }
    for fault in faults.iter().take(FAULTS_SHOWN) {
        println!("violation: {fault}");
    }
    bail!("{} violations", faults.len())
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
    shared: &Arc<Shared>,
) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let token = |device: Device| server.tokens(&[device.user], device.number);
    let tokens = roster.iter().map(|(device, _)| token(*device));
    let tokens = tokens.collect::<anyhow::Result<Vec<_>>>()?.concat();
    let start = |(stream, ((device, partners), token))| {
        let role = Role { device, partners, token, address: server.address() };
        let client = Client::new(role, Arc::clone(shared), Chance::new(seed, stream));
        thread::spawn(move || client.run())
    };
    Ok((1..).zip(roster.into_iter().zip(tokens)).map(start).collect())
}

/// Gather, send and kill, drain.
fn course(args: &Args, server: &mut Server, shared: &Shared, devices: usize) -> anyhow::Result<()> {
    await_progress("gather", shared, || shared.gathered.load(Ordering::Relaxed) == devices)?;
    shared.enter(Stage::Send);
    let mut chance = Chance::new(args.seed, 0);
    for kill in 1..=args.kills {
        thread::sleep(Duration::from_millis(chance.within(KILL_AFTER_MS)));
        if !shared.faults().is_empty() {
            bail!("broken off before kill {kill}");
        }
        server.kill()?;
        server.start()?;
        if kill % 10 == 0 {
            let counts = shared.ledger().counts;
            println!("{kill} kills, {} acknowledged, {} shown", counts.acknowledged, counts.shown);
        }
    }
    shared.enter(Stage::Drain);
    await_progress("drain", shared, || shared.ledger().is_drained())?;
    server.kill()
}

/// Waits until `is_done`, as long as something still happens.
fn await_progress(what: &str, shared: &Shared, is_done: impl Fn() -> bool) -> anyhow::Result<()> {
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
        if moved.elapsed() > STANDSTILL_MAX {
            for fault in shared.ledger().close() {
                shared.fault(fault);
            }
            bail!("nothing happened for {STANDSTILL_MAX:?} on the way to {what}");
        }
        thread::sleep(WATCH);
    }
    Ok(())
}

fn report(counts: &Counts, args: &Args, devices: usize, took: Duration) {
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
    println!("{} kills asked, {devices} devices, {:.1} s", args.kills, took.as_secs_f64());
    for (name, count) in rows {
        println!("  {name:<30} {count:>9}");
    }
}

/// A run that saw nothing proves nothing.
fn check_counted(counts: &Counts, kills: u32) -> anyhow::Result<()> {
    ensure!(counts.acknowledged > 0, "no message was acknowledged: nothing was shown by this run");
    ensure!(counts.shown > 0, "no message was delivered: nothing was shown by this run");
    ensure!(counts.delivered > 0, "no receipt came: nothing was shown by this run");
    if kills >= KILLS_TELLING {
        let cut_off = counts.repeats + counts.redeliveries;
        ensure!(cut_off > 0, "no kill cut anything off: they came too late");
        ensure!(counts.acknowledged_again > 0, "no message was answered again when sent again");
        ensure!(counts.conflicts > 0, "no other content under a known id was refused");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Counts, KILLS_TELLING, check_counted, roster};

    #[test]
    fn a_run_that_counted_nothing_fails() {
        let counted = Counts {
            acknowledged: 1,
            shown: 1,
            delivered: 1,
            repeats: 1,
            acknowledged_again: 1,
            conflicts: 1,
            ..Counts::default()
        };
        check_counted(&counted, KILLS_TELLING).unwrap();
        for empty in [
            Counts { acknowledged: 0, ..counted },
            Counts { shown: 0, ..counted },
            Counts { delivered: 0, ..counted },
            Counts { repeats: 0, ..counted },
            Counts { acknowledged_again: 0, ..counted },
            Counts { conflicts: 0, ..counted },
        ] {
            check_counted(&empty, KILLS_TELLING).unwrap_err();
        }
    }

    #[test]
    fn both_sides_have_users_with_one_and_with_two_devices() {
        let roster = roster(1);
        let second = |(device, partners): &&(super::Device, Vec<_>)| {
            device.number.number() == 2 && !partners.is_empty()
        };
        assert_eq!(roster.len(), 12);
        assert_eq!(roster.iter().filter(second).count(), 2);
    }
}
