//! The domain: a node of shards, journal, store and clients, in the order that the input says.
//!
//! The world, its clients and its checks are those of the shard's own tests, which draw the order
//! from seeds.

use any_order::{Dice, run as run_world};

#[expect(dead_code, reason = "seeds are for the shard's own tests")]
#[path = "../../../core/shard/tests/behaviour/any_order.rs"]
mod any_order;
#[path = "../../../core/shard/tests/behaviour/client.rs"]
mod client;
#[expect(dead_code, reason = "the shard's own tests use the rest of their world")]
#[path = "../../../core/shard/tests/behaviour/world/mod.rs"]
mod world;

/// Bytes of the input that count: the checks at the end grow with what has happened.
const SCRIPT_BYTES_MAX: usize = 2048;

/// Each byte is a choice among what may happen next.
///
/// # Panics
/// Where a promise is broken.
pub fn run(input: &[u8]) {
    let script = &input[..input.len().min(SCRIPT_BYTES_MAX)];
    run_world(Dice::from_script(script), SCRIPT_BYTES_MAX);
}
