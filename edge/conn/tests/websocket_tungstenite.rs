//! The codec against an independent implementation, in both directions.
//!
//! Setup: tungstenite over an in-memory stream. Action: it encodes and we decode; we encode and
//! it decodes; both decode the same frames, right and wrong. Expectation: the same messages, and
//! where one refuses, so does the other at the same frame.

mod websocket_client;

use std::io::{self, Cursor, Read, Write};

use proptest::prelude::*;
use ringpost_conn::websocket::{self, Accepts, Limits, Opcode};
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};
use websocket_client::*;

const MESSAGE_BYTES_MAX: usize = 70_000;

/// Reads what is given, then would block; keeps what is written.
struct Wire {
    input: Cursor<Vec<u8>>,
    output: Vec<u8>,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.input.read(buffer)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            bytes => Ok(bytes),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn peer(role: Role, input: Vec<u8>) -> WebSocket<Wire> {
    let config = WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES_MAX));
    let wire = Wire { input: Cursor::new(input), output: Vec::new() };
    WebSocket::from_raw_socket(wire, role, Some(config))
}

/// All that the peer reads, and whether it then refused.
fn read_all(peer: &mut WebSocket<Wire>) -> (Vec<Owned>, bool) {
    let mut items = Vec::new();
    loop {
        match peer.read() {
            Ok(message) => match owned(message) {
                // It passes a close code that must not be sent on as this one.
                Owned::Close(Some(1002), reason) if reason == "Protocol violation" => {
                    return (items, true);
                }
                close @ Owned::Close(..) => {
                    items.push(close);
                    return (items, false);
                }
                item => items.push(item),
            },
            Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return (items, false);
            }
            Err(_) => return (items, true),
        }
    }
}

fn owned(message: Message) -> Owned {
    match message {
        Message::Text(text) => Owned::Text(text.to_string()),
        Message::Binary(bytes) => Owned::Binary(bytes.to_vec()),
        Message::Ping(bytes) => Owned::Ping(bytes.to_vec()),
        Message::Pong(bytes) => Owned::Pong(bytes.to_vec()),
        Message::Close(None) => Owned::Close(None, String::new()),
        Message::Close(Some(close)) => {
            Owned::Close(Some(close.code.into()), close.reason.to_string())
        }
        Message::Frame(_) => unreachable!("never read"),
    }
}

fn peer_message(item: &Owned) -> Message {
    match item.clone() {
        Owned::Text(text) => Message::Text(text.into()),
        Owned::Binary(bytes) => Message::Binary(bytes.into()),
        Owned::Ping(bytes) => Message::Ping(bytes.into()),
        Owned::Pong(bytes) => Message::Pong(bytes.into()),
        Owned::Close(None, _) => Message::Close(None),
        Owned::Close(Some(code), reason) => {
            Message::Close(Some(CloseFrame { code: code.into(), reason: reason.into() }))
        }
    }
}

fn encode(item: &Owned, out: &mut Vec<u8>) {
    match item {
        Owned::Text(text) => websocket::write_message(Opcode::Text, text.as_bytes(), out),
        Owned::Binary(bytes) => websocket::write_message(Opcode::Binary, bytes, out),
        Owned::Ping(bytes) => websocket::write_ping(bytes, out),
        Owned::Pong(bytes) => websocket::write_pong(bytes, out),
        Owned::Close(code, reason) => websocket::write_close(*code, reason, out),
    }
}

fn control() -> impl Strategy<Value = Owned> {
    let payload = || prop::collection::vec(any::<u8>(), 0..=125);
    prop_oneof![payload().prop_map(Owned::Ping), payload().prop_map(Owned::Pong)]
}

