//! The Python client, written from PROTOCOL.md alone, against the server: two users over every
//! pairing of transports.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::rig::{BINARY, Node};

#[test]
fn strangers_who_only_read_the_protocol_can_talk_over_every_pairing_of_transports() {
    let node = Node::start(&["limits.queue_entries_max=30"]);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../core/wire/tests/python");
    let data_dir = node.data_dir();
    let token_command = json!([BINARY, "token", "--data-dir", data_dir.to_str().unwrap()]);
    let output = Command::new("python3")
        .args(["-B", "-W", "error", "test_server.py"])
        .current_dir(folder)
        .env("NODE_ADDRESS", node.address.to_string())
        .env("NODE_TOKEN_COMMAND", token_command.to_string())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    // Something ran, and nothing was skipped.
    let summary: Vec<&str> = text.lines().rev().take(3).collect();
    assert_eq!(summary[0], "OK", "{text}");
    assert!(summary[2].starts_with("Ran 10 tests"), "{text}");
    assert!(node.metric("ringpost_shard_messages_total") > 200);
    assert!(node.metric("ringpost_shard_duplicates_total") >= 6);
}
