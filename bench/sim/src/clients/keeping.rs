//! What a device was pushed on its present connection, and how it says that it keeps it: all at
//! once, number by number, up to any of them, or message by message in any order.

use std::collections::BTreeMap;

use ringpost_wire::command::{ClientStatus, Named, Receipt};
use ringpost_wire::{Command, ServerId};

use crate::clients::Surroundings;
use crate::dice::Dice;
use crate::fact::{Fact, Who};

/// How a device acks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// The last number that it has.
    All,
    /// Each number.
    Each,
    /// Any of the numbers.
    Some,
    /// Messages by receipts of their own, and now and then a number.
    Single,
}

/// The pushes of a connection.
pub(crate) struct Keeping {
    manner: Manner,
    /// By push number: the message, if it is one that was not acked.
    pushed: BTreeMap<u64, Option<ServerId>>,
    last_push: u64,
    acked: u64,
}

impl Keeping {
    /// Nothing was pushed yet.
    pub(crate) fn new(dice: &mut Dice) -> Self {
        let manner = dice.pick(&[Manner::All, Manner::Each, Manner::Some, Manner::Single]);
        Self { manner, pushed: BTreeMap::new(), last_push: 0, acked: 0 }
    }

    /// Whether all was acked.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.acked == self.last_push
    }

    /// The connection is over.
    pub(crate) fn forget(&mut self) {
        self.pushed.clear();
        (self.last_push, self.acked) = (0, 0);
    }

    /// Something was pushed.
    pub(crate) fn keep(&mut self, push: u64, id: Option<ServerId>) {
        self.last_push = self.last_push.max(push);
        self.pushed.insert(push, id);
    }

    /// What it says now; once it is calm, all that is left.
    pub(crate) fn acks(
        &mut self,
        who: Who,
        is_calm: bool,
        it: &mut Surroundings<'_>,
    ) -> Vec<Command<'static>> {
        let mut acks = Vec::new();
        if self.manner == Manner::Single {
            acks.extend(self.ack_one(who, it));
        }
        let unacked = self.last_push - self.acked;
        let count = match self.manner {
            Manner::Some if !is_calm => it.dice.below(unacked + 1),
            // What is no message has no other ack.
            Manner::Single if !is_calm => u64::from(it.dice.one_in(4)).min(unacked),
            _ => unacked,
        };
        let through = self.acked + count;
        let numbers =
            if self.manner == Manner::Each { self.acked + 1..=through } else { through..=through };
        acks.extend(numbers.filter(|_| count > 0).map(|push| Command::Ack { push }));
        self.acked = through;
        let later = self.pushed.split_off(&(through + 1));
        for id in std::mem::replace(&mut self.pushed, later).into_values().flatten() {
            it.trace.fact(Fact::Acked { who, id });
        }
        acks
    }

    /// One of the messages, whichever.
    fn ack_one(&mut self, who: Who, it: &mut Surroundings<'_>) -> Option<Command<'static>> {
        let at = (!self.pushed.is_empty()).then(|| it.dice.index(self.pushed.len()))?;
        let id = self.pushed.values_mut().nth(at).and_then(Option::take)?;
        it.trace.fact(Fact::Acked { who, id });
        let (message, status) = (Named::Id(id), ClientStatus::Delivered);
        Some(Command::Receipt(Receipt { message, status, client_timestamp_ms: 5 }))
    }
}
