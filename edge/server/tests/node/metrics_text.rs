//! Setup: a server that has served somebody. Action: a scrape in each form of the text. Expectation:
//! every family has its help and its type before its samples, counters end in `_total`, units are base
//! units and are said where the form can, buckets rise; and `promtool check metrics` finds nothing,
//! where it is installed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use uuid::Uuid;

use crate::peer::{Encoding, Peer};
use crate::rig::{Node, exchange};

/// Ends of names that say a unit that is no base unit.
const NO_BASE_UNITS: [&str; 7] = ["_ms", "_us", "_ns", "_milliseconds", "_kb", "_mib", "_percent"];

fn scrape(node: &Node, accept: &str) -> (String, String) {
    let request =
        format!("GET /metrics HTTP/1.0\r\nHost: {}\r\nAccept: {accept}\r\n\r\n", node.admin);
    let answer = exchange(node.admin, request.as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 200"), "{head}");
    (head.to_lowercase(), body.to_owned())
}

fn served() -> Node {
    let node = Node::start(&[]);
    let bob = Uuid::new_v4();
    drop(Peer::sign_in_live(&node, Encoding::Tcp, bob, 1));
    Peer::sign_in_live(&node, Encoding::Json, Uuid::new_v4(), 1).send(bob, b"counted");
    node
}

/// What was said of a family before its samples.
#[derive(Default)]
struct Family {
    kind: String,
    unit: Option<String>,
    samples: usize,
}

/// Reads a text strictly; answers its families by name.
fn read(text: &str, is_open: bool) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    let mut last_bucket: Option<(String, f64)> = None;
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(comment) = line.strip_prefix("# ") {
            let (word, rest) = comment.split_once(' ').unwrap();
            let (name, said) = rest.split_once(' ').unwrap();
            assert!(!said.trim().is_empty(), "{line}");
            match word {
                "HELP" => {
                    assert!(!families.contains_key(name), "{name} comes twice");
                    families.insert(name.to_owned(), Family::default());
                    current = name.to_owned();
                }
                "TYPE" => families.get_mut(name).expect(line).kind = said.to_owned(),
                "UNIT" if is_open => families.get_mut(name).expect(line).unit = Some(said.into()),
                _ => panic!("{line}"),
            }
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').unwrap();
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
        let name = sample.split('{').next().unwrap();
        let family = families.get_mut(&current).expect(line);
        let suffix = name.strip_prefix(&*current).unwrap_or_else(|| panic!("{line} in {current}"));
        let allowed: &[&str] = match (&*family.kind, is_open) {
            ("counter", true) => &["_total"],
            ("histogram", _) => &["_bucket", "_sum", "_count"],
            ("counter" | "gauge", _) => &[""],
            (kind, _) => panic!("{current} is {kind:?}"),
        };
        assert!(allowed.contains(&suffix), "{line}");
        family.samples += 1;
        let bucket = (suffix == "_bucket").then(|| sample.split_once("\",").map_or("", |it| it.1));
        if let (Some(labels), Some((of, before))) = (bucket, &last_bucket) {
            // The first bound of the next histogram begins anew.
            assert!(of != labels || *before <= value, "{line}");
        }
        let is_last = sample.contains("le=\"+Inf\"");
        last_bucket = bucket.filter(|_| !is_last).map(|labels| (labels.to_owned(), value));
    }
    families
}

#[test]
fn each_form_is_whole_and_says_what_it_is() {
    let node = served();
    let (head, text) = scrape(&node, "*/*");
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    let prometheus = read(&text, false);
    for (name, family) in &prometheus {
        assert_eq!(name.ends_with("_total"), family.kind == "counter", "{name}");
        let stem = name.trim_end_matches("_total");
        assert!(!NO_BASE_UNITS.iter().any(|end| stem.ends_with(end)), "{name}");
        assert!(family.samples > 0, "{name}");
    }
    let (head, text) = scrape(&node, "application/openmetrics-text; version=1.0.0");
    let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert!(head.contains(kind), "{head}");
    assert!(text.ends_with("# EOF\n"), "{text}");
    let open = read(&text, true);
    for (name, family) in &open {
        let unit =
            ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(&format!("_{unit}")));
        assert_eq!(family.unit.as_deref(), unit, "{name}");
    }
    let stems: BTreeSet<&str> =
        prometheus.keys().map(|name| name.trim_end_matches("_total")).collect();
    assert_eq!(stems, open.keys().map(String::as_str).collect(), "both have the same families");
}

#[test]
fn promtool_finds_nothing() {
    let (_, text) = scrape(&served(), "text/plain");
    let check = ["check", "metrics"];
    let started = Command::new("promtool")
        .args(check)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = match started {
        Ok(child) => child,
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "not run: promtool ({error})");
            return;
        }
    };
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let is_silent = output.stdout.is_empty() && output.stderr.is_empty();
    assert!(output.status.success() && is_silent, "{output:?}");
}
