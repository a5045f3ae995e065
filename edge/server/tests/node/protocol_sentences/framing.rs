//! Sentences of sections 3 to 5 of PROTOCOL.md: values, frames, texts.

use ringpost_wire::limits::FIXED_BYTES_MAX;

use super::forms::{
    ACK, Answer, BYE, HELLO, MALFORMED, PING, RECEIPT, Row, SEND, SUBSCRIBE, Said, bob, live,
    message_id, named, payload, pong, receipt_payload, refused, send_payload, send_text, stranger,
    text,
};

/// All rows of these.
pub(super) fn rows() -> Vec<Row> {
    [values(), records(), sections(), texts()].into_iter().flatten().collect()
}

/// Section 3.
fn values() -> Vec<Row> {
    let device = "| number of a device | u8, 1 to 127 | integer |";
    let hello = |device: u8| {
        let said = format!(r#""type":"hello","token":"x","device":{device}"#);
        let fields = payload(&[&[device], &[0; 12]], &[b"x"]);
        Said::Both(said, (HELLO, 0, fields))
    };
    let integer = "integer from 0 to 2^53 - 1, without fraction and exponent";
    let id = "string, the UUID hyphenated (any case is read, lower case is written)";
    let upper = message_id().to_string().to_ascii_uppercase();
    let mut rows = vec![
        stranger(device, hello(0), refused(MALFORMED)),
        stranger(device, hello(128), refused(MALFORMED)),
        stranger(device, hello(255), refused(MALFORMED)),
        live(
            id,
            text(&format!(r#""type":"receipt","status":"read","message_id":"{upper}""#)),
            named(14),
        ),
        live(
            "absent or `null`",
            text(r#""type":"receipt","status":"read","id":null"#),
            refused(MALFORMED),
        ),
        live(
            "| timestamp, ms | 9,007,199,254,740,991 |",
            Said::Both(
                send_text(&format!(
                    r#""to":"{}","encrypted_content":"eA==","timestamp_ms":9007199254740992"#,
                    bob()
                )),
                (SEND, 0, send_payload(bob().as_bytes(), 1 << 53, b"x")),
            ),
            named(MALFORMED),
        ),
        live(
            "text | a section, UTF-8 without U+0000 | string, without U+0000",
            Said::Both(
                send_text(&format!(r#""to":"{}","content":"a\u0000b""#, bob())),
                (SEND, 2, send_payload(bob().as_bytes(), 0, b"a\0b")),
            ),
            named(MALFORMED),
        ),
        live(
            "UTF-8 without U+0000",
            Said::Frame(SEND, 2, send_payload(bob().as_bytes(), 0, b"\xff")),
            Answer::Closed(1007),
        ),
        live(
            "A reader that finds `timestamp_ms` uses it",
            text(&send_text(&format!(
                r#""to":"{}","encrypted_content":"eA==","timestamp":-1,"timestamp_ms":5"#,
                bob()
            ))),
            named(MALFORMED),
        ),
    ];
    for nonce in ["1.0", "1e3", "-1", "9007199254740992", "\"1\"", "[1]"] {
        rows.push(live(
            integer,
            text(&format!(r#""type":"ping","nonce":{nonce}"#)),
            refused(MALFORMED),
        ));
    }
    rows.push(live(
        integer,
        text(r#""type":"ping","nonce":9007199254740991"#),
        pong((1 << 53) - 1),
    ));
    rows
}

/// Section 4: header and fixed part.
fn records() -> Vec<Row> {
    let ping = |payload: Vec<u8>| Said::Frame(PING, 0, payload);
    let stated = |fixed_bytes: u16, bytes: usize| {
        let mut payload = fixed_bytes.to_le_bytes().to_vec();
        payload.resize(bytes, 0);
        ping(payload)
    };
    let nonce = 0x0102_u64.to_le_bytes();
    let malformed = "A `fixed_bytes` of 0 or 1, of more than 256, or one that reaches beyond the \
                     payload, is `malformed`";
    let longer = "take one that is longer, up to 256, and ignore what it does not know";
    let shorter = "take a record that is shorter than it knows, and read what is missing as zeros";
    vec![
        live(
            "unknown bits MUST be ignored by readers",
            Said::Frame(PING, 0xff, payload(&[&nonce], &[])),
            pong(0x0102),
        ),
        live(shorter, ping(payload(&[&nonce[..2]], &[])), pong(0x0102)),
        live(shorter, ping(payload(&[&nonce[..1]], &[])), pong(0x02)),
        live("take an empty payload as a record of zeros", ping(Vec::new()), pong(0)),
        live(
            "take an empty payload as a record of zeros",
            Said::Frame(SEND, 0, Vec::new()),
            refused(MALFORMED),
        ),
        live(longer, ping(payload(&[&nonce, &[0xaa; FIXED_BYTES_MAX - 10]], &[])), pong(0x0102)),
        live(malformed, stated(0, 10), refused(MALFORMED)),
        live(malformed, stated(1, 10), refused(MALFORMED)),
        live(malformed, stated(11, 10), refused(MALFORMED)),
        live(malformed, stated(FIXED_BYTES_MAX as u16 + 1, 300), refused(MALFORMED)),
        live(malformed, ping(vec![2]), refused(MALFORMED)),
        live(
            "an old server answers `unknown_kind`",
            Said::Both(r#""type":"teleport""#.into(), (0x33, 0, vec![2, 0])),
            refused(2),
        ),
        live(
            "an old server answers `unknown_kind`",
            Said::Frame(0xff, 0xff, vec![0xff; 9]),
            refused(2),
        ),
    ]
}

/// Section 4: sections.
fn sections() -> Vec<Row> {
    let ignored = "Further sections are ignored";
    let torn = "A length that is cut off, or reaches beyond the payload, is `malformed`, also that \
                of a section that the reader does not know";
    let with = |kind: u8, payload: Vec<u8>, more: &[u8]| {
        Said::Frame(kind, 0, [&payload[..], more].concat())
    };
    let ping = || payload(&[&[5, 0]], &[]);
    let to_bob = || send_payload(bob().as_bytes(), 0, b"x");
    vec![
        live(ignored, with(PING, ping(), &[2, 0, 0, 0, 1, 2, 0, 0, 0, 0]), pong(5)),
        live(
            "Missing sections at the end read as empty",
            with(SUBSCRIBE, vec![2, 0], &[]),
            refused(3),
        ),
        live(torn, with(PING, ping(), &[1]), refused(MALFORMED)),
        live(torn, with(PING, ping(), &[1, 0, 0, 0]), refused(MALFORMED)),
        live(torn, with(PING, ping(), &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]), refused(MALFORMED)),
        live(torn, with(ACK, payload(&[&[0; 8]], &[]), &[9, 0, 0, 0, 1]), refused(MALFORMED)),
        live(torn, with(BYE, vec![2, 0], &[0, 0]), refused(MALFORMED)),
        live(torn, with(SEND, to_bob(), &[9, 0, 0, 0, 1]), named(MALFORMED)),
        live(torn, with(RECEIPT, receipt_payload(3), &[9, 0, 0, 0, 1]), named(MALFORMED)),
    ]
}

/// Section 5.
fn texts() -> Vec<Row> {
    let refuses = "All these are `malformed`; the `detail` of the error says which field or byte";
    let names = "An `error` names the command that it refuses: by its tag and, where it has one, its \
                 `message_id`, also where the command is malformed";
    let id = format!(r#""type":"receipt","status":"read","message_id":"{}""#, message_id());
    let deep = format!(r#"{id},"x":{}{}"#, "[".repeat(40), "]".repeat(40));
    let keys: Vec<_> = (0..64).map(|at| format!(r#""{at}":0"#)).collect();
    let keys = format!("{},{id}", keys.join(","));
    let tag = r#""tag":7"#;
    vec![
        live(names, text(&format!(r#"{id},"x":1,"x":2"#)), named(MALFORMED)),
        live(names, text(&format!(r#""x":1e400,{id}"#)), named(MALFORMED)),
        live(names, text(&format!(r#""x":"\u0000",{id}"#)), named(MALFORMED)),
        live(refuses, text(&deep), named(MALFORMED)),
        live(refuses, text(&keys), named(MALFORMED)),
        live(refuses, text(&format!(r#"{id},"id":5"#)), named(MALFORMED)),
        live(
            "Of a text that is not JSON it is what stands before the place where it ends to be",
            Said::Raw(format!("{{{tag},{id},\"x\":01}}")),
            named(MALFORMED),
        ),
        live("A text is one object", Said::Raw(format!("{{{tag},{id}}} {{}}")), named(MALFORMED)),
        live(
            "a name that comes twice is none",
            Said::Raw(format!("{{{tag},{id},\"status\":1}}")),
            named(MALFORMED),
        ),
        live(
            "Unknown fields are ignored",
            text(r#""type":"ping","nonce":5,"from":[{"a":1}]"#),
            pong(5),
        ),
        live(
            "`null` is as good as absent",
            text(r#""type":"ping","nonce":null,"x":null"#),
            pong(0),
        ),
        live(
            "Half a surrogate pair ends the connection with 1007, as invalid UTF-8 does",
            text(r#""x":1,"x":2,"y":"\ud800""#),
            Answer::Closed(1007),
        ),
        stranger(
            "`tag`, an integer from 0 to 65535, is the tag",
            Said::Raw(r#"{"type":"ping","nonce":5,"tag":7}"#.into()),
            pong(5),
        ),
    ]
}
