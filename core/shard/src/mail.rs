//! Mail between shards of one node: questions, refusals and ephemera. What is durable travels by
//! the journal.

use std::time::Duration;

use bytes::Bytes;
use ringpost_wire::event::NewMessage;
use ringpost_wire::{DeviceId, DeviceSet, ErrorCode, MessageId, UserId};

/// One piece of mail.
#[derive(Clone, PartialEq, Debug)]
pub enum Mail {
    /// Sender's home to conversation's home: check, stamp and commit this message.
    Send(Box<SendRequest>),
    /// Conversation's home to sender's home: the message was refused.
    Refused {
        /// The sender.
        user: UserId,
        /// The sender's device.
        device: DeviceId,
        /// The client's id.
        message_id: MessageId,
        /// Why.
        code: ErrorCode,
        /// When to repeat, milliseconds from now.
        retry_after_ms: u32,
        /// Which limit it was, or empty.
        detail: &'static str,
    },
    /// Deliver to the devices connected now, or drop.
    Ephemeral(Box<NewMessage>),
    /// Somebody types.
    Typing {
        /// Who types.
        from: UserId,
        /// Whom they write to.
        to: UserId,
        /// Typing, or has stopped.
        active: bool,
    },
}

/// A message on its way from the sender's home to the conversation's home.
#[derive(Clone, PartialEq, Debug)]
pub struct SendRequest {
    /// The client's id.
    pub message_id: MessageId,
    /// The sender.
    pub from: UserId,
    /// The sender's device.
    pub from_device: DeviceId,
    /// The recipient.
    pub to: UserId,
    /// The message answered to.
    pub reply_to: Option<[u8; 16]>,
    /// The client's clock, milliseconds since 1970.
    pub client_timestamp_ms: u64,
    /// Plain text and not ciphertext.
    pub plain: bool,
    /// Digest of the decoded fields.
    pub digest: [u8; 16],
    /// All devices of the sender.
    pub sender_devices: DeviceSet,
    /// The sender's other devices that have room for a copy (reserved).
    pub copy_devices: DeviceSet,
    /// The sender's other devices that are full.
    pub copy_gaps: DeviceSet,
    /// Time of the newest id that the sender's home has stamped, 100 ns ticks: this message's id
    /// lies above, so that an answer follows what it answers although another worker stamps it.
    pub floor_ticks: u64,
    /// When the command was taken (monotonic), for the time that the way took.
    pub asked_at: Duration,
    /// The content, copied once from the ring's buffer.
    pub body: Bytes,
}
