//! More connections than one table of direct descriptors holds.
//!
//! Setup: the process may have few files, as where `ulimit -n` is low; both ends of every connection
//! are direct descriptors of ring sets with as many rings as that takes. Action: connections are
//! silent until their far end speaks; they move to another set. Expectation: no wake is lost though
//! the worker sleeps without an end, nothing is refused while there is room, and a move costs what it
//! costs with one ring.

#![allow(clippy::unwrap_used, reason = "helpers of a test")]

mod suite;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use ringpost_ring::{
    Completion, MoveToken, OnClose, ReceiveMode, RingConfig, RingSet, RingStats, Rings, Slot, Wait,
};
use suite::{Seen, turn, turns_until, turns_until_some};

/// Files that this process may have.
const FILES_MAX: u64 = 160;
/// Connections, more than six tables of that size hold.
const CONNECTIONS: u32 = 1_000;
/// Far ends that speak one after the other, each after the answer to the one before.
const QUESTIONS: usize = 5_000;
/// Turns that a far end waits at most, of two milliseconds at most.
const TURNS_MAX: usize = 20_000;

fn config(slots_max: u32) -> RingConfig {
    RingConfig { slots_max, rings_max: 64, buffers: 64, ..RingConfig::default() }
}

fn allow_few_files() {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, soft.min(FILES_MAX), hard).unwrap();
}

fn listening(config: &RingConfig) -> (RingSet, SocketAddrV4) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let SocketAddr::V4(address) = listener.local_addr().unwrap() else { panic!("asked for IPv4") };
    let mut rings = RingSet::open(config).unwrap();
    rings.listen(listener.into());
    (rings, address)
}

/// Waits for every connection by a poll and answers each byte with the next, asleep without an end
/// in between, until told to stop.
fn answer_when_spoken_to(stop: &AtomicBool, mut rings: RingSet) -> RingStats {
    let mut say = Vec::new();
    let mut wakes = 0;
    while !stop.load(Relaxed) {
        let (mut cold, mut readable) = (Vec::new(), Vec::new());
        rings.submit_and_wait(Wait::FOREVER, |completion| match completion {
            Completion::Accepted { slot } => cold.push(slot),
            Completion::Readable { slot } => readable.push(slot),
            Completion::Received { slot, bytes, .. } => say.push((slot, bytes[0] + 1)),
            Completion::Sent { slot, result, .. } => {
                assert_eq!(result, Ok(1));
                cold.push(slot);
            }
            Completion::Woken => wakes += 1,
            other => panic!("{other:?}"),
        });
        cold.into_iter().for_each(|slot| rings.poll_readable(slot));
        readable.into_iter().for_each(|slot| rings.receive(slot, ReceiveMode::OneShot));
        say.drain(..).for_each(|(slot, byte)| rings.send(slot, vec![byte].into()));
    }
    assert!(wakes <= 1, "parking rings wake their own set only");
    rings.stats()
}

#[test]
fn silent_connections_on_many_rings_are_heard_and_no_wake_is_lost() {
    allow_few_files();
    let stop = Arc::new(AtomicBool::new(false));
    let (opened, server) = mpsc::channel();
    let worker = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let (rings, address) = listening(&config(CONNECTIONS));
            opened.send((address, rings.event_waker())).unwrap();
            answer_when_spoken_to(&stop, rings)
        }
    });
    let (address, waker) = server.recv().unwrap();
    let mut far = RingSet::open(&config(CONNECTIONS)).unwrap();
    let ends = connect_all(&mut far, address);
    for number in 0..QUESTIONS {
        // Neighbours in the order are on different rings more often than not.
        let slot = ends[number * 387 % ends.len()];
        ask(&mut far, slot, (number % 200) as u8);
    }
    // All at once.
    ends.iter().for_each(|&slot| far.receive(slot, ReceiveMode::OneShot));
    ends.iter().for_each(|&slot| far.send(slot, vec![7].into()));
    let mut answers = 0;
    for _ in 0..TURNS_MAX {
        far.submit_and_wait(Wait::at_most(Duration::from_millis(2)), |completion| {
            answers += u32::from(matches!(completion, Completion::Received { .. }));
        });
        if answers == CONNECTIONS {
            break;
        }
    }
    assert_eq!(answers, CONNECTIONS);
    stop.store(true, Relaxed);
    waker.wake();
    let stats = worker.join().unwrap();
    assert_eq!(stats.rings, u64::from(CONNECTIONS).div_ceil(FILES_MAX));
    // Where each went depends on which ring was asked to accept when; the first holds its files.
    assert!(stats.parked >= u64::from(CONNECTIONS) - FILES_MAX, "{stats:?}");
    assert_eq!((stats.accepted, stats.accepts_refused), (CONNECTIONS.into(), 0));
    assert!(stats.parking_wakes > 0, "it slept, and a parking ring has rung");
    println!("{stats:?}");
}

