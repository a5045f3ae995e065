//! What a store read answers: a user's durable state as the shard keeps it resident.

use std::collections::BTreeSet;

use bytes::Bytes;
use ringpost_wire::event::Status;
use ringpost_wire::{DeviceId, MessageId, ServerId, UserId};

use crate::record::{EntryKind, Gap, MessageHead, Position, QueueEntry, ReceiptEntry};

/// A user as the store knows it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct UserImage {
    /// Every record up to here is in the image, none after it.
    pub applied: Position,
    /// The user's devices, by rising number.
    pub devices: Vec<DeviceImage>,
    /// The highest accepted ids under numbers that no device has now, by rising number.
    pub former: Vec<(DeviceId, MessageId)>,
    /// How far the user has the messages of each sender of whom a queue holds one, and has read
    /// them; by sender, then status.
    pub cursors: Vec<(UserId, Status, ServerId)>,
}

impl UserImage {
    /// The senders of the messages in the queues, each once: those whose cursors are needed.
    pub fn senders(devices: &[DeviceImage]) -> BTreeSet<UserId> {
        let entries = devices.iter().flat_map(|device| &device.entries);
        let incoming = entries.filter(|(_, entry)| entry.kind == EntryKind::Incoming);
        incoming.map(|(_, entry)| entry.peer).collect()
    }
}

/// A device as the store knows it.
#[derive(Clone, PartialEq, Debug)]
pub struct DeviceImage {
    /// Which device.
    pub device: DeviceId,
    /// The highest `message_id` that was ever accepted from it, nil if none.
    pub highest_accepted: MessageId,
    /// When it was last seen, to a day; wall clock, milliseconds since 1970.
    pub seen_ms: u64,
    /// The mark of its queue, if something was left out of it.
    pub gap: Option<Gap>,
    /// Its queue, by rising position.
    pub entries: Vec<(Position, QueueEntry)>,
    /// Its receipts, by rising position.
    pub receipts: Vec<(UserId, Status, ReceiptEntry)>,
}

/// A message's row.
#[derive(Clone, PartialEq, Debug)]
pub struct MessageRow {
    /// The record that accepted it.
    pub position: Position,
    /// Everything but the content.
    pub head: MessageHead,
    /// The content.
    pub body: Bytes,
}

/// A message as one asks for it who says to have read it.
#[derive(Clone, PartialEq, Debug)]
pub struct Received {
    /// Everything but the content.
    pub head: MessageHead,
    /// How far its recipient has read its sender's messages; nil: not at all.
    pub read_to: ServerId,
}

/// What was accepted under a client's id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// The server's id.
    pub id: ServerId,
    /// When it was accepted, milliseconds since 1970: the time that its `sent` tells.
    pub accepted_ms: u64,
    /// Digest of the decoded fields.
    pub digest: [u8; 16],
}

impl Accepted {
    /// What is remembered of a message.
    pub const fn of(head: &MessageHead) -> Self {
        Self { id: head.id, accepted_ms: head.accepted_ms, digest: head.digest }
    }
}

/// The store did not answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the store did not answer")]
pub struct StoreUnavailable;
