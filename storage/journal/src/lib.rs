//! The node's write-ahead journal: one total order of opaque records, group commit, fdatasync.
#![forbid(unsafe_code)]

mod config;
pub mod device;
mod directory;
mod error;
mod format;
mod logic;
mod reader;
mod recovery;
mod segments;
mod stats;
mod thread;

use std::path::Path;

pub use config::{Config, ConfigError, Limits, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
pub use directory::{Directory, DirectorySource, FORMAT_VERSION, segment_name};
pub use error::{Damage, DeviceError, JournalError, OpenError, Operation, RecoveryError, Refused};
pub use format::{
    BATCH_HEADER_BYTES, BLOCK_BYTES, BatchHeader, Mark, RECORD_HEADER_BYTES, Record,
    RecoveredRecord, record_cost,
};
pub use logic::{Action, Done, Durable, Entry, Journal, Touch};
pub use reader::RecoveryReader;
pub use recovery::{ChainLink, Recovery, RecoveryReport, SegmentSource, SlotInfo, recover};
pub use segments::PREPARE_RETRY;
pub use stats::{SYNC_BUCKETS_US, Stats, StatsSnapshot};
pub use thread::{Batch, DurableSink, JournalHandle, JournalThread, Room};

/// A journal that was found, checked and is ready to be started.
#[derive(Debug)]
pub struct Opened {
    journal: Journal,
    directory: Directory,
    recovery: Recovery,
}

/// Opens the journal in `directory`, or makes one. `checkpoint` is the position up to which the
/// store has persisted (0 for nothing); what it covers may be trimmed at once.
///
/// # Errors
/// See [`OpenError`]; each says what to do.
pub fn open(directory: &Path, config: &Config, checkpoint: u64) -> Result<Opened, OpenError> {
    let limits = Limits::new(config)?;
    let directory = Directory::open(directory)?;
    let recovery = recover(&mut directory.source(), directory.journal_id(), checkpoint)?;
    let mut journal = Journal::new(limits, directory.journal_id(), &recovery, checkpoint);
    thread::prepare_first(&mut journal, &directory)?;
    Ok(Opened { journal, directory, recovery })
}

impl Opened {
    /// What was found.
    #[must_use]
    pub fn report(&self) -> &RecoveryReport {
        &self.recovery.report
    }

    /// The durable records above `position`, which is the checkpoint or a later one. To be read to
    /// the end before the journal is started and trimmed.
    #[must_use]
    pub fn records_after(&self, position: u64) -> RecoveryReader<DirectorySource> {
        let (source, id) = (self.directory.source(), self.directory.journal_id());
        RecoveryReader::new(source, id, &self.recovery, position)
    }

    /// The journal's limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        self.journal.limits()
    }
}
