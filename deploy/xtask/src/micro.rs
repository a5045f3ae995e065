//! `cargo xtask micro`: what the hot path costs in instructions, counted by callgrind and compared
//! with the numbers that are committed beside `bench/micro`.
//!
//! What the dearest bytes of a hostile client cost is counted as well ([`crate::hostile`]).
//!
//! Owns the counting and the judgement; the loops are `ringpost-micro`. Each runs twice, the second
//! time with more iterations: the difference is the loop and nothing else. Instructions do not
//! depend on what else the machine does; they depend on the compiler, on libc, and on which vectors
//! the processor has, so a change of those is a reason to write the numbers anew.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

/// The committed numbers: a line for each loop, its name and instructions an iteration.
const COMMITTED: &str = "bench/micro/instructions.txt";

/// What a loop may cost more than the committed number, per cent.
const GROWTH_PERCENT_MAX: f64 = 3.0;

/// Iterations of the two runs of a loop.
const FEW: u64 = 1_000;
const MANY: u64 = 3_000;

/// The command line.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write the numbers down as the new ones, for a change that is worth what it costs
    #[arg(long)]
    accept: bool,
}

/// Counts, prints, and compares.
///
/// # Errors
/// If something cannot be counted, or a loop costs more than it may.
pub(crate) fn run(args: &Args, repository: &Path) -> anyhow::Result<()> {
    build(repository)?;
    let path = repository.join(COMMITTED);
    let committed = parse(&fs::read_to_string(&path)?)?;
    let mut counted = BTreeMap::new();
    for name in committed.keys() {
        let each = instructions(repository, name, MANY)? - instructions(repository, name, FEW)?;
        counted.insert(name.clone(), each as f64 / (MANY - FEW) as f64);
    }
    println!("{}", table(&committed, &counted));
    let hostile = crate::hostile::run(repository);
    if args.accept {
        let lines = counted.iter().map(|(name, each)| format!("{name} {each:.1}\n"));
        return Ok(fs::write(&path, lines.collect::<String>())?);
    }
    let grown = grown(&committed, &counted);
    if !grown.is_empty() {
        bail!(
            "over {GROWTH_PERCENT_MAX} % more instructions: {}. Find out why (`valgrind \
             --tool=callgrind target/release/ringpost-micro LOOP {MANY}`, callgrind_annotate), or, \
             if it is worth it, `cargo xtask micro --accept`",
            grown.join(", ")
        );
    }
    hostile
}

/// As a step of the gate.
///
/// # Errors
/// As [`run`].
pub(crate) fn gate(repository: &Path) -> anyhow::Result<()> {
    run(&Args { accept: false }, repository)
}

fn build(repository: &Path) -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let words = ["build", "--release", "--package", "ringpost-micro"];
    let status = Command::new(&cargo).args(words).current_dir(repository).status()?;
    ensure!(status.success(), "`cargo {}` ended with {status}", words.join(" "));
    Ok(())
}

/// Instructions of one run.
pub(crate) fn instructions(repository: &Path, name: &str, iterations: u64) -> anyhow::Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(repository.join("target/release/ringpost-micro"))
        .args([name, &iterations.to_string()])
        .stdout(Stdio::null())
        .output()
        .context("cannot start valgrind (Debian: apt install valgrind)")?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the loop {name} ended with {}:\n{told}", output.status);
    collected(&told).with_context(|| format!("callgrind does not say what it counted:\n{told}"))
}

/// The number in `==1== Collected : 123`.
fn collected(told: &str) -> Option<u64> {
    told.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
}

fn parse(text: &str) -> anyhow::Result<BTreeMap<String, f64>> {
    let line = |line: &str| {
        let (name, number) = line.split_once(' ').with_context(|| format!("no number: {line}"))?;
        Ok((name.to_owned(), number.parse().with_context(|| format!("no number: {line}"))?))
    };
    text.lines().map(line).collect()
}

fn growth_percent(committed: f64, counted: f64) -> f64 {
    (counted / committed - 1.0) * 100.0
}

fn table(committed: &BTreeMap<String, f64>, counted: &BTreeMap<String, f64>) -> String {
    let mut text = format!("{:<10}{:>14}{:>12}{:>10}\n", "loop", "instructions", "committed", "");
    for (name, &each) in counted {
        let before = committed[name];
        let growth = growth_percent(before, each);
        let _ = writeln!(text, "{name:<10}{each:>14.1}{before:>12.1}{growth:>+9.1}%");
    }
    text
}

/// Those that cost more than they may.
fn grown<'a>(
    committed: &'a BTreeMap<String, f64>,
    counted: &BTreeMap<String, f64>,
) -> Vec<&'a str> {
    let too_much =
        |name: &&str| growth_percent(committed[*name], counted[*name]) > GROWTH_PERCENT_MAX;
    committed.keys().map(String::as_str).filter(too_much).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_callgrind_counted_is_read_from_what_it_says() {
        let told = "==7== Events    : Ir\n==7== Collected : 1234567\n==7==\n";
        assert_eq!(collected(told), Some(1_234_567));
        assert_eq!(collected("==7== error"), None);
    }

    #[test]
    fn three_per_cent_pass_and_more_do_not() {
        let committed = parse("mailbox 1000\nrelay 2000.0\n").unwrap();
        let check = |text: &str, expected: &[&str]| {
            assert_eq!(grown(&committed, &parse(text).unwrap()), expected);
        };
        check("mailbox 1029\nrelay 2059\n", &[]);
        check("mailbox 1031\nrelay 1000\n", &["mailbox"]);
        check("mailbox 10\nrelay 2061\n", &["relay"]);
        assert!(parse("mailbox\n").is_err() && parse("mailbox x\n").is_err());
    }
}
