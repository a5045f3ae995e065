//! Cancels that found nothing to cancel, and when they are tried again.
//!
//! The kernel answers a cancel at once, while it takes the submission. An operation whose socket
//! has just become ready is then not found (ENOENT, EALREADY): it stands in the ring's deferred
//! work, which runs only in an enter that asks for completions, some tens of them in each. So
//! another cancel in the same turn fails in the same way, and a crowd of them would fill the
//! submission queue again and again without anything ever ending.
//!
//! ```text
//!   cancel fails --> waits --> the ring has run its deferred work --> over? nothing to do
//!                      |       or PATIENCE_TURNS have passed           else: cancelled once more
//!                      +--- looked at once at the end of each turn
//! ```
//! Invariant: a turn submits at most one cancel more for each side of a slot and for each listener.

use crate::ring_set::RingSet;
use crate::rings::Slot;
use crate::slots::{Flag, Phase};

/// Turns that a failed cancel waits where the ring's deferred work never runs out. The kernel runs
/// at least 20 operations in an enter (`IO_LOCAL_TW_DEFAULT_MAX`), so by then it has run more than
/// a listen backlog (4,096) can make ready at once.
const PATIENCE_TURNS: u32 = 256;

/// What a cancel was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cancel {
    /// The input side of a slot.
    Input(Slot),
    /// A poll for room on the output side of a slot.
    Output(Slot),
    /// The accept of a listener.
    Accept(usize),
}

/// How the operation of a failed cancel stands at the end of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It has ended, or nobody wants its end any more.
    Over,
    /// It may stand in the deferred work of its ring.
    Deferred,
    /// It is armed: a cancel finds it.
    Armed,
}

/// Cancels that have failed and are not answered by the end of their operation yet. At most two
/// for each slot and one for each listener.
#[derive(Debug, Default)]
pub(crate) struct Cancels {
    failed: Vec<Cancel>,
    /// Turns since they were last tried again, or the first of them failed.
    turns: u32,
}

impl Cancels {
    /// Nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.failed.is_empty()
    }

    /// The kernel has found nothing to cancel.
    pub(crate) fn add(&mut self, cancel: Cancel) {
        self.failed.push(cancel);
    }

    /// Ends a turn: forgets what is over, and answers what is to be cancelled once more.
    fn end_turn(&mut self, mut standing: impl FnMut(Cancel) -> Standing) -> Vec<Cancel> {
        self.turns += 1;
        let is_overdue = self.turns >= PATIENCE_TURNS;
        let mut again = Vec::new();
        self.failed.retain(|&cancel| match standing(cancel) {
            Standing::Over => false,
            Standing::Deferred if !is_overdue => true,
            Standing::Deferred | Standing::Armed => {
                again.push(cancel);
                false
            }
        });
        if is_overdue || self.failed.is_empty() {
            self.turns = 0;
        }
        again
    }
}

impl RingSet {
    /// Tries the cancels that have failed once more, where that can help. Bounded by how many they
    /// are; what the kernel answers is for the next turn.
    pub(crate) fn cancel_again(&mut self) {
        if self.cancels.is_empty() {
            return;
        }
        let mut cancels = std::mem::take(&mut self.cancels);
        let again = cancels.end_turn(|cancel| self.standing(cancel));
        self.cancels = cancels;
        self.bank.main().stats.cancel_retries += again.len() as u64;
        for cancel in again {
            self.submit_cancel(cancel);
        }
    }

    fn standing(&mut self, cancel: Cancel) -> Standing {
        match self.ring_of_wanted(cancel) {
            None => Standing::Over,
            Some(ring) if self.bank.ring(ring).has_deferred_work() => Standing::Deferred,
            Some(_) => Standing::Armed,
        }
    }

    /// The ring of an operation that is still to be cancelled; `None` where it is over.
    fn ring_of_wanted(&mut self, cancel: Cancel) -> Option<usize> {
        let (slot, is_wanted) = match cancel {
            Cancel::Input(slot) => {
                let state = self.slots.lookup(slot)?;
                let ends = state.has(Flag::Stopping) || state.phase() == Phase::Closing;
                (slot, ends && state.input_in_flight())
            }
            Cancel::Output(slot) => {
                let state = self.slots.lookup(slot)?;
                (slot, state.phase() == Phase::Closing && state.has(Flag::PollingWrite))
            }
            Cancel::Accept(listener) => return self.acceptor.ring_of_ending(listener),
        };
        is_wanted.then(|| self.bank.position_of(slot))
    }

