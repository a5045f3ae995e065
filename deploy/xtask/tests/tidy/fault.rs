//! What a rule finds, and how a test reports it.

use std::fmt;

/// One place that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The file, from the root of the repository.
    pub(crate) path: String,
    /// The line, from 1; 0 where the file as a whole is at fault.
    pub(crate) line: usize,
    /// What is wrong and what to do.
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(out, "{}: {}", self.path, self.message),
            line => write!(out, "{}:{line}: {}", self.path, self.message),
        }
    }
}

/// Passes when there is no fault.
///
/// # Panics
/// With every fault on a line of its own.
#[track_caller]
pub(crate) fn refuse(faults: impl IntoIterator<Item = Fault>) {
    let lines = faults.into_iter().map(|fault| fault.to_string()).collect::<Vec<_>>();
    assert!(lines.is_empty(), "{} faults:\n{}", lines.len(), lines.join("\n"));
}

/// Passes when a sample was caught at exactly these lines.
///
/// # Panics
/// When the rule caught another set of lines.
#[track_caller]
pub(crate) fn bites(faults: impl IntoIterator<Item = Fault>, lines: &[usize]) {
    let faults = faults.into_iter().collect::<Vec<_>>();
    let caught = faults.iter().map(|fault| fault.line).collect::<Vec<_>>();
    assert_eq!(caught, lines, "{faults:?}");
}
