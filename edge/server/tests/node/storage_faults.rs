//! Disks that are full, read-only or damaged, and directories of another format: abuse row 41. The
//! server says what is wrong and where, exits with 74 or refuses, throws nothing away, and has all
//! that it acknowledged when the disk is well again.
//!
//! A write that fails is made by the limit on the size of files (`RLIMIT_FSIZE`), which holds for
//! root as well; a disk of a size by [`Disk`], where the test may mount one.

use std::io::{BufRead, BufReader};
use std::iter;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use ringpost_store::layout::FORMAT_VERSION;
use serde_json::json;
use uuid::Uuid;

use crate::disk::Disk;
use crate::peer::{Encoding, Heard, Peer, message};
use crate::rig::{ANY_PORT, BINARY, Node, eventually, exchange, serve_command};

#[test]
fn abuse_row_41_a_directory_that_cannot_be_used_is_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "not a directory").unwrap();
    let foreign = dir.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("thesis.txt"), "precious").unwrap();
    let newer = dir.path().join("newer");
    std::fs::DirBuilder::new().mode(0o700).create(&newer).unwrap();
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
fn abuse_row_41_a_write_that_fails_is_never_acknowledged() {
    for device in ["file", "auto"] {
        let setting = format!("journal.device={device}");
        let mut node = Node::start(&[&setting]);
        let (alice, bob) = (Uuid::new_v4(), Uuid::new_v4());
        Peer::sign_in_live(&node, Encoding::Tcp, bob, 1);
        let mut a = Peer::sign_in_live(&node, Encoding::Json, alice, 1);
        let kept = a.send(bob, b"before");
        let pid = node.pid().to_string();
        let limited = Command::new("prlimit").args(["--pid", &pid, "--fsize=1:unlimited"]).status();
        assert!(limited.unwrap().success());
        let lost = Uuid::new_v4();
        a.say(&message(lost, bob, b"never durable"));
        // An error that says so, or the end of the connection; never `sent`. The word to leave comes
        // from another thread than the answer, and may overtake it.
        let is_goaway = |heard: &Heard| matches!(heard, Heard::Event(it) if it["type"] == "goaway");
        match iter::repeat_with(|| a.listen()).find(|heard| !is_goaway(heard)).unwrap() {
            Heard::Event(event) => {
                assert_eq!((&event["type"], &event["code"]), (&json!("error"), &json!(12)));
            }
            Heard::End(_) => {}
            Heard::Pong(_) => panic!("nobody asked"),
        }
        // It is of no use any more and does not stay: its clients are told to come back, and whoever
        // supervises it starts it again.
        let code = node.wait().code();
        assert_eq!(code, Some(73), "{device}: {}", node.log());
        let node = node.restart();
        // What was acknowledged is there; what was not may be sent again.
        let mut b = Peer::sign_in(&node, Encoding::Tcp, bob, 1);
        assert_eq!(b.hear_kind("new_message")["id"], kept, "{device}");
        let mut a = Peer::sign_in_live(&node, Encoding::Json, alice, 1);
        a.say(&message(lost, bob, b"never durable"));
        assert_eq!(a.hear_kind("receipt")["status"], "sent");
    }
}

/// A node that has taken messages and was killed; what Bob is owed, by their ids.
fn killed(node: &mut Node, bob: Uuid) -> Vec<String> {
    Peer::sign_in_live(node, Encoding::Tcp, bob, 1);
    let mut a = Peer::sign_in_live(node, Encoding::Json, Uuid::new_v4(), 1);
    let ids = (0..20).map(|number| a.send(bob, &content_of(number))).collect();
    node.kill();
    ids
}

/// Content that is found again in a file.
fn content_of(number: u8) -> [u8; 64] {
    [0xa0 | number; 64]
}

