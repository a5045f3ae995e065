//! What an Internet-facing edge meets, against the real server: floods, bytes that are no protocol,
//! and commands that claim what is not theirs. Rows of the abuse table by number.

use std::io::Write;

use serde_json::json;
use uuid::Uuid;

use crate::peer::{
    BINARY, Encoding, Heard, PING, Peer, TEXT, binary_command, frame, message, upgrade,
};
use crate::rig::{Node, eventually, exchange};
use crate::siege::Siege;

const PACED: &str = r#"ringpost_edge_limits_hit_total{limit="user_input"}"#;
const TOO_BIG: &str = r#"ringpost_edge_closed_total{code="too_big"}"#;
const REFUSED_UPGRADE: &str = r#"ringpost_edge_refused_total{reason="upgrade"}"#;
const REFUSED_PROXY_HEADER: &str = r#"ringpost_edge_refused_total{reason="proxy_header"}"#;
const REFUSED_GARBAGE: &str = r#"ringpost_edge_refused_total{reason="garbage"}"#;
const MALFORMED: &str = r#"ringpost_edge_refused_total{reason="malformed"}"#;

#[test]
fn abuse_row_03_a_huge_head_is_refused_at_its_limit() {
    let siege = Siege::begin(&[]);
    let large = upgrade(&format!("X-Large: {}\r\n", "a".repeat(1 << 20)));
    let many = upgrade(&"X-Many: 1\r\n".repeat(10_000));
    for head in [large, many] {
        let answer = exchange(siege.node.address, head.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    siege.end(&[(REFUSED_UPGRADE, 2)]);
}

#[test]
fn abuse_row_07_an_impossible_length_is_refused_from_the_header() {
    let siege = Siege::begin(&[]);
    for length in [66_553_u32, 1 << 31, u32::MAX] {
        let mut peer = Peer::sign_in_live(&siege.node, Encoding::Tcp, Uuid::new_v4(), 1);
        let mut header = length.to_le_bytes().to_vec();
        header.extend_from_slice(&[3, 0, 0, 0]);
        peer.write(&header);
        assert_eq!(peer.last_word(), Some(1009), "{length}");
    }
    for length in [1_u64 << 31, 0xffff_ffff, (1 << 63) - 1] {
        for (encoding, first) in [(Encoding::Json, TEXT), (Encoding::Bin, BINARY)] {
            let mut peer = Peer::sign_in_live(&siege.node, encoding, Uuid::new_v4(), 1);
            let mut header = vec![first, 0x80 | 127];
            header.extend_from_slice(&length.to_be_bytes());
            header.extend_from_slice(&[0; 4]);
            peer.write(&header);
            assert_eq!(peer.last_word(), Some(1009), "{length}");
        }
    }
    siege.end(&[(TOO_BIG, 9)]);
}

#[test]
fn abuse_row_08_the_limit_passes_and_one_byte_more_does_not() {
    let siege = Siege::begin(&[]);
    let (alice, bob) = (Uuid::new_v4(), Uuid::new_v4());
    Peer::sign_in_live(&siege.node, Encoding::Tcp, bob, 1);
    for encoding in [Encoding::Tcp, Encoding::Json, Encoding::Bin] {
        let mut peer = Peer::sign_in(&siege.node, encoding, alice, 1);
        peer.hear_kind("queue_empty");
        // The largest content is taken; the next is too large, and the connection goes on.
        peer.send(bob, &vec![7; 65_536]);
        let over = match encoding {
            Encoding::Json => peer.encoded(&message(Uuid::new_v4(), bob, &vec![7; 65_537])),
            Encoding::Bin => frame(BINARY, &one_byte_over(bob)),
            Encoding::Tcp => one_byte_over(bob),
        };
        peer.write(&over);
        assert_eq!(peer.hear_kind("error")["code"], 6);
        peer.ping();
        // The largest frame or text is read (a ping with room behind it), the next is the end.
        let padded = |bytes: usize| match encoding {
            Encoding::Json => {
                let text = r#"{"type":"ping","nonce":77,"x":""}"#;
                let fill = "x".repeat(bytes - text.len());
                frame(TEXT, text.replace(r#""""#, &format!(r#""{fill}""#)).as_bytes())
            }
            _ => {
                let mut bytes_of_frame = ((bytes - 8) as u32).to_le_bytes().to_vec();
                bytes_of_frame.extend_from_slice(&[0x7e, 0, 0, 0, 10, 0, 77, 0, 0, 0, 0, 0, 0, 0]);
                let section = bytes - bytes_of_frame.len() - 4;
                bytes_of_frame.extend_from_slice(&(section as u32).to_le_bytes());
                bytes_of_frame.resize(bytes, 0);
                match encoding {
                    Encoding::Bin => frame(BINARY, &bytes_of_frame),
                    _ => bytes_of_frame,
                }
            }
        };
        let limit = if encoding == Encoding::Json { 91_480 } else { 66_560 };
        peer.write(&padded(limit));
        assert_eq!(peer.hear_kind("pong")["nonce"], 77);
        peer.write(&padded(limit + 1));
        assert_eq!(peer.last_word(), Some(1009), "{encoding:?}");
    }
    siege.end(&[(TOO_BIG, 3)]);
}

/// The frame of a message whose content is one byte over the limit: no encoder makes it.
fn one_byte_over(to: Uuid) -> Vec<u8> {
    let largest = message(Uuid::new_v4(), to, &vec![7; 65_536]);
    let mut bytes = binary_command(&largest.to_string());
    // The lowest octets of the payload's length and, behind 58 bytes of fixed part, the content's.
    bytes[0] += 1;
    bytes[8 + 58] += 1;
    bytes.push(7);
    bytes
}

#[test]
fn abuse_row_11_a_flood_is_read_at_its_rate_and_nobody_is_closed_for_it() {
    let siege = Siege::begin(&[
        "limits.user_input_bytes_per_second=128KiB",
        "limits.user_input_burst_bytes=128KiB",
    ]);
    let flood: [(Encoding, Vec<u8>); 4] = [
        (Encoding::Json, frame(PING, b"x").repeat(20_000)),
        (Encoding::Bin, frame(PING, b"").repeat(20_000)),
        (Encoding::Json, frame(TEXT, br#"{"type":"ping","nonce":1}"#).repeat(20_000)),
        (Encoding::Tcp, [0, 0, 0, 0, 0x7e, 0, 0, 0].repeat(20_000)),
    ];
    let floods = flood.map(|(encoding, bytes)| {
        let mut peer = Peer::sign_in_live(&siege.node, encoding, Uuid::new_v4(), 1);
        let mut writer = peer.stream.try_clone().unwrap();
        let writing = std::thread::spawn(move || writer.write_all(&bytes));
        std::thread::spawn(move || {
            for number in 0..20_000 {
                let heard = peer.listen();
                assert!(!matches!(heard, Heard::End(_)), "{encoding:?} after {number}: {heard:?}");
            }
            writing.join().unwrap().unwrap();
            // It is heard as before.
            peer.ping();
        })
    });
    floods.into_iter().for_each(|flood| flood.join().unwrap());
    siege.end(&[(PACED, 4)]);
}

#[test]
fn a_long_queue_comes_over_one_connection_however_it_is_acked() {
    const WAITING: u64 = 10_000;
    let node = Node::start(&[
        "limits.user_input_bytes_per_second=256KiB",
        "limits.user_input_burst_bytes=128KiB",
    ]);
    // Each fills no more than a share of a queue, so there are many of them.
    let bob = Uuid::new_v4();
    let encodings = [Encoding::Tcp, Encoding::Json, Encoding::Bin, Encoding::Tcp];
    for device in 1..=encodings.len() {
        drop(Peer::sign_in_live(&node, Encoding::Tcp, bob, device as u8));
    }
    let senders: Vec<_> = (0..12)
        .map(|_| {
            let mut sender = Peer::sign_in_live(&node, Encoding::Tcp, Uuid::new_v4(), 1);
            std::thread::spawn(move || {
                for number in 0..WAITING / 12 {
                    sender.send(bob, &number.to_le_bytes());
                }
            })
        })
        .collect();
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    let waiting = WAITING / 12 * 12;
    let paced = node.metric(PACED);
    for (device, encoding) in (1..).zip(encodings) {
        let mut peer = Peer::sign_in(&node, encoding, bob, device);
        for push in 1..=waiting {
            let pushed = peer.hear_kind("new_message");
            assert_eq!(pushed["push"], push, "{encoding:?}");
            let ack = match device {
                // Every push by its number, or by its id, or by its sender's id; or seldom.
                1 | 2 => json!({"type": "ack", "push": push}),
                3 => json!({"type": "receipt", "status": "delivered", "id": pushed["id"]}),
                _ if push % 2 == 0 => {
                    let message_id = &pushed["message_id"];
                    json!({"type": "receipt", "status": "delivered", "message_id": message_id})
                }
                _ => continue,
            };
            peer.say(&ack);
            if device == 4 && push % 50 == 0 {
                peer.say(&json!({"type": "ack", "push": push}));
            }
        }
        peer.hear_kind("queue_empty");
        peer.ping();
    }
    assert_eq!(node.metric(PACED), paced, "who acks what it is pushed is read at once");
}

#[test]
fn abuse_row_17_garbage_and_tls_are_closed_without_an_answer() {
    let siege = Siege::begin(&[]);
    let tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice();
    let starts = [
        tls,
        b"\x00\x00\x00\x00",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"RPP2",
        b"\xff\xfe\xfd\xfc\xfb",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        b"EHLO example.org\r\n",
    ];
    for start in starts {
        assert_eq!(exchange(siege.node.address, start), "", "{start:?}");
    }
    // A request of HTTP behind the preamble is a frame with an impossible length.
    let mut peer = Peer::connect(&siege.node, Encoding::Tcp);
    peer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(peer.last_word(), Some(1009));
    // A connection that is reset in the middle of a frame.
    let mut peer = Peer::sign_in_live(&siege.node, Encoding::Tcp, Uuid::new_v4(), 1);
    peer.write(&[200, 0, 0, 0, 3, 0]);
    drop(peer);
    let garbage = starts.len() as u64 - 1;
    siege.end(&[(REFUSED_GARBAGE, garbage), (REFUSED_PROXY_HEADER, 1), (TOO_BIG, 1)]);
}

#[test]
fn abuse_row_18_json_that_two_readers_could_read_differently_is_malformed() {
    let siege = Siege::begin(&[]);
    let mut peer = Peer::sign_in_live(&siege.node, Encoding::Json, Uuid::new_v4(), 1);
    let deep = format!(r#"{{"type":"ping","x":{}}}"#, "[".repeat(40_000));
    let texts = [
        deep.as_str(),
        r#"{"type":"ping","type":"bye"}"#,
        r#"{"type":"ping","x":{"a":1,"\u0061":2}}"#,
        r#"{"type":"ping","nonce":1e400}"#,
        r#"{"type":"ping","nonce":1.0}"#,
        r#"{"type":"ack","push":9007199254740993.0}"#,
        r#"{"type":"typing","to":12345678901234567890,"active":true}"#,
        r#"{"type":"typing","to":"a\u0000b","active":true}"#,
        r#"{"type":"send_message","message_id":1}"#,
        r#"["type","ping"]"#,
        "",
    ];
    for text in texts {
        peer.frame(TEXT, text.as_bytes());
        let error = peer.hear_kind("error");
        assert_eq!(error["code"], 1, "{text}: {error}");
    }
    peer.frame(TEXT, br#"{"type":"reboot"}"#);
    assert_eq!(peer.hear_kind("error")["code"], 2);
    peer.ping();
    siege.end(&[(MALFORMED, texts.len() as u64)]);
}

#[test]
fn abuse_row_24_what_only_the_server_may_say_has_no_effect() {
    let siege = Siege::begin(&[]);
    let (alice, bob, carol) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
    let mut b = Peer::sign_in_live(&siege.node, Encoding::Json, bob, 1);
    let mut a = Peer::sign_in_live(&siege.node, Encoding::Json, alice, 1);
    let mut forged = message(Uuid::new_v4(), bob, b"truly yours");
    let claims = json!({
        "from": carol, "from_device": 7, "id": Uuid::new_v4(), "push": 99, "seq": 1,
        "server_ts": 1, "server_time_ms": 1, "tenant": "other",
    });
    let fields = claims.as_object().unwrap().clone();
    forged.as_object_mut().unwrap().extend(fields);
    a.say(&forged);
    let sent = a.hear_kind("receipt");
    let got = b.hear_kind("new_message");
    assert_eq!((&got["from"], &got["from_device"]), (&json!(alice), &json!(1)));
    assert_eq!((&got["push"], &got["id"]), (&json!(1), &sent["id"]));
    assert_ne!(got["id"], claims["id"]);
    assert!(got["tenant"].is_null() && got["seq"].is_null(), "{got}");
    siege.end(&[]);
}

#[test]
fn abuse_row_27_receipts_of_what_others_got_are_refused() {
    let siege = Siege::begin(&[]);
    let (alice, bob, eve) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
    let mut b = Peer::sign_in_live(&siege.node, Encoding::Json, bob, 1);
    let mut a = Peer::sign_in_live(&siege.node, Encoding::Json, alice, 1);
    let mut e = Peer::sign_in_live(&siege.node, Encoding::Json, eve, 1);
    let id = a.send(bob, b"for bob alone");
    let got = b.hear_kind("new_message");
    for status in ["delivered", "read"] {
        for thief in [&mut e, &mut a] {
            thief.refused(&json!({"type": "receipt", "status": status, "id": id}), 14);
            let by_name =
                json!({"type": "receipt", "status": status, "message_id": got["message_id"]});
            thief.refused(&by_name, 14);
        }
    }
    // Nobody was told anything: the first receipt that Alice hears is Bob's own.
    a.ping();
    b.say(&json!({"type": "receipt", "status": "read", "id": id}));
    let read = a.hear_kind("receipt");
    assert_eq!((&read["status"], &read["peer"]), (&json!("read"), &json!(bob)));
    siege.end(&[(r#"ringpost_shard_refused_total{code="unknown_message"}"#, 8)]);
}

#[test]
fn abuse_row_28_an_ack_beyond_the_last_push_is_refused_and_removes_nothing() {
    let siege = Siege::begin(&[]);
    let (alice, bob) = (Uuid::new_v4(), Uuid::new_v4());
    let mut a = Peer::sign_in_live(&siege.node, Encoding::Json, alice, 1);
    let mut b = Peer::sign_in_live(&siege.node, Encoding::Tcp, bob, 1);
    b.refused(&json!({"type": "ack", "push": 1}), 13);
    let id = a.send(bob, b"still here");
    assert_eq!(b.hear_kind("new_message")["push"], 1);
    for push in [2, 1_000, (1_u64 << 53) - 1] {
        b.refused(&json!({"type": "ack", "push": push}), 13);
    }
    drop(b);
    let mut b = Peer::sign_in(&siege.node, Encoding::Tcp, bob, 1);
    assert_eq!(b.hear_kind("new_message")["id"], id);
    siege.end(&[(r#"ringpost_shard_refused_total{code="unknown_push"}"#, 4)]);
}

#[test]
fn abuse_row_45_foreign_pages_and_smuggled_requests_are_refused() {
    let siege = Siege::begin(&["limits.origins=https://chat.example"]);
    let refused = [
        ("Origin: https://evil.example\r\n", "403"),
        ("Origin: null\r\n", "403"),
        ("Origin: http://chat.example\r\n", "403"),
        ("Origin: https://chat.example.evil.example\r\n", "403"),
        ("Origin: https://chat.example\r\nOrigin: https://evil.example\r\n", "403"),
        ("Content-Length: 5\r\n", "400"),
        ("Transfer-Encoding: chunked\r\n", "400"),
        ("Host: other\r\n", "400"),
        ("Sec-WebSocket-Protocol: chat\r\n", "400"),
    ];
    for (fields, status) in refused {
        let answer = exchange(siege.node.address, upgrade(fields).as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{fields}: {answer}");
    }
    // Who runs the server is told of pages that it did not list, a few times a minute.
    let told = || node_lines(&siege, "not in limits.origins");
    eventually("the pages", || !told().is_empty());
    let lines = told();
    assert!(lines[0].contains("door=\"websocket\" origin=\"https://evil.example\""), "{lines:?}");
    for _ in 0..20 {
        exchange(siege.node.address, upgrade("Origin: https://evil.example\r\n").as_bytes());
    }
    assert!(told().len() <= 6, "{:?}", told());
    // The listed page may, and a second request behind an upgrade is never a request.
    let mut page = upgrade("Origin: https://chat.example\r\n");
    page.push_str("GET /v1/messages HTTP/1.1\r\nHost: x\r\n\r\n");
    let answer = exchange(siege.node.address, page.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    siege.end(&[(REFUSED_UPGRADE, refused.len() as u64 + 20)]);
}

/// The lines of the log that have this text.
fn node_lines(siege: &Siege, text: &str) -> Vec<String> {
    siege.node.log().lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
}

#[test]
fn abuse_row_15_no_compression_is_ever_agreed_to() {
    let siege = Siege::begin(&[]);
    for offer in ["permessage-deflate", "permessage-deflate; client_max_window_bits=99"] {
        let mut page = upgrade(&format!("Sec-WebSocket-Extensions: {offer}\r\n")).into_bytes();
        // A compressed message has a reserved bit set: a violation of what was agreed.
        page.extend(frame(TEXT | 0x40, b"\xaa\x56\x2a\xa9\x2c\x48"));
        let answer = exchange(siege.node.address, &page);
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert!(!answer.to_lowercase().contains("extensions"), "{answer}");
    }
    siege.end(&[(r#"ringpost_edge_closed_total{code="protocol"}"#, 2)]);
}
