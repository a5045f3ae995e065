//! What sign-in bounds: the lives of credentials, checks that wait, devices.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::Answer::{self, Close};
use crate::abuse_storms::{all_of, come, first_hellos};
use crate::peer::{Encoding, Heard, Peer};
use crate::rig::Node;

/// A session of a token that ends in two seconds, and its ticket.
fn short_session(node: &Node) -> (Peer, Value) {
    let token = node.token_with(Uuid::new_v4(), 1, &["--ttl", "2"]);
    let mut peer = Peer::connect(node, Encoding::Tcp);
    peer.say(&json!({"type": "hello", "token": token, "device": 1}));
    let ticket = peer.hear_kind("welcome")["ticket"].clone();
    (peer, ticket)
}

pub(super) fn a_token_ends(node: &Node) -> Answer {
    Close(short_session(node).0.last_word().unwrap())
}

/// A ticket ends with the token that it is for, at the latest.
pub(super) fn a_ticket_ends(node: &Node) -> Answer {
    let (peer, ticket) = short_session(node);
    drop(peer);
    std::thread::sleep(Duration::from_secs(3));
    let mut peer = Peer::connect(node, Encoding::Tcp);
    peer.say(&json!({"type": "hello", "ticket": ticket, "device": 1}));
    Close(peer.last_word().unwrap())
}

/// One thread checks signatures, and a thousand come at once.
pub(super) fn everybody_at_once(node: &Node) -> Answer {
    let peers = come(node, &all_of(&first_hellos(node)));
    let ends = peers.into_iter().filter_map(|mut peer| match peer.listen() {
        Heard::End(code) => Some(Close(code.unwrap())),
        Heard::Event(welcome) => {
            assert_eq!(welcome["type"], "welcome", "{welcome}");
            None
        }
        Heard::Pong(_) => panic!("nobody asked"),
    });
    let ends: Vec<Answer> = ends.collect();
    assert!(ends.iter().all(|end| *end == ends[0]), "{ends:?}");
    ends[0]
}

pub(super) fn one_device_too_many(node: &Node) -> Answer {
    let user = Uuid::new_v4();
    let mut first = Peer::sign_in_live(node, Encoding::Json, user, 1);
    let mut second = Peer::connect(node, Encoding::Tcp);
    let token = node.token(user, 2);
    second.say(&json!({"type": "hello", "token": token, "device": 2}));
    let Heard::End(code) = second.listen() else { panic!("a welcome") };
    first.ping();
    Close(code.unwrap())
}
