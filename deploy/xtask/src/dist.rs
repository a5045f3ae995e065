//! `cargo xtask dist`: builds the binary that is shipped, and looks whether it is what is to be shipped.
//!
//! A setting of Cargo outside the repository, in a folder above it or in the environment, may undo what
//! the profile says: an override for one package takes `strip` away without a word. So the binary itself
//! is asked: it runs, it has no symbols and no debug information, and its size is printed.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use object::{Object, ObjectSection};

/// The command line.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// What is shipped, below the repository.
const BINARY: &str = "target/dist/ringpost";

/// Builds, checks, and prints the size.
///
/// # Errors
/// When it cannot be built, does not run, or holds what only who debugs needs.
pub(crate) fn run(_args: &Args, repository: &Path) -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let words = ["build", "--locked", "--profile", "dist", "--bin", "ringpost"];
    let status = Command::new(cargo).args(words).current_dir(repository).status()?;
    ensure!(status.success(), "`cargo {}` ended with {status}", words.join(" "));
    let path = repository.join(BINARY);
    let binary = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let left = left_to_strip(&binary)?;
    ensure!(
        left.is_empty(),
        "{BINARY} ({} bytes) is not stripped, it has {}; does a Cargo configuration outside the \
         repository say something of its profiles or packages?",
        binary.len(),
        left.join(", ")
    );
    let version = Command::new(&path).arg("--version").output()?;
    ensure!(version.status.success(), "{BINARY} --version ended with {}", version.status);
    let version = String::from_utf8(version.stdout)?;
    println!("{BINARY}: {}, stripped, {} bytes", version.trim(), binary.len());
    Ok(())
}

/// The symbol table and the sections of debug information that a binary still has.
fn left_to_strip(binary: &[u8]) -> anyhow::Result<Vec<String>> {
    let file = object::File::parse(binary).context("no binary of this system")?;
    let names = file.sections().map(|section| section.name().unwrap_or_default().to_owned());
    // A note to debuggers that is loaded with the program is no debug information.
    let is_left = |name: &String| {
        name == ".symtab" || (name.starts_with(".debug_") && name != ".debug_gdb_scripts")
    };
    Ok(names.filter(is_left).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::left_to_strip;

    #[test]
    fn a_binary_with_symbols_and_debug_information_is_told() {
        // This test itself is built with both.
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        let left = left_to_strip(&own).unwrap();
        for expected in [".symtab", ".debug_line"] {
            assert!(left.iter().any(|name| name == expected), "{left:?}");
        }
    }

    #[test]
    fn what_is_no_binary_is_refused() {
        assert!(left_to_strip(b"#!/bin/sh\n").is_err());
    }
}
