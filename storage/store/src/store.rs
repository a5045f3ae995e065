//! The trait that every tier's store answers to, and its errors.
//!
//! The API blocks: its callers are the store threads and REST's blocking pool, never a worker.

use ringpost_shard::image::{Accepted, MessageRow, Received, UserImage};
use ringpost_shard::record::Position;
use ringpost_wire::event::Status;
use ringpost_wire::{DeviceId, MessageId, ServerId, UserId};

use crate::batch::Batch;
use crate::engine::OpenError;
use crate::trace::{Named, Trace};

/// Most rows that one page of history or of a timeline holds; a larger limit is cut to this.
pub const PAGE_ROWS_MAX: usize = 200;

/// Most index rows that one timeline page looks at: a page filtered by a peer who is rare in the
/// timeline comes back short, with `has_more`, instead of reading the whole timeline.
pub const TIMELINE_SCAN_MAX: usize = 4_096;

/// A store of the durable state.
///
/// One thread applies (calls are serialised by the store itself); any number reads. Each read
/// sees one state: the fold of all records up to some position, at least `applied` as it was
/// when the read began.
pub trait Store: Send + Sync {
    /// Applies a batch by one atomic write: all of it or nothing, together with the position and
    /// the highest stamp that it brings. A batch that was applied before is skipped. Visible to
    /// reads at once, kept over a crash only after [`Store::persist`].
    ///
    /// # Errors
    /// If the batch does not follow what was applied, or the write failed. After an error that
    /// is not [`StoreError::is_retryable`] the store takes no more writes.
    fn apply(&self, batch: &Batch) -> Result<(), StoreError>;

    /// Makes all that is applied survive loss of power; returns how far that is.
    ///
    /// # Errors
    /// If the sync failed; then nothing more was persisted.
    fn persist(&self) -> Result<Position, StoreError>;

    /// Whether it still takes writes, as far as it knows: a thread of its own may have failed, or
    /// another that writes to the same engine. Cheap.
    ///
    /// # Errors
    /// Why not.
    fn check(&self) -> Result<(), StoreError>;

    /// Goes on after a failed write, on what the disk has; returns how far that is: no less than what
    /// was persisted, and maybe less than what was applied. The records behind it are to be applied
    /// again: until they are, reads fail, because they must not show less than they did.
    ///
    /// # Errors
    /// See [`ReopenError`].
    fn reopen(&self) -> Result<Position, ReopenError>;

    /// The last record in the store.
    fn applied(&self) -> Position;

    /// The last record that survives a crash: the journal may be trimmed up to here.
    fn persisted(&self) -> Position;

    /// The highest server id in any applied message.
    fn highest_stamp(&self) -> ServerId;

    /// A user's whole state as of `UserImage::applied`; `None` if there is no such user.
    ///
    /// # Errors
    /// If a row cannot be read.
    fn user(&self, user: UserId) -> Result<Option<UserImage>, StoreError>;

    /// What was accepted from a device under a client's id.
    ///
    /// # Errors
    /// If a row cannot be read.
    fn accepted(
        &self,
        user: UserId,
        device: DeviceId,
        message_id: MessageId,
    ) -> Result<Option<Accepted>, StoreError>;

    /// The messages accepted under the client's id `message_id`, of whichever device (ids are
    /// unique per device alone), of this sender or of all. `limit` is cut to
    /// 1..=[`PAGE_ROWS_MAX`].
    ///
    /// # Errors
    /// If a row cannot be read.
    fn named(
        &self,
        message_id: MessageId,
        sender: Option<UserId>,
        limit: usize,
    ) -> Result<Named, StoreError>;

    /// Where a message stands: its queues, cursors and receipts; `None` if there is no such
    /// message. A bounded number of rows: a few for each device that the message names.
    ///
    /// # Errors
    /// If a row cannot be read.
    fn trace(&self, id: ServerId) -> Result<Option<Trace>, StoreError>;

    /// Message rows in the order asked for, `None` where there is none.
    ///
    /// # Errors
    /// If a row cannot be read.
    fn messages(&self, ids: &[ServerId]) -> Result<Vec<Option<MessageRow>>, StoreError>;

    /// A message, and how far its recipient has read its sender's messages; `None` if there is no
    /// such message.
    ///
    /// # Errors
    /// If a row cannot be read.
    fn received(&self, id: ServerId) -> Result<Option<Received>, StoreError>;

    /// The conversation of `user` and `peer`, newest first, before the id `before` (exclusive;
    /// `None`: from the newest). `limit` is cut to 1..=[`PAGE_ROWS_MAX`].
    ///
    /// # Errors
    /// If a row cannot be read.
    fn history(
        &self,
        user: UserId,
        peer: UserId,
        before: Option<ServerId>,
        limit: usize,
    ) -> Result<Page, StoreError>;

    /// What `user` sent and was sent after the position `after`, in the journal's order; with
    /// `peer`, only the conversation with that peer. `limit` is cut to 1..=[`PAGE_ROWS_MAX`].
    /// Looks at no more than [`TIMELINE_SCAN_MAX`] rows.
    ///
    /// # Errors
    /// If a row cannot be read.
    fn timeline(
        &self,
        user: UserId,
        after: Position,
        peer: Option<UserId>,
        limit: usize,
    ) -> Result<TimelinePage, StoreError>;

