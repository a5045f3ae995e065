//! Outside tests an `unwrap()` hides which invariant was believed in; `expect` names it.

use crate::fault::{Fault, bites, refuse};
use crate::repository;
use crate::source::Source;

fn check(source: &Source) -> Vec<Fault> {
    let message = "unwrap() outside tests: return the error, or expect(\"the invariant\")";
    source
        .lines_with([".", "unwrap", "(", ")"])
        .into_iter()
        .map(|line| Fault::new(&source.path, line, message))
        .collect()
}

#[test]
fn nothing_unwraps_outside_tests() {
    refuse(repository::sources().iter().flat_map(check));
}

#[test]
fn an_unwrap_is_caught_and_its_relatives_are_not() {
    let sample =
        |line: &str| check(&Source::parse("a/src/b.rs", &format!("fn a() {{\n{line}\n}}")));
    bites(sample("b().unwrap();"), &[2]);
    bites(sample("assert!(b().unwrap());"), &[2]);
    bites(sample("b().unwrap_or_default(); c().expect(\"d\"); // e.unwrap()"), &[]);
}
