//! The ledger: what was sent, answered, shown and acked, and whether it keeps the promises.
//!
//! All clients write into one ledger, as they go; it checks what can be checked at once and
//! [`Ledger::close`] checks the rest when all is drained. No sockets, no clock: a ledger is a
//! value. What it holds the server to is section 7 of `PROTOCOL.md`:
//!
//! - each message that was answered `sent` reaches every device of the recipient, and the other
//!   devices of the sender;
//! - however often it is sent, it has one id, and under that id one content; with another content
//!   it is a conflict, which names that id;
//! - a client that remembers ids is never shown it twice;
//! - per sending device and recipient it arrives in the order of acceptance, which is the order
//!   of sending where nothing was refused;
//! - `delivered` names nothing that no device of the recipient has acked.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use ringpost_wire::event::NewMessage;
use ringpost_wire::{DeviceId, MessageId, ServerId, UserId};

/// One device of one user.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Device {
    pub(super) user: UserId,
    pub(super) number: DeviceId,
}

impl fmt::Display for Device {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.user, self.number)
    }
}

/// A message as its sender names it.
pub(super) type Key = (Device, MessageId);

/// What was counted.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Counts {
    /// Messages made.
    pub(crate) made: u64,
    /// Messages answered `sent`.
    pub(crate) acknowledged: u64,
    /// `sent` again, for a message that was sent again.
    pub(crate) acknowledged_again: u64,
    /// Messages sent again.
    pub(crate) repeats: u64,
    /// Messages sent again with another content, and answered with a conflict.
    pub(crate) conflicts: u64,
    /// Refusals to be repeated later.
    pub(crate) refusals: u64,
    /// Messages shown by devices of their recipients.
    pub(crate) shown: u64,
    /// Copies shown by the other devices of their senders.
    pub(crate) copies: u64,
    /// Pushes of what the device had already, which it did not show again.
    pub(crate) redeliveries: u64,
    /// Receipts `delivered`.
    pub(crate) delivered: u64,
    /// Sign-ins.
    pub(crate) sessions: u64,
    /// Sign-ins by a resume ticket.
    pub(crate) resumed: u64,
}

/// One message.
#[derive(Debug)]
struct Entry {
    to: UserId,
    digest: u64,
    /// The place among all that its device sent.
    place: u64,
    id: Option<ServerId>,
}

/// The ledger.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) counts: Counts,
    devices: Vec<Device>,
    entries: HashMap<Key, Entry>,
    /// By device that shows: what it remembers.
    remembered: HashMap<(Device, ServerId), Key>,
    shown: HashMap<(Device, Key), ServerId>,
    /// By device that shows, device that sent and recipient: the newest shown.
    newest: HashMap<(Device, Device, UserId), ServerId>,
    /// By recipient: what a device of theirs acked, or was about to.
    acked: HashSet<(UserId, ServerId)>,
    /// Messages that were sent again with another content.
    altered: HashSet<Key>,
    /// Sending device and recipient between which something was refused.
    refused: HashSet<(Device, UserId)>,
    /// How many times something must be shown, all messages and devices together.
    owed: u64,
}

impl Ledger {
    /// A ledger for these devices, which must all have signed in before anything is sent.
    pub(super) fn new(devices: Vec<Device>) -> Self {
        Self { devices, ..Self::default() }
    }

    /// Who must be shown what `from` sends to `to`.
    fn audience(&self, from: Device, to: UserId) -> impl Iterator<Item = Device> {
        let wanted = move |device: &&Device| {
            device.user == to || (device.user == from.user && device.number != from.number)
        };
        self.devices.iter().filter(wanted).copied()
    }

    /// Notes a message before it is sent for the first time.
    pub(super) fn on_made(&mut self, key: Key, to: UserId, content: &[u8]) {
        let place = self.counts.made;
        let entry = Entry { to, digest: digest(content), place, id: None };
        let before = self.entries.insert(key, entry);
        assert!(before.is_none(), "message ids are made once");
        self.owed += self.audience(key.0, to).count() as u64;
        self.counts.made += 1;
    }

    /// Notes a refusal, after which the message will be sent again behind later ones.
    pub(super) fn on_refused(&mut self, key: Key) {
        self.counts.refusals += 1;
        if let Some(entry) = self.entries.get(&key) {
            self.refused.insert((key.0, entry.to));
        }
    }

    /// Checks a `sent`.
    pub(super) fn on_sent(&mut self, key: Key, peer: UserId, id: ServerId) -> Result<(), String> {
        let Some(entry) = self.entries.get_mut(&key) else {
            return Err(format!("`sent` for {} that was never made", key.1));
        };
        if entry.to != peer {
            return Err(format!("`sent` for {} names {peer}, not {}", key.1, entry.to));
        }
        match entry.id.replace(id) {
            None => self.counts.acknowledged += 1,
            Some(before) if before == id => self.counts.acknowledged_again += 1,
            Some(before) => {
                return Err(format!("`sent` for {} names {id}, before it was {before}", key.1));
            }
        }
        Ok(())
    }

