//! Frames of the server: never masked, never fragmented. The header is written apart from the
//! payload, so that an encoded event is not copied to be framed.

use bytes::BufMut;

use super::{CONTROL_PAYLOAD_BYTES_MAX, Opcode};

/// Largest header that the server writes: two bytes and eight of length.
pub const HEADER_BYTES_MAX: usize = 10;

/// Longest reason of a close frame: a control payload less the code.
const CLOSE_REASON_BYTES_MAX: usize = CONTROL_PAYLOAD_BYTES_MAX - 2;

const FIN: u8 = 0x80;

/// Bytes of the header in front of a payload of `payload_bytes`.
pub const fn header_bytes(payload_bytes: usize) -> usize {
    match payload_bytes {
        0..126 => 2,
        126..0x1_0000 => 4,
        _ => HEADER_BYTES_MAX,
    }
}

/// Writes the header of a final frame; `payload_bytes` bytes must follow.
///
/// # Panics
/// If `out` has no room for [`header_bytes`], or a control frame is too long.
pub fn write_header(opcode: Opcode, payload_bytes: usize, out: &mut impl BufMut) {
    assert!(!opcode.is_control() || payload_bytes <= CONTROL_PAYLOAD_BYTES_MAX);
    out.put_u8(FIN | opcode as u8);
    match header_bytes(payload_bytes) {
        2 => out.put_u8(payload_bytes as u8),
        4 => {
            out.put_u8(126);
            out.put_u16(payload_bytes as u16);
        }
        _ => {
            out.put_u8(127);
            out.put_u64(payload_bytes as u64);
        }
    }
}

/// Writes a whole frame: a text or binary message whose payload is at hand.
///
/// # Panics
/// If `out` has no room for header and payload.
pub fn write_message(opcode: Opcode, payload: &[u8], out: &mut impl BufMut) {
    write_header(opcode, payload.len(), out);
    out.put_slice(payload);
}

/// A binary message as a client would send it, for bytes that are decoded a second time. Its mask
/// is 0 and leaves the payload as it is.
pub fn as_received(payload: &[u8]) -> Vec<u8> {
    const MASKED: u8 = 0x80;
    let mut bytes = Vec::with_capacity(HEADER_BYTES_MAX + 4 + payload.len());
    write_header(Opcode::Binary, payload.len(), &mut bytes);
    bytes[1] |= MASKED;
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(payload);
    bytes
}

/// Writes a ping.
///
/// # Panics
/// If `payload` is longer than 125 bytes, or `out` has no room.
pub fn write_ping(payload: &[u8], out: &mut impl BufMut) {
    write_message(Opcode::Ping, payload, out);
}

/// Writes a pong. `payload` is that of the ping which it answers.
///
/// # Panics
/// If `payload` is longer than 125 bytes, or `out` has no room.
pub fn write_pong(payload: &[u8], out: &mut impl BufMut) {
    write_message(Opcode::Pong, payload, out);
}

/// Writes a close frame. `None` answers a client's close frame that had no code, and takes no
/// reason.
///
/// # Panics
/// If `reason` is longer than 123 bytes or comes without a code, or `out` has no room.
pub fn write_close(code: Option<u16>, reason: &str, out: &mut impl BufMut) {
    let Some(code) = code else {
        assert!(reason.is_empty(), "a reason needs a code");
        return write_header(Opcode::Close, 0, out);
    };
    assert!(reason.len() <= CLOSE_REASON_BYTES_MAX);
    write_header(Opcode::Close, size_of_val(&code) + reason.len(), out);
    out.put_u16(code);
    out.put_slice(reason.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 6455 section 5.7.
    #[test]
    fn the_examples_of_the_rfc() {
        let mut out = Vec::new();
        write_message(Opcode::Text, b"Hello", &mut out);
        assert_eq!(out, *b"\x81\x05Hello");

        out.clear();
        write_ping(b"Hello", &mut out);
        assert_eq!(out, *b"\x89\x05Hello");

        out.clear();
        write_header(Opcode::Binary, 256, &mut out);
        assert_eq!(out, [0x82, 0x7e, 0x01, 0x00]);

        out.clear();
        write_header(Opcode::Binary, 65536, &mut out);
        assert_eq!(out, [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_length_takes_its_shortest_form() {
        for (length, bytes) in [(0, 2), (125, 2), (126, 4), (65535, 4), (65536, 10)] {
            let mut out = Vec::new();
            write_header(Opcode::Binary, length, &mut out);
            assert_eq!(out.len(), bytes);
            assert_eq!(header_bytes(length), bytes);
        }
    }

    #[test]
    fn a_close_frame_has_a_code_and_a_reason_or_nothing() {
        let mut out = Vec::new();
        write_close(Some(1009), "too big", &mut out);
        assert_eq!(out, *b"\x88\x09\x03\xf1too big");

        out.clear();
        write_close(None, "", &mut out);
        assert_eq!(out, *b"\x88\x00");
    }
}
