//! A loop that runs on a thread which others wait for says what ends it.
//!
//! A turn of a worker that goes round as long as something comes back keeps everybody else from
//! their turn, and for ever if that does not end. No machine can prove that a loop ends; this one
//! sees to it that somebody has thought of it, and that the next reader finds the argument.

use crate::fault::{Fault, bites, refuse};
use crate::repository;
use crate::source::Source;

/// What runs on such threads: the workers, the journal's, the store's, those of the node.
const PLACES: [&str; 7] = [
    "core/shard/src/",
    "edge/conn/src/",
    "edge/ring/src/",
    "edge/server/src/node/",
    "edge/server/src/signals.rs",
    "storage/journal/src/thread/",
    "storage/store/src/thread/",
];

/// Parts of them that run elsewhere: in tests, and before anybody waits.
const ELSEWHERE: [&str; 2] = ["edge/ring/src/fake/", "edge/ring/src/self_test.rs"];

/// How the comment above a loop begins.
const MARK: &str = "// Ends: ";

fn check(source: &Source) -> Vec<Fault> {
    let is_in = |places: &[&str]| places.iter().any(|place| source.path.starts_with(place));
    if !is_in(&PLACES) || is_in(&ELSEWHERE) {
        return Vec::new();
    }
    let lines: Vec<&str> = source.text.lines().map(str::trim).collect();
    let is_marked = |line: usize| {
        let above = lines[..line - 1].iter().rev().take_while(|line| line.starts_with("//"));
        above.into_iter().any(|line| line.starts_with(MARK))
    };
    let message = "a loop without a word on what ends it: // Ends: ...";
    let mut loops = [source.lines_with(["loop"]), source.lines_with(["while"])].concat();
    loops.sort_unstable();
    loops
        .into_iter()
        .filter(|&line| !is_marked(line) && !is_constant(&lines, line))
        .map(|line| Fault::new(&source.path, line, message))
        .collect()
}

/// The compiler runs it: where it does not end, nothing is built.
fn is_constant(lines: &[&str], line: usize) -> bool {
    let before = lines[..line].iter().rev().take(4);
    before.into_iter().any(|line| line.contains("const ") && line.ends_with("= {"))
}

#[test]
fn every_loop_of_a_turn_says_what_ends_it() {
    refuse(repository::sources().iter().flat_map(check));
}

#[test]
fn a_loop_without_its_end_is_caught() {
    let sample =
        |path: &str, body: &str| check(&Source::parse(path, &format!("fn a() {{\n{body}\n}}")));
    let turn = "edge/conn/src/b.rs";
    bites(sample(turn, "loop { b(); }"), &[2]);
    bites(sample(turn, "while c() { b(); }\nlet d = loop { break 1; };"), &[2, 3]);
    bites(sample(turn, "// Ends: at once.\nloop { break; }"), &[]);
    bites(sample(turn, "// Ends: each round takes one,\n// or is the last.\nwhile c() {}"), &[]);
    bites(sample(turn, "// It loops.\nloop { b(); }"), &[3]);
    bites(sample("edge/server/src/rest/b.rs", "loop { b(); }"), &[]);
    let constant = "const B: u8 = {\nlet mut i = 0;\nwhile i < 9 { i += 1; }\ni\n};";
    bites(check(&Source::parse(turn, constant)), &[]);
}
