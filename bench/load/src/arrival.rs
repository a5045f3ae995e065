//! When messages are meant to be sent: a schedule that does not wait for answers.
//!
//! In an open loop a slow server does not slow its clients down, as people do not write less
//! because a server is slow. Latency counts from the intended time, so a stall is felt by every
//! message that was meant to leave during it.

use std::time::Duration;

/// Evenly spaced arrivals.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    rate: u64,
    next: u64,
    count: u64,
    begun_ns: u64,
}

const SECOND_NS: u128 = 1_000_000_000;

impl Schedule {
    /// `count` arrivals, `rate` of them in a second, the first at `begun_ns`.
    ///
    /// # Panics
    /// If the rate is zero.
    pub(crate) fn new(rate: u64, count: u64, begun_ns: u64) -> Self {
        assert!(rate > 0, "a schedule has a rate");
        Self { rate, next: 0, count, begun_ns }
    }

    /// The intended time of the next arrival if it is due at `now_ns`.
    pub(crate) fn due(&mut self, now_ns: u64) -> Option<u64> {
        let intended = self.intended(self.next)?;
        (intended <= now_ns).then(|| {
            self.next += 1;
            intended
        })
    }

    /// How long until the next arrival; `None` when all have come.
    pub(crate) fn wait(&self, now_ns: u64) -> Option<Duration> {
        Some(Duration::from_nanos(self.intended(self.next)?.saturating_sub(now_ns)))
    }

    fn intended(&self, arrival: u64) -> Option<u64> {
        let since = u128::from(arrival) * SECOND_NS / u128::from(self.rate);
        (arrival < self.count).then_some(self.begun_ns + since as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Schedule;

    #[test]
    fn arrivals_keep_their_time_whatever_happened_before() {
        let mut schedule = Schedule::new(1_000, 3, 500);
        assert_eq!(schedule.due(499), None);
        assert_eq!(schedule.wait(400), Some(Duration::from_nanos(100)));
        assert_eq!(schedule.due(500), Some(500));
        // The generator was away: what is due comes at once, with the time that was meant.
        assert_eq!(schedule.due(9_000_000), Some(1_000_500));
        assert_eq!(schedule.due(9_000_000), Some(2_000_500));
        assert_eq!((schedule.due(9_000_000), schedule.wait(0)), (None, None));
    }

    #[test]
    fn no_time_is_lost_to_rounding() {
        let mut schedule = Schedule::new(3, 4, 0);
        let times = std::iter::from_fn(|| schedule.due(u64::MAX)).collect::<Vec<_>>();
        assert_eq!(times, [0, 333_333_333, 666_666_666, 1_000_000_000]);
    }
}
