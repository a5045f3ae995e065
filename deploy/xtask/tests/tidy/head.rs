//! Every file opens with `//!`: what it owns, what it leaves to others, what holds.

use crate::fault::{Fault, bites, refuse};
use crate::repository;
use crate::source::Source;

fn check(source: &Source) -> Option<Fault> {
    let said = source
        .text
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .any(|line| line.split_whitespace().count() > 2);
    (!said).then(|| Fault::new(&source.path, 1, "open the file with `//!`: what it owns"))
}

#[test]
fn every_file_says_what_it_owns() {
    refuse(repository::sources().iter().filter_map(check));
}

#[test]
fn a_file_without_a_head_is_caught() {
    let sample = |text: &str| check(&Source::parse("a/src/b.rs", text));
    bites(sample("//! The queue of one device.\n\nfn a() {}\n"), &[]);
    bites(sample("fn a() {}\n"), &[1]);
    bites(sample("//!\n//! Queue.\nfn a() {}\n"), &[1]);
    bites(sample("// The queue of one device.\nfn a() {}\n"), &[1]);
}
