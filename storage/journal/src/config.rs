//! What an operator may set, and the limits that follow from it.
//!
//! A [`Config`] is checked once, by [`Limits::new`]; everything behind it works with [`Limits`] and
//! never looks at the configuration again. The relations between the numbers are asserted here,
//! so that the logic can rely on them: a record always fits into half a segment, a batch into one.

use std::time::Duration;

use thiserror::Error;

use crate::format::{BLOCK_BYTES, record_cost};

/// Smallest segment: sixteen blocks. Useful in tests only.
pub const SEGMENT_BYTES_MIN: u64 = 16 * BLOCK_BYTES as u64;
/// Largest segment: above it a batch header could no longer count its payload in 32 bits.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// Settings of one journal. `Config::default()` is what `journal.*` has when a key is absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Size of one segment file in bytes, a multiple of 4,096 between [`SEGMENT_BYTES_MIN`] and
    /// [`SEGMENT_BYTES_MAX`]. Default 64 MiB. Trimming frees whole segments only.
    pub segment_bytes: u64,
    /// Bytes that all segment files together may take. Default 4 GiB. When it is used up, new
    /// records are refused until the store has caught up and the journal is trimmed.
    pub disk_budget_bytes: u64,
    /// A batch is closed when it would grow beyond this many bytes on disk. Default 1 MiB. A
    /// single larger record still goes out, alone.
    pub batch_bytes_max: u64,
    /// Largest record (head and body together). Default 1 MiB.
    pub record_bytes_max: u64,
    /// Bytes, as they will lie on disk, that may be submitted and not yet durable. Default 64 MiB.
    /// It bounds the memory of the journal: every record costs at least one block of it.
    pub inflight_bytes_max: u64,
    /// Segments that are prewritten ahead of need. Default 2, at least 1.
    pub spare_segments: u32,
    /// How long after the beginning of a batch the next one may begin at the latest, though the
    /// journal is free: the more records a batch had, the longer its successor gathers. Default
    /// 500 us; zero: never. Where a sync takes longer than this nothing waits.
    pub gather_max: Duration,
}

/// Largest `gather_max`: above it a sender would notice.
pub const GATHER_CEILING: Duration = Duration::from_millis(20);

impl Default for Config {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            disk_budget_bytes: 4 << 30,
            batch_bytes_max: 1 << 20,
            record_bytes_max: 1 << 20,
            inflight_bytes_max: 64 << 20,
            spare_segments: 2,
            gather_max: Duration::from_micros(500),
        }
    }
}

/// A setting that cannot work, with what would.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("journal.{key} = {found}: {allowed}")]
pub struct ConfigError {
    /// Name of the field of [`Config`].
    pub key: &'static str,
    /// The value that was found.
    pub found: u64,
    /// What is allowed, in words.
    pub allowed: String,
}

/// A checked [`Config`] and the numbers that follow from it.
#[derive(Debug, Clone)]
pub struct Limits {
    pub(crate) segment_bytes: u64,
    pub(crate) disk_budget_bytes: u64,
    pub(crate) batch_bytes_max: u64,
    pub(crate) record_bytes_max: u64,
    pub(crate) inflight_bytes_max: u64,
    pub(crate) spare_segments: usize,
    pub(crate) gather_max: Duration,
    /// Spares kept after a trim; what is beyond is deleted, so that a backlog that has been
    /// worked off gives its disk space back.
    pub(crate) spare_kept_max: usize,
    /// Bytes on disk of the largest record in a batch of its own.
    pub(crate) record_cost_max: u64,
    /// Room below which a journal that gets no more says so: what was taken on before has it.
    pub(crate) reserve_bytes: u64,
}

