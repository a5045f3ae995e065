//! The domain: users, devices, queues, receipts. `handle(event, now) -> effects`.
//!
//! Owns what a message means: idempotency, order, queues, acks, cursors, displacement, rates.
//! Does not own sockets, disks, clocks or randomness: they arrive as events and leave as effects.
//! Invariant: durable state is the fold of records by [`changes`]; `handle` itself changes only
//! the bounded in-flight tables and the live sessions.
#![forbid(unsafe_code)]

pub mod change;
pub mod effect;
pub mod event;
pub mod image;
pub mod mail;
pub mod record;

pub use change::{Change, changes};
pub use effect::Effect;
pub use event::{Event, Now};
pub use record::{Head, Position, Record};