/// The exit code of a server that cannot start, and what it said.
fn refusal(data_dir: &Path) -> (Option<i32>, String) {
    let output = serve_command(ANY_PORT, data_dir, &[]).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// Bob is pushed exactly these, in this order.
fn check_delivered(node: &Node, bob: Uuid, ids: &[String]) {
    let mut b = Peer::sign_in(node, Encoding::Json, bob, 1);
    for id in ids {
        let event = b.hear_kind("new_message");
        assert_eq!(event["id"], *id);
        b.say(&json!({"type": "ack", "push": event["push"]}));
    }
    b.hear_kind("queue_empty");
    b.ping();
}

/// Where in the files of a directory these bytes are.
fn find(dir: &Path, wanted: &[u8]) -> (PathBuf, usize) {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find_map(|path| {
            let bytes = std::fs::read(&path).unwrap();
            let at = bytes.windows(wanted.len()).position(|window| window == wanted)?;
            Some((path, at))
        })
        .expect("the content stands in a file")
}

#[test]
fn abuse_row_41_a_damaged_journal_is_refused_and_nothing_of_it_is_thrown_away() {
    let mut node = Node::start(&[]);
    let bob = Uuid::new_v4();
    let ids = killed(&mut node, bob);
    let journal = node.data_dir().join("journal");
    let (segment, at) = find(&journal, &content_of(3));
    let sound = std::fs::read(&segment).unwrap();
    let mut damaged = sound.clone();
    damaged[at] ^= 1;
    std::fs::write(&segment, &damaged).unwrap();

    let (code, text) = refusal(&node.data_dir());
    assert_eq!(code, Some(74), "{text}");
    let name = segment.file_name().unwrap().to_str().unwrap();
    let inspect = format!("ringpost journal inspect {}", journal.display());
    for expected in [name, &inspect, "journal damaged"] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    let output = Command::new(BINARY).args(["journal", "inspect"]).arg(&journal).output().unwrap();
    let listing = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(74), "{listing}");
    assert!(listing.contains("DAMAGE") && listing.contains(name), "{listing}");
    // Neither of them has touched it: with the bytes back, everything is there.
    assert!(std::fs::read(&segment).unwrap() == damaged);
    std::fs::write(&segment, &sound).unwrap();
    check_delivered(&node.restart(), bob, &ids);
}

#[test]
fn abuse_row_41_a_newer_or_damaged_part_is_refused_by_name() {
    let mut node = Node::start(&[]);
    let bob = Uuid::new_v4();
    let ids = killed(&mut node, bob);
    let data = node.data_dir();
    let newer_store = format!("ringpost store {}\n", FORMAT_VERSION + 1);
    for (file, text, expected) in [
        ("FORMAT", "ringpost data directory, format 2\n", "format 2"),
        ("FORMAT", "something else\n", "does not name a format"),
        ("journal/format", "ringpost-journal 2 0000000000000000\n", "journal format 2"),
        ("journal/format", "", "not a readable journal format file"),
        ("store/FORMAT", newer_store.as_str(), "newer ringpost"),
        ("store/FORMAT", "", "restore the data directory from a backup"),
        ("store/fjall/version", "FJL\x09", "restore the data directory from a backup"),
    ] {
        let path = data.join(file);
        let before = std::fs::read(&path).unwrap();
        std::fs::write(&path, text).unwrap();
        let (code, said) = refusal(&data);
        assert_eq!(code, Some(74), "{file}: {said}");
        let part = file.split_once('/').map_or(data.clone(), |(part, _)| data.join(part));
        for expected in [expected, part.to_str().unwrap()] {
            assert!(said.contains(expected), "{file}: {expected} in {said}");
        }
        std::fs::write(&path, before).unwrap();
    }
    check_delivered(&node.restart(), bob, &ids);
}

#[test]
fn abuse_row_41_a_read_only_disk_is_refused_and_loses_nothing() {
    on_a_disk(64, |disk| {
        let mut node = Node::start_in(&disk.dir, &[]);
        let bob = Uuid::new_v4();
        let ids = killed(&mut node, bob);
        disk.make_read_only(true);
        let (code, text) = refusal(disk.path());
        assert_eq!(code, Some(74), "{text}");
        for expected in ["Read-only file system", disk.path().to_str().unwrap(), "must be able"] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
        disk.make_read_only(false);
        check_delivered(&node.restart(), bob, &ids);
    });
}

