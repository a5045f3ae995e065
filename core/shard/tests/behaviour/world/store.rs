//! The smallest store: it folds `changes` into maps and answers what shards ask.

use std::collections::BTreeMap;

use ringpost_shard::image::{Accepted, DeviceImage, MessageRow, Received, UserImage};
use ringpost_shard::record::{Gap, QueueEntry, ReceiptEntry, Record, status_number};
use ringpost_shard::{Change, Position, changes};
use ringpost_wire::event::Status;
use ringpost_wire::{DeviceId, HistoryCursor, MessageId, ServerId, UserId};

#[derive(Default)]
struct Device {
    seen_ms: u64,
    gap: Option<Gap>,
    entries: BTreeMap<Position, QueueEntry>,
    receipts: BTreeMap<(UserId, u8), ReceiptEntry>,
}

#[derive(Default)]
pub(crate) struct Store {
    pub(crate) applied: Position,
    users: BTreeMap<UserId, BTreeMap<DeviceId, Device>>,
    /// The highest accepted ids, of devices that have left too.
    highest: BTreeMap<(UserId, DeviceId), MessageId>,
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

    /// The device, if it has not been removed.
    fn device_mut(&mut self, user: UserId, device: DeviceId) -> Option<&mut Device> {
        let devices = self.users.get_mut(&user).expect("a user is added before it is written to");
        devices.get_mut(&device)
    }

    /// When the device was seen last, if it is one.
    pub(crate) fn device(&self, user: UserId, device: DeviceId) -> Option<u64> {
        Some(self.users.get(&user)?.get(&device)?.seen_ms)
    }

    fn change(&mut self, change: Change<'_>) {
        match change {
            Change::AddUser { user, .. } => {
                self.users.entry(user).or_default();
            }
            Change::AddDevice { user, device, at_ms } => {
                let devices = self.users.entry(user).or_default();
                let new = Device { seen_ms: at_ms, ..Device::default() };
                assert!(devices.insert(device, new).is_none(), "a device is added once");
            }
            Change::SeeDevice { user, device, at_ms } => {
                let device =
                    self.device_mut(user, device).expect("no device is seen after it left");
                assert!(device.seen_ms < at_ms, "what is known is not said again");
                device.seen_ms = at_ms;
            }
            Change::RemoveDevice { user, device } => {
                let devices = self.users.get_mut(&user).expect("a user stays");
                assert!(devices.remove(&device).is_some(), "a device is removed once");
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
                let highest = self.highest.entry((user, device)).or_default();
                *highest = message_id.max(*highest);
            }
            Change::PutEntry { user, device, position, entry } => {
                let device = self.device_mut(user, device);
                device.expect("nothing is queued for who has left").entries.insert(position, entry);
            }
            Change::DeleteEntry { user, device, position } => {
                let device = self.device_mut(user, device);
                device.expect("nobody acks who has left").entries.remove(&position);
            }
            Change::WidenGap { user, device, number, after } => {
                if let Some(Device { gap, .. }) = self.device_mut(user, device) {
                    *gap = Some(Gap::widened(*gap, number, after));
                }
            }
            Change::CloseGap { user, device, number } => {
                if let Some(Device { gap, .. }) = self.device_mut(user, device) {
                    *gap = Gap::closed(*gap, number);
                }
            }
            Change::RaiseReceipt { user, device, peer, status, receipt } => {
                // The sender may have signed out since.
                let Some(device) = self.device_mut(user, device) else { return };
                let receipts = &mut device.receipts;
                let key = (peer, status_number(status));
                if receipts.get(&key).is_none_or(|standing| standing.id < receipt.id) {
                    receipts.insert(key, receipt);
                }
            }
            Change::SettleReceipt { user, device, peer, status, through } => {
                let device = self.device_mut(user, device);
                let receipts = &mut device.expect("nobody acks who has left").receipts;
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
                highest_accepted: self.highest.get(&(user, device)).copied().unwrap_or_default(),
                seen_ms: state.seen_ms,
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
        let ids = self.highest.iter().filter(|((owner, _), _)| *owner == user);
        let former = ids.filter(|((_, device), _)| !self.users[&user].contains_key(device));
        let former = former.map(|(&(_, device), &id)| (device, id)).collect();
        let cursors = cursors.collect();
        Some(UserImage { applied: self.applied, former, cursors, devices })
    }

    pub(crate) fn received(&self, id: ServerId) -> Option<Received> {
        let head = self.messages.get(&id)?.head.clone();
        let cursor = self.cursors.get(&(head.to, head.from, status_number(Status::Read)));
        Some(Received { read_to: cursor.copied().unwrap_or_default(), head })
    }

    /// What a client that asks for history behind a cursor is answered, all of it.
    pub(crate) fn history(&self, user: UserId, after: &str) -> Vec<&MessageRow> {
        let after = HistoryCursor::from_text(after).expect("a cursor that was told");
        let own = |row: &&MessageRow| {
            row.position.0 > after.0 && [row.head.from, row.head.to].contains(&user)
        };
        self.messages.values().filter(own).collect()
    }

    /// The mark of a device's queue.
    pub(crate) fn gap(&self, user: UserId, device: DeviceId) -> Option<Gap> {
        self.users.get(&user)?.get(&device)?.gap
    }

    pub(crate) fn users(&self) -> impl Iterator<Item = UserId> {
        self.users.keys().copied()
    }
}
