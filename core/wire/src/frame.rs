//! Frames of the binary protocol: header, kinds, flags, sections.
//!
//! ```text
//!  0        4      5       6     8                      8 + payload_bytes
//!  +--------+------+-------+-----+----------------------+
//!  | u32 LE | kind | flags | tag | payload              |
//!  +--------+------+-------+-----+----------------------+
//!                                  fixed part | section | section ...
//!                                               u32 LE length + bytes
//! ```
//!
//! The header counts the payload without itself. Unknown flags are ignored by a reader and
//! written as 0. A frame's meaning never depends on the one before it.

use bytes::{BufMut, BytesMut};

use crate::error::DecodeError;
use crate::limits::{HEADER_BYTES, PREAMBLE_BYTES, SECTION_HEAD_BYTES};

/// What a client of the binary protocol over TCP sends first: the name and the major version. The
/// server sends none. Inside WebSocket the subprotocol's name stands for it.
pub const PREAMBLE: [u8; PREAMBLE_BYTES] = *b"RPP1";

/// Bits of a header's `flags`, by kind.
pub mod flag {
    /// `hello`: the credential is a resume ticket, not a token.
    pub const TICKET: u8 = 1;
    /// `send_message`, `new_message`: for devices connected now, never stored.
    pub const EPHEMERAL: u8 = 1;
    /// `send_message`, `new_message`: the content is UTF-8 text, not ciphertext.
    pub const PLAIN: u8 = 2;
    /// `typing`: typing, else stopped. `client_state`: in the foreground.
    pub const ACTIVE: u8 = 1;
    /// `presence`: at least one device is connected.
    pub const ONLINE: u8 = 1;
}

/// Declares a closed set of kinds with number and JSON `type`.
macro_rules! kinds {
    ($(#[$meta:meta])* $enum:ident { $($variant:ident = $number:literal, $name:literal;)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        #[repr(u8)]
        pub enum $enum {
            $(#[doc = concat!("`", $name, "`")] $variant = $number,)*
        }

        impl $enum {
            /// Every kind, in the order of the numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The kind with this number, if there is one.
            pub const fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The kind with this JSON `type`, if there is one.
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The number in the header.
            pub const fn number(self) -> u8 {
                self as u8
            }

            /// The `type` in JSON, and the label in metrics.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

kinds! {
    /// What a client sends. Numbers are never reused; 0x80 and above are never given out.
    CommandKind {
        Hello = 0x01, "hello";
        Auth = 0x02, "auth";
        SendMessage = 0x03, "send_message";
        Ack = 0x04, "ack";
        Receipt = 0x05, "receipt";
        Typing = 0x06, "typing";
        PresenceSubscribe = 0x07, "presence_subscribe";
        PresenceUnsubscribe = 0x08, "presence_unsubscribe";
        ClientState = 0x09, "client_state";
        Bye = 0x0a, "bye";
        GapClosed = 0x0b, "gap_closed";
        Ping = 0x7e, "ping";
        Pong = 0x7f, "pong";
    }
}

kinds! {
    /// What the server sends. Numbers are never reused; 0x80 and above are never given out.
    EventKind {
        Welcome = 0x41, "welcome";
        Receipt = 0x42, "receipt";
        NewMessage = 0x43, "new_message";
        Typing = 0x44, "typing";
        Presence = 0x45, "presence";
        GroupEvent = 0x46, "group_event";
        KeysLow = 0x47, "keys_low";
        DeviceChange = 0x48, "device_change";
        QueueEmpty = 0x49, "queue_empty";
        Error = 0x4a, "error";
        GoAway = 0x4b, "goaway";
        Ping = 0x7e, "ping";
        Pong = 0x7f, "pong";
    }
}

/// The header of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Length of what follows the header, bytes.
    pub payload_bytes: u32,
    /// Number of a [`CommandKind`] or [`EventKind`], or one that is not known here.
    pub kind: u8,
    /// Bits of [`flag`].
    pub flags: u8,
    /// Chosen by the client for a command and echoed in its answer; 0 = none.
    pub tag: u16,
}

impl Header {
    /// The header in its bytes.
    pub const fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let [a, b, c, d] = self.payload_bytes.to_le_bytes();
        let [e, f] = self.tag.to_le_bytes();
        [a, b, c, d, self.kind, self.flags, e, f]
    }

    /// The header that stands in `bytes`. Every combination is one; limits are the reader's.
    pub const fn from_bytes(bytes: [u8; HEADER_BYTES]) -> Self {
        let [a, b, c, d, kind, flags, e, f] = bytes;
        Self {
            payload_bytes: u32::from_le_bytes([a, b, c, d]),
            kind,
            flags,
            tag: u16::from_le_bytes([e, f]),
        }
    }
}

/// One received frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// The header; its `payload_bytes` is the length of `payload`.
    pub header: Header,
    /// Fixed part and sections.
    pub payload: &'a [u8],
}

/// The sections behind a fixed part, in the order that the kind fixes. Missing trailing sections
/// read as empty, and sections that are never asked for are ignored. Invariant: all are whole.
pub(crate) struct Sections<'a>(&'a [u8]);

impl<'a> Sections<'a> {
    /// The sections that `bytes` are.
    ///
    /// # Errors
    /// If the length of one is cut off or reaches beyond the payload, also of one that this reader
    /// does not know: a payload means the same to all, or nothing.
    pub(crate) fn of(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut rest = bytes;
        let mut number = 1;
        // Ends: each round takes the length of a section out of the bytes.
        while !rest.is_empty() {
            (_, rest) = first_section(rest).ok_or(DecodeError::SectionTruncated { number })?;
            number += 1;
        }
        Ok(Self(bytes))
    }

    /// The next section; empty if there is none.
    pub(crate) fn next(&mut self) -> &'a [u8] {
        let Some((section, rest)) = first_section(self.0) else { return &[] };
        self.0 = rest;
        section
    }
}

/// A section and what is behind it; `None` if it is not whole.
fn first_section(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

/// A frame being written at the end of a buffer; the header's length is filled in by `finish`.
pub(crate) struct FrameWriter<'a> {
    out: &'a mut BytesMut,
    start: usize,
}

impl<'a> FrameWriter<'a> {
    /// Begins a frame at the end of `out`.
    pub(crate) fn begin(out: &'a mut BytesMut, kind: u8, flags: u8, tag: u16) -> Self {
        let start = out.len();
        out.put_slice(&Header { payload_bytes: 0, kind, flags, tag }.to_bytes());
        Self { out, start }
    }

    /// Where the fixed part is to be written, right after [`Self::begin`].
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        self.out
    }

    /// Appends a section.
    pub(crate) fn section(&mut self, bytes: &[u8]) {
        self.section_head(bytes.len());
        self.out.put_slice(bytes);
    }

    /// Appends the length of a last section whose bytes travel on their own.
    pub(crate) fn section_head(&mut self, section_bytes: usize) {
        self.out.reserve(SECTION_HEAD_BYTES + section_bytes);
        self.out.put_u32_le(u32::try_from(section_bytes).expect("a section is far below 4 GiB"));
    }

    /// Fills in the length; `apart_bytes` of the payload travel on their own.
    pub(crate) fn finish(self, apart_bytes: usize) {
        let payload = self.out.len() - self.start - HEADER_BYTES + apart_bytes;
        let payload = u32::try_from(payload).expect("a frame is far below 4 GiB");
        self.out[self.start..self.start + 4].copy_from_slice(&payload.to_le_bytes());
    }
}
