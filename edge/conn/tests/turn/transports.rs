//! The same commands are answered alike over every transport, whatever is written at once.
//!
//! Setup: a client far from its user's home. Action: preamble or upgrade and all its commands, in
//! one write (over binary WebSocket in one message too), whole and cut at each byte. Expectation:
//! the same answers in the same order over TCP, WebSocket with JSON and WebSocket with frames.

use bytes::BytesMut;
use ringpost_conn::ConnectionConfig;
use ringpost_conn::timer::TICK;
use ringpost_wire::command::{Credential, Hello};
use ringpost_wire::decoder::FrameDecoder;
use ringpost_wire::event::Status;
use ringpost_wire::frame::PREAMBLE;
use ringpost_wire::limits::PAYLOAD_BYTES_MAX;
use ringpost_wire::{Command, DeviceId, Event, UserId, binary, json};

use crate::client::{encoded, message};
use crate::world::World;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Transport {
    Tcp,
    Json,
    Frames,
}

const ALL: [Transport; 3] = [Transport::Tcp, Transport::Json, Transport::Frames];

/// What a client does, by its tags.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Hello,
    Send,
    Ping,
    Ack0,
    Auth,
    Bye,
    /// A command that is none.
    Malformed,
    /// Ends its direction.
    HalfClose,
    /// Says so by a Close frame with this code, where the transport has one.
    Close(u16),
}

use Deed::{Ack0, Auth, Bye, Close, HalfClose, Hello as Greet, Malformed, Ping, Send};

/// A name, what is done, by tags from 1, and what is told of it: tag and word.
type Case = (&'static str, &'static [Deed], &'static [(u16, &'static str)]);

const CASES: &[Case] = &[
    ("a send behind hello", &[Greet, Send, Bye], &[(1, "welcome"), (2, "sent"), (0, "1000")]),
    (
        "several behind hello",
        &[Greet, Ping, Send, Send, Bye],
        &[(1, "welcome"), (2, "pong"), (3, "sent"), (4, "sent"), (0, "1000")],
    ),
    ("two hellos", &[Greet, Greet, Bye], &[(1, "welcome"), (2, "already_signed_in"), (0, "1000")]),
    (
        "a send before hello",
        &[Send, Greet, Bye],
        &[(1, "not_signed_in"), (2, "welcome"), (0, "1000")],
    ),
    ("a ping before hello", &[Ping, Greet, Bye], &[(1, "pong"), (2, "welcome"), (0, "1000")]),
    ("ack of nothing", &[Greet, Ack0, Ping, Bye], &[(1, "welcome"), (3, "pong"), (0, "1000")]),
    ("auth and bye", &[Greet, Auth, Bye], &[(1, "welcome"), (2, "welcome"), (0, "1000")]),
    ("bye before hello", &[Bye], &[(0, "1000")]),
    ("a ping and the end", &[Ping, HalfClose], &[(1, "pong")]),
    (
        "what is refused in between",
        &[Malformed, Greet, Malformed, Ping, Malformed, Bye],
        &[
            (1, "malformed"),
            (2, "welcome"),
            (3, "malformed"),
            (4, "pong"),
            (5, "malformed"),
            (0, "1000"),
        ],
    ),
    ("a close before hello", &[Ping, Close(1001)], &[(1, "pong"), (0, "1001")]),
    (
        "a close behind a send",
        &[Greet, Send, Close(4000)],
        &[(1, "welcome"), (2, "sent"), (0, "4000")],
    ),
    ("a send and the end", &[Greet, Send, HalfClose], &[(1, "welcome"), (2, "sent")]),
];

