//! Sentences of sections 6 to 11 of PROTOCOL.md: what commands do, and their limits.

use ringpost_wire::limits::{MESSAGE_BYTES_MAX, TICKET_BYTES_MAX, TOKEN_BYTES_MAX};
use serde_json::json;

use super::forms::{
    Answer, HELLO, MALFORMED, RECEIPT, Row, SEND, SUBSCRIBE, Said, bob, live, message_id, named,
    payload, pong, receipt_payload, refused, send_payload, send_text, stranger, text,
};

/// All rows of these.
pub(super) fn rows() -> Vec<Row> {
    [life(), messages(), commands(), credentials()].into_iter().flatten().collect()
}

/// Section 6.
fn life() -> Vec<Row> {
    let needs = "commands that need a session are refused with `not_signed_in`";
    let content = format!(r#""to":"{}","encrypted_content":"eA==""#, bob());
    let receipt = format!(r#""type":"receipt","status":"read","message_id":"{}""#, message_id());
    let command = |fields: &str| Said::Command(fields.to_owned());
    vec![
        stranger(needs, command(&send_text(&content)), named(4)),
        stranger(needs, command(&receipt), named(4)),
        stranger(needs, command(r#""type":"auth","token":"TOKEN""#), refused(4)),
        stranger(needs, command(r#""type":"ack","push":1"#), refused(4)),
        stranger(needs, command(r#""type":"client_state","active":true"#), refused(4)),
        stranger(
            "the server takes only `hello`, `ping`, `pong` and `bye`",
            command(r#""type":"ping","nonce":5"#),
            pong(5),
        ),
        stranger(
            "the server takes only `hello`, `ping`, `pong` and `bye`",
            command(r#""type":"pong","nonce":5"#),
            Answer::Nothing,
        ),
        stranger(
            "the server takes only `hello`, `ping`, `pong` and `bye`",
            command(r#""type":"bye""#),
            Answer::Closed(1000),
        ),
        stranger(
            "A bad one closes with 4401",
            command(r#""type":"hello","token":"x","device":1"#),
            Answer::Closed(4401),
        ),
        stranger(
            "A bad one closes with 4401",
            command(r#""type":"hello","ticket":"eA==","device":1"#),
            Answer::Closed(4401),
        ),
        stranger(
            "and so do one of another device and none at all",
            command(r#""type":"hello","device":1"#),
            Answer::Closed(4401),
        ),
        stranger(
            "which must be the credential's",
            command(r#""type":"hello","token":"TOKEN","device":2"#),
            Answer::Closed(4401),
        ),
        stranger(
            "| the device, 1 to 127; must be the credential's |",
            command(r#""type":"hello","token":"OTHER","device":127"#),
            Answer::Closed(4401),
        ),
        live(
            "A second `hello` on a connection is refused with `already_signed_in`",
            command(r#""type":"hello","token":"TOKEN","device":1"#),
            refused(18),
        ),
        live(
            "the answer is a `welcome` with the tag of the `auth`",
            command(r#""type":"auth","token":"TOKEN""#),
            Answer::Event(json!({"type": "welcome", "tag": 7})),
        ),
        live(
            "If not, the answer is `token_refused`",
            command(r#""type":"auth","token":"x""#),
            refused(16),
        ),
        live(
            "and of the same user and device, the answer is a `welcome`",
            command(r#""type":"auth","token":"OTHER""#),
            refused(16),
        ),
        live(
            "The client leaves; the server closes with 1000",
            command(r#""type":"bye""#),
            Answer::Closed(1000),
        ),
    ]
}

/// Section 7.
fn messages() -> Vec<Row> {
    let command = |fields: &str| Said::Command(fields.to_owned());
    let windows = "A client asks for windows in `hello` (0 = the server's default) and gets at most the \
                   server's largest; bytes are granted in steps of 1,024, rounded up";
    let hello = |pushes: u32, bytes: u32| {
        command(&format!(
            r#""type":"hello","token":"TOKEN","device":1,"window_pushes":{pushes},"window_bytes":{bytes}"#
        ))
    };
    let granted = |pushes: u32, bytes: u32| {
        Answer::Event(json!({"type": "welcome", "window_pushes": pushes, "window_bytes": bytes}))
    };
    let plain = "`content` in place of `encrypted_content` is refused with `plaintext_refused`";
    let both = format!(r#""to":"{}","content":"x","encrypted_content":"eA==""#, bob());
    vec![
        stranger(windows, hello(0, 0), granted(64, 262_144)),
        stranger(windows, hello(1, 1), granted(1, 1_024)),
        stranger(windows, hello(2, 1_024), granted(2, 1_024)),
        stranger(windows, hello(3, 1_025), granted(3, 2_048)),
        stranger(windows, hello(u32::MAX, u32::MAX), granted(1_024, 4_194_304)),
        live(
            "have no `sent` and no receipts",
            command(&send_text(&format!(
                r#""to":"{}","encrypted_content":"eA==","ephemeral":true"#,
                bob()
            ))),
            Answer::Nothing,
        ),
        live(
            "An `ack` at or below the last one does nothing, nor does `ack` 0",
            command(r#""type":"ack","push":0"#),
            Answer::Nothing,
        ),
        live(
            "not pushed yet on this connection is refused with `unknown_push`",
            command(r#""type":"ack","push":1"#),
            refused(13),
        ),
        live(
            "was not told on this connection is refused with `unknown_gap`",
            command(r#""type":"gap_closed","gap":9"#),
            refused(19),
        ),
        live(plain, command(&send_text(&format!(r#""to":"{}","content":"x""#, bob()))), named(5)),
        live("Both at once are always refused so", text(&send_text(&both)), named(5)),
    ]
}

/// Section 8.
fn commands() -> Vec<Row> {
    let content = "the content, 1 byte to the largest size; an empty one is `malformed`";
    let to = bob();
    let empty = send_payload(to.as_bytes(), 0, b"");
    let big = vec![7; MESSAGE_BYTES_MAX + 1];
    let big_text = "A".repeat(MESSAGE_BYTES_MAX / 3 * 4 + 4);
    let nil = "00000000-0000-0000-0000-000000000000";
    let status = |number: u8, word: &str| {
        let fields =
            format!(r#""type":"receipt","message_id":"{}","status":"{word}""#, message_id());
        Said::Both(fields, (RECEIPT, 0, receipt_payload(number)))
    };
    let value = "a value of a closed set (status, change) | take the next number and a new word | \
                 readers skip the event, servers answer `malformed`";
    let users = "| users in one subscription | 256 |";
    let many: Vec<_> = (0..257).map(|_| format!("\"{to}\"")).collect();
    vec![
        live(
            content,
            Said::Both(
                send_text(&format!(r#""to":"{to}","encrypted_content":"""#)),
                (SEND, 0, empty.clone()),
            ),
            named(MALFORMED),
        ),
        live(
            content,
            Said::Both(send_text(&format!(r#""to":"{to}","content":"""#)), (SEND, 2, empty)),
            named(MALFORMED),
        ),
        live(content, text(&send_text(&format!(r#""to":"{to}""#))), named(MALFORMED)),
        live(
            "over it `too_large`",
            Said::Both(
                send_text(&format!(r#""to":"{to}","encrypted_content":"{big_text}""#)),
                (SEND, 0, send_payload(to.as_bytes(), 0, &big)),
            ),
            named(6),
        ),
        live(
            "the recipient; not nil",
            Said::Both(
                send_text(&format!(r#""to":"{nil}","encrypted_content":"eA==""#)),
                (SEND, 0, send_payload(&[0; 16], 0, b"x")),
            ),
            named(MALFORMED),
        ),
        live(value, status(1, "sent"), named(MALFORMED)),
        live(value, status(9, "seen"), named(MALFORMED)),
        live("14 | `unknown_message` |", status(3, "read"), named(14)),
        stranger(
            "unknown ones are ignored",
            Said::Both(
                r#""type":"hello","token":"x","device":1,"intents":["typing","weather",""]"#.into(),
                (HELLO, 0, payload(&[&[1], &[0; 8], &[0xff; 4]], &[b"x"])),
            ),
            Answer::Closed(4401),
        ),
        live(
            "No answer, or the error `rate_limited`",
            Said::Command(format!(r#""type":"typing","to":"{to}","active":true"#)),
            Answer::Nothing,
        ),
        live(
            "A server without presence answers `not_supported`",
            Said::Command(format!(r#""type":"presence_unsubscribe","users":["{to}"]"#)),
            refused(3),
        ),
        live(
            "If `id` is given, `message_id` is not looked at",
            text(&format!(
                r#""type":"receipt","status":"read","id":"{}","message_id":"x""#,
                message_id()
            )),
            refused(14),
        ),
        live(
            "A server without presence answers `not_supported`",
            Said::Command(format!(r#""type":"presence_subscribe","users":["{to}"]"#)),
            refused(3),
        ),
        live(
            users,
            Said::Both(
                format!(r#""type":"presence_subscribe","users":[{}]"#, many.join(",")),
                (SUBSCRIBE, 0, payload(&[], &[&[1; 257 * 16]])),
            ),
            refused(MALFORMED),
        ),
        live(
            "the ids, 16 bytes each",
            Said::Both(
                r#""type":"presence_subscribe","users":["x"]"#.into(),
                (SUBSCRIBE, 0, payload(&[], &[&[1; 17]])),
            ),
            refused(MALFORMED),
        ),
        live(
            "A hint; no answer",
            Said::Command(r#""type":"client_state","active":true"#.into()),
            Answer::Nothing,
        ),
        live(
            "Answers the server's `ping`",
            Said::Command(r#""type":"pong","nonce":5"#.into()),
            Answer::Nothing,
        ),
    ]
}

/// Sections 8 and 11: `hello`.
fn credentials() -> Vec<Row> {
    let token = "x".repeat(TOKEN_BYTES_MAX + 1);
    let ticket = vec![1; TICKET_BYTES_MAX + 1];
    let ticket_text = format!("{}AQ==", "AQEB".repeat(TICKET_BYTES_MAX / 3));
    let fields = |credential: &str| format!(r#""type":"hello","device":1,{credential}"#);
    let part = |credential: &[u8]| payload(&[&[1], &[0; 12]], &[credential]);
    vec![
        stranger(
            "both at once are `malformed`",
            text(&fields(r#""token":"x","ticket":"eA==""#)),
            refused(MALFORMED),
        ),
        stranger(
            "access token | 8,192",
            Said::Both(
                fields(&format!(r#""token":"{token}""#)),
                (HELLO, 0, part(token.as_bytes())),
            ),
            refused(MALFORMED),
        ),
        stranger(
            "resume ticket | 512",
            Said::Both(
                fields(&format!(r#""ticket":"{ticket_text}AQ==""#)),
                (HELLO, 1, part(&ticket)),
            ),
            refused(MALFORMED),
        ),
        stranger(
            "else an access token",
            Said::Both(fields(r#""token":"""#), (HELLO, 0, part(b""))),
            Answer::Closed(4401),
        ),
        stranger(
            "else an access token",
            Said::Both(fields(r#""ticket":"""#), (HELLO, 1, part(b""))),
            Answer::Closed(4401),
        ),
    ]
}
