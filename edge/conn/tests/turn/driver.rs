//! One worker with its ring and its mailbox, driven as the server's driver does it, step by step.

use std::cell::Cell;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use ringpost_conn::{Letter, Operation, Outgoing, Output, Worker};
use ringpost_ring::Rings;
use ringpost_ring::Wait;
use ringpost_ring::fake::{FakeHandle, FakeRing};
use ringpost_shard::Effect;
use ringpost_shard::event::{ConnectionKey, Now};

use crate::journal::Journal;

/// An HTTP connection that was handed to REST.
pub(crate) struct HandedOver {
    pub(crate) fd: OwnedFd,
    pub(crate) read: Vec<u8>,
    pub(crate) address: Option<IpAddr>,
}

pub(crate) struct Driver {
    pub(crate) worker: Worker,
    pub(crate) rings: FakeRing,
    /// What other threads said and the worker has not taken.
    pub(crate) mailbox: VecDeque<Letter>,
    /// Letters that the mailbox holds; above it a peer keeps its own.
    pub(crate) letters_max: usize,
    /// The mailbox is not read while this is set.
    pub(crate) letters_held: bool,
    /// The ring is not entered while this is set.
    pub(crate) ring_held: bool,
    pub(crate) outgoing: Outgoing,
    pub(crate) handed_over: Vec<HandedOver>,
    /// What each reading of the clock within a batch adds to the time.
    pub(crate) tick: Duration,
    /// Tokens that nobody has checked.
    pub(crate) checks: VecDeque<(ConnectionKey, String)>,
}

impl Driver {
    pub(crate) fn new(worker: Worker, rings: FakeRing, workers: usize) -> Self {
        Self {
            worker,
            rings,
            mailbox: VecDeque::new(),
            letters_max: usize::MAX,
            letters_held: false,
            ring_held: false,
            outgoing: Outgoing::new(workers),
            handed_over: Vec::new(),
            tick: Duration::ZERO,
            checks: VecDeque::new(),
        }
    }

    /// One turn up to the ring; whether there was anything to do.
    pub(crate) fn turn(&mut self, now: Now, journal: &mut Journal, rings: &[FakeHandle]) -> bool {
        let mut busy = false;
        while let Some(letter) = (!self.letters_held).then(|| self.mailbox.pop_front()).flatten() {
            self.worker.letter(letter, now);
            busy = true;
        }
        self.worker.end_turn(now);
        let outputs: Vec<Output> = self.worker.outputs().collect();
        for output in outputs {
            self.output(output, journal);
            busy = true;
        }
        for operation in self.worker.operations() {
            Operation::submit(operation, &mut self.rings, rings);
            busy = true;
        }
        if !self.ring_held {
            let (worker, tick, readings) = (&mut self.worker, self.tick, Cell::new(0));
            self.rings.submit_and_wait(Wait::POLL, |completion| {
                worker.complete_clocked(completion, now, || {
                    readings.set(readings.get() + 1);
                    now.mono + tick * readings.get()
                });
                busy = true;
            });
        }
        busy
    }

    fn output(&mut self, output: Output, journal: &mut Journal) {
        let from = self.worker.id();
        match output {
            Output::Tier(Effect::Commit { record }) => journal.commit(record),
            Output::Tier(read) => journal.read(from, read),
            Output::Mail { to, mail } => self.outgoing.push(to, Letter::Mail { from, mail }),
            Output::Arriving { to, arriving } => {
                self.outgoing.push(to, Letter::Arriving(arriving));
            }
            Output::MoveFailed { to, token } => {
                self.outgoing.push(to, Letter::MoveFailed { token });
            }
            Output::Verify { connection, token } => self.checks.push_back((connection, token)),
            Output::HandOver { fd, read, address } => {
                self.handed_over.push(HandedOver { fd, read, address });
            }
        }
    }
}
