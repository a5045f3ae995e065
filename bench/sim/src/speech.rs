//! How a client speaks: binary frames, or WebSocket (RFC 6455) with binary frames or JSON inside.
//!
//! Owns what a client must remember of a stream: the answer to the upgrade, and frames that have
//! not come whole. Messages over WebSocket are cut into fragments by chance, with pings between.

use bytes::BytesMut;
use ringpost_wire::binary::{decode_event, encode_command};
use ringpost_wire::decoder::FrameDecoder;
use ringpost_wire::frame::PREAMBLE;
use ringpost_wire::limits::PAYLOAD_BYTES_MAX;
use ringpost_wire::{CloseCode, CloseReason, Command, Event, json};

use crate::dice::Dice;

const SWITCHED: &[u8] = b"HTTP/1.1 101";
const END_OF_HEAD: &[u8] = b"\r\n\r\n";
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;

/// The kinds of frames of RFC 6455, section 5.2.
mod opcode {
    pub(super) const CONTINUATION: u8 = 0;
    pub(super) const TEXT: u8 = 1;
    pub(super) const BINARY: u8 = 2;
    pub(super) const CLOSE: u8 = 8;
    pub(super) const PING: u8 = 9;
    pub(super) const PONG: u8 = 10;
}

/// What goes over a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// Binary frames over TCP.
    Binary,
    /// Binary frames in WebSocket messages.
    WebSocketBinary,
    /// JSON in WebSocket messages.
    WebSocketJson,
}

impl Form {
    /// All forms.
    pub(crate) const ALL: [Self; 3] = [Self::Binary, Self::WebSocketBinary, Self::WebSocketJson];
}

/// One connection's speech, as the client has it.
pub(crate) struct Speech {
    form: Form,
    frames: FrameDecoder,
    /// What came and is no whole WebSocket frame yet.
    input: Vec<u8>,
    is_upgraded: bool,
}

impl Speech {
    /// Nothing said, nothing heard.
    pub(crate) fn new(form: Form) -> Self {
        let is_upgraded = form == Form::Binary;
        Self { form, frames: FrameDecoder::default(), input: Vec::new(), is_upgraded }
    }

    /// The first bytes of the connection.
    pub(crate) fn opening(&self) -> Vec<u8> {
        let subprotocol = match self.form {
            Form::Binary => return PREAMBLE.to_vec(),
            Form::WebSocketBinary => "ringpost.v1.bin",
            Form::WebSocketJson => "ringpost.v1.json",
        };
        format!(
            "GET /v1/ws HTTP/1.1\r\nHost: sim\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
        )
        .into_bytes()
    }

    /// Whether commands may be said: not before the server has agreed to speak WebSocket.
    pub(crate) fn is_open(&self) -> bool {
        self.is_upgraded
    }

