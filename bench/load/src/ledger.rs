//! Whether what was sent arrived: each message once, in the order of its pair.
//!
//! Owns one counter pair for each (sender, receiver) that ever spoke, and the sequences that were
//! overtaken. Knows no bytes and no time.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

/// Sequences of one pair that may be missing at a time before the run is beyond repair: what is
/// overtaken beyond it counts as lost at once.
const MISSING_MAX: usize = 65_536;

#[derive(Default)]
struct Conversation {
    sent: u32,
    /// The next sequence if nothing is missing.
    next: u32,
    missing: HashSet<u32>,
}

/// What went wrong, in messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Faults {
    /// Sent and never arrived.
    pub(crate) lost: u64,
    /// Arrived more than once.
    pub(crate) duplicated: u64,
    /// Arrived behind one that was sent later.
    pub(crate) reordered: u64,
}

impl Faults {
    /// Nothing went wrong.
    pub(crate) fn none(self) -> bool {
        self == Self::default()
    }
}

/// All conversations of a run.
#[derive(Default)]
pub(crate) struct Ledger {
    conversations: HashMap<(u32, u32), Conversation>,
    sent: u64,
    arrived: u64,
    duplicated: u64,
    reordered: u64,
}

impl Ledger {
    /// A message is about to be sent: its sequence.
    pub(crate) fn send(&mut self, from: u32, to: u32) -> u32 {
        let conversation = self.conversations.entry((from, to)).or_default();
        let sequence = conversation.sent;
        conversation.sent += 1;
        self.sent += 1;
        sequence
    }

    /// A message has arrived; false if it had before, or was never sent.
    pub(crate) fn arrive(&mut self, from: u32, to: u32, sequence: u32) -> bool {
        let Some(conversation) = self.conversations.get_mut(&(from, to)) else {
            self.duplicated += 1;
            return false;
        };
        if sequence >= conversation.sent {
            self.duplicated += 1;
            return false;
        }
        if sequence >= conversation.next {
            let room = MISSING_MAX.saturating_sub(conversation.missing.len());
            conversation.missing.extend((conversation.next..sequence).take(room));
            conversation.next = sequence + 1;
        } else if conversation.missing.remove(&sequence) {
            self.reordered += 1;
        } else {
            self.duplicated += 1;
            return false;
        }
        self.arrived += 1;
        true
    }

    /// Messages that were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Messages that have arrived, each counted once.
    pub(crate) fn arrived(&self) -> u64 {
        self.arrived
    }

    /// What went wrong, if nothing more arrives.
    pub(crate) fn faults(&self) -> Faults {
        Faults {
            lost: self.sent - self.arrived,
            duplicated: self.duplicated,
            reordered: self.reordered,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Faults, Ledger};

    fn faults_of(sent: u32, arrivals: &[u32]) -> Faults {
        let mut ledger = Ledger::default();
        for expected in 0..sent {
            assert_eq!(ledger.send(1, 2), expected);
        }
        for &sequence in arrivals {
            ledger.arrive(1, 2, sequence);
        }
        ledger.faults()
    }

    #[test]
    fn each_fault_is_told_from_the_others() {
        let check = |sent, arrivals: &[u32], lost, duplicated, reordered| {
            let expected = Faults { lost, duplicated, reordered };
            assert_eq!(faults_of(sent, arrivals), expected, "{arrivals:?}");
        };
        check(3, &[0, 1, 2], 0, 0, 0);
        check(3, &[0, 1], 1, 0, 0);
        check(3, &[0, 2], 1, 0, 0);
        check(3, &[0, 2, 1], 0, 0, 1);
        check(3, &[0, 1, 1, 2], 0, 1, 0);
        check(3, &[2, 0, 0, 1], 0, 1, 2);
        check(1, &[0, 1], 0, 1, 0);
    }

    #[test]
    fn a_message_of_strangers_is_not_an_arrival() {
        let mut ledger = Ledger::default();
        ledger.send(1, 2);
        assert!(!ledger.arrive(2, 1, 0));
        assert_eq!(ledger.faults(), Faults { lost: 1, duplicated: 1, reordered: 0 });
    }
}
