//! One step of a task: its name, what it runs, and how long it may take.
//!
//! A step fails by what it runs, never by its time: a budget that is exceeded is shown, because
//! a slow machine is no fault of a change, while a gate that creeps is seen from the table.

use std::fmt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};

/// One step, as it stands in a table.
pub(crate) struct Step {
    /// The word that selects it on the command line.
    pub(crate) name: &'static str,
    /// One line for a reader of the list: what a failure would mean.
    pub(crate) defends: &'static str,
    /// What is run.
    pub(crate) action: Action,
    /// How long it may take on two cores, from nothing, in seconds.
    pub(crate) budget_s: u64,
}

/// What a step runs.
pub(crate) enum Action {
    /// Cargo, with these words behind it and these variables in its environment.
    Cargo { words: &'static [&'static str], environment: &'static [(&'static str, &'static str)] },
    /// A function of this crate; the words say what it does.
    Task { words: &'static str, run: fn(&Path) -> anyhow::Result<()> },
    /// The same, and it cannot be run on every machine.
    MachineTask { words: &'static str, run: fn(&Path) -> anyhow::Result<Verdict> },
}

/// What has come of a step that did not fail.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// It was run.
    Passed,
    /// It was not run, for this reason.
    Skipped(String),
}

impl Step {
    /// The budget as a duration.
    pub(crate) fn budget(&self) -> Duration {
        Duration::from_secs(self.budget_s)
    }

    /// Runs the step in `repository`; what it prints goes straight to the terminal.
    ///
    /// # Errors
    /// When the command cannot be started or ends with a failure, and when the task fails.
    pub(crate) fn run(&self, repository: &Path) -> anyhow::Result<Verdict> {
        match self.action {
            Action::Cargo { words, environment } => {
                // Cargo names itself to what it runs: the pinned toolchain's, not the first of PATH.
                let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
                let status = Command::new(cargo)
                    .args(words)
                    .envs(environment.iter().copied())
                    .current_dir(repository)
                    .status()
                    .with_context(|| format!("cannot start `{}`", self.action))?;
                ensure!(status.success(), "`{}` ended with {status}", self.action);
                Ok(Verdict::Passed)
            }
            Action::Task { run, .. } => run(repository).map(|()| Verdict::Passed),
            Action::MachineTask { run, .. } => run(repository),
        }
    }
}

/// The command as one would type it.
impl fmt::Display for Action {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cargo { words, environment } => {
                for (name, value) in *environment {
                    write!(out, "{name}=\"{value}\" ")?;
                }
                out.write_str("cargo")?;
                for word in *words {
                    // The shell would take a bare star for file names.
                    let quote = if word.contains('*') { "'" } else { "" };
                    write!(out, " {quote}{word}{quote}")?;
                }
                Ok(())
            }
            Self::Task { words, .. } | Self::MachineTask { words, .. } => out.write_str(words),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Action, Step};

    fn step(words: &'static [&'static str]) -> Step {
        let action = Action::Cargo { words, environment: &[("RUSTFLAGS", "--cfg loom")] };
        Step { name: "sample", defends: "nothing", action, budget_s: 1 }
    }

    #[test]
    fn a_command_reads_as_one_would_type_it() {
        assert_eq!(
            step(&["test", "--release", "--test", "*"]).action.to_string(),
            "RUSTFLAGS=\"--cfg loom\" cargo test --release --test '*'"
        );
    }

    #[test]
    fn a_command_that_fails_fails_the_step_and_is_named() {
        let failure = step(&["no-such-command"])
            .run(Path::new(env!("CARGO_MANIFEST_DIR")))
            .expect_err("cargo has no such command");
        assert!(failure.to_string().contains("cargo no-such-command"), "{failure}");
    }

    #[test]
    fn a_command_that_succeeds_passes() {
        step(&["--version"])
            .run(Path::new(env!("CARGO_MANIFEST_DIR")))
            .expect("cargo tells its version");
    }
}
