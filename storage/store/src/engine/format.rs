//! The format file of a store directory, and why a directory cannot be opened.
//!
//! `FORMAT` holds one line, `ringpost store N`. It is written last when a directory is made and
//! read first when it is opened, before the engine looks at a single file: so a newer format
//! is refused unharmed, and a directory that lost its engine's files is not taken for a new one,
//! which would silently forget what the journal no longer has.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ringpost_files::Rule;

use crate::layout::FORMAT_VERSION;

const FILE: &str = "FORMAT";
const LINE: &str = "ringpost store ";

/// Longest format file that is read, bytes: far more than a version needs, so that what stands there
/// instead is told as damage.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Why a store directory cannot be opened; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Written by a later release.
    #[error(
        "{path}: store format {found}, this build knows {FORMAT_VERSION}: it was written by a \
         newer ringpost; run that release, or restore a backup taken before the upgrade"
    )]
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Written by an earlier release whose format this build cannot migrate.
    #[error(
        "{path}: store format {found}, this build knows {FORMAT_VERSION} and has no migration \
         from it; run the release that wrote it and export, or start with an empty directory"
    )]
    Older {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Files are missing or broken.
    #[error("{path}: damaged store: {detail}; restore the data directory from a backup")]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// Another process has it open.
    #[error("{path}: another process has this store open; stop it first")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The file system takes no writes, or this user may not write.
    #[error("{path}: not writable ({detail}); remount it or give this user write permission")]
    ReadOnly {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        detail: String,
    },
    /// The disk is full.
    #[error("{path}: no space left; free some, nothing is lost")]
    NoSpace {
        /// The directory.
        path: PathBuf,
    },
    /// Memtables of the last run could not be flushed in time.
    #[error("{path}: the engine did not finish its recovery within {seconds} s; start again")]
    Stuck {
        /// The directory.
        path: PathBuf,
        /// How long was waited.
        seconds: u64,
    },
    /// Anything else that the operating system says.
    #[error("{path}: {error}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// The error.
        error: std::io::Error,
    },
}

impl OpenError {
    /// The variant that stands for an error of the operating system.
    pub(crate) fn io(path: &Path, error: std::io::Error) -> Self {
        let path = path.to_path_buf();
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::NoSpace { path },
            ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => {
                Self::ReadOnly { path, detail: error.to_string() }
            }
            ErrorKind::UnexpectedEof | ErrorKind::InvalidData | ErrorKind::NotFound => {
                Self::Damaged { path, detail: error.to_string() }
            }
            _ => Self::Io { path, error },
        }
    }

    /// Whether the same directory may be opened later without anybody having changed its files: the
    /// disk is full, read-only, or fails just now.
    pub const fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::NoSpace { .. }
                | Self::ReadOnly { .. }
                | Self::Io { .. }
                | Self::Stuck { .. }
                | Self::Locked { .. }
        )
    }

    pub(crate) fn damaged(path: &Path, detail: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_path_buf(), detail: detail.into() }
    }
}

/// The format of the store in `directory`, `None` if there is none yet.
pub(crate) fn read(directory: &Path) -> Result<Option<u32>, OpenError> {
    let path = directory.join(FILE);
    let bytes = match ringpost_files::read(&path, FILE_BYTES_MAX, Rule::Ours) {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(OpenError::io(&path, error.into())),
    };
    str::from_utf8(&bytes)
        .ok()
        .and_then(|text| text.trim_end().strip_prefix(LINE)?.parse().ok())
        .map(Some)
        .ok_or_else(|| OpenError::damaged(directory, "FORMAT names no version"))
}

/// Refuses every format but this build's.
pub(crate) fn check(directory: &Path, found: u32) -> Result<(), OpenError> {
    let path = directory.to_path_buf();
    match found.cmp(&FORMAT_VERSION) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(OpenError::Newer { path, found }),
        std::cmp::Ordering::Less => Err(OpenError::Older { path, found }),
    }
}

/// Says that `directory` is complete and of this build's format. Durable when it returns.
pub(crate) fn write(directory: &Path) -> Result<(), OpenError> {
    let line = format!("{LINE}{FORMAT_VERSION}\n");
    ringpost_files::replace(&directory.join(FILE), line.as_bytes())
        .map_err(|error| OpenError::io(directory, error.into()))
}
