//! Metrics: what the parts count, added up at a scrape.
//!
//! Owns the trait by which a part shows its numbers, their sum over workers, and the text format.
//! Does not own the counters: each part counts in cells of its own and pays nothing for a scrape.
//! Invariants: a name is written as one literal where it is shown, in the form
//! `ringpost_<layer>_<noun>_<unit>` (the format adds `_total` to counters) and has a row in
//! `deploy/METRICS.md`; labels are `&'static str`, so nothing that a peer said can become one.

mod cells;
mod text;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

pub use cells::{BUCKETS_S, Counter, DurationSnapshot, Durations};

/// A part that has numbers to show.
pub trait MetricSource: Send + Sync {
    /// Adds this part's numbers. Called on the admin thread at each scrape; must not block.
    fn collect(&self, out: &mut Samples);
}

/// A label: name and value, both from closed sets.
pub type Label = (&'static str, &'static str);

/// Numbers of all parts; equal names with equal labels are added up.
#[derive(Debug, Default)]
pub struct Samples {
    families: BTreeMap<&'static str, Family>,
}

#[derive(Debug)]
struct Family {
    help: &'static str,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Counters(BTreeMap<Vec<Label>, u64>),
    Gauges(BTreeMap<Vec<Label>, i64>),
    Durations(BTreeMap<Vec<Label>, DurationSnapshot>),
}

impl Samples {
    /// Adds to a counter; `name` without `_total`.
    ///
    /// # Panics
    /// If the name was shown as another kind of metric.
    pub fn counter(&mut self, name: &'static str, help: &'static str, labels: &[Label], by: u64) {
        match self.values(name, help, || Values::Counters(BTreeMap::new())) {
            Values::Counters(values) => *values.entry(labels.to_vec()).or_default() += by,
            _ => panic!("{name} is not a counter"),
        }
    }

    /// Adds to a gauge.
    ///
    /// # Panics
    /// If the name was shown as another kind of metric.
    pub fn gauge(&mut self, name: &'static str, help: &'static str, labels: &[Label], by: i64) {
        match self.values(name, help, || Values::Gauges(BTreeMap::new())) {
            Values::Gauges(values) => *values.entry(labels.to_vec()).or_default() += by,
            _ => panic!("{name} is not a gauge"),
        }
    }

    /// Adds a histogram of durations; `name` ends in `_seconds`.
    ///
    /// # Panics
    /// If the name was shown as another kind of metric.
    pub fn durations(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[Label],
        snapshot: &DurationSnapshot,
    ) {
        match self.values(name, help, || Values::Durations(BTreeMap::new())) {
            Values::Durations(values) => {
                values.entry(labels.to_vec()).or_default().add(snapshot);
            }
            _ => panic!("{name} is not a histogram"),
        }
    }

    fn values(
        &mut self,
        name: &'static str,
        help: &'static str,
        new: fn() -> Values,
    ) -> &mut Values {
        let family = self.families.entry(name).or_insert_with(|| Family { help, values: new() });
        &mut family.values
    }
}

/// All parts that show numbers. Registered at boot, read at each scrape.
#[derive(Default)]
pub struct Metrics {
    sources: Mutex<Vec<Arc<dyn MetricSource>>>,
}

impl Metrics {
    /// Adds a part.
    pub fn register(&self, source: Arc<dyn MetricSource>) {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).push(source);
    }

    /// One scrape, in the OpenMetrics text format.
    pub fn text(&self) -> String {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut samples = Samples::default();
        for source in sources {
            source.collect(&mut samples);
        }
        text::encode(samples)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct Worker(u64);

    impl MetricSource for Worker {
        fn collect(&self, out: &mut Samples) {
            out.counter("ringpost_test_frames", "Frames.", &[("kind", "ping")], self.0);
            out.counter("ringpost_test_frames", "Frames.", &[("kind", "ack")], 1);
            out.gauge("ringpost_test_open", "Open.", &[], 5);
            let durations = Durations::default();
            durations.observe(Duration::from_micros(100));
            let snapshot = durations.snapshot();
            out.durations("ringpost_test_wait_seconds", "Wait.", &[("stage", "commit")], &snapshot);
        }
    }

    #[test]
    fn a_scrape_adds_the_workers_up() {
        let metrics = Metrics::default();
        metrics.register(Arc::new(Worker(2)));
        metrics.register(Arc::new(Worker(40)));
        let text = metrics.text();
        for expected in [
            "# HELP ringpost_test_frames Frames.",
            "# TYPE ringpost_test_frames counter",
            "ringpost_test_frames_total{kind=\"ping\"} 42",
            "ringpost_test_frames_total{kind=\"ack\"} 2",
            "ringpost_test_open 10",
            "ringpost_test_wait_seconds_count{stage=\"commit\"} 2",
            "ringpost_test_wait_seconds_bucket{le=\"0.000064\",stage=\"commit\"} 0",
            "ringpost_test_wait_seconds_bucket{le=\"0.000128\",stage=\"commit\"} 2",
            "ringpost_test_wait_seconds_bucket{le=\"+Inf\",stage=\"commit\"} 2",
            "# EOF",
        ] {
            assert!(text.contains(expected), "{expected} in\n{text}");
        }
    }

    #[test]
    #[should_panic(expected = "is not a counter")]
    fn one_name_is_one_kind() {
        let mut samples = Samples::default();
        samples.gauge("ringpost_test_a", "A.", &[], 1);
        samples.counter("ringpost_test_a", "A.", &[], 1);
    }
}
