//! `cargo xtask smoke`: the guard of `ringpost-bench` on the real binary, for the gate and for
//! the numbers in README.md.
//!
//! Owns nothing of the measuring: it builds both programs, runs `ringpost-bench guard`, which
//! knows the bounds, and shows or writes down what it says.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use crate::passage::Passage;

/// Where README keeps the numbers.
const NUMBERS: Passage =
    Passage { document: "README.md", begin: "<!-- smoke:begin -->\n", end: "<!-- smoke:end -->\n" };

/// The command line.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write the numbers into README.md
    #[arg(long)]
    write: bool,
}

/// Measures, prints, and checks the bounds.
///
/// # Errors
/// If something cannot be measured, or a bound is missed.
pub(crate) fn run(args: &Args, repository: &Path) -> anyhow::Result<()> {
    let text = guard(repository)?;
    if args.write {
        fs::write(repository.join(NUMBERS.document), NUMBERS.filled(repository, &text)?)?;
    }
    Ok(())
}

/// As a step of the gate.
///
/// # Errors
/// As [`run`].
pub(crate) fn gate(repository: &Path) -> anyhow::Result<()> {
    guard(repository).map(drop)
}

/// Builds, runs and shows; the text if no bound is missed.
fn guard(repository: &Path) -> anyhow::Result<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    for package in ["ringpost-server", "ringpost-load"] {
        let words = ["build", "--release", "--package", package];
        let status = Command::new(&cargo).args(words).current_dir(repository).status()?;
        ensure!(status.success(), "`cargo {}` ended with {status}", words.join(" "));
    }
    let output = Command::new(repository.join("target/release/ringpost-bench"))
        .arg("guard")
        .current_dir(repository)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start ringpost-bench")?;
    let text = String::from_utf8(output.stdout)?;
    println!("{text}");
    ensure!(output.status.success(), "`ringpost-bench guard` ended with {}", output.status);
    Ok(text)
}
