//! The far end of a connection, speaking the binary protocol.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::BytesMut;
use ringpost_ring::fake::{FakePeer, PeerRead};
use ringpost_wire::binary::{decode_event, encode_command};
use ringpost_wire::command::{Content, Credential, Hello, SendMessage};
use ringpost_wire::decoder::FrameDecoder;
use ringpost_wire::frame::PREAMBLE;
use ringpost_wire::limits::PAYLOAD_BYTES_MAX;
use ringpost_wire::{CloseCode, Command, DeviceId, Event, MessageId, UserId};

/// What a client reads in one round unless the test makes it slow.
const READ_BYTES: usize = 64 * 1024;

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// Everything was read, then the end of the stream; in the middle of a frame, if the server
    /// gave the connection up.
    Orderly,
    /// Bytes under way may be lost.
    Reset,
}

pub(crate) struct Client {
    peer: Option<FakePeer>,
    unsent: VecDeque<u8>,
    decoder: FrameDecoder,
    /// What it was told, in order.
    pub(crate) heard: VecDeque<(u16, Event)>,
    /// Bytes that came and are no frames: until told otherwise, none are expected.
    pub(crate) raw: Option<Vec<u8>>,
    pub(crate) end: Option<End>,
    /// Bytes that it reads in a round; 0: a stalled reader.
    pub(crate) read_bytes: usize,
}

impl Client {
    pub(crate) fn new(peer: FakePeer) -> Self {
        Self {
            peer: Some(peer),
            unsent: VecDeque::new(),
            decoder: FrameDecoder::default(),
            heard: VecDeque::new(),
            raw: None,
            end: None,
            read_bytes: READ_BYTES,
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.unsent.extend(bytes);
    }

    pub(crate) fn say(&mut self, tag: u16, command: &Command<'_>) {
        self.write(&encoded(tag, command));
    }

    /// Reads again after it was slow.
    pub(crate) fn read_on(&mut self) {
        self.read_bytes = READ_BYTES;
    }

    /// Whether something it wrote has not been taken.
    pub(crate) fn has_unsent(&self) -> bool {
        self.is_connected() && !self.unsent.is_empty()
    }

    pub(crate) fn shutdown_write(&mut self) {
        self.peer.as_mut().expect("the connection is held").shutdown_write();
    }

    /// Closes its end without a word.
    pub(crate) fn hang_up(&mut self) {
        self.peer = None;
    }

    /// Breaks the connection.
    pub(crate) fn reset(&mut self) {
        self.peer.take().expect("the connection is held").reset();
    }

    /// Its address as the server sees it, while it holds the connection.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.peer.as_ref().map(FakePeer::address)
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.peer.is_some() && self.end.is_none()
    }

    /// The last word, if it was said.
    pub(crate) fn close_code(&self) -> Option<CloseCode> {
        self.heard.iter().find_map(|(_, event)| match event {
            Event::Close { code, .. } => Some(*code),
            _ => None,
        })
    }

    /// Takes everything that was told so far.
    pub(crate) fn take(&mut self) -> Vec<Event> {
        self.heard.drain(..).map(|(_, event)| event).collect()
    }

    /// Writes and reads what goes; whether anything did.
    pub(crate) fn round(&mut self) -> bool {
        let Some(peer) = self.peer.as_mut().filter(|_| self.end.is_none()) else { return false };
        let waiting = self.unsent.make_contiguous();
        let written = match peer.write(waiting) {
            Ok(written) => written,
            // The server closed; what it said before can still be read.
            Err(_) => waiting.len(),
        };
        self.unsent.drain(..written);
        if self.read_bytes == 0 {
            return written > 0;
        }
        match peer.read(self.read_bytes) {
            PeerRead::Bytes(bytes) => {
                self.hear(&bytes);
                written > 0 || !bytes.is_empty()
            }
            PeerRead::End => {
                self.end = Some(End::Orderly);
                true
            }
            PeerRead::Reset => {
                self.end = Some(End::Reset);
                true
            }
        }
    }

    fn hear(&mut self, mut bytes: &[u8]) {
        if let Some(raw) = &mut self.raw {
            return raw.extend_from_slice(bytes);
        }
        loop {
            let step = self.decoder.decode(bytes, PAYLOAD_BYTES_MAX).expect("a frame of ours");
            bytes = &bytes[step.consumed..];
            let Some(frame) = step.frame else { return };
            let header = frame.header;
            let event = decode_event(header.kind, header.flags, frame.payload);
            self.heard.push_back((header.tag, event.expect("an event of ours")));
        }
    }
}

pub(crate) fn encoded(tag: u16, command: &Command<'_>) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    encode_command(command, tag, &mut bytes);
    bytes.to_vec()
}

/// The preamble and a `hello`.
pub(crate) fn hello(credential: Credential<'_>, device: u8, window_pushes: u32) -> Vec<u8> {
    let hello = Hello {
        credential,
        device: DeviceId::new(device).expect("1 to 127"),
        window_pushes,
        window_bytes: 0,
        intents: 0,
    };
    [&PREAMBLE[..], &encoded(1, &Command::Hello(hello))].concat()
}

pub(crate) fn message(number: u64, to: UserId, body: &[u8]) -> Command<'_> {
    Command::SendMessage(SendMessage {
        message_id: message_id(number),
        to,
        reply_to: None,
        client_timestamp_ms: 5,
        ephemeral: false,
        content: Content::Encrypted(body.into()),
    })
}

/// The same, and not kept.
pub(crate) fn ephemeral(number: u64, to: UserId) -> Command<'static> {
    let Command::SendMessage(send) = message(number, to, b"psst") else { unreachable!() };
    Command::SendMessage(SendMessage { ephemeral: true, ..send })
}

pub(crate) fn message_id(number: u64) -> MessageId {
    MessageId(u128::from(number).to_be_bytes())
}
