//! `/admin/limits` on the running server: what it shows of each limit, and what it does not take.
//!
//! Setup: a node. Action: it is asked. Expectation: each limit has its value, where it came from and
//! counters that `/metrics` has. That each is counted when it is hit, [`crate::limit_walk`] holds.

use serde_json::{Value, json};

use crate::http::call;
use crate::rig::Node;

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
