//! What every store must do, as checks that the tests of any engine run.
//!
//! The yardstick is [`Model`]: the same fold, change by change, on maps of typed keys, without
//! batches, coalescing, bytes or engines. [`World`] makes records from a seed. A check panics
//! with the seed when the store and the model differ.

mod accounts;
mod checks;
mod model;
mod world;

pub use accounts::{AccountSubject, check_accounts};
pub use checks::{assert_equal, check_all};
pub use model::Model;
pub use world::World;

use crate::batch::{Batch, BatchBuilder};
use crate::store::Store;
use ringpost_shard::record::{Position, SharedRecord};

/// A store under test, with the power to end it.
pub trait Subject {
    /// The store as it is open now.
    fn store(&self) -> &dyn Store;

    /// The process dies without notice, and the store is opened again: what was persisted is
    /// there, and of the rest any prefix, or nothing.
    fn crash(&mut self);

    /// The store is closed in order, after a persist, and opened again.
    fn restart(&mut self);
}

/// The records after `after`, as one batch.
pub fn batch_of(after: Position, records: &[SharedRecord]) -> Batch {
    let mut builder = BatchBuilder::new(after);
    for (position, record) in (after.0 + 1..).zip(records) {
        builder.push(Position(position), record);
    }
    builder.finish()
}
