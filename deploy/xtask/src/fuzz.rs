//! `cargo xtask fuzz`: hostile bytes, found by coverage, against everything that reads bytes.
//!
//! This file owns the build and the course of a run; what is run, with which promises, stands in
//! `bench/fuzz`. libFuzzer needs instrumented code, and the pinned toolchain instruments: only the
//! crates of the workspace are compiled a second time (`bench/fuzz/instrument`), what they depend
//! on is shared with every other build.
//!
//! A run starts from the committed corpus and from what earlier runs on this machine have found
//! (`target/fuzz/corpus`). The gate's runs start from the committed corpus alone, with a fixed seed
//! and a fixed number of executions.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

/// The targets, and how many inputs the gate gives to each: those whose inputs are whole lives
/// take a thousand times as long as the parsers.
const TARGETS: &[(&str, u64)] = &[
    ("binary", 200_000),
    ("caller", 200_000),
    ("config", 2_000),
    ("journal", 2_000),
    ("json", 200_000),
    ("shard", 400),
    ("token", 50_000),
    ("upgrade", 200_000),
    ("websocket", 200_000),
];

/// Seed of the gate's runs.
const GATE_SEED: u32 = 1;

/// Longest input, bytes.
const INPUT_BYTES_MAX: usize = 4096;

/// An input that takes longer than this hangs, for the fuzzer; seconds.
const HANG_S: u32 = 20;

/// Memory of the fuzzer, MiB; an input that makes a target take more is a finding.
const MEMORY_MIB_MAX: u32 = 2048;

/// What libFuzzer says at the end of a run, in front of the number of inputs.
const EXECUTED: &str = "stat::number_of_executed_units:";

/// The command line of a run.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The target; all of them, one after the other, if none is named.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(target_names()))]
    target: Option<String>,
    /// How long each target runs.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// What the inputs are drawn from; a new one each time if it is not given.
    #[arg(long)]
    seed: Option<u32>,
    /// Afterwards, put the smallest inputs that cover all that was reached into the committed
    /// corpus.
    #[arg(long)]
    keep: bool,
}

fn target_names() -> impl Iterator<Item = &'static str> {
    TARGETS.iter().map(|(name, _)| *name)
}

/// When a run of a target ends.
#[derive(Clone, Copy)]
enum Until {
    Seconds(u64),
    Executions(u64),
}

/// Runs the targets that were asked for.
///
/// # Errors
/// When the fuzzer cannot be built, or an input breaks a target; the text says which and where it
/// lies.
pub(crate) fn run(args: &Args, repository: &Path) -> anyhow::Result<()> {
    let binary = build(repository)?;
    let chosen =
        TARGETS.iter().filter(|(name, _)| args.target.as_deref().is_none_or(|one| one == *name));
    for (name, _) in chosen {
        let target = Run { binary: &binary, repository, name, seed: args.seed };
        let found = repository.join("target/fuzz/corpus").join(name);
        target.run(&found, Until::Seconds(args.seconds))?;
        if args.keep {
            target.keep(&found)?;
        }
    }
    Ok(())
}

/// The gate's step: a fixed number of inputs for each target, always the same ones.
///
/// # Errors
/// As [`run`].
pub(crate) fn gate(repository: &Path) -> anyhow::Result<()> {
    let binary = build(repository)?;
    for (name, executions) in TARGETS {
        let target = Run { binary: &binary, repository, name, seed: Some(GATE_SEED) };
        let found = repository.join("target/fuzz/gate").join(name);
        if found.exists() {
            fs::remove_dir_all(&found)?;
        }
        target.run(&found, Until::Executions(*executions))?;
    }
    Ok(())
}

/// Builds the instrumented fuzzer.
fn build(repository: &Path) -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // The whole workspace decides on the features, so that no dependency is compiled again.
    let words = ["build", "--release", "--workspace", "--bin", "ringpost-fuzz"];
    let status = Command::new(cargo)
        .args(words)
        .env("RUSTC_WORKSPACE_WRAPPER", repository.join("bench/fuzz/instrument"))
        .current_dir(repository)
        .status()?;
    ensure!(status.success(), "`cargo {}` ended with {status}", words.join(" "));
    let binary = repository.join("target/fuzz/ringpost-fuzz");
    fs::create_dir_all(repository.join("target/fuzz/findings"))?;
    // A later build without instruments must not take its place.
    fs::copy(repository.join("target/release/ringpost-fuzz"), &binary)
        .with_context(|| format!("cannot write {}", binary.display()))?;
    Ok(binary)
}

