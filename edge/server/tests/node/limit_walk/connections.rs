//! What bounds connections: how many they are, and how long they may be silent, deaf or in the way.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;
use uuid::Uuid;

use super::Answer::{self, Close, Cut, Status};
use crate::peer::{Encoding, Heard, Peer};
use crate::rig::{Node, PATIENCE, eventually, rest_of};

/// Whether the server has ended this connection, which it has told nothing.
fn is_cut(stream: &TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    match (&*stream).read(&mut [0]) {
        Ok(0) => true,
        Ok(_) => panic!("it was told something"),
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

/// At each of the two workers there is room for one.
pub(super) fn one_too_many(node: &Node) -> Answer {
    let streams: Vec<_> = (0..16).map(|_| TcpStream::connect(node.address).unwrap()).collect();
    eventually("one is cut", || streams.iter().any(is_cut));
    Cut
}

pub(super) fn one_stranger_too_many(node: &Node) -> Answer {
    let stranger = TcpStream::connect(node.address).unwrap();
    eventually("it is in", || node.metric("ringpost_edge_unauthenticated") == 1);
    let second = TcpStream::connect(node.address).unwrap();
    eventually("the second is cut", || is_cut(&second));
    assert!(!is_cut(&stranger), "the first is not concerned");
    Cut
}

pub(super) fn half_a_handshake(node: &Node) -> Answer {
    let mut slow = TcpStream::connect(node.address).unwrap();
    slow.set_read_timeout(Some(PATIENCE)).unwrap();
    slow.write_all(b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgr").unwrap();
    let answer = rest_of(&mut slow);
    Status(answer[9..12].parse().unwrap())
}

pub(super) fn no_hello(node: &Node) -> Answer {
    Close(Peer::connect(node, Encoding::Json).last_word().unwrap())
}

/// A trusted proxy has named nobody yet on any of these; each of the two workers has its part.
pub(super) fn one_unnamed_too_many(node: &Node) -> Answer {
    let streams: Vec<_> = (0..16).map(|_| TcpStream::connect(node.address).unwrap()).collect();
    eventually("one is cut", || streams.iter().any(is_cut));
    Cut
}

pub(super) fn silent_over_tcp(node: &Node) -> Answer {
    silent(node, Encoding::Tcp)
}

pub(super) fn silent_over_websocket(node: &Node) -> Answer {
    silent(node, Encoding::Bin)
}

fn silent(node: &Node, encoding: Encoding) -> Answer {
    let mut silent = Peer::sign_in_live(node, encoding, Uuid::new_v4(), 1);
    let Heard::Event(ping) = silent.listen() else { panic!("asked first") };
    assert_eq!(ping["type"], "ping");
    Close(silent.last_word().unwrap())
}

/// Its socket is full, and so no last word comes either.
pub(super) fn never_reads(node: &Node) -> Answer {
    let bob = Uuid::new_v4();
    let mut deaf = Peer::sign_in_narrow(node, bob);
    let mut sender = Peer::sign_in_live(node, Encoding::Bin, Uuid::new_v4(), 1);
    for _ in 0..100 {
        sender.send(bob, &[7; 60_000]);
    }
    eventually("closed", || node.metric(r#"ringpost_edge_closed_total{code="no_progress"}"#) == 1);
    assert_eq!(deaf.last_word(), None);
    Cut
}

/// It is told to leave, and stays; half of the deadline is for it.
pub(super) fn stays(node: &Node) -> Answer {
    let mut stays = Peer::sign_in_live(node, Encoding::Json, Uuid::new_v4(), 1);
    node.signal(Signal::SIGTERM);
    let goaway = stays.hear_kind("goaway");
    assert_eq!(goaway["code"], json!(1001));
    let end = Close(stays.last_word().unwrap());
    // It does not go even now, so that the server is still there to be asked.
    std::mem::forget(stays);
    end
}
