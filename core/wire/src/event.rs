//! Events: what the server tells a client. JSON and binary are encoded from the same type.

use bytes::Bytes;

use crate::code::{CloseCode, ErrorCode};
use crate::id::{DeviceId, MessageId, ServerId, UserId};

/// One event for a client.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// The session stands.
    Welcome(Welcome),
    /// A message was sent, delivered or read.
    Receipt(Receipt),
    /// A message for this device.
    NewMessage(NewMessage),
    /// Somebody is typing.
    Typing { from: UserId, active: bool },
    /// A subscribed user's presence.
    Presence { user: UserId, online: bool, last_seen_ms: u64 },
    /// The device's queue has been pushed to its end. With `gap` entries were not kept: catch up
    /// by history; then `push` is the number to ack (0 = nothing to ack).
    QueueEmpty { push: u64, gap: bool },
    /// A command was refused.
    Error(Error),
    /// The server ends this connection soon: reconnect after `reconnect_after_ms`.
    GoAway { code: CloseCode, reconnect_after_ms: u32 },
    /// Asks for a `pong`.
    Ping { nonce: u64 },
    /// Answer to the client's `ping`.
    Pong { nonce: u64 },
}

/// The session stands.
#[derive(Clone, PartialEq, Debug)]
pub struct Welcome {
    /// The user signed in.
    pub user: UserId,
    /// The device signed in.
    pub device: DeviceId,
    /// Opaque; presented in the next `hello` instead of a token.
    pub ticket: Bytes,
    /// How long the ticket serves, milliseconds from now.
    pub ticket_ttl_ms: u32,
    /// The server's clock, milliseconds since 1970.
    pub server_time_ms: u64,
    /// The granted window of unacked stored pushes.
    pub window_pushes: u32,
    /// The granted window in bytes.
    pub window_bytes: u32,
    /// Largest content of one message, bytes.
    pub message_bytes_max: u32,
    /// The server pings a client that was silent for this long, milliseconds.
    pub ping_interval_ms: u32,
}

/// A message for this device.
#[derive(Clone, PartialEq, Debug)]
pub struct NewMessage {
    /// Number of this stored push on this connection, from 1; 0 = ephemeral, nothing to ack.
    pub push: u64,
    /// The server's id.
    pub id: ServerId,
    /// The sender's id.
    pub message_id: MessageId,
    /// The sender.
    pub from: UserId,
    /// The sender's device.
    pub from_device: DeviceId,
    /// The recipient (oneself, or whom another device of oneself wrote to).
    pub to: UserId,
    /// The message answered to, as the sender gave it.
    pub reply_to: Option<[u8; 16]>,
    /// The sender's clock, milliseconds since 1970.
    pub client_timestamp_ms: u64,
    /// Never stored.
    pub ephemeral: bool,
    /// The content is plain text (only where the configuration allows it).
    pub plain: bool,
    /// Ciphertext, or UTF-8 text if `plain`.
    pub body: Bytes,
}

/// What became of a message that one sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// Number of this stored push; 0 for `sent`, which is an answer and not an entry of the queue.
    pub push: u64,
    /// The server's id. For `delivered` and `read`: this message and all before it in the
    /// conversation with `peer`, in this direction.
    pub id: ServerId,
    /// The client's id (nil where a cursor moved over several messages of which this one is the
    /// last and its client id is not known).
    pub message_id: MessageId,
    /// The other side of the conversation.
    pub peer: UserId,
    /// Sent, delivered or read.
    pub status: Status,
    /// The server's clock at that moment, milliseconds since 1970.
    pub timestamp_ms: u64,
}

/// How far a message has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Status {
    /// Durable at the server.
    Sent = 1,
    /// A device of the recipient has acked it.
    Delivered = 2,
    /// The recipient has read it.
    Read = 3,
}

/// A refusal of one command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Error {
    /// Why.
    pub code: ErrorCode,
    /// When to repeat, milliseconds from now; 0 = never, or at once where the code says so.
    pub retry_after_ms: u32,
    /// The client's id of the message concerned, nil if none.
    pub message_id: MessageId,
    /// For `conflict`: the id of what was accepted; else nil.
    pub id: ServerId,
}
