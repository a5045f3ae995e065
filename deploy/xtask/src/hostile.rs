//! The second half of `cargo xtask micro`: for each parser, what the dearest bytes cost beside what
//! bytes cost in the mean.
//!
//! A client is read at a rate of cost: its bytes, and what PROTOCOL.md adds for each frame and each
//! piece. So what a hostile client can make a worker do is the instructions for each unit of that
//! cost, and these are counted here for the fuzzer's corpus and for the worst inputs that we know how
//! to build (`bench/micro/src/hostile`). No number is committed: the limit is a ratio.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::micro;

/// What the dearest input of a parser may cost more than its mean, for each byte that is charged.
const WORST_OVER_MEAN_MAX: f64 = 4.0;

/// The case of each parser that is its mean.
const MEAN: &str = "corpus";

/// Iterations of the two runs of a case.
const FEW: u64 = 2;
const MANY: u64 = 8;

/// One input of one parser.
#[derive(Clone, Debug, PartialEq)]
struct Case {
    parser: String,
    name: String,
    /// What one is charged for, bytes.
    cost: u64,
}

/// One that was counted.
#[derive(Clone, Debug, PartialEq)]
struct Counted {
    name: String,
    /// Instructions for each byte that is charged.
    each: f64,
}

/// Counts all cases, prints them, and compares.
///
/// # Errors
/// If something cannot be counted, or a case costs more than it may.
pub(crate) fn run(repository: &Path) -> anyhow::Result<()> {
    let mut parsers: BTreeMap<String, Vec<Counted>> = BTreeMap::new();
    for case in list(repository)? {
        let name = format!("{}\t{}", case.parser, case.name);
        let count = |times| micro::instructions(repository, &name, times);
        let each = (count(MANY)? - count(FEW)?) as f64 / (MANY - FEW) as f64 / case.cost as f64;
        parsers.entry(case.parser).or_default().push(Counted { name: case.name, each });
    }
    let mut too_dear = Vec::new();
    for (parser, cases) in &parsers {
        println!("{}", table(parser, cases)?);
        too_dear.extend(over(cases)?.into_iter().map(|name| format!("{parser}: {name}")));
    }
    if !too_dear.is_empty() {
        bail!(
            "over {WORST_OVER_MEAN_MAX} times the mean for each byte that is charged: {}. Find out \
             why (callgrind_annotate), or charge for it",
            too_dear.join(", ")
        );
    }
    Ok(())
}

fn list(repository: &Path) -> anyhow::Result<Vec<Case>> {
    let output =
        Command::new(repository.join("target/release/ringpost-micro")).arg("hostile").output()?;
    ensure!(output.status.success(), "ringpost-micro lists nothing: {}", output.status);
    parse(&String::from_utf8(output.stdout)?)
}

fn parse(text: &str) -> anyhow::Result<Vec<Case>> {
    let case = |line: &str| {
        let mut cells = line.split('\t').map(str::to_owned);
        let case = cells.next().zip(cells.next()).zip(cells.next());
        let ((parser, name), cost) = case.with_context(|| format!("no case: {line}"))?;
        Ok(Case { parser, name, cost: cost.parse()? })
    };
    text.lines().map(case).collect()
}

fn mean(cases: &[Counted]) -> anyhow::Result<f64> {
    let mean = cases.iter().find(|case| case.name == MEAN).context("a parser has no mean")?;
    Ok(mean.each)
}

/// Those that cost more than they may.
fn over(cases: &[Counted]) -> anyhow::Result<Vec<&str>> {
    let max = mean(cases)? * WORST_OVER_MEAN_MAX;
    Ok(cases.iter().filter(|case| case.each > max).map(|case| case.name.as_str()).collect())
}

fn table(parser: &str, cases: &[Counted]) -> anyhow::Result<String> {
    let mean = mean(cases)?;
    let mut text = format!("{parser:<32}{:>24}{:>10}\n", "instructions a byte", "of mean");
    for Counted { name, each } in cases {
        let _ = writeln!(text, "  {name:<30}{each:>24.2}{:>10.2}", each / mean);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(name: &str, each: f64) -> Counted {
        Counted { name: name.to_owned(), each }
    }

    #[test]
    fn four_times_the_mean_passes_and_more_does_not() {
        let cases = [counted(MEAN, 2.0), counted("keys", 8.0), counted("nesting", 8.1)];
        assert_eq!(over(&cases).unwrap(), ["nesting"]);
        assert!(over(&cases[1..]).is_err(), "no mean");
    }

    #[test]
    fn cases_are_read_as_they_are_listed() {
        let cases = parse("json\tkeys\t91480\n").unwrap();
        let expected = Case { parser: "json".into(), name: "keys".into(), cost: 91_480 };
        assert_eq!(cases, [expected]);
        assert!(parse("json\tkeys").is_err());
    }
}
