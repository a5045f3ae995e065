//! Whether the wall clock is to be believed, and what time it is while it is not.
//!
//! ```text
//!               more than an hour off            a day without a jump,
//!               the last agreed moment           or an operator's word
//!   agreed ──────────────────────────> in doubt ──────────────────────> agreed
//!     ^                                  │   ^ │
//!     └── within the hour again ─────────┘   └─┘ jumps again: the day begins anew
//! ```
//! Owns the last agreed moment: a reading of both clocks that was believed. From it the monotonic
//! clock says what the wall clock should show. While that differs by more than
//! [`DISAGREEMENT_MAX_MS`], what happens is dated by the monotonic clock, and what waits for a time
//! of day does not expire. What steps at once and less than that is followed.
//!
//! At boot there is no monotonic clock to go by. The last agreed moment is then one of the life
//! before, written down by whoever owns this, and only says how late it is at least: a server that
//! was off for two hours is in doubt for a day, and dates by its wall clock where that is later.
//! What was dated in doubt never becomes an agreed moment by a restart.
//!
//! Pure: knows no clock but what it is shown. Everything that dates or expires takes a [`Now`], and
//! only this makes one of what a machine's clocks show. Does not own ids, which rise by themselves.

use std::time::Duration;

use crate::event::Now;

/// How far the wall clock may be from where the monotonic clock says it should be, ms.
pub const DISAGREEMENT_MAX_MS: u64 = 3_600_000;

/// How long the two clocks must go alike before a wall clock that had jumped is believed.
pub const AGREEMENT: Duration = Duration::from_secs(24 * 3600);

/// What a machine's two clocks show.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Clocks {
    /// Monotonic, since an arbitrary start; never goes back.
    pub mono: Duration,
    /// The wall clock, milliseconds since 1970. May jump.
    pub wall_ms: u64,
}

/// How the wall clock has kept its word. Whoever reads clocks for itself (a worker, the private
/// port) has one.
#[derive(Clone, Debug)]
pub struct ClockTrust {
    /// The last agreed moment of the life before, 0 if there was none.
    before_ms: u64,
    /// The last agreed moment. At boot: that of the life before, as if it were the first reading.
    agreed: Option<Clocks>,
    /// It is from before the node started: how late it is at least.
    is_least: bool,
    /// Since when a wall clock in doubt has gone alike with the monotonic one.
    doubted: Option<Clocks>,
    /// See [`Self::ahead_ms`].
    ahead_ms: i64,
}

impl Clocks {
    /// What the wall clock shows at `mono` if it goes like the monotonic one.
    fn carried_to(self, mono: Duration) -> u64 {
        let passed = mono.saturating_sub(self.mono).as_millis();
        self.wall_ms.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    fn agrees_with(self, later: Self) -> bool {
        self.carried_to(later.mono).abs_diff(later.wall_ms) <= DISAGREEMENT_MAX_MS
    }
}

impl ClockTrust {
    /// A node starts that had an agreed moment at `agreed_ms`; 0: it never had one, and nothing
    /// that could expire, so that its first reading is believed.
    pub const fn new(agreed_ms: u64) -> Self {
        Self { before_ms: agreed_ms, agreed: None, is_least: true, doubted: None, ahead_ms: 0 }
    }

    /// What is to be made of what the clocks show.
    pub fn read(&mut self, clocks: Clocks) -> Now {
        let agreed = *self.agreed.get_or_insert(match self.before_ms {
            0 => clocks,
            before_ms => Clocks { wall_ms: before_ms, ..clocks },
        });
        let Clocks { mono, wall_ms } = clocks;
        let carried_ms = agreed.carried_to(mono);
        self.ahead_ms = difference(wall_ms, carried_ms);
        if agreed.agrees_with(clocks) || self.has_agreed_long_enough(clocks) {
            let ahead_ms = self.ahead_ms;
            self.trust(clocks);
            self.ahead_ms = ahead_ms;
            return Now { mono, wall_ms, may_expire: true };
        }
        let wall_ms = if self.is_least { carried_ms.max(wall_ms) } else { carried_ms };
        Now { mono, wall_ms, may_expire: false }
    }

