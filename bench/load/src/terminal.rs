//! The one place that writes to the terminal: reports to standard output, the last word of a
//! failed run to standard error. A closed pipe is not an error of the run.

use std::io::Write;

/// What the program was asked for.
pub(crate) fn tell(text: &str) {
    let _ = write!(std::io::stdout().lock(), "{text}");
}

/// Why it failed.
pub(crate) fn complain(error: &anyhow::Error) {
    let _ = writeln!(std::io::stderr().lock(), "error: {error:#}");
}
