//! The programs that the gate calls beside Cargo, installed where they are missing.
//!
//! The list is short on purpose: compilers and make build the parts of dependencies that are C or
//! C++, git is called by a dependency's build script, and Python runs the client that was written
//! from the protocol's text alone. Nothing is installed that is there already.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

/// A program of the system, and the Debian package that brings it.
struct Program {
    name: &'static str,
    package: &'static str,
}

const PROGRAMS: &[Program] = &[
    Program { name: "git", package: "git" },
    Program { name: "gcc", package: "gcc" },
    Program { name: "g++", package: "g++" },
    Program { name: "make", package: "make" },
    Program { name: "python3", package: "python3" },
];

/// Parts of the pinned toolchain, by the Cargo command that each brings.
const COMPONENTS: &[(&str, &str)] = &[("fmt", "rustfmt"), ("clippy", "clippy")];

/// Sees to it that the programs and the parts of the toolchain are there.
///
/// # Errors
/// When something is missing and cannot be installed; the message names it.
pub(crate) fn ensure(repository: &Path) -> anyhow::Result<()> {
    let missing = PROGRAMS
        .iter()
        .filter(|program| !answers(repository, program.name, &["--version"]))
        .map(|program| program.package)
        .collect::<Vec<_>>();
    if !missing.is_empty() {
        println!("installing {}", missing.join(", "));
        install(repository, &missing)
            .with_context(|| format!("install by hand: {}", missing.join(", ")))?;
    }
    for (command, component) in COMPONENTS {
        if !answers(repository, "cargo", &[command, "--version"]) {
            println!("adding {component} to the toolchain");
            call(repository, "rustup", &["component", "add", component])?;
        }
    }
    println!("git, gcc, g++, make, python3, rustfmt and clippy are here");
    Ok(())
}

fn install(repository: &Path, packages: &[&str]) -> anyhow::Result<()> {
    call(repository, "apt-get", &["update", "--quiet"])?;
    let words = ["install", "--quiet", "--yes", "--no-install-recommends"];
    call(repository, "apt-get", &[&words, packages].concat())
}

/// Whether the program is there and willing.
fn answers(repository: &Path, program: &str, words: &[&str]) -> bool {
    Command::new(program)
        .args(words)
        .current_dir(repository)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn call(repository: &Path, program: &str, words: &[&str]) -> anyhow::Result<()> {
    let status = Command::new(program)
        .args(words)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .current_dir(repository)
        .status()
        .with_context(|| format!("cannot start {program}"))?;
    ensure!(status.success(), "`{program} {}` ended with {status}", words.join(" "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{answers, call};

    #[test]
    fn a_program_that_is_not_there_is_missing() {
        let here = Path::new(".");
        assert!(answers(here, "cargo", &["--version"]));
        assert!(!answers(here, "ringpost-no-such-program", &["--version"]));
    }

    #[test]
    fn a_call_that_fails_names_what_was_called() {
        let failure = call(Path::new("."), "false", &["word"]).expect_err("it always fails");
        assert!(failure.to_string().contains("`false word`"), "{failure}");
    }
}
