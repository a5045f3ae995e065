//! What an edge on the Internet meets, by the numbers of the abuse catalogue: the part of each row
//! that the codecs answer.

use std::borrow::Cow;

use bytes::BytesMut;
use ringpost_wire::command::{Command, Content, SendMessage};
use ringpost_wire::decoder::{FrameDecoder, frames};
use ringpost_wire::frame::{CommandKind, Header, flag};
use ringpost_wire::limits::{
    HEADER_BYTES, JSON_TEXT_BYTES_MAX, MESSAGE_BYTES_MAX, PAYLOAD_BYTES_MAX,
};
use ringpost_wire::{
    CloseReason, Consequence, DecodeError, ErrorCode, Event, MessageId, binary, json,
};

use crate::samples::{self, BOB, MESSAGE};

fn json_consequence(text: &str) -> Consequence {
    json::decode_command(text).expect_err(text).error.consequence()
}

const MALFORMED: Consequence = Consequence::Refuse(ErrorCode::Malformed);

#[test]
fn abuse_row_07_a_huge_length_is_refused_from_the_header_before_any_allocation() {
    for length in [PAYLOAD_BYTES_MAX as u32 + 1, 1 << 31, u32::MAX] {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend_from_slice(&[CommandKind::SendMessage.number(), 0, 0, 0]);
        let mut decoder = FrameDecoder::default();
        let error = decoder.decode(&bytes, PAYLOAD_BYTES_MAX).expect_err("too big");
        assert_eq!(error.consequence(), Consequence::Close(CloseReason::TooBig));
        assert_eq!(decoder.assembly_bytes(), 0);
        let error = frames(&bytes, PAYLOAD_BYTES_MAX).next().expect("one").expect_err("too big");
        assert_eq!(error.consequence(), Consequence::Close(CloseReason::TooBig));
    }
    // A section's length counts for nothing but the payload it stands in.
    let mut payload = vec![2, 0];
    payload.extend_from_slice(&u32::MAX.to_le_bytes());
    let error = binary::decode_command(CommandKind::Auth.number(), 0, &payload);
    assert_eq!(error, Err(DecodeError::SectionTruncated { number: 1 }));
}

#[test]
fn abuse_row_08_the_limit_passes_and_one_more_does_not() {
    for (length, passes) in [(PAYLOAD_BYTES_MAX, true), (PAYLOAD_BYTES_MAX + 1, false)] {
        let header = Header { payload_bytes: length as u32, kind: 0x0a, flags: 0, tag: 0 };
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend_from_slice(&[2, 0]);
        bytes.resize(HEADER_BYTES + length, 0);
        let outcome = FrameDecoder::default()
            .decode(&bytes, PAYLOAD_BYTES_MAX)
            .map(|step| step.frame.expect("whole").payload.len());
        assert_eq!(outcome.is_ok(), passes, "{length}");
    }
    for (length, passes) in [(MESSAGE_BYTES_MAX, true), (MESSAGE_BYTES_MAX + 1, false)] {
        for plain in [false, true] {
            let command = message_of(length, plain);
            let mut out = BytesMut::new();
            binary::encode_command(&command, 0, &mut out);
            let outcome = binary::decode_command(out[4], out[5], &out[HEADER_BYTES..]);
            check_size(outcome, &command, passes);
            let mut out = BytesMut::new();
            json::encode_command(&command, 0, &mut out);
            let text = std::str::from_utf8(&out).expect("UTF-8");
            let outcome = json::decode_command(text).map(|(command, _)| command);
            check_size(outcome.map_err(|refused| refused.error), &command, passes);
        }
    }
    let bye = r#"{"type":"bye"}"#;
    let padded = |length: usize| bye.to_owned() + &" ".repeat(length - bye.len());
    assert!(json::decode_command(&padded(JSON_TEXT_BYTES_MAX)).is_ok());
    let over = json_consequence(&padded(JSON_TEXT_BYTES_MAX + 1));
    assert_eq!(over, Consequence::Close(CloseReason::TooBig));
}

fn message_of(length: usize, plain: bool) -> Command<'static> {
    let content = match plain {
        false => Content::Encrypted(Cow::Owned(vec![7; length])),
        true => Content::Plain(Cow::Owned("x".repeat(length))),
    };
    Command::SendMessage(SendMessage {
        message_id: MESSAGE,
        to: BOB,
        reply_to: None,
        client_timestamp_ms: 0,
        ephemeral: false,
        content,
    })
}

fn check_size(outcome: Result<Command<'_>, DecodeError>, sent: &Command<'_>, passes: bool) {
    if passes {
        assert_eq!(outcome.as_ref(), Ok(sent));
    } else {
        let error = outcome.expect_err("too large");
        assert_eq!(error.consequence(), Consequence::Refuse(ErrorCode::TooLarge));
    }
}

