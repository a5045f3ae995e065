//! Queue entries whose message the store does not have: damage that no start has noticed.
//!
//! A shard counts them and lets them go, since nobody can deliver them. This part looks at the count
//! and says so: one line in the log a minute at most, and a fact of `/readyz`. It is no reason
//! against traffic: what is whole is served, and another start would find the same.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::readiness::Readiness;
use crate::rest::RestService;

/// The count, as a source names it.
const METRIC: &str = "ringpost_shard_rows_missing";

/// The fact of `/readyz`.
const FACT: &str = "rows_missing";

/// Time between two looks at the count.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Time between two lines.
const QUIET: Duration = Duration::from_secs(60);

/// Starts watching, on the threads of REST, until these stop.
pub fn start(rest: &RestService, metrics: Arc<Metrics>, readiness: Arc<Readiness>) {
    rest.runtime().spawn(watch(metrics, readiness, rest.stopping()));
}

async fn watch(metrics: Arc<Metrics>, readiness: Arc<Readiness>, mut stop: watch::Receiver<bool>) {
    let start = Instant::now();
    let mut missing = Missing::default();
    // Ends: with the server. A round is a pause and one look.
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let total = metrics.samples().counted(METRIC).map(|(_, total)| total).sum();
        if let Some(text) = missing.look(total, start.elapsed()) {
            tracing::error!("{text}");
            readiness.note(FACT, text);
        }
    }
}

/// What was told of them.
#[derive(Debug, Default)]
struct Missing {
    told: u64,
    told_at: Option<Duration>,
}

impl Missing {
    /// What is to be told at `now` (monotonic) of so many since boot.
    fn look(&mut self, total: u64, now: Duration) -> Option<String> {
        let is_quiet = self.told_at.is_some_and(|at| now < at + QUIET);
        if total <= self.told || is_quiet {
            return None;
        }
        self.told = total;
        self.told_at = Some(now);
        Some(format!(
            "{total} queued messages are not in the store: it is damaged; restore the data directory \
             from a backup"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_the_others_once_a_minute() {
        let mut missing = Missing::default();
        let mut look = |total, at_s| missing.look(total, Duration::from_secs(at_s)).is_some();
        assert!(!look(0, 1));
        assert!(look(1, 2));
        assert!(!look(9, 30));
        assert!(look(9, 62));
        assert!(!look(9, 500), "nothing new is nothing to tell");
    }
}
