//! Seeds that once broke something. The gate runs them, each twice.
//!
//! A seed names one world only as long as nothing in the simulator draws differently; what it once
//! broke has a test with a name beside the code that was at fault.

/// A seed, and what it once broke.
pub const REGRESSIONS: &[(u64, &str)] = &[
    (2, "`queue_empty` came ahead of a message that was on its way when the connection came"),
    (32, "a store called persisted what a killed process had left in the page cache"),
    (301, "a worker with more records than the journal takes at once committed nothing any more"),
    (2_006_810, "a damaged batch at a segment's end passed for torn, as the next one was torn too"),
    (50_000_755, "what was acked after the journal had ended was pushed to that connection again"),
    (1_795_538_898_001_154, "a user who filled the memory alone could write to nobody absent"),
];
