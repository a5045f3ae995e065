//! Setup: the real server, and users whom it has never seen. Action: each signs in, hears `welcome`
//! and leaves at once, by every transport; or the server is killed right behind the `welcome`; then
//! somebody writes to them. Expectation: each is a user, and the message comes to its device.

use serde_json::json;
use uuid::Uuid;

use crate::peer::{Encoding, Heard, Peer};
use crate::rig::Node;

const ENCODINGS: [Encoding; 3] = [Encoding::Tcp, Encoding::Json, Encoding::Bin];

/// Users for each number of workers.
const NEWCOMERS: usize = 30;

/// Lives that end right behind a `welcome`.
const KILLS: usize = 5;

/// A first sign-in, up to its `welcome`.
fn welcome(node: &Node, encoding: Encoding, user: Uuid, device: u8) -> (Peer, String) {
    let mut peer = Peer::connect(node, encoding);
    let token = node.token(user, device);
    peer.say(&json!({"type": "hello", "token": token, "device": device}));
    let Heard::Event(welcome) = peer.listen() else { panic!("no welcome") };
    assert_eq!(welcome["type"], "welcome");
    let ticket = welcome["ticket"].as_str().unwrap().to_owned();
    (peer, ticket)
}

/// The device comes again, by its ticket, and finds what was sent to it.
fn finds(node: &Node, user: (&str, u8), id: &str) {
    let (ticket, device) = user;
    let mut peer = Peer::connect(node, Encoding::Tcp);
    peer.say(&json!({"type": "hello", "ticket": ticket, "device": device}));
    peer.hear_kind("welcome");
    assert_eq!(peer.hear_kind("new_message")["id"], id);
}

#[test]
fn who_leaves_right_behind_welcome_is_a_device() {
    for workers in ["workers=1", "workers=2"] {
        let node = Node::start(&[workers]);
        let mut alice = Peer::sign_in_live(&node, Encoding::Json, Uuid::new_v4(), 1);
        for number in 0..NEWCOMERS {
            let newcomer = Uuid::new_v4();
            let (peer, ticket) = welcome(&node, ENCODINGS[number % 3], newcomer, 1);
            drop(peer);
            let id = alice.send(newcomer, b"to a newcomer");
            // A further device of the same user, in the same way.
            let (peer, further) = welcome(&node, ENCODINGS[number / 3 % 3], newcomer, 2);
            drop(peer);
            let second = alice.send(newcomer, b"to both");
            finds(&node, (&ticket, 1), &id);
            finds(&node, (&further, 2), &second);
        }
    }
}

#[test]
fn a_device_that_heard_welcome_outlives_kill_9() {
    let mut node = Node::start(&["workers=2"]);
    for number in 0..KILLS {
        let newcomer = Uuid::new_v4();
        let (peer, ticket) = welcome(&node, ENCODINGS[number % 3], newcomer, 1);
        node.kill();
        drop(peer);
        node = node.restart();
        let mut alice = Peer::sign_in_live(&node, Encoding::Json, Uuid::new_v4(), 1);
        let id = alice.send(newcomer, b"to a newcomer");
        finds(&node, (&ticket, 1), &id);
    }
}
