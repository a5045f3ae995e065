//! `kill -9` in the middle of sending, and a start on the same data.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::peer::{Encoding, Heard, Peer, content, message};
use crate::rig::Node;

/// Messages of one round, and after how many answers the server dies in each round.
const ROUND: usize = 200;
const DEATHS: [usize; 4] = [1, 40, 120, 199];

/// What Alice knows: the content of each message by its `message_id`, and what was acknowledged.
#[derive(Default)]
struct Alice {
    said: Vec<(Uuid, Vec<u8>)>,
    /// The server's id by `message_id`.
    acked: BTreeMap<Uuid, String>,
}

impl Alice {
    fn note(&mut self, event: &Value) {
        if event["type"] == "receipt" && event["status"] == "sent" {
            let message_id = event["message_id"].as_str().unwrap().parse().unwrap();
            let id = event["id"].as_str().unwrap().to_owned();
            let before = self.acked.insert(message_id, id.clone());
            // The same answer for the same message, over all restarts.
            assert!(before.is_none_or(|before| before == id), "{event}");
        }
    }
}

#[test]
fn acknowledged_messages_outlive_kill_9_and_ids_stay_unique_and_rising() {
    let mut node = Node::start(&[]);
    let (alice, bob) = (Uuid::new_v4(), Uuid::new_v4());
    Peer::sign_in_live(&node, Encoding::Tcp, bob, 1);
    let mut knows = Alice::default();
    let mut shown: Vec<(String, Uuid, Vec<u8>)> = Vec::new();
    for (round, answers) in DEATHS.into_iter().enumerate() {
        let mut sender = Peer::sign_in_drained(&node, Encoding::Bin, alice, 1);
        let mut burst = Vec::new();
        for number in 0..ROUND {
            let (id, text) = (Uuid::new_v4(), format!("{round}.{number}").into_bytes());
            burst.extend(sender.encoded(&message(id, bob, &text)));
            knows.said.push((id, text));
        }
        sender.write(&burst);
        for _ in 0..answers {
            let event = sender.hear();
            knows.note(&event);
        }
        node.kill();
        // What it had said before its death counts.
        while let Heard::Event(event) = sender.listen() {
            knows.note(&event);
        }
        assert!(knows.acked.len() >= answers, "the test saw nothing acknowledged");
        node = node.restart();
        receive(&node, bob, &mut shown);
        for (message_id, id) in &knows.acked {
            let found = shown.iter().find(|(_, known, _)| known == message_id);
            assert_eq!(found.map(|(id, ..)| id), Some(id), "acknowledged and lost in {round}");
        }
        repeat_unanswered(&node, alice, bob, &mut knows);
    }
    receive(&node, bob, &mut shown);
    // Everything was answered in the end, and shown once, in the order of the ids.
    assert_eq!(knows.acked.len(), ROUND * DEATHS.len());
    assert_eq!(shown.len(), knows.said.len());
    for (id, message_id, text) in &shown {
        let (_, said) = knows.said.iter().find(|(known, _)| known == message_id).unwrap();
        assert_eq!((said, &knows.acked[message_id]), (text, id));
    }
    let ids: Vec<&String> = shown.iter().map(|(id, ..)| id).collect();
    assert!(ids.is_sorted_by(|one, next| one < next), "ids rise");
}

/// What is not answered is sent again, and one that was answered as well.
fn repeat_unanswered(node: &Node, alice: Uuid, bob: Uuid, knows: &mut Alice) {
    let mut sender = Peer::sign_in_drained(node, Encoding::Json, alice, 1);
    let answered = knows.acked.keys().next().copied();
    let again = knows
        .said
        .iter()
        .filter(|(id, _)| !knows.acked.contains_key(id) || Some(*id) == answered)
        .cloned()
        .collect::<Vec<_>>();
    for (id, text) in again {
        sender.say(&message(id, bob, &text));
        loop {
            let event = sender.hear();
            knows.note(&event);
            assert_ne!(event["type"], "error", "{event}");
            if event["status"] == "sent" {
                break;
            }
        }
    }
}

/// Bob comes, takes all that waits, shows what is new, and leaves.
fn receive(node: &Node, bob: Uuid, shown: &mut Vec<(String, Uuid, Vec<u8>)>) {
    let mut receiver = Peer::sign_in(node, Encoding::Tcp, bob, 1);
    loop {
        let event = receiver.hear();
        if event["type"] == "queue_empty" {
            assert_ne!(event["gap"], true, "{event}");
            break;
        }
        assert_eq!(event["type"], "new_message", "{event}");
        let id = event["id"].as_str().unwrap().to_owned();
        if !shown.iter().any(|(known, ..)| *known == id) {
            let message_id = event["message_id"].as_str().unwrap().parse().unwrap();
            shown.push((id, message_id, content(&event)));
        }
        receiver.say(&json!({"type": "ack", "push": event["push"]}));
    }
    receiver.ping();
}
