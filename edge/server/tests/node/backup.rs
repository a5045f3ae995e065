//! Setup: a server whose clients send without a pause. Action: a backup meanwhile, and a new data
//! directory made of it. Expectation: everything that was `sent` before the backup was asked for is
//! there: queued for who has not acked, in history, under the same ids; who was signed in stays so;
//! what comes later goes on. A backup is for nobody who cannot read the directory, and one that is not
//! whole makes no directory.

use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::unistd::geteuid;
use serde_json::json;
use uuid::Uuid;

use crate::peer::{Encoding, Peer};
use crate::rig::{BINARY, Node, eventually};

/// A user who is not the one who runs the tests.
const NOBODY: u32 = 65534;

/// Pairs who write all the time, and messages of each before the backup.
const PAIRS: usize = 4;
const BEFORE: usize = 50;

fn ringpost(arguments: &[&str], data_dir: &Path, admin: &str) -> Output {
    let mut command = Command::new(BINARY);
    command.args(arguments).arg("--data-dir").arg(data_dir).args(["--admin-listen", admin]);
    command.output().unwrap()
}

fn done(output: &Output) {
    assert!(output.status.success(), "{output:?}");
}

/// A sender who goes on until it is told to stop; its answers are the ids of what was `sent`.
fn write_on(
    mut sender: Peer,
    to: Uuid,
    stop: Arc<AtomicBool>,
) -> std::thread::JoinHandle<Vec<String>> {
    std::thread::spawn(move || {
        let mut ids = Vec::new();
        while !stop.load(Ordering::SeqCst) {
            ids.push(sender.send(to, b"meanwhile"));
        }
        ids
    })
}

#[test]
fn what_was_sent_before_a_backup_is_there_when_it_is_restored() {
    let node = Node::start(&[]);
    let dir = tempfile::tempdir().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mut pairs = Vec::new();
    for _ in 0..PAIRS {
        let (to, from) = (Uuid::new_v4(), Uuid::new_v4());
        // A device that is away: its queue must come along.
        let mut receiver = Peer::connect(&node, Encoding::Tcp);
        let token = node.token(to, 1);
        receiver.say(&json!({"type": "hello", "token": token, "device": 1}));
        let ticket = receiver.hear_kind("welcome")["ticket"].as_str().unwrap().to_owned();
        drop(receiver);
        let mut sender = Peer::sign_in_live(&node, Encoding::Json, from, 1);
        let before: Vec<String> = (0..BEFORE).map(|_| sender.send(to, b"before")).collect();
        pairs.push((ticket, before, write_on(sender, to, Arc::clone(&stop))));
    }
    let file = dir.path().join("backup");
    let name = file.to_str().unwrap();
    let taken = ringpost(&["backup", name], &node.data_dir(), &node.admin.to_string());
    done(&taken);
    stop.store(true, Ordering::SeqCst);
    let pairs: Vec<_> = pairs
        .into_iter()
        .map(|(ticket, before, writer)| (ticket, before, writer.join().unwrap()))
        .collect();
    assert!(pairs.iter().any(|(.., meanwhile)| !meanwhile.is_empty()), "nobody wrote meanwhile");
    drop(node);

    let restored = Arc::new(tempfile::tempdir().unwrap());
    let data = restored.path().join("data");
    done(&ringpost(&["restore", name], &data, "127.0.0.1:0"));
    let mut node = Node::start_in(&restored, &[]);
    for round in 0..2 {
        for (ticket, before, _) in &pairs {
            let mut receiver = Peer::connect(&node, Encoding::Tcp);
            receiver.say(&json!({"type": "hello", "ticket": ticket, "device": 1}));
            receiver.hear_kind("welcome");
            let mut ids = Vec::new();
            while ids.len() < before.len() {
                let push = receiver.hear_kind("new_message");
                ids.push(push["id"].as_str().unwrap().to_owned());
                // Acked only in the last round: until then all of it stays.
                if round == 1 {
                    receiver.say(&json!({"type": "ack", "push": push["push"]}));
                }
            }
            assert_eq!(&ids, before, "in their order, under their ids");
        }
        if round == 0 {
            // It lives on: what is new is kept over a kill as ever.
            let to = Uuid::new_v4();
            drop(Peer::sign_in_live(&node, Encoding::Tcp, to, 1));
            let mut sender = Peer::sign_in_live(&node, Encoding::Json, Uuid::new_v4(), 1);
            let id = sender.send(to, b"after");
            node.kill();
            node = node.restart();
            let mut receiver = Peer::sign_in(&node, Encoding::Tcp, to, 1);
            assert_eq!(receiver.hear_kind("new_message")["id"], id);
        }
    }
}