/// All that a client writes.
fn written(world: &mut World, transport: Transport, deeds: &[Deed], to: UserId) -> Vec<u8> {
    let alice = world.user_at(1, 0);
    let token = world.token(alice, 1, 600_000);
    let mut bytes = match transport {
        Transport::Tcp => PREAMBLE.to_vec(),
        Transport::Json => upgrade("ringpost.v1.json"),
        Transport::Frames => upgrade("ringpost.v1.bin"),
    };
    let mut message_of_frames = Vec::new();
    for (tag, deed) in (1..).zip(deeds) {
        let command = match deed {
            Deed::Hello => Command::Hello(Hello {
                credential: Credential::Token(token.as_str().into()),
                device: DeviceId::new(1).expect("1 to 127"),
                window_pushes: 0,
                window_bytes: 0,
                intents: 0,
            }),
            Deed::Send => message(world.next_number(), to, b"x"),
            Deed::Ping => Command::Ping { nonce: 3 },
            Deed::Ack0 => Command::Ack { push: 0 },
            Deed::Auth => Command::Auth { token: token.as_str().into() },
            Deed::Bye => Command::Bye,
            Deed::Malformed => {
                malformed(transport, tag, &mut bytes, &mut message_of_frames);
                continue;
            }
            Deed::HalfClose | Deed::Close(_) => continue,
        };
        match transport {
            Transport::Tcp => bytes.extend(encoded(tag, &command)),
            Transport::Frames => message_of_frames.extend(encoded(tag, &command)),
            Transport::Json => {
                let mut text = BytesMut::new();
                json::encode_command(&command, tag, &mut text);
                bytes.extend(masked(0x81, &text));
            }
        }
    }
    if transport == Transport::Frames {
        bytes.extend(masked(0x82, &message_of_frames));
    }
    if let Some(Deed::Close(code)) = deeds.last() {
        bytes.extend(masked(0x88, &code.to_be_bytes()));
    }
    bytes
}

