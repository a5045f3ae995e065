//! `cargo xtask peers`: the other servers that `ringpost-bench compare` measures, as far as the
//! package registries serve them.
//!
//! What is there already is left alone. What cannot be had is said, with the reason; the others
//! are still installed.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

/// Below the repository; `ringpost-bench` looks there.
const FOLDER: &str = "target/peers";
const NATS_VERSION: &str = "v2.15.2";
const UWS_VERSION: &str = "20.30.0-unofficial.0";

/// The command line.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// One server: its name there, a file that shows that it is installed, and how to get it.
struct Wanted {
    name: &'static str,
    shown_by: &'static str,
    install: fn(&Path) -> anyhow::Result<()>,
}

const WANTED: &[Wanted] = &[
    Wanted { name: "nats", shown_by: "target/peers/bin/nats-server", install: nats },
    Wanted {
        name: "uwebsockets",
        shown_by: "target/peers/uws/node_modules/@trufflesuite/uws-js-unofficial/package.json",
        install: uwebsockets,
    },
    Wanted {
        name: "centrifuge",
        shown_by: "target/peers/bin/centrifuge-relay",
        install: centrifuge,
    },
    Wanted {
        name: "mosquitto",
        shown_by: "/usr/sbin/mosquitto",
        install: |_| package("mosquitto"),
    },
    Wanted {
        name: "ejabberd",
        shown_by: "/usr/sbin/ejabberdctl",
        install: |_| package("ejabberd"),
    },
];

/// Installs what is missing.
///
/// # Errors
/// When nothing at all could be installed and nothing was there.
pub(crate) fn run(_args: &Args, repository: &Path) -> anyhow::Result<()> {
    let mut there = 0;
    for wanted in WANTED {
        let shown_by = repository.join(wanted.shown_by);
        let outcome = if shown_by.exists() { Ok(()) } else { (wanted.install)(repository) };
        let outcome = outcome.and_then(|()| {
            ensure!(shown_by.exists(), "{} did not appear", shown_by.display());
            Ok(())
        });
        match outcome {
            Ok(()) => {
                there += 1;
                println!("{:<12} {}", wanted.name, shown_by.display());
            }
            Err(error) => println!("{:<12} could not be had: {error:#}", wanted.name),
        }
    }
    ensure!(there > 0, "no peer is installed");
    Ok(())
}

fn nats(repository: &Path) -> anyhow::Result<()> {
    let mut command = Command::new("go");
    command
        .args(["install", &format!("github.com/nats-io/nats-server/v2@{NATS_VERSION}")])
        .env("GOBIN", repository.join(FOLDER).join("bin"));
    call(&mut command)
}

fn uwebsockets(repository: &Path) -> anyhow::Result<()> {
    let folder = repository.join(FOLDER).join("uws");
    std::fs::create_dir_all(&folder)?;
    let package = format!("@trufflesuite/uws-js-unofficial@{UWS_VERSION}");
    call(
        Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", &package])
            .current_dir(folder),
    )
}

/// Our main on the library; its `go.sum` says what exactly is fetched.
fn centrifuge(repository: &Path) -> anyhow::Result<()> {
    let binary = repository.join(FOLDER).join("bin/centrifuge-relay");
    let mut command = Command::new("go");
    command.args(["build", "-o"]).arg(binary).arg(".");
    call(command.current_dir(repository.join("bench/load/peers/centrifuge")))
}

/// Of Debian. Where services start by themselves, this one does too: stop it before measuring.
fn package(name: &str) -> anyhow::Result<()> {
    let words = ["install", "--quiet", "--yes", "--no-install-recommends", name];
    call(Command::new("apt-get").args(words))
}

fn call(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("cannot start {program}"))?;
    ensure!(status.success(), "{program} ended with {status}");
    Ok(())
}
