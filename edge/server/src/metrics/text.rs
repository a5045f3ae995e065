//! The text of a scrape: OpenMetrics by prometheus-client, and the older text form of Prometheus.
//!
//! The forms differ in what a counter is called in its head, and in what says a unit: OpenMetrics has a
//! line for it, the older form the name alone.

use std::collections::HashMap;
use std::fmt::{self, Write};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::{Registry, Unit};

use super::{Family, Histogram, Label, Samples, Values};

/// The samples in the text form of Prometheus, version 0.0.4.
pub(super) fn prometheus(samples: &Samples) -> String {
    let mut text = String::new();
    for (name, family) in &samples.families {
        write_family(&mut text, name, family).expect("writing to a String cannot fail");
    }
    text
}

fn write_family(out: &mut String, name: &str, family: &Family) -> fmt::Result {
    let (name, kind) = match family.values {
        Values::Counters(_) => (format!("{name}_total"), "counter"),
        Values::Gauges(_) => (name.to_owned(), "gauge"),
        Values::Histograms(_) => (name.to_owned(), "histogram"),
    };
    writeln!(out, "# HELP {name} {}", help(family))?;
    writeln!(out, "# TYPE {name} {kind}")?;
    match &family.values {
        Values::Counters(values) => {
            for (labels, value) in values {
                writeln!(out, "{name}{} {value}", braces(None, labels))?;
            }
        }
        Values::Gauges(values) => {
            for (labels, value) in values {
                writeln!(out, "{name}{} {value}", braces(None, labels))?;
            }
        }
        Values::Histograms(values) => {
            for (labels, value) in values {
                write_histogram(out, &name, labels, value)?;
            }
        }
    }
    Ok(())
}

fn write_histogram(out: &mut String, name: &str, labels: &[Label], it: &Histogram) -> fmt::Result {
    let mut count = 0;
    let bounds = it.bounds.iter().map(|bound| format!("{bound:?}")).chain(["+Inf".to_owned()]);
    for (bound, bucket) in bounds.zip(&it.buckets) {
        count += bucket;
        writeln!(out, "{name}_bucket{} {count}", braces(Some(&bound), labels))?;
    }
    writeln!(out, "{name}_sum{} {:?}", braces(None, labels), it.sum)?;
    writeln!(out, "{name}_count{} {count}", braces(None, labels))
}

/// Labels as they stand behind a name. Their values are from closed sets and need no escapes.
fn braces(bound: Option<&str>, labels: &[Label]) -> String {
    let bound = bound.map(|bound| ("le", bound));
    let all: Vec<String> = bound
        .into_iter()
        .chain(labels.iter().copied())
        .map(|(name, value)| format!("{name}=\"{value}\""))
        .collect();
    if all.is_empty() { String::new() } else { format!("{{{}}}", all.join(",")) }
}

/// What a metric is, as a sentence.
fn help(family: &Family) -> String {
    format!("{}.", family.help.trim_end_matches('.'))
}

/// The unit that a name ends in, and the name before it.
fn unit(name: &str) -> (&str, Option<Unit>) {
    let units = [("_seconds", Unit::Seconds), ("_bytes", Unit::Bytes)];
    let found = units.into_iter().find_map(|(end, unit)| Some((name.strip_suffix(end)?, unit)));
    found.map_or((name, None), |(stem, unit)| (stem, Some(unit)))
}

/// The samples in the OpenMetrics text form.
pub(super) fn open_metrics(samples: Samples) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(samples));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)
        .expect("writing to a String cannot fail");
    text
}

impl Collector for Samples {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (name, family) in &self.families {
            let kind = match family.values {
                Values::Counters(_) => MetricType::Counter,
                Values::Gauges(_) => MetricType::Gauge,
                Values::Histograms(_) => MetricType::Histogram,
            };
            let (stem, unit) = unit(name);
            let mut metric = encoder.encode_descriptor(stem, &help(family), unit.as_ref(), kind)?;
            match &family.values {
                Values::Counters(values) => {
                    for (labels, value) in values {
                        labelled(&mut metric, labels, |metric| {
                            metric.encode_counter::<NoLabelSet, u64, u64>(value, None)
                        })?;
                    }
                }
                Values::Gauges(values) => {
                    for (labels, value) in values {
                        labelled(&mut metric, labels, |metric| metric.encode_gauge(value))?;
                    }
                }
                Values::Histograms(values) => {
                    for (labels, value) in values {
                        labelled(&mut metric, labels, |metric| histogram(metric, value))?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn labelled(
    metric: &mut MetricEncoder<'_>,
    labels: &Vec<Label>,
    encode: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    if labels.is_empty() { encode(metric) } else { encode(&mut metric.encode_family(labels)?) }
}

fn histogram(metric: &mut MetricEncoder<'_>, histogram: &Histogram) -> fmt::Result {
    let bounds = histogram.bounds.iter().copied().chain([f64::INFINITY]);
    let buckets: Vec<(f64, u64)> = bounds.zip(histogram.buckets.iter().copied()).collect();
    let count = histogram.buckets.iter().sum();
    let exemplars: Option<&HashMap<usize, Exemplar<NoLabelSet, f64>>> = None;
    metric.encode_histogram(histogram.sum, count, &buckets, exemplars)
}
