//! Watches the node's clock: writes down the agreed moment, tells operators of jumps and doubt.
//!
//! Looks every [`LOOK_EVERY`], on the threads of REST. Invariants: a line in the log at most each
//! [`QUIET`], but always when doubt begins or ends; the file is written only while the clock is
//! believed.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use ringpost_shard::Now;
use ringpost_shard::clock_trust::ClockTrust;
use ringpost_shard::stamp::stamped_ms;
use ringpost_store::Store;
use tokio::task::JoinHandle;

use super::NodeClock;
use crate::metrics::{MetricSource, Metrics, Samples};
use crate::readiness::Readiness;
use crate::rest::RestService;

/// Time between two looks at the clock.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Time between two lines about steps that were followed, or about stamps that are ahead.
const QUIET: Duration = Duration::from_secs(60);

/// What is worth telling: clocks that are so far from each other, or from the stamps, ms.
const FAR_MS: u64 = 60_000;

/// How far the agreed moment runs ahead of what is written down, ms.
const WRITTEN_EVERY_MS: u64 = 60_000;

/// What a scrape is shown.
#[derive(Debug, Default)]
struct Shown {
    in_doubt: AtomicI64,
    ahead_ms: AtomicI64,
    stamps_ahead_ms: AtomicI64,
    steps: AtomicU64,
}

impl MetricSource for Shown {
    fn collect(&self, out: &mut Samples) {
        let help = "1 while the wall clock is in doubt: nothing expires by it.";
        out.gauge("ringpost_clock_in_doubt", help, &[], self.in_doubt.load(Relaxed));
        let help = "Seconds that the wall clock is from where it should be, by direction.";
        let ahead_s = self.ahead_ms.load(Relaxed) / 1_000;
        for (direction, off_s) in [("ahead", ahead_s.max(0)), ("behind", -ahead_s.min(0))] {
            out.gauge("ringpost_clock_off_seconds", help, &[("direction", direction)], off_s);
        }
        let help = "Seconds that the newest server id is ahead of the date.";
        let ahead_s = self.stamps_ahead_ms.load(Relaxed) / 1_000;
        out.gauge("ringpost_clock_stamps_ahead_seconds", help, &[], ahead_s);
        let help = "Steps of the wall clock of more than a minute, away from where it should be.";
        out.counter("ringpost_clock_steps", help, &[], self.steps.load(Relaxed));
    }
}

