//! Several servers under the same scenario, in one invocation, as ratios.
//!
//! Rounds alternate in order (A B, B A, A B, ...), so that what drifts meanwhile falls on both.
//! Each round gives one ratio of subject to peer; told are median, minimum and maximum, and
//! every run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::peer::{Name, Setting};
use crate::report::Run;
use crate::scenario::Scenario;

/// What is compared with the others.
pub(crate) const SUBJECT: Name = Name::RINGPOST;

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
fn order<T>(round: u32, peers: &[T]) -> Vec<&T> {
    let names = peers.iter();
    if round.is_multiple_of(2) { names.collect() } else { names.rev().collect() }
}

/// The ratios of one peer, from (subject, peer) of each round.
fn ratios(rounds: &[(f64, f64)]) -> Option<Ratios> {
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
    /// Runs a scenario against all of `names`, of which the first is the subject, as often as
    /// there are rounds. A peer that cannot be run is left out; the subject must run.
    ///
    /// # Errors
    /// When the subject cannot be run.
    pub(crate) fn run(
        scenario: &Scenario,
        names: &[Name],
        rounds: u32,
        setting: &Setting,
        cores: usize,
    ) -> anyhow::Result<Self> {
        let metric = scenario.metric();
        let mut found = Self {
            scenario: scenario.name().to_owned(),
            metric: metric.name.to_owned(),
            more_is_better: metric.more_is_better,
            ..Self::default()
        };
        let mut values = vec![Vec::<Option<f64>>::new(); names.len()];
        let all = names.iter().zip(0..).collect::<Vec<_>>();
        for round in 0..rounds {
            for (name, position) in order(round, &all) {
                if found.left_out.contains_key(&name.to_string()) {
                    continue;
                }
                match scenario.run(name, setting, cores) {
                    Ok(run) => {
                        values[*position].push((metric.of)(&run));
                        found.runs.push(run);
                    }
                    Err(error) if **name != SUBJECT => {
                        found.left_out.insert(name.to_string(), format!("{error:#}"));
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        for (name, theirs) in names.iter().zip(&values).skip(1) {
            let pairs = values[0].iter().zip(theirs).filter_map(|(ours, theirs)| ours.zip(*theirs));
            if let Some(ratios) = ratios(&pairs.collect::<Vec<_>>()) {
                found.ratios.insert(name.to_string(), ratios);
            }
        }
        Ok(found)
    }

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
        assert_eq!(order(0, &["a", "b", "c"]), [&"a", &"b", &"c"]);
        assert_eq!(order(1, &["a", "b", "c"]), [&"c", &"b", &"a"]);
    }
}
