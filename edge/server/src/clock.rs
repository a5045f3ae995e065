//! The wall clock of the threads that may read it: REST, token checks, boot.
//!
//! Workers read the clock once per turn in their driver; `core/*` and the logic here take time as
//! an argument.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970; 0 on a clock that stands before that.
pub fn wall_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis().try_into().unwrap_or(u64::MAX))
}
