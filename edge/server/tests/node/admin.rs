//! What an operator is told of a message, of users and of connections.
//!
//! Setup: people with several devices, some away. Action: one message goes its whole way, over a
//! `kill -9`; ten thousand connections stand. Expectation: each question is answered with what the
//! clients see, at each stage, and others are served meanwhile.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::thread;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::peer::{Encoding, Peer, content, message};
use crate::rig::{Node, eventually};

/// Connections of the listing, and descriptors of this process that other tests may need.
const MANY: usize = 10_000;
const DESCRIPTORS_SPARE: u64 = 4_000;

/// An answer of the private port: status and JSON. On a busy machine a worker may be late, or the
/// store behind; the answer says so, and as an operator would one asks again.
fn ask(node: &Node, path: &str) -> (u16, Value) {
    let mut complete = None;
    eventually(path, || {
        let answer = node.admin_get(path);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        let told: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"));
        let all_answered = [Value::Null, json!([])].contains(&told["unanswered"])
            && told["in_memory"] != "unknown"
            && told["store_caught_up"] != false;
        complete = (status != 503 && all_answered).then_some((status, told));
        complete.is_some()
    });
    complete.unwrap()
}

/// The story of the only message with this id.
fn story(node: &Node, id: &str) -> Value {
    let (status, told) = ask(node, &format!("/admin/explain/{id}"));
    assert_eq!(status, 200, "{told}");
    assert_eq!(told["messages"].as_array().unwrap().len(), 1, "{told}");
    assert_eq!((&told["store_caught_up"], &told["unanswered"]), (&json!(true), &json!([])));
    told["messages"][0].clone()
}

/// What a story says of one device: of the message in its queue, and of a receipt.
fn at<'a>(story: &'a Value, side: &str, device: u8) -> &'a Value {
    let devices = story[side]["devices"].as_array().unwrap();
    devices.iter().find(|row| row["device"] == device).unwrap_or_else(|| panic!("{story}"))
}

fn receipt<'a>(story: &'a Value, device: u8, status: &str) -> &'a Value {
    let receipts = at(story, "sender", device)["receipts"].as_array();
    let row = receipts.and_then(|rows| rows.iter().find(|row| row["status"] == status));
    row.unwrap_or(&Value::Null)
}

/// Waits until a story says this.
fn until(node: &Node, id: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || holds(&story(node, id)));
    story(node, id)
}

#[test]
fn one_message_is_followed_from_acceptance_to_its_receipts_and_over_a_kill() {
    let mut node = Node::start(&[]);
    let (alice, bob) = (Uuid::new_v4(), Uuid::new_v4());
    // Second devices that are known and away.
    drop(Peer::sign_in_live(&node, Encoding::Bin, alice, 2));
    drop(Peer::sign_in_live(&node, Encoding::Bin, bob, 2));
    let mut sender = Peer::sign_in_live(&node, Encoding::Json, alice, 1);
    let mut reader = Peer::sign_in_live(&node, Encoding::Tcp, bob, 1);

    let message_id = Uuid::new_v4();
    sender.say(&message(message_id, bob, b"what only they read"));
    let sent = sender.hear_kind("receipt");
    let id = sent["id"].as_str().unwrap().to_owned();
    let pushed = reader.hear_kind("new_message");
    assert_eq!(content(&pushed), b"what only they read");

    // Accepted, committed, queued for all devices, pushed to the one that is connected.
    let told = until(&node, &id, "the second devices are away", |story| {
        at(story, "recipient", 2)["connected"] == false
            && at(story, "sender", 2)["connected"] == false
    });
    assert_eq!(told["message_id"], message_id.to_string());
    assert_eq!((&told["status"], &told["received"]["bytes"]), (&json!("sent"), &json!(19)));
    assert_eq!(told["received"]["at_ms"], sent["timestamp_ms"]);
    let position = told["committed"]["position"].as_u64().unwrap();
    assert!(position > 0 && told["committed"]["applied"].as_u64().unwrap() >= position, "{told}");
    assert_eq!(told["recipient"]["user"], bob.to_string());
    let first = at(&told, "recipient", 1);
    assert_eq!((&first["connected"], &first["message"]["state"]), (&json!(true), &json!("pushed")));
    assert_eq!(first["message"]["push"], pushed["push"]);
    let second = &at(&told, "recipient", 2)["message"];
    assert_eq!(
        (&second["state"], &second["why"]),
        (&json!("queued"), &json!("the device is not connected"))
    );
    assert_eq!(at(&told, "sender", 1)["sent_it"], true);
    assert_eq!(at(&told, "sender", 1)["message"], Value::Null, "no copy for who sent it");
    assert_eq!(at(&told, "sender", 2)["message"]["state"], "queued");
    assert_eq!(receipt(&told, 1, "delivered"), &Value::Null);
    assert_eq!(story(&node, &message_id.to_string())["id"], id, "the client's id finds the same");

    // Acknowledged: the receipt is pushed to the sender, and waits for its other device.
    reader.say(&json!({"type": "ack", "push": pushed["push"]}));
    let delivered = sender.hear_kind("receipt");
    assert_eq!(delivered["status"], "delivered");
    let told = story(&node, &id);
    assert_eq!(
        (&told["status"], &at(&told, "recipient", 1)["message"]["state"]),
        (&json!("delivered"), &json!("acked"))
    );
    assert_eq!(receipt(&told, 1, "delivered")["state"], "pushed");
    assert_eq!(receipt(&told, 1, "delivered")["push"], delivered["push"]);
    assert_eq!(receipt(&told, 2, "delivered")["state"], "queued");
    sender.say(&json!({"type": "ack", "push": delivered["push"]}));
    until(&node, &id, "the receipt is acked", |story| {
        receipt(story, 1, "delivered")["state"] == "settled"
    });

    reader.say(&json!({"type": "receipt", "id": id, "status": "read"}));
    assert_eq!(sender.hear_kind("receipt")["status"], "read");
    let told = story(&node, &id);
    assert_eq!(
        (&told["status"], &receipt(&told, 1, "read")["state"]),
        (&json!("read"), &json!("pushed"))
    );

    // After `kill -9` the same, from the store alone.
    node.kill();
    node = node.restart();
    let told = story(&node, &id);
    assert_eq!(
        (&told["status"], &told["committed"]["position"]),
        (&json!("read"), &json!(position))
    );
    assert_eq!(told["recipient"]["in_memory"], "absent");
    assert_eq!(at(&told, "recipient", 1)["message"]["state"], "acked");
    assert_eq!(at(&told, "recipient", 2)["message"]["state"], "queued");
    assert_eq!(receipt(&told, 1, "read")["state"], "queued", "it was not acked");
    assert_eq!(receipt(&told, 2, "delivered")["state"], "queued");

    // The devices that were away take what waits.
    let _all = [(alice, 1), (alice, 2), (bob, 2)]
        .map(|(user, device)| Peer::sign_in_drained(&node, Encoding::Tcp, user, device));
    until(&node, &id, "everything is acked", |story| {
        at(story, "recipient", 2)["message"]["state"] == "acked"
            && at(story, "sender", 2)["message"]["state"] == "acked"
            && [1, 2].iter().all(|&device| receipt(story, device, "read")["state"] == "settled")
    });
}

