//! What a WebSocket client can do wrong, one variant each, with the reason that answers it.

use std::fmt;

use ringpost_wire::CloseReason;

/// A violation of RFC 6455 or of a limit. The connection is closed with
/// [`Violation::reason`]; nothing that comes after is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Violation {
    /// A frame of a client without a mask (5.1).
    Unmasked,
    /// RSV1, RSV2 or RSV3 set, though no extension was negotiated (5.2).
    ReservedBit,
    /// Opcodes 3 to 7 and 11 to 15 (5.2).
    ReservedOpcode,
    /// A close, ping or pong without FIN (5.5).
    ControlFragmented,
    /// A close, ping or pong with more than 125 bytes (5.5).
    ControlTooLong,
    /// A length that would have fitted a shorter form (5.2).
    LengthNotMinimal,
    /// A length with its highest bit set (5.2).
    LengthOverflow,
    /// A continuation while no message is open (5.4).
    OrphanContinuation,
    /// A text or binary frame inside the fragments of another message (5.4).
    InterleavedMessage,
    /// A close frame whose body is one byte: half a code (5.5.1).
    CloseTruncated,
    /// A close code that must not be sent (7.4).
    CloseCodeInvalid,
    /// A close reason that is not UTF-8 (5.5.1).
    CloseReasonNotUtf8,
    /// A text message that is not UTF-8 (8.1).
    TextNotUtf8,
    /// A text message where the subprotocol takes binary ones.
    TextNotAccepted,
    /// A binary message where the subprotocol takes text.
    BinaryNotAccepted,
    /// A message, all its fragments together, over the limit.
    MessageTooBig,
    /// More fragments in one message than the limit.
    TooManyFragments,
    /// A frame or message that stays incomplete for too long.
    AssemblyTooSlow,
}

impl Violation {
    /// Every violation once, in the order of declaration.
    pub const ALL: [Self; 18] = [
        Self::Unmasked,
        Self::ReservedBit,
        Self::ReservedOpcode,
        Self::ControlFragmented,
        Self::ControlTooLong,
        Self::LengthNotMinimal,
        Self::LengthOverflow,
        Self::OrphanContinuation,
        Self::InterleavedMessage,
        Self::CloseTruncated,
        Self::CloseCodeInvalid,
        Self::CloseReasonNotUtf8,
        Self::TextNotUtf8,
        Self::TextNotAccepted,
        Self::BinaryNotAccepted,
        Self::MessageTooBig,
        Self::TooManyFragments,
        Self::AssemblyTooSlow,
    ];

    /// What the Close frame that answers says.
    pub const fn reason(self) -> CloseReason {
        match self {
            Self::Unmasked => CloseReason::Unmasked,
            Self::ReservedBit => CloseReason::ReservedBit,
            Self::ReservedOpcode => CloseReason::ReservedOpcode,
            Self::ControlFragmented => CloseReason::ControlFragmented,
            Self::ControlTooLong => CloseReason::ControlTooLong,
            Self::LengthNotMinimal => CloseReason::LengthNotMinimal,
            Self::OrphanContinuation => CloseReason::OrphanContinuation,
            Self::InterleavedMessage => CloseReason::InterleavedMessage,
            Self::CloseTruncated => CloseReason::CloseTruncated,
            Self::CloseCodeInvalid => CloseReason::CloseCodeInvalid,
            Self::TextNotAccepted => CloseReason::TextNotAccepted,
            Self::BinaryNotAccepted => CloseReason::BinaryNotAccepted,
            Self::CloseReasonNotUtf8 => CloseReason::CloseReasonNotUtf8,
            Self::TextNotUtf8 => CloseReason::TextNotUtf8,
            Self::TooManyFragments => CloseReason::TooManyFragments,
            Self::AssemblyTooSlow => CloseReason::AssemblyTooSlow,
            // The RFC only says that the bit "must be 0"; to a reader it is a length too large.
            Self::LengthOverflow | Self::MessageTooBig => CloseReason::TooBig,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason().text())
    }
}

impl std::error::Error for Violation {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_violation_is_listed_once() {
        for (place, violation) in Violation::ALL.into_iter().enumerate() {
            assert_eq!(violation as usize, place);
        }
        assert_eq!(Violation::AssemblyTooSlow as usize + 1, Violation::ALL.len());
    }
}
