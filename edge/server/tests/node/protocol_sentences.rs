//! What PROTOCOL.md says "must be", "is refused", "is ignored" or "at most": sentence by sentence,
//! over every transport.
//!
//! Setup: a server of the defaults. Action: what a sentence is about, as a JSON text and as a binary
//! frame, signed in or before. Expectation: the answer that the sentence gives, the same over all
//! transports, with the tag and the message id of the command; and the connection goes on unless it
//! is to end. Each row quotes its sentence: one that is worded anew fails, and is to be tried again.

mod elsewhere;
mod forms;
mod framing;
mod meaning;

use ringpost_wire::limits::{FRAME_BYTES_MAX, HEADER_BYTES, HELLO_BYTES_MAX, JSON_TEXT_BYTES_MAX};
use serde_json::{Value, json};
use uuid::Uuid;

use self::forms::{Answer, Row, Stage, frame_of, message_id};
use crate::peer::{BINARY, Encoding, Heard, PING, Peer, TEXT, binary_command, frame};
use crate::rig::Node;

const PROTOCOL: &str = include_str!("../../../../core/wire/PROTOCOL.md");
const ENCODINGS: [Encoding; 3] = [Encoding::Tcp, Encoding::Json, Encoding::Bin];
const CLOSE: u8 = 0x88;

/// A text with one space between its words.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Fails where PROTOCOL.md does not say this, wherever its lines are broken.
fn says(sentence: &str) {
    assert!(words(PROTOCOL).contains(&words(sentence)), "PROTOCOL.md does not say: {sentence}");
}

/// Clients of one node, each user with its token.
struct Clients {
    node: Node,
    tokens: [(Uuid, String); 3],
}

impl Clients {
    fn new() -> Self {
        let node = Node::start(&[]);
        let tokens = [0; 3].map(|_| {
            let user = Uuid::new_v4();
            (user, node.token(user, 1))
        });
        Self { node, tokens }
    }

    fn token(&self, encoding: Encoding) -> &str {
        let at = ENCODINGS.iter().position(|it| *it == encoding).unwrap();
        &self.tokens[at].1
    }

    /// The token of another user.
    fn other(&self, encoding: Encoding) -> &str {
        self.tokens
            .iter()
            .map(|(_, token)| &**token)
            .find(|it| *it != self.token(encoding))
            .unwrap()
    }

    fn connect(&self, encoding: Encoding, stage: Stage) -> Peer {
        let mut peer = Peer::connect(&self.node, encoding);
        if stage == Stage::SignedIn {
            peer.say(&json!({"type": "hello", "token": self.token(encoding), "device": 1}));
            peer.hear_kind("welcome");
            peer.hear_kind("queue_empty");
        }
        peer
    }
}

/// Says what is to be said, in the form of the transport.
fn say(peer: &mut Peer, encoding: Encoding, text: &str, binary: &[u8]) {
    match encoding {
        Encoding::Tcp => peer.write(binary),
        Encoding::Json => peer.frame(TEXT, text.as_bytes()),
        Encoding::Bin => peer.frame(BINARY, binary),
    }
}

/// Whether an event is the answer that a sentence gives.
fn check_answer(event: &Value, answer: &Answer, what: &str) {
    match answer {
        Answer::Refused { code, named } => {
            assert_eq!(event["type"], "error", "{what}: {event}");
            assert_eq!(event["code"], *code, "{what}: {event}");
            assert_eq!(event["tag"], 7, "{what}: {event}");
            let expected = if *named { json!(message_id()) } else { Value::Null };
            assert_eq!(event["message_id"], expected, "{what}: {event}");
        }
        Answer::Event(expected) => {
            for (name, value) in expected.as_object().unwrap() {
                assert_eq!(&event[name], value, "{what}: {name} of {event}");
            }
        }
        Answer::Nothing | Answer::Closed(_) => unreachable!("no event is expected"),
    }
}

fn try_row(clients: &Clients, row: &Row) {
    for encoding in ENCODINGS {
        let is_json = encoding == Encoding::Json;
        let Some((text, binary)) =
            row.forms(is_json, clients.token(encoding), clients.other(encoding))
        else {
            continue;
        };
        let what = format!("{:?} {encoding:?}: {}", row.said, row.sentence);
        let mut peer = clients.connect(encoding, row.stage);
        say(&mut peer, encoding, &text, &binary);
        match &row.answer {
            Answer::Closed(code) => {
                assert_eq!(peer.listen(), Heard::End(Some(*code)), "{what}");
                continue;
            }
            Answer::Nothing => {}
            answer => check_answer(&peer.hear(), answer, &what),
        }
        // The connection goes on, and nothing else was said.
        peer.say(&json!({"type": "ping", "nonce": 77}));
        match peer.listen() {
            Heard::Event(pong) if pong["nonce"] == 77 => {}
            Heard::Event(event) if event["type"] == "queue_empty" => peer.ping(),
            other => panic!("{what}: {other:?} where nothing is to come"),
        }
    }
}