    /// The wall clock is right: an operator says so, or it has shown it.
    pub const fn trust(&mut self, clocks: Clocks) {
        self.agreed = Some(clocks);
        self.is_least = false;
        self.doubted = None;
        self.ahead_ms = 0;
    }

    /// The date of the last agreed moment, which the next life begins with; 0 if there was none.
    pub fn agreed_ms(&self) -> u64 {
        self.agreed.map_or(self.before_ms, |agreed| agreed.wall_ms)
    }

    /// How far the wall clock was ahead of where it should have been at the last reading (behind:
    /// below 0), ms.
    pub const fn ahead_ms(&self) -> i64 {
        self.ahead_ms
    }

    /// Since when a wall clock in doubt has gone alike with the monotonic one; `None` if it is
    /// believed (monotonic).
    pub fn doubted_since(&self) -> Option<Duration> {
        self.doubted.map(|since| since.mono)
    }

    /// A clock in doubt: whether it has gone alike with the monotonic one for a day.
    fn has_agreed_long_enough(&mut self, clocks: Clocks) -> bool {
        let since = match self.doubted {
            Some(since) if since.agrees_with(clocks) => since,
            _ => *self.doubted.insert(clocks),
        };
        clocks.mono.saturating_sub(since.mono) >= AGREEMENT
    }
}

fn difference(one: u64, other: u64) -> i64 {
    let distance = i64::try_from(one.abs_diff(other)).unwrap_or(i64::MAX);
    if one >= other { distance } else { -distance }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_MS: u64 = 1_800_000_000_000;
    const HOUR_MS: i64 = 3_600_000;
    const DAY_MS: i64 = 24 * HOUR_MS;
    const MINUTE: Duration = Duration::from_secs(60);

    /// The two clocks of a machine; the test moves the wall clock.
    struct Machine {
        clocks: Clocks,
        trust: ClockTrust,
    }

    impl Machine {
        fn booted(agreed_ms: u64, wall_ms: u64) -> Self {
            let clocks = Clocks { mono: Duration::from_secs(1), wall_ms };
            Self { clocks, trust: ClockTrust::new(agreed_ms) }
        }

        /// One that agrees.
        fn agreed() -> Self {
            let mut machine = Self::booted(START_MS, START_MS);
            assert!(machine.may_expire());
            machine
        }

        /// What time it is, and whether anything may expire.
        fn read(&mut self) -> (u64, bool) {
            let now = self.trust.read(self.clocks);
            assert_eq!(now.mono, self.clocks.mono);
            assert_eq!(now.may_expire, self.trust.doubted_since().is_none());
            (now.wall_ms, now.may_expire)
        }

        fn may_expire(&mut self) -> bool {
            self.read().1
        }

        fn step(&mut self, ms: i64) -> &mut Self {
            self.clocks.wall_ms = self.clocks.wall_ms.strict_add_signed(ms);
            self
        }

        /// Time passes, with a look at the clocks each hour.
        fn pass(&mut self, time: Duration) -> &mut Self {
            let end = self.clocks.mono + time;
            while self.clocks.mono < end {
                let next = (self.clocks.mono + Duration::from_secs(3600)).min(end);
                self.clocks.wall_ms += (next - self.clocks.mono).as_millis() as u64;
                self.clocks.mono = next;
                self.read();
            }
            self
        }
    }

    #[test]
    fn a_clock_that_goes_along_is_believed() {
        let mut machine = Machine::agreed();
        for _ in 0..100 {
            // It is set right by half an hour, again and again: no one step is a jump.
            machine.pass(Duration::from_secs(3600)).step(HOUR_MS / 2);
            assert_eq!(machine.read(), (machine.clocks.wall_ms, true));
            assert_eq!(machine.trust.ahead_ms(), HOUR_MS / 2);
        }
    }

    #[test]
    fn after_a_jump_either_way_time_goes_on_by_the_monotonic_clock_and_nothing_expires() {
        for jump_ms in [400 * DAY_MS, -400 * DAY_MS, HOUR_MS + 1, -HOUR_MS - 1] {
            let mut machine = Machine::agreed();
            machine.step(jump_ms).pass(MINUTE);
            assert_eq!(machine.read(), (START_MS + 60_000, false), "{jump_ms}");
            assert_eq!(machine.trust.ahead_ms(), jump_ms);
        }
    }

    #[test]
    fn a_jump_that_is_undone_leaves_nothing_behind() {
        let mut machine = Machine::agreed();
        machine.step(400 * DAY_MS).pass(23 * 60 * MINUTE);
        assert!(!machine.may_expire());
        machine.step(-400 * DAY_MS);
        assert_eq!(machine.read(), (START_MS + 23 * HOUR_MS as u64, true));
        assert_eq!(machine.trust.ahead_ms(), 0);
    }

    #[test]
    fn a_day_without_a_jump_or_an_operators_word_makes_it_believed() {
        let mut machine = Machine::agreed();
        machine.step(400 * DAY_MS).read();
        assert!(!machine.pass(AGREEMENT - MINUTE).may_expire());
        assert!(machine.pass(MINUTE).may_expire());
        assert_eq!(machine.read(), (machine.clocks.wall_ms, true));

        machine.step(-30 * DAY_MS);
        assert!(!machine.may_expire());
        machine.trust.trust(machine.clocks);
        assert_eq!(machine.read(), (machine.clocks.wall_ms, true));
    }

    #[test]
    fn another_jump_begins_the_day_anew() {
        let mut machine = Machine::agreed();
        machine.step(400 * DAY_MS).read();
        machine.pass(AGREEMENT - MINUTE).step(2 * HOUR_MS).read();
        assert!(!machine.pass(AGREEMENT - MINUTE).may_expire());
        assert!(machine.pass(MINUTE).may_expire());
    }

    #[test]
    fn at_boot_the_clock_must_agree_with_the_life_before() {
        let hours = |hours: i64| START_MS.strict_add_signed(hours * HOUR_MS);
        // The agreed moment, the wall clock, what time it is, whether anything may expire.
        let cases = [
            (START_MS, START_MS, START_MS, true),
            (START_MS, hours(1), hours(1), true),
            (START_MS, hours(-1), hours(-1), true),
            // It was off for long, or the clock is ahead: dated by it, nothing expires.
            (START_MS, hours(2), hours(2), false),
            (START_MS, hours(9_600), hours(9_600), false),
            // The clock is behind what has been: time goes on from there.
            (START_MS, hours(-2), START_MS, false),
            (START_MS, 0, START_MS, false),
            // A node that never agreed on a date has nothing to lose.
            (0, START_MS, START_MS, true),
            (0, 0, 0, true),
        ];
        for (agreed_ms, wall_ms, expected_ms, may_expire) in cases {
            let read = Machine::booted(agreed_ms, wall_ms).read();
            assert_eq!(read, (expected_ms, may_expire), "{agreed_ms} {wall_ms}");
        }
    }

    #[test]
    fn a_restart_in_doubt_does_not_make_the_clock_believed() {
        let mut machine = Machine::agreed();
        machine.step(400 * DAY_MS).pass(MINUTE);
        for _ in 0..3 {
            machine.trust = ClockTrust::new(machine.trust.agreed_ms());
            assert!(!machine.pass(MINUTE).may_expire());
        }
    }

    #[test]
    fn a_clock_that_was_wrong_at_boot_is_followed_when_it_is_set_right() {
        let mut machine = Machine::booted(START_MS, START_MS.strict_add_signed(400 * DAY_MS));
        machine.pass(MINUTE).step(-400 * DAY_MS);
        assert_eq!(machine.read(), (START_MS + 60_000, true));

        let mut machine = Machine::booted(START_MS, 0);
        machine.pass(MINUTE).step(START_MS as i64 + 3 * HOUR_MS);
        let expected_ms = START_MS + 60_000 + 3 * HOUR_MS as u64;
        assert_eq!(machine.read(), (expected_ms, false), "off for three hours, perhaps");
    }

    #[test]
    fn no_reading_is_too_far_off() {
        for (agreed_ms, wall_ms) in [(u64::MAX, 0), (1, u64::MAX), (u64::MAX, u64::MAX)] {
            let mut machine = Machine::booted(agreed_ms, wall_ms);
            machine.read();
            machine.clocks.mono = Duration::MAX;
            machine.read();
        }
    }
}
