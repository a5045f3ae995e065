//! Several servers under the same scenario, in one invocation, as ratios.
//!
//! Rounds alternate in order (A B, B A, A B, ...), so that what drifts meanwhile falls on both.
//! Each round gives one ratio of subject to peer; told are median, minimum and maximum, and
//! every run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::report::Run;

/// What is compared with what.
pub(crate) const SUBJECT: &str = "ringpost";

/// Ratios of the subject to one peer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ratios {
    /// Half of the rounds were below it.
    pub(crate) median: f64,
    /// The worst for the subject where more is better.
    pub(crate) min: f64,
    /// The best.
    pub(crate) max: f64,
    /// One for each round, in order.
    pub(crate) rounds: Vec<f64>,
}

/// A whole comparison.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Comparison {
    /// Which scenario.
    pub(crate) scenario: String,
    /// Which field of the runs the ratios are of.
    pub(crate) metric: String,
    /// More is better.
    pub(crate) more_is_better: bool,
    /// By peer.
    pub(crate) ratios: BTreeMap<String, Ratios>,
    /// Peers that could not be run, and why.
    pub(crate) left_out: BTreeMap<String, String>,
    /// All runs, in the order in which they were made.
    pub(crate) runs: Vec<Run>,
}

/// The order of a round: alternating, so that nobody is always first.
pub(crate) fn order(round: u32, peers: &[String]) -> Vec<&str> {
    let names = peers.iter().map(String::as_str);
    if round.is_multiple_of(2) { names.collect() } else { names.rev().collect() }
}

/// The ratios of one peer, from (subject, peer) of each round.
pub(crate) fn ratios(rounds: &[(f64, f64)]) -> Option<Ratios> {
    let rounds = rounds.iter().map(|(subject, peer)| subject / peer).collect::<Vec<_>>();
    let mut sorted = rounds.clone();
    sorted.sort_by(f64::total_cmp);
    let (min, max) = (*sorted.first()?, *sorted.last()?);
    let half = sorted.len() / 2;
    let median = if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[half - 1], sorted[half])
    } else {
        sorted[half]
    };
    Some(Ratios { median, min, max, rounds })
}

impl Comparison {
    /// The table for the terminal.
    pub(crate) fn text(&self) -> String {
        let better = if self.more_is_better { "more" } else { "less" };
        let mut text = format!(
            "{}: {SUBJECT} to each, by {} ({better} is better)\n  {:<16} {:>8} {:>8} {:>8}  rounds\n",
            self.scenario, self.metric, "", "median", "min", "max"
        );
        for (peer, ratios) in &self.ratios {
            text.push_str(&format!(
                "  {peer:<16} {:>8.2} {:>8.2} {:>8.2}  {}\n",
                ratios.median,
                ratios.min,
                ratios.max,
                ratios.rounds.len()
            ));
        }
        for (peer, why) in &self.left_out {
            text.push_str(&format!("  {peer:<16} left out: {why}\n"));
        }
        let void = self.runs.iter().filter(|run| run.void.is_some()).count();
        if void > 0 {
            let whole = self.runs.len();
            text.push_str(&format!("  VOID: {void} of {whole} runs; the JSON says why\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::{order, ratios};

    #[test]
    fn the_median_is_of_the_ratios_and_not_the_ratio_of_medians() {
        let found = ratios(&[(10.0, 5.0), (9.0, 3.0), (100.0, 100.0)]).expect("three rounds");
        assert_eq!((found.median, found.min, found.max), (2.0, 1.0, 3.0));
        let found = ratios(&[(2.0, 1.0), (4.0, 1.0)]).expect("two rounds");
        assert_eq!(found.median, 3.0);
        assert_eq!(ratios(&[]), None);
    }

    #[test]
    fn nobody_is_always_first() {
        let peers = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(order(0, &peers), ["a", "b", "c"]);
        assert_eq!(order(1, &peers), ["c", "b", "a"]);
    }
}
