//! The wall clock of a server is judged before anything is dated or expires by it.
//!
//! Only `ClockTrust` makes a `Now`, and only the node's clock, and what runs before there is one,
//! asks the wall clock itself. Whoever asked it elsewhere would follow a jump.

use crate::fault::{Fault, bites, refuse};
use crate::repository;
use crate::source::Source;

/// Layers that a server is made of.
const LAYERS: &[&str] = &["core/", "edge/", "storage/"];

/// Who may make a `Now`: the one that judges. (The other declares it.)
const JUDGES: &[&str] = &["core/shard/src/clock_trust.rs", "core/shard/src/event.rs"];

/// Who may ask the wall clock: the clock, commands, and the keys' age before the node starts.
const READERS: &[&str] = &[
    "edge/server/src/clock/",
    "edge/server/src/cli/",
    "edge/server/src/try_tour/",
    "edge/server/src/serve.rs",
];

fn check(source: &Source) -> Vec<Fault> {
    let is_of = |paths: &[&str]| paths.iter().any(|path| source.path.starts_with(path));
    if !is_of(LAYERS) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    let texts: Vec<&str> = source.tokens.iter().map(|token| token.text.as_str()).collect();
    for (at, token) in source.tokens.iter().enumerate() {
        if source.is_test_line(token.line) {
            continue;
        }
        let before = &texts[..at];
        let made = texts[at..].starts_with(&["Now", "{"]) && !before.ends_with(&["-", ">"]);
        if made && !is_of(JUDGES) {
            let message = "only `ClockTrust` makes a `Now`".to_owned();
            faults.push(Fault::new(&source.path, token.line, message));
        }
        let asked = texts[at..].starts_with(&["SystemTime", ":", ":", "now"])
            || (token.text == "wall_ms" && before.ends_with(&["clock", ":", ":"]));
        if asked && !is_of(READERS) {
            let message = "take the date from the node's clock".to_owned();
            faults.push(Fault::new(&source.path, token.line, message));
        }
    }
    faults
}

#[test]
fn the_wall_clock_is_judged_before_it_is_used() {
    refuse(repository::sources().iter().flat_map(check));
}

#[test]
fn a_date_of_ones_own_is_caught() {
    let text = "fn a() -> Now {\n    Now { mono, wall_ms: clock::wall_ms() }\n}\nfn b(f: F) {\n    f(clock::wall_ms, SystemTime::now())\n}\n#[cfg(test)]\nmod tests {\n    fn c() -> Now {\n        Now { mono, wall_ms: 1 }\n    }\n}\n";
    let sample = |path: &str| check(&Source::parse(path, text));
    bites(sample("edge/server/src/rest/mod.rs"), &[2, 2, 5, 5]);
    bites(sample("edge/server/src/clock/node.rs"), &[2]);
    bites(sample("core/shard/tests/clock.rs"), &[]);
    bites(sample("bench/load/src/main.rs"), &[]);
}
