//! How the process ends: a code for each kind of failure, so that scripts need not read text.

use std::fmt;
use std::process::ExitCode;

/// How a run ended, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// Messages were lost, duplicated or reordered, or a connection gave no sign of life.
    Faulty,
    /// A bound of the guard or of the soak is missed.
    Missed,
    /// The run is void for another reason: busy machine, late or slow generator.
    Void,
    /// All went well.
    Good,
}

/// For `--help`.
pub(crate) const HELP: &str = "Exit codes:
  0  all went well
  1  a server refused or went away, or this machine lacks something
  2  the command line is wrong
  3  messages were lost, duplicated or reordered
  4  a bound of the guard or of the soak is missed
  5  the run is void for another reason (busy machine, late or slow generator): its bytes and
     enters count, its times do not
  6  a server is not installed, or did not start";

/// Why nothing was measured, as the context of an error: there was no server.
#[derive(Debug)]
pub(crate) struct NotStarted(pub(crate) String);

impl fmt::Display for NotStarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} did not start", self.0)
    }
}

/// The code of a run that failed, for the shell.
pub(crate) fn code_of(error: &anyhow::Error) -> ExitCode {
    let not_started = error.downcast_ref::<NotStarted>().is_some();
    if not_started { ExitCode::from(6) } else { ExitCode::FAILURE }
}

impl Outcome {
    /// For the shell.
    pub(crate) fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Good => 0,
            Self::Faulty => 3,
            Self::Missed => 4,
            Self::Void => 5,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::process::ExitCode;

    use anyhow::{Context, anyhow};

    use super::{NotStarted, code_of};

    #[test]
    fn a_server_that_was_never_there_is_told_from_one_that_went_away() {
        let same = |error: anyhow::Error, code| {
            assert_eq!(format!("{:?}", code_of(&error)), format!("{:?}", ExitCode::from(code)));
        };
        let missing = Err::<(), _>(anyhow!("no such file")).context(NotStarted("nats".to_owned()));
        same(missing.context("round 1").expect_err("it failed"), 6);
        same(anyhow!("client 1 was closed"), 1);
    }
}
