//! Every limit that `/admin/limits` shows is driven to its end: a table of all of them.
//!
//! Setup: a server in which one limit is small. Action: it is passed, in the way in which it is
//! passed in the world. Expectation: the answer that its row names, the row of `/admin/limits` counts
//! it, and it stands in the configuration with a word on what it does. What takes hours is driven by a
//! test where a clock can be set: there the row names the test, and what in it looks at the answer and
//! at the counter. A limit without a row fails, and so does a row without a limit.

mod connections;
mod input;
mod queues;
mod rest;
mod sign_in;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use serde_json::Value;

use crate::http::call;
use crate::rig::{Node, eventually};

/// What is answered where a limit ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    /// A status of HTTP.
    Status(u16),
    /// A close code of section 10 of the protocol.
    Close(u16),
    /// An error code of section 10 of the protocol.
    Refused(u16),
    /// The end of the connection without a word.
    Cut,
    /// A message is taken, and its device is told a gap.
    Gap,
    /// Nobody is refused: something waits, or leaves memory, and all is answered in the end.
    Later,
}

/// How a limit is driven to its end.
enum Driven {
    /// Here, on a server with these settings, to this answer, by this.
    Here(&'static [&'static str], Answer, fn(&Node) -> Answer),
    /// By this function of that file of the repository, in which these look at answer and counter.
    By(&'static str, &'static str, [&'static str; 2]),
}

use Answer::{Close, Cut, Gap, Later, Refused, Status};
use Driven::{By, Here};

const REST_TESTS: &str = "edge/server/tests/rest/sign_in.rs";

/// Each key, in the order in which it is shown.
const KEYS: [(&str, Driven); 44] = [
    ("drain_deadline", Here(&["drain_deadline=6s"], Close(1001), connections::stays)),
    (
        "journal.disk_budget_bytes",
        By(
            "storage/journal/tests/devices.rs",
            "the_disk_budget_refuses_by_reason_until_the_store_has_caught_up",
            ["assert_eq!(reason, Refused::DiskBudget)", "refused[Refused::DiskBudget.index()], 1"],
        ),
    ),
    (
        "journal.pending_bytes_max",
        Here(&["journal.pending_bytes_max=1MiB"], Later, queues::more_than_is_written_at_once),
    ),
    (
        "journal.unapplied_bytes_max",
        Here(
            &["journal.unapplied_bytes_max=1MiB"],
            Refused(11),
            queues::more_than_the_store_has_taken,
        ),
    ),
    (
        "store.write_buffer_bytes_max",
        By(
            "storage/store/tests/memory.rs",
            "what_the_engine_takes_stays_within_the_line_that_is_printed_at_boot",
            ["most <= allowed", "commits_held > 0"],
        ),
    ),
    ("auth.access_ttl", Here(&["auth.clock_skew=0s"], Close(4401), sign_in::a_token_ends)),
    (
        "auth.refresh_ttl",
        By(
            REST_TESTS,
            "a_refresh_token_that_comes_too_late_is_bad_and_counted",
            ["\"bad_refresh_token\"", "hits(\"refresh_life\")"],
        ),
    ),
    ("auth.ticket_ttl", Here(&["auth.clock_skew=0s"], Close(4401), sign_in::a_ticket_ends)),
    (
        "auth.code_ttl",
        By(
            REST_TESTS,
            "a_code_that_comes_too_late_is_bad_and_counted",
            ["\"bad_code\"", "hits(\"code_life\")"],
        ),
    ),
    (
        "auth.code_attempts_max",
        Here(&["auth.code_attempts_max=2"], Status(401), rest::too_many_guesses),
    ),
    (
        "auth.codes_per_phone_hour",
        Here(&["auth.codes_per_phone_hour=2"], Later, rest::too_many_codes),
    ),
    (
        "auth.requests_per_address_minute",
        Here(&["auth.requests_per_address_minute=3"], Status(429), rest::too_many_calls),
    ),
    (
        "auth.verify_queue_max",
        Here(
            &["auth.verify_threads=1", "auth.verify_queue_max=16"],
            Close(1013),
            sign_in::everybody_at_once,
        ),
    ),
    (
        "rest.connections_max",
        Here(&["rest.connections_max=1"], Status(503), rest::one_connection_too_many),
    ),
    (
        "rest.connections_per_address_max",
        Here(&["rest.connections_per_address_max=1"], Status(503), rest::one_connection_too_many),
    ),
    ("rest.header_deadline", Here(&["rest.header_deadline=300ms"], Status(408), rest::a_slow_head)),
    ("rest.idle_deadline", Here(&["rest.idle_deadline=1s"], Cut, rest::a_kept_connection)),
    (
        "rest.request_deadline",
        Here(&["rest.request_deadline=300ms"], Status(503), rest::a_slow_body),
    ),
    ("rest.body_bytes_max", Here(&["rest.body_bytes_max=1KiB"], Status(413), rest::a_large_body)),
    (
        "limits.connections_max",
        Here(
            &[
                "limits.connections_max=2",
                "limits.handshake_deadline=5m",
                "limits.auth_deadline=5m",
            ],
            Cut,
            connections::one_too_many,
        ),
    ),
    (
        "limits.unauthenticated_per_address_max",
        Here(
            &["limits.unauthenticated_per_address_max=1"],
            Cut,
            connections::one_stranger_too_many,
        ),
    ),
    (
        "limits.unnamed_max",
        Here(
            &["trusted_proxies=127.0.0.1", "limits.unnamed_max=2"],
            Cut,
            connections::one_unnamed_too_many,
        ),
    ),
    (
        "limits.user_input_bytes_per_second",
        Here(
            &["limits.user_input_bytes_per_second=16KiB", "limits.user_input_burst_bytes=128KiB"],
            Later,
            input::a_user_who_writes_too_much,
        ),
    ),
    (
        "limits.user_input_burst_bytes",
        Here(
            &["limits.user_input_bytes_per_second=64KiB", "limits.user_input_burst_bytes=256KiB"],
            Later,
            input::a_user_who_writes_too_much,
        ),
    ),
    (
        "limits.address_input_bytes_per_second",
        Here(
            &[
                "limits.address_input_bytes_per_second=16KiB",
                "limits.address_input_burst_bytes=128KiB",
            ],
            Later,
            input::strangers_who_write_too_much,
        ),
    ),
    (
        "limits.address_input_burst_bytes",
        Here(
            &[
                "limits.address_input_bytes_per_second=64KiB",
                "limits.address_input_burst_bytes=256KiB",
            ],
            Later,
            input::strangers_who_write_too_much,
        ),
    ),
    (
        "limits.handshake_deadline",
        Here(&["limits.handshake_deadline=300ms"], Status(408), connections::half_a_handshake),
    ),
    (
        "limits.auth_deadline",
        Here(
            &["limits.auth_deadline=300ms", "limits.handshake_deadline=300ms"],
            Close(4408),
            connections::no_hello,
        ),
    ),
    (
        "limits.ping_interval_tcp",
        Here(&["limits.ping_interval_tcp=1s"], Close(4410), connections::silent_over_tcp),
    ),
    (
        "limits.ping_interval_websocket",
        Here(
            &["limits.ping_interval_websocket=1s"],
            Close(4410),
            connections::silent_over_websocket,
        ),
    ),
    (
        "limits.progress_deadline",
        Here(&["limits.progress_deadline=1s"], Cut, connections::never_reads),
    ),
    (
        "limits.message_bytes_max",
        Here(&["limits.message_bytes_max=1KiB"], Refused(6), input::a_large_message),
    ),
    (
        "limits.outbox_bytes_max",
        Here(
            &["limits.message_bytes_max=1KiB", "limits.outbox_bytes_max=2KiB"],
            Later,
            input::answers_that_nobody_takes,
        ),
    ),
    (
        "limits.outboxes_bytes_max",
        Here(
            &[
                "limits.outbox_bytes_max=128KiB",
                "limits.outboxes_bytes_max=128KiB",
                "limits.progress_deadline=5m",
            ],
            Cut,
            input::pushes_that_nobody_takes,
        ),
    ),
    (
        "limits.input_bytes_max",
        Here(&["limits.input_bytes_max=1MiB"], Close(1013), input::messages_that_are_not_ended),
    ),
    (
        "limits.receive_buffers_bytes",
        Here(&["limits.receive_buffers_bytes=1MiB"], Later, input::everybody_writes_at_once),
    ),
    (
        "limits.resident_bytes_max",
        Here(&["limits.resident_bytes_max=1MiB"], Later, queues::more_users_than_fit),
    ),
    (
        "limits.in_flight_bytes_max",
        Here(&["limits.in_flight_bytes_max=1MiB"], Refused(11), queues::more_on_the_way_than_fits),
    ),
    (
        "limits.queue_entries_max",
        Here(&["limits.queue_entries_max=2"], Gap, queues::more_than_a_queue_takes),
    ),
    (
        "limits.queue_bytes_max",
        Here(
            &["limits.message_bytes_max=256B", "limits.queue_bytes_max=256B"],
            Gap,
            queues::more_than_a_queue_takes,
        ),
    ),
    (
        "limits.queue_sender_share",
        Here(&["limits.queue_entries_max=1000"], Refused(10), queues::more_than_a_share),
    ),
    (
        "limits.queue_ttl",
        By(
            "core/shard/tests/behaviour/gaps.rs",
            "what_grows_too_old_is_a_gap_and_nothing_is_called_empty_before_it_is_one",
            ["a gap", "entries_expired"],
        ),
    ),
    (
        "limits.devices_per_user_max",
        Here(&["limits.devices_per_user_max=1"], Close(4412), sign_in::one_device_too_many),
    ),
    (
        "limits.device_absence_max",
        By(
            "core/shard/tests/behaviour/devices.rs",
            "a_device_that_was_absent_for_too_long_frees_its_place_wherever_it_matters",
            ["the one that came again stays", "devices_absent"],
        ),
    ),
];

/// Servers that run at once.
const AT_ONCE: usize = 6;

/// The rows of `/admin/limits`.
fn rows(node: &Node) -> Vec<Value> {
    let answer = call(node.admin, "GET", "/admin/limits", "", "").json();
    answer["limits"].as_array().unwrap().clone()
}

/// The row of one key.
fn row(node: &Node, key: &str) -> Value {
    rows(node).into_iter().find(|row| row["key"] == key).unwrap()
}

/// How often a limit was hit.
fn hits(node: &Node, key: &str) -> u64 {
    row(node, key)["hits"].as_u64().unwrap()
}

/// How much a limit allows.
fn value(node: &Node, key: &str) -> u64 {
    row(node, key)["value"].as_u64().unwrap()
}

#[test]
fn every_limit_of_the_configuration_is_driven_to_its_end() {
    let shown: Vec<Value> =
        rows(&Node::start(&[])).iter_mut().map(|row| row["key"].take()).collect();
    let named: Vec<&str> = KEYS.iter().map(|(key, _)| *key).collect();
    assert_eq!(shown, named, "a row for each limit, in their order");
    let next = AtomicUsize::new(0);
    let check_all = || {
        while let Some((key, driven)) = KEYS.get(next.fetch_add(1, Relaxed)) {
            check(key, driven);
        }
    };
    std::thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(check_all))));
}

