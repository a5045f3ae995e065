//! `sent` is never said, and nothing is pushed, before the message would survive a loss of power.
//!
//! What survives is seen on the disk itself: by the content, in blocks that were flushed.

use std::collections::{BTreeMap, BTreeSet};

use ringpost_wire::MessageId;

use crate::checkers::Checker;
use crate::fact::{Canary, Fact, Who};

/// The shadow: what has been flushed.
#[derive(Default)]
pub(crate) struct Durability {
    asked: BTreeMap<(Who, MessageId), Canary>,
    durable: BTreeSet<Canary>,
}

impl Checker for Durability {
    fn name(&self) -> &'static str {
        "durability"
    }

    fn see(&mut self, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Asked { who, message, canary, .. } => {
                self.asked.insert((*who, *message), *canary);
            }
            Fact::Durable { canary } => drop(self.durable.insert(*canary)),
            Fact::Sent { who, message, .. } => {
                let canary = self.asked.get(&(*who, *message));
                if canary.is_none_or(|canary| !self.durable.contains(canary)) {
                    return Err(format!("{who:?} was told `sent` of {canary:?}, not on the disk"));
                }
            }
            Fact::Shown { who, canary: Some(canary), .. } if !self.durable.contains(canary) => {
                return Err(format!("{who:?} was shown {canary}, not on the disk"));
            }
            _ => {}
        }
        Ok(())
    }
}
