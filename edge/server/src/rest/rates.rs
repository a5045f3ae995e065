//! Rates: of one thing, or per address, phone or user in one table of fixed size, with no entry to
//! forget.
//!
//! A generic cell rate algorithm (GCRA) needs one number per key: the time at which its bucket is
//! empty again. The key chooses a slot by a hash with a random seed; keys that fall on one slot
//! share its rate, which a peer can neither aim at nor notice. So nothing grows, nothing is
//! swept, and no flood of new keys makes a known one lose its history.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Slots of a table: 64 Ki x 8 bytes = 512 KiB. A thousand active keys share with one in 66.
const SLOTS: usize = 1 << 16;

/// `count` in any `period`, as a burst or spread out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rate {
    /// At least 1.
    pub(crate) count: u32,
    /// At least `count` milliseconds.
    pub(crate) period: Duration,
}

/// The rate of one thing.
#[derive(Debug)]
pub(crate) struct Bucket {
    empty_at_us: AtomicU64,
    pace: Pace,
}

/// A table of rates.
pub(crate) struct Rates {
    slots: Box<[AtomicU64]>,
    seed: RandomState,
    pace: Pace,
}

/// A rate as its arithmetic needs it.
#[derive(Clone, Copy, Debug)]
struct Pace {
    step_us: u64,
    period_us: u64,
}

impl Bucket {
    pub(crate) fn new(rate: Rate) -> Self {
        Self { empty_at_us: AtomicU64::new(0), pace: Pace::of(rate) }
    }

    /// Takes one at `now` (monotonic, any start); if there is none, says for how long.
    pub(crate) fn take(&self, now: Duration) -> Result<(), Duration> {
        self.pace.take(&self.empty_at_us, now)
    }
}

impl Rates {
    pub(crate) fn new(rate: Rate) -> Self {
        Self {
            slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            seed: RandomState::new(),
            pace: Pace::of(rate),
        }
    }

    /// Takes one from the key's bucket at `now` (monotonic, any start); if it is empty, says for
    /// how long.
    pub(crate) fn take(&self, key: impl Hash, now: Duration) -> Result<(), Duration> {
        self.pace.take(&self.slots[self.seed.hash_one(key) as usize % SLOTS], now)
    }
}

impl Pace {
    fn of(rate: Rate) -> Self {
        let period_us = u64::try_from(rate.period.as_micros()).unwrap_or(u64::MAX);
        Self { step_us: period_us / u64::from(rate.count.max(1)), period_us }
    }

    fn take(self, slot: &AtomicU64, now: Duration) -> Result<(), Duration> {
        // The slots start at 0: a clock that starts there too must leave room for one period.
        let now_us = u64::try_from(now.as_micros()).unwrap_or(u64::MAX).saturating_add(1);
        let taken = slot.fetch_update(Relaxed, Relaxed, |empty_at| {
            let next = empty_at.max(now_us).saturating_add(self.step_us);
            (next - now_us <= self.period_us).then_some(next)
        });
        taken.map(|_| ()).map_err(|empty_at| {
            let next = empty_at.max(now_us).saturating_add(self.step_us);
            Duration::from_micros(next - now_us - self.period_us)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_burst_passes_then_one_for_each_step() {
        let rates = Rates::new(Rate { count: 3, period: MINUTE });
        let at = Duration::from_secs;
        for _ in 0..3 {
            assert_eq!(rates.take("a", at(100)), Ok(()));
        }
        assert_eq!(rates.take("a", at(100)), Err(at(20)));
        assert_eq!(rates.take("a", at(119)), Err(at(1)));
        assert_eq!(rates.take("a", at(120)), Ok(()));
        assert_eq!(rates.take("a", at(120)), Err(at(20)));
        // After a silent period the whole burst is there again, and no more.
        for _ in 0..3 {
            assert_eq!(rates.take("a", at(10_000)), Ok(()));
        }
        assert!(rates.take("a", at(10_000)).is_err());
    }

    #[test]
    fn the_first_burst_passes_on_a_clock_that_starts_at_zero() {
        let rates = Rates::new(Rate { count: 2, period: MINUTE });
        assert_eq!(rates.take(1, Duration::ZERO), Ok(()));
        assert_eq!(rates.take(1, Duration::ZERO), Ok(()));
        assert!(rates.take(1, Duration::ZERO).is_err());
    }

    #[test]
    fn keys_do_not_disturb_each_other() {
        let rates = Rates::new(Rate { count: 1, period: MINUTE });
        let passed = (0..100).filter(|key| rates.take(key, MINUTE).is_ok()).count();
        // With a random seed two of a hundred may share one of 65,536 slots.
        assert!(passed >= 97, "{passed}");
    }
}