    /// The bytes of a command.
    pub(crate) fn encode(&self, command: &Command<'_>, dice: &mut Dice) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        match self.form {
            Form::Binary => {
                encode_command(command, 1, &mut bytes);
                bytes.to_vec()
            }
            Form::WebSocketBinary => {
                encode_command(command, 1, &mut bytes);
                message(opcode::BINARY, &bytes, dice)
            }
            Form::WebSocketJson => {
                json::encode_command(command, 1, &mut bytes);
                message(opcode::TEXT, &bytes, dice)
            }
        }
    }

    /// Takes what came. Events go to `heard`, and what must be answered at once comes back.
    /// `None`: the server has refused to speak WebSocket.
    pub(crate) fn hear(
        &mut self,
        bytes: &[u8],
        heard: &mut Vec<Event>,
        dice: &mut Dice,
    ) -> Option<Vec<u8>> {
        if self.form == Form::Binary {
            self.hear_frames(bytes, heard);
            return Some(Vec::new());
        }
        self.input.extend_from_slice(bytes);
        if !self.is_upgraded {
            let at = self.input.windows(END_OF_HEAD.len()).position(|it| it == END_OF_HEAD);
            let Some(at) = at else { return Some(Vec::new()) };
            if !self.input.starts_with(SWITCHED) {
                return None;
            }
            self.input.drain(..at + END_OF_HEAD.len());
            self.is_upgraded = true;
        }
        let mut answer = Vec::new();
        while let Some((opcode, payload)) = self.next_frame() {
            match opcode {
                opcode::TEXT => {
                    let text = std::str::from_utf8(&payload).expect("text of the server is UTF-8");
                    heard.push(json::decode_event(text).expect("an event of the server").0);
                }
                opcode::BINARY => self.hear_frames(&payload, heard),
                opcode::PING => answer.extend(frame(FINAL | opcode::PONG, &payload, dice)),
                opcode::CLOSE => {
                    let Some((number, reason)) = payload.split_first_chunk() else { continue };
                    if let Some(code) = CloseCode::from_number(u16::from_be_bytes(*number)) {
                        let detail = std::str::from_utf8(reason).expect("a reason is UTF-8");
                        // What answers a client's own Close frame has none.
                        assert!(detail.is_empty() || is_listed(code, detail), "{code:?} {detail}");
                        let detail = detail.to_owned().into();
                        heard.push(Event::Close { code, retry_after_ms: 0, detail });
                    }
                }
                _ => {}
            }
        }
        Some(answer)
    }

    fn hear_frames(&mut self, mut bytes: &[u8], heard: &mut Vec<Event>) {
        loop {
            let step = self.frames.decode(bytes, PAYLOAD_BYTES_MAX).expect("a frame of the server");
            bytes = &bytes[step.consumed..];
            let Some(frame) = step.frame else { return };
            let header = frame.header;
            let event = decode_event(header.kind, header.flags, frame.payload);
            let event = event.expect("an event of the server");
            if let Event::Close { code, detail, .. } = &event {
                assert!(is_listed(*code, detail), "{code:?} {detail}");
            }
            heard.push(event);
        }
    }

    /// The next whole WebSocket frame: its kind and its payload.
    fn next_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let &[first, second, ..] = &self.input[..] else { return None };
        assert!(first & FINAL != 0 && second & MASKED == 0, "the server neither cuts nor masks");
        let (start, length) = match second {
            126 => (4, u16::from_be_bytes(*self.input.get(2..)?.first_chunk()?).into()),
            127 => (10, u64::from_be_bytes(*self.input.get(2..)?.first_chunk()?)),
            short => (2, u64::from(short)),
        };
        let end = start + length as usize;
        let payload = self.input.get(start..end)?.to_vec();
        self.input.drain(..end);
        Some((first & !FINAL, payload))
    }
}

/// Whether a last word says one of the reasons of its code.
fn is_listed(code: CloseCode, detail: &str) -> bool {
    CloseReason::ALL.iter().any(|it| it.code() == code && it.text() == detail)
}

/// A message in fragments.
fn message(kind: u8, payload: &[u8], dice: &mut Dice) -> Vec<u8> {
    let (mut bytes, mut from, mut kind) = (Vec::new(), 0, kind);
    while dice.one_in(4) && from < payload.len() {
        let to = from + dice.index(payload.len() - from);
        bytes.extend(frame(kind, &payload[from..to], dice));
        (from, kind) = (to, opcode::CONTINUATION);
        if dice.one_in(3) {
            bytes.extend(frame(FINAL | opcode::PING, b"between", dice));
        }
    }
    bytes.extend(frame(FINAL | kind, &payload[from..], dice));
    bytes
}

/// A frame, masked as a client must.
fn frame(first: u8, payload: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..126 => bytes.push(MASKED | short as u8),
        middle @ 126..=0xffff => {
            bytes.push(MASKED | 126);
            bytes.extend((middle as u16).to_be_bytes());
        }
        long => {
            bytes.push(MASKED | 127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    let mask = (dice.roll() as u32).to_be_bytes();
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}
