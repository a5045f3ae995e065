//! Records from a seed: a few users who write to each other (and to themselves), ack in any
//! order, ack again what is gone, move cursors back and forth. Wilder than any shard, because
//! the store must be right for every sequence of records and not only for likely ones.

use std::sync::Arc;

use bytes::Bytes;
use ringpost_shard::record::{
    AckHead, Advance, DeviceAddedHead, DeviceRemovedHead, DeviceSeenHead, EntryKind, GapClosedHead,
    Head, MessageHead, QueueEntry, ReadHead, Record, Settled, SharedRecord,
};
use ringpost_wire::event::Status;
use ringpost_wire::{DeviceId, DeviceSet, MessageId, ServerId, UserId};

/// Users of a world.
const USERS: u64 = 5;

/// Devices that a user may have.
const DEVICES: u64 = 3;

/// A message that was sent.
#[derive(Clone, Copy)]
struct Sent {
    position: u64,
    id: ServerId,
    message_id: MessageId,
    to: UserId,
    /// A device that it was queued for, if it was for one.
    device: Option<DeviceId>,
}

/// Makes records.
pub struct World {
    state: u64,
    records: u64,
    /// The messages so far.
    sent: Vec<Sent>,
}

impl World {
    /// A world; the same seed makes the same records.
    pub const fn new(seed: u64) -> Self {
        Self { state: seed, records: 0, sent: Vec::new() }
    }

    /// The users of every world; the last one is never added.
    pub fn users() -> Vec<UserId> {
        (1..=USERS).map(user).collect()
    }

    /// The next record.
    pub fn record(&mut self) -> SharedRecord {
        self.records += 1;
        let is_young = self.records <= USERS * DEVICES;
        let head = match self.below(if self.sent.is_empty() { 10 } else { 22 }) {
            // Most users and devices are there early, so that most records are seen in an image.
            0 => self.device_added(),
            1..=5 if is_young => self.device_added(),
            1 => {
                let (user, device) = (self.user(), self.device());
                // Level with what was left out lately, or below it.
                let number = self.records.saturating_sub(self.below(12));
                Head::GapClosed(GapClosedHead { user, device, number })
            }
            2..=9 => self.message(),
            10..=16 => self.ack(),
            20 => {
                let (user, device, at_ms) = (self.user(), self.device(), self.below(1 << 40));
                Head::DeviceSeen(DeviceSeenHead { user, device, at_ms })
            }
            21 if self.below(3) == 0 => {
                let (user, device, at_ms) = (self.user(), self.device(), self.records);
                Head::DeviceRemoved(DeviceRemovedHead { user, device, at_ms })
            }
            _ => self.read(),
        };
        let body = match head {
            Head::Message(_) => self.body(),
            _ => Bytes::new(),
        };
        Arc::new(Record { head, body })
    }

    /// The next `count` records.
    pub fn records(&mut self, count: usize) -> Vec<SharedRecord> {
        (0..count).map(|_| self.record()).collect()
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        // splitmix64 (Steele, Lea, Flood 2014): small, and good enough to choose test data.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn user(&mut self) -> UserId {
        user(1 + self.below(USERS))
    }

    fn device(&mut self) -> DeviceId {
        device(1 + self.below(DEVICES))
    }

    fn devices(&mut self) -> DeviceSet {
        (1..=DEVICES).filter(|_| self.below(2) == 0).map(device).collect()
    }

    /// One body in eight is large enough to be stored apart from its key.
    fn body(&mut self) -> Bytes {
        let length = if self.below(8) == 0 { 4_096 } else { self.below(300) };
        vec![self.records as u8; length as usize].into()
    }

    fn device_added(&mut self) -> Head {
        let known_users = USERS - 1;
        Head::DeviceAdded(DeviceAddedHead {
            user: user(1 + self.below(known_users)),
            device: (self.below(4) > 0).then(|| self.device()),
            at_ms: self.records,
        })
    }

