//! Setup: what documents and deployments tell an operator to type, to set or to look at. Action: each
//! command is looked up in the binary's own help, each variable among its settings, each metric in the
//! list of metrics. Expectation: all are there, and a command that asks a running server finds the directory
//! of the unit.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::rig::BINARY;

/// Whose commands and variables are looked up.
const DOCUMENTS: [&str; 6] = [
    "README.md",
    "docs/OPERATING.md",
    "deploy/ADMIN.md",
    "deploy/Dockerfile",
    "deploy/systemd/ringpost.service",
    "SECURITY.md",
];

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
    fs::read_to_string(path).unwrap()
}

fn said(arguments: &[&str]) -> String {
    let output = Command::new(BINARY).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Lines to type, in blocks and between backticks, and what the unit starts; without the program.
fn commands(text: &str) -> Vec<String> {
    let lines = text.lines().flat_map(|line| {
        let typed = line.strip_prefix("$ ").or_else(|| line.strip_prefix("ExecStart="));
        typed.into_iter().chain(line.split('`').skip(1).step_by(2))
    });
    let programs = ["ringpost ", "/usr/local/bin/ringpost ", "cargo run --release -- "];
    let of_ours =
        lines.filter_map(|line| programs.iter().find_map(|program| line.strip_prefix(program)));
    of_ours.map(str::to_owned).collect()
}

#[test]
fn the_binary_knows_each_command_and_flag_that_the_documents_tell() {
    let mut known = 0;
    for name in DOCUMENTS {
        for command in commands(&document(name)) {
            let words: Vec<&str> = command.split_whitespace().collect();
            let is_sub = |word: &&&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
            let of = words.first().filter(|word| !word.starts_with('-')).filter(is_sub);
            let mut ask: Vec<&str> = of.copied().into_iter().collect();
            // `journal inspect`: a command below a command.
            ask.extend(words.get(1).filter(|word| of == Some(&"journal") && is_sub(word)));
            ask.push("--help");
            let help = said(&ask);
            for flag in words.iter().filter(|word| word.starts_with("--")) {
                assert!(help.contains(flag), "{name}: `ringpost {command}`: no {flag}");
            }
            known += 1;
        }
    }
    assert!(known > 8, "only {known} commands were found");
}

#[test]
fn the_binary_knows_each_variable_that_the_documents_set() {
    let keys = said(&["check-config", "--keys"]);
    let listed = |text: &str| -> BTreeSet<String> {
        let words = text.split(|c: char| !(c.is_ascii_uppercase() || c == '_'));
        let words = words.filter(|word| word.starts_with("RINGPOST_"));
        words.map(str::to_owned).collect()
    };
    let known = listed(&keys);
    for name in DOCUMENTS {
        for variable in listed(&document(name)) {
            assert!(known.contains(&variable), "{name}: no setting is called {variable}");
        }
    }
}

#[test]
fn each_metric_that_a_document_sends_the_operator_to_is_in_the_list_of_metrics() {
    let names = |text: &str| -> BTreeSet<String> {
        let told = text.split('`').skip(1).step_by(2).filter(|told| told.starts_with("ringpost_"));
        let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        told.filter_map(|told| told.split(|c| !is_part(c)).next()).map(str::to_owned).collect()
    };
    let listed = names(&document("deploy/METRICS.md"));
    let told = DOCUMENTS.map(|name| (name, names(&document(name))));
    for (name, metrics) in &told {
        for metric in metrics {
            // `ringpost_clock_*`: all that begin so.
            let is_family = metric.ends_with('_');
            let is_listed = |of: &String| of == metric || (is_family && of.starts_with(metric));
            assert!(listed.iter().any(is_listed), "{name}: no metric is called {metric}");
        }
    }
    assert!(told.iter().map(|(_, metrics)| metrics.len()).sum::<usize>() > 8, "{told:?}");
}

#[test]
fn a_backup_by_the_document_is_of_the_directory_that_the_unit_names() {
    let unit = document("deploy/systemd/ringpost.service");
    let start = commands(&unit).pop().unwrap();
    let guide = document("docs/OPERATING.md");
    let told = commands(&guide);
    let backup = told.iter().find(|command| command.starts_with("backup ")).unwrap();
    for flag in ["--config ", "--data-dir "] {
        let value = |line: &str| {
            let (_, rest) = line.split_once(flag)?;
            rest.split_whitespace().next().map(str::to_owned)
        };
        assert_eq!(value(backup), value(&start), "{flag}");
        assert!(value(backup).is_some(), "{flag}");
    }
}
