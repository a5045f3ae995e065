//! Cells that parts count in: relaxed atomics, read by the scrape.
//!
//! A scrape may see one cell later than another; each by itself is right and never goes back.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A counter that any thread may raise.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn increment(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// The count so far.
    pub fn count(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
