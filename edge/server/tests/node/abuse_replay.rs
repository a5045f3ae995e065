//! The same message id again, against the real server: from the same connection, from another, and
//! over restarts. Rows 22 and 23 of the abuse table.

use serde_json::json;
use uuid::Uuid;

use crate::peer::{Encoding, Peer, content, message};
use crate::rig::Node;
use crate::siege::Siege;

const CONFLICT: &str = r#"ringpost_shard_refused_total{code="conflict"}"#;

#[test]
fn abuse_row_22_a_replayed_message_id_is_answered_the_same_and_delivered_once() {
    let siege = Siege::begin(&[]);
    let (alice, bob) = (Uuid::new_v4(), Uuid::new_v4());
    let mut b = Peer::sign_in_live(&siege.node, Encoding::Tcp, bob, 1);
    let mut a = Peer::sign_in_live(&siege.node, Encoding::Json, alice, 1);
    let id = Uuid::new_v4();
    let mut answers = Vec::new();
    for _ in 0..3 {
        a.say(&message(id, bob, b"one"));
        answers.push(a.hear_kind("receipt")["id"].clone());
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
    let conflict = a.refused(&message(id, bob, b"two"), 8);
    assert_eq!(conflict["id"], answers[0]);
    let conflict = a.refused(&message(id, alice, b"one"), 8);
    assert_eq!(conflict["id"], answers[0]);
    assert_eq!(b.hear_kind("new_message")["id"], answers[0]);
    b.ping();
    siege.counted("ringpost_shard_duplicates_total", 2);
    siege.end(&[(CONFLICT, 2)]);
}

#[test]
fn abuse_row_23_a_replay_over_restarts_is_answered_the_same_and_delivered_once() {
    let mut node = Node::start(&[]);
    let (alice, bob) = (Uuid::new_v4(), Uuid::new_v4());
    Peer::sign_in_live(&node, Encoding::Tcp, bob, 1);
    let name = Uuid::new_v4();
    let send = |node: &Node, encoding, device, text: &[u8]| {
        let mut peer = Peer::sign_in_drained(node, encoding, alice, device);
        peer.say(&message(name, bob, text));
        let sent = peer.hear_kind("receipt");
        assert_eq!((&sent["status"], &sent["message_id"]), (&json!("sent"), &json!(name)));
        (peer, sent["id"].as_str().unwrap().to_owned())
    };
    let (_, first) = send(&node, Encoding::Json, 1, b"one");
    node.kill();
    let siege = Siege::on(node.restart());
    // From other connections of the device, in whatever encoding.
    for encoding in [Encoding::Tcp, Encoding::Bin, Encoding::Json] {
        let (mut peer, again) = send(&siege.node, encoding, 1, b"one");
        assert_eq!(again, first, "{encoding:?}");
        assert_eq!(peer.refused(&message(name, bob, b"two"), 8)["id"], first);
    }
    siege.counted("ringpost_shard_duplicates_total", 3);
    // A second device names its messages by itself.
    let (_, second) = send(&siege.node, Encoding::Tcp, 2, b"two");
    assert_ne!(second, first);
    let mut b = Peer::sign_in(&siege.node, Encoding::Json, bob, 1);
    for (id, device, text) in [(&first, 1, b"one"), (&second, 2, b"two")] {
        let got = b.hear_kind("new_message");
        assert_eq!((&got["id"], &got["from_device"]), (&json!(id), &json!(device)));
        assert_eq!(content(&got), text);
        b.say(&json!({"type": "ack", "push": got["push"]}));
    }
    b.hear_kind("queue_empty");
    b.ping();
    let mut node = siege.end(&[(CONFLICT, 3)]);
    // Delivered long ago, and still the same answer: nobody is told a second time.
    node.kill();
    let node = node.restart();
    assert_eq!(send(&node, Encoding::Bin, 1, b"one").1, first);
    assert_eq!(send(&node, Encoding::Bin, 2, b"two").1, second);
    Peer::sign_in_live(&node, Encoding::Tcp, bob, 1).ping();
}
