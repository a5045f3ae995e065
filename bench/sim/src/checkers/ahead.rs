//! A message whose sender was told `sent` before a device said `hello` comes ahead of that
//! connection's `queue_empty`, unless the device has acked it before, or read it from history. If
//! `queue_empty` tells a gap it may lie in that: then it is read before the gap is closed.

use std::collections::{BTreeMap, BTreeSet};

use ringpost_wire::{MessageId, ServerId};

use crate::checkers::Checker;
use crate::fact::{Fact, Who};

/// The shadow: what waits for each device.
#[derive(Default)]
pub(crate) struct Ahead {
    devices: BTreeSet<Who>,
    /// Signed out: nothing waits for them any more.
    gone: BTreeSet<Who>,
    recipients: BTreeMap<(Who, MessageId), u8>,
    sent: BTreeSet<ServerId>,
    /// Told `sent`, and never acked by this device.
    waiting: BTreeSet<(Who, ServerId)>,
    acked: BTreeSet<(Who, ServerId)>,
    /// What must come on the present connection before `queue_empty`.
    ahead: BTreeMap<Who, BTreeSet<ServerId>>,
    /// What did not, and must lie in the gap that was told.
    in_gap: BTreeMap<Who, BTreeSet<ServerId>>,
}

impl Checker for Ahead {
    fn name(&self) -> &'static str {
        "ahead"
    }

    fn see(&mut self, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Asked { who, to, message, .. } => {
                self.recipients.insert((*who, *message), *to);
            }
            Fact::Sent { who, message, id, .. } => self.sent(*who, *message, *id),
            Fact::SigningOut { who } => {
                self.gone.insert(*who);
                self.waiting.retain(|(waits, _)| waits != who);
                self.ahead.remove(who);
                self.in_gap.remove(who);
            }
            Fact::Greeted { who } => {
                let own = (*who, ServerId::default())..=(*who, ServerId([0xff; 16]));
                let ahead = self.waiting.range(own).map(|(_, id)| *id).collect();
                self.ahead.insert(*who, ahead);
                self.in_gap.remove(who);
            }
            Fact::Shown { who, id, .. } => self.has(*who, *id),
            Fact::Acked { who, id } => {
                self.acked.insert((*who, *id));
                self.waiting.remove(&(*who, *id));
            }
            Fact::Fetched { who, id, .. } => {
                self.has(*who, *id);
                self.acked.insert((*who, *id));
                self.waiting.remove(&(*who, *id));
            }
            Fact::QueueEmpty { who, gap: Some(_) } => {
                self.devices.insert(*who);
                let left = self.ahead.remove(who).unwrap_or_default();
                self.in_gap.entry(*who).or_default().extend(left);
            }
            Fact::GapClosed { who, gap } => {
                if let Some(id) = self.in_gap.remove(who).and_then(|left| left.first().copied()) {
                    return Err(format!("{who:?} has read its gap {gap}, and {id} is not in it"));
                }
            }
            Fact::QueueEmpty { who, .. } => {
                self.devices.insert(*who);
                let ahead = self.ahead.remove(who).unwrap_or_default();
                if let Some(id) = ahead.first() {
                    let count = ahead.len();
                    return Err(format!(
                        "{who:?} has an empty queue, and {id} was sent before: {count} such"
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Ahead {
    fn has(&mut self, who: Who, id: ServerId) {
        for missing in [&mut self.ahead, &mut self.in_gap] {
            missing.entry(who).or_default().remove(&id);
        }
    }

    fn sent(&mut self, sender: Who, message: MessageId, id: ServerId) {
        let Some(to) = self.recipients.get(&(sender, message)) else { return };
        if !self.sent.insert(id) {
            return;
        }
        for device in self.devices.difference(&self.gone).filter(|it| **it != sender) {
            let is_meant = device.user == *to || device.user == sender.user;
            if is_meant && !self.acked.contains(&(*device, id)) {
                self.waiting.insert((*device, id));
            }
        }
    }
}
