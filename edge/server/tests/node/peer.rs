//! A client over any of the three transports, written by hand so that it can also misbehave.
//!
//! Commands and events are JSON values; the binary encodings are made of them by the server's own
//! codec, which the Python client checks against the specification.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::BytesMut;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket, sockopt,
};
use ringpost_wire::{CloseReason, binary, json};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::rig::{Node, PATIENCE};

/// How a peer speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Encoding {
    Tcp,
    Json,
    Bin,
}

/// First octets of WebSocket frames: FIN and opcode.
pub(crate) const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8a;

/// What comes from the server.
#[derive(Debug, PartialEq)]
pub(crate) enum Heard {
    Event(Value),
    /// A WebSocket pong.
    Pong(Vec<u8>),
    /// The last word, or the end without one.
    End(Option<u16>),
}

/// One connection.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    encoding: Encoding,
    buffer: Vec<u8>,
    events: VecDeque<Value>,
    /// What the last word said beside its code.
    reason: String,
}

impl Peer {
    /// Connects, and does the transport's handshake.
    pub(crate) fn connect(node: &Node, encoding: Encoding) -> Self {
        Self::shake_hands(TcpStream::connect(node.address).unwrap(), encoding)
    }

    /// The same for a client in whose kernel as little as possible waits to be read.
    pub(crate) fn connect_narrow(node: &Node, encoding: Encoding) -> Self {
        let (family, kind) = (AddressFamily::Inet, SockType::Stream);
        let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None).unwrap();
        setsockopt(&socket, sockopt::RcvBuf, &2_048).unwrap();
        connect(socket.as_raw_fd(), &SockaddrStorage::from(node.address)).unwrap();
        Self::shake_hands(socket.into(), encoding)
    }

    /// A connection whose handshake is over.
    pub(crate) fn on(stream: TcpStream, encoding: Encoding) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            encoding,
            buffer: Vec::new(),
            events: VecDeque::new(),
            reason: String::new(),
        }
    }

    /// The transport's handshake on a connection.
    pub(crate) fn shake_hands(stream: TcpStream, encoding: Encoding) -> Self {
        let mut peer = Self::on(stream, encoding);
        match encoding {
            Encoding::Tcp => peer.write(b"RPP1"),
            Encoding::Json => peer.upgrade("ringpost.v1.json"),
            Encoding::Bin => peer.upgrade("ringpost.v1.bin"),
        }
        peer
    }

    fn upgrade(&mut self, subprotocol: &str) {
        self.write(upgrade(&format!("Sec-WebSocket-Protocol: {subprotocol}\r\n")).as_bytes());
        let end = loop {
            match self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => assert!(self.fill(), "no answer to the upgrade"),
            }
        };
        let head = String::from_utf8(self.buffer.drain(..end).collect()).unwrap();
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    }

    /// Connects and signs in; what waits in the queue is not read.
    pub(crate) fn sign_in(node: &Node, encoding: Encoding, user: Uuid, device: u8) -> Self {
        let mut peer = Self::connect(node, encoding);
        peer.say_hello(node, user, device);
        peer
    }

    /// Signs in on a connection that stands.
    pub(crate) fn say_hello(&mut self, node: &Node, user: Uuid, device: u8) {
        let token = node.token(user, device);
        self.say(&json!({"type": "hello", "token": token, "device": device}));
        let welcome = self.hear();
        assert_eq!(welcome["type"], "welcome", "{welcome}");
    }

    /// Signs in, and takes what waits as seen.
    pub(crate) fn sign_in_drained(node: &Node, encoding: Encoding, user: Uuid, device: u8) -> Self {
        let mut peer = Self::sign_in(node, encoding, user, device);
        loop {
            let event = peer.hear();
            if event["type"] == "queue_empty" {
                return peer;
            }
            peer.say(&json!({"type": "ack", "push": event["push"]}));
        }
    }

    /// Signs in where nothing waits.
    pub(crate) fn sign_in_live(node: &Node, encoding: Encoding, user: Uuid, device: u8) -> Self {
        let mut peer = Self::sign_in(node, encoding, user, device);
        peer.hear_kind("queue_empty");
        peer
    }

    /// Signs in where little fits into the kernel, with a window so wide that only the socket holds
    /// the server back.
    pub(crate) fn sign_in_narrow(node: &Node, user: Uuid) -> Self {
        let mut peer = Self::connect_narrow(node, Encoding::Tcp);
        let token = node.token(user, 1);
        peer.say(&json!({
            "type": "hello", "token": token, "device": 1,
            "window_pushes": 1_024, "window_bytes": 4 << 20,
        }));
        peer.hear_kind("welcome");
        peer.hear_kind("queue_empty");
        peer
    }

    /// Raw bytes. Whether the server still took them is seen at the next read.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// One masked WebSocket frame with this first octet.
    pub(crate) fn frame(&mut self, first: u8, payload: &[u8]) {
        self.write(&frame(first, payload));
    }

    pub(crate) fn say(&mut self, command: &Value) {
        let bytes = self.encoded(command);
        self.write(&bytes);
    }

    /// The bytes of a command on this transport.
    pub(crate) fn encoded(&self, command: &Value) -> Vec<u8> {
        let text = command.to_string();
        if self.encoding == Encoding::Json {
            return frame(TEXT, text.as_bytes());
        }
        let bytes = binary_command(&text);
        if self.encoding == Encoding::Bin { frame(BINARY, &bytes) } else { bytes }
    }

    /// The next event.
    pub(crate) fn hear(&mut self) -> Value {
        loop {
            match self.listen() {
                Heard::Event(event) if event["type"] == "ping" => {
                    self.say(&json!({"type": "pong", "nonce": event["nonce"]}));
                }
                Heard::Event(event) => return event,
                other => panic!("{other:?} where an event belongs"),
            }
        }
    }

    /// The next event, which must be of this type.
    pub(crate) fn hear_kind(&mut self, kind: &str) -> Value {
        let event = self.hear();
        assert_eq!(event["type"], kind, "{event}");
        event
    }

    /// Says a command and hears that it is refused with this code.
    pub(crate) fn refused(&mut self, command: &Value, code: u16) -> Value {
        self.say(command);
        let error = self.hear_kind("error");
        assert_eq!(error["code"], code, "{command}: {error}");
        error
    }

    /// The next pong, after whatever else comes before it is none of the test's business.
    pub(crate) fn ping(&mut self) {
        self.say(&json!({"type": "ping", "nonce": 77}));
        assert_eq!(self.hear_kind("pong")["nonce"], 77);
    }

    /// Sends and hears `sent`; the server's id.
    pub(crate) fn send(&mut self, to: Uuid, content: &[u8]) -> String {
        self.say(&message(Uuid::new_v4(), to, content));
        let sent = self.hear_kind("receipt");
        assert_eq!(sent["status"], "sent", "{sent}");
        sent["id"].as_str().unwrap().to_owned()
    }

    /// Reads on to the last word.
    pub(crate) fn last_word(&mut self) -> Option<u16> {
        loop {
            if let Heard::End(code) = self.listen() {
                return code;
            }
        }
    }

    /// The server has closed the socket; what it still said is skipped.
    pub(crate) fn is_over(&mut self) -> bool {
        while self.fill() {
            self.buffer.clear();
        }
        true
    }

    /// Whatever comes next.
    pub(crate) fn listen(&mut self) -> Heard {
        loop {
            if let Some(event) = self.events.pop_front() {
                let code = event["code"].as_u64().unwrap_or_default();
                if event["type"] == "error" && code >= 1_000 {
                    let detail = event["detail"].as_str().unwrap_or_default();
                    return self.ended(Some(code as u16), detail.to_owned());
                }
                return Heard::Event(event);
            }
            let heard = match self.encoding {
                Encoding::Tcp => self.take_frames(),
                Encoding::Json | Encoding::Bin => self.take_message(),
            };
            if let Some(heard) = heard {
                return heard;
            }
            if self.events.is_empty() && !self.fill() {
                return Heard::End(None);
            }
        }
    }

    /// A last word: what it says is listed under its code. What answers a client's own Close frame
    /// says nothing.
    fn ended(&mut self, code: Option<u16>, reason: String) -> Heard {
        let is_listed = CloseReason::ALL
            .iter()
            .any(|known| Some(known.code().number()) == code && known.text() == reason);
        let may_be_empty = self.encoding != Encoding::Tcp && reason.is_empty();
        assert!(is_listed || may_be_empty, "{code:?} says {reason:?}");
        self.reason = reason;
        Heard::End(code)
    }

    /// What the last word said beside its code.
    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }

    fn take_frames(&mut self) -> Option<Heard> {
        let taken = events_of(&self.buffer, &mut self.events);
        self.buffer.drain(..taken);
        None
    }

    fn take_message(&mut self) -> Option<Heard> {
        let (first, second) = (*self.buffer.first()?, *self.buffer.get(1)?);
        assert_eq!(second & 0x80, 0, "a server does not mask");
        let (head, length) = match second {
            126 => (4, u64::from(u16::from_be_bytes(self.buffer.get(2..4)?.try_into().unwrap()))),
            127 => (10, u64::from_be_bytes(self.buffer.get(2..10)?.try_into().unwrap())),
            short => (2, u64::from(short)),
        };
        let end = head + length as usize;
        let payload = self.buffer.get(head..end)?.to_vec();
        self.buffer.drain(..end);
        match first {
            TEXT => self.events.push_back(serde_json::from_slice(&payload).unwrap()),
            BINARY => {
                let taken = events_of(&payload, &mut self.events);
                assert_eq!(taken, payload.len(), "whole frames only");
            }
            PONG => return Some(Heard::Pong(payload)),
            CLOSE => {
                let code = payload.get(..2).map(|code| u16::from_be_bytes([code[0], code[1]]));
                let reason = payload.get(2..).unwrap_or_default().to_vec();
                return Some(self.ended(code, String::from_utf8(reason).unwrap()));
            }
            other => panic!("a frame of {other:#x}"),
        }
        None
    }

    /// Reads more; false at the end.
    fn fill(&mut self) -> bool {
        let mut buffer = [0; 16 << 10];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => {
                self.buffer.extend_from_slice(&buffer[..count]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            Err(error) => panic!("{error}"),
        }
    }
}

