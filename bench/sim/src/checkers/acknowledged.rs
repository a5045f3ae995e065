//! Nothing acknowledged is lost: what was `sent` comes to every device of the recipient, and to the
//! sender's other devices, from the queue or from history behind an announced gap. The server can always read its own data, unless the disk has damaged it:
//! then it may refuse to start, until the disk is repaired; or the disk fails just then: that excuses
//! this start alone.

use std::collections::{BTreeMap, BTreeSet};

use ringpost_wire::MessageId;

use crate::checkers::Checker;
use crate::fact::{Canary, Fact, Who};

/// The shadow: what was asked, acknowledged and shown.
#[derive(Default)]
pub(crate) struct Acknowledged {
    devices: BTreeSet<Who>,
    /// Signed out: nothing is promised to them any more.
    gone: BTreeSet<Who>,
    asked: BTreeMap<(Who, MessageId), (u8, Canary)>,
    sent: BTreeSet<(Who, MessageId)>,
    shown: BTreeSet<(Who, Canary)>,
    is_damaged: bool,
    /// The disk has failed since the server died, or last refused to start.
    has_failed: bool,
}

impl Checker for Acknowledged {
    fn name(&self) -> &'static str {
        "acknowledged"
    }

    fn see(&mut self, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::SignedIn { who, .. } => drop(self.devices.insert(*who)),
            Fact::SigningOut { who } => drop(self.gone.insert(*who)),
            Fact::Asked { who, to, message, canary, .. } => {
                self.asked.insert((*who, *message), (*to, *canary));
            }
            Fact::Sent { who, message, .. } => drop(self.sent.insert((*who, *message))),
            Fact::Shown { who, canary: Some(canary), .. }
            | Fact::Fetched { who, canary: Some(canary), .. } => {
                self.shown.insert((*who, *canary));
            }
            Fact::Damaged => self.is_damaged = true,
            Fact::Repaired => self.is_damaged = false,
            Fact::DiskFailed => self.has_failed = true,
            Fact::Died { .. } | Fact::Started { .. } => self.has_failed = false,
            Fact::Unusable { why } => {
                let is_excused = std::mem::take(&mut self.has_failed) || self.is_damaged;
                if !is_excused {
                    return Err(format!("the server cannot start: {why}"));
                }
            }
            Fact::End => return self.check_all(),
            _ => {}
        }
        Ok(())
    }
}

impl Acknowledged {
    fn check_all(&self) -> Result<(), String> {
        for (sender, message) in &self.sent {
            let Some((to, canary)) = self.asked.get(&(*sender, *message)) else {
                return Err(format!("{sender:?} never asked for what was `sent`: {message}"));
            };
            let readers = self
                .devices
                .difference(&self.gone)
                .filter(|who| **who != *sender && (who.user == *to || who.user == sender.user));
            for reader in readers {
                if !self.shown.contains(&(*reader, *canary)) {
                    return Err(format!(
                        "{canary} of {sender:?} was `sent` and never came to {reader:?}"
                    ));
                }
            }
        }
        Ok(())
    }
}
