//! The node's write-ahead journal: one total order of opaque records, group commit, fdatasync.
//!
//! It owns the files of one directory and the thread that writes them. It does not know what a
//! record means, who must hear of it, or what the store has persisted: it is told (`trim`), and it
//! tells ([`DurableSink`]).
//!
//! ```text
//!            config   error   format
//!                \      |      /
//!        segments -- logic -- recovery -- reader       sans-IO: no clock, thread or file
//!  ------------------- | --------- | ---------
//!        thread (gate, driver, preparer)   directory, inspect
//!                      |
//!               device (file | glommio)
//! ```
//!
//! What it promises, and where each promise is kept:
//! - A record handed to the sink survives `kill -9` and loss of power; everything before it too.
//!   Positions count records from 1, without a gap, for the life of the journal (`logic`).
//! - After a failed write or fdatasync nothing is acknowledged any more (`logic`).
//! - After any stop, recovery yields exactly the durable records, or an error that names what is
//!   damaged; a write that was cut short is neither replayed nor called damage (`recovery`).
//! - Disk, memory and queue are bounded; what is refused is refused before anything has changed,
//!   with a reason and a counter (`config`, `segments`, `thread::gate`).
//!
//! A node's life with it:
//! ```
//! use ringpost_journal::{Batch, Config, DurableSink, JournalError, JournalThread, Record, Touch};
//! # struct Homes;
//! # impl DurableSink for Homes {
//! #     fn durable(&mut self, _: u64, _: Record, _: Touch) {}
//! #     fn batch_end(&mut self) {}
//! #     fn room_changed(&mut self, _: Option<&str>) {}
//! #     fn failed(&mut self, _: &JournalError) {}
//! # }
//! # let directory = tempfile::tempdir()?;
//! # let config = Config { segment_bytes: 4 << 20, ..Config::default() };
//! let checkpoint = 0; // from the store
//! let opened = ringpost_journal::open(directory.path(), &config, checkpoint)?;
//! for record in opened.records_after(checkpoint) {
//!     record?; // apply it
//! }
//! let kind = ringpost_journal::device::DeviceKind::File; // or what `device::probe` has chosen
//! let journal = JournalThread::start(opened, kind, Homes)?;
//! let handle = journal.handle(); // one for each worker
//! let mut batch = Batch::new(handle.try_reserve(1, 9)?);
//! batch.push(Record { head: "head".into(), body: "body".into() }, 0b01)?;
//! handle.submit(batch)?;
//! journal.stop()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod config;
pub mod device;
mod directory;
mod error;
mod format;
mod inspect;
mod logic;
mod pace;
mod reader;
mod recovery;
mod segments;
mod stats;
mod thread;

use std::path::Path;

pub use config::{
    Config, ConfigError, GATHER_CEILING, Limits, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN,
};
pub use directory::{Directory, DirectorySource, FORMAT_VERSION, segment_name};
pub use error::{Damage, DeviceError, JournalError, OpenError, Operation, RecoveryError, Refused};
pub use format::{
    BATCH_HEADER_BYTES, BLOCK_BYTES, BatchHeader, Mark, RECORD_HEADER_BYTES, Record,
    RecoveredRecord, record_cost,
};
pub use inspect::{Inspection, SegmentListing, SegmentRole, inspect};
pub use logic::{Action, Done, Durable, Entry, Journal, Touch};
pub use reader::RecordReader;
pub use recovery::{
    ChainLink, Recovery, RecoveryReport, SegmentSource, SlotInfo, recover, recover_behind,
};
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
    let (id, base) = (directory.journal_id(), directory.base());
    let recovery = recover_behind(&mut directory.source(), id, base, checkpoint)?;
    let mut journal = Journal::new(limits, id, &recovery, checkpoint);
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
    pub fn records_after(&self, position: u64) -> RecordReader<DirectorySource> {
        let (source, id) = (self.directory.source(), self.directory.journal_id());
        RecordReader::new(source, id, &self.recovery.chain, position)
    }

    /// The journal's limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        self.journal.limits()
    }
}
