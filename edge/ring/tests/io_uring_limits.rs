//! What the io_uring driver does at its limits: queues, buffers and slots that are too few.
//!
//! Each test makes one thing scarce, goes on working, and looks at the counter that proves that
//! it was scarce.

#![allow(clippy::unwrap_used, reason = "helpers of a test")]

mod suite;

use std::collections::{HashMap, HashSet};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use ringpost_ring::{Errno, MoveToken, OpenError, RingConfig, RingSet, Rings, Slot, Wait};
use suite::{MULTISHOT, ONE_SHOT, Seen, close, pattern, turn, turns_until, turns_until_some};

const PATIENCE: Wait = Wait::at_most(Duration::from_millis(2));

fn small() -> RingConfig {
    RingConfig {
        submission_entries: 64,
        completion_entries: 1_024,
        slots_max: 256,
        buffers: 64,
        ..RingConfig::default()
    }
}

fn listening(config: &RingConfig) -> (RingSet, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut rings = RingSet::open(config).unwrap();
    rings.listen(listener.into());
    (rings, address)
}

fn connect(rings: &mut RingSet, address: SocketAddr) -> (Slot, TcpStream) {
    let far = TcpStream::connect(address).unwrap();
    let slot = turns_until_some(rings, |seen| match seen {
        Seen::Accepted(slot) => Some(slot),
        _ => None,
    });
    (slot, far)
}

