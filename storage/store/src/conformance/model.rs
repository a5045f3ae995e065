//! The reference: durable state as a fold of single changes over typed maps.

use std::collections::{BTreeMap, BTreeSet};

use ringpost_shard::change::{Change, changes};
use ringpost_shard::image::{Accepted, DeviceImage, MessageRow, Received, UserImage};
use ringpost_shard::record::{EntryKind, Gap, Position, QueueEntry, ReceiptEntry, Record};
use ringpost_wire::event::Status;
use ringpost_wire::{DeviceId, DeviceSet, MessageId, ServerId, UserId};

use crate::trace::Trace;

type Queue<T> = BTreeMap<(UserId, DeviceId), T>;

/// What a store must hold after some records.
#[derive(Clone, Default)]
pub struct Model {
    applied: Position,
    stamp: ServerId,
    users: BTreeSet<UserId>,
    /// When each was seen last.
    devices: BTreeMap<(UserId, DeviceId), u64>,
    messages: BTreeMap<ServerId, MessageRow>,
    accepted: BTreeMap<(UserId, DeviceId, MessageId), Accepted>,
    highest: Queue<MessageId>,
    gaps: Queue<Gap>,
    entries: Queue<BTreeMap<Position, QueueEntry>>,
    receipts: Queue<BTreeMap<(UserId, Status), ReceiptEntry>>,
    cursors: BTreeMap<(UserId, UserId, Status), ServerId>,
}

impl Model {
    /// The state of an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// The last record folded.
    pub const fn applied(&self) -> Position {
        self.applied
    }

    /// The highest server id of all messages.
    pub const fn stamp(&self) -> ServerId {
        self.stamp
    }

    /// Folds the next record.
    pub fn apply(&mut self, record: &Record) {
        self.applied.0 += 1;
        changes(self.applied, record, &mut |change| self.change(change));
    }

    fn change(&mut self, change: Change<'_>) {
        match change {
            Change::AddUser { user, .. } => {
                self.users.insert(user);
            }
            Change::AddDevice { user, device, at_ms } => {
                self.clear((user, device));
                self.devices.insert((user, device), at_ms);
            }
            Change::SeeDevice { user, device, at_ms } => {
                if let Some(seen_ms) = self.devices.get_mut(&(user, device)) {
                    *seen_ms = at_ms.max(*seen_ms);
                }
            }
            Change::RemoveDevice { user, device } => self.clear((user, device)),
            Change::PutMessage { position, head, body } => {
                self.stamp = self.stamp.max(head.id);
                let row = MessageRow { position, head: head.clone(), body: body.clone() };
                self.messages.insert(head.id, row);
            }
            Change::PutAccepted { user, device, message_id, id, accepted_ms, digest } => {
                self.accepted
                    .insert((user, device, message_id), Accepted { id, accepted_ms, digest });
                let highest = self.highest.entry((user, device)).or_default();
                *highest = message_id.max(*highest);
            }
            Change::PutEntry { user, device, position, entry } => {
                self.entries.entry((user, device)).or_default().insert(position, entry);
            }
            Change::DeleteEntry { user, device, position } => {
                self.entries.entry((user, device)).or_default().remove(&position);
            }
            Change::WidenGap { user, device, number, after } => {
                let gap = self.gaps.entry((user, device)).or_insert(Gap { number, after });
                gap.number = number.max(gap.number);
                gap.after = after.min(gap.after);
            }
            Change::CloseGap { user, device, number } => {
                if self.gaps.get(&(user, device)).is_some_and(|gap| gap.number <= number) {
                    self.gaps.remove(&(user, device));
                }
            }
            Change::RaiseReceipt { user, device, peer, status, receipt } => {
                let receipts = self.receipts.entry((user, device)).or_default();
                let row = receipts.entry((peer, status)).or_insert(receipt);
                if receipt.id > row.id {
                    *row = receipt;
                }
            }
            Change::SettleReceipt { user, device, peer, status, through } => {
                let receipts = self.receipts.entry((user, device)).or_default();
                if receipts.get(&(peer, status)).is_some_and(|row| row.position <= through.0) {
                    receipts.remove(&(peer, status));
                }
            }
            Change::RaiseCursor { reader, sender, status, id } => {
                let cursor = self.cursors.entry((reader, sender, status)).or_default();
                *cursor = id.max(*cursor);
            }
        }
    }

    /// Lets everything go that stands under a device's number, but what was accepted.
    fn clear(&mut self, device: (UserId, DeviceId)) {
        self.devices.remove(&device);
        self.gaps.remove(&device);
        self.entries.remove(&device);
        self.receipts.remove(&device);
    }