#[test]
fn abuse_row_41_a_disk_that_fills_up_refuses_and_keeps_what_was_acknowledged() {
    /// Far more than fits: the disk is full before.
    const SENDS_MAX: usize = 2_000;
    on_a_disk(96, |disk| {
        let mut node = Node::start_in(&disk.dir, &[]);
        let bob = Uuid::new_v4();
        Peer::sign_in_live(&node, Encoding::Tcp, bob, 1);
        let mut a = Peer::sign_in_live(&node, Encoding::Json, Uuid::new_v4(), 1);
        disk.fill(256 << 10);
        let mut ids = Vec::new();
        let refused = (0..SENDS_MAX).find_map(|_| {
            a.say(&message(Uuid::new_v4(), bob, &[7; 60_000]));
            match a.listen() {
                Heard::Event(event) if event["status"] == "sent" => {
                    ids.push(event["id"].as_str().unwrap().to_owned());
                    None
                }
                other => Some(other),
            }
        });
        // Told to come back, or that the outcome is unknown; or the server has ended.
        match refused {
            Some(Heard::Event(error)) => {
                assert!([11, 12].contains(&error["code"].as_u64().unwrap()), "{error}");
            }
            Some(Heard::End(_)) => {}
            other => panic!("{} were taken, and then {other:?}", ids.len()),
        }
        assert!(!ids.is_empty(), "there was some room");
        node.kill();
        disk.give_back();
        let node = node.restart();
        check_delivered(&node, bob, &ids);
        Peer::sign_in_live(&node, Encoding::Json, Uuid::new_v4(), 1).send(bob, b"room again");
    });
}

#[test]
fn abuse_row_41_a_disk_that_was_full_for_a_while_is_served_from_again_without_a_restart() {
    /// Far more than fits.
    const SENDS_MAX: usize = 2_000;
    /// Once there is room again.
    const WELL_WITHIN: Duration = Duration::from_secs(30);
    on_a_disk(96, |disk| {
        let node = Node::start_in(&disk.dir, &[]);
        let (alice, bob) = (Uuid::new_v4(), Uuid::new_v4());
        Peer::sign_in_live(&node, Encoding::Tcp, bob, 1);
        let mut a = Peer::sign_in_live(&node, Encoding::Json, alice, 1);
        disk.fill(0);
        let mut ids = Vec::new();
        let mut refused = 0;
        for _ in 0..SENDS_MAX {
            a.say(&message(Uuid::new_v4(), bob, &[7; 60_000]));
            // Every send is answered at once: kept, or to be sent again later.
            match a.listen() {
                Heard::Event(event) if event["status"] == "sent" => {
                    ids.push(event["id"].as_str().unwrap().to_owned());
                }
                Heard::Event(event) => {
                    assert_eq!(event["code"], 11, "{event}");
                    assert!(event["retry_after_ms"].as_u64().unwrap() > 0, "{event}");
                    refused += 1;
                    if refused == 20 {
                        break;
                    }
                }
                other => panic!("{} were taken, and then {other:?}", ids.len()),
            }
        }
        assert_eq!(refused, 20, "{} were taken", ids.len());
        let counted: u64 = ["disk_full", "disk_budget", "in_flight", "segment_pending"]
            .map(|reason| {
                node.metric(&format!("ringpost_journal_refused_total{{reason=\"{reason}\"}}"))
            })
            .iter()
            .sum();
        assert!(counted <= 2 * refused, "a retry is no new refusal: {counted}");
        eventually("/readyz says what is wrong and what to do", || {
            let text = node.admin_get("/readyz");
            text.starts_with("HTTP/1.1 503") && text.contains("no restart is needed")
        });

        disk.give_back();
        let begun = Instant::now();
        eventually("ready again", || node.admin_get("/readyz").starts_with("HTTP/1.1 200"));
        check_delivered(&node, bob, &ids);
        let token = node.token(bob, 1);
        let request = format!(
            "GET /v1/messages?user_id={alice} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
             Connection: close\r\n\r\n"
        );
        let history = exchange(node.address, request.as_bytes());
        assert!(history.starts_with("HTTP/1.1 200"), "{history}");
        assert!(history.contains(ids.last().unwrap()), "what was sent is in history");
        let took = begun.elapsed();
        assert!(took < WELL_WITHIN, "{took:?}");
        let mut c = Peer::sign_in_live(&node, Encoding::Json, Uuid::new_v4(), 1);
        c.send(bob, b"room again");
    });
}