#[test]
fn root_takes_a_backup_and_a_token_of_a_server_that_another_user_runs() {
    if !geteuid().is_root() {
        return;
    }
    let node = Node::start(&[]);
    let (data, admin) = (node.data_dir(), node.admin.to_string());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup");
    let file = file.to_str().unwrap();
    // As it is below systemd: the directory is the server's user's. This server is root's and reads
    // the other key for the backup, which is given away only then.
    let keys = ["keys/backup.token", "keys/token.pk8"].map(|name| data.join(name));
    let give = |path: &Path| chown(path, Some(NOBODY), None).unwrap();
    give(&data);
    give(&keys[0]);
    done(&ringpost(&["backup", file], &data, &admin));
    give(&keys[1]);
    done(&ringpost(&["token", "--new"], &data, &admin));
    // A key of somebody else than the directory is not taken.
    for path in &keys {
        chown(path, Some(0), None).unwrap();
    }
    for words in [&["backup", "never"][..], &["token", "--new"]] {
        let output = ringpost(words, &data, &admin);
        assert!(!output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("wanted user 65534, whose directory it is in"), "{said}");
    }
}

#[test]
fn a_backup_is_for_who_may_read_the_directory() {
    let node = Node::start(&[]);
    let answer = node.admin_get("/admin/backup");
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let token = std::fs::read_to_string(node.data_dir().join("keys/backup.token")).unwrap();
    let request = format!(
        "GET /admin/backup HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    let answer = crate::rig::exchange(node.admin, request.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // Another server's directory is no proof.
    let other = Node::start(&[]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("backup");
    let refused =
        ringpost(&["backup", file.to_str().unwrap()], &other.data_dir(), &node.admin.to_string());
    assert_eq!(refused.status.code(), Some(69), "{refused:?}");
    assert!(!file.exists());
}

#[test]
fn a_backup_that_is_not_whole_makes_no_directory() {
    let node = Node::start(&[]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("backup");
    let name = file.to_str().unwrap();
    done(&ringpost(&["backup", name], &node.data_dir(), &node.admin.to_string()));
    let again = ringpost(&["backup", name], &node.data_dir(), &node.admin.to_string());
    assert!(!again.status.success(), "a file that is there is not overwritten");
    let whole = std::fs::read(&file).unwrap();
    let data = dir.path().join("data");
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    for bytes in [&whole[..whole.len() - 1], &whole[..100], &changed] {
        std::fs::write(&file, bytes).unwrap();
        let refused = ringpost(&["restore", name], &data, "127.0.0.1:0");
        assert_eq!(refused.status.code(), Some(74), "{refused:?}");
        assert!(!data.exists() && !dir.path().join("data.restoring").exists());
    }
    std::fs::write(&file, &whole).unwrap();
    done(&ringpost(&["restore", name], &data, "127.0.0.1:0"));
    let refused = ringpost(&["restore", name], &data, "127.0.0.1:0");
    assert_eq!(refused.status.code(), Some(74), "a directory that is used is left alone");
    eventually("still served", || node.admin_get("/readyz").starts_with("HTTP/1.1 200"));
}