#[test]
fn each_sentence_holds_over_every_transport() {
    let clients = Clients::new();
    for row in framing::rows().into_iter().chain(meaning::rows()) {
        says(row.sentence);
        try_row(&clients, &row);
    }
}

#[test]
fn a_close_frame_is_answered_by_its_like() {
    says("A Close frame is answered by one with its code, an empty one by an empty one");
    says("a code that must not be sent, or half of one, is answered with 1002");
    let clients = Clients::new();
    let body = |code: u16, reason: &str| [&code.to_be_bytes(), reason.as_bytes()].concat();
    let mut tries: Vec<(Vec<u8>, Option<u16>)> = vec![(Vec::new(), None)];
    for code in [1000, 1001, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999] {
        tries.push((body(code, ""), Some(code)));
        tries.push((body(code, "I leave"), Some(code)));
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, u16::MAX] {
        tries.push((body(code, ""), Some(1002)));
    }
    tries.push((vec![3], Some(1002)));
    tries.push((body(1000, "")[..].iter().chain(b"\xff").copied().collect(), Some(1007)));
    for encoding in [Encoding::Json, Encoding::Bin] {
        for stage in [Stage::Stranger, Stage::SignedIn] {
            // Whom a signature is checked for once a try need not be many.
            let few = if stage == Stage::SignedIn { 5 } else { 1 };
            for (body, answer) in tries.iter().step_by(few) {
                let mut peer = clients.connect(encoding, stage);
                peer.frame(CLOSE, body);
                let heard = peer.listen();
                assert_eq!(heard, Heard::End(*answer), "{body:?} over {encoding:?}, {stage:?}");
            }
        }
    }
}

#[test]
fn what_was_asked_before_a_close_frame_is_answered_and_then_the_close_frame() {
    let clients = Clients::new();
    for encoding in [Encoding::Json, Encoding::Bin] {
        let mut peer = clients.connect(encoding, Stage::SignedIn);
        let to = clients.tokens[0].0;
        let send = crate::peer::message(Uuid::new_v4(), to, b"x");
        let send = peer.encoded(&send);
        peer.write(&[send, frame(CLOSE, &4_000_u16.to_be_bytes())].concat());
        let Heard::Event(answer) = peer.listen() else { panic!("an answer comes first") };
        assert!(answer["type"] == "receipt" || answer["type"] == "error", "{answer}");
        assert_eq!(peer.last_word(), Some(4_000));
    }
}

