//! What a shard does, seen from outside: one file per behaviour, all in the same small world.

mod any_order;
mod client;
mod clock;
mod devices;
mod ephemeral;
mod first_message;
mod gaps;
mod idempotency;
mod inspect;
mod leaving;
mod limits;
mod queue_limits;
mod random_world;
mod receipts;
mod refusals;
mod residence;
mod sign_in;
mod slow_reader;
mod world;
