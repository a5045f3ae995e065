//! Checkers that find nothing prove nothing. Setup: a world whose disk, mailboxes or threads do one
//! thing wrong. Expectation: one of the checkers named for it notices, within a bounded number of
//! seeds; and the same seeds without the fault are clean.

use std::panic::{AssertUnwindSafe, catch_unwind};

use clap::ValueEnum;
use ringpost_sim::{Options, Planted, run};

/// Seeds in which each planted fault must be noticed.
const SEEDS: u64 = 200;

/// Which checker notices, in which seed.
fn noticed(planted: Planted) -> Option<(u64, &'static str)> {
    (1..=SEEDS).find_map(|seed| {
        let options = Options { planted: Some(planted), ..Options::of_seed(seed) };
        match catch_unwind(AssertUnwindSafe(|| run(&options))) {
            Ok(outcome) => outcome.violation.map(|violation| (seed, violation.checker)),
            Err(_) => Some((seed, "no-panic")),
        }
    })
}

#[test]
fn every_planted_fault_is_caught_by_its_checker() {
    let mut escaped = Vec::new();
    for &planted in Planted::value_variants() {
        match noticed(planted) {
            Some((seed, checker)) if planted.caught_by().contains(&checker) => {
                println!("{planted:?}: {checker}, seed {seed}");
            }
            other => escaped.push((planted, other)),
        }
    }
    assert!(escaped.is_empty(), "not caught as they should be: {escaped:?}");
}

#[test]
fn the_same_seeds_without_a_fault_are_clean_and_run_alike_twice() {
    for seed in 1..=SEEDS {
        let options = Options::of_seed(seed);
        let (first, second) = (run(&options), run(&options));
        assert_eq!(first.violation, None, "seed {seed}\n{}", first.tail);
        assert_eq!(first.digest, second.digest, "seed {seed} does not replay");
    }
}
