//! A refusal names what it refuses: with the tag and the message id of the command, in both
//! encodings, wherever these stand beside what was wrong.

use bytes::BytesMut;
use ringpost_wire::frame::CommandKind;
use ringpost_wire::limits::{HEADER_BYTES, JSON_KEYS_MAX};
use ringpost_wire::{CloseReason, Consequence, ErrorCode, MessageId, Refused, binary, json};

use crate::samples::{self, BOB, MESSAGE};

const TAG: u16 = 7;

fn refused(text: &str) -> Refused {
    json::decode_command(text).expect_err(text)
}

/// `wrong` is a field that makes a command malformed; the names stand before it and behind it.
fn names_survive(kind: &str, wrong: &str, code: ErrorCode) {
    let id = MESSAGE.to_string();
    let tag = format!(r#""tag":{TAG}"#);
    let message_id = format!(r#""message_id":"{id}""#);
    let kind = format!(r#""type":"{kind}""#);
    for fields in [
        [&tag, &message_id, &kind, wrong],
        [&kind, wrong, &tag, &message_id],
        [wrong, &message_id, &kind, &tag],
        [&message_id, wrong, &tag, &kind],
    ] {
        let text = format!("{{{}}}", fields.join(" ,\n"));
        let Refused { error, tag, message_id } = refused(&text);
        let shown = &text[..text.len().min(200)];
        assert_eq!(error.consequence(), Consequence::Refuse(code), "{shown}");
        assert_eq!((tag, message_id), (TAG, MESSAGE), "{error} in {shown}");
    }
}

#[test]
fn tag_and_message_id_stand_in_the_answer_to_every_text_that_is_an_object() {
    let deep = format!(r#""x":{}"]",{{"tag":1}}{}"#, "[".repeat(5_000), "]".repeat(5_000));
    let keys: Vec<_> = (0..3 * JSON_KEYS_MAX).map(|at| format!(r#""k{at}":{at}"#)).collect();
    let nested_keys = format!(r#""x":[{{{}}}]"#, keys.join(","));
    for wrong in [
        r#""push":1,"push":2"#,
        r#""push":1.0"#,
        r#""push":-1"#,
        r#""push":"1""#,
        r#""push":1e400"#,
        r#""push":9007199254740992"#,
        r#""x":1e400"#,
        r#""x":"\u0000""#,
        "\"x\":\"a\0b\"",
        r#""\u0000":1"#,
        r#""x":{"a":1,"a":2}"#,
        r#""x":[{"tag":1,"tag":2}]"#,
        &deep,
        &keys.join(","),
        &nested_keys,
    ] {
        names_survive("ack", wrong, ErrorCode::Malformed);
    }
    names_survive("receipt", r#""status":"seen""#, ErrorCode::Malformed);
    names_survive("receipt", r#""status":3"#, ErrorCode::Malformed);
    names_survive("send_message", r#""to":12"#, ErrorCode::Malformed);
    names_survive("send_message", &format!(r#""to":"{BOB}""#), ErrorCode::Malformed);
    names_survive("typing", r#""to":"you""#, ErrorCode::Malformed);
    names_survive("typing", r#""active":1"#, ErrorCode::Malformed);
    names_survive("presence_subscribe", r#""users":["x"]"#, ErrorCode::Malformed);
    names_survive("teleport", r#""x":1"#, ErrorCode::UnknownKind);
    let both = format!(r#""to":"{BOB}","content":"x","encrypted_content":"3q2+7yo=""#);
    names_survive("send_message", &both, ErrorCode::PlaintextRefused);
}

#[test]
fn what_is_not_json_is_answered_with_what_stood_before_it() {
    let id = MESSAGE.to_string();
    for (text, tag, message_id) in [
        (format!(r#"{{"tag":7,"message_id":"{id}","x":01}}"#), TAG, MESSAGE),
        (format!(r#"{{"tag":7,"message_id":"{id}""#), TAG, MESSAGE),
        (format!(r#"{{"tag":7,"message_id":"{id}"}} {{}}"#), TAG, MESSAGE),
        (format!(r#"{{"tag":7,"x":tru,"message_id":"{id}"}}"#), TAG, MessageId::default()),
        (format!(r#"{{"x":[}},"tag":7,"message_id":"{id}"}}"#), 0, MessageId::default()),
        (format!(r#"[{{"tag":7,"message_id":"{id}"}}]"#), 0, MessageId::default()),
    ] {
        let answer = refused(&text);
        assert_eq!((answer.tag, answer.message_id), (tag, message_id), "{text}");
    }
}

#[test]
fn a_name_that_is_none_or_stands_twice_is_not_echoed_and_spoils_no_other() {
    let id = MESSAGE.to_string();
    let many: Vec<_> = (0..JSON_KEYS_MAX).map(|at| format!(r#""k{at}":{at}"#)).collect();
    let many = many.join(",");
    for (fields, tag, message_id) in [
        (format!(r#""tag":65536,"message_id":"{id}""#), 0, MESSAGE),
        (format!(r#""tag":"7","message_id":"{id}""#), 0, MESSAGE),
        (format!(r#""tag":7,"tag":7,"message_id":"{id}""#), 0, MESSAGE),
        (format!(r#"{many},"tag":7,"t\u0061g":8,"message_id":"{id}""#), 0, MESSAGE),
        (r#""tag":7,"message_id":"a","push":-1"#.to_owned(), TAG, MessageId::default()),
        (format!(r#""tag":7,"message_id":"{id}","message_id":1"#), TAG, MessageId::default()),
    ] {
        let text = format!(r#"{{"type":"ack",{fields}}}"#);
        let answer = refused(&text);
        assert_eq!(answer.error.consequence(), Consequence::Refuse(ErrorCode::Malformed));
        assert_eq!((answer.tag, answer.message_id), (tag, message_id), "{text}");
    }
    // Who does not need the message id is not refused for it.
    assert!(json::decode_command(r#"{"type":"ping","message_id":5}"#).is_ok());
}

#[test]
fn half_a_surrogate_pair_ends_the_connection_also_behind_another_violation() {
    for text in [
        r#"{"type":"ack","push":1,"push":2,"x":"\ud800"}"#,
        r#"{"x":1e400,"y":["\udc00"]}"#,
        r#"{"x":"\ud800","x":1}"#,
    ] {
        let consequence = refused(text).error.consequence();
        assert_eq!(consequence, Consequence::Close(CloseReason::LoneSurrogate), "{text}");
    }
}

#[test]
fn a_frame_that_is_refused_is_named_by_its_fixed_part() {
    for (name, command, tag) in samples::commands() {
        let id = command.message_id();
        if id == MessageId::default() {
            continue;
        }
        let mut out = BytesMut::new();
        binary::encode_command(&command, tag, &mut out);
        let payload = &out[HEADER_BYTES..];
        assert_eq!(binary::message_id_of(out[4], payload), id, "{name}");
        // A section that reaches beyond the payload is behind what names the command.
        let broken = [payload, &u32::MAX.to_le_bytes()].concat();
        assert!(binary::decode_command(out[4], out[5], &broken).is_err(), "{name}");
        assert_eq!(binary::message_id_of(out[4], &broken), id, "{name}");
    }
    assert_eq!(binary::message_id_of(CommandKind::Ack.number(), &[2, 0]), MessageId::default());
}
