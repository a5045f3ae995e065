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
use std::time::Duration;

pub use cells::Counter;

/// A part that has numbers to show.
pub trait MetricSource: Send + Sync {
    /// Adds this part's numbers. Called on the admin thread at each scrape; must not block.
    fn collect(&self, out: &mut Samples);
}

/// The form of a scrape's text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TextForm {
    /// Of Prometheus, version 0.0.4: what every tool reads.
    Prometheus,
    /// OpenMetrics 1.0.0, for who asks for it.
    OpenMetrics,
}

impl TextForm {
    /// The form that an `Accept` asks for.
    pub fn of_accept(accept: &str) -> Self {
        let takes = accept.split(',').any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let is_refused =
                parts.any(|part| part.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0_f32)));
            kind.eq_ignore_ascii_case("application/openmetrics-text") && !is_refused
        });
        if takes { Self::OpenMetrics } else { Self::Prometheus }
    }
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
    Histograms(BTreeMap<Vec<Label>, Histogram>),
}

/// Counts of durations (in seconds) or of sizes, under their bounds.
#[derive(Debug)]
struct Histogram {
    bounds: &'static [f64],
    /// One for each bound, not added up, and one beyond them.
    buckets: Vec<u64>,
    sum: f64,
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

    /// Adds a histogram of durations; `name` ends in `_seconds`. `buckets` has one count for each
    /// bound, not added up, and one for what is beyond them.
    ///
    /// # Panics
    /// As [`Samples::sizes`].
    pub fn durations(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[Label],
        bounds_s: &'static [f64],
        (buckets, sum): (&[u64], Duration),
    ) {
        self.histogram(name, help, labels, bounds_s, (buckets, sum.as_secs_f64()));
    }

    /// Adds a histogram of how many there were at a time. `buckets` has one count for each bound,
    /// not added up, and one for what is beyond them.
    ///
    /// # Panics
    /// If the name was shown as another kind of metric, or with other bounds.
    pub fn sizes(
        &mut self,
        name: &'static str,
        help: &'static str,
        bounds: &'static [f64],
        (buckets, sum): (&[u64], u64),
    ) {
        self.histogram(name, help, &[], bounds, (buckets, sum as f64));
    }

    fn histogram(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[Label],
        bounds: &'static [f64],
        (buckets, sum): (&[u64], f64),
    ) {
        assert_eq!(buckets.len(), bounds.len() + 1, "{name}: a bucket for each bound");
        let Values::Histograms(values) =
            self.values(name, help, || Values::Histograms(BTreeMap::new()))
        else {
            panic!("{name} is not a histogram")
        };
        let empty = || Histogram { bounds, buckets: vec![0; buckets.len()], sum: 0.0 };
        let histogram = values.entry(labels.to_vec()).or_insert_with(empty);
        assert_eq!(histogram.bounds, bounds, "{name} has one set of bounds");
        for (sum, count) in histogram.buckets.iter_mut().zip(buckets) {
            *sum += count;
        }
        histogram.sum += sum;
    }

    /// The values of a counter by their labels; nothing where it was not shown.
    pub fn counted(&self, name: &str) -> impl Iterator<Item = (&[Label], u64)> {
        let values = self.families.get(name).and_then(|family| match &family.values {
            Values::Counters(values) => Some(values),
            _ => None,
        });
        values.into_iter().flatten().map(|(labels, value)| (labels.as_slice(), *value))
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

    /// One scrape as text, and its content type.
    pub fn text(&self, form: TextForm) -> (&'static str, String) {
        match form {
            TextForm::Prometheus => {
                ("text/plain; version=0.0.4; charset=utf-8", text::prometheus(&self.samples()))
            }
            TextForm::OpenMetrics => (
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
                text::open_metrics(self.samples()),
            ),
        }
    }

    /// The numbers of all parts now.
    pub fn samples(&self) -> Samples {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut samples = Samples::default();
        for source in sources {
            source.collect(&mut samples);
        }
        samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Worker(u64);

    impl MetricSource for Worker {
        fn collect(&self, out: &mut Samples) {
            out.counter("ringpost_test_frames", "Frames.", &[("kind", "ping")], self.0);
            out.counter("ringpost_test_frames", "Frames.", &[("kind", "ack")], 1);
            out.gauge("ringpost_test_open", "Open.", &[], 5);
            let (labels, counts) = ([("stage", "commit")], [0, 1, 2]);
            let counts = (&counts[..], Duration::from_millis(250));
            out.durations("ringpost_test_wait_seconds", "Wait.", &labels, &[0.001, 0.1], counts);
            out.sizes("ringpost_test_batches", "Batches.", &[0.0, 1.0], (&[0, 1, 1], self.0));
        }
    }

    #[test]
    fn a_scrape_adds_the_workers_up() {
        let metrics = Metrics::default();
        metrics.register(Arc::new(Worker(2)));
        metrics.register(Arc::new(Worker(40)));
        for (form, own) in [
            (
                TextForm::Prometheus,
                [
                    "# HELP ringpost_test_frames_total Frames.",
                    "# TYPE ringpost_test_frames_total counter",
                ]
                .as_slice(),
            ),
            (
                TextForm::OpenMetrics,
                &[
                    "# HELP ringpost_test_frames Frames.",
                    "# TYPE ringpost_test_frames counter",
                    "# UNIT ringpost_test_wait_seconds seconds",
                    "# EOF",
                ],
            ),
        ] {
            let (_, text) = metrics.text(form);
            for expected in own.iter().chain(&SHARED) {
                assert!(text.contains(expected), "{expected} in\n{text}");
            }
        }
    }

    const SHARED: [&str; 11] = [
        "ringpost_test_frames_total{kind=\"ping\"} 42",
        "ringpost_test_frames_total{kind=\"ack\"} 2",
        "ringpost_test_open 10",
        "ringpost_test_wait_seconds_count{stage=\"commit\"} 6",
        "ringpost_test_wait_seconds_sum{stage=\"commit\"} 0.5",
        "ringpost_test_wait_seconds_bucket{le=\"0.001\",stage=\"commit\"} 0",
        "ringpost_test_wait_seconds_bucket{le=\"0.1\",stage=\"commit\"} 2",
        "ringpost_test_wait_seconds_bucket{le=\"+Inf\",stage=\"commit\"} 6",
        "# TYPE ringpost_test_batches histogram",
        "ringpost_test_batches_sum 42.0",
        "ringpost_test_batches_bucket{le=\"1.0\"} 2",
    ];

    #[test]
    fn the_form_is_what_was_asked_for_and_the_older_one_where_nothing_was() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3,*/*;q=0.2";
        for (accept, expected) in [
            ("", TextForm::Prometheus),
            ("*/*", TextForm::Prometheus),
            ("text/plain", TextForm::Prometheus),
            ("application/openmetrics-text;q=0, */*", TextForm::Prometheus),
            ("application/openmetrics-text", TextForm::OpenMetrics),
            (prometheus, TextForm::OpenMetrics),
        ] {
            assert_eq!(TextForm::of_accept(accept), expected, "{accept}");
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
