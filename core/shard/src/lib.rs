//! The domain: users, devices, queues, receipts. `handle(event, now) -> effects`.
//!
//! Owns what a message means: idempotency, order, queues, acks, cursors, displacement, rates.
//! Does not own sockets, disks, clocks or randomness: they arrive as events and leave as effects.
//! Invariant: durable state is the fold of records by [`changes`]; `handle` itself changes only
//! the bounded in-flight tables and the live sessions.
#![forbid(unsafe_code)]

pub mod at_hand;
pub mod bound;
pub mod change;
pub mod clock_trust;
pub mod counters;
pub mod digest;
pub mod durations;
pub mod effect;
pub mod event;
pub mod home;
pub mod image;
pub mod inspect;
pub mod limits;
pub mod mail;
pub mod record;
pub mod shard;
pub mod stamp;

mod acking;
mod away;
mod budget;
mod conversation;
mod cursors;
mod devices;
mod drained;
mod durable;
mod entering;
mod ephemeral;
mod gaps;
mod idempotency;
mod leaving;
mod live;
mod loading;
mod pushing;
mod queue;
mod rate;
mod reading;
mod recent;
mod refusal;
mod retry;
mod revocation;
mod sending;
mod session;
mod shares;
mod sign_in;
mod turn;
mod unknown;
mod user;
mod users;

pub use bound::{Bound, Overload, Shortage};
pub use change::{Change, changes};
pub use clock_trust::{ClockTrust, Clocks};
pub use counters::{Counters, Gauges};
pub use durations::Durations;
pub use effect::Effect;
pub use ephemeral::Relay;
pub use event::{Event, Now};
pub use home::Homes;
pub use limits::{Provision, Rate, ShardConfig, ShardLimits};
pub use record::{Head, Position, Record};
pub use shard::{Shard, SignedIn};
