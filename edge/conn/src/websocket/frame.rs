//! The header of a client's frame (RFC 6455 section 5.2), judged byte by byte as it arrives.

use super::mask::Key;
use super::{Accepts, Violation};

/// Largest payload of a control frame.
pub const CONTROL_PAYLOAD_BYTES_MAX: usize = 125;

/// Largest header of a client's frame: two bytes, eight of length, four of key.
pub(super) const CLIENT_HEADER_BYTES_MAX: usize = 14;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;
const KEY_BYTES: usize = 4;

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Opcode {
    /// The next fragment of the open message.
    Continuation = 0x0,
    /// A text message or its first fragment.
    Text = 0x1,
    /// A binary message or its first fragment.
    Binary = 0x2,
    /// The sender will send no more.
    Close = 0x8,
    /// Asks for a pong with the same payload.
    Ping = 0x9,
    /// Answers a ping, or a sign of life.
    Pong = 0xa,
}

impl Opcode {
    /// Close, ping and pong: short, never fragmented, allowed between fragments.
    pub const fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }

    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }
}

/// A frame whose header passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Frame {
    pub(super) opcode: Opcode,
    pub(super) fin: bool,
    pub(super) key: Key,
    /// Payload bytes, within the limit.
    pub(super) payload_bytes: u32,
}

impl Frame {
    /// Whether it is a whole item by itself: a control frame, or a message in one frame.
    pub(super) fn stands_alone(&self) -> bool {
        self.fin && self.opcode != Opcode::Continuation
    }
}

/// What the state of the connection allows the next frame to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Expected {
    pub(super) accepts: Accepts,
    /// A message is open: its continuation is expected, another message is not.
    pub(super) message_open: bool,
    /// What the message may still grow by.
    pub(super) message_bytes_left: u32,
    /// Frames that the message may still have.
    pub(super) fragments_left: u16,
}

/// How far a header has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Header {
    /// What is there passes; nothing more can be judged before `bytes_needed` bytes are there.
    Incomplete { bytes_needed: usize },
    /// The payload starts behind `header_bytes`.
    Complete { frame: Frame, header_bytes: usize },
}

/// Reads the header at the start of `bytes`. Each part is judged as soon as it is there: the
/// opcode from the first byte, the mask bit from the second, the length before the key.
pub(super) fn parse(bytes: &[u8], expected: &Expected) -> Result<Header, Violation> {
    let Some((&first, rest)) = bytes.split_first() else {
        return Ok(Header::Incomplete { bytes_needed: 2 });
    };
    let fin = first & FIN != 0;
    let opcode = opcode(first, expected)?;
    let Some((&second, rest)) = rest.split_first() else {
        return Ok(Header::Incomplete { bytes_needed: 2 });
    };
    let length_bytes = length_bytes(second, opcode)?;
    let Some((length, rest)) = rest.split_at_checked(length_bytes) else {
        return Ok(Header::Incomplete { bytes_needed: 2 + length_bytes });
    };
    let payload_bytes = payload_bytes(second & LENGTH, length, opcode, expected)?;
    let header_bytes = 2 + length_bytes + KEY_BYTES;
    let Some(&key) = rest.first_chunk::<KEY_BYTES>() else {
        return Ok(Header::Incomplete { bytes_needed: header_bytes });
    };
    Ok(Header::Complete { frame: Frame { opcode, fin, key, payload_bytes }, header_bytes })
}

/// Judges the first byte.
fn opcode(first: u8, expected: &Expected) -> Result<Opcode, Violation> {
    if first & RESERVED != 0 {
        return Err(Violation::ReservedBit);
    }
    let opcode = Opcode::from_bits(first & OPCODE).ok_or(Violation::ReservedOpcode)?;
    match opcode {
        Opcode::Close | Opcode::Ping | Opcode::Pong if first & FIN == 0 => {
            Err(Violation::ControlFragmented)
        }
        Opcode::Close | Opcode::Ping | Opcode::Pong => Ok(opcode),
        Opcode::Continuation if !expected.message_open => Err(Violation::OrphanContinuation),
        Opcode::Continuation if expected.fragments_left == 0 => Err(Violation::TooManyFragments),
        Opcode::Text | Opcode::Binary if expected.message_open => {
            Err(Violation::InterleavedMessage)
        }
        Opcode::Text if expected.accepts != Accepts::Text => Err(Violation::TextNotAccepted),
        Opcode::Binary if expected.accepts != Accepts::Binary => Err(Violation::BinaryNotAccepted),
        Opcode::Continuation | Opcode::Text | Opcode::Binary => Ok(opcode),
    }
}

/// Judges the second byte: how many bytes of extended length follow.
fn length_bytes(second: u8, opcode: Opcode) -> Result<usize, Violation> {
    if second & MASKED == 0 {
        return Err(Violation::Unmasked);
    }
    match second & LENGTH {
        126.. if opcode.is_control() => Err(Violation::ControlTooLong),
        126 => Ok(2),
        127 => Ok(8),
        _ => Ok(0),
    }
}