fn check(key: &str, driven: &Driven) {
    match *driven {
        Here(settings, expected, drive) => {
            let node = Node::start(settings);
            assert_eq!(hits(&node, key), 0, "{key}");
            assert_eq!(drive(&node), expected, "{key}");
            eventually(key, || hits(&node, key) > 0);
            check_others(&node, key);
        }
        By(file, test, looks_at) => {
            let body = function(file, test);
            for what in looks_at {
                assert!(body.contains(what), "{key}: {test} does not look at {what}");
            }
        }
    }
}

/// A limit that shares no counter with the one that was hit was not counted.
fn check_others(node: &Node, hit: &str) {
    let rows = rows(node);
    let counters = |row: &Value| row["counted_by"].as_array().unwrap().clone();
    let own = counters(rows.iter().find(|row| row["key"] == hit).unwrap());
    for row in &rows {
        let is_another = counters(row).iter().all(|counter| !own.contains(counter));
        assert!(!is_another || row["hits"] == 0, "{hit} was hit, and counted as {row}");
    }
}

/// The text of a file of the repository.
fn text_of(file: &str) -> String {
    let repository: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../.."].iter().collect();
    std::fs::read_to_string(repository.join(file)).unwrap()
}

/// The text of a test of a file of the repository.
fn function(file: &str, name: &str) -> String {
    let text = text_of(file);
    let begin = text.find(&format!("#[test]\nfn {name}(")).unwrap_or_else(|| panic!("no {name}"));
    let end = text[begin..].find("\n}\n").unwrap();
    text[begin..begin + end].to_owned()
}

