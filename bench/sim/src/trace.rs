//! What happened, in order: the end of it for the report, a digest of all of it to compare runs.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::observed::Observed;

/// The trace of a run.
pub(crate) struct Trace {
    shown_max: usize,
    last: VecDeque<(usize, Observed)>,
    digest: DefaultHasher,
}

impl Trace {
    /// A trace that keeps so many events for the report.
    pub(crate) fn new(shown_max: usize) -> Self {
        Self { shown_max, last: VecDeque::new(), digest: DefaultHasher::new() }
    }

    pub(crate) fn note(&mut self, step: usize, event: &Observed) {
        (step, event).hash(&mut self.digest);
        if self.last.len() == self.shown_max {
            self.last.pop_front();
        }
        self.last.push_back((step, event.clone()));
    }

    /// Mixes in what no client sees.
    pub(crate) fn stir(&mut self, what: impl Hash) {
        what.hash(&mut self.digest);
    }

    /// Equal for equal runs of one build.
    pub(crate) fn digest(&self) -> u64 {
        self.digest.finish()
    }

    /// The last events, one a line.
    pub(crate) fn tail(&self) -> String {
        let line = |(step, event): &(usize, Observed)| format!("  step {step}: {event:?}\n");
        self.last.iter().map(line).collect()
    }
}