/// One target.
struct Run<'a> {
    binary: &'a Path,
    repository: &'a Path,
    name: &'static str,
    seed: Option<u32>,
}

impl Run<'_> {
    fn committed(&self) -> PathBuf {
        self.repository.join("bench/fuzz/corpus").join(self.name)
    }

    fn fuzzer(&self) -> Command {
        let findings = self.repository.join("target/fuzz/findings").join(self.name);
        let mut command = Command::new(self.binary);
        command.env("RINGPOST_FUZZ_TARGET", self.name).stdin(Stdio::null());
        command.arg(format!("-artifact_prefix={}-", findings.display()));
        command.arg(format!("-max_len={INPUT_BYTES_MAX}"));
        command.arg(format!("-timeout={HANG_S}"));
        command.arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"));
        command
    }

    /// Runs it; what is new goes to the folder `found`.
    fn run(&self, found: &Path, until: Until) -> anyhow::Result<()> {
        fs::create_dir_all(found)?;
        let mut command = self.fuzzer();
        command.arg("-print_final_stats=1");
        command.arg(match until {
            Until::Seconds(seconds) => format!("-max_total_time={seconds}"),
            Until::Executions(executions) => format!("-runs={executions}"),
        });
        if let Some(seed) = self.seed {
            command.arg(format!("-seed={seed}"));
        }
        let output = command.arg(found).arg(self.committed()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            let last = said.lines().rev().take(60).collect::<Vec<_>>();
            for line in last.iter().rev() {
                println!("{line}");
            }
            bail!(
                "an input broke the target {}; it lies where the lines above say, and runs again \
                 by\nRINGPOST_FUZZ_TARGET={} {} FILE",
                self.name,
                self.name,
                self.binary.display()
            );
        }
        let executed = said.lines().find_map(|line| line.strip_prefix(EXECUTED));
        let executed = executed.context("the fuzzer did not say how many inputs it ran")?.trim();
        let reached = said.lines().rev().find_map(reached).context("the fuzzer saw no code run")?;
        println!("{:<10} {executed:>10} inputs, {reached} points of the code reached", self.name);
        Ok(())
    }

    /// Replaces the committed corpus by a smallest one that reaches as much.
    fn keep(&self, found: &Path) -> anyhow::Result<()> {
        let smallest = self.repository.join("target/fuzz/smallest").join(self.name);
        if smallest.exists() {
            fs::remove_dir_all(&smallest)?;
        }
        fs::create_dir_all(&smallest)?;
        let mut command = self.fuzzer();
        command.arg("-set_cover_merge=1").arg(&smallest).arg(self.committed()).arg(found);
        let output = command.output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fs::remove_dir_all(self.committed())?;
        fs::create_dir_all(self.committed())?;
        for entry in fs::read_dir(&smallest)? {
            let entry = entry?;
            fs::copy(entry.path(), self.committed().join(entry.file_name()))?;
        }
        Ok(())
    }
}

/// Points reached, from a line such as `#512 DONE cov: 214 ft: 381 corp: ...`.
fn reached(line: &str) -> Option<u64> {
    let mut words = line.split_whitespace().skip_while(|word| *word != "cov:");
    words.nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::{TARGETS, reached};

    #[test]
    fn every_target_with_a_corpus_is_known_here() {
        let folder = crate::repository().join("bench/fuzz/corpus");
        let entries = fs::read_dir(folder).unwrap();
        let folders = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let names = TARGETS.iter().map(|(name, _)| (*name).to_owned());
        assert_eq!(folders.collect::<BTreeSet<_>>(), names.collect());
    }

    #[test]
    fn what_was_reached_is_read_from_the_last_line_that_says_so() {
        assert_eq!(reached("#512\tDONE   cov: 214 ft: 381 corp: 1/1b lim: 4"), Some(214));
        assert_eq!(reached("Done 512 runs in 1 second(s)"), None);
    }
}
