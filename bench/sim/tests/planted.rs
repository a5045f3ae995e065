//! Setup: worlds in which the simulator's own wrappers do one thing wrong. Action: seeds one after
//! the other. Expectation: the checker whose promise it is notices within a bounded number.

use ringpost_sim::{Options, Plant, doublecheck, run};

/// So many worlds are enough for any planted fault to be noticed.
const SEEDS_MAX: u64 = 300;

/// Worlds without a fault that are run twice.
const ALIKE_SEEDS: u64 = 6;

#[test]
fn every_planted_fault_is_noticed_by_the_checker_of_its_promise() {
    let mut missed = Vec::new();
    for &(plant, checker) in Plant::ALL {
        let options = |seed| Options { plant: Some(plant), ..Options::of_seed(seed) };
        // A fault may break more than one promise: in one seed this is seen first, in one that.
        let is_noticed = |seed: &u64| {
            run(&options(*seed)).is_err_and(|failure| failure.violation.checker == checker)
        };
        match (1..=SEEDS_MAX).find(is_noticed) {
            Some(seed) => println!("{plant:?}: {checker}, seed {seed}"),
            None => missed.push((plant, checker)),
        }
    }
    assert!(missed.is_empty(), "not noticed in {SEEDS_MAX} seeds: {missed:?}");
}

#[test]
fn a_seed_is_one_world() {
    for seed in 1..=ALIKE_SEEDS {
        doublecheck(&Options::of_seed(seed)).unwrap_or_else(|failure| panic!("{failure}"));
    }
}
