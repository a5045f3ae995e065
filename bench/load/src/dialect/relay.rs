//! The relays over WebSocket that are ours: of uWebSockets, of tokio-tungstenite, and whatever
//! else is named by `--peer NAME=COMMAND`.
//!
//! After the upgrade a client says `[HELLO][number]` as a binary message, and is answered
//! `[HELLO]`. A message is `[receiver][content]`; the receiver gets `[content]` alone. Numbers are
//! u32, little-endian; [`super::raw::to`] names receivers that are not users.

use bytes::{BufMut, BytesMut};

use super::raw::to;
use super::websocket::{self, BINARY, PING};
use super::{Dialect, Inbound, Parsed};

/// Clients of a relay over WebSocket.
pub(crate) struct Relay;

impl Dialect for Relay {
    fn greet(&self, user: u32, stage: u8, out: &mut BytesMut) {
        if stage == 0 {
            websocket::upgrade("/", None, out);
        } else {
            put(to::HELLO, &user.to_le_bytes(), out);
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
            return websocket::upgraded(input);
        }
        let Some(frame) = websocket::frame(input)? else { return Ok(None) };
        let inbound = match frame.code {
            BINARY if frame.payload == to::HELLO.to_le_bytes() => Inbound::Ready,
            BINARY => Inbound::Message { content: frame.payload.into(), ack: 0 },
            _ => websocket::control(&frame, out)?,
        };
        Ok(Some((frame.bytes, inbound)))
    }

    fn message(&self, _from: u32, to: u32, content: &[u8], out: &mut BytesMut) {
        put(to, content, out);
    }

    fn broadcast(&self, content: &[u8], out: &mut BytesMut) -> bool {
        put(to::ALL, content, out);
        true
    }

    fn ping(&self, out: &mut BytesMut) {
        websocket::head(PING, 0, out);
    }
}

fn put(to: u32, content: &[u8], out: &mut BytesMut) {
    websocket::head(BINARY, size_of::<u32>() + content.len(), out);
    out.put_u32_le(to);
    out.put_slice(content);
}
