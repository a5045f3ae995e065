//! A cable between two networks of the test's own, which can be cut: what a client sees when its
//! phone leaves the cell, and a server when it does not hear of it.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::mpsc;

use nix::sched::{CloneFlags, unshare};

/// Addresses of the two ends, from the block for documentation.
const NEAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// Connects a thread's network namespace, where the server is, with another one.
pub(crate) struct Cable {
    /// The server's address on it.
    pub(crate) near: Ipv4Addr,
    connect: mpsc::Sender<SocketAddr>,
    connected: mpsc::Receiver<TcpStream>,
}

impl Cable {
    /// Gives the calling thread, and what it starts, a network of its own, with a cable into
    /// another. `None`, with a word on standard error, where this process may not do so.
    pub(crate) fn lay() -> Option<Self> {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            let mut out = std::io::stderr().lock();
            let _ = writeln!(out, "not run: a network namespace needs more rights ({error})");
            return None;
        }
        ip("link set lo up");
        ip("link add near type veth peer name far");
        let (connect, connects) = mpsc::channel();
        let (answer, connected_far) = mpsc::channel();
        let (entered, far_thread) = mpsc::channel();
        let (plugged, ready) = mpsc::channel();
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            entered.send(thread_id()).unwrap();
            ready.recv().unwrap();
            ip(&format!("addr add {FAR}/24 dev far"));
            ip("link set far up");
            for address in connects {
                answer.send(TcpStream::connect(address).unwrap()).unwrap();
            }
        });
        ip(&format!("link set far netns {}", far_thread.recv().unwrap()));
        ip(&format!("addr add {NEAR}/24 dev near"));
        ip("link set near up");
        plugged.send(()).unwrap();
        Some(Self { near: NEAR, connect, connected: connected_far })
    }

    /// Connects from the far end.
    pub(crate) fn connect(&self, address: SocketAddr) -> TcpStream {
        self.connect.send(address).unwrap();
        self.connected.recv().unwrap()
    }

    /// From here on nothing reaches the far end, which therefore says nothing more. Neither end's
    /// kernel can tell: frames go out as before, to a card that nobody has.
    pub(crate) fn cut(&self) {
        ip(&format!("neigh replace {FAR} lladdr 02:00:00:00:00:99 dev near nud permanent"));
    }
}

/// Of the calling thread, as `ip` takes it for the network that the thread is in.
fn thread_id() -> String {
    let link = std::fs::read_link("/proc/thread-self").unwrap();
    link.file_name().unwrap().to_str().unwrap().to_owned()
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {output:?}");
}
