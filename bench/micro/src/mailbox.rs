//! A letter to another worker: into the line, through the peer's queue with a look at its sleep
//! flag, and out at the peer. The queue is the one that the server's mailboxes are made of.

use std::hint::black_box;

use crossbeam::channel::bounded;
use ringpost_conn::{Letter, Outgoing};
use ringpost_ring::SleepFlag;
use ringpost_shard::event::WorkerId;

/// As many letters as a busy turn has for one peer.
const LETTERS: u64 = 8;

pub(crate) fn run(iterations: u64) {
    let (sender, receiver) = bounded(65_536);
    let sleep = SleepFlag::new();
    let mut outgoing = Outgoing::new(2);
    for _ in 0..iterations {
        for token in 0..LETTERS {
            outgoing.push(WorkerId(1), Letter::MoveFailed { token });
        }
        sleep.announce();
        let mut wakes = 0;
        outgoing.deliver(
            |_, letter| {
                sender.try_send(letter).map_err(crossbeam::channel::TrySendError::into_inner)?;
                Ok(sleep.should_wake())
            },
            |_| wakes += 1,
        );
        assert_eq!(wakes, 1, "one wake for each peer and turn");
        let letters = receiver.try_iter().map(|letter| drop(black_box(letter))).count();
        assert_eq!(letters as u64, LETTERS);
    }
}
