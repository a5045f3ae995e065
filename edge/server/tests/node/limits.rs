//! `/admin/limits` on the running server: what was set, from where, and how often each was hit.
//!
//! Setup: a node with small limits. Action: several are hit, each in the way in which it is hit in
//! the world. Expectation: the answer counts each of them, and `/metrics` says the same.

use std::net::TcpStream;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::http::{call, post};
use crate::peer::{Encoding, Heard, Peer, message};
use crate::rig::{Node, eventually};

/// The rows of `/admin/limits`.
fn rows(node: &Node) -> Vec<Value> {
    let answer = call(node.admin, "GET", "/admin/limits", "", "");
    assert_eq!(answer.status, 200, "{answer:?}");
    let Value::Array(rows) = answer.json()["limits"].take() else { panic!("{answer:?}") };
    rows
}

/// The row of one key.
fn row(node: &Node, key: &str) -> Value {
    rows(node).into_iter().find(|row| row["key"] == key).unwrap_or_else(|| panic!("no {key}"))
}

/// Waits until a limit was hit so often.
fn hit(node: &Node, key: &str, count: u64) {
    eventually(key, || row(node, key)["hits"].as_u64().unwrap() >= count);
}

#[test]
fn every_limit_names_counters_that_are_there() {
    let node = Node::start(&["limits.queue_ttl=2d"]);
    let rows = rows(&node);
    assert!(rows.len() > 20, "{rows:?}");
    let metrics = node.admin_get("/metrics");
    for row in &rows {
        let counters = row["counted_by"].as_array().unwrap();
        assert!(!counters.is_empty(), "{row}");
        for counter in counters {
            let begin = format!("\n{} ", counter.as_str().unwrap());
            assert!(metrics.contains(&begin), "{counter} of {row} is not in\n{metrics}");
        }
        let is_ours =
            ["limits.queue_ttl", "journal.segment_bytes"].contains(&row["key"].as_str().unwrap());
        assert_eq!(row["origin"], if is_ours { "flag" } else { "default" }, "{row}");
    }
    let ttl = row(&node, "limits.queue_ttl");
    assert_eq!((&ttl["unit"], &ttl["value"]), (&json!("ms"), &json!(2 * 86_400_000)));
}

#[test]
fn limits_that_are_hit_are_counted_by_their_keys() {
    let node = Node::start(&[
        "limits.devices_per_user_max=1",
        "limits.message_bytes_max=1KiB",
        "limits.queue_entries_max=2",
        "limits.handshake_deadline=2s",
        "limits.unauthenticated_per_address_max=8",
        "auth.requests_per_address_minute=3",
        "auth.codes_per_phone_hour=1",
        "rest.body_bytes_max=1KiB",
    ]);
    let keys = [
        "limits.devices_per_user_max",
        "limits.message_bytes_max",
        "limits.queue_entries_max",
        "limits.handshake_deadline",
        "limits.unauthenticated_per_address_max",
        "auth.requests_per_address_minute",
        "auth.codes_per_phone_hour",
        "rest.body_bytes_max",
    ];
    for key in keys {
        let row = row(&node, key);
        assert_eq!((&row["hits"], &row["origin"]), (&json!(0), &json!("flag")), "{row}");
    }
    let (alice, bob) = (Uuid::new_v4(), Uuid::new_v4());
    let mut sender = Peer::sign_in_live(&node, Encoding::Json, alice, 1);
    drop(Peer::sign_in_live(&node, Encoding::Tcp, bob, 1));

    sender.refused(&message(Uuid::new_v4(), bob, &[7; 1_025]), 6);
    hit(&node, "limits.message_bytes_max", 1);

    for _ in 0..2 {
        sender.send(bob, b"there is room");
    }
    // It is taken, and lies in the gap of the queue.
    sender.send(bob, b"there is none");
    hit(&node, "limits.queue_entries_max", 1);
    assert_eq!(row(&node, "limits.queue_bytes_max")["hits"], 0);

    let mut second = Peer::connect(&node, Encoding::Tcp);
    let token = node.token(alice, 2);
    second.say(&json!({"type": "hello", "token": token, "device": 2}));
    assert_eq!(second.listen(), Heard::End(Some(4412)), "in place of a welcome");
    hit(&node, "limits.devices_per_user_max", 1);

    let phone = json!({"phone": "+491701234567"});
    let asked: Vec<_> =
        (0..5).map(|_| post(node.address, "/v1/auth/code", "", &phone).status).collect();
    // The second and third were answered alike and sent nothing.
    assert_eq!(asked, [202, 202, 202, 429, 429]);
    hit(&node, "auth.codes_per_phone_hour", 2);
    hit(&node, "auth.requests_per_address_minute", 2);
    let large = json!({"phone": "1".repeat(1_024)});
    assert_eq!(post(node.address, "/v1/auth/code", "", &large).status, 413);
    hit(&node, "rest.body_bytes_max", 1);

    // Four times as many as both workers together bear.
    let silent: Vec<_> = (0..32).map(|_| TcpStream::connect(node.address).unwrap()).collect();
    hit(&node, "limits.unauthenticated_per_address_max", 24);
    hit(&node, "limits.handshake_deadline", 1);
    drop(silent);

    // The answer is the sum of its counters, and the neighbours were not counted.
    sender.ping();
    for key in keys {
        let row = row(&node, key);
        let counters = row["counted_by"].as_array().unwrap();
        let sum: u64 = counters.iter().map(|name| node.metric(name.as_str().unwrap())).sum();
        assert_eq!(row["hits"], sum, "{row}");
    }
    for key in ["limits.connections_max", "limits.auth_deadline", "rest.connections_max"] {
        assert_eq!(row(&node, key)["hits"], 0, "{key}");
    }
}

#[test]
fn only_get_asks_for_limits_and_the_refusal_is_a_problem() {
    let node = Node::start(&[]);
    for (method, path, status, name) in [
        ("POST", "/admin/limits", 405, "method_not_allowed"),
        ("DELETE", "/admin/limits", 405, "method_not_allowed"),
        ("GET", "/admin/limits/limits.queue_ttl", 404, "not_found"),
    ] {
        let answer = call(node.admin, method, path, "", "");
        assert!(answer.head.contains("application/problem+json"), "{answer:?}");
        let problem = format!("urn:ringpost:problem:{name}");
        assert_eq!((answer.status, &answer.json()["type"]), (status, &json!(problem)));
    }
}