    /// What `Store::user` answers.
    pub fn user(&self, user: UserId) -> Option<UserImage> {
        if !self.users.contains(&user) {
            return None;
        }
        let own = self.devices.iter().filter(|((owner, _), _)| *owner == user);
        let devices: Vec<_> = own.map(|(&key, &seen_ms)| self.device(key, seen_ms)).collect();
        let ids = self.highest.iter().filter(|(key, _)| key.0 == user);
        let former = ids.filter(|(key, _)| !self.devices.contains_key(key));
        let former = former.map(|(&(_, device), &id)| (device, id)).collect();
        let entries = || devices.iter().flat_map(|device| &device.entries);
        let is_queued =
            |sender| entries().any(|(_, it)| it.kind == EntryKind::Incoming && it.peer == sender);
        let cursors = self
            .cursors
            .iter()
            .filter(|((reader, sender, _), _)| *reader == user && is_queued(*sender));
        let cursors = cursors.map(|(&(_, sender, status), &id)| (sender, status, id)).collect();
        Some(UserImage { applied: self.applied, devices, former, cursors })
    }

    /// What `Store::received` answers.
    pub fn received(&self, id: ServerId) -> Option<Received> {
        let head = self.messages.get(&id)?.head.clone();
        let read_to = self.cursor(head.to, head.from, Status::Read).unwrap_or_default();
        Some(Received { head, read_to })
    }

    fn device(&self, key: (UserId, DeviceId), seen_ms: u64) -> DeviceImage {
        let entries = self.entries.get(&key).into_iter().flatten();
        let receipts = self.receipts.get(&key).into_iter().flatten();
        let mut receipts: Vec<_> =
            receipts.map(|(&(peer, status), &receipt)| (peer, status, receipt)).collect();
        receipts.sort_by_key(|(_, _, receipt)| receipt.position);
        DeviceImage {
            device: key.1,
            highest_accepted: self.highest.get(&key).copied().unwrap_or_default(),
            seen_ms,
            gap: self.gaps.get(&key).copied(),
            entries: entries.map(|(&position, &entry)| (position, entry)).collect(),
            receipts,
        }
    }

    /// All that was accepted.
    pub fn accepted(&self) -> impl Iterator<Item = (&(UserId, DeviceId, MessageId), &Accepted)> {
        self.accepted.iter()
    }

    /// What `Store::named` answers without a limit.
    pub fn named(&self, message_id: MessageId, sender: Option<UserId>) -> Vec<ServerId> {
        let under = self.accepted.iter().filter(|((user, _, named), _)| {
            *named == message_id && sender.is_none_or(|sender| sender == *user)
        });
        under.map(|(_, accepted)| accepted.id).collect()
    }

    /// What `Store::trace` answers.
    pub fn trace(&self, id: ServerId) -> Option<Trace> {
        let MessageRow { position, head, body } = self.messages.get(&id)?.clone();
        let entries = |user, devices: DeviceSet| {
            let entry = |device| {
                let queue = self.entries.get(&(user, device));
                (device, queue.and_then(|queue| queue.get(&position)).copied())
            };
            devices.iter().map(entry).collect()
        };
        let is_at = |status| self.cursor(head.to, head.from, status).is_some_and(|at| id <= at);
        let receipts = head.sender_devices.iter().flat_map(|device| {
            [Status::Delivered, Status::Read].into_iter().filter_map(move |status| {
                let receipt = self.receipts.get(&(head.from, device))?.get(&(head.to, status))?;
                (receipt.id >= id).then_some((device, status, *receipt))
            })
        });
        Some(Trace {
            applied: self.applied,
            position,
            body_bytes: body.len() as u64,
            recipients: entries(head.to, head.recipient_devices),
            copies: entries(head.from, head.copy_devices),
            delivered: is_at(Status::Delivered),
            read: is_at(Status::Read),
            receipts: receipts.collect(),
            head: head.clone(),
        })
    }

    /// All messages, by rising id.
    pub fn messages(&self) -> impl Iterator<Item = &MessageRow> {
        self.messages.values()
    }

    /// The conversation of two users, newest first.
    pub fn conversation(&self, user: UserId, peer: UserId) -> Vec<MessageRow> {
        let ends = [(user, peer), (peer, user)];
        let rows = self.messages.values().rev();
        rows.filter(|row| ends.contains(&(row.head.from, row.head.to))).cloned().collect()
    }

    /// What a user sent and was sent, in the journal's order; with `peer`, only with that peer.
    pub fn timeline(&self, user: UserId, peer: Option<UserId>) -> Vec<MessageRow> {
        let is_own = |row: &&MessageRow| {
            let (from, to) = (row.head.from, row.head.to);
            match peer {
                None => from == user || to == user,
                Some(peer) => (from, to) == (user, peer) || (from, to) == (peer, user),
            }
        };
        let mut rows: Vec<_> = self.messages.values().filter(is_own).cloned().collect();
        rows.sort_by_key(|row| row.position);
        rows
    }

    /// What `Store::cursor` answers.
    pub fn cursor(&self, reader: UserId, sender: UserId, status: Status) -> Option<ServerId> {
        self.cursors.get(&(reader, sender, status)).copied()
    }
}
