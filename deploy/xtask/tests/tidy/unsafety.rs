//! `unsafe` lives on an island: the ring crate, and at most one file of the journal.
//!
//! Every other crate forbids it in its root, so that no attribute further down can allow it.

use crate::fault::{Fault, bites, refuse};
use crate::repository;
use crate::source::Source;

/// The crate that may hold `unsafe` anywhere.
const ISLAND: &str = "edge/ring/";

/// The crate of which one file may hold `unsafe`.
const OUTPOST: &str = "storage/journal/";

fn check(sources: &[Source]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut outpost = None;
    for source in sources.iter().filter(|source| !source.path.starts_with(ISLAND)) {
        for line in source.all_lines_with(["unsafe"]) {
            let in_outpost = source.path.starts_with(OUTPOST);
            if in_outpost && *outpost.get_or_insert(&source.path) == &source.path {
                continue;
            }
            let message = format!("unsafe outside {ISLAND} and one file of {OUTPOST}");
            faults.push(Fault::new(&source.path, line, message));
        }
        let has_forbid = !source.all_lines_with(["forbid", "(", "unsafe_code"]).is_empty();
        if is_root(&source.path) && !source.path.starts_with(OUTPOST) && !has_forbid {
            faults.push(Fault::new(&source.path, 1, "write #![forbid(unsafe_code)]"));
        }
    }
    faults
}

/// Whether the file is the root of a library or a binary.
fn is_root(path: &str) -> bool {
    path.ends_with("/src/lib.rs") || path.ends_with("/src/main.rs")
}

#[test]
fn unsafe_stays_on_its_island() {
    refuse(check(repository::sources()));
}

#[test]
fn unsafe_elsewhere_is_caught_in_tests_too() {
    let text = "fn a() {\n    unsafe { b() }\n}\n";
    let sample = |path: &str| check(&[Source::parse(path, text)]);
    bites(sample("core/wire/src/frame.rs"), &[2]);
    bites(sample("core/wire/tests/frame.rs"), &[2]);
    bites(sample("edge/ring/src/ring.rs"), &[]);
    bites(sample("storage/journal/src/device.rs"), &[]);
}

#[test]
fn a_second_file_of_the_outpost_is_caught() {
    let text = "unsafe fn a() {}\nunsafe fn b() {}\n";
    let one = Source::parse("storage/journal/src/device.rs", text);
    let other = Source::parse("storage/journal/src/segment.rs", text);
    bites(check(&[one, other]), &[1, 2]);
}

#[test]
fn a_root_that_does_not_forbid_is_caught() {
    let sample = |text: &str| check(&[Source::parse("core/wire/src/lib.rs", text)]);
    bites(sample("mod frame;\n"), &[1]);
    bites(sample("#![forbid(unsafe_code)]\nmod frame;\n"), &[]);
}
