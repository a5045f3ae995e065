//! Messages of one device in one conversation are shown in the order of their ids, which is the
//! order of acceptance; and what was asked once and without trouble is accepted as it was asked.

use std::collections::{BTreeMap, BTreeSet};

use ringpost_wire::{MessageId, ServerId};

use crate::checkers::Checker;
use crate::fact::{Fact, Who};

/// A sender's device and a recipient.
type Stream = (Who, u8);

struct Asked {
    place: u64,
    to: u8,
    /// Asked once, neither refused nor cut off.
    is_untroubled: bool,
    is_answered: bool,
}

/// The shadow: how far each reader is in each stream.
#[derive(Default)]
pub(crate) struct Order {
    /// By reader, connection and stream.
    on_connection: BTreeMap<(Who, u64, Stream), ServerId>,
    /// By reader and stream: all that was ever shown.
    ever: BTreeMap<(Who, Stream), BTreeSet<ServerId>>,
    asked: BTreeMap<(Who, MessageId), Asked>,
    places: u64,
    /// By stream: ids of untroubled messages by the place in which they were asked.
    accepted: BTreeMap<Stream, BTreeMap<u64, ServerId>>,
}

impl Checker for Order {
    fn name(&self) -> &'static str {
        "order"
    }

    fn see(&mut self, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Asked { who, to, message, .. } => {
                self.places += 1;
                let (place, to) = (self.places, *to);
                let fresh = Asked { place, to, is_untroubled: true, is_answered: false };
                let asked = self.asked.entry((*who, *message)).or_insert(fresh);
                asked.is_untroubled &= asked.place == place;
            }
            Fact::Refused { who, message, .. } => {
                if let Some(asked) = self.asked.get_mut(&(*who, *message)) {
                    asked.is_untroubled = false;
                }
            }
            Fact::Left { who } => {
                let device = (*who, MessageId([0; 16]))..=(*who, MessageId([0xff; 16]));
                for (_, asked) in self.asked.range_mut(device) {
                    asked.is_untroubled &= asked.is_answered;
                }
            }
            Fact::Sent { who, message, id, .. } => self.accepted(*who, *message, *id)?,
            Fact::Shown { who, connection, from: Some(from), to: Some(to), id, canary, .. }
                if canary.is_some() =>
            {
                self.shown(*who, *connection, (*from, *to), *id)?;
            }
            _ => {}
        }
        Ok(())
    }
}

impl Order {
    fn accepted(&mut self, who: Who, message: MessageId, id: ServerId) -> Result<(), String> {
        let Some(asked) = self.asked.get_mut(&(who, message)) else { return Ok(()) };
        if std::mem::replace(&mut asked.is_answered, true) || !asked.is_untroubled {
            return Ok(());
        }
        let stream = self.accepted.entry((who, asked.to)).or_default();
        let before = stream.range(..asked.place).next_back();
        let after = stream.range(asked.place..).next();
        if before.is_some_and(|(_, it)| *it >= id) || after.is_some_and(|(_, it)| *it <= id) {
            return Err(format!("{message} of {who:?} was accepted out of the order of sending"));
        }
        stream.insert(asked.place, id);
        Ok(())
    }

    fn shown(
        &mut self,
        who: Who,
        connection: u64,
        stream: Stream,
        id: ServerId,
    ) -> Result<(), String> {
        let last = self.on_connection.insert((who, connection, stream), id);
        if last > Some(id) {
            return Err(format!("{who:?} was shown {id} of {stream:?} after {last:?}"));
        }
        let ever = self.ever.entry((who, stream)).or_default();
        if ever.insert(id) && ever.last() > Some(&id) {
            return Err(format!("{who:?} was first shown {id} of {stream:?} after a later one"));
        }
        Ok(())
    }
}
