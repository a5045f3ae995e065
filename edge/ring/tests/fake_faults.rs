//! What the fake driver adds for tests of others: a seed replays a run, faults happen, far ends
//! behave as TCP's.

#![allow(clippy::unwrap_used, reason = "helpers of a test")]

mod suite;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use ringpost_ring::fake::{FakeRing, FakeSizes, FakeWorld, Faults, PeerRead};
use ringpost_ring::{Errno, MoveToken, Rings, Slot, Wait};
use suite::{MULTISHOT, Seen, turn, turns_until, turns_until_some};

const SEEDS: u64 = 100;

fn accept(rings: &mut FakeRing) -> Slot {
    turns_until_some(rings, |seen| match seen {
        Seen::Accepted(slot) => Some(slot),
        Seen::AcceptFailed(_) => None,
        other => panic!("unexpected {other:?}"),
    })
}

/// An echo over several connections, written down.
fn run(seed: u64) -> Vec<String> {
    let world = FakeWorld::new(seed);
    let mut rings = world.ring(16);
    let mut fars: Vec<_> = (0..5).map(|_| world.connect(rings.handle())).collect();
    let (mut log, mut sending) = (Vec::new(), HashSet::new());
    for round in 0..200 {
        for far in &mut fars {
            far.write(&[round as u8; 300]).unwrap();
            far.read(500);
        }
        for seen in turn(&mut rings, Wait::POLL) {
            log.push(format!("{seen:?}"));
            match seen {
                Seen::Accepted(slot) => rings.receive(slot, MULTISHOT),
                Seen::Received(slot, bytes, _) if sending.insert(slot) => {
                    rings.send(slot, bytes.into());
                }
                Seen::Sent(slot, ..) => assert!(sending.remove(&slot), "it was sending"),
                _ => {}
            }
        }
    }
    log
}

#[test]
fn a_seed_replays_a_run_and_another_seed_is_another_run() {
    for seed in 0..10 {
        let first = run(seed);
        assert!(first.len() > 100, "something happened");
        assert_eq!(first, run(seed), "seed {seed}");
        assert_ne!(first, run(seed + 1_000), "seed {seed}");
    }
}

#[test]
fn every_fault_of_a_harsh_world_happens_and_leaves_the_slot_usable() {
    let mut met = [false; 5];
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let world = FakeWorld::with(seed, Faults::harsh(), FakeSizes::default());
        let (mut rings, mut other) = (world.ring(16), world.ring(16));
        let mut far = world.connect(rings.handle());
        let slot = loop {
            match turn(&mut rings, Wait::POLL).pop() {
                Some(Seen::Accepted(slot)) => break slot,
                Some(Seen::AcceptFailed(errno)) => {
                    assert_eq!(errno, Errno::ENOMEM);
                    met[0] = true;
                    rings.resume_accept();
                }
                _ => {}
            }
        };
        rings.peer_address(slot);
        let failed = turns_until(&mut rings, |seen| seen.slot() == Some(slot));
        met[1] |= matches!(failed.last(), Some(Seen::Failed(..)));
        rings.move_out(slot, &other.handle(), MoveToken::new(seed));
        let moved = turns_until(&mut rings, |seen| seen.slot() == Some(slot));
        let Some(Seen::MoveFailed(_, errno, unannounced)) = moved.last() else { continue };
        assert_eq!(*unannounced, *errno == Errno::EOVERFLOW);
        met[if *unannounced { 2 } else { 3 }] = true;
        other.reclaim_unannounced();
        assert_eq!(other.stats().reclaimed, u64::from(*unannounced));
        assert_eq!(other.slots_in_use(), 0);
        far.write(b"still here").unwrap();
        rings.poll_readable(slot);
        turns_until(&mut rings, |seen| matches!(seen, Seen::Readable(of) if *of == slot));
        rings.install(slot);
        let installed = turns_until(&mut rings, |seen| seen.slot() == Some(slot));
        met[4] |= matches!(installed.last(), Some(Seen::Failed(_, _, Errno::EMFILE)));
    }
    assert_eq!(met, [true; 5], "accept, peer address, unannounced move, move, install");
}

#[test]
fn an_installed_connection_still_reaches_its_far_end() {
    let world = FakeWorld::new(7);
    let mut rings = world.ring(4);
    let mut far = world.connect(rings.handle());
    let slot = accept(&mut rings);
    far.write(b"GET /").unwrap();
    rings.install(slot);
    let fd = turns_until_some(&mut rings, |seen| match seen {
        Seen::Installed(_, fd) => Some(fd),
        _ => None,
    });
    let mut stream = UnixStream::from(fd);
    far.write(b" HTTP/1.1").unwrap();
    let mut bytes = [0; 100];
    let read = stream.read(&mut bytes).unwrap();
    assert_eq!(&bytes[..read], b"GET / HTTP/1.1");
    stream.write_all(b"200").unwrap();
    assert_eq!(far.read(100), PeerRead::Bytes(b"200".to_vec()));
    drop(stream);
    assert_eq!(far.read(100), PeerRead::End);
}

#[test]
fn closing_with_unread_input_resets_and_without_it_ends() {
    for (unread, expected) in [(false, PeerRead::End), (true, PeerRead::Reset)] {
        let world = FakeWorld::with(1, Faults::none(), FakeSizes::default());
        let mut rings = world.ring(4);
        let mut far = world.connect(rings.handle());
        let slot = accept(&mut rings);
        suite::send_all(&mut rings, slot, b"last".to_vec().into());
        if unread {
            far.write(b"unread").unwrap();
        } else {
            assert_eq!(far.read(10), PeerRead::Bytes(b"last".to_vec()));
        }
        suite::close(&mut rings, slot);
        assert_eq!(far.read(10), expected);
        assert_eq!(far.write(b"x"), Err(Errno::EPIPE));
    }
}

#[test]
fn a_full_table_refuses_one_and_lets_the_others_wait() {
    let world = FakeWorld::with(3, Faults::none(), FakeSizes::default());
    let mut rings = world.ring(1);
    let _first = world.connect(rings.handle());
    let slot = accept(&mut rings);
    let mut refused = world.connect(rings.handle());
    turns_until(&mut rings, |seen| matches!(seen, Seen::AcceptRefused));
    assert_eq!(refused.read(1), PeerRead::Reset);
    let _waiting = world.connect(rings.handle());
    assert!(turn(&mut rings, Wait::POLL).is_empty());
    rings.close(slot);
    turns_until(&mut rings, |seen| matches!(seen, Seen::Accepted(next) if *next != slot));
}

#[test]
fn a_ring_that_is_dropped_closes_its_connections() {
    let world = FakeWorld::new(5);
    let mut rings = world.ring(4);
    let handle = rings.handle();
    let mut accepted = world.connect(handle);
    accept(&mut rings);
    let mut waiting = world.connect(handle);
    drop(rings);
    assert_eq!(accepted.read(1), PeerRead::End);
    assert_eq!(waiting.read(1), PeerRead::End);
    assert_eq!(world.connect(handle).read(1), PeerRead::Reset);
}
