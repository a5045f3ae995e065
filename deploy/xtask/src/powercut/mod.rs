//! `cargo xtask powercut`: clients send while the power of the server's disk is cut, again and again.
//!
//! The server keeps its data on a volume ([`volume`]) whose disk ([`disk`]) loses, at a cut, any
//! subset of what was not flushed. The server is killed in the same moment, and starts on what is
//! left. Some rounds break the disk instead: flushes or writes fail, or it is full. The clients and
//! the promises are the [`fleet`](crate::fleet). Both devices of the journal go through it.
//!
//! A control run ends it: the disk pretends to flush. There messages must be lost; if none is, the
//! runs before it have shown nothing, and the task fails.
//!
//! It needs root, FUSE and loop devices. A machine without them is told so: the task fails, and
//! the gate says loudly that it skipped the step.

mod disk;
mod fuse;
mod volume;

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use disk::{Defect, Lost};
use volume::Volume;

use crate::fleet::Fleet;
use crate::seeded::Chance;
use crate::server::{self, Server};
use crate::step::Verdict;

/// From ready to the harm, milliseconds.
const HARM_AFTER_MS: std::ops::Range<u64> = 100..900;

/// How long the server may stay on a disk that does not do what it is asked.
const NOTICE_MAX: Duration = Duration::from_secs(20);

/// The server's exit code when its journal can no longer be written.
const JOURNAL_FAILED: i32 = 73;

/// How long the server may take to be well once its disk has room again.
const WELL_WITHIN: Duration = Duration::from_secs(30);

/// How long the control may stand still: what it waits for is lost.
const CONTROL_STANDSTILL: Duration = Duration::from_secs(8);

/// Cuts of the control run, at most: the first that takes something acknowledged ends it.
const CONTROL_ROUNDS: u32 = 10;

/// Rounds of the gate's step, for each device.
const GATE_ROUNDS: u32 = 3;

/// Seed of the gate's step.
const GATE_SEED: u64 = 1;

/// The devices of the journal, with small segments so that switching and trimming happen between
/// the rounds, and a budget that the volume holds.
const DEVICES: &[(&str, &[&str])] =
    &[("file", &settings("journal.device=file")), ("glommio", &settings("journal.device=glommio"))];

const fn settings(device: &'static str) -> [&'static str; 8] {
    [
        "--set",
        device,
        "--set",
        "journal.segment_bytes=4MiB",
        "--set",
        "journal.disk_budget_bytes=64MiB",
        "--log-level",
        "info",
    ]
}

/// The command line of a run.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many times the disk is harmed, for each device of the journal.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// What the harm and the habits of the clients are drawn from.
    #[arg(long, default_value_t = GATE_SEED)]
    seed: u64,
    /// Worker threads of the server.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,
}

/// What happens to the disk in a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Harm {
    /// The power goes.
    Cut,
    /// It fails; then the power goes.
    Breakdown(Defect),
    /// It is full, and has room again; then the server is started anew.
    Full,
}

/// Builds the server and cuts its power.
///
/// # Errors
/// When this machine cannot, a promise was broken, or the control lost nothing.
pub(crate) fn run(args: &Args, repository: &Path) -> anyhow::Result<()> {
    if let Some(hindrance) = volume::hindrance() {
        bail!("no volume can be made on this machine: {hindrance}");
    }
    server::build(repository)?;
    let replay = format!(
        "cargo xtask powercut --rounds {} --seed {} --workers {}",
        args.rounds, args.seed, args.workers
    );
    println!("powercut: seed {}; to do it again: {replay}", args.seed);
    for (device, settings) in DEVICES {
        println!("journal.device = {device}");
        with_server(args, repository, settings, |volume, server| harm(args, volume, server))
            .with_context(|| format!("to do it again: {replay}"))?;
    }
    for (device, settings) in DEVICES {
        println!("control: journal.device = {device}, and flushes do nothing");
        with_server(args, repository, settings, |volume, server| control(args, volume, server))?;
    }
    Ok(())
}

/// The gate's step: few rounds, always the same seed.
///
/// # Errors
/// As [`run`], but for a machine that cannot: that is skipped.
pub(crate) fn gate(repository: &Path) -> anyhow::Result<Verdict> {
    if let Some(hindrance) = volume::hindrance() {
        return Ok(Verdict::Skipped(hindrance));
    }
    run(&Args { rounds: GATE_ROUNDS, seed: GATE_SEED, workers: 2 }, repository)?;
    Ok(Verdict::Passed)
}

/// Runs `course` with a server on a new volume.
fn with_server(
    args: &Args,
    repository: &Path,
    settings: &[&str],
    course: impl FnOnce(&mut Volume, &mut Server) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut server = Server::prepare(repository, "powercut", args.workers, settings)?;
    let mut volume = Volume::make(server.folder())?;
    server.keep_data_in(volume.path().join("data"));
    let outcome = course(&mut volume, &mut server);
    let log = server.log();
    // The server first: it holds files of the volume.
    let folder = server.folder().to_owned();
    drop(server);
    drop(volume);
    outcome.with_context(|| format!("server log: {}", log.display()))?;
    std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))
}