#[test]
fn a_message_that_is_not_whole_frames_ends_with_1002() {
    says("| `ringpost.v1.bin` | binary | one or more whole frames, no preamble |");
    says("the protocol was violated: frames cut off");
    let clients = Clients::new();
    let ping = frame_of(0x7e, 0, &[10, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
    let torn = [&ping[..], &ping[..7]].concat();
    let shorter = &ping[..ping.len() - 1];
    for (bytes, answers) in [(&[][..], 0), (b"RPP1", 0), (&ping[..7], 0), (shorter, 0), (&torn, 1)]
    {
        for stage in [Stage::Stranger, Stage::SignedIn] {
            let mut peer = clients.connect(Encoding::Bin, stage);
            peer.frame(BINARY, bytes);
            for _ in 0..answers {
                peer.hear_kind("pong");
            }
            assert_eq!(peer.listen(), Heard::End(Some(1002)), "{bytes:?}, {stage:?}");
        }
    }
}

#[test]
fn a_message_may_come_in_fragments_with_control_frames_in_between() {
    says("A message may be fragmented; control frames may come in between.");
    let clients = Clients::new();
    for (encoding, first) in [(Encoding::Json, 0x01), (Encoding::Bin, 0x02)] {
        let mut peer = clients.connect(encoding, Stage::SignedIn);
        let (text, binary) = ping_of(encoding == Encoding::Json, 200);
        let message = if encoding == Encoding::Json { text.into_bytes() } else { binary };
        peer.frame(first, &message[..3]);
        peer.frame(PING, b"there?");
        peer.frame(0x00, b"");
        peer.frame(0x80, &message[3..]);
        assert_eq!(peer.listen(), Heard::Pong(b"there?".to_vec()), "{encoding:?}");
        assert_eq!(peer.hear_kind("pong")["nonce"], 5, "{encoding:?}");
    }
}

#[test]
fn what_stands_behind_a_hello_that_is_refused_is_answered_by_nobody() {
    says("if the `hello` is refused nobody answers them");
    let clients = Clients::new();
    for encoding in ENCODINGS {
        let mut peer = clients.connect(encoding, Stage::Stranger);
        let hello = peer.encoded(&json!({"type": "hello", "token": "x", "device": 1}));
        let ping = peer.encoded(&json!({"type": "ping", "nonce": 5}));
        peer.write(&[hello, ping].concat());
        assert_eq!(peer.listen(), Heard::End(Some(4401)), "{encoding:?}");
    }
}

#[test]
fn what_stands_behind_a_hello_is_counted_as_behind_its_welcome() {
    says("wait for the `welcome` and are carried out after it, in every transport");
    let clients = Clients::new();
    for encoding in ENCODINGS {
        let mut peer = clients.connect(encoding, Stage::Stranger);
        let token = clients.token(encoding);
        let hello = peer.encoded(&json!({"type": "hello", "token": token, "device": 1}));
        let (text, binary) = ping_of(encoding == Encoding::Json, HELLO_BYTES_MAX + 1_000);
        peer.write(&hello);
        say(&mut peer, encoding, &text, &binary);
        peer.hear_kind("welcome");
        let mut heard = [peer.hear(), peer.hear()].map(|event| event["type"].to_string());
        heard.sort();
        assert_eq!(heard, ["\"pong\"", "\"queue_empty\""], "{encoding:?}");
    }
}

/// A ping of so many bytes of text, or of payload.
fn ping_of(is_json: bool, bytes: usize) -> (String, Vec<u8>) {
    let text = r#"{"type":"ping","nonce":5}"#;
    if is_json {
        return (text.to_owned() + &" ".repeat(bytes - text.len()), Vec::new());
    }
    let fixed = &binary_command(text)[HEADER_BYTES..];
    let section = (bytes - fixed.len() - 4) as u32;
    let payload = [fixed, &section.to_le_bytes(), &vec![0; section as usize]].concat();
    assert_eq!(payload.len(), bytes);
    (String::new(), frame_of(0x7e, 0, &payload))
}

#[test]
fn the_longest_payload_is_taken_and_one_byte_more_ends_with_1009_alike() {
    says("of each text, and of the payload of each frame, alike over all transports; over it 1009");
    let clients = Clients::new();
    for encoding in ENCODINGS {
        let is_json = encoding == Encoding::Json;
        let largest = if is_json { JSON_TEXT_BYTES_MAX } else { FRAME_BYTES_MAX - HEADER_BYTES };
        for (stage, max) in [(Stage::Stranger, HELLO_BYTES_MAX), (Stage::SignedIn, largest)] {
            let mut peer = clients.connect(encoding, stage);
            for _ in 0..3 {
                let (text, binary) = ping_of(is_json, max);
                say(&mut peer, encoding, &text, &binary);
                assert_eq!(peer.hear_kind("pong")["nonce"], 5, "{encoding:?}, {stage:?}");
            }
            let (text, binary) = ping_of(is_json, max + 1);
            say(&mut peer, encoding, &text, &binary);
            assert_eq!(peer.last_word(), Some(1009), "{encoding:?}, {stage:?}");
        }
    }
}

#[test]
fn a_frame_over_the_limit_is_refused_from_its_header_alone() {
    says("over it 1009, from the header alone");
    let clients = Clients::new();
    for encoding in [Encoding::Tcp, Encoding::Bin] {
        let stages =
            [(Stage::Stranger, HELLO_BYTES_MAX), (Stage::SignedIn, FRAME_BYTES_MAX - HEADER_BYTES)];
        for (stage, max) in stages {
            let mut peer = clients.connect(encoding, stage);
            let header = [&(max as u32 + 1).to_le_bytes()[..], &[0x7e, 0, 0, 0]].concat();
            say(&mut peer, encoding, "", &header);
            assert_eq!(peer.last_word(), Some(1009), "{encoding:?}, {stage:?}");
        }
    }
}

/// Where a frame with a `hello` has its intents.
const INTENTS_AT: usize = HEADER_BYTES + 11;

#[test]
fn unknown_intents_are_ignored_and_the_known_ones_beside_them_count() {
    says("unknown ones are ignored");
    let clients = Clients::new();
    let mut typist = Peer::sign_in_live(&clients.node, Encoding::Json, Uuid::new_v4(), 1);
    for encoding in ENCODINGS {
        for (words, bits, is_told) in
            [(json!(["weather", "typing", ""]), u32::MAX, true), (json!(["weather"]), !3, false)]
        {
            let user = Uuid::new_v4();
            let token = clients.node.token(user, 1);
            let hello = json!({"type": "hello", "token": token, "device": 1, "intents": words});
            let mut binary = binary_command(&hello.to_string());
            binary[INTENTS_AT..INTENTS_AT + 4].copy_from_slice(&bits.to_le_bytes());
            let mut peer = clients.connect(encoding, Stage::Stranger);
            say(&mut peer, encoding, &hello.to_string(), &binary);
            peer.hear_kind("welcome");
            peer.hear_kind("queue_empty");
            typist.say(&json!({"type": "typing", "to": user, "active": true}));
            // Behind the notice, if there is one.
            typist.send(user, b"x");
            let first = peer.hear();
            assert_eq!(first["type"] == "typing", is_told, "{encoding:?} {words}: {first}");
        }
    }
}
