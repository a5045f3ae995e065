//! How much input a client may bring: budgets by user and by address, which outlive connections.
//!
//! A cell keeps when its debt is paid (the theoretical arrival time of the generic cell rate
//! algorithm, ITU-T I.371): eight bytes and nothing to sweep. Cells are few and fixed in number. A
//! user or an address chooses two by a keyed hash, is charged in both, and is over its budget only
//! if both say so (a count-min sketch): who shares one of them with a flood is read all the same,
//! and nobody can aim at both of another's. A reconnect, another device or another worker finds the
//! debt that was left. All workers share the tables, and none waits for another.
//!
//! ```text
//!   until      now ................ now + burst ...............
//!              may be read          over: not read until the debt is back at the burst
//! ```
//! What is charged is work, in bytes: those that came, and [`INPUT_COST_BYTES`] for what each frame and
//! each receive costs whatever is in it.
//!
//! [`INPUT_COST_BYTES`]: ringpost_wire::limits::INPUT_COST_BYTES
//!
//! Invariant: a cell is only ever over by what had come before its reading stopped.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};

/// Cells of a table: 2 MiB.
const CELLS: usize = 1 << 18;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// What one user or one address may bring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InputRate {
    /// Cost for long, bytes in a second, at least 1.
    pub bytes_per_second: u64,
    /// Cost at once after a pause, bytes.
    pub burst_bytes: u64,
}

impl InputRate {
    /// The time in which a cost is paid.
    fn time_of(self, cost_bytes: u64) -> u64 {
        match cost_bytes.checked_mul(NANOS_PER_SECOND) {
            Some(nanos) => nanos / self.bytes_per_second,
            // Eighteen gigabytes and more: the exact way is a long one.
            None => {
                let nanos = u128::from(cost_bytes) * u128::from(NANOS_PER_SECOND);
                u64::try_from(nanos / u128::from(self.bytes_per_second)).unwrap_or(u64::MAX)
            }
        }
    }
}

/// The two places of a budget in its table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cell([u32; 2]);

/// The budgets of all users, or of all addresses.
pub struct Budgets {
    /// Until when each is in debt, nanoseconds (monotonic).
    cells: Box<[AtomicU64]>,
    rate: InputRate,
    burst_nanos: u64,
    secrets: RapidSecrets,
}

impl Budgets {
    /// A table in which nobody is in debt. `seed` is nothing that a peer can guess.
    pub fn new(seed: u64, rate: InputRate) -> Self {
        Self {
            cells: std::iter::repeat_with(AtomicU64::default).take(CELLS).collect(),
            rate,
            burst_nanos: rate.time_of(rate.burst_bytes),
            secrets: RapidSecrets::seed(seed),
        }
    }

    /// The budget of whoever has this name.
    pub fn cell(&self, name: &[u8]) -> Cell {
        const { assert!(CELLS.is_power_of_two() && CELLS <= 1 << 32) };
        let hash = rapidhash_v3_seeded(name, &self.secrets);
        Cell([hash, hash >> 32].map(|half| (half as usize % CELLS) as u32))
    }

    /// Takes a cost; one below zero gives back what was taken before.
    pub fn take(&self, cell: Cell, cost_bytes: i64, now: Duration) {
        let now = nanos(now);
        let time = self.rate.time_of(cost_bytes.unsigned_abs());
        let after = |until: u64| match cost_bytes < 0 {
            true => until.saturating_sub(time),
            false => until.max(now).saturating_add(time),
        };
        // Not in one step: where two workers meet, the one cost or the other may be lost, which
        // happens to who has devices or connections at both and harms nobody else.
        let charge = |place: u32| {
            let cell = &self.cells[place as usize];
            cell.store(after(cell.load(Relaxed)), Relaxed);
        };
        let [one, other] = cell.0;
        charge(one);
        if other != one {
            charge(other);
        }
    }

    /// Until when nothing more may be read, if the budget is used up.
    pub fn over_until(&self, cell: Cell, now: Duration) -> Option<Duration> {
        let [one, other] = cell.0.map(|place| self.cells[place as usize].load(Relaxed));
        let until = one.min(other).saturating_sub(self.burst_nanos);
        (until > nanos(now)).then(|| Duration::from_nanos(until))
    }
}

/// Its cells are too many to be read.
impl fmt::Debug for Budgets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budgets").field("rate", &self.rate).finish_non_exhaustive()
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("a monotonic clock runs for less than 584 years")
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: InputRate = InputRate { bytes_per_second: 1_000, burst_bytes: 5_000 };

    #[test]
    fn a_burst_passes_then_as_much_as_the_rate_gives() {
        let budgets = Budgets::new(1, RATE);
        let (cell, mut now) = (budgets.cell(b"alice"), Duration::from_secs(9));
        budgets.take(cell, 5_000, now);
        assert_eq!(budgets.over_until(cell, now), None);
        budgets.take(cell, 100, now);
        assert_eq!(budgets.over_until(cell, now), Some(now + Duration::from_millis(100)));
        now += Duration::from_millis(100);
        assert_eq!(budgets.over_until(cell, now), None);
        budgets.take(cell, 1, now);
        assert!(budgets.over_until(cell, now).is_some());
        now += Duration::from_secs(60);
        budgets.take(cell, 5_000, now);
        assert_eq!(budgets.over_until(cell, now), None, "a pause fills it, to the burst");
        budgets.take(cell, 1, now);
        assert!(budgets.over_until(cell, now).is_some(), "and not beyond");
    }

    #[test]
    fn what_is_given_back_was_never_taken() {
        let budgets = Budgets::new(1, RATE);
        let (cell, now) = (budgets.cell(b"alice"), Duration::from_secs(9));
        for _ in 0..1_000 {
            budgets.take(cell, 4_000, now);
            budgets.take(cell, -4_000, now);
        }
        budgets.take(cell, 5_000, now);
        assert_eq!(budgets.over_until(cell, now), None);
    }

    #[test]
    fn one_name_has_one_budget_and_others_have_their_own() {
        let budgets = Budgets::new(1, RATE);
        let now = Duration::from_secs(9);
        let names = |from: u32| (from..from + 1_000).map(|number| number.to_be_bytes());
        for name in names(0) {
            budgets.take(budgets.cell(&name), 1_000_000, now);
        }
        let over = |name: [u8; 4]| budgets.over_until(budgets.cell(&name), now).is_some();
        assert!(names(0).all(over));
        let hit = names(1_000_000).filter(|&name| over(name)).count();
        assert!(hit < 3, "one of 17,000 has both of its cells among two thousand: {hit}");
    }

    #[test]
    fn rates_beyond_every_line_do_not_overflow() {
        let rate = InputRate { bytes_per_second: u64::MAX, burst_bytes: u64::MAX };
        let budgets = Budgets::new(1, rate);
        let cell = budgets.cell(b"bench");
        budgets.take(cell, i64::MAX, Duration::from_secs(1));
        assert_eq!(budgets.over_until(cell, Duration::from_secs(1)), None);
    }
}
