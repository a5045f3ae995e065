//! Events: what the server tells a client. JSON and binary are encoded from the same type.

use std::borrow::Cow;

use bytes::Bytes;

use crate::code::{CloseCode, ErrorCode};
use crate::id::{DeviceId, GroupId, MessageId, ServerId, UserId};

/// Declares a closed set of values with number and JSON word in one place each.
macro_rules! closed_set {
    ($(#[$meta:meta])* $enum:ident { $($(#[$doc:meta])* $variant:ident = $number:literal, $word:literal;)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        #[repr(u8)]
        pub enum $enum {
            $($(#[$doc])* $variant = $number,)*
        }

        impl $enum {
            /// The value with this number, if there is one.
            pub const fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The value with this word, if there is one.
            pub fn from_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The word in JSON.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }
    };
}

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
    Typing {
        /// Who.
        from: UserId,
        /// Typing, or stopped.
        active: bool,
    },
    /// A subscribed user's presence.
    Presence {
        /// Whose.
        user: UserId,
        /// At least one device is connected.
        online: bool,
        /// When the last device left, milliseconds since 1970; 0 = not known or not shown.
        last_seen_ms: u64,
    },
    /// Something changed in a group that this user is, or was until now, a member of.
    GroupEvent(GroupEvent),
    /// This device's one-time prekeys run out: upload more.
    KeysLow {
        /// One-time prekeys left.
        one_time_left: u32,
        /// One-time Kyber prekeys left.
        kyber_left: u32,
    },
    /// A user's set of devices changed: look the keys up again before the next message to them.
    DeviceChange(DeviceChange),
    /// The device's queue has been pushed to its end. With a gap something was not queued, or
    /// left unseen: history has it.
    QueueEmpty {
        /// The gap, until the client says that it is closed.
        gap: Option<Gap>,
    },
    /// A command was refused; the connection goes on.
    Error(Error),
    /// The last word before the server closes. Over WebSocket the close frame carries code and
    /// detail, and this event is not sent; the binary protocol has no close frame and sends it as an
    /// `error` frame whose code is 1000 or more.
    Close {
        /// Why.
        code: CloseCode,
        /// When to come back, milliseconds from now; 0 = the code says it all.
        retry_after_ms: u32,
        /// For the developer: what exactly was wrong. The server's are those of
        /// [`CloseReason`](crate::CloseReason).
        detail: Cow<'static, str>,
    },
    /// The server ends this connection soon: reconnect after `reconnect_after_ms`.
    GoAway {
        /// Why; the code that the close will carry.
        code: CloseCode,
        /// The client's slot for coming back, milliseconds from now.
        reconnect_after_ms: u32,
    },
    /// Asks for a `pong`.
    Ping {
        /// Comes back in the `pong`. The server's own nonces stay below 2^53, for JSON's sake.
        nonce: u64,
    },
    /// Answer to the client's `ping`.
    Pong {
        /// The nonce of the `ping`.
        nonce: u64,
    },
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

/// Something that a device must learn is not in its queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gap {
    /// Names the gap in `gap_closed`; from 1. A gap that grows gets a higher number.
    pub number: u64,
    /// History behind here has all that is missing: the `after` of `GET /v1/messages`.
    pub after: String,
}

impl Gap {
    /// The gap that a `queue_empty` tells; none if the number is 0.
    pub(crate) fn told(number: u64, after: &str) -> Option<Self> {
        (number > 0).then(|| Self { number, after: after.to_owned() })
    }
}

/// A message for this device. Its body is shared, or lent by whoever holds the bytes.
#[derive(Clone, PartialEq, Debug)]
pub struct NewMessage<B = Bytes> {
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
    pub body: B,
}

impl<B> NewMessage<B> {
    /// The same with its body in another form.
    pub fn map_body<C>(self, map: impl FnOnce(B) -> C) -> NewMessage<C> {
        NewMessage {
            push: self.push,
            id: self.id,
            message_id: self.message_id,
            from: self.from,
            from_device: self.from_device,
            to: self.to,
            reply_to: self.reply_to,
            client_timestamp_ms: self.client_timestamp_ms,
            ephemeral: self.ephemeral,
            plain: self.plain,
            body: map(self.body),
        }
    }
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

closed_set! {
    /// How far a message has come.
    Status {
        /// Durable at the server.
        Sent = 1, "sent";
        /// A device of the recipient has acked it.
        Delivered = 2, "delivered";
        /// The recipient has read it.
        Read = 3, "read";
    }
}

/// A change of a group. It stands in the device's queue like a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupEvent {
    /// Number of this stored push on this connection, from 1.
    pub push: u64,
    /// The server's id: the place of the change in the group's conversation.
    pub id: ServerId,
    /// The group.
    pub group: GroupId,
    /// What happened.
    pub change: GroupChange,
    /// Who did it.
    pub actor: UserId,
    /// The member concerned; nil for `Created` and `Renamed`.
    pub subject: UserId,
    /// The group's epoch after the change; rises by one with each.
    pub epoch: u64,
    /// The server's clock at that moment, milliseconds since 1970.
    pub timestamp_ms: u64,
    /// The group's name after `Created` and `Renamed`, else empty.
    pub name: String,
}

closed_set! {
    /// What can happen to a group.
    GroupChange {
        /// The group was made.
        Created = 1, "created";
        /// The group has another name.
        Renamed = 2, "renamed";
        /// `subject` is a member now.
        Added = 3, "added";
        /// `subject` was removed by an admin.
        Removed = 4, "removed";
        /// `subject` left.
        Left = 5, "left";
        /// `subject` is an admin now.
        Promoted = 6, "promoted";
        /// `subject` is an admin no more.
        Demoted = 7, "demoted";
    }
}

/// A user's set of devices changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeviceChange {
    /// Number of this stored push, or 0 where it is only a hint and nothing is to be acked.
    pub push: u64,
    /// Whose device.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
    /// Added, removed, or with other keys than before.
    pub change: DeviceChanged,
    /// The server's clock at that moment, milliseconds since 1970.
    pub timestamp_ms: u64,
}

closed_set! {
    /// What can happen to a device.
    DeviceChanged {
        /// The device is new.
        Added = 1, "added";
        /// The device was removed.
        Removed = 2, "removed";
        /// The device has another identity key.
        Rekeyed = 3, "rekeyed";
    }
}

/// A refusal of one command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error {
    /// Why.
    pub code: ErrorCode,
    /// When to repeat, milliseconds from now; 0 = never, or at once where the code says so.
    pub retry_after_ms: u32,
    /// The client's id of the message concerned, nil if none.
    pub message_id: MessageId,
    /// For `conflict`: the id of what was accepted; else nil.
    pub id: ServerId,
    /// For the developer who reads it: what exactly was wrong. Empty = the code says it all. Never
    /// holds bytes that a client sent.
    pub detail: Cow<'static, str>,
}

impl Error {
    /// A refusal with nothing but its code.
    pub const fn new(code: ErrorCode) -> Self {
        Self {
            code,
            retry_after_ms: 0,
            message_id: MessageId([0; 16]),
            id: ServerId([0; 16]),
            detail: Cow::Borrowed(""),
        }
    }
}