/// The head of an upgrade with further fields.
pub(crate) fn upgrade(fields: &str) -> String {
    format!(
        "GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{fields}\r\n"
    )
}

/// A masked WebSocket frame.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..126 => bytes.push(0x80 | length as u8),
        length @ 126..65_536 => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    let mask = [0x12, 0x34, 0x56, 0x78];
    bytes.extend_from_slice(&mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(octet, mask)| octet ^ mask));
    bytes
}

/// The binary frame of a command in JSON.
pub(crate) fn binary_command(text: &str) -> Vec<u8> {
    let (command, tag) = json::decode_command(text).unwrap();
    let mut bytes = BytesMut::new();
    binary::encode_command(&command, tag, &mut bytes);
    bytes.to_vec()
}

/// Decodes all whole frames; how many bytes they were.
pub(crate) fn events_of(bytes: &[u8], events: &mut VecDeque<Value>) -> usize {
    let mut at = 0;
    while let Some(header) = bytes.get(at..at + 8) {
        let length = u32::from_le_bytes(header[..4].try_into().unwrap()) as usize;
        let tag = u16::from_le_bytes([header[6], header[7]]);
        let Some(payload) = bytes.get(at + 8..at + 8 + length) else { break };
        let event = binary::decode_event(header[4], header[5], payload).unwrap();
        let mut text = BytesMut::new();
        json::encode_event(&event, tag, &mut text);
        events.push_back(serde_json::from_slice(&text).unwrap());
        at += 8 + length;
    }
    at
}

pub(crate) fn message(message_id: Uuid, to: Uuid, content: &[u8]) -> Value {
    json!({
        "type": "send_message",
        "message_id": message_id,
        "to": to,
        "encrypted_content": BASE64.encode(content),
        "timestamp_ms": 1_700_000_000_000_u64,
        "tag": 9,
    })
}

/// The content of a `new_message`.
pub(crate) fn content(event: &Value) -> Vec<u8> {
    BASE64.decode(event["encrypted_content"].as_str().unwrap()).unwrap()
}
