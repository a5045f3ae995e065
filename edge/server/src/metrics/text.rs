//! The OpenMetrics text of a scrape, by prometheus-client.

use std::collections::HashMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;

use super::{Histogram, Label, Samples, Values};

/// The samples as text.
pub(super) fn encode(samples: Samples) -> String {
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
            // The registry ends each help text with a full stop of its own.
            let help = family.help.trim_end_matches('.');
            let help = format!("{help}.");
            let mut metric = encoder.encode_descriptor(name, &help, None, kind)?;
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
