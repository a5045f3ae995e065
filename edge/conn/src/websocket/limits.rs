//! What one connection may make the codec hold, and which messages its subprotocol takes.

use std::time::Duration;

/// The type of data messages that a subprotocol takes; the other is answered with 1003.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accepts {
    /// Text messages only (`ringpost.v1.json`).
    Text,
    /// Binary messages only (`ringpost.v1.bin`).
    Binary,
}

/// Limits of decoding. One value per subprotocol and worker, lent to each call: they take no
/// space in a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Largest message in bytes, all fragments together. The limit itself passes.
    pub message_bytes_max: u32,
    /// Most frames that one message may come in; at least 1. Empty frames count.
    pub fragments_max: u16,
    /// Longest time from the first byte of a frame or message to its last.
    pub assembly_time_max: Duration,
    /// The type of message that the subprotocol takes.
    pub accepts: Accepts,
}

impl Limits {
    /// Default of `fragments_max`. A sane sender has no use for fragments under 1 KiB; at the
    /// largest message of 64 KiB that would be 64 of them.
    pub const FRAGMENTS_MAX: u16 = 1024;

    /// Default of `assembly_time_max`: the largest message over a line of 64 kbit/s takes 8 s.
    pub const ASSEMBLY_TIME_MAX: Duration = Duration::from_secs(20);

    /// Limits with the defaults for fragments and time. `message_bytes_max` is that of a whole
    /// command in its encoding, not of the content inside.
    pub const fn new(accepts: Accepts, message_bytes_max: u32) -> Self {
        Self {
            message_bytes_max,
            fragments_max: Self::FRAGMENTS_MAX,
            assembly_time_max: Self::ASSEMBLY_TIME_MAX,
            accepts,
        }
    }
}
