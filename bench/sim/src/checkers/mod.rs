//! The checkers: each holds one promise against all that was seen from outside.
//!
//! They know facts and nothing of the code under test, each with a shadow model of its own.

mod acknowledged;
mod ahead;
mod content;
mod devices;
mod duplicates;
mod durability;
mod expiry;
mod gaps;
mod idempotency;
mod limits;
mod liveness;
mod numbering;
mod order;
mod pace;
mod privacy;
mod receipts;
mod turns;

pub(crate) use liveness::Liveness;

use crate::fact::Fact;

/// Watches one promise.
pub(crate) trait Checker {
    /// Its name in reports.
    fn name(&self) -> &'static str;

    /// Sees the next fact.
    ///
    /// # Errors
    /// Says how the promise was broken.
    fn see(&mut self, fact: &Fact) -> Result<(), String>;
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which checker saw it.
    pub checker: &'static str,
    /// What it saw.
    pub what: String,
}

/// All checkers but [`Liveness`], which the world also asks whether all has come to rest.
pub(crate) fn all() -> Vec<Box<dyn Checker>> {
    vec![
        Box::new(durability::Durability::default()),
        Box::new(privacy::Privacy::default()),
        Box::new(content::Content::default()),
        Box::new(numbering::Numbering::default()),
        Box::new(idempotency::Idempotency::default()),
        Box::new(duplicates::Duplicates::default()),
        Box::new(order::Order::default()),
        Box::new(receipts::Receipts::default()),
        Box::new(limits::Limits),
        Box::new(turns::Turns),
        Box::new(pace::Pace),
        Box::new(gaps::Gaps::default()),
        Box::new(expiry::Expiry),
        Box::new(ahead::Ahead::default()),
        Box::new(acknowledged::Acknowledged::default()),
        Box::new(devices::Devices::default()),
    ]
}
