//! `cargo xtask test`: the gate. Runs every check in the order of what it costs to fail.
//!
//! The table [`STEPS`] is the gate: its order, what is run, and how long each may take. The gate
//! stops at the first step that fails and says how to run that one alone. All that is compiled is
//! compiled with `--release` and for the whole workspace, so that each dependency is compiled
//! once with one set of features.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::builder::PossibleValuesParser;

use crate::step::{Action, Step, Verdict};
use crate::{doors, fuzz, micro, powercut, sim, smoke, tools, torture};

/// How long the whole gate may take on two cores, from a fresh clone, in seconds.
const WHOLE_BUDGET_S: u64 = 42 * 60;

/// The gate.
const STEPS: &[Step] = &[
    Step {
        name: "tools",
        defends: "what the later steps call is installed",
        action: Action::Task { words: "install what is missing", run: tools::ensure },
        budget_s: 180,
    },
    Step {
        name: "fmt",
        defends: "the source is formatted by rustfmt",
        action: cargo(&["fmt", "--all", "--check"]),
        budget_s: 15,
    },
    Step {
        name: "tidy",
        defends: "the rules of the repository that no compiler knows",
        action: cargo(&["test", "--release", "--workspace", "--test", "tidy"]),
        budget_s: 60,
    },
    Step {
        name: "clippy",
        defends: "no warning, in code, tests and examples",
        action: cargo(&[
            "clippy",
            "--release",
            "--workspace",
            "--all-targets",
            "--",
            "--deny",
            "warnings",
        ]),
        budget_s: 240,
    },
    Step {
        name: "rustdoc",
        defends: "the documentation of the code is whole and its links lead somewhere",
        action: Action::Cargo {
            words: &["doc", "--release", "--workspace", "--no-deps"],
            environment: &[("RUSTDOCFLAGS", "--deny warnings")],
        },
        budget_s: 60,
    },
    Step {
        name: "build",
        defends: "every crate, binary and test compiles",
        action: cargo(&["test", "--release", "--workspace", "--no-run"]),
        budget_s: 360,
    },
    Step {
        name: "unit",
        defends: "the tests beside the code",
        // The fuzzer has the `main` of libFuzzer, which is no test.
        action: cargo(&[
            "test",
            "--release",
            "--workspace",
            "--exclude",
            "ringpost-fuzz",
            "--lib",
            "--bins",
        ]),
        budget_s: 90,
    },
    Step {
        name: "integration",
        defends: "the tests of behaviour in tests/",
        action: cargo(&["test", "--release", "--workspace", "--test", "*"]),
        budget_s: 240,
    },
    Step {
        name: "doc",
        defends: "the examples in the documentation run",
        action: cargo(&["test", "--release", "--workspace", "--doc"]),
        budget_s: 30,
    },
    Step {
        name: "loom",
        defends: "no interleaving of the sleep protocol loses a wake",
        // Another cfg is another build of everything below it, so it has a folder of its own.
        action: Action::Cargo {
            words: &[
                "test",
                "--release",
                "--package",
                "ringpost-ring",
                "--test",
                "sleep_protocol_loom",
                "--target-dir",
                "target/loom",
            ],
            environment: &[("RUSTFLAGS", "--cfg loom")],
        },
        budget_s: 120,
    },
    Step {
        name: "sim",
        defends: "the promises, against two minutes of worlds that nobody has seen",
        action: Action::Task { words: "fresh seeds of the deterministic world", run: sim::gate },
        budget_s: 180,
    },
    Step {
        name: "fuzz",
        defends: "no bytes from outside break what reads them",
        action: Action::Task {
            words: "give each target a fixed number of inputs",
            run: fuzz::gate,
        },
        budget_s: 240,
    },
    Step {
        name: "doors",
        defends: "what others wrote meets the server as its texts say: proxies, clients, a browser",
        action: Action::Task {
            words: "put nginx and HAProxy in front; aiohttp, Node, curl and Chromium speak",
            run: doors::gate,
        },
        budget_s: 90,
    },
    Step {
        name: "torture",
        defends: "what is acknowledged survives the death of the server",
        action: Action::Task {
            words: "kill the server 20 times, over a good and over a bad network, seed 1",
            run: torture::gate,
        },
        budget_s: 120,
    },
    Step {
        name: "powercut",
        defends: "what is acknowledged survives the loss of power",
        action: Action::MachineTask {
            words: "cut the power of a volume, and of a disk that pretends, seed 1",
            run: powercut::gate,
        },
        budget_s: 120,
    },
    Step {
        name: "micro",
        defends: "the instructions of the hot path, within 3 % of the committed numbers",
        action: Action::Task {
            words: "count the loops of bench/micro by callgrind",
            run: micro::gate,
        },
        budget_s: 60,
    },
    Step {
        name: "guard",
        defends: "bytes of an idle connection, system calls of a message, and that none is lost",
        action: Action::Task {
            words: "run `ringpost-bench guard`: idle with 50,000 connections, and relay",
            run: smoke::gate,
        },
        budget_s: 300,
    },
];

