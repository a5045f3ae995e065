//! Once nothing goes wrong any more, everything asked is answered, everything answered is shown or
//! read from history, and every device of the sender of what was acked is told that it was delivered,
//! within the time that the world allows.

use std::collections::{BTreeMap, BTreeSet};

use ringpost_wire::{MessageId, ServerId};

use crate::checkers::Checker;
use crate::fact::{Canary, Fact, Step, Who};

/// The shadow: what is still owed.
#[derive(Default)]
pub(crate) struct Liveness {
    devices: BTreeSet<Who>,
    /// Signed out: nothing is owed to them any more, nor does anybody ack for them.
    gone: BTreeSet<Who>,
    asked: BTreeMap<(Who, MessageId), (u8, Canary)>,
    unanswered: BTreeSet<(Who, MessageId)>,
    answered: BTreeSet<Canary>,
    shown: BTreeSet<(Who, Canary)>,
    owed: BTreeSet<(Who, Canary)>,
    /// Who sent a message to whom.
    directions: BTreeMap<ServerId, (u8, u8)>,
    /// What a device of the recipient has acked, by sender and recipient.
    acked: BTreeMap<(u8, u8), BTreeSet<ServerId>>,
    /// Receipts wait until their device comes, however late.
    receipts_last: bool,
    /// The highest that a device was told of a peer.
    told: BTreeMap<(Who, u8), ServerId>,
    /// What was owed when the time was up.
    late: Option<String>,
}

impl Liveness {
    /// Nothing is owed yet. Where queues keep things for a short time, receipts leave untold.
    pub(crate) fn new(receipts_last: bool) -> Self {
        Self { receipts_last, ..Self::default() }
    }

    /// What is still owed to somebody, if anything.
    pub(crate) fn owed(&self) -> Option<String> {
        if let Some((who, message)) = self.unanswered.first() {
            let canary = self.asked[&(*who, *message)].1;
            return Some(format!("{who:?} has no answer to {canary} ({message})"));
        }
        if let Some((who, canary)) = self.owed.first() {
            return Some(format!("{who:?} was not shown {canary}"));
        }
        if !self.receipts_last {
            return None;
        }
        let has_gone = |user: u8| self.gone.iter().any(|who| who.user == user);
        let acked = self.acked.iter().filter(|((_, peer), _)| !has_gone(*peer));
        acked.into_iter().find_map(|(&(user, peer), acked)| {
            let last = acked.last()?;
            let of_user = self.devices.iter().filter(|who| who.user == user);
            let untold = of_user.copied().find(|&who| self.told.get(&(who, peer)) < Some(last))?;
            Some(format!("{untold:?} was not told that {peer} has {last}"))
        })
    }

    fn has(&mut self, who: Who, canary: Canary) {
        self.shown.insert((who, canary));
        self.owed.remove(&(who, canary));
    }

    fn sent(&mut self, sender: Who, message: MessageId) {
        self.unanswered.remove(&(sender, message));
        let Some(&(to, canary)) = self.asked.get(&(sender, message)) else { return };
        if !self.answered.insert(canary) {
            return;
        }
        let readers = self
            .devices
            .iter()
            .filter(|who| !self.gone.contains(who))
            .filter(|who| **who != sender && (who.user == to || who.user == sender.user));
        self.owed
            .extend(readers.map(|who| (*who, canary)).filter(|owed| !self.shown.contains(owed)));
    }
}

impl Checker for Liveness {
    fn name(&self) -> &'static str {
        "liveness"
    }

    fn see(&mut self, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::SignedIn { who, .. } => drop(self.devices.insert(*who)),
            Fact::SigningOut { who } => {
                self.gone.insert(*who);
                self.owed.retain(|(owed, _)| owed != who);
            }
            Fact::Asked { who, to, message, canary, .. } => {
                let before = self.asked.insert((*who, *message), (*to, *canary));
                self.unanswered.extend(before.is_none().then_some((*who, *message)));
            }
            Fact::Sent { who, message, .. } => self.sent(*who, *message),
            Fact::Shown { who, canary: Some(canary), from, to, id, .. } => {
                self.has(*who, *canary);
                if let (Some(from), Some(to)) = (from, to) {
                    self.directions.insert(*id, (from.user, *to));
                }
            }
            Fact::Acked { who, id } => {
                if let Some(direction) = self.directions.get(id).filter(|it| it.1 == who.user) {
                    self.acked.entry(*direction).or_default().insert(*id);
                }
            }
            Fact::Fetched { who, id, canary: Some(canary), .. } => {
                self.has(*who, *canary);
                // Its ack may have been lost, and the message have left the queue by age.
                for acked in self.acked.values_mut() {
                    acked.remove(id);
                }
            }
            Fact::Told { who, peer: Some(peer), step: Step::Delivered, id, .. } => {
                let told = self.told.entry((*who, *peer)).or_default();
                *told = (*told).max(*id);
            }
            Fact::TimeUp => {
                let late = self.owed().unwrap_or_else(|| "a device has no session".to_owned());
                self.late = Some(late);
            }
            Fact::End => {
                if let Some(late) = &self.late {
                    return Err(format!("when the time was up: {late}"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
