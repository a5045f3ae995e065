//! Engines: ordered maps of bytes with atomic writes and consistent views, on which
//! [`crate::Tables`] and [`crate::accounts`] put the layout and the meaning.
//!
//! An engine knows nothing of rows. What it promises: a commit is all or nothing; a view never
//! changes; after a crash it holds a prefix of its commits that contains at least all that were
//! there at the last successful `persist`.

mod fjall;
mod format;
mod limits;
mod memory;
mod opening;
mod whole;
mod witness;

use std::ops::ControlFlow;

use bytes::Bytes;

pub use self::fjall::FjallEngine;
pub use format::OpenError;
pub use limits::{FILE_BYTES_MAX, FILES_MIN, FjallLimits};
pub use memory::MemoryEngine;

use crate::layout::Key;
use crate::store::{StoreError, StoreStats};

/// A key space: rows of one way of life, kept apart so that each is stored as suits it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Space {
    /// Bodies: written once, large, rising keys.
    Messages,
    /// Conversations, timelines, idempotency, cursors: small, kept.
    Index,
    /// The state that is loaded with a user: small, much of it short-lived.
    Users,
    /// Account data, outside the journal.
    Accounts,
}

impl Space {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Messages, Self::Index, Self::Users, Self::Accounts];

    /// Its name on disk.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Index => "index",
            Self::Users => "users",
            Self::Accounts => "accounts",
        }
    }
}

/// One write of a commit. A commit holds at most one per key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Write {
    /// The row is there with this value.
    Put(Space, Key, Bytes),
    /// The row is not there.
    Delete(Space, Key),
}

impl Write {
    /// The row that is written.
    pub fn place(&self) -> (Space, &[u8]) {
        match self {
            Self::Put(space, key, _) | Self::Delete(space, key) => (*space, key),
        }
    }
}

/// Which end of a range comes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// Rising keys.
    Rising,
    /// Falling keys.
    Falling,
}

/// Takes the rows of a scan, one by one; says when it has seen enough.
pub type Visit<'v> = &'v mut dyn FnMut(&[u8], &Bytes) -> Result<ControlFlow<()>, StoreError>;

/// One unchanging state of an engine.
pub trait View {
    /// The value at a key.
    ///
    /// # Errors
    /// If it cannot be read.
    fn read(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Shows the rows with `from <= key < to` to `visit`, until it breaks.
    ///
    /// # Errors
    /// If one cannot be read, or `visit` fails.
    fn scan(
        &self,
        space: Space,
        from: &[u8],
        to: &[u8],
        order: Order,
        visit: Visit<'_>,
    ) -> Result<(), StoreError>;
}

/// An ordered map of bytes per space.
pub trait Engine: Send + Sync + 'static {
    /// A view, as long as the engine is borrowed.
    type View<'e>: View
    where
        Self: 'e;

    /// The state as of now.
    fn view(&self) -> Self::View<'_>;

    /// Writes all or nothing. Visible at once; survives a crash after `persist`.
    ///
    /// # Errors
    /// If nothing was written.
    fn commit(&self, writes: Vec<Write>) -> Result<(), StoreError>;

    /// Makes everything committed survive loss of power.
    ///
    /// # Errors
    /// If the sync failed.
    fn persist(&self) -> Result<(), StoreError>;

    /// Whether it still takes writes, as far as it knows. Cheap.
    ///
    /// # Errors
    /// Why not.
    fn check(&self) -> Result<(), StoreError>;

    /// Opens it anew on what the disk has, for one that a failed write has stopped. Waits for who
    /// reads from it. What it holds then is as after a crash: a prefix of its commits with at least
    /// all that were there at the last successful `persist`.
    ///
    /// # Errors
    /// If it cannot be opened now; until it can, it may answer no reads.
    fn reopen(&self) -> Result<(), OpenError>;

    /// How often it was opened: what was remembered of its content is stale when this has risen.
    fn openings(&self) -> u64;

    /// Its numbers.
    fn stats(&self) -> StoreStats;
}
