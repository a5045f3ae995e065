//! Queues that somebody fills, against the real server: each sender has a share of them, and what
//! a full one does not take is told as a gap until the device has read it from history.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::http::call;
use crate::peer::{Encoding, Peer, content, message};
use crate::rig::Node;
use crate::siege::Siege;

const QUOTA: &str = r#"ringpost_shard_refused_total{code="quota"}"#;
const SHARE_USED: &str = r#"ringpost_shard_limits_hit_total{limit="sender_share"}"#;

/// A thousand messages in a queue: a hundred of one sender.
const QUEUE: &str = "limits.queue_entries_max=1000";
const SHARE: usize = 100;

/// A user whose one device has been here and is away.
fn absent(node: &Node) -> Uuid {
    let user = Uuid::new_v4();
    drop(Peer::sign_in_live(node, Encoding::Bin, user, 1));
    user
}

/// Sends so many at once; answers how many were `sent`. The others were refused with `quota`.
fn send(peer: &mut Peer, to: Uuid, count: usize) -> usize {
    for number in 0..count {
        peer.say(&message(Uuid::now_v7(), to, format!("{number}").as_bytes()));
    }
    let mut sent = 0;
    for _ in 0..count {
        let answer = peer.hear();
        match answer["type"].as_str() {
            Some("receipt") => sent += 1,
            _ => assert_eq!(answer["name"], "quota", "{answer}"),
        }
    }
    sent
}

/// Signs in and acks what waits; how much that was, and the `queue_empty` behind it.
fn drain(node: &Node, user: Uuid) -> (Peer, usize, Value) {
    let mut peer = Peer::sign_in(node, Encoding::Json, user, 1);
    let mut pushed = 0;
    loop {
        let event = peer.hear();
        if event["type"] == "queue_empty" {
            return (peer, pushed, event);
        }
        pushed += 1;
        peer.say(&json!({"type": "ack", "push": event["push"]}));
    }
}

/// The contents of history behind a cursor, read to its end.
fn history(node: &Node, user: Uuid, after: &str) -> Vec<Vec<u8>> {
    let (token, mut after) = (node.token(user, 1), after.to_owned());
    let mut contents = Vec::new();
    loop {
        let path = format!("/v1/messages?after={after}&limit=3");
        let answer = call(node.address, "GET", &path, &token, "");
        assert_eq!(answer.status, 200, "{answer:?}");
        let page = answer.json();
        for row in page["messages"].as_array().unwrap() {
            contents.push(BASE64.decode(row["encrypted_content"].as_str().unwrap()).unwrap());
        }
        page["next"].as_str().unwrap().clone_into(&mut after);
        if page["has_more"] == false {
            return contents;
        }
    }
}

#[test]
fn abuse_row_31_who_fills_a_queue_is_refused_and_nobody_else() {
    let siege = Siege::begin(&[QUEUE]);
    let victim = absent(&siege.node);
    let bomber = Uuid::new_v4();
    let mut bombers = [(Encoding::Tcp, 1), (Encoding::Json, 2)]
        .map(|(encoding, device)| Peer::sign_in_live(&siege.node, encoding, bomber, device));
    assert_eq!(send(&mut bombers[0], victim, SHARE - 10), SHARE - 10);
    // Its other device has the rest of the share: what it sent is pushed to it as copies first.
    let mut second = drain(&siege.node, bomber).0;
    assert_eq!(send(&mut second, victim, 40), 10);
    let mut friend = Peer::sign_in_live(&siege.node, Encoding::Bin, Uuid::new_v4(), 1);
    assert_eq!(send(&mut friend, victim, 20), 20);
    siege.counted(SHARE_USED, 30);
    let node = siege.end(&[(QUOTA, 30)]);
    let (_, pushed, end) = drain(&node, victim);
    assert_eq!((pushed, &end["gap"]), (SHARE + 20, &Value::Null));
}

#[test]
fn ten_senders_fill_a_queue_and_what_the_eleventh_writes_is_read_from_history() {
    let mut node = Node::start(&[QUEUE]);
    let victim = absent(&node);
    let senders: Vec<_> = (0..11).map(|_| Uuid::new_v4()).collect();
    let mut first = Peer::sign_in_live(&node, Encoding::Tcp, senders[0], 1);
    assert_eq!(send(&mut first, victim, SHARE + 1), SHARE);
    // The count is what the disk says.
    node.kill();
    node.start_again();
    let mut first = Peer::sign_in_live(&node, Encoding::Tcp, senders[0], 1);
    assert_eq!(send(&mut first, victim, 2), 0);
    for &sender in &senders[1..10] {
        let mut peer = Peer::sign_in_live(&node, Encoding::Bin, sender, 1);
        assert_eq!(send(&mut peer, victim, SHARE), SHARE);
    }
    let mut eleventh = Peer::sign_in_live(&node, Encoding::Json, senders[10], 1);
    assert_eq!(send(&mut eleventh, victim, 5), 5, "it is not to blame");

    let (peer, pushed, told) = drain(&node, victim);
    assert_eq!(pushed, 10 * SHARE);
    let after = told["after"].as_str().unwrap();
    assert_eq!(history(&node, victim, after), [b"0", b"1", b"2", b"3", b"4"]);
    // Acked is not read: it is told again, also after a death.
    drop(peer);
    node.kill();
    node.start_again();
    let (mut peer, pushed, again) = drain(&node, victim);
    assert_eq!((pushed, &again), (0, &told));
    // Live messages go on beside it.
    let mut eleventh = Peer::sign_in_live(&node, Encoding::Json, senders[10], 1);
    eleventh.send(victim, b"live");
    let live = peer.hear_kind("new_message");
    assert_eq!(content(&live), b"live");
    peer.say(&json!({"type": "ack", "push": live["push"]}));
    peer.refused(&json!({"type": "gap_closed", "gap": told["gap"].as_u64().unwrap() + 1}), 19);
    peer.say(&json!({"type": "gap_closed", "gap": told["gap"]}));
    peer.ping();
    drop(peer);
    let (_, pushed, end) = drain(&node, victim);
    assert_eq!((pushed, end), (0, json!({"type": "queue_empty"})));
}

#[test]
fn a_gap_is_told_without_an_ack_in_every_encoding() {
    let node = Node::start(&["limits.queue_entries_max=10"]);
    for encoding in [Encoding::Tcp, Encoding::Bin, Encoding::Json] {
        let victim = absent(&node);
        let mut sender = Peer::sign_in_live(&node, encoding, Uuid::new_v4(), 1);
        assert_eq!(send(&mut sender, victim, 20), 20);
        let mut peer = Peer::sign_in(&node, encoding, victim, 1);
        (0..10).for_each(|_| drop(peer.hear_kind("new_message")));
        let told = peer.hear_kind("queue_empty");
        assert_eq!(history(&node, victim, told["after"].as_str().unwrap()).len(), 10);
        // Another one finds no room either: the gap grows, and is told at once.
        sender.send(victim, b"one more");
        let again = peer.hear_kind("queue_empty");
        assert!(again["gap"].as_u64() > told["gap"].as_u64(), "{again} after {told}");
        assert_eq!(again["after"], told["after"]);
    }
}
