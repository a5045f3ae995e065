//! What can go wrong, by whose fault, and what to do about it.
//!
//! - [`Refused`]: overload; expected, counted, told to the client.
//! - [`DeviceError`]: the environment; what was done to which file, and the errno with advice.
//! - [`OpenError`], [`Damage`]: the journal found at boot cannot be used as it is.
//! - [`JournalError`]: the journal ended while it ran.
//!
//! Bugs are assertions, not errors.

use std::{fmt, io, path::PathBuf};

use thiserror::Error;

use crate::config::ConfigError;

/// Why a record was not taken. Nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum Refused {
    /// The disk budget is used up by records that the store has not persisted yet.
    #[error("the journal's disk budget is used up")]
    DiskBudget,
    /// The file system has no room for another segment, though the budget would allow it.
    #[error("the journal cannot get another segment from the file system")]
    DiskFull,
    /// Segments are written faster than new ones can be prepared.
    #[error("the journal is waiting for a segment to be prepared")]
    SegmentPending,
    /// As much is in flight as may be: the disk is slower than the load.
    #[error("too much is on its way to the journal")]
    InFlight,
    /// The record is larger than `record_bytes_max`. Repeating does not help.
    #[error("the record is too large for the journal")]
    RecordTooLarge,
    /// The journal has ended after a failed write or fdatasync. Restart the node.
    #[error("the journal has failed")]
    Failed,
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
}

impl Refused {
    /// Every reason, in the order of [`Refused::index`]: a closed set of metric labels.
    pub const ALL: [Refused; 7] = [
        Refused::DiskBudget,
        Refused::DiskFull,
        Refused::SegmentPending,
        Refused::InFlight,
        Refused::RecordTooLarge,
        Refused::Failed,
        Refused::Closed,
    ];

    /// Index into [`Refused::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// Metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Refused::DiskBudget => "disk_budget",
            Refused::DiskFull => "disk_full",
            Refused::SegmentPending => "segment_pending",
            Refused::InFlight => "in_flight",
            Refused::RecordTooLarge => "record_too_large",
            Refused::Failed => "failed",
            Refused::Closed => "closed",
        }
    }
}

/// What was being done when a device failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Listing or creating the directory.
    Directory,
    /// Opening a file.
    Open,
    /// Reading.
    Read,
    /// Writing a batch.
    Write,
    /// fdatasync or fsync.
    Sync,
    /// Prewriting a segment.
    Prepare,
    /// Deleting a surplus segment.
    Remove,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::Directory => "directory access",
            Operation::Open => "open",
            Operation::Read => "read",
            Operation::Write => "write",
            Operation::Sync => "fdatasync",
            Operation::Prepare => "preparing a segment",
            Operation::Remove => "remove",
        })
    }
}

/// An operation that the operating system refused.
#[derive(Debug, Error)]
#[error("{operation} failed on {}: {error}{}", path.display(), advice(error))]
pub struct DeviceError {
    /// What was tried.
    pub operation: Operation,
    /// The file or directory.
    pub path: PathBuf,
    /// What the operating system said.
    pub error: io::Error,
}

impl DeviceError {
    /// Wraps what the operating system said.
    #[must_use]
    pub fn new(operation: Operation, path: impl Into<PathBuf>, error: io::Error) -> Self {
        Self { operation, path: path.into(), error }
    }

    /// Whether the file system or a quota is full: trimming or freeing space helps.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(
            self.error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        )
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            " (free space on this file system or lower journal.disk_budget_bytes)"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            " (the file system is read-only: look at the kernel log for the cause, remount it \
             read-write, or choose another data directory)"
        }
        io::ErrorKind::PermissionDenied => {
            " (give the user that runs the server read and write access to the directory and its \
             files)"
        }
        _ => "",
    }
}

/// Durable records that can no longer be read. Never reported for a torn tail.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "journal damaged: {segment} (generation {generation}) at byte {offset}: {what}. Acknowledged \
     records from position {position} on cannot be read. Stop here, keep a copy of the directory, \
     and restore it from a backup or replace the disk"
)]
pub struct Damage {
    /// File name of the segment.
    pub segment: String,
    /// Slot of the segment.
    pub slot: u32,
    /// Its generation, as far as it is known.
    pub generation: u64,
    /// Offset of the batch or record.
    pub offset: u64,
    /// First position that is lost.
    pub position: u64,
    /// What was found, in words.
    pub what: String,
}

/// Why recovery stopped.
#[derive(Debug, Error)]
pub enum RecoveryError {
    /// Durable records cannot be read.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// A file could not be read or synced.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The store is behind what the journal still has.
    #[error(
        "the journal starts at position {oldest}, but the store has only applied up to {checkpoint}: \
         records in between are gone. The store was probably restored from an older backup: restore \
         journal and store of the same moment together"
    )]
    CheckpointBehind {
        /// Position up to which the store has persisted.
        checkpoint: u64,
        /// First position in the journal.
        oldest: u64,
    },
    /// The store has applied records that the journal never held.
    #[error(
        "the store has applied records up to position {checkpoint}, but the journal ends at {last}: \
         the journal was replaced, emptied or restored from an older backup. Restore journal and \
         store of the same moment together"
    )]
    CheckpointAhead {
        /// Position up to which the store has persisted.
        checkpoint: u64,
        /// Last position in the journal.
        last: u64,
    },
}

/// Why a journal could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// A setting cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The directory or a file in it could not be used.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The directory was written by a newer version.
    #[error(
        "{} has journal format {found}, this version reads format {known}: run the version that \
         wrote it, or a newer one", path.display()
    )]
    NewerFormat {
        /// The format file.
        path: PathBuf,
        /// Version found.
        found: u32,
        /// Version that this code reads and writes.
        known: u32,
    },
    /// The format file says something else, or is missing beside segments.
    #[error(
        "{} is not a readable journal format file ({found}): if the directory is a journal, restore \
         this file from a backup; if it is not, choose another directory", path.display()
    )]
    UnknownFormat {
        /// The format file.
        path: PathBuf,
        /// What was found there, in words.
        found: String,
    },
    /// What was found in the segments cannot be used.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
}

/// Why a running journal ended. Nothing is acknowledged after it.
#[derive(Debug, Error)]
#[error(
    "the journal has ended, nothing is acknowledged any more; records above position {durable} are \
     of unknown outcome until the node is restarted: {cause}"
)]
pub struct JournalError {
    /// Last durable position.
    pub durable: u64,
    /// What failed.
    pub cause: DeviceError,
}