impl Limits {
    /// Checks `config`.
    ///
    /// # Errors
    /// The first setting that is out of its range, or that contradicts another.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        let refuse = |key, found, allowed| Err(ConfigError { key, found, allowed });
        let segment = config.segment_bytes;
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&segment)
            || !segment.is_multiple_of(BLOCK_BYTES as u64)
        {
            let allowed = format!(
                "a multiple of {BLOCK_BYTES} from {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX}"
            );
            return refuse("segment_bytes", segment, allowed);
        }
        let record_cost_max = record_cost(config.record_bytes_max.min(SEGMENT_BYTES_MAX));
        if config.record_bytes_max == 0 || record_cost_max > segment / 2 {
            let allowed = format!(
                "at least 1, and with its headers at most half a segment ({} bytes)",
                segment / 2
            );
            return refuse("record_bytes_max", config.record_bytes_max, allowed);
        }
        if !(BLOCK_BYTES as u64..=segment).contains(&config.batch_bytes_max) {
            let allowed = format!("from {BLOCK_BYTES} to segment_bytes ({segment})");
            return refuse("batch_bytes_max", config.batch_bytes_max, allowed);
        }
        if config.spare_segments == 0 || u64::from(config.spare_segments) > 1024 {
            let found = u64::from(config.spare_segments);
            return refuse("spare_segments", found, "from 1 to 1024".to_owned());
        }
        let budget_min = (u64::from(config.spare_segments) + 2) * segment;
        if config.disk_budget_bytes < budget_min {
            let allowed = format!("at least spare_segments + 2 segments ({budget_min} bytes)");
            return refuse("disk_budget_bytes", config.disk_budget_bytes, allowed);
        }
        if config.inflight_bytes_max < 2 * record_cost_max {
            let allowed = format!("at least two of the largest records ({})", 2 * record_cost_max);
            return refuse("inflight_bytes_max", config.inflight_bytes_max, allowed);
        }
        if config.gather_max > GATHER_CEILING {
            let found = u64::try_from(config.gather_max.as_micros()).unwrap_or(u64::MAX);
            let allowed = format!("at most {} microseconds", GATHER_CEILING.as_micros());
            return refuse("gather_max", found, allowed);
        }
        Ok(Self {
            segment_bytes: segment,
            disk_budget_bytes: config.disk_budget_bytes,
            batch_bytes_max: config.batch_bytes_max,
            record_bytes_max: config.record_bytes_max,
            inflight_bytes_max: config.inflight_bytes_max,
            spare_segments: config.spare_segments as usize,
            gather_max: config.gather_max,
            spare_kept_max: config.spare_segments as usize + 2,
            record_cost_max,
            reserve_bytes: (segment / 2).min(config.inflight_bytes_max),
        })
    }

    /// Records that can be in flight at once: each costs at least one block.
    #[must_use]
    pub fn inflight_records_max(&self) -> usize {
        usize::try_from(self.inflight_bytes_max / BLOCK_BYTES as u64)
            .expect("checked against the segment size on a 64-bit machine")
    }

    /// Memory that the journal may take at most: the records in flight, and the batch being
    /// written beside them. For the sum that is printed at boot.
    #[must_use]
    pub fn memory_bytes_max(&self) -> u64 {
        self.inflight_bytes_max + self.batch_bytes_max.max(self.record_cost_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert!(Limits::new(&Config::default()).is_ok());
    }

    #[test]
    fn a_contradiction_is_refused_by_name() {
        let check = |change: fn(&mut Config), key: &str| {
            let mut config = Config::default();
            change(&mut config);
            let error = Limits::new(&config).expect_err(key);
            assert_eq!(error.key, key);
            assert!(error.to_string().contains(key), "{error}");
        };
        check(|c| c.segment_bytes = 1000, "segment_bytes");
        check(|c| c.segment_bytes = (64 << 20) + 1, "segment_bytes");
        check(|c| c.segment_bytes = 2 << 30, "segment_bytes");
        check(|c| c.record_bytes_max = 0, "record_bytes_max");
        check(|c| c.record_bytes_max = 32 << 20, "record_bytes_max");
        check(|c| c.record_bytes_max = u64::MAX, "record_bytes_max");
        check(|c| c.batch_bytes_max = 100, "batch_bytes_max");
        check(|c| c.batch_bytes_max = 65 << 20, "batch_bytes_max");
        check(|c| c.spare_segments = 0, "spare_segments");
        check(|c| c.disk_budget_bytes = 128 << 20, "disk_budget_bytes");
        check(|c| c.inflight_bytes_max = 1 << 20, "inflight_bytes_max");
        check(|c| c.gather_max = Duration::from_secs(1), "gather_max");
    }
}
