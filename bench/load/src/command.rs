//! What each command does: pins the generator, runs, prints, writes, and tells the outcome.

use std::path::Path;

use anyhow::Context;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::cli::{Cli, Command, Common, Which};
use crate::compare::{self, Comparison, SUBJECT};
use crate::exit::Outcome;
use crate::peer;
use crate::report::{self, Run};
use crate::scenario::Scenario;
use crate::{floor, guard, terminal};

/// Does what the command line says.
///
/// # Errors
/// When a server does not start, refuses or goes away, or the machine is not what is needed.
pub(crate) fn run(cli: &Cli) -> anyhow::Result<Outcome> {
    // Before it is pinned: afterwards only one is left.
    let cores = std::thread::available_parallelism()?.get();
    match &cli.command {
        Command::Floor { listen } => floor::serve(*listen),
        Command::Connect { common, peer, crowd } => {
            one(&crowd.connect(), &peer.peer, common, cores)
        }
        Command::Idle { common, peer, crowd } => one(&crowd.idle(), &peer.peer, common, cores),
        Command::Relay { common, peer, relay } => one(&relay.scenario(), &peer.peer, common, cores),
        Command::Fanout { common, peer, fanout } => {
            one(&fanout.scenario(), &peer.peer, common, cores)
        }
        Command::Storm { common, peer, crowd } => one(&crowd.storm(), &peer.peer, common, cores),
        Command::Report { first, second, html } => {
            page(first, second.as_deref(), html)?;
            Ok(Outcome::Good)
        }
        Command::Compare { scenario, peers, rounds, common, crowd, relay, receivers } => {
            pin(common.generator_core)?;
            let scenario = match scenario {
                Which::Connect => crowd.connect(),
                Which::Idle => crowd.idle(),
                Which::Storm => crowd.storm(),
                Which::Relay => relay.scenario(),
                Which::Fanout => relay.fanout(*receivers),
            };
            let found = compare_all(&scenario, peers, *rounds, common, cores)?;
            terminal::tell(&found.text());
            if let Some(path) = &common.json {
                report::write_json(path, &found)?;
            }
            Ok(found.runs.iter().map(outcome).min().unwrap_or(Outcome::Good))
        }
        Command::Guard { common, connections, messages } => {
            pin(common.generator_core)?;
            let plan = guard::Plan { connections: *connections, messages: *messages };
            let found = guard::run(&plan, &common.setting(), cores)?;
            found.runs.iter().for_each(|run| terminal::tell(&run.text()));
            for missed in &found.missed {
                terminal::tell(&format!("MISSED: {missed}\n"));
            }
            if let Some(path) = &common.json {
                report::write_json(path, &found.runs)?;
            }
            Ok(found.outcome())
        }
    }
}

fn one(scenario: &Scenario, peer: &str, common: &Common, cores: usize) -> anyhow::Result<Outcome> {
    pin(common.generator_core)?;
    let run = scenario.run(peer, &common.setting(), cores)?;
    terminal::tell(&run.text());
    if let Some(path) = &common.json {
        report::write_json(path, &run)?;
    }
    Ok(outcome(&run))
}

fn page(first: &Path, second: Option<&Path>, html: &Path) -> anyhow::Result<()> {
    let first = report::read_json(first)?;
    let second = second.map(report::read_json).transpose()?;
    let page = report::html::page(&first, second.as_ref());
    std::fs::write(html, page).with_context(|| format!("cannot write {}", html.display()))
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

fn compare_all(
    scenario: &Scenario,
    peers: &[String],
    rounds: u32,
    common: &Common,
    cores: usize,
) -> anyhow::Result<Comparison> {
    let metric = scenario.metric();
    let mut found = Comparison {
        scenario: scenario.name().to_owned(),
        metric: metric.name.to_owned(),
        more_is_better: metric.more_is_better,
        ..Comparison::default()
    };
    let mut names = vec![SUBJECT.to_owned()];
    let all = || peer::NAMES.iter().map(|name| (*name).to_owned()).collect();
    let wanted = if peers.is_empty() { all() } else { peers.to_vec() };
    names.extend(wanted.into_iter().filter(|name| name != SUBJECT));
    let mut values = vec![Vec::<Option<f64>>::new(); names.len()];
    for round in 0..rounds {
        for name in compare::order(round, &names.clone()) {
            let position = names.iter().position(|other| other == name).expect("it is one of them");
            if found.left_out.contains_key(name) {
                continue;
            }
            match scenario.run(name, &common.setting(), cores) {
                Ok(run) => {
                    values[position].push((metric.of)(&run));
                    found.runs.push(run);
                }
                Err(error) if name != SUBJECT => {
                    found.left_out.insert(name.to_owned(), format!("{error:#}"));
                }
                Err(error) => return Err(error),
            }
        }
    }
    for (name, theirs) in names.iter().zip(&values).skip(1) {
        let pairs = values[0].iter().zip(theirs).filter_map(|(ours, theirs)| ours.zip(*theirs));
        if let Some(ratios) = compare::ratios(&pairs.collect::<Vec<_>>()) {
            found.ratios.insert(name.clone(), ratios);
        }
    }
    Ok(found)
}