/// Waits until the far end is told that the connection is over.
fn is_closed(mut far: TcpStream) -> bool {
    far.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    match far.read(&mut [0; 16]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn a_starved_buffer_ring_delays_bytes_and_loses_none() {
    const CONNECTIONS: usize = 24;
    let config = RingConfig { buffers: 2, buffer_bytes: 256, receive_turn_bytes: 0, ..small() };
    let (mut rings, address) = listening(&config);
    let sent = pattern(20_000);
    let mut ends: Vec<_> = (0..CONNECTIONS).map(|_| connect(&mut rings, address)).collect();
    let mut got = HashMap::new();
    for (position, (slot, far)) in ends.iter_mut().enumerate() {
        rings.receive(*slot, if position % 2 == 0 { MULTISHOT } else { ONE_SHOT });
        far.write_all(&sent).unwrap();
        got.insert(*slot, Vec::new());
    }
    while got.values().any(|bytes| bytes.len() < sent.len()) {
        for seen in turn(&mut rings, PATIENCE) {
            let Seen::Received(slot, bytes, more) = seen else { panic!("unexpected {seen:?}") };
            got.get_mut(&slot).unwrap().extend(bytes);
            if !more {
                rings.receive(slot, ONE_SHOT);
            }
        }
    }
    assert!(got.values().all(|bytes| *bytes == sent), "every stream is whole and in order");
    let stats = rings.stats();
    assert!(stats.buffer_starvations > 0 && stats.receive_re_arms > 0, "{stats:?}");
    got.into_keys().for_each(|slot| close(&mut rings, slot));
}

#[test]
fn an_overflown_completion_queue_loses_nothing() {
    const CONNECTIONS: usize = 200;
    let config = RingConfig { submission_entries: 16, completion_entries: 16, ..small() };
    let (mut rings, address) = listening(&config);
    let mut fars = Vec::new();
    let mut waiting = HashSet::new();
    for _ in 0..CONNECTIONS {
        let (slot, far) = connect(&mut rings, address);
        rings.poll_readable(slot);
        waiting.insert(slot);
        fars.push(far);
    }
    turn(&mut rings, Wait::POLL);
    for far in &mut fars {
        far.write_all(b"all at once").unwrap();
    }
    let slots: Vec<Slot> = waiting.iter().copied().collect();
    while !waiting.is_empty() {
        for seen in turn(&mut rings, PATIENCE) {
            let Seen::Readable(slot) = seen else { panic!("unexpected {seen:?}") };
            assert!(waiting.remove(&slot), "each poll answers once");
        }
    }
    let stats = rings.stats();
    assert!(stats.completion_queue_overflows > 0, "{stats:?}");
    slots.into_iter().for_each(|slot| rings.close(slot));
    while rings.slots_in_use() > 0 {
        turn(&mut rings, PATIENCE);
    }
}

#[test]
fn more_operations_than_the_submission_queue_holds_all_happen() {
    const CONNECTIONS: usize = 100;
    let config = RingConfig { submission_entries: 8, ..small() };
    let (mut rings, address) = listening(&config);
    let mut ends: Vec<_> = (0..CONNECTIONS).map(|_| connect(&mut rings, address)).collect();
    for (position, (slot, _)) in ends.iter().enumerate() {
        rings.receive(*slot, MULTISHOT);
        rings.send(*slot, vec![position as u8; 10].into());
        rings.poll_writable(*slot);
    }
    let (mut sent, mut writable) = (0, 0);
    while sent + writable < 2 * CONNECTIONS {
        for seen in turn(&mut rings, PATIENCE) {
            match seen {
                Seen::Sent(_, _, Ok(10)) => sent += 1,
                Seen::Writable(_) => writable += 1,
                other => panic!("unexpected {other:?}"),
            }
        }
    }
    for (position, (_, far)) in ends.iter_mut().enumerate() {
        let mut bytes = [0; 10];
        far.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes, [position as u8; 10]);
    }
    assert!(rings.stats().submission_queue_full > 0);
    ends.into_iter().for_each(|(slot, _far)| close(&mut rings, slot));
}

/// Setup: many more connections than the submission queue has entries; the far ends are gone, or
/// have written and stay. Action: each is armed and asked for its address, and closed at the answer:
/// its cancel finds the receive in the ring's deferred work, which it cannot cancel. Expectation: all
/// end within few turns, and none is cancelled more than twice.
#[test]
fn a_crowd_beyond_the_submission_queue_is_cancelled_twice_at_most() {
    const CROWD: usize = 200;
    for (mode, stays) in [(MULTISHOT, false), (ONE_SHOT, false), (MULTISHOT, true)] {
        let config = RingConfig { submission_entries: 8, buffers: 512, ..small() };
        let (mut rings, address) = listening(&config);
        let mut ends: Vec<_> = (0..CROWD).map(|_| connect(&mut rings, address)).collect();
        for (slot, far) in &mut ends {
            rings.peer_address(*slot);
            rings.receive(*slot, mode);
            far.write_all(b"hello").unwrap();
        }
        if !stays {
            ends.clear();
        }
        let mut turns = 0;
        while rings.slots_in_use() > 0 {
            for seen in turn(&mut rings, PATIENCE) {
                if let Seen::PeerAddress(slot, _) = seen {
                    rings.close(slot);
                }
            }
            turns += 1;
            assert!(turns < CROWD, "{mode:?}: {:?}", rings.stats());
        }
        let stats = rings.stats();
        println!("{mode:?}: {turns} turns, {} retries", stats.cancel_retries);
        assert!(stats.submission_queue_full > 0, "{mode:?}: {stats:?}");
        assert!(stats.cancel_retries <= CROWD as u64, "{mode:?}: {stats:?}");
    }
}

#[test]
fn a_full_table_refuses_and_accepts_again_when_a_slot_is_free() {
    let config = RingConfig { slots_max: 4, ..small() };
    let (mut rings, address) = listening(&config);
    assert_eq!(rings.slots(), 4);
    let ends: Vec<_> = (0..4).map(|_| connect(&mut rings, address)).collect();
    let refused = TcpStream::connect(address).unwrap();
    turns_until(&mut rings, |seen| matches!(seen, Seen::AcceptRefused));
    assert!(is_closed(refused), "the refused connection learns it");
    // The next one waits in the backlog: nothing is accepted only to be dropped.
    let mut waiting = TcpStream::connect(address).unwrap();
    assert!(turn(&mut rings, Wait::POLL).is_empty());
    rings.close(ends[0].0);
    let seen = turns_until(&mut rings, |seen| matches!(seen, Seen::Accepted(_)));
    assert!(matches!(seen.as_slice(), [Seen::Closed(_), Seen::Accepted(_)]), "{seen:?}");
    let Some(Seen::Accepted(slot)) = seen.last() else { panic!("seen above") };
    rings.receive(*slot, ONE_SHOT);
    waiting.write_all(b"served").unwrap();
    turns_until(
        &mut rings,
        |seen| matches!(seen, Seen::Received(_, bytes, _) if bytes == b"served"),
    );
    assert_eq!(rings.stats().accepts_refused, 1);
}

#[test]
fn the_table_has_what_the_process_may_have() {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let rings = RingSet::open(&RingConfig { slots_max: u32::MAX, ..small() }).unwrap();
    let expected = soft.min(u64::from(RingConfig::SLOTS_LIMIT));
    assert_eq!(u64::from(rings.slots()), expected);
}

#[test]
fn a_configuration_that_cannot_be_is_refused_before_the_kernel_is_asked() {
    let refused = RingSet::open(&RingConfig { submission_entries: 100, ..small() });
    assert!(matches!(refused, Err(OpenError::Size { name: "submission_entries", .. })));
}

#[test]
fn a_move_to_a_full_table_fails_and_the_connection_stays() {
    let (mut rings, address) = listening(&small());
    let mut full = RingSet::open(&RingConfig { slots_max: 1, ..small() }).unwrap();
    let target = full.handle();
    let (first, _far) = connect(&mut rings, address);
    let (second, mut far) = connect(&mut rings, address);
    rings.move_out(first, &target, MoveToken::new(1));
    turn(&mut rings, Wait::POLL);
    turns_until(&mut full, |seen| matches!(seen, Seen::MovedIn(..)));
    turns_until(&mut rings, |seen| matches!(seen, Seen::Closed(_)));
    rings.move_out(second, &target, MoveToken::new(2));
    turn(&mut rings, Wait::POLL);
    turn(&mut full, Wait::POLL);
    let failed = turns_until_some(&mut rings, |seen| match seen {
        Seen::MoveFailed(slot, errno, unannounced) => Some((slot, errno, unannounced)),
        _ => None,
    });
    assert_eq!(failed, (second, Errno::ENFILE, false));
    rings.receive(second, MULTISHOT);
    far.write_all(b"still here").unwrap();
    turns_until(&mut rings, |seen| matches!(seen, Seen::Received(..)));
    close(&mut rings, second);
}

#[test]
fn a_move_to_a_ring_set_that_is_gone_fails_and_the_connection_stays() {
    let (mut rings, address) = listening(&small());
    let (slot, mut far) = connect(&mut rings, address);
    let gone = std::thread::spawn(|| RingSet::open(&small()).unwrap().handle()).join().unwrap();
    rings.move_out(slot, &gone, MoveToken::new(1));
    let failed = turns_until_some(&mut rings, |seen| match seen {
        Seen::MoveFailed(slot, _, unannounced) => Some((slot, unannounced)),
        _ => None,
    });
    assert_eq!(failed, (slot, false));
    // A wake of nobody is harmless; the kernel may take it without a word.
    rings.wake(&gone);
    rings.send(slot, b"still here".to_vec().into());
    turn(&mut rings, PATIENCE);
    far.read_exact(&mut [0; 10]).unwrap();
    close(&mut rings, slot);
}

#[test]
fn dropping_the_rings_ends_everything_although_a_handle_lives() {
    let (mut rings, address) = listening(&small());
    let handle = rings.handle();
    let ends: Vec<_> = (0..20).map(|_| connect(&mut rings, address)).collect();
    for (position, (slot, _)) in ends.iter().enumerate() {
        match position % 3 {
            0 => rings.receive(*slot, MULTISHOT),
            1 => rings.poll_readable(*slot),
            _ => rings.send(*slot, b"never submitted by a turn".to_vec().into()),
        }
    }
    drop(rings);
    for (_, mut far) in ends {
        far.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        far.read_to_end(&mut Vec::new()).unwrap();
    }
    drop(handle);
}

#[test]
fn a_send_ends_a_sleep_although_nothing_else_happens() {
    let (mut rings, address) = listening(&small());
    let (slot, mut far) = connect(&mut rings, address);
    rings.send(slot, b"alone".to_vec().into());
    let seen = turn(&mut rings, Wait::FOREVER);
    assert!(matches!(seen.as_slice(), [Seen::Sent(of, ..)] if *of == slot), "{seen:?}");
    far.read_exact(&mut [0; 5]).unwrap();
    close(&mut rings, slot);
}

#[test]
fn closed_listeners_refuse() {
    let (mut rings, address) = listening(&small());
    let (slot, _far) = connect(&mut rings, address);
    rings.close_listeners();
    for _ in 0..3 {
        turn(&mut rings, PATIENCE);
    }
    let refused = TcpStream::connect(address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    close(&mut rings, slot);
}

#[test]
fn an_ipv6_peer_has_its_address() {
    let Ok(listener) = TcpListener::bind("[::]:0") else {
        println!("this machine has no IPv6");
        return;
    };
    let port = listener.local_addr().unwrap().port();
    let mut rings = RingSet::open(&small()).unwrap();
    rings.listen(listener.into());
    for host in ["[::1]", "127.0.0.1"] {
        let address = format!("{host}:{port}").parse().unwrap();
        let (slot, far) = connect(&mut rings, address);
        rings.peer_address(slot);
        let seen = turns_until_some(&mut rings, |seen| match seen {
            Seen::PeerAddress(_, address) => Some(address),
            _ => None,
        });
        assert_eq!(seen, far.local_addr().unwrap(), "an IPv4 peer of a dual socket is IPv4");
        close(&mut rings, slot);
    }
    assert_eq!(rings.stats().peer_address_fallbacks, 0);
}

#[test]
#[should_panic(expected = "the slot is in use")]
fn an_operation_on_an_ended_slot_is_a_bug() {
    let (mut rings, address) = listening(&small());
    let (slot, _far) = connect(&mut rings, address);
    close(&mut rings, slot);
    rings.receive(slot, ONE_SHOT);
}

#[test]
#[should_panic(expected = "one at a time")]
fn a_second_send_beside_the_first_is_a_bug() {
    let (mut rings, address) = listening(&small());
    let (slot, _far) = connect(&mut rings, address);
    rings.send(slot, b"one".to_vec().into());
    rings.send(slot, b"two".to_vec().into());
}

#[test]
#[should_panic(expected = "nothing is armed when it departs")]
fn a_move_with_a_receive_armed_is_a_bug() {
    let (mut rings, address) = listening(&small());
    let (slot, _far) = connect(&mut rings, address);
    rings.receive(slot, MULTISHOT);
    let target = rings.handle();
    rings.move_out(slot, &target, MoveToken::new(1));
}
