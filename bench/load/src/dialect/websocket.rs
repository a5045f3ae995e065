//! A client's frames of WebSocket (RFC 6455), for the dialects that ride on it.
//!
//! Clients mask with a key of zeros, which every server must take: unmasking costs a server the
//! same, and the generator nothing.

use bytes::{BufMut, BytesMut};

use super::{Inbound, Parsed};

const SWITCHED: &[u8] = b"HTTP/1.1 101";
const END_OF_HEAD: &[u8] = b"\r\n\r\n";
/// Longest head of an answer to the upgrade, bytes.
const HEAD_BYTES_MAX: usize = 4_096;
/// Longest payload that a server sends, bytes.
const PAYLOAD_BYTES_MAX: u64 = 128 * 1024;

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
/// Kinds of frames.
pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
const PONG: u8 = 10;

/// One whole frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// Its bytes, the head included.
    pub(super) bytes: usize,
    /// Its kind.
    pub(super) code: u8,
    /// What it carries.
    pub(super) payload: &'a [u8],
}

/// Asks for WebSocket at this path, in this subprotocol.
pub(super) fn upgrade(path: &str, subprotocol: Option<&str>, out: &mut BytesMut) {
    out.put_slice(b"GET ");
    out.put_slice(path.as_bytes());
    out.put_slice(
        b" HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    );
    if let Some(subprotocol) = subprotocol {
        out.put_slice(b"Sec-WebSocket-Protocol: ");
        out.put_slice(subprotocol.as_bytes());
        out.put_slice(b"\r\n");
    }
    out.put_slice(b"\r\n");
}

/// The answer to [`upgrade`]: [`Inbound::Next`] once it is whole.
///
/// # Errors
/// When it is a refusal.
pub(super) fn upgraded(input: &[u8]) -> Result<Parsed<'_>, String> {
    let end = input.windows(END_OF_HEAD.len()).position(|window| window == END_OF_HEAD);
    match end {
        Some(end) if input.starts_with(SWITCHED) => {
            Ok(Some((end + END_OF_HEAD.len(), Inbound::Next)))
        }
        None if input.len() < HEAD_BYTES_MAX => Ok(None),
        _ => Err("the upgrade was refused".to_owned()),
    }
}

/// The frame at the head of `input`, `None` if it is not whole.
///
/// # Errors
/// When it is a fragment, masked or too long.
pub(super) fn frame(input: &[u8]) -> Result<Option<Frame<'_>>, String> {
    let &[first, second, ..] = input else { return Ok(None) };
    if first & FINAL == 0 || second & MASKED != 0 {
        return Err("a fragment, or a masked frame of a server".to_owned());
    }
    let (start, length) = match second {
        126 => match input.get(2..4) {
            Some(bytes) => (4, u64::from(u16::from_be_bytes([bytes[0], bytes[1]]))),
            None => return Ok(None),
        },
        127 => match input.get(2..10).and_then(|bytes| bytes.first_chunk::<8>()) {
            Some(bytes) => (10, u64::from_be_bytes(*bytes)),
            None => return Ok(None),
        },
        short => (2, u64::from(short)),
    };
    if length > PAYLOAD_BYTES_MAX {
        return Err(format!("a WebSocket frame of {length} bytes"));
    }
    let bytes = start + length as usize;
    let payload = input.get(start..bytes);
    Ok(payload.map(|payload| Frame { bytes, code: first & 0x0f, payload }))
}

/// What a frame means that carries no data of the dialect; answers a ping.
///
/// # Errors
/// When its kind does not exist.
pub(super) fn control<'a>(frame: &Frame<'_>, out: &mut BytesMut) -> Result<Inbound<'a>, String> {
    match frame.code {
        PING => {
            head(PONG, frame.payload.len(), out);
            out.put_slice(frame.payload);
            Ok(Inbound::Nothing)
        }
        PONG => Ok(Inbound::Pong),
        CLOSE => {
            let why = String::from_utf8_lossy(frame.payload.get(2..).unwrap_or_default());
            Ok(Inbound::Refused(format!("the server closes: {why}")))
        }
        code => Err(format!("a WebSocket frame of kind {code}")),
    }
}

/// Writes the head of a frame whose payload follows.
pub(super) fn head(code: u8, payload_bytes: usize, out: &mut BytesMut) {
    out.put_u8(FINAL | code);
    match payload_bytes {
        short @ 0..126 => out.put_u8(MASKED | short as u8),
        middle @ 126..=0xffff => {
            out.put_u8(MASKED | 126);
            out.put_u16(middle as u16);
        }
        long => {
            out.put_u8(MASKED | 127);
            out.put_u64(long as u64);
        }
    }
    out.put_u32(0);
}

#[cfg(test)]
mod tests {
    use super::{BINARY, frame, upgraded};
    use crate::dialect::Inbound;

    #[test]
    fn the_length_is_read_in_all_three_forms_and_at_every_cut() {
        for payload in [0, 125, 126, 65_535, 65_536] {
            let mut bytes = vec![0x80 | BINARY];
            match payload {
                0..126 => bytes.push(payload as u8),
                126..=65_535 => {
                    bytes.push(126);
                    bytes.extend((payload as u16).to_be_bytes());
                }
                _ => {
                    bytes.push(127);
                    bytes.extend((payload as u64).to_be_bytes());
                }
            }
            bytes.resize(bytes.len() + payload, 7);
            assert_eq!(frame(&bytes[..bytes.len() - 1]), Ok(None));
            let found = frame(&bytes).unwrap().unwrap();
            assert_eq!(
                (found.bytes, found.code, found.payload.len()),
                (bytes.len(), BINARY, payload)
            );
        }
    }

    #[test]
    fn the_upgrade_ends_at_the_empty_line_and_a_refusal_is_an_error() {
        assert_eq!(upgraded(b"HTTP/1.1 101 Switching Protocols\r\nA: b\r\n"), Ok(None));
        let whole = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";
        assert_eq!(upgraded(whole), Ok(Some((whole.len(), Inbound::Next))));
        assert!(upgraded(b"HTTP/1.1 403 Forbidden\r\n\r\n").is_err());
    }
}