/// Starts watching, until the REST service stops.
pub fn start(
    rest: &RestService,
    metrics: &Metrics,
    clock: Arc<NodeClock>,
    store: Arc<dyn Store>,
    readiness: Arc<Readiness>,
) {
    let shown = Arc::<Shown>::default();
    metrics.register(Arc::clone(&shown) as _);
    let mut stop = rest.stopping();
    rest.runtime().spawn(async move {
        let mut watch = Watch::default();
        let mut writing: Option<JoinHandle<()>> = None;
        loop {
            let (now, trust) = clock.look();
            let stamps_ahead_ms = stamped_ms(store.highest_stamp()).saturating_sub(now.wall_ms);
            watch.look(now, &trust, stamps_ahead_ms, &shown);
            readiness.note("clock", watch.standing(&trust));
            // A disk that does not answer keeps one write, and not who looks.
            if writing.as_ref().is_none_or(JoinHandle::is_finished)
                && let Some(agreed_ms) = watch.due_to_write(now, &trust)
            {
                let clock = Arc::clone(&clock);
                writing = Some(tokio::task::spawn_blocking(move || {
                    if let Err(error) = clock.file().write(agreed_ms) {
                        tracing::warn!(%error, "the agreed date cannot be written down");
                    }
                }));
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    });
}

/// What was seen at the looks before.
#[derive(Debug, Default)]
struct Watch {
    in_doubt: bool,
    /// When the last line about a step or about stamps was written (monotonic).
    told_at: Option<Duration>,
    /// How far the wall clock was ahead at the last look, ms.
    ahead_ms: i64,
    written_ms: u64,
}

impl Watch {
    fn look(&mut self, now: Now, trust: &ClockTrust, stamps_ahead_ms: u64, shown: &Shown) {
        let ahead_ms = trust.ahead_ms();
        let in_doubt = !now.may_expire;
        let stepped_ms = ahead_ms - self.ahead_ms;
        let has_stepped = stepped_ms.unsigned_abs() > FAR_MS && ahead_ms.unsigned_abs() > FAR_MS;
        shown.steps.fetch_add(has_stepped.into(), Relaxed);
        shown.in_doubt.store(in_doubt.into(), Relaxed);
        shown.ahead_ms.store(ahead_ms, Relaxed);
        shown.stamps_ahead_ms.store(stamps_ahead_ms.try_into().unwrap_or(i64::MAX), Relaxed);
        self.ahead_ms = ahead_ms;
        let is_quiet = self.told_at.is_some_and(|at| now.mono < at + QUIET);
        if std::mem::replace(&mut self.in_doubt, in_doubt) != in_doubt {
            match in_doubt {
                true => tracing::warn!(
                    ahead_ms,
                    "the wall clock is not where it should be: nothing expires before it has been \
                     steady for a day, or POST /admin/clock/trust says that it is right"
                ),
                false => tracing::warn!("the wall clock is believed"),
            }
        } else if has_stepped && !is_quiet {
            tracing::warn!(ahead_ms, in_doubt, "the wall clock has stepped");
        } else if stamps_ahead_ms > FAR_MS && self.told_at.is_none() {
            tracing::warn!(stamps_ahead_ms, "server ids are ahead of the date and rise from there");
        } else {
            return;
        }
        self.told_at = Some(now.mono);
    }

    /// How the clock stands, for `/readyz`.
    fn standing(&self, trust: &ClockTrust) -> String {
        let ahead_ms = trust.ahead_ms();
        let direction = if ahead_ms < 0 { "behind" } else { "ahead of" };
        match self.in_doubt {
            false => "believed".to_owned(),
            true => format!(
                "in doubt: {} ms {direction} where it should be; nothing expires",
                ahead_ms.unsigned_abs()
            ),
        }
    }

    /// The agreed moment, if it is to be written down now.
    fn due_to_write(&mut self, now: Now, trust: &ClockTrust) -> Option<u64> {
        let agreed_ms = trust.agreed_ms();
        let due = now.may_expire && agreed_ms.abs_diff(self.written_ms) >= WRITTEN_EVERY_MS;
        due.then(|| {
            self.written_ms = agreed_ms;
            agreed_ms
        })
    }
}

#[cfg(test)]
mod tests {
    use ringpost_shard::Clocks;

    use super::*;

    const START_MS: u64 = 1_800_000_000_000;

    fn clocks(at_s: u64, ahead_ms: i64) -> Clocks {
        let wall_ms = (START_MS + at_s * 1_000).strict_add_signed(ahead_ms);
        Clocks { mono: Duration::from_secs(1 + at_s), wall_ms }
    }

    #[test]
    fn what_operators_see_follows_the_clock_both_ways() {
        let hour_ms = 3_600_000;
        let (mut trust, mut watch, shown) =
            (ClockTrust::new(START_MS), Watch::default(), Shown::default());
        // When, how far ahead, in doubt, steps so far.
        let looks = [
            (0, 0, 0, 0),
            (1, 30_000, 0, 0),
            (2, 0, 0, 0),
            (3, 400 * 24 * hour_ms, 1, 1),
            (4, 400 * 24 * hour_ms, 1, 1),
            (5, 0, 0, 1),
            (6, -2 * hour_ms, 1, 2),
            (7, -3 * hour_ms, 1, 3),
            (8, 0, 0, 3),
        ];
        for (at_s, ahead_ms, in_doubt, steps) in looks {
            let now = trust.read(clocks(at_s, ahead_ms));
            watch.look(now, &trust, 0, &shown);
            let told = (shown.in_doubt.load(Relaxed), shown.steps.load(Relaxed));
            assert_eq!(told, (in_doubt, steps), "at {at_s}");
            assert_eq!(watch.standing(&trust) == "believed", in_doubt == 0);
        }
    }

    #[test]
    fn the_agreed_moment_is_written_each_minute_and_never_in_doubt() {
        let (mut trust, mut watch) = (ClockTrust::new(START_MS), Watch::default());
        let mut due = |at_s, ahead_ms| {
            let now = trust.read(clocks(at_s, ahead_ms));
            watch.due_to_write(now, &trust)
        };
        assert_eq!(due(0, 0), Some(START_MS));
        assert_eq!(due(59, 0), None);
        assert_eq!(due(60, 0), Some(START_MS + 60_000));
        assert_eq!(due(300, 86_400_000), None);
        assert_eq!(due(301, 0), Some(START_MS + 301_000));
    }
}