#[test]
fn an_id_of_several_messages_lists_them_and_an_unknown_or_ephemeral_one_is_none() {
    let node = Node::start(&[]);
    let (alice, bob, carol) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
    let mut peers = [alice, bob].map(|user| Peer::sign_in_live(&node, Encoding::Json, user, 1));
    drop(Peer::sign_in_live(&node, Encoding::Json, carol, 1));
    let shared = Uuid::new_v4();
    for peer in &mut peers {
        peer.say(&message(shared, carol, b"the same id"));
        peer.hear_kind("receipt");
    }
    let (_, told) = ask(&node, &format!("/admin/explain/{shared}"));
    let from: BTreeSet<&str> = told["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|story| story["sender"]["user"].as_str().unwrap())
        .collect();
    assert_eq!(from, [alice.to_string(), bob.to_string()].iter().map(String::as_str).collect());
    assert!(!told.to_string().contains("dGhlIHNhbWUgaWQ"), "no content: {told}");

    let ephemeral = Uuid::new_v4();
    let mut command = message(ephemeral, bob, b"gone");
    command["ephemeral"] = true.into();
    peers[0].say(&command);
    peers[1].hear_kind("new_message");
    for id in [ephemeral, Uuid::nil(), Uuid::max(), Uuid::new_v4()] {
        let (status, told) = ask(&node, &format!("/admin/explain/{id}"));
        assert_eq!((status, &told["type"]), (404, &json!("urn:ringpost:problem:unknown_message")));
    }
    for path in ["/admin/explain/zzz", "/admin/users/%ff", "/admin/connections?limit=many"] {
        let (status, told) = ask(&node, path);
        assert_eq!((status, &told["status"]), (400, &json!(400)), "{path}");
    }
}

#[test]
fn a_user_is_shown_with_devices_sessions_and_queues_and_after_a_restart_from_the_store() {
    let mut node = Node::start(&[]);
    let (alice, bob) = (Uuid::new_v4(), Uuid::new_v4());
    drop(Peer::sign_in_live(&node, Encoding::Tcp, bob, 3));
    let mut sender = Peer::sign_in_live(&node, Encoding::Tcp, alice, 1);
    let mut reader = Peer::sign_in_live(&node, Encoding::Json, bob, 1);
    let oldest = sender.send(bob, b"12345");
    sender.send(bob, b"67890");
    reader.hear_kind("new_message");
    reader.hear_kind("new_message");
    let path = format!("/admin/users/{bob}");
    eventually("the other device is gone", || {
        ask(&node, &path).1["live"]["sessions"].as_array().unwrap().len() == 1
    });
    let (status, told) = ask(&node, &path);
    assert_eq!((status, &told["in_memory"]), (200, &json!("resident")));
    let session = &told["live"]["sessions"][0];
    assert_eq!((&session["device"], &session["last_push"]), (&json!(1), &json!(2)));
    let live = &told["live"]["devices"][0];
    assert_eq!(
        (&live["entries"], &live["unacked"], &live["unacked_bytes"]),
        (&json!(2), &json!(2), &json!(10))
    );
    assert_eq!(told["devices"].as_array().unwrap().len(), 2);
    let stored = &told["devices"][1];
    assert_eq!(
        (&stored["device"], &stored["entries"], &stored["entries_bytes"]),
        (&json!(3), &json!(2), &json!(10))
    );
    assert_eq!(stored["oldest_id"], oldest);
    // Its connection is the one in the list of all connections.
    let (_, page) = ask(&node, &format!("/admin/connections?user={bob}&device=1"));
    let rows = page["connections"].as_array().unwrap();
    assert_eq!((rows.len(), &rows[0]["connection"]), (1, &session["connection"]), "{page}");
    assert_eq!(
        (&rows[0]["speech"], &rows[0]["stage"]),
        (&json!("websocket_json"), &json!("signed_in"))
    );

    node.kill();
    node = node.restart();
    let (status, after) = ask(&node, &path);
    assert_eq!(
        (status, &after["in_memory"], &after["live"]),
        (200, &json!("absent"), &Value::Null)
    );
    assert_eq!(after["devices"][1], told["devices"][1]);
    let (status, nobody) = ask(&node, &format!("/admin/users/{}", Uuid::new_v4()));
    assert_eq!((status, &nobody["type"]), (404, &json!("urn:ringpost:problem:unknown_user")));
}

#[test]
fn ten_thousand_connections_are_listed_page_by_page_while_others_are_served() {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(hard.min(1 << 20)), hard).unwrap();
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    // As many as the host lets one process hold, where that is less.
    let many = MANY.min(soft.saturating_sub(DESCRIPTORS_SPARE) as usize);
    let node = Node::start(&[
        "limits.handshake_deadline=5m",
        "limits.auth_deadline=5m",
        "limits.unauthenticated_per_address_max=100000",
    ]);
    let user = Uuid::new_v4();
    let mut bystander = Peer::sign_in_live(&node, Encoding::Json, user, 1);
    let crowd: Vec<TcpStream> =
        (0..many).map(|_| TcpStream::connect(node.address).unwrap()).collect();
    eventually("all stand", || node.metric("ringpost_edge_connections") > many as u64);

    let (mut seen, mut pages, mut after) = (BTreeSet::new(), 0, String::new());
    loop {
        let (status, page) = ask(&node, &format!("/admin/connections?limit=777{after}"));
        assert_eq!((status, &page["unanswered"]), (200, &Value::Null));
        for row in page["connections"].as_array().unwrap() {
            let key = (row["worker"].as_u64(), row["connection"].as_str().unwrap().to_owned());
            assert!(seen.insert(key), "twice: {row}");
        }
        pages += 1;
        bystander.ping();
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), many + 1);
    assert!(pages > many / 777, "{pages} pages");

    // One among them all, found by a filter; and none.
    let (_, page) = ask(&node, &format!("/admin/connections?user={user}"));
    assert_eq!(page["connections"].as_array().unwrap().len(), 1, "{page}");
    let (_, page) = ask(&node, "/admin/connections?stage=closing");
    assert_eq!(page, json!({"connections": []}));
    let (_, page) = ask(&node, "/admin/connections?address=127.0.0.1&stage=handshake&limit=5");
    assert_eq!(page["connections"].as_array().unwrap().len(), 5, "{page}");
    assert!(page["next"].is_string());
    drop(crowd);
    eventually("all are gone", || node.metric("ringpost_edge_connections") == 1);
    bystander.ping();
}