/// The comment above a key of `default.toml`.
fn documented(key: &str) -> Option<String> {
    let text = text_of("deploy/config/default.toml");
    let (section, name) = key.rsplit_once('.').map_or(("", key), |(section, name)| (section, name));
    let begin = match section {
        "" => 0,
        _ => text.find(&format!("\n[{section}]\n"))? + section.len() + 4,
    };
    let end = text[begin..].find("\n[").map_or(text.len(), |end| begin + end);
    let blocks = text[begin..end].split("\n\n");
    let mut lines = blocks.filter_map(|block| block.trim().rsplit_once('\n'));
    let (comment, _) = lines.find(|(_, line)| line.starts_with(&format!("{name} = ")))?;
    Some(comment.to_owned())
}

#[test]
fn every_limit_stands_in_the_configuration_and_each_code_in_the_protocol() {
    let protocol = text_of("core/wire/PROTOCOL.md");
    for (key, driven) in &KEYS {
        let comment = documented(key).unwrap_or_else(|| panic!("{key} is in no document"));
        assert!(comment.lines().all(|line| line.starts_with("# ")), "{key}: {comment}");
        if let Here(_, Close(code) | Refused(code), _) = driven {
            assert!(protocol.contains(&format!("\n| {code} | `")), "{key}: {code}");
        }
    }
}
