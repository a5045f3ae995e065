//! What the embedded engine may take, and what that is in memory: the arithmetic of its line in the
//! sum that is printed at boot.
//!
//! The engine counts a row by its bytes. What it costs in memory is more, and what is flushed leaves
//! later than it is counted; both stand here, and `tests/memory.rs` holds the sum against what the
//! allocator hands out.

use super::Space;

/// A row costs at most so many times what the engine counts for it, which is its key, its value and
/// 80 B. In memory it is a node of the skip list (104 B and 16 for its pointers, on average), two
/// allocations for key and value, which a flush gives a header of 24 B each, and what the allocator
/// rounds up: less than twice the count for a row of any size.
const ROW_COST: u64 = 2;

/// Memtables that wait to be flushed, all spaces together. With more a commit waits.
const SEALED_MAX: u64 = 2;

/// Memtables that may exist as counted: one of each space is written to.
const COUNTED_MAX: u64 = Space::ALL.len() as u64 + SEALED_MAX;

/// Memtables in memory: a flushed one stays until a memtable of any space is sealed, so that while
/// the next ones fill, those that waited then are still there.
const IN_MEMORY_MAX: u64 = COUNTED_MAX + Space::ALL.len() as u64;

/// Runs of the youngest level at which fjall slows writers down. Index and filter of their files stay
/// in memory.
pub(super) const RUNS_SLOW: usize = 20;

/// Of a file of small rows, index and filter are at most such a part: a filter of 19 bits for each
/// row, and a key for each 4 KiB.
const INDEX_PART: u64 = 24;

/// Indexes of the second level, which is of one size however much is stored. Deeper ones come from
/// the cache, but for what is above their blocks: 1 MiB for each 6 GiB on disk.
const OLDER_INDEX_BYTES: u64 = 16 << 20;

/// What a flush or a compaction holds: blocks that are read and written, and the index and the filter
/// of the file that it writes.
const THREAD_BYTES: u64 = 16 << 20;

/// The rows of the largest commit, as counted.
const COMMIT_BYTES: u64 = 8 << 20;

/// Fewest files that the engine is let keep open.
pub const FILES_MIN: usize = 64;

/// Largest file of the engine, bytes: a log or a table ends at 64 MiB, and what is written last may
/// be a commit more. With as much again to spare.
pub const FILE_BYTES_MAX: u64 = 128 << 20;

/// Limits of a [`super::FjallEngine`]; all bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FjallLimits {
    /// Cache of blocks. Default 64 MiB.
    pub cache_bytes: u64,
    /// Memtable of a space, as the engine counts it: a larger one is flushed. A commit waits while
    /// all of them together are six times this. Default 16 MiB.
    pub memtable_bytes: u64,
    /// All files of the write-ahead log; at least 64 MiB. Default 256 MiB.
    pub log_bytes_max: u64,
    /// Rows of at least this size are stored apart from their keys. Default 256: compaction then
    /// moves the keys of ordinary messages and not their bodies.
    pub separate_bytes_min: u32,
    /// Threads that flush and compact. Default 2.
    pub threads: usize,
    /// Files that may be kept open beside those that are written, at least [`FILES_MIN`]. More are
    /// opened anew for each read. Default 900.
    pub files_max: usize,
}

impl Default for FjallLimits {
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
            memtable_bytes: 16 << 20,
            log_bytes_max: 256 << 20,
            separate_bytes_min: 256,
            threads: 2,
            files_max: 900,
        }
    }
}

impl FjallLimits {
    /// The memtable of a space where all of them may take so much memory.
    pub const fn memtable_within(write_buffers_bytes: u64) -> u64 {
        write_buffers_bytes / (IN_MEMORY_MAX * ROW_COST)
    }

    /// All memtables, as the engine counts them: at this a commit waits until one is flushed.
    pub const fn counted_bytes_max(&self) -> u64 {
        COUNTED_MAX * self.memtable_bytes
    }

    /// What the engine may hold in memory, bytes: cache, write buffers, the indexes of its files, and
    /// what its threads work with.
    pub const fn memory_bytes_max(&self) -> u64 {
        let write_buffers = ROW_COST * (IN_MEMORY_MAX * self.memtable_bytes + COMMIT_BYTES);
        let young_files = (RUNS_SLOW * Space::ALL.len()) as u64 * self.memtable_bytes;
        let threads = self.threads as u64 * THREAD_BYTES;
        let index = young_files / INDEX_PART + OLDER_INDEX_BYTES;
        self.cache_bytes + write_buffers + index + threads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memtables_take_the_memory_that_they_were_given() {
        let given = 320 << 20;
        let memtable_bytes = FjallLimits::memtable_within(given);
        let limits = FjallLimits { memtable_bytes, ..FjallLimits::default() };
        assert_eq!(memtable_bytes, 16 << 20);
        assert!(limits.counted_bytes_max() * ROW_COST < given);
        assert!(limits.memory_bytes_max() > limits.cache_bytes + given);
    }
}