#[test]
fn a_flood_of_questions_waits_its_turn_and_nobody_else_does() {
    let node = Node::start(&[]);
    let (alice, bob) = (Uuid::new_v4(), Uuid::new_v4());
    let mut sender = Peer::sign_in_live(&node, Encoding::Tcp, alice, 1);
    let mut reader = Peer::sign_in_live(&node, Encoding::Tcp, bob, 1);
    let id = sender.send(bob, b"asked for a lot");
    reader.hear_kind("new_message");
    thread::scope(|scope| {
        let askers: Vec<_> = (0..8)
            .map(|asker| {
                let paths = [
                    format!("/admin/explain/{id}"),
                    format!("/admin/explain/{}", Uuid::new_v4()),
                    format!("/admin/users/{bob}"),
                    "/admin/connections".to_owned(),
                ];
                let node = &node;
                scope.spawn(move || {
                    (0..25).map(|at| ask(node, &paths[(asker + at) % 4]).0).collect::<Vec<_>>()
                })
            })
            .collect();
        for _ in 0..50 {
            sender.send(bob, b"meanwhile");
            reader.hear_kind("new_message");
        }
        for asker in askers {
            for status in asker.join().unwrap() {
                assert!(matches!(status, 200 | 404), "{status}");
            }
        }
    });
}
