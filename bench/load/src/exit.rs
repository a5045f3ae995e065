//! How the process ends: a code for each kind of failure, so that scripts need not read text.

use std::process::ExitCode;

/// How a run ended, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// Messages were lost, duplicated or reordered, or a connection gave no sign of life.
    Faulty,
    /// A bound of the guard is missed.
    Missed,
    /// The run is void for another reason: busy machine, late or slow generator.
    Void,
    /// All went well.
    Good,
}

/// For `--help`.
pub(crate) const HELP: &str = "Exit codes:
  0  all went well
  1  a server did not start, refused, or went away
  2  the command line is wrong
  3  messages were lost, duplicated or reordered
  4  a bound of the guard is missed
  5  the run is void for another reason (busy machine, late or slow generator): its bytes and
     enters count, its times do not";

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
