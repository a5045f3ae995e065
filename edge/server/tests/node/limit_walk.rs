//! Every limit that `/admin/limits` shows is driven to its end: a table of all of them.
//!
//! Setup: a server in which one limit is small. Action: it is passed, in the way in which it is
//! passed in the world. Expectation: the answer that the limit has, and the row of `/admin/limits`
//! counts it. What takes hours or a broken disk is driven at the layer where it lives: there the row
//! names the test. A limit without a row fails, and so does a row without a limit, whose counter
//! does not move, or whose test is not there.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::http::call;
use crate::peer::{Encoding, Heard, Peer};
use crate::rig::{Node, eventually, rest_of};

/// How a limit is driven to its end.
enum Driven {
    /// Here, on a server with these settings.
    Here(&'static [&'static str], fn(&Node)),
    /// By this test of that file of the repository.
    By(&'static str, &'static str),
}

use Driven::{By, Here};

const COUNTED: Driven =
    By("edge/server/tests/node/limits.rs", "fn limits_that_are_hit_are_counted_by_their_keys");
const STALLS: &str = "edge/server/tests/node/abuse_stalls.rs";
const PACED: Driven = By(
    "edge/server/tests/node/abuse.rs",
    "fn abuse_row_11_a_flood_is_read_at_its_rate_and_nobody_is_closed_for_it",
);
const PACED_STRANGERS: Driven = By(
    "edge/conn/tests/turn/pace.rs",
    "fn strangers_share_the_budget_of_their_address_over_reconnects",
);
const ACCOUNTS: &str = "storage/store/src/conformance/accounts.rs";
const REST: &str = "edge/server/tests/rest/connections.rs";
const SHARD: &str = "core/shard/tests/behaviour/limits.rs";

/// Each key, in the order in which it is shown.
const KEYS: [(&str, Driven); 43] = [
    (
        "drain_deadline",
        By("edge/conn/tests/turn/drain.rs", "fn slots_are_kept_and_fit_into_the_time"),
    ),
    (
        "journal.disk_budget_bytes",
        By(
            "storage/journal/tests/devices.rs",
            "fn the_disk_budget_refuses_by_reason_until_the_store_has_caught_up",
        ),
    ),
    (
        "journal.pending_bytes_max",
        By(
            "storage/journal/tests/faults.rs",
            "fn a_stuck_disk_refuses_when_the_bound_in_flight_is_reached_and_shows_for_how_long",
        ),
    ),
    (
        "journal.unapplied_bytes_max",
        By(
            "storage/store/tests/threads.rs",
            "fn records_beyond_the_byte_limit_are_held_back_until_there_is_room",
        ),
    ),
    (
        "store.write_buffer_bytes_max",
        By(
            "storage/store/tests/memory.rs",
            "fn what_the_engine_takes_stays_within_the_line_that_is_printed_at_boot",
        ),
    ),
    ("auth.access_ttl", Here(&["auth.clock_skew=0s"], a_session_ends_with_its_token)),
    ("auth.refresh_ttl", By(ACCOUNTS, "Rotation::Expired")),
    ("auth.ticket_ttl", Here(&["auth.clock_skew=0s"], a_ticket_ends)),
    ("auth.code_ttl", By(ACCOUNTS, "fn code_expires_and_is_replaced")),
    (
        "auth.code_attempts_max",
        By(
            "edge/server/tests/rest/sign_in.rs",
            "fn abuse_row_35_guessing_ends_the_code_and_not_the_owners_other_one",
        ),
    ),
    ("auth.codes_per_phone_hour", COUNTED),
    ("auth.requests_per_address_minute", COUNTED),
    (
        "auth.verify_queue_max",
        By(
            "edge/server/tests/node/abuse_storms.rs",
            "fn abuse_row_34_who_cannot_be_checked_now_comes_later_and_gets_in",
        ),
    ),
    ("rest.connections_max", Here(&["rest.connections_max=1"], one_rest_connection_too_many)),
    (
        "rest.connections_per_address_max",
        By(REST, "fn an_address_holds_no_more_connections_than_its_own"),
    ),
    ("rest.header_deadline", By(REST, "fn a_slow_head_and_an_idle_connection_are_closed")),
    ("rest.idle_deadline", By(REST, "fn a_slow_head_and_an_idle_connection_are_closed")),
    ("rest.request_deadline", By(REST, "fn a_body_that_never_comes_ends_at_the_deadline")),
    ("rest.body_bytes_max", COUNTED),
    ("limits.connections_max", Here(&["limits.connections_max=2"], one_connection_too_many)),
    ("limits.unauthenticated_per_address_max", COUNTED),
    ("limits.unnamed_max", By("edge/conn/tests/turn/callers.rs", "unnamed_max")),
    ("limits.user_input_bytes_per_second", PACED),
    ("limits.user_input_burst_bytes", PACED),
    ("limits.address_input_bytes_per_second", PACED_STRANGERS),
    ("limits.address_input_burst_bytes", PACED_STRANGERS),
    ("limits.handshake_deadline", COUNTED),
    (
        "limits.auth_deadline",
        Here(
            &["limits.auth_deadline=1s", "limits.handshake_deadline=1s"],
            a_connection_that_does_not_sign_in,
        ),
    ),
    (
        "limits.ping_interval_tcp",
        By(STALLS, "fn abuse_row_06_a_client_that_answers_no_ping_is_closed_and_its_messages_stay"),
    ),
    (
        "limits.ping_interval_websocket",
        By(STALLS, "fn abuse_row_06_a_client_that_answers_no_ping_is_closed_and_its_messages_stay"),
    ),
    (
        "limits.progress_deadline",
        By(STALLS, "fn abuse_row_04_a_reader_that_never_reads_is_closed_and_its_messages_stay"),
    ),
    ("limits.message_bytes_max", COUNTED),
    ("limits.outbox_bytes_max", By("edge/conn/tests/turn/ring_faults.rs", "input_paused")),
    (
        "limits.outboxes_bytes_max",
        By(
            "edge/conn/tests/turn/outboxes.rs",
            "fn above_the_limit_nobody_is_read_or_pushed_to_until_there_is_room",
        ),
    ),
    (
        "limits.receive_buffers_bytes",
        By("edge/ring/tests/io_uring_limits.rs", "buffer_starvations"),
    ),
    ("limits.resident_bytes_max", By(SHARD, "\"resident_bytes_max\"")),
    ("limits.in_flight_bytes_max", By(SHARD, "\"in_flight_bytes_max\"")),
    ("limits.queue_entries_max", COUNTED),
    ("limits.queue_bytes_max", By(SHARD, "\"queue_bytes_max\"")),
    ("limits.queue_sender_share", By(SHARD, "\"queue_sender_share\"")),
    ("limits.queue_ttl", By(SHARD, "\"queue_ttl\"")),
    ("limits.devices_per_user_max", COUNTED),
    ("limits.device_absence_max", By(SHARD, "\"device_absence_max\"")),
];

