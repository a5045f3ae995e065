//! What happened, for people and for comparison: the last lines, and a digest of all of them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::fact::Fact;

/// The log of a run, shared by everything in the world.
#[derive(Clone, Debug)]
pub(crate) struct Trace(Rc<RefCell<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    lines: VecDeque<String>,
    lines_max: usize,
    digest: u64,
    count: u64,
    time_us: u64,
    fresh: Vec<Fact>,
}

impl Trace {
    /// Nothing happened yet; keeps so many lines for a report.
    pub(crate) fn new(lines_max: usize) -> Self {
        Self(Rc::new(RefCell::new(Inner { lines_max, ..Inner::default() })))
    }

    /// Time for the lines that follow.
    pub(crate) fn set_time(&self, time_us: u64) {
        self.0.borrow_mut().time_us = time_us;
    }

    /// Notes something that checkers do not see.
    pub(crate) fn note(&self, line: &str) {
        self.0.borrow_mut().line(line);
    }

    /// Notes a fact for the checkers.
    pub(crate) fn fact(&self, fact: Fact) {
        let mut inner = self.0.borrow_mut();
        // What is held, what has expired and each turn is told each round: too often to be read.
        if !matches!(fact, Fact::Held { .. } | Fact::Turned { .. } | Fact::Expired { .. }) {
            inner.line(&format!("{fact:?}"));
        }
        inner.fresh.push(fact);
    }

    /// Takes the facts that no checker has seen.
    #[must_use]
    pub(crate) fn take(&self) -> Vec<Fact> {
        std::mem::take(&mut self.0.borrow_mut().fresh)
    }

    /// The last lines.
    #[must_use]
    pub(crate) fn last_lines(&self) -> Vec<String> {
        self.0.borrow().lines.iter().cloned().collect()
    }

    /// Digest and number of all lines.
    #[must_use]
    pub(crate) fn digest(&self) -> (u64, u64) {
        let inner = self.0.borrow();
        (inner.digest, inner.count)
    }
}

impl Inner {
    fn line(&mut self, text: &str) {
        let line = format!("{:>12.6} {text}", self.time_us as f64 / 1e6);
        self.digest = xxh3_64_with_seed(line.as_bytes(), self.digest);
        self.count += 1;
        if self.lines.len() == self.lines_max {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }
}
