//! The clocks of a node: what they show, and what is made of it.
//!
//! Workers read [`MachineClock`] in their drivers, each with a trust of its own; all other threads
//! take the date from the one [`NodeClock`]. Only what is no server (a command) asks the wall clock
//! itself.

mod agreed;
mod node;
mod watch;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ringpost_shard::Clocks;

pub use self::node::NodeClock;
pub use self::watch::start;

/// The wall clock, unjudged: milliseconds since 1970; 0 on a clock that stands before that.
pub fn wall_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis().try_into().unwrap_or(u64::MAX))
}

/// The clocks of the machine: one start for all threads of a node, so that times can be compared.
#[derive(Clone, Copy, Debug)]
pub struct MachineClock {
    start: Instant,
}

impl MachineClock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Both clocks. Monotonic time is never zero, which stands for "not yet" in many places.
    pub fn read(self) -> Clocks {
        Clocks { mono: self.start.elapsed() + Duration::from_secs(1), wall_ms: wall_ms() }
    }
}
