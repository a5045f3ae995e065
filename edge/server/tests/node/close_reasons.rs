//! The last word says what was wrong, alike over every transport.
//!
//! Setup: a server of the defaults. Action: a `hello` or bytes that end the connection, over TCP,
//! WebSocket with JSON and WebSocket with frames. Expectation: the code, and beside it the reason of
//! the closed set. (That every last word of this suite is listed, `peer` checks.)

use ringpost_wire::CloseReason;
use ringpost_wire::limits::HELLO_BYTES_MAX;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::peer::{BINARY, Encoding, Peer, TEXT, binary_command};
use crate::rig::{Node, eventually};

const ENCODINGS: [Encoding; 3] = [Encoding::Tcp, Encoding::Json, Encoding::Bin];

/// Where a frame with a `hello` names the device.
const DEVICE_AT: usize = 10;

fn is_closed_for(peer: &mut Peer, reason: CloseReason, what: &str) {
    let code = peer.last_word();
    assert_eq!((code, peer.reason()), (Some(reason.code().number()), reason.text()), "{what}");
}

#[test]
fn a_hello_that_is_refused_hears_whether_credential_or_device_is_wrong() {
    let node = Node::start(&["auth.clock_skew=0s"]);
    let user = Uuid::new_v4();
    let token = node.token(user, 1);
    let expired = node.token_with(user, 1, &["--ttl", "1"]);
    std::thread::sleep(std::time::Duration::from_millis(2_100));
    for encoding in ENCODINGS {
        let mut first = Peer::connect(&node, encoding);
        first.say(&json!({"type": "hello", "token": token, "device": 1}));
        let ticket = first.hear_kind("welcome")["ticket"].clone();
        for (hello, reason) in [
            (json!({"device": 1}), CloseReason::NoCredential),
            (json!({"token": "", "device": 1}), CloseReason::NoCredential),
            (json!({"ticket": "", "device": 1}), CloseReason::NoCredential),
            (json!({"token": "x", "device": 1}), CloseReason::TokenMalformed),
            (json!({"token": expired, "device": 1}), CloseReason::TokenExpired),
            (json!({"token": token, "device": 2}), CloseReason::OtherDevice),
            (json!({"ticket": ticket, "device": 2}), CloseReason::OtherDevice),
            (json!({"ticket": "eA==", "device": 1}), CloseReason::TicketUnknown),
        ] {
            let mut peer = Peer::connect(&node, encoding);
            let mut command = hello.clone();
            command["type"] = "hello".into();
            peer.say(&command);
            is_closed_for(&mut peer, reason, &format!("{encoding:?} {hello}"));
        }
        // A device that is none is no question of the credential: the hello is malformed, and another
        // may follow.
        let mut peer = Peer::connect(&node, encoding);
        for device in [0, 128] {
            let hello = json!({"type": "hello", "token": token, "device": 1, "tag": 9});
            let mut binary = binary_command(&hello.to_string());
            binary[DEVICE_AT] = device;
            match encoding {
                Encoding::Tcp => peer.write(&binary),
                Encoding::Bin => peer.frame(BINARY, &binary),
                Encoding::Json => {
                    let mut hello = hello.clone();
                    hello["device"] = device.into();
                    peer.say(&hello);
                }
            }
            let error = peer.hear_kind("error");
            assert!(error["detail"].as_str().unwrap().contains("`device`"), "{error}");
            assert_eq!((&error["code"], &error["tag"]), (&json!(1), &json!(9)));
        }
        peer.say(&json!({"type": "hello", "token": token, "device": 1}));
        peer.hear_kind("welcome");
        peer.hear_kind("queue_empty");
        // A second hello without a credential costs nothing.
        peer.refused(&json!({"type": "hello", "device": 1}), 18);
        peer.ping();
    }
}

#[test]
fn a_token_presented_in_place_that_is_refused_hears_why() {
    let node = Node::start(&[]);
    let user = Uuid::new_v4();
    for encoding in ENCODINGS {
        let mut peer = Peer::sign_in_live(&node, encoding, user, 1);
        let detail = |peer: &mut Peer, token: &str| -> Value {
            peer.refused(&json!({"type": "auth", "token": token}), 16)["detail"].clone()
        };
        assert_eq!(detail(&mut peer, "x"), CloseReason::TokenMalformed.text());
        let of_another = "the token is of another user or device";
        assert_eq!(detail(&mut peer, &node.token(Uuid::new_v4(), 1)), of_another);
        assert_eq!(detail(&mut peer, &node.token(user, 2)), of_another);
        peer.ping();
    }
}

#[test]
fn bytes_that_end_a_connection_hear_which_rule_they_broke() {
    let node = Node::start(&[]);
    let long = vec![b' '; HELLO_BYTES_MAX + 1];
    let mut stranger = Peer::connect(&node, Encoding::Json);
    stranger.frame(TEXT, &long);
    is_closed_for(&mut stranger, CloseReason::TooBigForStranger, "a long text");
    let mut stranger = Peer::connect(&node, Encoding::Tcp);
    stranger.write(&(HELLO_BYTES_MAX as u32 + 1).to_le_bytes());
    stranger.write(&[1, 0, 0, 0]);
    is_closed_for(&mut stranger, CloseReason::TooBigForStranger, "a long payload");
    let json = |first, payload: &[u8], reason| {
        let mut peer = Peer::sign_in_live(&node, Encoding::Json, Uuid::new_v4(), 1);
        peer.frame(first, payload);
        is_closed_for(&mut peer, reason, reason.label());
    };
    json(TEXT, &vec![b' '; 100_000], CloseReason::TooBig);
    json(TEXT, b"\xff", CloseReason::TextNotUtf8);
    json(TEXT, br#"{"type":"\ud800"}"#, CloseReason::LoneSurrogate);
    json(BINARY, b"{}", CloseReason::BinaryNotAccepted);
    json(0x80, b"", CloseReason::OrphanContinuation);
    json(0x83, b"", CloseReason::ReservedOpcode);
    json(0xc1, b"", CloseReason::ReservedBit);
    json(0x09, b"", CloseReason::ControlFragmented);
    json(0x88, b"\x03", CloseReason::CloseTruncated);
    json(0x88, &1005u16.to_be_bytes(), CloseReason::CloseCodeInvalid);
    let mut frames = Peer::sign_in_live(&node, Encoding::Bin, Uuid::new_v4(), 1);
    frames.frame(BINARY, &[1, 0]);
    is_closed_for(&mut frames, CloseReason::PartialFrame, "half a header");
    let mut displaced = Peer::sign_in_live(&node, Encoding::Tcp, Uuid::from_u128(5), 1);
    let _later = Peer::sign_in_live(&node, Encoding::Json, Uuid::from_u128(5), 1);
    is_closed_for(&mut displaced, CloseReason::Displaced, "displaced");
    let counted = r#"ringpost_edge_close_reasons_total{reason="too_big_for_stranger"}"#;
    eventually("both counted", || node.metric(counted) == 2);
}