/// An ack with half a section, or of half a number.
fn malformed(transport: Transport, tag: u16, bytes: &mut Vec<u8>, message: &mut Vec<u8>) {
    let [low, high] = tag.to_le_bytes();
    let frame = [4, 0, 0, 0, 4, 0, low, high, 2, 0, 1, 0];
    match transport {
        Transport::Tcp => bytes.extend(frame),
        Transport::Frames => message.extend(frame),
        Transport::Json => {
            let text = format!(r#"{{"type":"ack","push":0.5,"x":1,"x":2,"tag":{tag}}}"#);
            bytes.extend(masked(0x81, text.as_bytes()));
        }
    }
}

/// The transports over which a case can be done.
fn transports(deeds: &[Deed]) -> impl Iterator<Item = Transport> {
    let is_closed = matches!(deeds.last(), Some(Deed::Close(_)));
    ALL.into_iter().filter(move |it| !is_closed || *it != Transport::Tcp)
}

fn upgrade(subprotocol: &str) -> Vec<u8> {
    format!(
        "GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
    )
    .into_bytes()
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![first];
    match u16::try_from(payload.len()).expect("a short message") {
        length @ 0..126 => bytes.push(0x80 | length as u8),
        length => {
            bytes.push(0x80 | 126);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes.extend(KEY);
    bytes.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// What was told, in order; `queue_empty`, which no command asks for, is left out.
fn heard(transport: Transport, raw: &[u8]) -> Vec<(u16, String)> {
    let mut told = Vec::new();
    let mut take = |tag, event: &Event| match event {
        Event::QueueEmpty { .. } => {}
        Event::Welcome(_) => told.push((tag, "welcome".to_owned())),
        Event::Pong { .. } => told.push((tag, "pong".to_owned())),
        Event::Ping { .. } => told.push((tag, "ping".to_owned())),
        Event::Receipt(receipt) if receipt.status == Status::Sent => {
            told.push((tag, "sent".to_owned()));
        }
        Event::Error(error) => told.push((tag, error.code.name().to_owned())),
        Event::Close { code, .. } => told.push((tag, code.number().to_string())),
        other => panic!("{other:?}"),
    };
    if transport == Transport::Tcp {
        frames(raw, &mut take);
        return told;
    }
    let head = raw.windows(4).position(|at| at == b"\r\n\r\n").expect("an answer") + 4;
    assert!(raw.starts_with(b"HTTP/1.1 101"));
    let mut rest = &raw[head..];
    let mut close = None;
    while let [first, length, ..] = *rest {
        let (length, from) = match length {
            126 => (u16::from_be_bytes([rest[2], rest[3]]).into(), 4),
            length => (usize::from(length), 2),
        };
        let (payload, behind) = rest[from..].split_at(length);
        rest = behind;
        match (first, transport) {
            (0x88, _) => close = Some(u16::from_be_bytes([payload[0], payload[1]])),
            (0x81, Transport::Json) => {
                let text = std::str::from_utf8(payload).expect("a text");
                let (event, tag) = json::decode_event(text).expect("an event of ours");
                take(tag, &event);
            }
            (0x82, Transport::Frames) => frames(payload, &mut take),
            other => panic!("{other:?}"),
        }
    }
    told.extend(close.map(|code| (0, code.to_string())));
    told
}

fn frames(mut bytes: &[u8], take: &mut dyn FnMut(u16, &Event)) {
    let mut decoder = FrameDecoder::default();
    while !bytes.is_empty() {
        let step = decoder.decode(bytes, PAYLOAD_BYTES_MAX).expect("a frame of ours");
        bytes = &bytes[step.consumed..];
        let frame = step.frame.expect("frames are whole");
        let header = frame.header;
        let event = binary::decode_event(header.kind, header.flags, frame.payload);
        take(header.tag, &event.expect("an event of ours"));
    }
}

/// Does all, in pieces that end at `cut` and at the end.
fn run(world: &mut World, transport: Transport, deeds: &[Deed], cut: usize) -> Vec<(u16, String)> {
    let bob = world.user_at(0, 0);
    let bytes = written(world, transport, deeds, bob);
    let client = world.connect(0);
    world.clients[client].raw = Some(Vec::new());
    for piece in [&bytes[..cut.min(bytes.len())], &bytes[cut.min(bytes.len())..]] {
        world.clients[client].write(piece);
        if cut > 0 {
            world.settle();
        }
    }
    while world.clients[client].has_unsent() {
        world.round();
    }
    if matches!(deeds.last(), Some(Deed::HalfClose)) {
        world.clients[client].shutdown_write();
    }
    world.settle();
    let raw = world.clients[client].raw.take().expect("it was there");
    world.clients[client].hang_up();
    world.settle();
    heard(transport, &raw)
}

fn check(world: &mut World, transport: Transport, at: usize, cut: usize) {
    let (name, deeds, expected) = CASES[at];
    let told = run(world, transport, deeds, cut);
    let mut told: Vec<(u16, &str)> = told.iter().map(|(tag, word)| (*tag, word.as_str())).collect();
    if matches!(deeds.last(), Some(Deed::HalfClose)) {
        // Who had all its answers when it ended its direction hears no last word.
        told.retain(|it| *it != (0, "1000"));
    }
    assert_eq!(told, expected, "{name} over {transport:?}, cut at {cut}");
}

/// A world in which Bob is somebody.
fn world(seed: u64) -> World {
    let mut world = World::new(2, seed);
    let bob = world.user_at(0, 0);
    let b = world.sign_in(0, bob, 1);
    world.clients[b].hang_up();
    world.settle();
    world
}

#[test]
fn what_is_written_at_once_is_answered_alike_over_every_transport() {
    for seed in 0..8 {
        let mut world = world(seed);
        for (at, (_, deeds, _)) in CASES.iter().enumerate() {
            for transport in transports(deeds) {
                check(&mut world, transport, at, 0);
            }
        }
    }
}

#[test]
fn a_cut_at_any_byte_changes_no_answer() {
    for (at, (_, deeds, _)) in CASES.iter().enumerate() {
        for transport in transports(deeds) {
            let mut world = world(at as u64);
            let bob = world.user_at(0, 0);
            let length = written(&mut world, transport, deeds, bob).len();
            // The head of an upgrade has tests of its own; from its end on each byte is a cut.
            let from = length.saturating_sub(100).max(1);
            for cut in (1..from).step_by(37).chain(from..length) {
                check(&mut world, transport, at, cut);
            }
        }
    }
}

/// What stands between a WebSocket and its client gives it up sooner than a NAT forgets a stream.
#[test]
fn a_silent_client_is_pinged_in_the_time_of_its_transport() {
    let config = ConnectionConfig::default();
    for transport in ALL {
        let interval = match transport {
            Transport::Tcp => config.ping_interval_tcp,
            Transport::Json | Transport::Frames => config.ping_interval_websocket,
        };
        let mut world = world(3);
        let bob = world.user_at(0, 0);
        let bytes = written(&mut world, transport, &[Greet], bob);
        let client = world.connect(0);
        world.clients[client].raw = Some(Vec::new());
        world.clients[client].write(&bytes);
        world.settle();
        let told = |world: &World| -> Vec<String> {
            let raw = world.clients[client].raw.as_ref().expect("raw bytes are kept");
            heard(transport, raw).into_iter().map(|(_, word)| word).collect()
        };
        world.pass(interval - TICK);
        assert_eq!(told(&world), ["welcome"], "{transport:?}");
        world.pass(2 * TICK);
        assert_eq!(told(&world), ["welcome", "ping"], "{transport:?}");
        world.pass(interval);
        assert_eq!(told(&world), ["welcome", "ping", "4410"], "{transport:?}");
    }
}