/// Steps that run only by name: they ask for more than every machine has (the right to mount, the
/// processor whose instructions were counted), and for builds of their own.
const ON_REQUEST: &[&str] = &["fuzz", "powercut", "micro"];

const fn cargo(words: &'static [&'static str]) -> Action {
    Action::Cargo { words, environment: &[] }
}

/// The command line of the gate.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Name the steps and what they run, and run nothing.
    #[arg(long, conflicts_with = "only")]
    list: bool,
    /// Run this step alone.
    #[arg(long, value_name = "STEP", value_parser = step_names())]
    only: Option<String>,
}

fn step_names() -> PossibleValuesParser {
    PossibleValuesParser::new(STEPS.iter().map(|step| step.name))
}

/// Runs the gate, or the one step asked for, or lists the steps.
///
/// # Errors
/// When a step fails; the message says which, why, and how to run it alone.
pub(crate) fn run(args: &Args, repository: &Path) -> anyhow::Result<()> {
    if args.list {
        for step in STEPS {
            let note = if ON_REQUEST.contains(&step.name) { " (only by name)" } else { "" };
            println!("{:<12} {:>5}  {}{note}", step.name, brief(step.budget()), step.defends);
            println!("{:<12} {:>5}  {}", "", "", step.action);
        }
        return Ok(());
    }
    let chosen = STEPS
        .iter()
        .filter(|step| match &args.only {
            Some(name) => name == step.name,
            None => !ON_REQUEST.contains(&step.name),
        })
        .collect::<Vec<_>>();
    let mut taken = Vec::with_capacity(chosen.len());
    let mut skipped = Vec::new();
    for step in chosen {
        println!("\n==> {}: {}", step.name, step.action);
        let begun = Instant::now();
        let outcome = step.run(repository);
        taken.push((step, begun.elapsed()));
        match outcome {
            Ok(Verdict::Passed) => {}
            Ok(Verdict::Skipped(reason)) => skipped.push((step.name, reason)),
            Err(failure) => {
                println!("\n{}", table(&taken));
                println!("rerun only this step: cargo xtask test --only {}", step.name);
                bail!("step `{}` failed: {failure:#}", step.name);
            }
        }
    }
    println!("\n{}", table(&taken));
    println!("{} steps passed, {} SKIPPED", taken.len() - skipped.len(), skipped.len());
    for (name, reason) in skipped {
        println!("SKIPPED {name}: {reason}. What it defends was not tested on this machine.");
    }
    Ok(())
}

/// How long each step took, against its budget.
fn table(taken: &[(&Step, Duration)]) -> String {
    let row = |name: &str, took: Duration, budget: Duration| {
        let flag = if took > budget { "  over budget" } else { "" };
        format!("{name:<12} {:>9} {:>9}{flag}\n", brief(took), brief(budget))
    };
    let mut text = format!("{:<12} {:>9} {:>9}\n", "step", "took", "budget");
    for (step, took) in taken {
        text.push_str(&row(step.name, *took, step.budget()));
    }
    let whole = taken.iter().map(|(_, took)| *took).sum();
    text.push_str(&row("whole", whole, Duration::from_secs(WHOLE_BUDGET_S)));
    text
}

/// A duration for the eye: `4.2s`, `3m07s`.
fn brief(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 {
        format!("{:.1}s", duration.as_secs_f64())
    } else {
        format!("{}m{:02}s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::{Action, ON_REQUEST, STEPS, WHOLE_BUDGET_S, brief, table};

    #[test]
    fn the_budgets_of_the_steps_fit_the_budget_of_the_whole() {
        let sum = STEPS.iter().map(|step| step.budget_s).sum::<u64>();
        assert!(sum <= WHOLE_BUDGET_S, "{sum} s of steps, {WHOLE_BUDGET_S} s in all");
    }

    #[test]
    fn a_name_selects_one_step() {
        let names = STEPS.iter().map(|step| step.name).collect::<HashSet<_>>();
        assert_eq!(names.len(), STEPS.len());
        assert!(ON_REQUEST.iter().all(|name| names.contains(name)));
    }

    #[test]
    fn all_that_compiles_uses_the_one_profile() {
        for step in STEPS {
            if let Action::Cargo { words, .. } = step.action
                && words[0] != "fmt"
            {
                assert!(words.contains(&"--release"), "{}: {}", step.name, step.action);
            }
        }
    }

    #[test]
    fn a_step_over_its_budget_is_flagged_and_no_other() {
        let (first, second) = (&STEPS[0], &STEPS[1]);
        let text =
            table(&[(first, first.budget() + Duration::from_secs(1)), (second, second.budget())]);
        let flagged = text.lines().filter(|line| line.ends_with("over budget")).collect::<Vec<_>>();
        assert_eq!(flagged.len(), 1, "{text}");
        assert!(flagged[0].starts_with(first.name), "{text}");
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(brief(Duration::from_millis(4_230)), "4.2s");
        assert_eq!(brief(Duration::from_secs(187)), "3m07s");
    }
}
