//! Two reports beside each other: runs that both have, number by number.

use super::html::COLUMNS;
use super::{Report, Run};

/// The same scenario against the same peer in both.
pub(super) struct Pair<'a> {
    /// Of the first report.
    pub(super) first: &'a Run,
    second: &'a Run,
}

/// One number of both, for people.
pub(super) struct Row {
    /// Which.
    pub(super) name: &'static str,
    /// In the first.
    pub(super) first: String,
    /// In the second.
    pub(super) second: String,
    /// Second to first; empty if the first is zero.
    pub(super) ratio: String,
}

/// Runs that both have, by scenario, peer and shape; of several rounds, round by round.
pub(super) fn pairs<'a>(first: &'a Report, second: &'a Report) -> Vec<Pair<'a>> {
    let key = |run: &'a Run| (&run.scenario, &run.peer, &run.shape);
    let mut left = second.runs.iter().collect::<Vec<_>>();
    let mut pairs = Vec::new();
    for run in &first.runs {
        if let Some(place) = left.iter().position(|other| key(other) == key(run)) {
            pairs.push(Pair { first: run, second: left.remove(place) });
        }
    }
    pairs
}

impl Pair<'_> {
    /// What was measured in both.
    pub(super) fn rows(&self) -> Vec<Row> {
        let row = |column: &super::html::Column| {
            let (first, second) = ((column.of)(self.first)?, (column.of)(self.second)?);
            let told = |value: f64| format!("{value:.*}", column.digits);
            let ratio = (first != 0.0).then(|| format!("{:.2}", second / first));
            Some(Row {
                name: column.name,
                first: told(first),
                second: told(second),
                ratio: ratio.unwrap_or_default(),
            })
        };
        COLUMNS.iter().filter_map(row).collect()
    }
}

/// The table for the terminal.
pub(crate) fn text(first: &Report, second: &Report) -> String {
    let mut text = String::new();
    let pairs = pairs(first, second);
    for pair in &pairs {
        let Run { scenario, peer, shape, .. } = pair.first;
        text.push_str(&format!("{scenario} against {peer}: {shape}\n"));
        for Row { name, first, second, ratio } in pair.rows() {
            text.push_str(&format!("  {name:<26} {first:>12} {second:>12} {ratio:>8}\n"));
        }
        if pair.first.void.is_some() || pair.second.void.is_some() {
            text.push_str("  VOID: the times of at least one of them mean nothing\n");
        }
    }
    if pairs.is_empty() {
        text.push_str("no run is in both: scenario, peer and shape must be the same\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::text;
    use crate::report::{Report, Run};

    fn report(messages: &[f64]) -> Report {
        let run = |value: &f64| Run {
            scenario: "relay".to_owned(),
            peer: "floor".to_owned(),
            messages_per_server_cpu_second: Some(*value),
            ..Run::default()
        };
        Report { comparison: None, runs: messages.iter().map(run).collect() }
    }

    #[test]
    fn rounds_are_compared_in_their_order_and_strangers_not_at_all() {
        let told = text(&report(&[100.0, 200.0]), &report(&[150.0, 100.0, 7.0]));
        let ratios = told.lines().filter(|line| line.contains("CPU s"));
        let ratios = ratios.map(|line| line.split_whitespace().last()).collect::<Vec<_>>();
        assert_eq!(ratios, [Some("1.50"), Some("0.50")], "{told}");
        let stranger = Run { peer: "nats".to_owned(), ..Run::default() };
        let told = text(&report(&[1.0]), &Report { comparison: None, runs: vec![stranger] });
        assert!(told.contains("no run is in both"), "{told}");
    }
}
