//! A client that remembers message ids shows each message once: a message of a device has one
//! server id wherever it is shown, and a connection is shown it once.

use std::collections::{BTreeMap, BTreeSet};

use ringpost_wire::{MessageId, ServerId};

use crate::checkers::Checker;
use crate::fact::{Fact, Who};

/// The shadow: what was shown, where and as what.
#[derive(Default)]
pub(crate) struct Duplicates {
    ids: BTreeMap<(Who, MessageId), ServerId>,
    shown: BTreeSet<(Who, u64, ServerId)>,
}

impl Checker for Duplicates {
    fn name(&self) -> &'static str {
        "duplicates"
    }

    fn see(&mut self, fact: &Fact) -> Result<(), String> {
        let Fact::Shown { who, connection, from: Some(from), message, id, canary: Some(_), .. } =
            fact
        else {
            return Ok(());
        };
        if !self.shown.insert((*who, *connection, *id)) {
            return Err(format!("{who:?} was shown {id} twice on connection {connection}"));
        }
        let first = *self.ids.entry((*from, *message)).or_insert(*id);
        if first != *id {
            return Err(format!("{message} of {from:?} is shown as {first} and as {id}"));
        }
        Ok(())
    }
}