/// The rounds of one device.
fn harm(args: &Args, volume: &mut Volume, server: &mut Server) -> anyhow::Result<()> {
    server.start()?;
    let fleet = Fleet::gather(args.seed, server, server.address())?;
    let course = rounds(args, volume, server, &fleet);
    println!("{} rounds, {} flushes", args.rounds, volume.switch.flushes());
    let outcome = fleet.end(course);
    outcome.judge()?;
    ensure!(outcome.counts.acknowledged > 0, "no message was acknowledged: nothing was shown");
    ensure!(outcome.counts.shown > 0, "no message was delivered: nothing was shown");
    Ok(())
}

fn rounds(
    args: &Args,
    volume: &mut Volume,
    server: &mut Server,
    fleet: &Fleet,
) -> anyhow::Result<()> {
    fleet.send();
    let mut chance = Chance::new(args.seed, 0);
    let mut sum = Lost::default();
    for round in 1..=args.rounds {
        thread::sleep(Duration::from_millis(chance.within(HARM_AFTER_MS)));
        if fleet.has_fault() {
            bail!("broken off before round {round}");
        }
        let harm = match round % 8 {
            2 => Harm::Breakdown(Defect::Flush),
            4 => Harm::Full,
            6 => Harm::Breakdown(Defect::Write),
            _ => Harm::Cut,
        };
        let what = || format!("round {round}, {harm:?}");
        if harm == Harm::Full {
            fill_up(volume, server, fleet).with_context(what)?;
            continue;
        }
        let lost = if let Harm::Breakdown(defect) = harm {
            volume.switch.break_down(defect);
            // It tells its clients to come back, acknowledges nothing more, and does not stay.
            server.await_end(JOURNAL_FAILED, NOTICE_MAX).with_context(what)?;
            let lost = volume.cut(&mut chance);
            come_back(volume, server).with_context(what)?;
            lost
        } else {
            cut(volume, server, &mut chance).with_context(what)?
        };
        sum.volatile += lost.volatile;
        sum.lost += lost.lost;
    }
    println!("{} sectors were not flushed, {} of them were lost", sum.volatile, sum.lost);
    ensure!(sum.lost > 0, "no cut took anything away: nothing was shown");
    fleet.drain()?;
    server.kill()
}

/// The power goes in the midst of it; the server starts on what is left.
fn cut(volume: &mut Volume, server: &mut Server, chance: &mut Chance) -> anyhow::Result<Lost> {
    let lost = volume.cut(chance);
    server.strike()?;
    come_back(volume, server)?;
    Ok(lost)
}

/// The power is back, and the server starts again.
fn come_back(volume: &mut Volume, server: &mut Server) -> anyhow::Result<()> {
    volume.switch.fail_all();
    server.bury()?;
    volume.reboot()?;
    server.start()
}

/// Something else takes all room on the volume for a while; the server lives through it, and needs no
/// restart.
fn fill_up(volume: &Volume, server: &mut Server, fleet: &Fleet) -> anyhow::Result<()> {
    let path = volume.path().join("ballast");
    let mut ballast = File::create(&path)?;
    let chunk = vec![0xb5; 1 << 20];
    let full = loop {
        match ballast.write_all(&chunk) {
            Ok(()) => {}
            Err(error) => break error,
        }
    };
    ensure!(full.kind() == ErrorKind::StorageFull, "filling the volume failed: {full}");
    thread::sleep(Duration::from_secs(2));
    println!("full: {}", server.readiness().unwrap_or_default().lines().last().unwrap_or_default());
    drop(ballast);
    std::fs::remove_file(&path)?;
    // Or the next cut brings it back.
    File::open(volume.path())?.sync_all()?;
    let before = fleet.counts().acknowledged;
    let begun = Instant::now();
    while fleet.counts().acknowledged == before {
        ensure!(begun.elapsed() < WELL_WITHIN, "nothing is acknowledged although there is room");
        thread::sleep(Duration::from_millis(20));
    }
    server.await_ready(WELL_WITHIN)?;
    println!("well again after {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// The disk pretends to flush: something acknowledged must be lost, and the ledger must see it.
fn control(args: &Args, volume: &mut Volume, server: &mut Server) -> anyhow::Result<()> {
    server.start()?;
    let fleet = Fleet::gather(args.seed, server, server.address())?;
    fleet.send();
    volume.switch.pretend();
    let mut chance = Chance::new(args.seed, 0);
    let mut course = Ok(());
    for _ in 0..CONTROL_ROUNDS {
        thread::sleep(Duration::from_millis(chance.within(HARM_AFTER_MS)));
        course = cut(volume, server, &mut chance).map(|_| ());
        if course.is_err() || fleet.has_fault() {
            break;
        }
    }
    course.context("a disk that keeps the order of its writes must leave what can be started")?;
    let drained = fleet.drain_within(CONTROL_STANDSTILL);
    let outcome = fleet.end(drained);
    ensure!(!outcome.faults.is_empty(), "a disk that pretends lost nothing: this shows nothing");
    println!(
        "{} violations, as it must be; the first: {}",
        outcome.faults.len(),
        outcome.faults[0]
    );
    server.kill()
}
