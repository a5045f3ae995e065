//! Latencies, by `hdrhistogram`: three digits from 1 us to an hour.

use std::collections::VecDeque;

use hdrhistogram::Histogram as Hdr;

use crate::report::Latency;

const LOWEST_NS: u64 = 1_000;
const HIGHEST_NS: u64 = 3_600_000_000_000;
const DIGITS: u8 = 3;
/// Points of the curve between two powers of ten of what is left.
const TICKS: u32 = 5;

/// How long messages took, from their intended time.
pub(crate) struct Histogram(Hdr<u64>);

impl Histogram {
    /// Nothing yet.
    ///
    /// # Panics
    /// Never: the bounds are constants that the library takes.
    pub(crate) fn new() -> Self {
        let hdr = Hdr::new_with_bounds(LOWEST_NS, HIGHEST_NS, DIGITS);
        Self(hdr.expect("the bounds are in order"))
    }

    /// One message took so long.
    pub(crate) fn record(&mut self, ns: u64) {
        self.0.saturating_record(ns);
    }

    /// How many were recorded.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// For the report.
    pub(crate) fn latency(&self) -> Latency {
        let us = |ns: u64| ns as f64 / 1e3;
        let at = |quantile: f64| us(self.0.value_at_quantile(quantile));
        let curve = self.0.iter_quantiles(TICKS);
        Latency {
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: us(self.0.max()),
            curve: curve
                .map(|step| (step.quantile_iterated_to(), us(step.value_iterated_to())))
                .collect(),
        }
    }
}

/// When the messages of one sender were meant to leave that the server has not yet promised to
/// keep. It promises them in their order, within a conversation.
#[derive(Default, Clone)]
pub(crate) struct Unpromised(VecDeque<u64>);

impl Unpromised {
    /// A message leaves.
    pub(crate) fn send(&mut self, intended_ns: u64) {
        self.0.push_back(intended_ns);
    }

    /// The server has promised the oldest.
    pub(crate) fn accept(&mut self, now_ns: u64, histogram: &mut Histogram) {
        if let Some(intended_ns) = self.0.pop_front() {
            histogram.record(now_ns.saturating_sub(intended_ns));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Histogram;

    #[test]
    fn a_stall_of_one_in_a_hundred_is_in_the_tail_and_not_in_the_middle() {
        let mut histogram = Histogram::new();
        (0..990).for_each(|_| histogram.record(100_000));
        (0..10).for_each(|_| histogram.record(50_000_000));
        let latency = histogram.latency();
        assert!((latency.p50_us - 100.0).abs() < 1.0, "{latency:?}");
        assert!((latency.p999_us - 50_000.0).abs() < 100.0, "{latency:?}");
        assert!(latency.curve.len() > 5, "{latency:?}");
    }
}
