//! The sleep protocol under every interleaving: no push is slept through.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test --release -p ringpost-ring --test
//! sleep_protocol_loom --target-dir target/loom`. Setup: a worker and pushers as loom threads, a
//! mailbox with release and acquire (no stronger than a real queue), and a bell that keeps a ring
//! until it is heard, as an eventfd and a completion queue do. Expectation: the worker gets every
//! item; a lost wake would leave it asleep, which loom reports as a deadlock. With two pushers the
//! search is bounded to three preemptions, without which it takes hours.

#![cfg(loom)]

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use ringpost_ring::{SleepFlag, WakeOnce};

/// What stands for the ring: sleeping in it ends when it was rung.
#[derive(Default)]
struct Bell {
    rung: Mutex<usize>,
    heard: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock().unwrap() += 1;
        self.heard.notify_one();
    }

    /// Sleeps until it is rung; says how often it was.
    fn wait(&self) -> usize {
        let mut rung = self.rung.lock().unwrap();
        while *rung == 0 {
            rung = self.heard.wait(rung).unwrap();
        }
        std::mem::take(&mut *rung)
    }
}

#[derive(Default)]
struct Shared {
    mailbox: AtomicUsize,
    flag: SleepFlag,
    bell: Bell,
    once: WakeOnce,
}

impl Shared {
    fn push(&self) {
        self.mailbox.fetch_add(1, Ordering::Release);
    }

    fn pop_all(&self) -> usize {
        // A load first: an empty queue is recognised without a write.
        match self.mailbox.load(Ordering::Acquire) {
            0 => 0,
            _ => self.mailbox.swap(0, Ordering::Acquire),
        }
    }
}

/// A worker that sleeps whenever its mailbox is empty, until it has got `items`.
fn work(shared: &Shared, items: usize) -> usize {
    let (mut got, mut rings) = (0, 0);
    loop {
        got += shared.pop_all();
        if got == items {
            return rings;
        }
        shared.flag.announce();
        let second_look = shared.pop_all();
        if second_look == 0 {
            rings += shared.bell.wait();
        }
        shared.flag.awake();
        got += second_look;
    }
}

#[test]
fn one_pusher_is_never_slept_through() {
    loom::model(|| {
        let shared = Arc::new(Shared::default());
        let pusher = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                for _ in 0..2 {
                    shared.push();
                    if shared.flag.should_wake() {
                        shared.bell.ring();
                    }
                }
            })
        };
        work(&shared, 2);
        pusher.join().unwrap();
    });
}

fn bounded(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(check);
}

#[test]
fn two_pushers_are_never_slept_through_and_ring_once_per_sleep() {
    bounded(|| {
        let shared = Arc::new(Shared::default());
        let pushers: Vec<_> = (0..2)
            .map(|_| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    shared.push();
                    if shared.flag.should_wake() {
                        shared.bell.ring();
                    }
                })
            })
            .collect();
        let rings = work(&shared, 2);
        pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
        assert!(rings <= 2, "at most one ring for each push");
    });
}

#[test]
fn a_coalesced_wake_carries_every_push_before_it() {
    bounded(|| {
        let shared = Arc::new(Shared::default());
        let pushers: Vec<_> = (0..2)
            .map(|_| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    shared.push();
                    if shared.once.raise() {
                        shared.bell.ring();
                    }
                })
            })
            .collect();
        // A worker without a flag: it looks only when the bell rings.
        let mut got = 0;
        while got < 2 {
            shared.bell.wait();
            shared.once.lower();
            got += shared.pop_all();
        }
        pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
    });
}