#[test]
fn abuse_row_14_text_that_cannot_be_ends_the_connection_with_1007() {
    for bad in [&b"\xff"[..], b"a\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"ok\xe2\x82"] {
        let mut payload = vec![2, 0];
        payload.extend_from_slice(&(bad.len() as u32).to_le_bytes());
        payload.extend_from_slice(bad);
        let error =
            binary::decode_command(CommandKind::Auth.number(), 0, &payload).expect_err("not UTF-8");
        assert_eq!(error.consequence(), Consequence::Close(CloseReason::TextNotUtf8));
    }
    for half in [r"\ud800", r"\udfff", r"\ud83dx", r"\ud83d\n", r"\ud83d\ud83d", r"\ude00\ud83d"] {
        for field in ["token", "ignored"] {
            let text = format!(r#"{{"type":"auth","{field}":"{half}"}}"#);
            let expected = Consequence::Close(CloseReason::LoneSurrogate);
            assert_eq!(json_consequence(&text), expected, "{text}");
        }
    }
}

#[test]
fn abuse_row_17_garbage_costs_one_small_answer_and_a_torn_frame_none() {
    for garbage in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01\x02\x00\x01\x00\x01", &[0xff; 64]]
    {
        let mut decoder = FrameDecoder::default();
        let error = decoder.decode(garbage, PAYLOAD_BYTES_MAX).expect_err("no such length");
        let mut out = BytesMut::new();
        binary::encode_event(&error.answer(MessageId::default()), 0, &mut out);
        assert!(out.len() <= 128, "{} bytes of answer", out.len());
    }
    let mut out = BytesMut::new();
    binary::encode_command(&message_of(100, false), 0, &mut out);
    let mut decoder = FrameDecoder::default();
    let step = decoder.decode(&out[..out.len() - 1], PAYLOAD_BYTES_MAX).expect("in order so far");
    assert_eq!(step.frame, None, "what was cut off is never a command");
}

#[test]
fn abuse_row_18_json_is_bounded_and_means_one_thing() {
    let nested = "[".repeat(80_000);
    let id = MESSAGE.to_string();
    let message = |fields: &str| {
        format!(r#"{{"type":"send_message","encrypted_content":"3q2+7yo=",{fields}}}"#)
    };
    for text in [
        format!(r#"{{"type":"bye","x":{nested}"#),
        nested,
        r#"{"type":"ack","push":1,"push":2}"#.to_owned(),
        r#"{"type":"ack","push":1e400}"#.to_owned(),
        r#"{"type":"ack","push":-1e400}"#.to_owned(),
        r#"{"type":"ack","push":1.0}"#.to_owned(),
        r#"{"type":"ack","push":1e3}"#.to_owned(),
        r#"{"type":"ack","push":-0}"#.to_owned(),
        r#"{"type":"ack","push":9007199254740992}"#.to_owned(),
        r#"{"type":"ack","push":"1"}"#.to_owned(),
        message(&format!(r#""message_id":"{id}","to":9007199254740993"#)),
        message(&format!(r#""message_id":"{id}","to":1.0e17"#)),
        message(&format!(r#""message_id":12345,"to":"{BOB}""#)),
        message(&format!(r#""message_id":"msg_abc123","to":"{BOB}""#)),
        message(&format!(r#""message_id":"{{{id}}}","to":"{BOB}""#)),
        message(&format!(r#""message_id":"{}","to":"{BOB}""#, id.replace('-', ""))),
        message(&format!(r#""message_id":"{id}","to":"00000000-0000-0000-0000-000000000000""#)),
        r#"{"type":"auth","token":"a\u0000b"}"#.to_owned(),
        "{\"type\":\"auth\",\"token\":\"a\0b\"}".to_owned(),
        r#"{"type":"send_message\u0000"}"#.to_owned(),
        r#"{"typ":"bye"}"#.to_owned(),
        r#"{"type":5}"#.to_owned(),
        r#"{"type":"bye","tag":65536}"#.to_owned(),
    ] {
        assert_eq!(json_consequence(&text), MALFORMED, "{}", &text[..text.len().min(99)]);
    }
    // Base64 has one form: alphabet, padding and the unused bits are checked.
    for bad in ["3q2-7yo=", "3q2+7yo", "3q2+7yp=", "3q2+7y o=", "3q2+7yo==", "====", "\\n3q2+"] {
        let text = format!(
            r#"{{"type":"send_message","message_id":"{id}","to":"{BOB}","encrypted_content":"{bad}"}}"#
        );
        assert_eq!(json_consequence(&text), MALFORMED, "{bad}");
    }
}

#[test]
fn abuse_row_24_what_only_the_server_may_say_is_ignored() {
    let honest = format!(
        r#"{{"type":"send_message","message_id":"{MESSAGE}","to":"{BOB}","encrypted_content":"3q2+7yo="}}"#
    );
    let forged = honest.replacen(
        '{',
        r#"{"from":"ffffffff-ffff-4fff-8fff-ffffffffffff","from_device":9,"server_ts":1,"seq":7,
            "id":"1edad2c4-8db4-67d0-8001-030000000001","push":3,"tenant":"other","user_id":[],"#,
        1,
    );
    assert_eq!(json::decode_command(&forged), json::decode_command(&honest));
    assert!(json::decode_command(&honest).is_ok());

    // The binary fixed part has no such field; what is appended to it is not read.
    let mut out = BytesMut::new();
    let (_, command, _) = samples::commands().swap_remove(3);
    binary::encode_command(&command, 0, &mut out);
    let fixed_bytes = usize::from(u16::from_le_bytes([out[8], out[9]]));
    let mut payload = out[HEADER_BYTES..HEADER_BYTES + fixed_bytes].to_vec();
    payload.extend_from_slice(&[0xff; 16]);
    payload[0] += 16;
    payload.extend_from_slice(&out[HEADER_BYTES + fixed_bytes..]);
    assert_eq!(binary::decode_command(out[4], out[5], &payload), Ok(command));
}

#[test]
fn abuse_row_24_plaintext_beside_ciphertext_is_refused_as_plaintext() {
    let text = format!(
        r#"{{"type":"send_message","message_id":"{MESSAGE}","to":"{BOB}","content":"Hello!","encrypted_content":"3q2+7yo="}}"#
    );
    assert_eq!(json_consequence(&text), Consequence::Refuse(ErrorCode::PlaintextRefused));
}

#[test]
fn abuse_row_28_an_ack_arrives_as_the_number_that_was_sent_and_no_other() {
    for push in [0, 1, u64::from(u32::MAX) + 1, u64::MAX] {
        let mut out = BytesMut::new();
        binary::encode_command(&Command::Ack { push }, 0, &mut out);
        let decoded = binary::decode_command(out[4], out[5], &out[HEADER_BYTES..]);
        assert_eq!(decoded, Ok(Command::Ack { push }), "neither wrapped nor clamped");
    }
    for push in ["-1", "18446744073709551616", "18446744073709551615", "1.5", "\"2\"", "[2]"] {
        let text = format!(r#"{{"type":"ack","push":{push}}}"#);
        assert_eq!(json_consequence(&text), MALFORMED, "{push}");
    }
}

#[test]
fn abuse_row_39_no_answer_and_no_log_line_holds_what_a_client_sent() {
    const EVIL: &str = r"EVIL\r\n\u001b[31m\u202e";
    let id = MESSAGE.to_string();
    for text in [
        format!(r#"{{"type":"{EVIL}"}}"#),
        format!(r#"{{"{EVIL}":1,"{EVIL}":2}}"#),
        format!(r#"{{"type":"receipt","message_id":"{id}","status":"{EVIL}"}}"#),
        format!(r#"{{"type":"receipt","message_id":"{EVIL}","status":"read"}}"#),
        format!(r#"{{"type":"auth","token":["{EVIL}"]}}"#),
        format!(r#"{{"type":"presence_subscribe","users":["{EVIL}"]}}"#),
        format!(r#"{{"type":"hello","ticket":"{EVIL}","device":1}}"#),
        format!(r#"{{"type":"bye"}} {EVIL}"#),
        EVIL.to_owned(),
    ] {
        let error = json::decode_command(&text).expect_err("a violation").error;
        for shown in [error.to_string(), format!("{error:?}")] {
            assert!(!shown.contains("EVIL"), "{shown}");
            assert!(shown.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{shown:?}");
        }
        let Event::Error(answer) = error.answer(MessageId::default()) else { continue };
        assert_eq!(answer.detail, error.to_string());
    }
    // What is shown to another client is escaped.
    let mut out = BytesMut::new();
    let (_, event, _) = samples::events().swap_remove(4);
    let Event::NewMessage(mut message) = event else { panic!("a message") };
    message.body = bytes::Bytes::from_static(b"a\r\n\x1b[31m\x7f\"\\");
    assert!(message.plain);
    json::encode_event(&Event::NewMessage(message), 0, &mut out);
    assert!(out.iter().all(|byte| (0x20..0x7f).contains(byte)));
}

#[test]
fn flags_of_a_frame_do_not_turn_ciphertext_into_text_unnoticed() {
    let mut out = BytesMut::new();
    binary::encode_command(&message_of(5, false), 0, &mut out);
    let plain = binary::decode_command(out[4], out[5] | flag::PLAIN, &out[HEADER_BYTES..]);
    let Ok(Command::SendMessage(message)) = plain else { panic!("a message") };
    assert!(matches!(message.content, Content::Plain(_)), "the shard is told that it is plain");
}
