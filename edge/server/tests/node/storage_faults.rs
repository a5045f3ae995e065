//! A directory that cannot be written, and a disk that is full: abuse row 41.
//!
//! A full disk is made by the limit on the size of files (`RLIMIT_FSIZE`): beyond it each write
//! fails, for root as well.

use std::process::Command;

use serde_json::json;
use uuid::Uuid;

use crate::peer::{Encoding, Heard, Peer, message};
use crate::rig::{ANY_PORT, Node, eventually, serve_command};

#[test]
fn abuse_row_41_a_directory_that_cannot_be_used_is_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "not a directory").unwrap();
    let foreign = dir.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("thesis.txt"), "precious").unwrap();
    let newer = dir.path().join("newer");
    std::fs::create_dir(&newer).unwrap();
    std::fs::write(newer.join("FORMAT"), "ringpost data directory, format 999\n").unwrap();
    for (path, expected) in [
        (file.join("data"), "cannot make"),
        // A file system that takes no files, whoever asks.
        ("/proc/ringpost-data".into(), "cannot make"),
        (foreign.clone(), "not a ringpost data directory"),
        (newer, "format 999"),
    ] {
        let output = serve_command(ANY_PORT, &path, &[]).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(74), "{path:?}: {text}");
        assert!(text.contains(expected), "{expected} in {text}");
        assert!(text.contains(path.to_str().unwrap()), "{path:?} in {text}");
    }
    assert_eq!(std::fs::read_to_string(foreign.join("thesis.txt")).unwrap(), "precious");
}

#[test]
fn abuse_row_41_a_disk_without_room_at_the_start_is_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let serve = serve_command(ANY_PORT, &dir.path().join("data"), &[]);
    let mut shell = Command::new("sh");
    // Without the signal the write itself fails, as it does where the disk is full.
    shell.args(["-c", r#"trap "" XFSZ; ulimit -f 64; exec "$0" "$@""#]);
    shell.arg(serve.get_program()).args(serve.get_args());
    let output = shell.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(74), "{text}");
    assert!(text.contains(dir.path().to_str().unwrap()), "{text}");
    assert!(text.contains("File too large"), "{text}");
}

#[test]
fn abuse_row_41_a_write_that_fails_is_never_acknowledged() {
    for device in ["file", "auto"] {
        let setting = format!("journal.device={device}");
        let mut node = Node::start_without_size_signal(&[&setting]);
        let (alice, bob) = (Uuid::new_v4(), Uuid::new_v4());
        Peer::sign_in_live(&node, Encoding::Tcp, bob, 1);
        let mut a = Peer::sign_in_live(&node, Encoding::Json, alice, 1);
        let kept = a.send(bob, b"before");
        let pid = node.pid().to_string();
        let limited = Command::new("prlimit").args(["--pid", &pid, "--fsize=1:unlimited"]).status();
        assert!(limited.unwrap().success());
        let lost = Uuid::new_v4();
        a.say(&message(lost, bob, b"never durable"));
        // An error that says so, or the end of the connection; never `sent`.
        match a.listen() {
            Heard::Event(event) => {
                assert_eq!((&event["type"], &event["code"]), (&json!("error"), &json!(12)));
            }
            Heard::End(_) => {}
            Heard::Pong(_) => panic!("nobody asked"),
        }
        eventually("it no longer takes traffic", || {
            node.has_ended() || !node.admin_get("/readyz").starts_with("HTTP/1.1 200")
        });
        node.kill();
        let node = node.restart();
        // What was acknowledged is there; what was not may be sent again.
        let mut b = Peer::sign_in(&node, Encoding::Tcp, bob, 1);
        assert_eq!(b.hear_kind("new_message")["id"], kept, "{device}");
        let mut a = Peer::sign_in_live(&node, Encoding::Json, alice, 1);
        a.say(&message(lost, bob, b"never durable"));
        assert_eq!(a.hear_kind("receipt")["status"], "sent");
    }
}
