//! However often a message is sent, over whatever crashes: one answer, one id; and another content
//! under the same name is a conflict, which names what was accepted.

use std::collections::{HashMap, HashSet};

use ringpost_wire::{ServerId, UserId};

use super::Checker;
use crate::observed::{Key, Observed};

#[derive(Default)]
pub(super) struct Idempotency {
    to: HashMap<Key, UserId>,
    accepted: HashMap<Key, ServerId>,
    altered: HashSet<Key>,
}

impl Checker for Idempotency {
    fn name(&self) -> &'static str {
        "idempotency"
    }

    fn see(&mut self, event: &Observed) -> Result<(), String> {
        match event {
            Observed::Made { key, to, .. } => {
                self.to.insert(*key, *to);
            }
            Observed::Altered { key } => {
                self.altered.insert(*key);
            }
            Observed::Sent { key, to, id } => {
                if self.to.get(key) != Some(to) {
                    return Err(format!("`sent` for {} names another recipient", key.1));
                }
                let before = *self.accepted.entry(*key).or_insert(*id);
                if before != *id {
                    return Err(format!("`sent` for {} says {id}, before {before}", key.1));
                }
            }
            Observed::Conflict { key, id } => {
                if !self.altered.contains(key) {
                    return Err(format!("{} had one content and is a conflict", key.1));
                }
                if self.accepted.get(key) != Some(id) {
                    return Err(format!(
                        "the conflict of {} names {id}, not what was accepted",
                        key.1
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
