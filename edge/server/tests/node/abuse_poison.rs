//! Abuse row 44: a record that brings the server down is set aside after three crashes, with its
//! bytes, and everybody else is served.
//!
//! The poison is a record that stands in the journal as it should, with a good checksum, and that no
//! version has written: its head is no head. The server takes that for a bug of its own and aborts,
//! as it would at any other.

use std::os::unix::process::ExitStatusExt;

use ringpost_journal::device::DeviceKind;
use ringpost_journal::{Batch, Config, DurableSink, JournalError, JournalThread, Record, Touch};
use serde_json::json;
use uuid::Uuid;

use crate::peer::{Encoding, Peer};
use crate::rig::{ANY_PORT, Node, own, serve_command};

const HEAD: &[u8] = b"no head of any version";
const BODY: &[u8] = b"and its body";

/// As the tests' servers have it.
const SEGMENT_BYTES: u64 = 4 << 20;

struct Deaf;

impl DurableSink for Deaf {
    fn durable(&mut self, _position: u64, _record: Record, _touch: Touch) {}
    fn batch_end(&mut self) {}
    fn room_changed(&mut self, _lack: Option<&str>) {}
    fn failed(&mut self, error: &JournalError) {
        panic!("{error}");
    }
}

/// Puts the poison behind what the journal of a server that has ended holds; answers its position.
fn poison(node: &Node) -> u64 {
    let config = Config { segment_bytes: SEGMENT_BYTES, ..Config::default() };
    let journal = node.data_dir().join("journal");
    let opened = ringpost_journal::open(&journal, &config, 0).unwrap();
    let journal = JournalThread::start(opened, DeviceKind::File, Deaf).unwrap();
    let handle = journal.handle();
    let mut batch = Batch::new(handle.try_reserve(1, (HEAD.len() + BODY.len()) as u64).unwrap());
    batch.push(Record { head: HEAD.into(), body: BODY.into() }, 0).unwrap();
    handle.submit(batch).unwrap();
    journal.stop().unwrap();
    handle.durable_position()
}

#[test]
fn abuse_row_44_a_record_that_brings_the_server_down_three_times_is_set_aside() {
    const SIGABRT: i32 = 6;
    let mut node = Node::start(&[]);
    let (alice, bob) = (Uuid::new_v4(), Uuid::new_v4());
    Peer::sign_in_live(&node, Encoding::Tcp, bob, 1);
    let mut a = Peer::sign_in_live(&node, Encoding::Json, alice, 1);
    let mut ids = vec![a.send(bob, b"before")];
    node.kill();
    let position = poison(&node);

    for crash in 1..=3 {
        let command = serve_command(ANY_PORT, &node.data_dir(), &own(&[])).output().unwrap();
        let text = String::from_utf8(command.stderr).unwrap();
        assert_eq!(command.status.signal(), Some(SIGABRT), "start {crash}: {text}");
        assert!(text.contains("a good checksum is one of ours"), "{text}");
        // A start that somebody kills is nobody's fault.
        let crashes = std::fs::read_to_string(node.data_dir().join("set-aside/crashes")).unwrap();
        assert_eq!(crashes, format!("{} {position}\n", position - 1).repeat(crash));
    }

    for _ in 0..2 {
        node.start_again();
        let ready = node.admin_get("/readyz");
        assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
        assert!(ready.contains(&format!("position {position}; kept in")), "{ready}");
        assert_eq!(node.metric("ringpost_store_records_set_aside"), 1);
        let mut a = Peer::sign_in_live(&node, Encoding::Json, alice, 1);
        ids.push(a.send(bob, b"behind"));
        node.kill();
    }
    let kept = node.data_dir().join(format!("set-aside/{position:020}.record"));
    let kept = std::fs::read(kept).unwrap();
    assert_eq!(kept, [&position.to_le_bytes()[..], &22_u32.to_le_bytes(), HEAD, BODY].concat());

    node.start_again();
    let mut b = Peer::sign_in(&node, Encoding::Json, bob, 1);
    for id in &ids {
        let event = b.hear_kind("new_message");
        assert_eq!(event["id"], *id);
        b.say(&json!({"type": "ack", "push": event["push"]}));
    }
    b.hear_kind("queue_empty");
}
