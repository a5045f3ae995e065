//! `cargo xtask doors`: the programs that others wrote, in front of the server and as its clients.
//!
//! The server's own tests speak through the server's own idea of HTTP and of WebSocket. Here the
//! shipped examples for nginx and HAProxy stand in front, and aiohttp, Node, curl and a browser
//! speak.
//! This file owns the table of checks and their course; [`scene`] the processes that a check needs,
//! [`proxy`] the proxies, [`install`] what must be installed. What a check does is a script in
//! `deploy/xtask/doors`, whose head says what it shows; it fails by its exit code, and says why.
//!
//! Nothing is skipped: where a program cannot be installed or started, the task fails.

mod install;
mod proxy;
mod scene;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use scene::Scene;

use crate::server;

pub(crate) use install::PROGRAMS;

/// How the server stands while a check runs.
#[derive(PartialEq, Eq)]
struct Setup {
    workers: u16,
    /// As `section.key=value`.
    settings: &'static [&'static str],
    /// The data directory is a disk of its own, of so many megabytes.
    disk_mebibytes: Option<u32>,
}

/// Small segments for a quick start, and a small queue, so that a gap is soon there.
const ORDINARY: Setup = Setup {
    workers: 2,
    settings: &["journal.segment_bytes=4MiB", "limits.queue_entries_max=30"],
    disk_mebibytes: None,
};

/// A disk that is full before a queue is, or a sender's share of one.
const SMALL_DISK: Setup = Setup {
    workers: 2,
    settings: &[
        "journal.segment_bytes=4MiB",
        "limits.queue_bytes_max=1GiB",
        "limits.queue_sender_share=1",
    ],
    disk_mebibytes: Some(96),
};

/// For abuse: deadlines that are soon over, and room for few, of which one worker has all. The log of a
/// server that nobody has refused anybody at: it writes few lines of one kind.
const TIGHT: Setup = Setup {
    workers: 1,
    settings: &[
        "journal.segment_bytes=4MiB",
        "limits.handshake_deadline=3s",
        "limits.auth_deadline=5s",
        "rest.header_deadline=3s",
        "limits.unauthenticated_per_address_max=20",
        "limits.connections_max=60",
    ],
    disk_mebibytes: None,
};

/// What one check runs.
struct Check {
    name: &'static str,
    shows: &'static str,
    /// The program, then its script in `deploy/xtask/doors`.
    program: Program,
    script: &'static str,
    setup: &'static Setup,
}

/// What a script is written for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Program {
    Python,
    Node,
}

const CHECKS: &[Check] = &[
    Check {
        name: "pools",
        shows: "REST and upgrades share the kept connections of nginx and HAProxy",
        program: Program::Python,
        script: "pools.py",
        setup: &ORDINARY,
    },
    Check {
        name: "people",
        shows: "behind proxies each person has limits of their own, over each transport",
        program: Program::Python,
        script: "people.py",
        setup: &ORDINARY,
    },
    Check {
        name: "aiohttp",
        shows: "a pooled session of aiohttp signs in, chats and reads history",
        program: Program::Python,
        script: "aiohttp_client.py",
        setup: &ORDINARY,
    },
    Check {
        name: "node",
        shows: "the same of Node with a keep-alive agent and ws",
        program: Program::Node,
        script: "node_client.mjs",
        setup: &ORDINARY,
    },
    Check {
        name: "curl",
        shows: "the REST side of it by curl, with kept connections and without",
        program: Program::Python,
        script: "curl_client.py",
        setup: &ORDINARY,
    },
    Check {
        name: "browser",
        shows: "a listed page in Chromium signs in, chats, reads history, closes a gap; no other does",
        program: Program::Node,
        script: "browser.mjs",
        setup: &ORDINARY,
    },
    Check {
        name: "metrics",
        shows: "promtool and the parsers of Prometheus' client find nothing in either form of /metrics",
        program: Program::Python,
        script: "metrics.py",
        setup: &ORDINARY,
    },
    Check {
        name: "abuse-claim",
        shows: "who guesses, claims or smuggles gets as little behind a proxy as without one",
        program: Program::Python,
        script: "abuse_claim.py",
        setup: &TIGHT,
    },
    Check {
        name: "abuse-hold",
        shows: "who holds connections or fills them is ended behind a proxy as without one",
        program: Program::Python,
        script: "abuse_hold.py",
        setup: &TIGHT,
    },
    Check {
        name: "abuse-disk",
        shows: "a full disk is told behind a proxy as without one, and ends when there is room",
        program: Program::Python,
        script: "abuse_disk.py",
        setup: &SMALL_DISK,
    },
];

/// The command line.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run this check alone
    #[arg(long, value_name = "CHECK", value_parser = names())]
    only: Option<String>,
}

fn names() -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(CHECKS.iter().map(|check| check.name))
}

/// Installs what is missing, then runs the checks.
///
/// # Errors
/// When something cannot be installed or started, or a check fails; the text names it, and where the
/// logs are.
pub(crate) fn run(args: &Args, repository: &Path) -> anyhow::Result<()> {
    server::build(repository)?;
    let begun = Instant::now();
    let clients = install::clients(repository)?;
    let mut taken = vec![("install", begun.elapsed())];
    let chosen = |check: &&Check| args.only.as_ref().is_none_or(|name| name == check.name);
    let mut scene: Option<(&Setup, Scene)> = None;
    for check in CHECKS.iter().filter(chosen) {
        println!("--> {}: {}", check.name, check.shows);
        let begun = Instant::now();
        let stands = match scene.take() {
            Some((setup, scene)) if setup == check.setup => scene,
            other => {
                other.map(|(_, scene)| scene.end()).transpose()?;
                Scene::open(repository, check.setup)?
            }
        };
        stands.run(check.program, &clients, check.script).with_context(|| {
            let logs = stands.logs().display();
            format!("check `{}`; logs: {logs}; again: {}", check.name, again(check))
        })?;
        scene = Some((check.setup, stands));
        taken.push((check.name, begun.elapsed()));
    }
    scene.map(|(_, scene)| scene.end()).transpose()?;
    if taken.len() == 1 {
        bail!("no check was run");
    }
    println!("{}", table(&taken));
    Ok(())
}

/// The gate's step: all checks.
///
/// # Errors
/// As [`run`].
pub(crate) fn gate(repository: &Path) -> anyhow::Result<()> {
    run(&Args { only: None }, repository)
}

fn again(check: &Check) -> String {
    format!("cargo xtask doors --only {}", check.name)
}

/// How long each took.
fn table(taken: &[(&str, Duration)]) -> String {
    let line =
        |(name, took): &(&str, Duration)| format!("{name:<12} {:>6.1}s\n", took.as_secs_f64());
    taken.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::path::Path;

    use super::{CHECKS, scene};

    #[test]
    fn each_check_has_a_name_of_its_own_and_a_script() {
        let names = CHECKS.iter().map(|check| check.name).collect::<HashSet<_>>();
        assert_eq!(names.len(), CHECKS.len());
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for check in CHECKS {
            let script = repository.join(scene::SCRIPTS).join(check.script);
            assert!(script.is_file(), "{}: {}", check.name, script.display());
        }
    }
}