/// How often a limit was hit.
fn hits(node: &Node, key: &str) -> u64 {
    let answer = call(node.admin, "GET", "/admin/limits", "", "").json();
    let rows = answer["limits"].as_array().unwrap();
    rows.iter().find(|row| row["key"] == key).unwrap()["hits"].as_u64().unwrap()
}

#[test]
fn every_limit_of_the_configuration_is_driven_to_its_end() {
    let node = Node::start(&[]);
    let answer = call(node.admin, "GET", "/admin/limits", "", "").json();
    let shown: Vec<&Value> =
        answer["limits"].as_array().unwrap().iter().map(|row| &row["key"]).collect();
    let rows: Vec<&str> = KEYS.iter().map(|(key, _)| *key).collect();
    assert_eq!(shown, rows, "a row for each limit, in their order");
    let repository: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../.."].iter().collect();
    for (key, driven) in &KEYS {
        match driven {
            Here(settings, drive) => {
                let node = Node::start(settings);
                assert_eq!(hits(&node, key), 0, "{key}");
                drive(&node);
                eventually(key, || hits(&node, key) > 0);
            }
            By(file, test) => {
                let text = std::fs::read_to_string(repository.join(file)).unwrap();
                assert!(text.contains(test), "{key}: {test} is not in {file}");
            }
        }
    }
}

/// A session of a token that ends in a second; its ticket, once it is closed.
fn ended_session(node: &Node) -> (Uuid, Value) {
    let user = Uuid::new_v4();
    let token = node.token_with(user, 1, &["--ttl", "2"]);
    let mut peer = Peer::connect(node, Encoding::Tcp);
    peer.say(&json!({"type": "hello", "token": token, "device": 1}));
    let ticket = peer.hear_kind("welcome")["ticket"].clone();
    while !matches!(peer.listen(), Heard::End(Some(4401))) {}
    (user, ticket)
}

fn a_session_ends_with_its_token(node: &Node) {
    ended_session(node);
}

fn a_ticket_ends(node: &Node) {
    let (_, ticket) = ended_session(node);
    let mut peer = Peer::connect(node, Encoding::Tcp);
    peer.say(&json!({"type": "hello", "ticket": ticket, "device": 1}));
    assert_eq!(peer.last_word(), Some(4401));
}

fn one_rest_connection_too_many(node: &Node) {
    let busy = "POST /v1/auth/code HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                Content-Length: 9\r\nExpect: 100-continue\r\n\r\n";
    let mut kept = TcpStream::connect(node.address).unwrap();
    kept.write_all(busy.as_bytes()).unwrap();
    kept.read_exact(&mut [0; 25]).unwrap();
    let mut refused = TcpStream::connect(node.address).unwrap();
    refused.write_all(b"GET /v1/nowhere HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let answer = rest_of(&mut refused);
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
}

fn one_connection_too_many(node: &Node) {
    // At each of the two workers there is room for one; behind one too many accepting rests.
    let _streams: Vec<_> = (0..16).map(|_| TcpStream::connect(node.address).unwrap()).collect();
    eventually("full", || node.metric(r#"ringpost_edge_refused_total{reason="full"}"#) > 0);
}

fn a_connection_that_does_not_sign_in(node: &Node) {
    let mut peer = Peer::connect(node, Encoding::Tcp);
    assert_eq!(peer.last_word(), Some(4408));
}
