//! The clocks: one that only goes on, and the wall's, which jumps.

use std::time::Duration;

use ringpost_shard::Clocks;

use crate::dice::Dice;

/// A wall clock to begin with, milliseconds since 1970.
const WALL_MS: i64 = 1_800_000_000_000;

/// How far the wall clock may be from the truth, each way: where it is right, it is followed through
/// small steps, and the others are further than anybody may believe at once. The last is longer
/// than anything waits.
const OFF_MS: [i64; 5] = [0, 600_000, 2 * 3_600_000, DAY_MS, 400 * DAY_MS];

const DAY_MS: i64 = 24 * 3_600 * 1_000;

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
    pub(crate) fn read(&self) -> Clocks {
        let wall = WALL_MS + self.since_start.as_millis() as i64 + self.off_ms;
        Clocks { mono: self.since_start, wall_ms: wall as u64 }
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

    /// The wall clock jumps; answers how far from the truth it is then, ms.
    pub(crate) fn jump(&mut self, dice: &mut Dice) -> i64 {
        let off_ms = dice.pick(&OFF_MS);
        self.off_ms = if dice.one_in(2) { off_ms } else { -off_ms };
        self.off_ms
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}
