//! What is shipped beside the binary is taken by the programs that it is for: systemd takes its unit,
//! and the sandbox of the unit is as tight as is said. The examples for proxies are run by
//! `cargo xtask doors`.
//!
//! Where a program is not installed, its test says so on standard error and holds nothing.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]
#![forbid(unsafe_code)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The exposure that `systemd-analyze security` may find at most, in tenths.
const EXPOSURE_MAX: &str = "--threshold=20";

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

/// What a program says; `None`, with a word on standard error, where it is not installed.
fn run(program: &str, arguments: &[&str]) -> Option<Output> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "not run: {program} ({error})");
            None
        }
    }
}

/// Settings in backticks of the paragraph of ADMIN.md that says how a supervisor starts the server again.
fn asked_of_supervisors(document: &str) -> Vec<&str> {
    let (_, behind) = document.split_once("for systemd\n").unwrap();
    let (paragraph, _) = behind.split_once("\n\n").unwrap();
    paragraph.split('`').skip(1).step_by(2).collect()
}

#[test]
fn the_unit_starts_the_server_again_as_the_document_of_the_exit_codes_asks() {
    let document = fs::read_to_string(deploy("ADMIN.md")).unwrap();
    let unit = fs::read_to_string(deploy("systemd/ringpost.service")).unwrap();
    let asked = asked_of_supervisors(&document);
    assert_eq!(asked.len(), 4, "{asked:?}");
    for line in asked {
        assert!(unit.lines().any(|of_unit| of_unit == line), "the unit lacks `{line}`");
    }
}

#[test]
fn codes_that_are_not_to_be_started_again_are_those_of_the_table() {
    let document = fs::read_to_string(deploy("ADMIN.md")).unwrap();
    let unit = fs::read_to_string(deploy("systemd/ringpost.service")).unwrap();
    let (_, behind) = document.split_once("## Exit codes").unwrap();
    let rows = behind.lines().filter(|line| line.starts_with("| ") && line.ends_with("| no |"));
    let of_table: Vec<&str> =
        rows.filter_map(|row| row.split('|').nth(1)).flat_map(|it| it.split(',')).collect();
    let prevented = unit.lines().find_map(|line| line.strip_prefix("RestartPreventExitStatus="));
    let of_table: Vec<&str> = of_table.iter().map(|code| code.trim()).collect();
    assert_eq!(prevented, Some(of_table.join(" ").as_str()));
}

#[test]
fn systemd_takes_the_unit_and_finds_it_closed() {
    let dir = tempfile::tempdir().unwrap();
    // The binary must be there; which one it is makes no difference.
    let unit = fs::read_to_string(deploy("systemd/ringpost.service")).unwrap();
    let path = dir.path().join("ringpost.service");
    fs::write(&path, unit.replace("/usr/local/bin/ringpost", "/bin/true")).unwrap();
    let path = path.to_str().unwrap();
    if let Some(output) = run("systemd-analyze", &["verify", path]) {
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }
    let words = ["security", "--offline=yes", EXPOSURE_MAX, path];
    if let Some(output) = run("systemd-analyze", &words) {
        assert!(output.status.success(), "{output:?}");
    }
}
