//! The end by a signal, and a second server where one runs.

use std::fs::File;
use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tempfile::TempDir;
use uuid::Uuid;

use crate::peer::{Encoding, Peer};
use crate::rig::{ANY_PORT, Node, eventually, own, serve_command, signals_are_held};

#[test]
fn clients_are_told_to_leave_and_nothing_is_lost() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        // Two of the peers stay on purpose: three quarters of it are waited for them.
        let mut node = Node::start(&["drain_deadline=2s"]);
        let (alice, bob) = (Uuid::new_v4(), Uuid::new_v4());
        let mut peers = [Encoding::Tcp, Encoding::Json, Encoding::Bin]
            .map(|encoding| Peer::sign_in_live(&node, encoding, Uuid::new_v4(), 1));
        Peer::sign_in_live(&node, Encoding::Bin, bob, 1);
        let mut a = Peer::sign_in_live(&node, Encoding::Json, alice, 1);
        let id = a.send(bob, b"before the end");
        node.signal(signal);
        for peer in peers.iter_mut().chain([&mut a]) {
            let goaway = peer.hear_kind("goaway");
            assert_eq!((&goaway["code"], &goaway["name"]), (&json!(1001), &json!("going_away")));
        }
        let [first, second, third] = &mut peers;
        // One leaves as asked; the others are closed.
        first.say(&json!({"type": "bye"}));
        assert_eq!(first.last_word(), Some(1000));
        assert_eq!(second.last_word(), Some(1001));
        assert_eq!(third.last_word(), Some(1001));
        assert_eq!(node.wait().code(), Some(0), "{}", node.log());
        let node = node.restart();
        let mut b = Peer::sign_in(&node, Encoding::Tcp, bob, 1);
        assert_eq!(b.hear_kind("new_message")["id"], id);
    }
}

/// Two workers and one client: the worker that has nobody ends at once, the other waits for its client
/// for three quarters of the deadline, which is longer than it takes to be called stuck.
#[test]
fn a_worker_that_is_done_with_a_stop_is_not_stuck() {
    let mut node = Node::start(&["workers=2", "drain_deadline=18s"]);
    let mut stays = Peer::sign_in_live(&node, Encoding::Tcp, Uuid::new_v4(), 1);
    node.signal(Signal::SIGTERM);
    stays.hear_kind("goaway");
    assert_eq!(stays.last_word(), Some(1001));
    assert_eq!(node.wait().code(), Some(0), "{}", node.log());
    assert!(!node.log().contains("a thread is stuck"), "{}", node.log());
}

#[test]
fn who_connects_during_a_stop_hears_when_to_come_back() {
    // One of the two workers has nobody to wait for: the kernel lets newcomers come to both.
    let mut node = Node::start(&["drain_deadline=4s", "workers=2"]);
    let mut stays = Peer::sign_in_live(&node, Encoding::Tcp, Uuid::new_v4(), 1);
    node.signal(Signal::SIGTERM);
    let slot = stays.hear_kind("goaway")["reconnect_after_ms"].as_u64().unwrap();
    assert!(slot <= 2_000, "{slot}");
    for encoding in [Encoding::Tcp, Encoding::Json, Encoding::Bin].into_iter().cycle().take(24) {
        let mut newcomer = Peer::connect(&node, encoding);
        let goaway = newcomer.hear();
        assert_eq!((&goaway["type"], &goaway["code"]), (&json!("goaway"), &json!(1001)));
        assert!(goaway["reconnect_after_ms"].as_u64().unwrap() <= 4_000, "{goaway}");
        assert_eq!(newcomer.last_word(), Some(1001));
    }
    stays.ping();
    stays.say(&json!({"type": "bye"}));
    assert_eq!(stays.last_word(), Some(1000));
    assert_eq!(node.wait().code(), Some(0), "{}", node.log());
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    let mut node = Node::start(&["drain_deadline=1h"]);
    let mut stays = Peer::sign_in_live(&node, Encoding::Tcp, Uuid::new_v4(), 1);
    node.signal(Signal::SIGTERM);
    stays.hear_kind("goaway");
    node.signal(Signal::SIGINT);
    assert_eq!(node.wait().code(), Some(128 + Signal::SIGINT as i32), "{}", node.log());
}

/// A server that has just begun, with signals held back: it has not read its settings.
fn just_begun(dir: &TempDir, log: &File) -> Child {
    let mut command = serve_command(ANY_PORT, &dir.path().join("data"), &own(&[]));
    let child = command.stdout(Stdio::null()).stderr(log.try_clone().unwrap()).spawn().unwrap();
    signals_are_held(&child);
    child
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id() as i32), signal).unwrap();
}

#[test]
fn a_signal_to_stop_ends_a_server_that_does_not_stand_yet_and_is_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let log = File::create(&path).unwrap();
    for delay_ms in [0, 2, 20] {
        let mut child = just_begun(&dir, &log);
        thread::sleep(Duration::from_millis(delay_ms));
        signal(&child, Signal::SIGTERM);
        let code = child.wait().unwrap().code();
        assert_eq!(code, Some(0), "{}", std::fs::read_to_string(&path).unwrap());
    }
    let told = std::fs::read_to_string(&path).unwrap();
    assert_eq!(told.lines().filter(|line| line.contains("stopped")).count(), 3, "{told}");
}

#[test]
fn a_signal_to_read_again_that_comes_during_the_start_is_kept_until_the_server_stands() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut child = just_begun(&dir, &File::create(&path).unwrap());
    signal(&child, Signal::SIGHUP);
    let told = || std::fs::read_to_string(&path).unwrap();
    eventually("it is heeded", || told().contains("were read again"));
    signal(&child, Signal::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(0), "{}", told());
}

#[test]
fn a_second_server_on_the_same_data_or_address_is_refused() {
    let node = Node::start(&[]);
    let output = serve_command(ANY_PORT, &node.data_dir(), &[]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(75), "{text}");
    let owner = format!("(process {})", node.pid());
    assert!(text.contains("another ringpost server") && text.contains(&owner), "{text}");

    let elsewhere = tempfile::tempdir().unwrap();
    let listen = node.address.to_string();
    let output = serve_command(&listen, &elsewhere.path().join("data"), &[]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(75), "{text}");
    assert!(text.contains(&listen), "{text}");

    let mut peer = Peer::sign_in_live(&node, Encoding::Json, Uuid::new_v4(), 1);
    peer.ping();
}

#[test]
fn an_address_that_is_let_go_a_moment_later_is_waited_for() {
    let held = TcpListener::bind(ANY_PORT).unwrap();
    let address = held.local_addr().unwrap().to_string();
    let holder = thread::spawn(move || {
        thread::sleep(Duration::from_millis(500));
        drop(held);
    });
    let node = Node::start_at(&address, &[]);
    holder.join().unwrap();
    Peer::sign_in_live(&node, Encoding::Tcp, Uuid::new_v4(), 1).ping();
}