    /// The cursor of the direction `sender` to `reader`: the last message delivered or read.
    ///
    /// # Errors
    /// If a row cannot be read.
    fn cursor(
        &self,
        reader: UserId,
        sender: UserId,
        status: Status,
    ) -> Result<Option<ServerId>, StoreError>;

    /// What the store says of itself, for metrics.
    fn stats(&self) -> StoreStats;
}

/// A page of a conversation.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Page {
    /// The rows, newest first.
    pub rows: Vec<MessageRow>,
    /// Older rows follow.
    pub has_more: bool,
}

/// A page of a user's timeline.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct TimelinePage {
    /// The rows, in the journal's order. May be empty although `has_more`.
    pub rows: Vec<MessageRow>,
    /// The next page starts after here. At the end of the timeline this is the position up to
    /// which the store had applied, so that no late record can fall behind it.
    pub next: Position,
    /// Later rows follow, or may follow.
    pub has_more: bool,
}

/// Numbers of a store, for metrics; what an engine does not have is 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StoreStats {
    /// Files of the engine's own write-ahead log. Rises without end if a keyspace pins them.
    pub journal_count: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Bytes of written rows that are still in memory, as the engine counts them.
    pub write_buffer_bytes: u64,
    /// Bytes of blocks read and kept.
    pub cache_bytes: u64,
    /// Bytes of indexes and filters of files, which stay in memory beside the cache.
    pub index_bytes: u64,
    /// Commits that had to wait for write buffers to be flushed.
    pub commits_held: u64,
    /// Memtables that wait to be flushed.
    pub flushes_outstanding: u64,
    /// Compactions that run now.
    pub compactions_active: u64,
}

/// Why the store could not do what was asked.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StoreError {
    /// The batch does not start where the store ends.
    #[error("batch starts after position {after}, the store has applied {applied}")]
    OutOfOrder {
        /// What the store has applied.
        applied: u64,
        /// What the batch follows.
        after: u64,
    },
    /// A row is there and cannot be read.
    #[error("damaged row in {table}: {detail}; restore the data directory from a backup")]
    Damaged {
        /// Which table of [`crate::layout`].
        table: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// The disk is full.
    #[error("no space left for the store; free some, nothing is lost")]
    NoSpace,
    /// The disk takes no writes.
    #[error("the store's file system is read-only; remount it")]
    ReadOnly,
    /// A write failed earlier, and the engine takes no more until it is opened again.
    #[error("the store has stopped after a failed write")]
    Stopped,
    /// The store was opened again and shows less than before: the journal brings it up.
    #[error("the store catches up with the journal")]
    CatchingUp,
    /// The memory engine was told to fail.
    #[error("the store is down for now")]
    Down,
    /// Anything else that the operating system says.
    #[error("store i/o ({kind:?}): {detail}")]
    Io {
        /// The kind of error.
        kind: std::io::ErrorKind,
        /// Its text.
        detail: String,
    },
}

impl StoreError {
    /// Whether the same call may succeed later in this process.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Down)
    }

    /// Whether it is one of many that an outage answers with: that is told once, by who ends it, and
    /// not with each read.
    pub const fn is_outage(&self) -> bool {
        matches!(
            self,
            Self::NoSpace | Self::ReadOnly | Self::Stopped | Self::CatchingUp | Self::Down
        )
    }

    /// Whether [`Store::reopen`] may mend it: the disk refused a write, and may take it later.
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::NoSpace | Self::ReadOnly | Self::Stopped | Self::Io { .. })
    }
}

/// Why the store does not go on.
#[derive(Debug, thiserror::Error)]
pub enum ReopenError {
    /// The engine cannot be opened.
    #[error(transparent)]
    Engine(#[from] OpenError),
    /// It was opened, and fails again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What it has is less than what it had called persisted, and the journal may have been trimmed.
    #[error(
        "the store has lost records that it had persisted ({found} of {persisted}): its disk does \
         not keep what it was asked to flush; restore the data directory from a backup"
    )]
    Lost {
        /// The last record that it has.
        found: u64,
        /// The last that it had persisted.
        persisted: u64,
    },
}

impl ReopenError {
    /// Whether it may succeed later.
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::Engine(error) => error.may_pass(),
            Self::Store(error) => error.may_pass() || error.is_retryable(),
            Self::Lost { .. } => false,
        }
    }
}

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::NoSpace,
            std::io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            kind => Self::Io { kind, detail: error.to_string() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operator_can_mend_has_an_error_of_its_own() {
        let error = |errno| StoreError::from(std::io::Error::from_raw_os_error(errno));
        assert_eq!(error(28), StoreError::NoSpace);
        assert_eq!(error(122), StoreError::NoSpace, "a quota is a full disk too");
        assert_eq!(error(30), StoreError::ReadOnly);
        assert!(matches!(error(5), StoreError::Io { .. }));
        assert!(!error(28).is_retryable(), "the engine has stopped: only a restart recovers");
    }
}
