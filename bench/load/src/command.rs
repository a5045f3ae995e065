//! What each command does: pins the generator, runs, prints, writes, and tells the outcome.

use std::path::Path;

use anyhow::Context;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::cli::{Cli, Command, Common, CompareArgs, GuardArgs, SoakArgs};
use crate::compare::{Comparison, SUBJECT};
use crate::exit::Outcome;
use crate::peer::{self, Name};
use crate::report::{self, Run};
use crate::scenario::traffic::Kind;
use crate::scenario::{Scenario, disk};
use crate::{floor, guard, scenario, terminal, tie, tungstenite};

/// Does what the command line says.
///
/// # Errors
/// When a server does not start, refuses or goes away, or the machine is not what is needed.
pub(crate) fn run(cli: &Cli) -> anyhow::Result<Outcome> {
    // Before it is pinned: afterwards only one is left.
    let cores = std::thread::available_parallelism()?.get();
    let one = |scenario: &Scenario, peer: &Name, common: &Common| {
        pin(common.generator_core)?;
        told(common, &scenario.run(peer, &common.setting(), cores)?)
    };
    match &cli.command {
        Command::Floor { listen, slots } => floor::serve(*listen, *slots),
        Command::Tungstenite { listen } => tungstenite::serve(*listen),
        Command::Tied { to, server } => tie::become_server(*to, server),
        Command::Connect(args) => one(&args.shape.connect(), &args.peer, &args.common),
        Command::Idle(args) => one(&args.shape.idle(), &args.peer, &args.common),
        Command::Relay(args) => one(&args.shape.scenario(), &args.peer, &args.common),
        Command::Fanout(args) => one(&args.shape.scenario(), &args.peer, &args.common),
        Command::Storm(args) => one(&args.shape.storm(), &args.peer, &args.common),
        Command::Churn(args) => one(&args.shape.scenario(Kind::Churn), &args.peer, &args.common),
        Command::Slow(args) => one(&args.shape.scenario(Kind::Slow), &args.peer, &args.common),
        Command::Mixed(args) => one(&args.shape.scenario(Kind::Mixed), &args.peer, &args.common),
        Command::Soak(args) => soak(args, cores),
        Command::Disk { common, bytes, batches, rate } => {
            pin(common.generator_core)?;
            let shape = disk::Shape { bytes: *bytes, batches: *batches, rate: *rate };
            told(common, &disk::run(&shape)?)
        }
        Command::Report { first, second, html } => page(first, second.as_deref(), html),
        Command::Compare(args) => compare(args, cores),
        Command::Guard(args) => hold(args, cores),
    }
}

fn told(common: &Common, run: &Run) -> anyhow::Result<Outcome> {
    terminal::tell(&run.text());
    write(common, run)?;
    Ok(outcome(run))
}

fn soak(args: &SoakArgs, cores: usize) -> anyhow::Result<Outcome> {
    pin(args.common.generator_core)?;
    let found = scenario::soak::run(&args.common.setting(), &args.shape(), cores)?;
    terminal::tell(&found.run.text());
    tell_missed(&found.missed);
    write(&args.common, &found.run)?;
    // Times are not what it is about: a void run has held what it held.
    Ok(match outcome(&found.run) {
        Outcome::Faulty => Outcome::Faulty,
        _ if found.missed.is_empty() => Outcome::Good,
        _ => Outcome::Missed,
    })
}

fn tell_missed(missed: &[String]) {
    for missed in missed {
        terminal::tell(&format!("MISSED: {missed}\n"));
    }
}

fn compare(args: &CompareArgs, cores: usize) -> anyhow::Result<Outcome> {
    pin(args.common.generator_core)?;
    let names = competitors(&args.peers, &args.peer);
    let setting = args.common.setting();
    let found = Comparison::run(&args.scenario(), &names, args.rounds, &setting, cores)?;
    terminal::tell(&found.text());
    write(&args.common, &found)?;
    Ok(found.runs.iter().map(outcome).min().unwrap_or(Outcome::Good))
}

fn hold(args: &GuardArgs, cores: usize) -> anyhow::Result<Outcome> {
    pin(args.common.generator_core)?;
    let plan = guard::Plan { connections: args.connections, messages: args.messages };
    let found = guard::run(&plan, &args.common.setting(), cores)?;
    terminal::tell(&found.text());
    tell_missed(&found.missed);
    write(&args.common, &found.runs().collect::<Vec<_>>())?;
    Ok(found.outcome())
}

fn page(first: &Path, second: Option<&Path>, html: &Path) -> anyhow::Result<Outcome> {
    let first = report::read_json(first)?;
    let second = second.map(report::read_json).transpose()?;
    if let Some(second) = &second {
        terminal::tell(&report::beside::text(&first, second));
    }
    let page = report::html::page(&first, second.as_ref());
    std::fs::write(html, page).with_context(|| format!("cannot write {}", html.display()))?;
    Ok(Outcome::Good)
}

fn write(common: &Common, found: &impl serde::Serialize) -> anyhow::Result<()> {
    common.json.as_deref().map_or(Ok(()), |path| report::write_json(path, found))
}

fn pin(core: usize) -> anyhow::Result<()> {
    let mut one = CpuSet::new();
    one.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &one).with_context(|| format!("there is no core {core}"))
}

fn outcome(run: &Run) -> Outcome {
    if !run.faults().none() {
        Outcome::Faulty
    } else if run.void.is_some() {
        Outcome::Void
    } else {
        Outcome::Good
    }
}

/// ringpost in another setting: compared with only when it is asked for.
fn is_variant(name: &str) -> bool {
    name.starts_with("ringpost-")
}

/// The subject first, then those that are named; all others that are known if none is.
fn competitors(peers: &[Name], own: &[Name]) -> Vec<Name> {
    let others = || peer::KNOWN.iter().map(|(name, _)| *name).filter(|name| !is_variant(name));
    let others = || others().map(Name::Known).collect();
    let wanted: Vec<_> = if peers.is_empty() { others() } else { peers.to_vec() };
    let others = wanted.into_iter().chain(own.iter().cloned()).filter(|name| *name != SUBJECT);
    std::iter::once(SUBJECT).chain(others).collect()
}