    fn submit_cancel(&mut self, cancel: Cancel) {
        match cancel {
            Cancel::Input(slot) => {
                let input = self.slots.lookup(slot).expect("its standing was looked up").input();
                self.cancel_input(slot, input);
            }
            Cancel::Output(slot) => self.bank.of(slot).cancel_poll_writable(slot),
            Cancel::Accept(listener) => self.acceptor.cancel_again(listener, &mut self.bank),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Chance;

    /// What a kernel runs of the deferred work in one enter.
    const RUN_PER_ENTER: usize = 20;

    /// What a kernel does with cancels: answers them as it takes the submission, finds nothing that
    /// stands in its deferred work, and takes the submission at once where its queue is full.
    struct Model {
        entries: usize,
        queue: Vec<usize>,
        deferred: std::collections::VecDeque<usize>,
        /// By operation: how often it is armed again by its deferred work; `None`: it has ended.
        rearms: Vec<Option<u32>>,
        failures: Vec<usize>,
        cancels: u64,
    }

    impl Model {
        fn push(&mut self, operation: usize) {
            if self.queue.len() == self.entries {
                self.submit();
            }
            self.queue.push(operation);
            self.cancels += 1;
        }

        fn submit(&mut self) {
            for operation in self.queue.drain(..) {
                if self.deferred.contains(&operation) {
                    self.failures.push(operation);
                } else {
                    self.rearms[operation] = None;
                }
            }
        }

        fn enter(&mut self) {
            self.submit();
            for _ in 0..RUN_PER_ENTER {
                let Some(operation) = self.deferred.pop_front() else { break };
                self.rearms[operation] =
                    self.rearms[operation].and_then(|left| left.checked_sub(1));
            }
        }
    }

    /// Setup: an operation for each of a crowd, all in the deferred work, a submission queue of any
    /// size. Action: all are cancelled. Expectation, for any seed: each is cancelled at most twice,
    /// all end within the turns that the deferred work takes, and nothing stays behind.
    #[test]
    fn a_crowd_in_the_deferred_work_ends_by_two_cancels_each() {
        for seed in 0..300 {
            let mut chance = Chance::new(seed);
            let mut below = |most: u64| (chance.number() % most) as usize;
            let (crowd, entries) = (1 + below(4_000), 1 << below(12));
            let rearms = (0..crowd).map(|_| Some(below(2) as u32)).collect();
            let mut model = Model {
                entries,
                queue: Vec::new(),
                deferred: (0..crowd).collect(),
                rearms,
                failures: Vec::new(),
                cancels: 0,
            };
            (0..crowd).for_each(|operation| model.push(operation));
            let mut cancels = Cancels::default();
            let turns_max = crowd.div_ceil(RUN_PER_ENTER) + 3;
            for turn in 0.. {
                assert!(turn < turns_max, "seed {seed}: a turn more than the work takes");
                model.enter();
                let left_work = !model.deferred.is_empty();
                for operation in std::mem::take(&mut model.failures) {
                    cancels.add(Cancel::Accept(operation));
                }
                let again = cancels.end_turn(|cancel| match cancel {
                    Cancel::Accept(operation) if model.rearms[operation].is_none() => {
                        Standing::Over
                    }
                    _ if left_work => Standing::Deferred,
                    _ => Standing::Armed,
                });
                for cancel in again {
                    let Cancel::Accept(operation) = cancel else { unreachable!("of the model") };
                    model.push(operation);
                }
                if model.rearms.iter().all(Option::is_none) && cancels.is_empty() {
                    break;
                }
            }
            assert!(model.cancels <= 2 * crowd as u64, "seed {seed}: {} cancels", model.cancels);
        }
    }

    #[test]
    fn a_cancel_is_tried_again_in_the_end_where_deferred_work_never_runs_out() {
        let mut cancels = Cancels::default();
        cancels.add(Cancel::Accept(0));
        for _ in 1..PATIENCE_TURNS {
            assert!(cancels.end_turn(|_| Standing::Deferred).is_empty());
        }
        assert_eq!(cancels.end_turn(|_| Standing::Deferred), [Cancel::Accept(0)]);
        assert!(cancels.is_empty());
    }
}
