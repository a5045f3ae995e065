//! The protocol of Centrifugo and its library, in its protobuf form over WebSocket, as far as a
//! relay needs it.
//!
//! A frame of WebSocket holds one or more commands (from the client) or replies (from the server),
//! each behind its length as a varint. The client says its number as the token of `connect`; the
//! server subscribes it to its channel. A message is an asynchronous `send` with the data
//! `[receiver][content]`, which has no reply; it comes to the receiver as a publication. Receivers
//! are u32, little-endian; [`super::raw::to::ALL`] is everybody.
//!
//! Numbers of fields are those of the library's `client.proto`.

use std::cell::Cell;

use bytes::{Buf, BufMut, BytesMut};

use super::raw::to;
use super::websocket::{self, BINARY, PING};
use super::{Dialect, Inbound, Parsed};

const PATH: &str = "/connection/websocket?format=protobuf";

mod command {
    pub(super) const ID: u64 = 1;
    pub(super) const CONNECT: u64 = 4;
    pub(super) const SEND: u64 = 12;
    /// Of `connect`.
    pub(super) const TOKEN: u64 = 1;
    /// Of `send`.
    pub(super) const DATA: u64 = 1;
}

mod reply {
    pub(super) const ERROR: u64 = 2;
    pub(super) const PUSH: u64 = 4;
    pub(super) const CONNECT: u64 = 5;
    /// Of a push.
    pub(super) const PUBLICATION: u64 = 4;
    pub(super) const DISCONNECT: u64 = 11;
    /// Of a publication.
    pub(super) const DATA: u64 = 4;
}

const VARINT: u64 = 0;
const LENGTH_DELIMITED: u64 = 2;

/// Clients of a server that uses the library.
#[derive(Default)]
pub(crate) struct Centrifuge {
    /// Bytes left of the frame whose replies are being read. A frame is begun once it is whole,
    /// and the calls that follow read it to its end, so this is never left between two clients.
    left: Cell<usize>,
}

impl Dialect for Centrifuge {
    fn greet(&self, user: u32, stage: u8, out: &mut BytesMut) {
        if stage == 0 {
            return websocket::upgrade(PATH, None, out);
        }
        let token = user.to_string();
        let mut connect = BytesMut::new();
        bytes_field(command::TOKEN, token.as_bytes(), &mut connect);
        let mut body = BytesMut::new();
        put_varint(command::ID << 3 | VARINT, &mut body);
        put_varint(1, &mut body);
        bytes_field(command::CONNECT, &connect, &mut body);
        put(&body, out);
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
        let (head, replies) = match self.left.take() {
            0 => {
                let Some(frame) = websocket::frame(input)? else { return Ok(None) };
                if frame.code != BINARY || frame.payload.is_empty() {
                    return Ok(Some((frame.bytes, websocket::control(&frame, out)?)));
                }
                (frame.bytes - frame.payload.len(), frame.payload)
            }
            left => (0, input.get(..left).ok_or("a frame that is cut")?),
        };
        let mut rest = replies;
        let reply = block(&mut rest).ok_or("a reply that is cut")?;
        self.left.set(rest.len());
        let inbound = if reply.is_empty() {
            // An empty reply is a ping, an empty command its answer.
            put(&[], out);
            Inbound::Nothing
        } else {
            reply_of(reply).ok_or("a reply that is no protobuf")?
        };
        Ok(Some((head + replies.len() - rest.len(), inbound)))
    }

    fn message(&self, _from: u32, to: u32, content: &[u8], out: &mut BytesMut) {
        let data_bytes = size_of::<u32>() + content.len();
        let send_bytes = 1 + varint_bytes(data_bytes) + data_bytes;
        let body_bytes = 1 + varint_bytes(send_bytes) + send_bytes;
        websocket::head(BINARY, varint_bytes(body_bytes) + body_bytes, out);
        put_varint(body_bytes as u64, out);
        put_varint(command::SEND << 3 | LENGTH_DELIMITED, out);
        put_varint(send_bytes as u64, out);
        put_varint(command::DATA << 3 | LENGTH_DELIMITED, out);
        put_varint(data_bytes as u64, out);
        out.put_u32_le(to);
        out.put_slice(content);
    }

    fn broadcast(&self, content: &[u8], out: &mut BytesMut) -> bool {
        self.message(0, to::ALL, content, out);
        true
    }

    fn ping(&self, out: &mut BytesMut) {
        websocket::head(PING, 0, out);
    }
}

