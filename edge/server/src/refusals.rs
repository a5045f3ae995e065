//! The log of refusals: one line for each class of refusal, however many there were; and of callers
//! whom a proxy should have named and did not, who are served and are told of by words of their own.
//!
//! A refusal is counted where it happens, in the worker's turn, and nothing else is done there.
//! This part looks at the counters now and then and writes what has grown: the class by its
//! counter and label, how many since the line before, how many since boot. The first refusal of a
//! class is told within `LOOK_EVERY`; after a line the class is silent for `QUIET`.
//!
//! Invariants: classes are label values from closed sets, so memory and lines are bounded by what
//! the code can count; nothing that a peer said can reach a line, for the counters do not hold it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::metrics::{Metrics, Samples};
use crate::rest::RestService;

/// Time between two looks at the counters.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Time between two lines of one class: a flood is a line a minute.
const QUIET: Duration = Duration::from_secs(60);

/// What a proxy said of who calls, and it counts.
const NAMED: &[&str] = &["proxy_header", "proxy_itself", "forwarded"];

/// Counters of what was made of a proxy's word. Nothing is refused for it.
const NAMINGS: [&str; 2] = ["ringpost_edge_callers_named", "ringpost_rest_callers_named"];

/// Counters of refusals and of those words, each with the label values that are none.
const WATCHED: [(&str, &[&str]); 16] = [
    ("ringpost_edge_closed", &["normal", "going_away"]),
    ("ringpost_edge_refused", &[]),
    // A proxy that is not set up, or not trusted, is found by these lines.
    (NAMINGS[0], NAMED),
    (NAMINGS[1], NAMED),
    // These are counted as malformed, or as bad credentials, too.
    (
        "ringpost_edge_commands_refused",
        &["malformed", "unknown_kind", "too_large", "plaintext_refused", "token_refused"],
    ),
    // The others end connections, which are counted by code, or are the ordinary course.
    (
        "ringpost_edge_limits_hit",
        &["handshake", "sign_in", "credential", "ticket", "assembly", "closing", "drain"],
    ),
    ("ringpost_ring_accepts_refused", &[]),
    ("ringpost_shard_refused", &[]),
    ("ringpost_shard_sign_ins_refused", &[]),
    ("ringpost_shard_loads_refused", &[]),
    // A worker comes again in a moment with what the other two put off.
    ("ringpost_journal_refused", &["segment_pending", "in_flight"]),
    ("ringpost_auth_codes", &["delivered"]),
    ("ringpost_auth_token_checks", &["ok"]),
    ("ringpost_auth_token_checks_refused", &[]),
    ("ringpost_rest_connections_refused", &[]),
    ("ringpost_rest_requests", &["ok"]),
];

/// What was told of each class.
#[derive(Debug, Default)]
struct RefusalLog {
    classes: BTreeMap<(&'static str, &'static str), Told>,
}

#[derive(Debug)]
struct Told {
    /// Refusals told so far.
    total: u64,
    /// When the last line was written (monotonic).
    at: Duration,
}

/// One line.
#[derive(PartialEq, Eq, Debug)]
struct Line {
    /// The counter, as a scrape names it without its `_total`.
    metric: &'static str,
    /// The value of its label; empty for a counter without one.
    reason: &'static str,
    /// Refusals since the line before.
    count: u64,
    /// Refusals since boot.
    total: u64,
}

impl Line {
    /// What the line says of it: who calls without a name of a proxy is served all the same.
    fn what(&self) -> &'static str {
        if NAMINGS.contains(&self.metric) { "a proxy named nobody that counts" } else { "refused" }
    }
}

/// Starts watching, on the threads of REST, until these stop.
pub fn start(rest: &RestService, metrics: Arc<Metrics>) {
    rest.runtime().spawn(watch(metrics, rest.stopping()));
}

async fn watch(metrics: Arc<Metrics>, mut stop: watch::Receiver<bool>) {
    let start = Instant::now();
    let mut log = RefusalLog::default();
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        for line in log.look(&metrics.samples(), start.elapsed()) {
            let Line { metric, reason, count, total } = line;
            let what = line.what();
            tracing::info!(metric = %format_args!("{metric}_total"), reason, count, total, "{what}");
        }
    }
}

impl RefusalLog {
    /// The lines that are due at `now` (monotonic).
    fn look(&mut self, samples: &Samples, now: Duration) -> Vec<Line> {
        let mut lines = Vec::new();
        for (metric, none) in WATCHED {
            for (labels, total) in samples.counted(metric) {
                let reason = labels.first().map_or("", |(_, value)| *value);
                if total == 0 || none.contains(&reason) {
                    continue;
                }
                let told = self.classes.get(&(metric, reason));
                let before = told.map_or(0, |told| told.total);
                let quiet = told.is_some_and(|told| now < told.at + QUIET);
                if total > before && !quiet {
                    self.classes.insert((metric, reason), Told { total, at: now });
                    lines.push(Line { metric, reason, count: total - before, total });
                }
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(metric: &'static str, reason: &'static str, count: u64) -> Samples {
        let mut samples = Samples::default();
        samples.counter(metric, "Refusals.", &[("reason", reason)], count);
        samples
    }

    #[test]
    fn a_flood_is_one_line_and_the_next_one_tells_what_came_meanwhile() {
        let mut log = RefusalLog::default();
        let (metric, reason) = ("ringpost_edge_refused", "garbage");
        let mut look =
            |count, at_s| log.look(&counted(metric, reason, count), Duration::from_secs(at_s));
        assert_eq!(look(0, 1), []);
        assert_eq!(look(1, 2), [Line { metric, reason, count: 1, total: 1 }]);
        assert_eq!(look(1_000, 3), []);
        assert_eq!(look(5_000, 61), []);
        assert_eq!(look(5_000, 62), [Line { metric, reason, count: 4_999, total: 5_000 }]);
        assert_eq!(look(5_000, 1_000), [], "nothing new is nothing to tell");
    }

    #[test]
    fn one_class_does_not_silence_another() {
        let mut log = RefusalLog::default();
        let at = Duration::from_secs(1);
        assert_eq!(log.look(&counted("ringpost_edge_refused", "garbage", 1), at).len(), 1);
        assert_eq!(log.look(&counted("ringpost_edge_refused", "full", 1), at).len(), 1);
        assert_eq!(log.look(&counted("ringpost_shard_refused", "full", 1), at).len(), 1);
    }

    #[test]
    fn a_line_of_what_was_served_does_not_speak_of_a_refusal() {
        let at = Duration::from_secs(1);
        for (metric, refused) in [(NAMINGS[0], false), (NAMINGS[1], false), (WATCHED[1].0, true)] {
            let lines = RefusalLog::default().look(&counted(metric, "nobody", 1), at);
            assert_eq!(lines.len(), 1);
            assert_eq!(lines[0].what() == "refused", refused, "{metric}");
        }
    }

    #[test]
    fn what_ends_in_order_is_no_refusal() {
        let mut log = RefusalLog::default();
        let at = Duration::from_secs(1);
        for (metric, reason) in [
            ("ringpost_edge_closed", "normal"),
            ("ringpost_auth_token_checks", "ok"),
            ("ringpost_rest_requests", "ok"),
            ("ringpost_edge_events", "any"),
        ] {
            assert_eq!(log.look(&counted(metric, reason, 9), at), []);
        }
    }
}
