//! The first stages of a message's way, sampled: how long received bytes wait behind others of
//! their batch, and how long it takes to decode and handle them.
//!
//! The turn's one time cannot tell them, and a clock that is read for each frame would cost more
//! than what it measures. So it is read twice for one receive in [`SAMPLED_ONE_IN`]; nothing is
//! decided by what it says.

use std::time::Duration;

use ringpost_ring::Completion;
use ringpost_shard::event::Now;

use super::Worker;

/// Of so many receives one is clocked.
pub const SAMPLED_ONE_IN: u32 = 64;

impl Worker {
    /// Takes one completion, as [`Worker::complete`] does, of a batch that began to be reported at
    /// `now`. `clock` tells the monotonic time.
    pub fn complete_clocked(
        &mut self,
        completion: Completion<'_>,
        now: Now,
        clock: impl Fn() -> Duration,
    ) {
        if !matches!(completion, Completion::Received { .. }) || !self.is_sampled() {
            return self.complete(completion, now);
        }
        let taken_at = clock();
        self.complete(completion, now);
        self.counters.receive.observe(taken_at.saturating_sub(now.mono));
        self.counters.decode.observe(clock().saturating_sub(taken_at));
    }

    fn is_sampled(&mut self) -> bool {
        self.receives = (self.receives + 1) % SAMPLED_ONE_IN;
        self.receives == 0
    }
}
