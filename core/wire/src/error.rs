//! What can be wrong with received bytes: one variant per violation, each with its consequence.
//!
//! A violation inside a well-delimited frame or text costs its command; one that leaves the
//! stream without meaning (length, encoding of text) costs the connection. No variant and no
//! message holds bytes that a peer sent: they go into logs and back to the peer.

use std::borrow::Cow;

use crate::close::CloseReason;
use crate::code::ErrorCode;
use crate::event::{Error, Event};
use crate::id::MessageId;

/// Why received bytes are not a command (or, at a client, not an event).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    // Framing and text: the connection ends.
    /// A frame's header announces a payload over the limit.
    #[error("a payload of {payload_bytes} bytes, at most {max} are taken")]
    FrameTooBig {
        /// What the header announces.
        payload_bytes: u32,
        /// What is taken.
        max: u32,
    },
    /// A JSON text over the limit.
    #[error("a text of {text_bytes} bytes, at most {max} are taken")]
    TextTooBig {
        /// Length of the text.
        text_bytes: usize,
        /// What is taken.
        max: usize,
    },
    /// A WebSocket message ends inside a frame, or holds none.
    #[error("a message must hold one or more whole frames")]
    PartialFrame,
    /// A text of the binary protocol is not UTF-8.
    #[error("`{field}` is not UTF-8")]
    InvalidUtf8 {
        /// Which.
        field: &'static str,
    },
    /// A `\u` escape names half a character (RFC 8259 section 8.2).
    #[error("lone surrogate at byte {at}")]
    LoneSurrogate {
        /// Offset in the text.
        at: usize,
    },

    // The structure of a payload.
    /// The kind of a frame is none of this direction's.
    #[error("kind {kind:#04x} is not known")]
    UnknownKind {
        /// The number.
        kind: u8,
    },
    /// `fixed_bytes` is 0 or 1, reaches beyond the payload, or is more than
    /// [`FIXED_BYTES_MAX`](crate::limits::FIXED_BYTES_MAX).
    #[error(
        "fixed_bytes is {fixed_bytes} in a payload of {payload_bytes} bytes, at most 256 are taken"
    )]
    FixedLength {
        /// What the payload says.
        fixed_bytes: u16,
        /// Length of the payload.
        payload_bytes: usize,
    },
    /// A section's length reaches beyond the payload, or is cut off.
    #[error("section {number} reaches beyond the payload")]
    SectionTruncated {
        /// Which, from 1.
        number: u32,
    },
    /// A list of ids whose length is not a multiple of 16.
    #[error("section `{field}` is not a list of 16-byte ids")]
    ListLength {
        /// Which.
        field: &'static str,
    },

    // The structure of a JSON text.
    /// Not JSON (RFC 8259).
    #[error("not JSON at byte {at}: expected {expected}")]
    Syntax {
        /// Offset in the text.
        at: usize,
        /// What would have been right.
        expected: &'static str,
    },
    /// Nested deeper than [`JSON_DEPTH_MAX`](crate::limits::JSON_DEPTH_MAX).
    #[error("nested deeper than 32 levels at byte {at}")]
    TooDeep {
        /// Offset in the text.
        at: usize,
    },
    /// The same key twice in one object.
    #[error("duplicate key at byte {at}")]
    DuplicateKey {
        /// Offset of the second.
        at: usize,
    },
    /// More keys in one object than [`JSON_KEYS_MAX`](crate::limits::JSON_KEYS_MAX).
    #[error("more than 64 keys in one object at byte {at}")]
    TooManyKeys {
        /// Offset in the text.
        at: usize,
    },
    /// The character U+0000, as itself or escaped.
    #[error("NUL character at byte {at}")]
    Nul {
        /// Offset in the text.
        at: usize,
    },
    /// A number that no double can hold, such as 1e400.
    #[error("number out of range at byte {at}")]
    HugeNumber {
        /// Offset in the text.
        at: usize,
    },
    /// `type` is none of this direction's.
    #[error("this `type` is not known")]
    UnknownType,

    // Fields, in either encoding.
    /// A field that must be there is not (or is empty, or nil).
    #[error("`{field}` is missing")]
    Missing {
        /// Which.
        field: &'static str,
    },
    /// A field of another type than it has: a number where an id belongs, a float for an integer.
    #[error("`{field}` is not {expected}")]
    WrongType {
        /// Which.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// An integer outside its range.
    #[error("`{field}` is not from {min} to {max}")]
    OutOfRange {
        /// Which.
        field: &'static str,
        /// Smallest allowed.
        min: u64,
        /// Largest allowed.
        max: u64,
    },
    /// A word or number of a closed set that is not in it.
    #[error("`{field}` has a value that is not known")]
    UnknownValue {
        /// Which.
        field: &'static str,
    },
    /// Longer than it may be.
    #[error("`{field}` is longer than {max} bytes")]
    TooLong {
        /// Which.
        field: &'static str,
        /// Largest allowed, bytes.
        max: usize,
    },
    /// More entries than there may be.
    #[error("`{field}` has more than {max} entries")]
    TooMany {
        /// Which.
        field: &'static str,
        /// Most allowed.
        max: usize,
    },
    /// The content of a message over the limit.
    #[error("the content has {content_bytes} bytes, at most {max} are taken")]
    ContentTooLarge {
        /// Length of the content.
        content_bytes: usize,
        /// What is taken.
        max: usize,
    },
    /// Plaintext beside ciphertext: never taken, whatever the configuration.
    #[error("`content` beside `encrypted_content`")]
    PlaintextBesideCiphertext,
    /// Two fields of which a command has one.
    #[error("`{field}` and `{other}` exclude each other")]
    Exclusive {
        /// The one.
        field: &'static str,
        /// The other.
        other: &'static str,
    },
}

