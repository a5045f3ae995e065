//! Backups of a running server, and data directories made of them.
//!
//! ```text
//!  ringpost backup FILE ──GET /admin/backup──> fence: the store has all that is durable now
//!        FILE  <── archive: rows of one view of the store, keys, records set aside ──'
//!  ringpost restore FILE ──> DIR.restoring: store, keys, journal that begins behind the view ──> DIR
//! ```
//! Everything that was `sent` before the backup was asked for is in it. The journal is not: the rows
//! are one state of the store up to a position, and the journal of what is restored begins behind it.
//! Owns the archive ([`archive`]), its making ([`take`]), its way to a file ([`fetch`]) and back
//! ([`restore`]). It holds the secrets of the server: a backup is guarded as the directory is.

pub mod archive;
pub mod fetch;
pub mod restore;
pub mod take;

/// Files that go along, by their names in the data directory, and the largest content of one.
pub const FILES: [&str; 4] = ["accounts.key", "keys/token.pk8", "keys/ticket.key", "clock"];

/// The folder of records that were set aside, which go along as well.
pub const SET_ASIDE: &str = "set-aside";

/// Largest file that goes along, bytes: a record that was set aside, or the list of crashes.
pub const FILE_BYTES_MAX: u64 = 16 << 20;