    /// Notes that an answered message is sent again with another content.
    pub(super) fn on_altered(&mut self, key: Key) {
        self.altered.insert(key);
    }

    /// Checks a `conflict`, which names what was accepted.
    pub(super) fn on_conflict(&mut self, key: Key, id: ServerId) -> Result<(), String> {
        self.counts.conflicts += 1;
        let accepted = self.entries.get(&key).and_then(|entry| entry.id);
        match accepted {
            _ if !self.altered.contains(&key) => {
                Err(format!("{} is refused as a conflict and had one content", key.1))
            }
            Some(accepted) if accepted == id => Ok(()),
            _ => Err(format!("the conflict of {} names {id}, accepted: {accepted:?}", key.1)),
        }
    }

    /// Checks a push, new or not.
    pub(super) fn on_push(&mut self, device: Device, push: &NewMessage) -> Result<(), String> {
        let from = Device { user: push.from, number: push.from_device };
        let key = (from, push.message_id);
        let Some(entry) = self.entries.get(&key) else {
            return Err(format!("{} from {from} was pushed and never made", push.message_id));
        };
        if entry.to != push.to || entry.digest != digest(&push.body) {
            return Err(format!("{} was pushed with another recipient or content", key.1));
        }
        if !self.audience(from, push.to).any(|wanted| wanted == device) {
            return Err(format!("{} from {from} is not for this device", key.1));
        }
        if let Some(known) = self.remembered.insert((device, push.id), key) {
            self.counts.redeliveries += 1;
            let same = known == key;
            return if same { Ok(()) } else { Err(format!("{} names two messages", push.id)) };
        }
        if let Some(before) = self.shown.insert((device, key), push.id) {
            return Err(format!("{} was shown twice, as {before} and {}", key.1, push.id));
        }
        if push.to == device.user {
            self.counts.shown += 1;
        } else {
            self.counts.copies += 1;
        }
        match self.newest.insert((device, from, push.to), push.id) {
            Some(before) if before >= push.id => {
                Err(format!("{} ({}) was shown behind the later {before}", key.1, push.id))
            }
            _ => Ok(()),
        }
    }

    /// Notes that a device of `recipient` acks this message; to be called before the ack leaves.
    pub(super) fn on_ack(&mut self, recipient: UserId, id: ServerId) {
        self.acked.insert((recipient, id));
    }

    /// Checks a `delivered`.
    pub(super) fn on_delivered(&mut self, peer: UserId, id: ServerId) -> Result<(), String> {
        self.counts.delivered += 1;
        if self.acked.contains(&(peer, id)) {
            return Ok(());
        }
        Err(format!("`delivered` for {id}, which no device of {peer} has acked"))
    }

    /// How many times something has yet to be shown, all messages and devices together.
    pub(super) fn backlog(&self) -> u64 {
        self.owed.saturating_sub(self.counts.shown + self.counts.copies)
    }

    /// Whether every message was answered and shown by everyone who must show it.
    pub(super) fn is_drained(&self) -> bool {
        self.counts.acknowledged == self.counts.made && self.backlog() == 0
    }

    /// Everything that is wrong with a ledger to which nothing will be added.
    pub(super) fn close(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut accepted = BTreeMap::<_, Vec<_>>::new();
        for (&key, entry) in &self.entries {
            let (from, message_id) = key;
            let Some(id) = entry.id else {
                faults.push(format!("{message_id} of {from} was never answered"));
                continue;
            };
            accepted.entry((from, entry.to)).or_default().push((entry.place, id, message_id));
            for device in self.audience(from, entry.to) {
                match self.shown.get(&(device, key)) {
                    None => faults.push(format!(
                        "{message_id} of {from}, acknowledged as {id}, never reached {device}"
                    )),
                    Some(shown) if *shown != id => faults.push(format!(
                        "{message_id} of {from} was acknowledged as {id}, shown as {shown}"
                    )),
                    Some(_) => {}
                }
            }
        }
        for (stream, mut messages) in accepted {
            messages.sort_unstable();
            let inverted = messages.windows(2).find(|pair| pair[0].1 >= pair[1].1);
            if let Some([(_, _, first), (_, _, second)]) = inverted
                && !self.refused.contains(&stream)
            {
                faults.push(format!("{second} was sent behind {first} and accepted before it"));
            }
        }
        faults
    }
}

fn digest(content: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