/// A command that is refused for a violation, and what names it in the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{error}")]
pub struct Refused {
    /// What was wrong.
    pub error: DecodeError,
    /// The tag that the command carried, 0 if none could be read.
    pub tag: u16,
    /// The client's id of the message that it is about, nil if none could be read.
    pub message_id: MessageId,
}

impl From<DecodeError> for Refused {
    /// Nothing could be read that names the command.
    fn from(error: DecodeError) -> Self {
        Self { error, tag: 0, message_id: MessageId::default() }
    }
}

impl Refused {
    /// The answer to the client: an error that says what was wrong, or the close.
    pub fn answer(&self) -> Event {
        self.error.answer(self.message_id)
    }
}

/// What follows from a violation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Consequence {
    /// The command is refused; the connection goes on.
    Refuse(ErrorCode),
    /// The connection ends.
    Close(CloseReason),
}

impl DecodeError {
    /// What the server does about it.
    pub const fn consequence(&self) -> Consequence {
        match self {
            Self::FrameTooBig { .. } | Self::TextTooBig { .. } => {
                Consequence::Close(CloseReason::TooBig)
            }
            Self::PartialFrame => Consequence::Close(CloseReason::PartialFrame),
            Self::InvalidUtf8 { .. } => Consequence::Close(CloseReason::TextNotUtf8),
            Self::LoneSurrogate { .. } => Consequence::Close(CloseReason::LoneSurrogate),
            Self::UnknownKind { .. } | Self::UnknownType => {
                Consequence::Refuse(ErrorCode::UnknownKind)
            }
            Self::ContentTooLarge { .. } => Consequence::Refuse(ErrorCode::TooLarge),
            Self::PlaintextBesideCiphertext => Consequence::Refuse(ErrorCode::PlaintextRefused),
            Self::FixedLength { .. }
            | Self::SectionTruncated { .. }
            | Self::ListLength { .. }
            | Self::Syntax { .. }
            | Self::TooDeep { .. }
            | Self::DuplicateKey { .. }
            | Self::TooManyKeys { .. }
            | Self::Nul { .. }
            | Self::HugeNumber { .. }
            | Self::Missing { .. }
            | Self::WrongType { .. }
            | Self::OutOfRange { .. }
            | Self::UnknownValue { .. }
            | Self::TooLong { .. }
            | Self::TooMany { .. }
            | Self::Exclusive { .. } => Consequence::Refuse(ErrorCode::Malformed),
        }
    }

    /// The answer to the client: a refusal that says what was wrong, or the close.
    /// `message_id` is the one that the refused bytes named, nil if none.
    pub fn answer(&self, message_id: MessageId) -> Event {
        match self.consequence() {
            Consequence::Refuse(code) => Event::Error(Error {
                message_id,
                detail: Cow::Owned(self.to_string()),
                ..Error::new(code)
            }),
            Consequence::Close(reason) => reason.event(),
        }
    }
}