/// Connects some at a time, so that no ring is asked for more than its spare slots at once.
fn connect_all(far: &mut RingSet, to: SocketAddrV4) -> Vec<Slot> {
    const AT_A_TIME: u32 = 20;
    let from = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    let mut ends = Vec::new();
    while ends.len() < CONNECTIONS as usize {
        for key in 0..AT_A_TIME {
            far.connect(from, to, key, OnClose::Reset);
        }
        let until = ends.len() + AT_A_TIME as usize;
        for _ in 0..TURNS_MAX {
            far.submit_and_wait(Wait::at_most(Duration::from_millis(2)), |completion| {
                match completion {
                    Completion::Connected { slot, .. } => ends.push(slot),
                    other => panic!("{other:?}"),
                }
            });
            if ends.len() == until {
                break;
            }
        }
        assert_eq!(ends.len(), until);
        // Its first answer tells that the other side has accepted it and those before it.
        ask(far, ends[until - 1], 1);
    }
    ends
}

/// Sends a byte and waits for the next.
fn ask(far: &mut RingSet, slot: Slot, byte: u8) {
    far.receive(slot, ReceiveMode::OneShot);
    far.send(slot, vec![byte].into());
    let answer = turns_until_some(far, |seen| match seen {
        Seen::Received(of, bytes, _) if of == slot => Some(bytes),
        _ => None,
    });
    assert_eq!(answer, [byte + 1]);
}

#[test]
fn a_move_finds_the_ring_with_room_and_costs_three_submissions() {
    const SLOTS: u32 = 12;
    let small = RingConfig { slots_per_ring_max: 4, ..config(SLOTS) };
    let (mut rings, address) = listening(&config(64));
    let mut home = RingSet::open(&small).unwrap();
    let mut far = RingSet::open(&config(64)).unwrap();
    let target = home.handle();
    for number in 0..SLOTS {
        far.connect(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0), address, number, OnClose::Reset);
        let end = turns_until_some_connected(&mut far);
        let slot = turns_until_some(&mut rings, |seen| match seen {
            Seen::Accepted(slot) => Some(slot),
            _ => None,
        });
        // What the earlier one has left to submit.
        turn(&mut home, Wait::POLL);
        let before = (rings.stats().submissions.sum, home.stats().submissions.sum);
        rings.move_out(slot, &target, MoveToken::new(number.into()));
        turns_until(&mut rings, |seen| matches!(seen, Seen::Closed(_)));
        let moved = turns_until_some(&mut home, |seen| match seen {
            Seen::MovedIn(slot, token) => {
                assert_eq!(token, MoveToken::new(number.into()));
                Some(slot)
            }
            _ => None,
        });
        home.poll_readable(moved);
        turn(&mut home, Wait::POLL);
        // The descriptor, the close here, the poll there, and the eventfd read again if a parking
        // ring had to wake its set.
        let submissions =
            rings.stats().submissions.sum - before.0 + home.stats().submissions.sum - before.1;
        assert!((3..=4).contains(&submissions), "{submissions}");
        far.send(end, vec![1].into());
        turn(&mut far, Wait::POLL);
        turns_until(&mut home, |seen| matches!(seen, Seen::Readable(of) if *of == moved));
    }
    assert_eq!((home.slots_in_use(), home.stats().parked), (SLOTS, 8));
    assert_eq!((rings.slots_in_use(), rings.stats().parked), (0, 0));
}

fn turns_until_some_connected(far: &mut RingSet) -> Slot {
    for _ in 0..TURNS_MAX {
        let mut connected = None;
        far.submit_and_wait(Wait::at_most(Duration::from_millis(2)), |completion| {
            if let Completion::Connected { slot, .. } = completion {
                connected = Some(slot);
            }
        });
        if let Some(slot) = connected {
            return slot;
        }
    }
    panic!("not connected after {TURNS_MAX} turns");
}
