//! `cargo xtask torture`: clients send while the server is killed with SIGKILL and started again.
//!
//! This file owns the course of a run; the clients and the promises are the [`fleet`](crate::fleet),
//! [`Server`] is the process. With `--chaos` a [`Proxy`] stands between them, which splits, delays,
//! stalls, swallows and resets what they say.
//!
//! A run that saw nothing proves nothing, so it fails when it counted no message, no delivery or,
//! over [`KILLS_TELLING`] kills, no repeated message, no second answer or no conflict.
//!
//! SIGKILL leaves the page cache alone: this shows that what is acknowledged survives the
//! process, not that it survives the machine. For that there is `cargo xtask powercut`.

mod proxy;

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{bail, ensure};

use proxy::Proxy;

use crate::fleet::{Counts, Fleet};
use crate::seeded::Chance;
use crate::server::{self, Server};

/// From ready to the kill, milliseconds.
const KILL_AFTER_MS: std::ops::Range<u64> = 100..600;

/// So many kills must have cut off at least one message that was under way.
const KILLS_TELLING: u32 = 5;

/// Small segments, so that switching and trimming happen between kills.
const SETTINGS: &[&str] = &["--set", "journal.segment_bytes=4MiB", "--log-level", "info"];

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
    /// Put a bad network between clients and server.
    #[arg(long)]
    chaos: bool,
}

/// Builds the server and tortures it.
///
/// # Errors
/// When a promise was broken, the server ended by itself, or nothing was counted. The text names
/// what, the log, and the command that does it again.
pub(crate) fn run(args: &Args, repository: &Path) -> anyhow::Result<()> {
    server::build(repository)?;
    let replay = format!(
        "cargo xtask torture --kills {} --seed {} --workers {}{}",
        args.kills,
        args.seed,
        args.workers,
        if args.chaos { " --chaos" } else { "" }
    );
    println!("torture: seed {}; to do it again: {replay}", args.seed);
    let mut server = Server::prepare(repository, "torture", args.workers, SETTINGS)?;
    let outcome = torture(args, &mut server);
    if let Err(failure) = outcome {
        bail!("{failure:#}\nserver log: {}\nto do it again: {replay}", server.log().display());
    }
    server.remove()
}

/// The gate's step: few kills, always the same seed, over a good network and over a bad one.
///
/// # Errors
/// As [`run`].
pub(crate) fn gate(repository: &Path) -> anyhow::Result<()> {
    for chaos in [false, true] {
        run(&Args { kills: GATE_KILLS, seed: GATE_SEED, workers: 2, chaos }, repository)?;
    }
    Ok(())
}

fn torture(args: &Args, server: &mut Server) -> anyhow::Result<()> {
    server.start()?;
    let proxy = match args.chaos {
        true => Some(Proxy::start(server.address(), args.seed)?),
        false => None,
    };
    let address = proxy.as_ref().map_or(server.address(), Proxy::address);
    let fleet = Fleet::gather(args.seed, server, address)?;
    let course = course(args, server, &fleet, proxy.as_ref());
    println!("{} kills asked", args.kills);
    let outcome = fleet.end(course);
    if let Some(proxy) = proxy {
        proxy.end()?;
    }
    outcome.judge()?;
    check_counted(&outcome.counts, args.kills)
}

/// Send and kill, drain.
fn course(
    args: &Args,
    server: &mut Server,
    fleet: &Fleet,
    proxy: Option<&Proxy>,
) -> anyhow::Result<()> {
    fleet.send();
    if let Some(proxy) = proxy {
        proxy.set_chaos(true);
    }
    let mut chance = Chance::new(args.seed, 0);
    for kill in 1..=args.kills {
        thread::sleep(Duration::from_millis(chance.within(KILL_AFTER_MS)));
        if fleet.has_fault() {
            bail!("broken off before kill {kill}");
        }
        server.kill()?;
        server.start()?;
        if kill % 10 == 0 {
            let counts = fleet.counts();
            println!("{kill} kills, {} acknowledged, {} shown", counts.acknowledged, counts.shown);
        }
    }
    if let Some(proxy) = proxy {
        proxy.set_chaos(false);
    }
    fleet.drain()?;
    server.kill()
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
    use super::{Counts, KILLS_TELLING, check_counted};

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
}
