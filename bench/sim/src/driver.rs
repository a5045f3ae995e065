//! One worker of the node: the product's turn over a fake ring, with a mailbox that a seed fills.

use std::collections::VecDeque;

use ringpost_conn::{Letter, Operation, Outgoing, Output, Worker};
use ringpost_ring::fake::{FakeHandle, FakeRing};
use ringpost_ring::{Rings, Wait};
use ringpost_shard::event::{ConnectionKey, Now, WorkerId};

use crate::tier::Tier;

/// Letters taken in one turn.
const LETTERS_PER_TURN_MAX: usize = 16;

pub(crate) struct Driver {
    pub(crate) worker: Worker,
    pub(crate) rings: FakeRing,
    pub(crate) mailbox: VecDeque<Letter>,
    pub(crate) outgoing: Outgoing,
    /// Tokens that nobody has checked yet.
    pub(crate) checks: VecDeque<(ConnectionKey, String)>,
}

impl Driver {
    pub(crate) fn new(worker: Worker, rings: FakeRing, workers: usize) -> Self {
        Self {
            worker,
            rings,
            mailbox: VecDeque::new(),
            outgoing: Outgoing::new(workers),
            checks: VecDeque::new(),
        }
    }

    /// One turn; whether there was anything to do. `operations_max` cuts it off behind so many
    /// operations of the ring: the process is killed there.
    pub(crate) fn turn(
        &mut self,
        now: Now,
        tier: &mut Tier,
        rings: &[FakeHandle],
        operations_max: usize,
    ) -> bool {
        let mut busy = false;
        for _ in 0..LETTERS_PER_TURN_MAX {
            let Some(letter) = self.mailbox.pop_front() else { break };
            self.worker.letter(letter, now);
            busy = true;
        }
        self.worker.end_turn(now);
        loop {
            let outputs: Vec<Output> = self.worker.outputs().collect();
            if outputs.is_empty() {
                break;
            }
            busy = true;
            for output in outputs {
                if let Some(letter) = self.output(output, tier) {
                    self.worker.letter(letter, now);
                }
            }
            self.worker.end_turn(now);
        }
        for operation in self.worker.operations().take(operations_max) {
            Operation::submit(operation, &mut self.rings, rings);
            busy = true;
        }
        if operations_max == usize::MAX {
            let worker = &mut self.worker;
            self.rings.submit_and_wait(Wait::POLL, |completion| {
                worker.complete(completion, now);
                busy = true;
            });
        }
        busy
    }

    fn output(&mut self, output: Output, tier: &mut Tier) -> Option<Letter> {
        let from: WorkerId = self.worker.id();
        match output {
            Output::Tier(effect) => return tier.take(from, effect),
            Output::Mail { to, mail } => self.outgoing.push(to, Letter::Mail { from, mail }),
            Output::Arriving { to, arriving } => {
                self.outgoing.push(to, Letter::Arriving(arriving));
            }
            Output::MoveFailed { to, token } => {
                self.outgoing.push(to, Letter::MoveFailed { token });
            }
            Output::Verify { connection, token } => self.checks.push_back((connection, token)),
            Output::Answer { reply, answer } => reply.send(answer),
            // The fleet speaks no HTTP: REST has tests of its own on the real binary.
            Output::HandOver { .. } => {}
        }
        None
    }
}
