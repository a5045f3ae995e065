//! The store: where records rest once the journal has made them durable.
//!
//! Owns the [`Store`] trait, the sans-IO [`Applier`] that folds records into batches, the byte
//! layout of every row, the embedded engine (fjall) and one in memory, the store threads, and
//! the account data that lives outside the journal. Does not own the journal, the meaning of
//! records (`ringpost_shard::changes` has it) or any socket.
//!
//! Invariants: the store is the fold of the records 1 to `applied`, and nothing else; it moves
//! from one such state to the next by one atomic write; what it has persisted is a prefix of
//! what it has applied, and only that prefix may be trimmed from the journal.
#![forbid(unsafe_code)]

pub mod accounts;
pub mod applier;
pub mod batch;
pub mod conformance;
pub mod engine;
pub mod layout;
pub mod rows;
pub mod store;
pub mod tables;
pub mod thread;
pub mod trace;

pub use applier::{Applier, ApplierLimits};
pub use batch::{Batch, BatchBuilder, Op, ReceiptStep};
pub use store::{Page, Store, StoreError, TimelinePage};
pub use tables::Tables;
pub use trace::{Named, Trace};
