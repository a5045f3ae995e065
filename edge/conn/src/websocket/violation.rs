//! What a WebSocket client can do wrong, one variant each, with the close code that answers it.

use ringpost_wire::CloseCode;
use thiserror::Error;

/// A violation of RFC 6455 or of a limit. The connection is closed with
/// [`Violation::close_code`]; nothing that comes after is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Error)]
pub enum Violation {
    /// A frame of a client without a mask (5.1).
    #[error("a frame of a client is not masked")]
    Unmasked,
    /// RSV1, RSV2 or RSV3 set, though no extension was negotiated (5.2).
    #[error("a reserved bit is set")]
    ReservedBit,
    /// Opcodes 3 to 7 and 11 to 15 (5.2).
    #[error("the opcode is reserved")]
    ReservedOpcode,
    /// A close, ping or pong without FIN (5.5).
    #[error("a control frame is fragmented")]
    ControlFragmented,
    /// A close, ping or pong with more than 125 bytes (5.5).
    #[error("a control frame is longer than 125 bytes")]
    ControlTooLong,
    /// A length that would have fitted a shorter form (5.2).
    #[error("a length is not in its shortest form")]
    LengthNotMinimal,
    /// A length with its highest bit set (5.2).
    #[error("a length is beyond 2^63 - 1")]
    LengthOverflow,
    /// A continuation while no message is open (5.4).
    #[error("a continuation without a message")]
    OrphanContinuation,
    /// A text or binary frame inside the fragments of another message (5.4).
    #[error("a message begins inside another")]
    InterleavedMessage,
    /// A close frame whose body is one byte: half a code (5.5.1).
    #[error("a close frame with half a code")]
    CloseTruncated,
    /// A close code that must not be sent (7.4).
    #[error("a close code that must not be sent")]
    CloseCodeInvalid,
    /// A close reason that is not UTF-8 (5.5.1).
    #[error("a close reason is not UTF-8")]
    CloseReasonNotUtf8,
    /// A text message that is not UTF-8 (8.1).
    #[error("text is not UTF-8")]
    TextNotUtf8,
    /// A text message where the subprotocol takes binary ones.
    #[error("the subprotocol takes no text messages")]
    TextNotAccepted,
    /// A binary message where the subprotocol takes text.
    #[error("the subprotocol takes no binary messages")]
    BinaryNotAccepted,
    /// A message, all its fragments together, over the limit.
    #[error("a message is over the limit")]
    MessageTooBig,
    /// More fragments in one message than the limit.
    #[error("a message has too many fragments")]
    TooManyFragments,
    /// A frame or message that stays incomplete for too long.
    #[error("a message did not become complete in time")]
    AssemblyTooSlow,
}

impl Violation {
    /// Every violation once, in the order of declaration: for the registration of counters.
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

    /// The code of the close frame that answers.
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::Unmasked
            | Self::ReservedBit
            | Self::ReservedOpcode
            | Self::ControlFragmented
            | Self::ControlTooLong
            | Self::LengthNotMinimal
            | Self::OrphanContinuation
            | Self::InterleavedMessage
            | Self::CloseTruncated
            | Self::CloseCodeInvalid => CloseCode::Protocol,
            Self::TextNotAccepted | Self::BinaryNotAccepted => CloseCode::Unsupported,
            Self::CloseReasonNotUtf8 | Self::TextNotUtf8 => CloseCode::InvalidData,
            Self::TooManyFragments | Self::AssemblyTooSlow => CloseCode::Policy,
            // The RFC only says that the bit "must be 0"; to a reader it is a length too large.
            Self::LengthOverflow | Self::MessageTooBig => CloseCode::TooBig,
        }
    }

    /// The value of the `reason` label of its counter. A closed set; names are stable.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unmasked => "unmasked",
            Self::ReservedBit => "reserved_bit",
            Self::ReservedOpcode => "reserved_opcode",
            Self::ControlFragmented => "control_fragmented",
            Self::ControlTooLong => "control_too_long",
            Self::LengthNotMinimal => "length_not_minimal",
            Self::LengthOverflow => "length_overflow",
            Self::OrphanContinuation => "orphan_continuation",
            Self::InterleavedMessage => "interleaved_message",
            Self::CloseTruncated => "close_truncated",
            Self::CloseCodeInvalid => "close_code_invalid",
            Self::CloseReasonNotUtf8 => "close_reason_not_utf8",
            Self::TextNotUtf8 => "text_not_utf8",
            Self::TextNotAccepted => "text_not_accepted",
            Self::BinaryNotAccepted => "binary_not_accepted",
            Self::MessageTooBig => "message_too_big",
            Self::TooManyFragments => "too_many_fragments",
            Self::AssemblyTooSlow => "assembly_too_slow",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_violation_is_listed_once_with_a_label_of_its_own() {
        let labels: BTreeSet<_> = Violation::ALL.iter().map(|v| v.label()).collect();
        assert_eq!(labels.len(), Violation::ALL.len());
        for (place, violation) in Violation::ALL.into_iter().enumerate() {
            assert_eq!(violation as usize, place);
        }
        assert_eq!(Violation::AssemblyTooSlow as usize + 1, Violation::ALL.len());
    }
}
