//! The REST service.

/// Pages of history that may be read and written at one time; the next request waits its turn.
pub const PAGES_MAX: usize = 16;

/// Contents in one page stop here, bytes: a page of the largest messages is cut, not refused.
pub const PAGE_BYTES_MAX: usize = 1 << 20;

/// What one page costs in memory: contents as read, as base64, and as the body that is sent.
pub const PAGE_MEMORY_BYTES: u64 = 4 * PAGE_BYTES_MAX as u64;
