//! Clients that stall, against the real server: they send nothing, or too slowly, or do not read,
//! or do not answer, or do not leave. Rows of the abuse table by number.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use crate::cable::Cable;
use crate::peer::{Encoding, Heard, Peer, content, events_of, upgrade};
use crate::rig::{Node, PATIENCE, eventually, rest_of};
use crate::siege::{NEIGHBOURS, Siege};

const HANDSHAKE_TIMEOUT: &str = r#"ringpost_edge_closed_total{code="handshake_timeout"}"#;
const NO_PROGRESS: &str = r#"ringpost_edge_closed_total{code="no_progress"}"#;
const SILENT: &str = r#"ringpost_edge_closed_total{code="silent"}"#;
const REFUSED_UPGRADE: &str = r#"ringpost_edge_refused_total{reason="upgrade"}"#;
const REFUSED_ADDRESS: &str = r#"ringpost_edge_refused_total{reason="address"}"#;

/// What the server may take for the six megabytes that wait for a reader: journal, store and shard
/// each have them for a while.
const KEPT_BYTES_MAX: u64 = 64 << 20;

fn connect(siege: &Siege) -> TcpStream {
    let stream = TcpStream::connect(siege.node.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn abuse_row_01_a_silent_connection_is_closed_at_its_deadline() {
    let siege = Siege::begin(&["limits.handshake_deadline=1s", "limits.auth_deadline=2s"]);
    // Not a byte: no word in any protocol could be right.
    let mut silent = connect(&siege);
    // A handshake, and then nothing: told in its own protocol.
    let mut shaken = [Encoding::Tcp, Encoding::Json, Encoding::Bin]
        .map(|encoding| Peer::connect(&siege.node, encoding));
    assert_eq!(rest_of(&mut silent), "");
    for peer in &mut shaken {
        assert_eq!(peer.last_word(), Some(4408));
    }
    siege.end(&[(HANDSHAKE_TIMEOUT, 4)]);
}

#[test]
fn abuse_row_01_one_address_holds_only_so_many_that_have_not_signed_in() {
    let siege = Siege::begin(&["limits.unauthenticated_per_address_max=4"]);
    // The two workers count together what each of them accepts.
    let silent: Vec<TcpStream> = (0..40).map(|_| connect(&siege)).collect();
    eventually("refused", || siege.node.metric(REFUSED_ADDRESS) == 36);
    // Those that were let in are not touched, and their end makes room.
    drop(silent);
    eventually("room", || siege.node.metric("ringpost_edge_connections") == NEIGHBOURS);
    Peer::sign_in_live(&siege.node, Encoding::Tcp, Uuid::new_v4(), 1).ping();
    siege.end(&[(REFUSED_ADDRESS, 36)]);
}

#[test]
fn abuse_row_02_a_head_that_trickles_is_refused_at_the_deadline_of_the_whole() {
    let siege = Siege::begin(&["limits.handshake_deadline=1s"]);
    let mut slow = connect(&siege);
    let mut reader = slow.try_clone().unwrap();
    let answer = std::thread::spawn(move || rest_of(&mut reader));
    let head = upgrade(&format!("X-Slow: {}\r\n", "a".repeat(4_000)));
    for octet in head.as_bytes() {
        if answer.is_finished() || slow.write_all(&[*octet]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let answer = answer.join().unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    siege.end(&[(REFUSED_UPGRADE, 1)]);
}

#[test]
fn abuse_row_04_a_reader_that_never_reads_is_closed_and_its_messages_stay() {
    const MESSAGES: usize = 100;
    let siege = Siege::begin(&["limits.progress_deadline=1s"]);
    let (alice, bob) = (Uuid::new_v4(), Uuid::new_v4());
    let _deaf = Peer::sign_in_narrow(&siege.node, bob);
    let mut sender = Peer::sign_in_live(&siege.node, Encoding::Bin, alice, 1);
    let text = |number: usize| vec![number as u8; 60_000];
    let ids: Vec<String> = (0..MESSAGES).map(|number| sender.send(bob, &text(number))).collect();
    eventually("closed for want of progress", || siege.node.metric(NO_PROGRESS) == 1);
    let mut again = Peer::sign_in(&siege.node, Encoding::Json, bob, 1);
    for (number, id) in ids.iter().enumerate() {
        let event = again.hear_kind("new_message");
        assert_eq!(event["id"], *id);
        assert_eq!(content(&event), text(number));
        again.say(&json!({"type": "ack", "push": event["push"]}));
    }
    again.hear_kind("queue_empty");
    siege.end_within(KEPT_BYTES_MAX, &[(NO_PROGRESS, 1)]);
}

#[test]
fn abuse_row_05_a_reader_is_measured_by_its_rate_and_not_by_its_last_byte() {
    const MESSAGES: usize = 20;
    const CONTENT_BYTES: usize = 40_000;
    let siege = Siege::begin(&["limits.progress_deadline=2s"]);
    let users = [(); 3].map(|()| Uuid::new_v4());
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // A byte at a time; a window that opens for a moment and shuts again; and one who is slow,
        // but comes along: each of the first two takes less than 4 KiB in two seconds.
        let [trickle, toggle, steady] = users.map(|user| Peer::sign_in_narrow(&siege.node, user));
        for (mut peer, bytes, pause_ms) in [(trickle, 1, 20), (toggle, 1_024, 1_000)] {
            let over = &over;
            scope.spawn(move || {
                while !over.load(Relaxed) && read_some(&mut peer, bytes) > 0 {
                    std::thread::sleep(Duration::from_millis(pause_ms));
                }
            });
        }
        let slow = scope.spawn(move || {
            let mut peer = steady;
            let mut received = Vec::new();
            while received.len() < MESSAGES * CONTENT_BYTES {
                let mut bytes = [0; 4_096];
                let count = peer.stream.read(&mut bytes).unwrap();
                assert!(count > 0, "a slow reader was closed after {} bytes", received.len());
                received.extend_from_slice(&bytes[..count]);
                std::thread::sleep(Duration::from_millis(20));
            }
            received
        });
        let mut sender = Peer::sign_in_live(&siege.node, Encoding::Bin, Uuid::new_v4(), 1);
        for _ in 0..MESSAGES {
            for user in users {
                sender.send(user, &[7; CONTENT_BYTES]);
            }
        }
        let received = slow.join().unwrap();
        let mut events = VecDeque::new();
        events_of(&received, &mut events);
        assert!(events.len() >= MESSAGES - 1, "{} messages", events.len());
        eventually("both are closed", || siege.node.metric(NO_PROGRESS) == 2);
        over.store(true, Relaxed);
    });
    for user in &users[..2] {
        let mut again = Peer::sign_in(&siege.node, Encoding::Json, *user, 1);
        for _ in 0..MESSAGES {
            let event = again.hear_kind("new_message");
            assert_eq!(content(&event), [7; CONTENT_BYTES]);
            again.say(&json!({"type": "ack", "push": event["push"]}));
        }
        again.hear_kind("queue_empty");
    }
    siege.end_within(KEPT_BYTES_MAX, &[(NO_PROGRESS, 2)]);
}

/// Reads at most `bytes`; 0 at the end.
fn read_some(peer: &mut Peer, bytes: usize) -> usize {
    peer.stream.read(&mut [0; 4_096][..bytes]).unwrap_or(0)
}

/// Who is silent is pinged after a second, however it speaks.
const PINGED_SOON: [&str; 2] = ["limits.ping_interval_tcp=1s", "limits.ping_interval_websocket=1s"];

#[test]
fn abuse_row_06_a_client_that_answers_no_ping_is_closed_and_its_messages_stay() {
    let siege = Siege::begin(&PINGED_SOON);
    for encoding in [Encoding::Tcp, Encoding::Json, Encoding::Bin] {
        let bob = Uuid::new_v4();
        let mut silent = Peer::sign_in_live(&siege.node, encoding, bob, 1);
        let Heard::Event(ping) = silent.listen() else { panic!("asked first") };
        assert_eq!(ping["type"], "ping");
        let id = send_once(&siege, bob);
        assert_eq!(silent.last_word(), Some(4410), "{encoding:?}");
        let mut back = Peer::sign_in(&siege.node, encoding, bob, 1);
        assert_eq!(back.hear_kind("new_message")["id"], id);
    }
    siege.end(&[(SILENT, 3)]);
}

/// Somebody signs in, sends and leaves; the message's id.
fn send_once(siege: &Siege, to: Uuid) -> String {
    Peer::sign_in_live(&siege.node, Encoding::Tcp, Uuid::new_v4(), 1).send(to, b"kept")
}

#[test]
fn abuse_row_06_a_client_behind_a_cut_cable_is_closed_and_its_messages_stay() {
    // Everything below runs in a network of its own.
    std::thread::spawn(|| {
        let Some(cable) = Cable::lay() else { return };
        let settings = [PINGED_SOON[0], "auth.code_sender=none"];
        let node = Node::start_at("0.0.0.0:0", &settings);
        let siege = Siege::on(node);
        let bob = Uuid::new_v4();
        let token = siege.node.token(bob, 1);
        let far = SocketAddr::new(cable.near.into(), siege.node.address.port());
        let stream = cable.connect(far);
        let mut lost = Peer::shake_hands(stream, Encoding::Tcp);
        lost.say(&json!({"type": "hello", "token": token, "device": 1}));
        lost.hear_kind("welcome");
        lost.hear_kind("queue_empty");
        cable.cut();
        // Pushed into the void before anybody can know.
        let id = send_once(&siege, bob);
        eventually("given up", || siege.node.metric(SILENT) == 1);
        let open = || siege.node.metric("ringpost_edge_connections");
        eventually("its descriptor is free", || open() == NEIGHBOURS);
        let mut back = Peer::sign_in(&siege.node, Encoding::Json, bob, 1);
        assert_eq!(back.hear_kind("new_message")["id"], id);
        siege.end(&[(SILENT, 1)]);
        drop(lost);
    })
    .join()
    .unwrap();
}

#[test]
fn abuse_row_16_a_close_that_is_never_completed_is_forced() {
    let siege = Siege::begin(&[]);
    let open = || siege.node.metric("ringpost_edge_connections");
    let mut stubborn = Vec::new();
    for encoding in [Encoding::Json, Encoding::Bin, Encoding::Tcp] {
        let mut peer = Peer::sign_in_live(&siege.node, encoding, Uuid::new_v4(), 1);
        peer.say(&json!({"type": "bye"}));
        // The close is read, but never answered, and the socket stays open here.
        assert_eq!(peer.listen(), Heard::End(Some(1000)));
        stubborn.push(peer);
    }
    eventually("only the neighbours are left", || open() == NEIGHBOURS);
    assert!(stubborn.iter_mut().all(Peer::is_over));
    siege.counted(r#"ringpost_edge_closed_total{code="normal"}"#, 3);
    siege.end(&[]);
}
