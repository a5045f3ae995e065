//! Limits of the wire: each once, with unit and the arithmetic behind it.

/// Largest content of one message, bytes. 64 KiB: a long text with its envelope; media travels by
/// reference.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;
