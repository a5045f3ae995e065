//! A thread that does not go on: it is named, and the server can be ended all the same.
//!
//! Setup: a node of which one thread is held still, as a debugger does it (ptrace(2) stops one
//! thread and no other), or on a disk that answers no write. Action: nothing else, or a message, or a
//! signal. Expectation: `/readyz` and a metric name the thread while it is held, health and what needs
//! no disk are answered; SIGTERM ends the process in its time.

use std::fs;

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use uuid::Uuid;

use crate::disk::Disk;
use crate::peer::{Encoding, Peer, message};
use crate::rig::{Node, eventually, exchange};

/// A thread that stands still until this is dropped.
pub(crate) struct Held(Pid);

impl Held {
    /// Stops the thread of this name.
    pub(crate) fn of(node: &Node, name: &str) -> Self {
        let tasks = fs::read_dir(format!("/proc/{}/task", node.pid())).unwrap();
        let thread = tasks.map(|task| task.unwrap().path()).find(|task| {
            fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name)
        });
        let number = thread.unwrap().file_name().unwrap().to_str().unwrap().parse().unwrap();
        let thread = Pid::from_raw(number);
        ptrace::seize(thread, ptrace::Options::empty()).unwrap();
        ptrace::interrupt(thread).unwrap();
        waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
        Self(thread)
    }

    /// Waits until the thread has ended with its process: who holds it is the one who is told.
    fn ends(self) {
        eventually("the process has ended", || {
            let flags = WaitPidFlag::__WALL | WaitPidFlag::WNOHANG;
            let status = waitpid(self.0, Some(flags)).unwrap();
            matches!(status, WaitStatus::Exited(..) | WaitStatus::Signaled(..))
        });
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Fails where the thread has ended.
        let _ = ptrace::detach(self.0, None);
    }
}

fn is_ready(node: &Node) -> bool {
    node.admin_get("/readyz").starts_with("HTTP/1.1 200")
}

/// It is named in `/readyz`, alone, and by the metric.
pub(crate) fn is_named(node: &Node, thread: &str) {
    let expected = format!("\"stuck\":\"{thread} has not gone on for ");
    eventually("the thread is named", || node.admin_get("/readyz").contains(&expected));
    assert!(!is_ready(node));
    let metric = format!("ringpost_node_stuck_seconds{{thread=\"{thread}\"}}");
    assert!(node.metric(&metric) >= 6);
    let line = format!("a thread is stuck thread=\"{thread}\"");
    eventually("it is in the log", || node.log().contains(&line));
}

#[test]
fn a_worker_that_ends_no_turn_is_named_until_it_does() {
    let node = Node::start(&[]);
    let held = Held::of(&node, "worker-1");
    is_named(&node, "worker-1");
    drop(held);
    eventually("ready again", || is_ready(&node));
    assert_eq!(node.metric("ringpost_node_stuck_seconds{thread=\"worker-1\"}"), 0);
}

#[test]
fn a_stop_goes_past_a_worker_that_is_stuck() {
    let mut node = Node::start(&["drain_deadline=1s"]);
    let (alice, bob) = (Uuid::new_v4(), Uuid::new_v4());
    Peer::sign_in_live(&node, Encoding::Bin, bob, 1);
    let mut a = Peer::sign_in_live(&node, Encoding::Tcp, alice, 1);
    let id = a.send(bob, b"before the end");
    let held = Held::of(&node, "worker-0");
    node.signal(Signal::SIGTERM);
    held.ends();
    assert_eq!(node.wait().code(), Some(70), "{}", node.log());
    assert!(node.log().contains("a worker is stuck and left behind worker=0"), "{}", node.log());
    let node = node.restart();
    let mut b = Peer::sign_in(&node, Encoding::Tcp, bob, 1);
    assert_eq!(b.hear_kind("new_message")["id"], id);
}

#[test]
fn a_journal_that_does_not_go_on_is_named_and_the_server_ends_all_the_same() {
    let mut node = Node::start(&["drain_deadline=1s"]);
    let (alice, bob) = (Uuid::new_v4(), Uuid::new_v4());
    Peer::sign_in_live(&node, Encoding::Bin, bob, 1);
    let mut a = Peer::sign_in_live(&node, Encoding::Tcp, alice, 1);
    let held = Held::of(&node, "journal");
    a.say(&message(Uuid::new_v4(), bob, b"on its way"));
    is_named(&node, "journal");
    node.signal(Signal::SIGTERM);
    held.ends();
    assert_eq!(node.wait().code(), Some(69), "{}", node.log());
    assert!(node.log().contains("waits_for=\"journal\""), "{}", node.log());
}

/// A key file on a disk that does not answer holds up the thread that reads it, and nobody else.
#[test]
fn a_reload_that_does_not_end_holds_up_no_stop() {
    let mut node = Node::start(&["drain_deadline=1s"]);
    let held = Held::of(&node, "reload");
    node.signal(Signal::SIGHUP);
    Peer::sign_in_live(&node, Encoding::Tcp, Uuid::new_v4(), 1).ping();
    node.signal(Signal::SIGTERM);
    held.ends();
    assert_eq!(node.wait().code(), Some(0), "{}", node.log());
}

#[test]
fn rest_that_does_not_go_on_is_named_by_a_port_that_does() {
    let node = Node::start(&["rest.threads=1"]);
    let _held = Held::of(&node, "rest");
    is_named(&node, "rest");
    assert!(node.admin_get("/healthz").starts_with("HTTP/1.1 200"));
}

/// The journal waits for it, and so does the store, whose engine holds its locks meanwhile.
#[test]
fn a_disk_that_does_not_answer_keeps_neither_health_nor_what_needs_no_disk() {
    on_a_freezable_disk(|disk| {
        let node = Node::start_in(&disk.dir, &["rest.threads=1"]);
        let (alice, bob) = (Uuid::new_v4(), Uuid::new_v4());
        Peer::sign_in_live(&node, Encoding::Bin, bob, 1);
        let mut a = Peer::sign_in_live(&node, Encoding::Tcp, alice, 1);
        a.send(bob, b"while it answers");
        let frozen = disk.freeze();
        a.say(&message(Uuid::new_v4(), bob, b"on its way"));
        // More often than who looks, so that each of them meets a disk that does not answer.
        eventually("the thread is named", || {
            assert!(node.admin_get("/healthz").starts_with("HTTP/1.1 200"));
            assert!(node.admin_get("/metrics").starts_with("HTTP/1.1 200"));
            let nowhere = b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
            assert!(exchange(node.address, nowhere).starts_with("HTTP/1.1 404"));
            node.admin_get("/readyz").contains("journal has not gone on for ")
        });
        let stuck = node.admin_get("/readyz");
        assert!(stuck.starts_with("HTTP/1.1 503") && !stuck.contains("rest has not"), "{stuck}");
        drop(frozen);
        eventually("ready again", || is_ready(&node));
    });
}

/// Runs a test in a thread of its own, which has a disk of its own.
fn on_a_freezable_disk(test: impl FnOnce(&Disk) + Send + 'static) {
    let run = move || {
        if let Some(disk) = Disk::mount_freezable(256) {
            test(&disk);
        }
    };
    std::thread::spawn(run).join().unwrap();
}
