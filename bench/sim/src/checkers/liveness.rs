//! Once nothing goes wrong any more, everything asked is answered, everything answered is shown and
//! every device of its sender is told that it was delivered, within the time that the world allows.

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
    /// The last message of one user to another that was answered.
    last: BTreeMap<(u8, u8), ServerId>,
    /// The highest that a device was told of a peer.
    told: BTreeMap<(Who, u8), ServerId>,
    /// What was owed when the time was up.
    late: Option<String>,
}

impl Liveness {
    /// What is still owed to somebody, if anything.
    pub(crate) fn owed(&self) -> Option<String> {
        if let Some((who, message)) = self.unanswered.first() {
            let canary = self.asked[&(*who, *message)].1;
            return Some(format!("{who:?} has no answer to {canary} ({message})"));
        }
        if let Some((who, canary)) = self.owed.first() {
            return Some(format!("{who:?} was not shown {canary}"));
        }
        let has_gone = |user: u8| self.gone.iter().any(|who| who.user == user);
        let last = self.last.iter().filter(|((_, peer), _)| !has_gone(*peer));
        last.into_iter().find_map(|(&(user, peer), last)| {
            let of_user = self.devices.iter().filter(|who| who.user == user);
            let untold = of_user.copied().find(|&who| self.told.get(&(who, peer)) < Some(last))?;
            Some(format!("{untold:?} was not told that {peer} has {last}"))
        })
    }

    fn sent(&mut self, sender: Who, message: MessageId, id: ServerId) {
        self.unanswered.remove(&(sender, message));
        let Some(&(to, canary)) = self.asked.get(&(sender, message)) else { return };
        let last = self.last.entry((sender.user, to)).or_default();
        *last = (*last).max(id);
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
            Fact::Sent { who, message, id, .. } => self.sent(*who, *message, *id),
            Fact::Shown { who, canary: Some(canary), .. } => {
                self.shown.insert((*who, *canary));
                self.owed.remove(&(*who, *canary));
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
