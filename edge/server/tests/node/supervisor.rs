//! Setup: a server under a supervisor, whose socket the test holds (`NOTIFY_SOCKET`). Action: a start,
//! a reload, a worker that is stopped and goes on, a stop. Expectation: the supervisor is told each of
//! these; it is told that the server lives only while no worker is stuck.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::rig::{Node, PATIENCE};
use crate::stuck::{Held, is_named};

struct Supervisor(UnixDatagram);

impl Supervisor {
    /// Waits until a message has this line.
    fn hear(&self, expected: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < end, "never told {expected}");
            if self.next().is_some_and(|told| told.lines().any(|line| line.starts_with(expected))) {
                return;
            }
        }
    }

    fn next(&self) -> Option<String> {
        let mut buffer = [0; 512];
        let count = self.0.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..count]).into_owned())
    }
}

#[test]
fn a_supervisor_is_told_how_the_server_stands() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let supervisor = Supervisor(UnixDatagram::bind(&path).unwrap());
    supervisor.0.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut node = Node::start_with_environment("NOTIFY_SOCKET", path.to_str().unwrap());
    supervisor.hear("READY=1");
    supervisor.hear("WATCHDOG=1");
    let held = Held::of(&node, "worker-1");
    is_named(&node, "worker-1");
    // What was told before it was stuck, and then nothing for longer than between two looks.
    let told = std::iter::from_fn(|| supervisor.next()).count();
    let silent = Instant::now();
    while silent.elapsed() < Duration::from_secs(5) {
        assert_eq!(supervisor.next(), None, "behind {told}");
    }
    drop(held);
    supervisor.hear("WATCHDOG=1");
    node.signal(Signal::SIGHUP);
    supervisor.hear("RELOADING=1");
    supervisor.hear("READY=1");
    node.signal(Signal::SIGTERM);
    supervisor.hear("STOPPING=1");
    assert!(node.wait().success());
}