/// What a reply means; `None` if it is no protobuf.
fn reply_of(reply: &[u8]) -> Option<Inbound<'_>> {
    let told = |what: &str, body: &[u8]| {
        Inbound::Refused(format!("{what}: {}", String::from_utf8_lossy(body)))
    };
    let mut inbound = Inbound::Nothing;
    let mut rest = reply;
    while !rest.is_empty() {
        match field(&mut rest)? {
            (reply::ERROR, body) => inbound = told("an error", body),
            (reply::CONNECT, _) => inbound = Inbound::Ready,
            (reply::PUSH, mut push) => {
                while !push.is_empty() {
                    match field(&mut push)? {
                        (reply::PUBLICATION, body) => {
                            inbound =
                                Inbound::Message { content: publication(body)?.into(), ack: 0 };
                        }
                        (reply::DISCONNECT, body) => inbound = told("disconnected", body),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(inbound)
}

fn publication(mut body: &[u8]) -> Option<&[u8]> {
    while !body.is_empty() {
        if let (reply::DATA, data) = field(&mut body)? {
            return Some(data);
        }
    }
    None
}

/// The next field: its number and its bytes, none of a number.
fn field<'a>(rest: &mut &'a [u8]) -> Option<(u64, &'a [u8])> {
    let key = varint(rest)?;
    let body = match key & 7 {
        VARINT => {
            varint(rest)?;
            &[]
        }
        LENGTH_DELIMITED => block(rest)?,
        _ => return None,
    };
    Some((key >> 3, body))
}

/// What stands behind its length.
fn block<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(varint(rest)?).ok()?;
    let (body, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some(body)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = rest.try_get_u8().ok()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn put_varint(mut number: u64, out: &mut BytesMut) {
    while number > 0x7f {
        out.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

fn varint_bytes(number: usize) -> usize {
    (number.max(1).ilog2() / 7 + 1) as usize
}

fn bytes_field(number: u64, bytes: &[u8], out: &mut BytesMut) {
    put_varint(number << 3 | LENGTH_DELIMITED, out);
    put_varint(bytes.len() as u64, out);
    out.put_slice(bytes);
}

/// A command in a frame of its own.
fn put(body: &[u8], out: &mut BytesMut) {
    websocket::head(BINARY, varint_bytes(body.len()) + body.len(), out);
    put_varint(body.len() as u64, out);
    out.put_slice(body);
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::{Centrifuge, bytes_field, put_varint, reply, varint_bytes};
    use crate::dialect::{Dialect, Inbound};

    fn pushed(content: &[u8]) -> BytesMut {
        let (mut publication, mut push, mut body) =
            (BytesMut::new(), BytesMut::new(), BytesMut::new());
        bytes_field(reply::DATA, content, &mut publication);
        bytes_field(2, b"u1", &mut push);
        bytes_field(reply::PUBLICATION, &publication, &mut push);
        bytes_field(reply::PUSH, &push, &mut body);
        let mut whole = BytesMut::new();
        put_varint(body.len() as u64, &mut whole);
        whole.extend_from_slice(&body);
        whole
    }

    #[test]
    fn replies_that_share_a_frame_are_read_one_by_one() {
        let mut replies = pushed(b"one");
        replies.extend_from_slice(&[0]);
        replies.extend_from_slice(&pushed(b"two"));
        let mut input = vec![0x82, replies.len() as u8];
        input.extend_from_slice(&replies);
        let dialect = Centrifuge::default();
        let mut out = BytesMut::new();
        assert_eq!(dialect.parse(1, 1, &input[..input.len() - 1], &mut out), Ok(None));
        let (mut done, mut found) = (0, Vec::new());
        while let Ok(Some((bytes, inbound))) = dialect.parse(1, 1, &input[done..], &mut out) {
            done += bytes;
            found.push(inbound);
        }
        let message = |content: &'static [u8]| Inbound::Message { content: content.into(), ack: 0 };
        assert_eq!(found, [message(b"one"), Inbound::Nothing, message(b"two")]);
        assert_eq!(done, input.len());
        assert_eq!(&out[..], [0x82, 0x81, 0, 0, 0, 0, 0], "a ping was answered");
    }

    #[test]
    fn a_reply_that_is_cut_inside_a_whole_frame_is_an_error() {
        let mut replies = pushed(b"one");
        replies.truncate(replies.len() - 1);
        let mut input = vec![0x82, replies.len() as u8];
        input.extend_from_slice(&replies);
        assert!(Centrifuge::default().parse(1, 1, &input, &mut BytesMut::new()).is_err());
    }

    #[test]
    fn a_varint_is_as_long_as_it_is_said_to_be() {
        for number in [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152] {
            let mut out = BytesMut::new();
            put_varint(number, &mut out);
            assert_eq!(out.len(), varint_bytes(number as usize), "{number}");
        }
    }
}
