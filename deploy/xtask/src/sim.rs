//! `cargo xtask sim`: builds the deterministic world of `bench/sim` and runs its seeds.
//!
//! Built with the whole workspace, so that the gate compiles nothing twice.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, ensure};

/// The command line: what stands behind `sim` is the simulator's own.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// `--help` tells all of them: `--seed S`, `--seeds N`, `--minutes M`, `--doublecheck`, ...
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
    words: Vec<OsString>,
}

/// Minutes of fresh seeds in the gate's step.
const GATE_MINUTES: &str = "2";

/// Fresh seeds of the gate's step that are run twice.
const GATE_DOUBLECHECKED: &str = "100";

/// Runs the simulator.
///
/// # Errors
/// When a rule broke; the simulator has said which, and how to see it again.
pub(crate) fn run(args: &Args, repository: &Path) -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let words = ["build", "--release", "--workspace", "--bins"];
    let built = Command::new(cargo).args(words).current_dir(repository).status()?;
    ensure!(built.success(), "`cargo {}` ended with {built}", words.join(" "));
    let status = Command::new("target/release/ringpost-sim")
        .args(&args.words)
        .current_dir(repository)
        .status()
        .context("cannot start the simulator")?;
    ensure!(status.success(), "the simulator ended with {status}");
    Ok(())
}

/// The gate's step: seeds that once broke something, and for two minutes seeds that nobody has run
/// before, some of them twice.
///
/// # Errors
/// As [`run`].
pub(crate) fn gate(repository: &Path) -> anyhow::Result<()> {
    let now = SystemTime::UNIX_EPOCH.elapsed()?.as_secs();
    let seed = (now * 1_000_000).to_string();
    let twice = ["--seed", &seed, "--seeds", GATE_DOUBLECHECKED, "--doublecheck"];
    let fresh = ["--seed", &seed, "--minutes", GATE_MINUTES];
    for words in [&["--regressions"][..], &twice, &fresh] {
        run(&Args { words: words.iter().map(OsString::from).collect() }, repository)?;
    }
    Ok(())
}
