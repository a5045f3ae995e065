//! The clocks: one that only goes on, and the wall's, which jumps.

use std::time::Duration;

use ringpost_shard::event::Now;

/// A wall clock to begin with, milliseconds since 1970.
const WALL_MS: i64 = 1_800_000_000_000;

/// How far the wall clock jumps: a day.
const JUMP_MS: i64 = 24 * 3_600 * 1_000;

/// Virtual time. It stands still unless it is told to pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    since_start: Duration,
    /// The wall's distance from what it would show without jumps.
    off_ms: i64,
}

impl Clock {
    /// Time begins at one second: zero stands for "not yet" in many places.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self { since_start: Duration::from_secs(1), off_ms: 0 }
    }

    /// Both clocks.
    #[must_use]
    pub(crate) fn now(&self) -> Now {
        let wall = WALL_MS + self.since_start.as_millis() as i64 + self.off_ms;
        Now { mono: self.since_start, wall_ms: wall as u64 }
    }

    /// Since the start of the world.
    #[must_use]
    pub(crate) fn mono(&self) -> Duration {
        self.since_start
    }

    /// Both clocks go on.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.since_start += time;
    }

    /// The wall clock jumps by a day; never further than one day from the truth, so that nothing
    /// that waits for thirty days expires.
    pub(crate) fn jump(&mut self, forward: bool) {
        let jump = if forward { JUMP_MS } else { -JUMP_MS };
        self.off_ms = (self.off_ms + jump).clamp(-JUMP_MS, JUMP_MS);
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}
