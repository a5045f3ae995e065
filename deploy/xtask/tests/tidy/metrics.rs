//! The metrics of the code and the rows of `deploy/METRICS.md` are the same names, and no other document
//! names a metric that has no row there.
//!
//! A metric is named where it is registered, by one literal, so that it can be searched for. The
//! text format adds `_total` to a counter's name; the document has what a scrape shows.

use std::collections::BTreeSet;

use crate::fault::{Fault, refuse};
use crate::source::Source;
use crate::{repository, tables};

const DOCUMENT: &str = "deploy/METRICS.md";
const PREFIX: &str = "ringpost_";
const COUNTER_SUFFIX: &str = "_total";

/// What a scrape adds to the name of a histogram.
const SERIES: &[&str] = &["_bucket", "_sum", "_count"];

fn check(sources: &[Source], crates: &BTreeSet<String>, document: &str) -> Vec<Fault> {
    let documented = tables::first_column(document);
    let mut faults = Vec::new();
    let mut registered = BTreeSet::new();
    for source in sources {
        for (name, line) in names(source).filter(|(name, _)| !crates.contains(*name)) {
            let shown = [name.to_owned(), format!("{name}{COUNTER_SUFFIX}")];
            if shown.iter().all(|name| !documented.contains(name)) {
                let message = format!("`{name}` has no row in {DOCUMENT}");
                faults.push(Fault::new(&source.path, line, message));
            }
            registered.extend(shown);
        }
    }
    let left = documented.difference(&registered);
    faults.extend(left.map(|name| Fault::new(DOCUMENT, 0, format!("no code registers `{name}`"))));
    faults
}

/// What a document names in code, as `ringpost_shard_sends_total{reason="a"}` or a command in a fence:
/// each name must have a row, be the beginning of one that has (`ringpost_clock_*`), or be a crate's.
fn check_mentions(path: &str, text: &str, rows: &BTreeSet<String>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (at, line) in text.lines().enumerate() {
        for (start, _) in line.match_indices(PREFIX) {
            let rest = &line[start..];
            let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            let length = rest.bytes().take_while(|&byte| is_part(byte)).count();
            let (name, behind) = rest.split_at(length);
            let is_known = match behind.starts_with(['*', '<']) {
                true => rows.iter().any(|row| row.starts_with(name)) || name == PREFIX,
                false => {
                    let of_histogram = SERIES.iter().find_map(|series| name.strip_suffix(series));
                    rows.contains(name) || of_histogram.is_some_and(|name| rows.contains(name))
                }
            };
            if !is_known {
                let message = format!("`{name}` has no row in {DOCUMENT}");
                faults.push(Fault::new(path, at + 1, message));
            }
        }
    }
    faults
}

/// Literals outside of tests that can be nothing but the name of a metric (or of a crate).
fn names(source: &Source) -> impl Iterator<Item = (&str, usize)> {
    let is_name = |text: &str| {
        text.starts_with(PREFIX) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    source.tokens.iter().filter_map(move |token| {
        let text = token.text.strip_prefix('"')?.strip_suffix('"')?;
        (is_name(text) && !source.is_test_line(token.line)).then_some((text, token.line))
    })
}

/// Names of our crates, which stand in the filters of the logs.
fn crates() -> BTreeSet<String> {
    let manifests = repository::texts().iter().filter(|file| file.path.ends_with("Cargo.toml"));
    let names = manifests.flat_map(|file| file.text.lines()).filter_map(|line| {
        let name = line.strip_prefix("name = \"")?.strip_suffix('"')?;
        Some(name.replace('-', "_"))
    });
    names.collect()
}

#[test]
fn every_metric_is_documented_and_every_documented_metric_exists() {
    refuse(check(repository::sources(), &crates(), repository::text(DOCUMENT)));
}

#[test]
fn every_metric_that_a_document_names_has_a_row() {
    let mut rows = tables::first_column(repository::text(DOCUMENT));
    rows.extend(crates());
    let documents = repository::texts().iter().filter(|file| file.path.ends_with(".md"));
    refuse(documents.flat_map(|file| check_mentions(&file.path, &file.text, &rows)));
}

#[test]
fn a_document_that_names_no_metric_is_caught() {
    let rows = BTreeSet::from(["ringpost_edge_frames_total".to_owned()]);
    let faults = |text: &str| check_mentions("README.md", text, &rows).len();
    assert_eq!(faults("see `ringpost_edge_frames_total{a=\"b\"}`, and `ringpost_edge_*`"), 0);
    assert_eq!(faults("names read `ringpost_<layer>_<noun>`; ringpost_edge_frames_total"), 0);
    assert_eq!(faults("see `ringpost_frames_total`"), 1);
    assert_eq!(faults("see `ringpost_store_*`, `ringpost_edge_frames_total`"), 1);
}

#[test]
fn a_metric_without_a_row_and_a_row_without_a_metric_are_caught() {
    let text = "fn a() {\n    counter(\"ringpost_edge_frames\");\n    gauge(\"ringpost_edge_open\");\n    filter(\"ringpost_wire\");\n    log(\"ringpost_edge says\");\n}\n";
    let source = [Source::parse("edge/server/src/metrics.rs", text)];
    let crates = BTreeSet::from(["ringpost_wire".to_owned()]);
    let messages = |document: &str| {
        let faults = check(&source, &crates, document);
        faults.into_iter().map(|fault| fault.message).collect::<Vec<_>>()
    };
    let none: [&str; 0] = [];
    assert_eq!(messages("| `ringpost_edge_frames_total` | |\n| `ringpost_edge_open` | |\n"), none);
    assert_eq!(
        messages("| `ringpost_edge_frames_total` | |\n| `ringpost_edge_shut` | |\n"),
        [
            "`ringpost_edge_open` has no row in deploy/METRICS.md",
            "no code registers `ringpost_edge_shut`"
        ]
    );
}