/// All that was acknowledged is in the journal, so nothing is wrong with the end.
#[test]
fn abuse_row_41_a_stop_on_a_full_disk_is_an_ordinary_end() {
    on_a_disk(128, |disk| {
        let mut node = Node::start_in(&disk.dir, &[]);
        let bob = Uuid::new_v4();
        Peer::sign_in_live(&node, Encoding::Tcp, bob, 1);
        let mut a = Peer::sign_in_live(&node, Encoding::Json, Uuid::new_v4(), 1);
        let ids: Vec<String> = (0..50).map(|_| a.send(bob, &[7; 60_000])).collect();
        disk.fill(0);
        node.signal(Signal::SIGTERM);
        assert_eq!(node.wait().code(), Some(0), "{}", node.log());
        disk.give_back();
        check_delivered(&node.restart(), bob, &ids);
    });
}

#[test]
fn abuse_row_41_a_start_on_a_full_disk_names_the_missing_room_and_loses_nothing() {
    /// A node that was killed with everything in its store has nothing to write: then once more.
    const ROUNDS_MAX: usize = 10;
    on_a_disk(128, |disk| {
        let mut node = Node::start_in(&disk.dir, &[]);
        let bob = Uuid::new_v4();
        Peer::sign_in_live(&node, Encoding::Tcp, bob, 1);
        let mut ids = Vec::new();
        let refused = (0..ROUNDS_MAX).find_map(|_| {
            let mut a = Peer::sign_in_live(&node, Encoding::Json, Uuid::new_v4(), 1);
            ids.extend((0..50).map(|_| a.send(bob, &[7; 60_000])));
            node.kill();
            disk.fill(0);
            let refused = refused_start(disk.path());
            disk.give_back();
            node.start_again();
            refused
        });
        let (code, text) = refused.expect("a start that had to write");
        assert_eq!(code, Some(74), "{text}");
        assert!(!text.contains("no restart is needed"), "{text}");
        // What is read last, and alone by a service manager.
        let last = text.lines().last().unwrap();
        for expected in [disk.path().to_str().unwrap(), "no space left", "free some"] {
            assert!(last.contains(expected), "{expected} in {text}");
        }
        check_delivered(&node, bob, &ids);
    });
}

/// The exit code of a server that cannot start, and what it said; `None` if it can.
fn refused_start(data_dir: &Path) -> Option<(Option<i32>, String)> {
    // Of the size that they have: segments of another would be removed, and leave room.
    let settings = ["journal.segment_bytes=4MiB".to_owned()];
    let mut command = serve_command(ANY_PORT, data_dir, &settings);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let summary = BufReader::new(child.stdout.take().unwrap());
    if summary.lines().next().is_some() {
        child.kill().unwrap();
        child.wait().unwrap();
        return None;
    }
    let output = child.wait_with_output().unwrap();
    Some((output.status.code(), String::from_utf8(output.stderr).unwrap()))
}

/// Runs a test in a thread of its own, which has a disk of its own.
fn on_a_disk(mebibytes: u32, test: impl FnOnce(&Disk) + Send + 'static) {
    let run = move || {
        if let Some(disk) = Disk::mount(mebibytes) {
            test(&disk);
        }
    };
    std::thread::spawn(run).join().unwrap();
}
