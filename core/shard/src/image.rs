//! What a store read answers: a user's durable state as the shard keeps it resident.

use bytes::Bytes;
use ringpost_wire::event::Status;
use ringpost_wire::{DeviceId, MessageId, ServerId, UserId};

use crate::record::{MessageHead, Position, QueueEntry, ReceiptEntry};

/// A user as the store knows it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct UserImage {
    /// Every record up to here is in the image, none after it.
    pub applied: Position,
    /// The user's devices, by rising number.
    pub devices: Vec<DeviceImage>,
}

/// A device as the store knows it.
#[derive(Clone, PartialEq, Debug)]
pub struct DeviceImage {
    /// Which device.
    pub device: DeviceId,
    /// The highest `message_id` that was ever accepted from it, nil if none.
    pub highest_accepted: MessageId,
    /// Its queue takes no more entries.
    pub gap: bool,
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

/// What was accepted under a client's id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// The server's id.
    pub id: ServerId,
    /// Digest of the decoded fields.
    pub digest: [u8; 16],
}

/// The store did not answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the store did not answer")]
pub struct StoreUnavailable;
