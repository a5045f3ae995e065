//! Rates by the generic cell rate algorithm (ITU-T I.371), in 16 bytes.
//!
//! A cell keeps the time at which its debt is paid (the theoretical arrival time). A cost is
//! taken if the debt after it stays within the burst. Two cells: units (commands, sends) and
//! bytes; either both take their cost, or none does.

use std::time::Duration;

use crate::limits::Rate;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Two cells: until when units and bytes are paid for, nanoseconds of the monotonic clock.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Gcra {
    units_until: u64,
    bytes_until: u64,
}

const _: () = assert!(size_of::<Gcra>() == 16);

/// Which of the two is over its rate, and how long to wait, at least 1 ms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OverRate {
    Units(Duration),
    Bytes(Duration),
}

impl Gcra {
    /// Takes one unit and `bytes`.
    ///
    /// # Errors
    /// If one of the two is over its rate; nothing was taken.
    pub(crate) fn take(
        &mut self,
        now: Duration,
        units: Rate,
        bytes: Rate,
        byte_count: u32,
    ) -> Result<(), OverRate> {
        let units_until = after(self.units_until, now, units, 1).map_err(OverRate::Units)?;
        let bytes_until =
            after(self.bytes_until, now, bytes, byte_count).map_err(OverRate::Bytes)?;
        *self = Self { units_until, bytes_until };
        Ok(())
    }

    /// Whether all debt is paid, so that a fresh pair of cells is the same.
    pub(crate) fn is_idle(&self, now: Duration) -> bool {
        self.units_until.max(self.bytes_until) <= nanos(now)
    }
}

fn after(until: u64, now: Duration, rate: Rate, cost: u32) -> Result<u64, Duration> {
    let now = nanos(now);
    let cost = u64::from(cost.min(rate.burst)) * NANOS_PER_SECOND / u64::from(rate.per_second);
    let burst = u64::from(rate.burst) * NANOS_PER_SECOND / u64::from(rate.per_second);
    let after = until.max(now) + cost;
    match after.checked_sub(now + burst) {
        None | Some(0) => Ok(after),
        Some(wait) => Err(Duration::from_millis(wait.div_ceil(1_000_000))),
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("a monotonic clock runs for less than 584 years")
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNITS: Rate = Rate { per_second: 10, burst: 5 };
    const BYTES: Rate = Rate { per_second: 1000, burst: 500 };

    #[test]
    fn a_burst_passes_then_one_per_interval() {
        let mut cells = Gcra::default();
        let mut now = Duration::from_secs(3);
        for _ in 0..5 {
            assert_eq!(cells.take(now, UNITS, BYTES, 1), Ok(()));
        }
        assert_eq!(
            cells.take(now, UNITS, BYTES, 1),
            Err(OverRate::Units(Duration::from_millis(100)))
        );
        now += Duration::from_millis(99);
        assert_eq!(
            cells.take(now, UNITS, BYTES, 1),
            Err(OverRate::Units(Duration::from_millis(1)))
        );
        now += Duration::from_millis(1);
        assert_eq!(cells.take(now, UNITS, BYTES, 1), Ok(()));
        assert!(!cells.is_idle(now));
        assert!(cells.is_idle(now + Duration::from_secs(1)));
    }

    #[test]
    fn bytes_are_bounded_beside_units_and_a_refusal_takes_nothing() {
        let mut cells = Gcra::default();
        let now = Duration::ZERO;
        assert_eq!(cells.take(now, UNITS, BYTES, 400), Ok(()));
        assert_eq!(
            cells.take(now, UNITS, BYTES, 200),
            Err(OverRate::Bytes(Duration::from_millis(100)))
        );
        for _ in 0..4 {
            assert_eq!(cells.take(now, UNITS, BYTES, 0), Ok(()));
        }
        assert!(cells.take(now, UNITS, BYTES, 0).is_err());
    }

    #[test]
    fn a_cost_above_the_burst_passes_once_all_debt_is_paid() {
        let mut cells = Gcra::default();
        let now = Duration::from_secs(1);
        assert_eq!(cells.take(now, UNITS, BYTES, u32::MAX), Ok(()));
        assert!(cells.take(now, UNITS, BYTES, 1).is_err());
    }
}
