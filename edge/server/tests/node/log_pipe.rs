//! A reader of the log, or of the boot summary, who does not read: a pipe that is full.
//!
//! Setup: a node of which standard error, or standard output, is a pipe without room. Action: what
//! is logged, a signal. Expectation: health and service answer, a stop ends in its time, a second
//! signal ends the process; what was lost is counted, and told when somebody reads again.

use std::io::{PipeReader, Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use uuid::Uuid;

use crate::peer::{Encoding, Peer};
use crate::rig::{ANY_PORT, Node, PATIENCE, eventually, own, serve_command, signals_are_held};

/// A stop without clients, and the second that the log has at its end: far below the deadline
/// that would end it by force, 25 s behind the drain.
const AT_ONCE: Duration = Duration::from_secs(15);

/// Both ends of a pipe that takes no byte more.
fn full_pipe() -> (PipeReader, Stdio) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    // Whole pages first, then what is left of the last.
    for block in [&[b'x'; 4_096][..], b"x"] {
        while writer.write(block).is_ok() {}
    }
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    (reader, Stdio::from(OwnedFd::from(writer)))
}

/// The code of a process that ends within [`AT_ONCE`].
fn ends_soon(node: &mut Node) -> Option<i32> {
    let begun = Instant::now();
    let code = node.wait().code();
    assert!(begun.elapsed() < AT_ONCE, "it took {:?}", begun.elapsed());
    code
}

#[test]
fn a_stop_and_health_do_not_wait_for_who_reads_the_log() {
    let (_unread, log) = full_pipe();
    let mut node = Node::start_with_log(log, &["drain_deadline=1s"]);
    // Each of these is told in a line of the log.
    node.signal(Signal::SIGHUP);
    Peer::sign_in_live(&node, Encoding::Tcp, Uuid::new_v4(), 1).ping();
    node.signal(Signal::SIGHUP);
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert!(node.admin_get(path).starts_with("HTTP/1.1 200"), "{path}");
    }
    node.signal(Signal::SIGTERM);
    assert_eq!(ends_soon(&mut node), Some(0));
}

#[test]
fn a_second_signal_does_not_wait_for_who_reads_the_log() {
    let (_unread, log) = full_pipe();
    let mut node = Node::start_with_log(log, &["drain_deadline=1h"]);
    let mut stays = Peer::sign_in_live(&node, Encoding::Tcp, Uuid::new_v4(), 1);
    node.signal(Signal::SIGTERM);
    stays.hear_kind("goaway");
    node.signal(Signal::SIGTERM);
    assert_eq!(ends_soon(&mut node), Some(128 + Signal::SIGTERM as i32));
}

#[test]
fn lines_that_were_lost_are_counted_and_told_when_somebody_reads_again() {
    const LOST: &str = "ringpost_process_log_lines_lost_total";
    let (mut unread, log) = full_pipe();
    let mut node = Node::start_with_log(log, &["drain_deadline=1s"]);
    eventually("lines are lost", || {
        // Each reload is a line.
        for _ in 0..200 {
            node.signal(Signal::SIGHUP);
            std::thread::sleep(Duration::from_micros(300));
        }
        node.metric(LOST) > 0
    });
    node.signal(Signal::SIGTERM);
    let mut text = Vec::new();
    unread.read_to_end(&mut text).unwrap();
    assert_eq!(ends_soon(&mut node), Some(0));
    let text = String::from_utf8_lossy(&text);
    let end: Vec<&str> = text.lines().rev().take(3).collect();
    assert!(end.iter().any(|line| line.contains("lines of the log were lost")), "{end:?}");
}

#[test]
fn a_boot_summary_that_nobody_reads_holds_up_nothing() {
    let (_unread, summary) = full_pipe();
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let mut command = serve_command(ANY_PORT, &dir.path().join("data"), &own(&["log.level=info"]));
    command.stdout(summary).stderr(std::fs::File::create(&log).unwrap());
    let mut child = command.spawn().unwrap();
    signals_are_held(&child);
    let told = |expected: &str| std::fs::read_to_string(&log).unwrap().contains(expected);
    // It does its work: a reload is told.
    eventually("a signal is taken", || {
        kill(Pid::from_raw(child.id() as i32), Signal::SIGHUP).unwrap();
        told("settings and keys were read again")
    });
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(ends(&mut child), Some(0), "{}", std::fs::read_to_string(&log).unwrap());
}

fn ends(child: &mut Child) -> Option<i32> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if Instant::now() > end {
            child.kill().unwrap();
            panic!("it did not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
