//! A file of the data directory is lost, cut to nothing, or has a bit that turned over.
//!
//! Setup: a node with messages that were acknowledged and not yet delivered, stopped in order once and
//! killed once. Action: each of its files in turn is damaged in each way, and the node is started.
//! Expectation: it delivers all that was acknowledged and shows it in history; or it refuses the start
//! with 74 and a sentence that names the directory. Never does it serve with less.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use nix::sys::signal::Signal;
use serde_json::json;
use tempfile::TempDir;
use uuid::Uuid;

use crate::peer::{Encoding, Peer};
use crate::rig::{Node, exchange};

/// Most files of the directory of such a node; more would make the test long.
const FILES_MAX: usize = 60;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Damage {
    Gone,
    Empty,
    Flipped,
}

/// What was acknowledged.
struct Sent {
    alice: Uuid,
    bob: Uuid,
    ids: Vec<String>,
}

#[test]
fn a_damaged_file_is_refused_at_the_start_or_costs_nothing() {
    let seed = std::env::var("LOST_FILES_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| Uuid::new_v4().as_u64_pair().0);
    let (image, sent) = image();
    let files = files(&image.path().join("data"));
    assert!(files.len() <= FILES_MAX, "{files:?}");
    let mut draw = seed;
    let parts = ["journal", "keys", "store", "store/fjall", "store/fjall/keyspaces"];
    let spaces = (0..5).map(|number| format!("store/fjall/keyspaces/{number}"));
    let folders = parts.map(str::to_owned).into_iter().chain(spaces);
    let folders = folders.map(|folder| (PathBuf::from(folder), &[Damage::Gone][..]));
    let all = &[Damage::Gone, Damage::Empty, Damage::Flipped][..];
    let places = files.iter().map(|file| (file.clone(), all)).chain(folders);
    let mut failures = Vec::new();
    let mut refused = 0;
    for (file, damages) in places {
        for &damage in damages {
            draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let dir = copy(image.path());
            damage_file(&dir.path().join("data").join(&file), damage, draw);
            match Node::try_start_in(&dir, &[]) {
                Ok(mut node) => {
                    if let Err(less) = is_whole(&mut node, &sent) {
                        failures.push(format!("{damage:?} {}: {less}", file.display()));
                    }
                }
                Err((Some(74), text)) if says_where(&text, dir.path()) => refused += 1,
                Err((code, text)) => {
                    failures.push(format!("{damage:?} {}: {code:?}: {text}", file.display()));
                }
            }
        }
    }
    let seen = format!("LOST_FILES_SEED={seed}: {} files, {refused} refused", files.len());
    let _ = writeln!(std::io::stderr().lock(), "{seen}");
    assert!(failures.is_empty(), "{seen}\n{}", failures.join("\n"));
    assert!(refused > files.len(), "the damage was done: {seen}");
}

/// The directory of a node that was killed, and what it had acknowledged.
fn image() -> (Arc<TempDir>, Sent) {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let mut node = Node::start_in(&dir, &[]);
    let (alice, bob) = (Uuid::new_v4(), Uuid::new_v4());
    Peer::sign_in_live(&node, Encoding::Tcp, bob, 1);
    let mut ids = send(&node, alice, bob);
    node.signal(Signal::SIGTERM);
    assert!(node.wait().success(), "{}", node.log());
    node.start_again();
    ids.extend(send(&node, alice, bob));
    node.kill();
    (dir, Sent { alice, bob, ids })
}

fn send(node: &Node, alice: Uuid, bob: Uuid) -> Vec<String> {
    let mut a = Peer::sign_in_live(node, Encoding::Json, alice, 1);
    (0..20).map(|_| a.send(bob, &[7; 500])).collect()
}

/// The files of a directory, by their paths in it.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(directory.join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(path),
                false => found.push(path),
            }
        }
    }
    found.sort();
    found
}

fn copy(image: &Path) -> Arc<TempDir> {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("cp");
    command.args(["-a", "--sparse=always"]).arg(image.join("data")).arg(dir.path());
    assert!(command.status().unwrap().success());
    Arc::new(dir)
}

fn damage_file(path: &Path, damage: Damage, draw: u64) {
    match damage {
        Damage::Gone if path.is_dir() => std::fs::remove_dir_all(path).unwrap(),
        Damage::Gone => std::fs::remove_file(path).unwrap(),
        Damage::Empty => drop(std::fs::File::create(path).unwrap()),
        Damage::Flipped => {
            let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
            let length = file.metadata().unwrap().len();
            if length == 0 {
                return;
            }
            let at = (draw >> 16) % length;
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            byte[0] ^= 1 << (draw >> 61);
            file.write_all_at(&byte, at).unwrap();
        }
    }
}

/// Whether the last line, which a service manager may show alone, names something in the directory.
fn says_where(text: &str, dir: &Path) -> bool {
    text.lines().last().is_some_and(|line| line.contains(dir.to_str().unwrap()))
}

/// Whether Bob is pushed all that was acknowledged, and is shown it in history.
fn is_whole(node: &mut Node, sent: &Sent) -> Result<(), String> {
    let Sent { alice, bob, ids } = sent;
    let token = node.token(*bob, 1);
    let request = format!(
        "GET /v1/messages?user_id={alice}&limit=100 HTTP/1.1\r\nHost: x\r\n\
         Authorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    let history = exchange(node.address, request.as_bytes());
    if let Some(id) = ids.iter().find(|id| !history.contains(id.as_str())) {
        let head = history.lines().next().unwrap_or_default();
        return Err(format!("{id} is not in history: {head}"));
    }
    let mut b = Peer::sign_in(node, Encoding::Json, *bob, 1);
    let mut pushed = Vec::new();
    // Ends: by the event behind the queue, or the patience of the peer.
    loop {
        let event = b.hear();
        if event["type"] != "new_message" {
            break;
        }
        b.say(&json!({"type": "ack", "push": event["push"]}));
        pushed.push(event["id"].as_str().unwrap().to_owned());
    }
    match pushed == *ids {
        true => Ok(()),
        false => Err(format!("{} of {} were pushed", pushed.len(), ids.len())),
    }
}