    fn message(&mut self) -> Head {
        let id = ServerId((u128::from(self.records) << 64 | 7).to_be_bytes());
        // Client ids do not rise: a queue of sends may be repeated in any order.
        let spread = u128::from(self.below(u64::MAX));
        let message_id = MessageId((spread << 64 | u128::from(self.records)).to_be_bytes());
        let (to, recipient_devices) = (self.user(), self.devices());
        let device = recipient_devices.iter().next();
        self.sent.push(Sent { position: self.records, id, message_id, to, device });
        Head::Message(MessageHead {
            id,
            accepted_ms: self.below(1_000),
            message_id,
            from: self.user(),
            from_device: self.device(),
            to,
            reply_to: (self.below(4) == 0).then_some([9; 16]),
            client_timestamp_ms: self.below(1 << 40),
            plain: self.below(8) == 0,
            digest: [self.below(256) as u8; 16],
            recipient_devices,
            recipient_gaps: if self.below(8) == 0 { self.devices() } else { DeviceSet::EMPTY },
            sender_devices: self.devices(),
            copy_devices: self.devices(),
            copy_gaps: if self.below(8) == 0 { self.devices() } else { DeviceSet::EMPTY },
        })
    }

    /// One of the messages so far, more often a recent one.
    fn sent(&mut self) -> Sent {
        let span = if self.below(2) == 0 { 4 } else { self.sent.len() as u64 };
        let back = self.below(span.min(self.sent.len() as u64)) as usize;
        self.sent[self.sent.len() - 1 - back]
    }

    fn advance(&mut self) -> Advance {
        let Sent { id, message_id, .. } = self.sent();
        Advance { sender: self.user(), sender_devices: self.devices(), id, message_id }
    }

    fn ack(&mut self) -> Head {
        // Mostly a device that has something to ack, with an entry that it has.
        let acked = self.sent();
        let (user, device) = match acked.device {
            Some(device) if self.below(4) > 0 => (acked.to, device),
            _ => (self.user(), self.device()),
        };
        let mut removed: Vec<u64> = (0..self.below(5)).map(|_| self.sent().position).collect();
        let early = (self.below(3) == 0).then(|| self.early(acked));
        if early.is_none() {
            removed.push(acked.position);
        }
        let settled = (0..self.below(4))
            .map(|_| Settled {
                peer: self.user(),
                status: self.status() as u8,
                // Behind what was raised lately, level with it, or far ahead of it.
                position: (self.records + 2).saturating_sub(self.below(12)),
            })
            .collect();
        let delivered = (0..self.below(3)).map(|_| self.advance()).collect();
        let at_ms = self.records;
        let missed_after = (self.below(6) == 0).then(|| self.below(self.records));
        Head::Ack(AckHead { user, device, at_ms, removed, missed_after, early, settled, delivered })
    }

    fn early(&mut self, Sent { position, id, message_id, .. }: Sent) -> (u64, QueueEntry) {
        let entry = QueueEntry {
            kind: EntryKind::Incoming,
            id,
            accepted_ms: self.below(1_000),
            message_id,
            peer: self.user(),
            sender_devices: self.devices(),
            body_bytes: 3,
            acked: true,
        };
        (position, entry)
    }

    fn read(&mut self) -> Head {
        let (user, device, advance) = (self.user(), self.device(), self.advance());
        Head::Read(ReadHead { user, device, at_ms: self.records, advance })
    }

    fn status(&mut self) -> Status {
        if self.below(2) == 0 { Status::Delivered } else { Status::Read }
    }
}

/// A user whose id has the same head as all others': rows of different users are neighbours.
fn user(number: u64) -> UserId {
    UserId((u128::from(number) | 0xaaaa << 112).to_be_bytes())
}

fn device(number: u64) -> DeviceId {
    DeviceId::new(number as u8).expect("a world's device numbers are 1 to 3")
}
