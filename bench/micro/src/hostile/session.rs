//! All that a worker does with what a signed-in client sends, answers and their encoding included: by
//! binary frames on the bare stream, and by JSON over WebSocket.

use std::cell::RefCell;

use ringpost_wire::command::{ClientStatus, Named, Receipt};
use ringpost_wire::{Command, ServerId};

use super::websocket::frame as masked;
use super::{Case, RECEIVE_BYTES, corpus, cost};
use crate::worker::{ALICE, Hand, encoded, user};

const BINARY: &str = "session, binary";
const JSON: &str = "session, JSON";
const TEXT: u8 = 0x81;
const PING: u8 = 0x89;
const MESSAGE: &str = "0186550c-6c78-70a1-8000-000000000011";

/// What begins a session or ends it is no part of it.
const NOT_SAID: [&str; 4] = ["command-hello", "command-bye", "command-auth", "several"];

/// How a client speaks.
#[derive(Clone, Copy)]
enum Form {
    Binary,
    Json,
}

fn hand(form: Form) -> Hand {
    let Form::Json = form else { return Hand::new() };
    let head = "GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    // The id of the first client, in base64: a ticket as the hand takes them.
    assert_eq!(user(ALICE).0, 1_u128.to_be_bytes(), "the ticket below is the first client's");
    let hello = r#"{"type":"hello","device":1,"ticket":"AAAAAAAAAAAAAAAAAAAAAQ=="}"#;
    Hand::with([&[head.as_bytes().to_vec(), masked(TEXT, hello.as_bytes())], &[]])
}

/// Receives that hold so many frames in all.
fn case(
    parser: &'static str,
    name: &'static str,
    form: Form,
    (receives, frames): (Vec<Vec<u8>>, usize),
) -> Case {
    let bytes: usize = receives.iter().map(Vec::len).sum();
    let more_receives = receives.len() - bytes.div_ceil(RECEIVE_BYTES);
    let cost = cost(bytes, frames + more_receives);
    let hand = RefCell::new(None);
    let run = move |times| {
        let mut hand = hand.borrow_mut();
        let hand = hand.get_or_insert_with(|| self::hand(form));
        for _ in 0..times {
            receives.iter().for_each(|bytes| hand.receive(ALICE, &mut bytes.clone()));
        }
    };
    Case { parser, name, run: Box::new(run), cost }
}

/// One receive full of the same frame.
fn flood(frame: &[u8]) -> (Vec<Vec<u8>>, usize) {
    let times = RECEIVE_BYTES / frame.len();
    (vec![frame.repeat(times)], times)
}

fn is_said(name: &str) -> bool {
    !NOT_SAID.iter().any(|it| name.starts_with(it))
}

fn unknown_receipt() -> Command<'static> {
    Command::Receipt(Receipt {
        message: Named::Id(ServerId([9; 16])),
        status: ClientStatus::Delivered,
        client_timestamp_ms: 5,
    })
}

pub(super) fn cases() -> Vec<Case> {
    let said = |target: &str| corpus(target).into_iter().filter(|(name, _)| is_said(name));
    // Each by itself, as people send them. The first byte of a binary one is the fuzzer's.
    let alone = |receives: Vec<Vec<u8>>| {
        let frames = receives.len();
        (receives, frames)
    };
    let frames = alone(said("binary").map(|(_, bytes)| bytes[1..].to_vec()).collect());
    let texts = alone(said("json").map(|(_, text)| masked(TEXT, &text)).collect());
    let binary = |name, given| case(BINARY, name, Form::Binary, given);
    let json = |name, given| case(JSON, name, Form::Json, given);
    let text = |text: &str| flood(&masked(TEXT, text.as_bytes()));
    let bytes_of_a_ping = encoded(&Command::Ping { nonce: 5 });
    let bytewise = bytes_of_a_ping.chunks(1).map(<[u8]>::to_vec).collect();
    vec![
        binary("corpus", frames),
        binary("empty pings", flood(&[0, 0, 0, 0, 0x7e, 0, 0, 0])),
        binary("unknown kinds", flood(&[0, 0, 0, 0, 0xff, 0, 0, 0])),
        binary("malformed", flood(&[0, 0, 0, 0, 0x03, 0, 0, 0])),
        binary("acks of nothing", flood(&encoded(&Command::Ack { push: 0 }))),
        binary("acks of what was not pushed", flood(&encoded(&Command::Ack { push: 9 }))),
        binary("receipts of nothing", flood(&encoded(&unknown_receipt()))),
        binary("not supported", flood(&[0, 0, 0, 0, 0x07, 0, 0, 0])),
        binary("byte by byte", (bytewise, 1)),
        json("corpus", texts),
        json("pings of WebSocket", flood(&masked(PING, b""))),
        json("empty texts", text("")),
        json("no object", text("0")),
        json("unknown types", text(r#"{"type":""}"#)),
        json("pings", text(r#"{"type":"ping"}"#)),
        json("malformed", text(r#"{"type":"ack","push":"}"#)),
        json("malformed and named", text(&format!(r#"{{"message_id":"{MESSAGE}","tag":9}}"#))),
        json("receipts of nothing", text(r#"{"type":"receipt","status":"read"}"#)),
    ]
}
