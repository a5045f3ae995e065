//! A client's connections on direct descriptors.
//!
//! Setup: an ordinary listener. Action: connects from several loopback addresses, one of them to a
//! port on which nobody listens. Expectation: each is answered once, under its key; bytes go both
//! ways; the address is the one asked for; a refused one leaves no slot behind.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::time::Duration;

use ringpost_ring::{
    Completion, Errno, OnClose, ReceiveMode, RingConfig, RingSet, Rings, SendBuffer, Slot, Wait,
};

const CONFIG: RingConfig = RingConfig {
    slots_per_ring_max: RingConfig::SLOTS_LIMIT,
    rings_max: 1,
    submission_entries: 64,
    completion_entries: 256,
    slots_max: 16,
    buffers: 16,
    buffer_bytes: 256,
    receive_turn_bytes: 256,
};

fn until<T>(rings: &mut RingSet, mut wanted: impl FnMut(Completion<'_>) -> Option<T>) -> T {
    for _ in 0..1_000 {
        let mut found = None;
        rings.submit_and_wait(Wait::at_most(Duration::from_millis(100)), |completion| {
            if found.is_none() {
                found = wanted(completion);
            }
        });
        if let Some(found) = found {
            return found;
        }
    }
    panic!("what is awaited never came");
}

fn connected(rings: &mut RingSet) -> Result<(Slot, u32), (u32, Errno)> {
    until(rings, |completion| match completion {
        Completion::Connected { slot, key } => Some(Ok((slot, key))),
        Completion::ConnectFailed { key, errno } => Some(Err((key, errno))),
        _ => None,
    })
}

fn v4(address: SocketAddr) -> SocketAddrV4 {
    match address {
        SocketAddr::V4(address) => address,
        SocketAddr::V6(_) => panic!("the listener is bound to an IPv4 address"),
    }
}

#[test]
fn a_connection_comes_from_the_address_asked_for_and_carries_bytes_both_ways() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let to = v4(listener.local_addr().unwrap());
    let mut rings = RingSet::open(&CONFIG).unwrap();
    for key in 1..=3u32 {
        let from = Ipv4Addr::new(127, 0, 7, key as u8);
        rings.connect(SocketAddrV4::new(from, 0), to, key, OnClose::Reset);
        let (slot, answered) = connected(&mut rings).unwrap();
        assert_eq!(answered, key);
        let (mut stream, peer) = listener.accept().unwrap();
        assert_eq!(peer.ip(), from);
        rings.send(slot, SendBuffer::from(vec![key as u8; 5]));
        let mut bytes = [0; 5];
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        until(&mut rings, |c| matches!(c, Completion::Sent { .. }).then_some(()));
        stream.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes, [key as u8; 5]);
        stream.write_all(b"back").unwrap();
        rings.receive(slot, ReceiveMode::OneShot);
        let back = until(&mut rings, |completion| match completion {
            Completion::Received { bytes, .. } => Some(bytes.to_vec()),
            _ => None,
        });
        assert_eq!(back, b"back");
    }
    assert_eq!((rings.slots_in_use(), rings.stats().connected), (3, 3));
}

#[test]
fn a_refused_connection_is_told_with_its_reason_and_leaves_no_slot() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let to = v4(listener.local_addr().unwrap());
    drop(listener);
    let mut rings = RingSet::open(&CONFIG).unwrap();
    rings.connect(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0), to, 9, OnClose::Reset);
    assert_eq!(connected(&mut rings), Err((9, Errno::ECONNREFUSED)));
    for _ in 0..100 {
        rings.submit_and_wait(Wait::at_most(Duration::from_millis(10)), |_| {});
        if rings.slots_in_use() == 0 {
            return;
        }
    }
    panic!("the slot of a refused connection stays");
}

#[test]
fn an_address_that_is_not_ours_is_refused_at_bind() {
    let mut rings = RingSet::open(&CONFIG).unwrap();
    let from = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 0);
    rings.connect(from, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9), 4, OnClose::Reset);
    assert_eq!(connected(&mut rings), Err((4, Errno::EADDRNOTAVAIL)));
}

#[test]
fn more_connections_than_slots_are_refused_one_by_one() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let to = v4(listener.local_addr().unwrap());
    let mut rings = RingSet::open(&CONFIG).unwrap();
    let from = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    for key in 0..CONFIG.slots_max {
        rings.connect(from, to, key, OnClose::Reset);
        connected(&mut rings).unwrap();
    }
    rings.connect(from, to, 99, OnClose::Reset);
    assert_eq!(connected(&mut rings), Err((99, Errno::ENFILE)));
}

/// The steps of one connect are parted by submission queues that are full: their order holds.
#[test]
fn more_connects_at_once_than_the_submission_queue_holds_all_come_about() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let to = v4(listener.local_addr().unwrap());
    let config = RingConfig { submission_entries: 8, slots_max: 256, ..CONFIG };
    let mut rings = RingSet::open(&config).unwrap();
    for key in 0..100 {
        let from = SocketAddrV4::new(Ipv4Addr::new(127, 0, 8, 1), 0);
        rings.connect(from, to, key, OnClose::Reset);
    }
    let mut keys = Vec::new();
    for _ in 0..1_000 {
        rings.submit_and_wait(Wait::at_most(Duration::from_millis(100)), |completion| {
            match completion {
                Completion::Connected { key, .. } => keys.push(key),
                other => panic!("{other:?}"),
            }
        });
        if keys.len() == 100 {
            break;
        }
    }
    keys.sort_unstable();
    assert!(keys.into_iter().eq(0..100));
}

#[test]
fn a_ring_that_goes_while_it_connects_frees_what_it_lent() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let to = v4(listener.local_addr().unwrap());
    for turns in 0..4 {
        let mut rings = RingSet::open(&CONFIG).unwrap();
        for key in 0..8 {
            rings.connect(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0), to, key, OnClose::Reset);
        }
        for _ in 0..turns {
            rings.submit_and_wait(Wait::POLL, |_| {});
        }
        drop(rings);
    }
}