/// Judges the length, in whichever form it came.
fn payload_bytes(
    short: u8,
    extended: &[u8],
    opcode: Opcode,
    expected: &Expected,
) -> Result<u32, Violation> {
    let length = extended.iter().fold(0u64, |length, &byte| length << 8 | u64::from(byte));
    let (length, least) = match extended.len() {
        0 => (u64::from(short), 0),
        2 => (length, 126),
        _ => (length, 1 << 16),
    };
    if length >> 63 != 0 {
        return Err(Violation::LengthOverflow);
    }
    if length < least {
        return Err(Violation::LengthNotMinimal);
    }
    let most = if opcode.is_control() {
        CONTROL_PAYLOAD_BYTES_MAX as u32
    } else {
        expected.message_bytes_left
    };
    match u32::try_from(length) {
        Ok(length) if length <= most => Ok(length),
        _ => Err(Violation::MessageTooBig),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: Expected = Expected {
        accepts: Accepts::Binary,
        message_open: false,
        message_bytes_left: 1 << 20,
        fragments_left: 1024,
    };

    /// Header of a masked final binary frame with its length in a form of `length_bytes`.
    fn header(length: u64, length_bytes: usize) -> Vec<u8> {
        let mut bytes = vec![0x82];
        bytes.push(match length_bytes {
            0 => 0x80 | length as u8,
            2 => 0xfe,
            _ => 0xff,
        });
        bytes.extend_from_slice(&length.to_be_bytes()[8 - length_bytes..]);
        bytes.extend_from_slice(&[1, 2, 3, 4]);
        bytes
    }

    #[test]
    fn every_prefix_of_a_header_says_how_many_bytes_it_needs() {
        for (length, length_bytes) in [(0, 0), (125, 0), (126, 2), (65535, 2), (65536, 8)] {
            let bytes = header(length, length_bytes);
            let mut have = 0;
            while let Header::Incomplete { bytes_needed } =
                parse(&bytes[..have], &EXPECTED).unwrap()
            {
                assert!(bytes_needed > have && bytes_needed <= bytes.len());
                have += 1;
            }
            assert_eq!(have, bytes.len());
            let frame = Frame {
                opcode: Opcode::Binary,
                fin: true,
                key: [1, 2, 3, 4],
                payload_bytes: length as u32,
            };
            let complete = Header::Complete { frame, header_bytes: have };
            assert_eq!(parse(&bytes, &EXPECTED), Ok(complete));
        }
    }

    #[test]
    fn a_length_is_taken_only_in_its_shortest_form() {
        for (length, length_bytes) in [(0, 2), (125, 2), (0, 8), (125, 8), (126, 8), (65535, 8)] {
            let bytes = header(length, length_bytes);
            assert_eq!(parse(&bytes, &EXPECTED), Err(Violation::LengthNotMinimal), "{length}");
        }
    }

    #[test]
    fn a_length_is_judged_before_the_key_has_come() {
        for length in [(1 << 20) + 1, 1 << 31, 0xffff_ffff, 1 << 32, (1 << 63) - 1] {
            let bytes = &header(length, 8)[..10];
            assert_eq!(parse(bytes, &EXPECTED), Err(Violation::MessageTooBig), "{length}");
        }
        for length in [1 << 63, u64::MAX] {
            let bytes = &header(length, 8)[..10];
            assert_eq!(parse(bytes, &EXPECTED), Err(Violation::LengthOverflow), "{length}");
        }
    }

    #[test]
    fn the_first_byte_alone_is_judged() {
        for bits in [0x40, 0x20, 0x10] {
            assert_eq!(parse(&[0x82 | bits], &EXPECTED), Err(Violation::ReservedBit));
        }
        for opcode in (3..8).chain(11..16) {
            assert_eq!(parse(&[0x80 | opcode], &EXPECTED), Err(Violation::ReservedOpcode));
        }
        for control in [0x08, 0x09, 0x0a] {
            assert_eq!(parse(&[control], &EXPECTED), Err(Violation::ControlFragmented));
        }
        assert_eq!(parse(&[0x80], &EXPECTED), Err(Violation::OrphanContinuation));
        assert_eq!(parse(&[0x81], &EXPECTED), Err(Violation::TextNotAccepted));
        let open = Expected { message_open: true, ..EXPECTED };
        assert_eq!(parse(&[0x82], &open), Err(Violation::InterleavedMessage));
        let spent = Expected { fragments_left: 0, ..open };
        assert_eq!(parse(&[0x80], &spent), Err(Violation::TooManyFragments));
    }

    #[test]
    fn the_second_byte_alone_is_judged() {
        assert_eq!(parse(&[0x82, 0x05], &EXPECTED), Err(Violation::Unmasked));
        assert_eq!(parse(&[0x89, 0xfe], &EXPECTED), Err(Violation::ControlTooLong));
        assert_eq!(parse(&[0x88, 0xff], &EXPECTED), Err(Violation::ControlTooLong));
    }
}
