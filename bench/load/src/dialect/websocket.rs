//! The relays over WebSocket (RFC 6455) that are ours: of uWebSockets and of tokio-tungstenite.
//!
//! After the upgrade a client says `[HELLO][number]` as a binary message, and is answered the
//! same. A message is `[receiver][content]`; the receiver gets `[content]` alone. Numbers are
//! u32, little-endian; [`super::raw::to`] names receivers that are not users.
//!
//! Clients mask with a key of zeros, which every server must take: unmasking costs a server the
//! same, and the generator nothing.

use bytes::{BufMut, BytesMut};

use super::raw::to;
use super::{Dialect, Inbound, Parsed};

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCHED: &[u8] = b"HTTP/1.1 101";
const END_OF_HEAD: &[u8] = b"\r\n\r\n";
/// Longest head of an answer to the upgrade, bytes.
const HEAD_BYTES_MAX: usize = 4_096;
/// Longest payload that a relay sends, bytes.
const PAYLOAD_BYTES_MAX: u64 = 128 * 1024;

const FINAL: u8 = 0x80;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const MASKED: u8 = 0x80;

/// Clients of a relay over WebSocket.
pub(crate) struct WebSocket;

impl Dialect for WebSocket {
    fn greet(&self, user: u32, stage: u8, out: &mut BytesMut) {
        if stage == 0 {
            out.extend_from_slice(UPGRADE.as_bytes());
        } else {
            put(BINARY, to::HELLO, &user.to_le_bytes(), out);
        }
    }

    fn parse<'a>(
        &self,
        _user: u32,
        stage: u8,
        input: &'a [u8],
        out: &mut BytesMut,
    ) -> Result<Parsed<'a>, String> {
        if stage == 0 {
            return upgraded(input);
        }
        let Some((bytes, code, payload)) = frame(input)? else { return Ok(None) };
        let inbound = match code {
            BINARY if payload == to::HELLO.to_le_bytes() => Inbound::Ready,
            BINARY => Inbound::Message { content: payload, ack: 0 },
            PING => {
                head(PONG, payload.len(), out);
                out.put_slice(payload);
                Inbound::Nothing
            }
            PONG => Inbound::Pong,
            CLOSE => Inbound::Refused("the server closes".to_owned()),
            _ => return Err(format!("a WebSocket frame of kind {code}")),
        };
        Ok(Some((bytes, inbound)))
    }

    fn message(&self, _from: u32, to: u32, content: &[u8], out: &mut BytesMut) {
        put(BINARY, to, content, out);
    }

    fn broadcast(&self, content: &[u8], out: &mut BytesMut) -> bool {
        put(BINARY, to::ALL, content, out);
        true
    }

    fn ping(&self, out: &mut BytesMut) {
        head(PING, 0, out);
    }
}

fn upgraded(input: &[u8]) -> Result<Parsed<'_>, String> {
    let end = input.windows(END_OF_HEAD.len()).position(|window| window == END_OF_HEAD);
    match end {
        Some(end) if input.starts_with(SWITCHED) => {
            Ok(Some((end + END_OF_HEAD.len(), Inbound::Next)))
        }
        None if input.len() < HEAD_BYTES_MAX => Ok(None),
        _ => Err("the upgrade was refused".to_owned()),
    }
}

/// The bytes of a frame, its kind and its payload.
type Frame<'a> = (usize, u8, &'a [u8]);

/// The frame at the head of `input`, `None` if it is not whole.
fn frame(input: &[u8]) -> Result<Option<Frame<'_>>, String> {
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
    let end = start + length as usize;
    Ok(input.get(start..end).map(|payload| (end, first & 0x0f, payload)))
}

fn put(code: u8, to: u32, content: &[u8], out: &mut BytesMut) {
    head(code, size_of::<u32>() + content.len(), out);
    out.put_u32_le(to);
    out.put_slice(content);
}

fn head(code: u8, payload_bytes: usize, out: &mut BytesMut) {
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
    use bytes::BytesMut;

    use super::{BINARY, WebSocket, frame};
    use crate::dialect::{Dialect, Inbound};

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
            let (whole, code, found) = frame(&bytes).unwrap().unwrap();
            assert_eq!((whole, code, found.len()), (bytes.len(), BINARY, payload));
        }
    }

    #[test]
    fn the_upgrade_ends_at_the_empty_line_and_a_refusal_is_an_error() {
        let mut out = BytesMut::new();
        let mut parse = |input: &'static [u8]| WebSocket.parse(1, 0, input, &mut out);
        assert_eq!(parse(b"HTTP/1.1 101 Switching Protocols\r\nA: b\r\n"), Ok(None));
        let whole = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";
        assert_eq!(parse(whole), Ok(Some((whole.len(), Inbound::Next))));
        assert!(parse(b"HTTP/1.1 403 Forbidden\r\n\r\n").is_err());
    }
}
