//! What is wrong with a configuration, in the words of the person who wrote it.

use std::fmt;
use std::path::PathBuf;

use ringpost_files::FileError;

use super::layers::Origin;

/// One key that cannot be taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The dotted key.
    pub key: String,
    /// The layer that set it.
    pub origin: Origin,
    /// What is wrong with it.
    pub mistake: Mistake,
}

/// What is wrong with a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mistake {
    /// Its value may not stand there.
    Value {
        /// What stands there.
        found: String,
        /// What may stand there.
        allowed: String,
    },
    /// There is no such key. What stands there is not repeated: it may be a secret.
    NoSuchKey {
        /// What to write in its place.
        hint: String,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, origin, mistake } = self;
        match mistake {
            Mistake::Value { found, allowed } => {
                write!(f, "{key} ({origin}): found {found}; allowed: {allowed}")
            }
            Mistake::NoSuchKey { hint } => write!(f, "{key} ({origin}): no such key; {hint}"),
        }
    }
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read, or others could change it.
    #[error("the configuration file: {0}")]
    File(FileError),
    /// The file is not TOML.
    #[error("{} is not valid TOML:\n{message}", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Line, column and reason.
        message: String,
    },
    /// Keys that do not exist, values that do not fit, combinations that make no sense; all of
    /// them.
    #[error("{} in the configuration:\n{}", count(.0.len()), lines(.0))]
    Invalid(Vec<Problem>),
}

fn count(problems: usize) -> String {
    if problems == 1 { "one mistake".to_owned() } else { format!("{problems} mistakes") }
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(|problem| format!("  {problem}")).collect();
    lines.join("\n")
}
