//! The programs that the gate calls beside Cargo, installed where they are missing.
//!
//! The list is short on purpose: compilers and make build the parts of dependencies that are C or
//! C++, git is called by a dependency's build script, Python runs the client that was written from the
//! protocol's text alone, and systemd judges its unit. The proxies and clients of `cargo xtask doors` stand there, and are
//! installed with the rest. Nothing is installed that is there already.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use crate::doors;

/// Something of the system, how one sees that it is there, and the Debian package that brings it.
pub(crate) struct Wanted {
    pub(crate) sign: Sign,
    pub(crate) package: &'static str,
}

/// By what one sees that something is there.
pub(crate) enum Sign {
    /// This program, called with these words, succeeds.
    Answers(&'static str, &'static [&'static str]),
    /// This file is there.
    File(&'static str),
}

const PROGRAMS: &[Wanted] = &[
    Wanted { sign: Sign::Answers("git", &["--version"]), package: "git" },
    Wanted { sign: Sign::Answers("gcc", &["--version"]), package: "gcc" },
    Wanted { sign: Sign::Answers("g++", &["--version"]), package: "g++" },
    Wanted { sign: Sign::Answers("make", &["--version"]), package: "make" },
    Wanted { sign: Sign::Answers("python3", &["--version"]), package: "python3" },
    Wanted { sign: Sign::Answers("systemd-analyze", &["--version"]), package: "systemd" },
];

/// Parts of the pinned toolchain, by the Cargo command that each brings.
const COMPONENTS: &[(&str, &str)] = &[("fmt", "rustfmt"), ("clippy", "clippy")];

/// Sees to it that the programs and the parts of the toolchain are there.
///
/// # Errors
/// When something is missing and cannot be installed; the message names it.
pub(crate) fn ensure(repository: &Path) -> anyhow::Result<()> {
    // One call of the package manager for all steps.
    let wanted = PROGRAMS.iter().chain(doors::PROGRAMS);
    install_missing(repository, wanted)?;
    for (command, component) in COMPONENTS {
        if !answers(repository, "cargo", &[command, "--version"]) {
            println!("adding {component} to the toolchain");
            call(repository, "rustup", &["component", "add", component])?;
        }
    }
    println!("compilers, rustfmt, clippy, proxies and clients are here");
    Ok(())
}

/// Installs the packages of what is not there.
///
/// # Errors
/// When one cannot be installed, or what it should bring is not there afterwards.
pub(crate) fn install_missing<'a>(
    repository: &Path,
    wanted: impl IntoIterator<Item = &'a Wanted>,
) -> anyhow::Result<()> {
    let missing =
        wanted.into_iter().filter(|wanted| !wanted.sign.is_there(repository)).collect::<Vec<_>>();
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.iter().map(|wanted| wanted.package).collect::<Vec<_>>();
    println!("installing {}", packages.join(", "));
    install(repository, &packages)
        .with_context(|| format!("install by hand: {}", packages.join(", ")))?;
    for wanted in missing {
        let package = wanted.package;
        ensure!(wanted.sign.is_there(repository), "{package} does not bring what is needed of it");
    }
    Ok(())
}

impl Sign {
    fn is_there(&self, repository: &Path) -> bool {
        match self {
            Self::Answers(program, words) => answers(repository, program, words),
            Self::File(path) => Path::new(path).exists(),
        }
    }
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
