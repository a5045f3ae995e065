//! The same id again gets the same answer, whatever died between; another content under the same id
//! is a conflict, which names what was accepted.

use std::collections::{BTreeMap, BTreeSet};

use ringpost_wire::{MessageId, ServerId};

use crate::checkers::Checker;
use crate::fact::{Fact, Who};

/// The shadow: what each message was accepted as.
#[derive(Default)]
pub(crate) struct Idempotency {
    ids: BTreeMap<(Who, MessageId), ServerId>,
    recipients: BTreeMap<(Who, MessageId), u8>,
    altered: BTreeSet<(Who, MessageId)>,
}

impl Checker for Idempotency {
    fn name(&self) -> &'static str {
        "idempotency"
    }

    fn see(&mut self, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Asked { who, to, message, .. } => {
                self.recipients.insert((*who, *message), *to);
            }
            Fact::Sent { who, to, message, id } => {
                self.agree(*who, *message, *id)?;
                if self.recipients.get(&(*who, *message)).copied() != *to {
                    return Err(format!("{message} of {who:?} was sent to {to:?}"));
                }
            }
            Fact::Altered { who, message } => drop(self.altered.insert((*who, *message))),
            Fact::Refused { who, message, code: "conflict", id } => {
                if !self.altered.contains(&(*who, *message)) {
                    return Err(format!(
                        "{who:?} repeated {message} faithfully: conflict with {id}"
                    ));
                }
                self.agree(*who, *message, *id)?;
            }
            _ => {}
        }
        Ok(())
    }
}

impl Idempotency {
    fn agree(&mut self, who: Who, message: MessageId, id: ServerId) -> Result<(), String> {
        let first = *self.ids.entry((who, message)).or_insert(id);
        if first == id {
            return Ok(());
        }
        Err(format!("{message} of {who:?} was accepted as {first} and as {id}"))
    }
}
