//! `cargo xtask smoke`: the guard of `ringpost-bench` on the real binary, for the gate and for
//! the numbers in README.md.
//!
//! Owns nothing of the measuring: it builds both programs, runs `ringpost-bench guard`, which
//! knows the bounds, and shows or writes down what it says.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

/// Where README keeps the numbers.
const README_BEGIN: &str = "<!-- smoke:begin -->\n";
const README_END: &str = "<!-- smoke:end -->";

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
        let path = repository.join("README.md");
        fs::write(&path, with_numbers(&fs::read_to_string(&path)?, &text)?)?;
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

/// The README with these numbers in place of the old.
fn with_numbers(readme: &str, numbers: &str) -> anyhow::Result<String> {
    let (head, rest) = readme.split_once(README_BEGIN).context("README lost its mark of smoke")?;
    let (_, tail) = rest.split_once(README_END).context("README lost its mark of smoke")?;
    Ok(format!("{head}{README_BEGIN}```text\n{numbers}```\n{README_END}{tail}"))
}

#[cfg(test)]
mod tests {
    use super::with_numbers;

    #[test]
    fn numbers_replace_the_old_ones_and_nothing_else() {
        let readme = "a\n<!-- smoke:begin -->\nold\n<!-- smoke:end -->\nb\n";
        let expected = "a\n<!-- smoke:begin -->\n```text\nnew\n```\n<!-- smoke:end -->\nb\n";
        assert_eq!(with_numbers(readme, "new\n").unwrap(), expected);
    }
}