fn data(accepts: Accepts) -> BoxedStrategy<Owned> {
    // Lengths on both sides of each form of the length field.
    let length = prop_oneof![0usize..200, 65_500..65_600usize];
    match accepts {
        Accepts::Text => length
            .prop_flat_map(|bytes| ("\\PC{1,8}", Just(bytes)))
            .prop_map(|(text, bytes)| Owned::Text(text.repeat(bytes / text.len())))
            .boxed(),
        Accepts::Binary => (length, any::<u8>())
            .prop_map(|(bytes, seed)| {
                Owned::Binary((0..bytes).map(|place| (place as u8).wrapping_mul(seed)).collect())
            })
            .boxed(),
    }
}

fn conversation() -> impl Strategy<Value = (Accepts, Vec<Owned>, Option<Owned>)> {
    let close = prop_oneof![
        Just(Owned::Close(None, String::new())),
        (prop::sample::select(vec![1000u16, 1001, 1008, 3000, 4999]), "\\PC{0,30}")
            .prop_map(|(code, reason)| Owned::Close(Some(code), reason)),
    ];
    prop_oneof![Just(Accepts::Text), Just(Accepts::Binary)].prop_flat_map(move |accepts| {
        let item = prop_oneof![3 => data(accepts), 1 => control()];
        (Just(accepts), prop::collection::vec(item, 0..6), prop::option::of(close.clone()))
    })
}

/// Frames with mostly right first bytes; their lengths in the shortest form, since the peer does
/// not judge that, and none left incomplete, since it judges only whole frames.
fn any_frame(data_opcode: u8) -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        20 => prop::sample::select(vec![
            data_opcode, 0x80 | data_opcode, 0x00, 0x80, 0x88, 0x89, 0x8a,
        ]),
        1 => prop::sample::select(vec![0x08, 0x09, 0x83, 0x8b, 0xc0 | data_opcode, 0x90, 0xa9]),
    ];
    let payload = prop_oneof![
        8 => "\\PC{0,40}".prop_map(String::into_bytes),
        2 => prop::collection::vec(any::<u8>(), 0..8),
        1 => (0u16..5500, "\\PC{0,9}").prop_map(|(code, reason)| {
            [&code.to_be_bytes(), reason.as_bytes()].concat()
        }),
        1 => prop::collection::vec(any::<u8>(), 120..130),
        1 => (MESSAGE_BYTES_MAX - 1..=MESSAGE_BYTES_MAX + 1).prop_map(|bytes| vec![b'x'; bytes]),
    ];
    (first, payload, prop::bool::weighted(0.02)).prop_map(|(first, payload, bare)| {
        if bare && payload.len() < 126 { unmasked(first, &payload) } else { frame(first, &payload) }
    })
}

proptest! {
    #[test]
    fn we_read_what_the_peer_writes(
        (accepts, mut items, close) in conversation(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        items.extend(close);
        let mut client = peer(Role::Client, Vec::new());
        for item in &items {
            client.send(peer_message(item)).unwrap();
        }
        let bytes = &client.get_ref().output;
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let limits = Limits::new(accepts, MESSAGE_BYTES_MAX as u32);
        prop_assert_eq!(decode_cut(bytes, &cuts, limits), Outcome { items, violation: None });
    }

    #[test]
    fn the_peer_reads_what_we_write((_, mut items, close) in conversation()) {
        items.extend(close);
        let mut bytes = Vec::new();
        for item in &items {
            encode(item, &mut bytes);
        }
        prop_assert_eq!(read_all(&mut peer(Role::Client, bytes)), (items, false));
    }

    #[test]
    fn both_judge_any_frames_alike(
        (accepts, frames) in prop_oneof![
            (Just(Accepts::Text), prop::collection::vec(any_frame(0x01), 0..10)),
            (Just(Accepts::Binary), prop::collection::vec(any_frame(0x02), 0..10)),
        ],
    ) {
        let bytes = frames.concat();
        let ours = decode_whole(&bytes, Limits::new(accepts, MESSAGE_BYTES_MAX as u32));
        let theirs = read_all(&mut peer(Role::Server, bytes));
        prop_assert_eq!((ours.items, ours.violation.is_some()), theirs);
    }
}
