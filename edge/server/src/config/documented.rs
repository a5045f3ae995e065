//! `deploy/LIMITS.md` says what the code does: each limit of a part has a row there, with its value
//! or the setting that it follows from, and with a metric that exists.

use std::fmt::Debug;

use ringpost_conn::ConnectionConfig;
use ringpost_shard::ShardLimits;
use ringpost_store::ApplierLimits;
use ringpost_store::engine::FjallLimits;
use ringpost_store::thread::ThreadLimits;

use super::keys;
use super::quantity::size_rounded;

const TEXT: &str = include_str!("../../../../deploy/LIMITS.md");
const METRICS: &str = include_str!("../../../../deploy/METRICS.md");

/// A field of a part's limits: its name, and its value as the table shows it.
type Field = (String, String);

/// The fields of limits, as their `Debug` writes them, without those of parts of their own.
fn fields(limits: &impl Debug, parts: &[&str]) -> Vec<Field> {
    let text = format!("{limits:#?}");
    let mut fields: Vec<Field> = Vec::new();
    for line in text.lines() {
        let Some(own) = line.strip_prefix("    ") else { continue };
        let own = own.trim_end_matches(',');
        match (own.strip_prefix("    "), own.split_once(": ")) {
            (Some(inner), _) => {
                let (_, value) = fields.last_mut().expect("it is within a field");
                value.push_str(inner.trim());
                value.push(' ');
            }
            (None, Some((name, value))) => fields.push((name.to_owned(), value.to_owned())),
            (None, None) => {}
        }
    }
    fields.retain(|(name, _)| !parts.contains(&name.as_str()));
    for (name, value) in &mut fields {
        *value = shown(name, value);
    }
    fields
}

/// A value as the table shows it: sizes with their unit, rates in words.
fn shown(name: &str, value: &str) -> String {
    if let Some(rate) = value.strip_prefix("Rate {per_second: ") {
        let (per_second, burst) = rate.trim().split_once(" burst: ").expect("a rate has both");
        return format!("{per_second} a second, {burst} at once");
    }
    match value.parse::<u64>() {
        Ok(bytes) if name.contains("bytes") && bytes >= 1024 => size_rounded(bytes),
        _ => value.to_owned(),
    }
}

/// The rows of the table under a heading: limit, value, end, metric.
fn rows(heading: &str) -> Vec<[&'static str; 4]> {
    let begin = TEXT.find(heading).unwrap_or_else(|| panic!("no {heading}"));
    let section = &TEXT[begin + heading.len()..];
    let section = &section[..section.find("\n## ").unwrap_or(section.len())];
    let table = section.lines().filter(|line| line.starts_with("| `"));
    let cells = |line: &'static str| {
        let cells: Vec<_> =
            line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        <[&str; 4]>::try_from(cells).expect("a row has four cells")
    };
    table.map(cells).collect()
}

fn check(heading: &str, fields: &[Field]) {
    let rows = rows(heading);
    let named: Vec<&str> = rows.iter().map(|[name, ..]| *name).collect();
    let expected: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(named, expected, "a row for each limit under {heading:?}, in the code's order");
    let keys = keys();
    for ([name, value, end, metric], (_, expected)) in rows.iter().zip(fields) {
        let is_setting = keys.iter().any(|key| key == value);
        assert!(is_setting || value == expected, "{name} is {value:?}, in the code {expected:?}");
        assert!(!end.is_empty(), "{name}: what happens");
        assert!(METRICS.contains(&format!("`{metric}`")), "{name}: {metric} is in no document");
    }
}

#[test]
fn each_limit_of_a_shard_is_documented() {
    check("## A worker's users, queues and sends\n", &fields(&ShardLimits::default(), &[]));
}

#[test]
fn each_limit_of_connections_is_documented() {
    check("## A worker's connections\n", &fields(&ConnectionConfig::default(), &[]));
}

#[test]
fn each_limit_between_journal_and_store_is_documented() {
    let mut all = fields(&ThreadLimits::default(), &["applier"]);
    all.extend(fields(&ApplierLimits::default(), &[]));
    check("## Between journal and store\n", &all);
}

#[test]
fn each_limit_of_the_engine_is_documented() {
    check("## The store's engine\n", &fields(&FjallLimits::default(), &[]));
}
