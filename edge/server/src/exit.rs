//! Exit codes: what kind of failure ended a command, for scripts and service managers.
//!
//! The numbers are those of `sysexits.h`; 2 is clap's for a command line that it cannot read.

use std::process::ExitCode;

/// The kind of a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// 64: an argument that is well formed but cannot be used.
    Usage = 64,
    /// 69: a check that the command was asked for did not pass.
    Unavailable = 69,
    /// 70: a bug.
    Internal = 70,
    /// 71: the kernel or container refuses what the server needs.
    Host = 71,
    /// 73: the journal could no longer be written while the server ran. All that was acknowledged is
    /// kept; a start recovers it.
    JournalFailed = 73,
    /// 74: disk or data directory, at the start; while running, a store that is damaged.
    Storage = 74,
    /// 75: another server holds the data directory or the address; try later.
    Busy = 75,
    /// 78: the configuration.
    Config = 78,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[error("{error:#}")]
pub struct Failure {
    /// The kind, which is the exit code.
    pub kind: Kind,
    /// What happened, for people.
    pub error: anyhow::Error,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: Kind, error: impl Into<anyhow::Error>) -> Self {
        Self { kind, error: error.into() }
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.kind as u8)
    }
}

impl From<crate::config::ConfigError> for Failure {
    fn from(error: crate::config::ConfigError) -> Self {
        Self::new(Kind::Config, error)
    }
}

impl From<crate::config::LimitsError> for Failure {
    fn from(error: crate::config::LimitsError) -> Self {
        Self::new(Kind::Config, error)
    }
}

impl From<crate::data_dir::DataDirError> for Failure {
    fn from(error: crate::data_dir::DataDirError) -> Self {
        let kind = match error {
            crate::data_dir::DataDirError::Locked { .. } => Kind::Busy,
            _ => Kind::Storage,
        };
        Self::new(kind, error)
    }
}

impl From<crate::auth::KeyError> for Failure {
    fn from(error: crate::auth::KeyError) -> Self {
        Self::new(Kind::Storage, error)
    }
}

impl From<crate::auth::JwksError> for Failure {
    fn from(error: crate::auth::JwksError) -> Self {
        Self::new(Kind::Config, error)
    }
}
