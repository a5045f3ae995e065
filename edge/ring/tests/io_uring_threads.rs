//! Ring sets in different threads: moves, wakes, and the eventfd, with the sleep of a worker that
//! has nothing to do.
//!
//! A worker sleeps in [`Wait::FOREVER`]: a lost wake would hang the test.

#![allow(clippy::unwrap_used, reason = "helpers of a test")]

mod suite;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use ringpost_ring::{
    EventWaker, MoveToken, RingConfig, RingHandle, RingSet, Rings, SleepFlag, Wait,
};
use suite::{MULTISHOT, Seen, turn};

fn config() -> RingConfig {
    RingConfig { slots_max: 1_024, buffers: 64, ..RingConfig::default() }
}

#[test]
fn what_other_threads_hold_may_be_shared() {
    fn shared<T: Send + Sync + Clone + 'static>() {}
    shared::<RingHandle>();
    shared::<EventWaker>();
}

#[test]
fn connections_move_to_a_sleeping_worker_and_are_served_there() {
    const CONNECTIONS: u64 = 50;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = mpsc::channel::<RingHandle>();
    let server = thread::spawn(move || {
        let mut rings = RingSet::open(&config()).unwrap();
        tell.send(rings.handle()).unwrap();
        let mut tokens = Vec::new();
        let mut ended = 0;
        while ended < CONNECTIONS {
            for seen in turn(&mut rings, Wait::FOREVER) {
                match seen {
                    Seen::MovedIn(slot, token) => {
                        tokens.push(token.value());
                        rings.receive(slot, MULTISHOT);
                    }
                    Seen::Received(slot, bytes, _) => rings.send(slot, bytes.into()),
                    Seen::Sent(_, buffer, Ok(_)) => assert!(buffer.is_empty()),
                    Seen::Eof(slot) => rings.close(slot),
                    Seen::Closed(_) => ended += 1,
                    other => panic!("unexpected {other:?}"),
                }
            }
        }
        tokens.sort_unstable();
        (tokens, rings.stats())
    });
    let target = told.recv().unwrap();
    let mover = thread::spawn(move || {
        let mut rings = RingSet::open(&config()).unwrap();
        rings.listen(listener.into());
        let (mut next, mut ended) = (0, 0);
        while ended < CONNECTIONS {
            for seen in turn(&mut rings, Wait::FOREVER) {
                match seen {
                    Seen::Accepted(slot) => {
                        rings.move_out(slot, &target, MoveToken::new(next));
                        next += 1;
                    }
                    Seen::MovedOut(_) => {}
                    Seen::Closed(_) => ended += 1,
                    other => panic!("unexpected {other:?}"),
                }
            }
        }
        rings.stats()
    });
    for round in 0..CONNECTIONS {
        let mut far = TcpStream::connect(address).unwrap();
        let bytes = [round as u8; 64];
        far.write_all(&bytes).unwrap();
        let mut back = [0; 64];
        far.read_exact(&mut back).unwrap();
        assert_eq!(back, bytes);
    }
    let moved = mover.join().unwrap();
    let (tokens, served) = server.join().unwrap();
    assert_eq!(tokens, (0..CONNECTIONS).collect::<Vec<_>>(), "each token arrives once");
    assert_eq!((moved.moved_out, served.moved_in), (CONNECTIONS, CONNECTIONS));
    assert_eq!((moved.moves_failed, served.stale_completions), (0, 0));
}

/// The whole path of a wake, as workers use it: push, look at the flag, MSG_RING or eventfd.
fn nothing_is_slept_through(wake: impl Fn(&mut RingSet, &RingHandle) + Send + 'static) -> u64 {
    const ITEMS: u64 = 20_000;
    let mailbox = Arc::new(AtomicU64::new(0));
    let flag = Arc::new(SleepFlag::new());
    let (tell, told) = mpsc::channel::<RingHandle>();
    let worker = {
        let (mailbox, flag) = (Arc::clone(&mailbox), Arc::clone(&flag));
        thread::spawn(move || {
            let mut rings = RingSet::open(&config()).unwrap();
            tell.send(rings.handle()).unwrap();
            let mut got = 0;
            while got < ITEMS {
                got += mailbox.swap(0, Ordering::AcqRel);
                flag.announce();
                let wait = match mailbox.load(Ordering::Acquire) {
                    0 if got < ITEMS => Wait::FOREVER,
                    _ => Wait::POLL,
                };
                turn(&mut rings, wait);
                flag.awake();
            }
            rings.stats().wakes_received
        })
    };
    let target = told.recv().unwrap();
    let mut rings = RingSet::open(&config()).unwrap();
    for item in 0..ITEMS {
        mailbox.fetch_add(1, Ordering::AcqRel);
        if flag.should_wake() {
            wake(&mut rings, &target);
        }
        if item % 7 == 0 {
            thread::yield_now();
        }
    }
    worker.join().unwrap()
}

#[test]
fn a_worker_woken_by_another_ring_misses_nothing() {
    let received = nothing_is_slept_through(|rings, target| {
        rings.wake(target);
        assert!(turn(rings, Wait::POLL).is_empty(), "a wake that arrives is not reported here");
    });
    assert!(received > 0, "the worker did sleep");
}

#[test]
fn a_worker_woken_by_the_eventfd_misses_nothing() {
    const ITEMS: u64 = 20_000;
    const THREADS: u64 = 4;
    let mailbox = Arc::new(AtomicU64::new(0));
    let mut rings = RingSet::open(&config()).unwrap();
    let pushers: Vec<_> = (0..THREADS)
        .map(|_| {
            let (mailbox, waker) = (Arc::clone(&mailbox), rings.event_waker());
            thread::spawn(move || {
                for _ in 0..ITEMS / THREADS {
                    mailbox.fetch_add(1, Ordering::AcqRel);
                    waker.wake();
                }
            })
        })
        .collect();
    let mut got = 0;
    while got < ITEMS {
        let seen = turn(&mut rings, Wait::FOREVER);
        assert!(seen.iter().all(|seen| matches!(seen, Seen::Woken)));
        got += mailbox.swap(0, Ordering::AcqRel);
    }
    pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
    let stats = rings.stats();
    assert!(stats.event_wakes > 0 && stats.event_wakes <= ITEMS, "{stats:?}");
}
