//! The smallest store: it folds `changes` into maps and answers what shards ask.

use std::collections::BTreeMap;

use ringpost_shard::image::{Accepted, DeviceImage, MessageRow, Received, UserImage};
use ringpost_shard::record::{QueueEntry, ReceiptEntry, Record, status_number};
use ringpost_shard::{Change, Position, changes};
use ringpost_wire::event::Status;
use ringpost_wire::{DeviceId, MessageId, ServerId, UserId};

#[derive(Default)]
struct Device {
    highest: MessageId,
    gap: bool,
    entries: BTreeMap<Position, QueueEntry>,
    receipts: BTreeMap<(UserId, u8), ReceiptEntry>,
}

#[derive(Default)]
pub(crate) struct Store {
    pub(crate) applied: Position,
    users: BTreeMap<UserId, BTreeMap<DeviceId, Device>>,
    pub(crate) messages: BTreeMap<ServerId, MessageRow>,
    pub(crate) accepted: BTreeMap<(UserId, DeviceId, MessageId), Accepted>,
    /// By reader, sender and status.
    pub(crate) cursors: BTreeMap<(UserId, UserId, u8), ServerId>,
}

impl Store {
    pub(crate) fn apply(&mut self, position: Position, record: &Record) {
        assert_eq!(position.0, self.applied.0 + 1, "applied in order, once");
        changes(position, record, &mut |change| self.change(change));
        self.applied = position;
    }

    fn device(&mut self, user: UserId, device: DeviceId) -> &mut Device {
        let devices = self.users.get_mut(&user).expect("a user is added before it is written to");
        devices.get_mut(&device).expect("a device is added before it is written to")
    }

    fn change(&mut self, change: Change<'_>) {
        match change {
            Change::AddUser { user, .. } => {
                self.users.entry(user).or_default();
            }
            Change::AddDevice { user, device, .. } => {
                self.users.entry(user).or_default().entry(device).or_default();
            }
            Change::PutMessage { position, head, body } => {
                let row = MessageRow { position, head: head.clone(), body: body.clone() };
                let before = self.messages.insert(head.id, row);
                assert!(before.is_none(), "{} was stamped twice", head.id);
            }
            Change::PutAccepted { user, device, message_id, id, accepted_ms, digest } => {
                let accepted = Accepted { id, accepted_ms, digest };
                let before = self.accepted.insert((user, device, message_id), accepted);
                assert!(before.is_none(), "{message_id} of {user} was accepted twice");
                let device = self.device(user, device);
                device.highest = device.highest.max(message_id);
            }
            Change::PutEntry { user, device, position, entry } => {
                self.device(user, device).entries.insert(position, entry);
            }
            Change::DeleteEntry { user, device, position } => {
                self.device(user, device).entries.remove(&position);
            }
            Change::SetGap { user, device, gap } => self.device(user, device).gap = gap,
            Change::RaiseReceipt { user, device, peer, status, receipt } => {
                let receipts = &mut self.device(user, device).receipts;
                let key = (peer, status_number(status));
                if receipts.get(&key).is_none_or(|standing| standing.id < receipt.id) {
                    receipts.insert(key, receipt);
                }
            }
            Change::SettleReceipt { user, device, peer, status, through } => {
                let receipts = &mut self.device(user, device).receipts;
                let key = (peer, status_number(status));
                if receipts.get(&key).is_some_and(|standing| standing.position <= through.0) {
                    receipts.remove(&key);
                }
            }
            Change::RaiseCursor { reader, sender, status, id } => {
                let cursor =
                    self.cursors.entry((reader, sender, status_number(status))).or_default();
                assert!(id > *cursor, "{status:?} of {sender} by {reader} is told twice, or back");
                *cursor = id;
            }
        }
    }

    pub(crate) fn image(&self, user: UserId) -> Option<UserImage> {
        let devices = self.users.get(&user)?;
        let devices = devices.iter().map(|(&device, state)| {
            let mut receipts: Vec<_> = state
                .receipts
                .iter()
                .map(|(&(peer, status), &receipt)| {
                    let read = status == status_number(Status::Read);
                    (peer, if read { Status::Read } else { Status::Delivered }, receipt)
                })
                .collect();
            receipts.sort_by_key(|(_, _, receipt)| receipt.position);
            DeviceImage {
                device,
                highest_accepted: state.highest,
                gap: state.gap,
                entries: state.entries.iter().map(|(&at, &entry)| (at, entry)).collect(),
                receipts,
            }
        });
        let devices: Vec<_> = devices.collect();
        let cursors = UserImage::senders(&devices).into_iter().flat_map(|sender| {
            [Status::Delivered, Status::Read].into_iter().filter_map(move |status| {
                let id = self.cursors.get(&(user, sender, status_number(status)))?;
                Some((sender, status, *id))
            })
        });
        Some(UserImage { applied: self.applied, cursors: cursors.collect(), devices })
    }

    pub(crate) fn received(&self, id: ServerId) -> Option<Received> {
        let head = self.messages.get(&id)?.head.clone();
        let cursor = self.cursors.get(&(head.to, head.from, status_number(Status::Read)));
        Some(Received { read_to: cursor.copied().unwrap_or_default(), head })
    }

    pub(crate) fn users(&self) -> impl Iterator<Item = UserId> {
        self.users.keys().copied()
    }
}
