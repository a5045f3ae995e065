//! Commands: what a client asks. JSON and binary decode into the same type.
//!
//! A command borrows from the received bytes; whoever keeps something copies it, once.

use std::borrow::Cow;

use crate::id::{DeviceId, MessageId, ServerId, UserId};

/// One command of a client.
#[derive(Clone, PartialEq, Debug)]
pub enum Command<'a> {
    /// Sign in: the first command of a connection.
    Hello(Hello<'a>),
    /// A new token in place of the session's.
    Auth {
        /// The new access token, as text; same user and device as the session's.
        token: Cow<'a, str>,
    },
    /// A message to a user.
    SendMessage(SendMessage<'a>),
    /// All stored pushes up to and including `push` have been kept by the device.
    Ack {
        /// Number of the last stored push that is kept, from 1; cumulative.
        push: u64,
    },
    /// `delivered` acks one message, `read` moves the reading cursor.
    Receipt(Receipt),
    /// The user is typing (or has stopped) in the conversation with `to`.
    Typing {
        /// Whom the user is writing to.
        to: UserId,
        /// Typing, or stopped.
        active: bool,
    },
    /// Tell me of the presence of these users.
    PresenceSubscribe {
        /// At most [`SUBSCRIBE_USERS_MAX`](crate::limits::SUBSCRIBE_USERS_MAX).
        users: Vec<UserId>,
    },
    /// Tell me no more of the presence of these users.
    PresenceUnsubscribe {
        /// At most [`SUBSCRIBE_USERS_MAX`](crate::limits::SUBSCRIBE_USERS_MAX).
        users: Vec<UserId>,
    },
    /// What the gap that `queue_empty` told is about has been fetched from history and kept.
    GapClosed {
        /// Its number. JSON carries at most 2^53 - 1.
        gap: u64,
    },
    /// Whether the application is in the foreground.
    ClientState {
        /// In the foreground.
        active: bool,
    },
    /// Asks for a `pong` with the same nonce.
    Ping {
        /// Comes back in the `pong`. JSON carries at most 2^53 - 1.
        nonce: u64,
    },
    /// Answer to the server's `ping`.
    Pong {
        /// The nonce of the `ping`.
        nonce: u64,
    },
    /// The client leaves; the server closes.
    Bye,
}

impl Command<'_> {
    /// The client's id of the message that it is about, nil if it names none: a refusal names what
    /// it refuses.
    pub fn message_id(&self) -> MessageId {
        match self {
            Self::SendMessage(message) => message.message_id,
            Self::Receipt(Receipt { message: Named::MessageId(id), .. }) => *id,
            _ => MessageId::default(),
        }
    }
}

/// Sign-in of a device.
#[derive(Clone, PartialEq, Debug)]
pub struct Hello<'a> {
    /// A signed access token or a resume ticket.
    pub credential: Credential<'a>,
    /// The device; must equal the token's.
    pub device: DeviceId,
    /// How many stored pushes may be unacked, 0 = the server's default.
    pub window_pushes: u32,
    /// How many bytes of stored pushes may be unacked, 0 = the server's default.
    pub window_bytes: u32,
    /// What the client wants to be told of, beyond messages and receipts ([`intent`]).
    pub intents: u32,
}

/// Bits of [`Hello::intents`].
pub mod intent {
    /// Typing notices.
    pub const TYPING: u32 = 1;
    /// Presence of subscribed users.
    pub const PRESENCE: u32 = 2;
}

/// How a client proves who it is.
#[derive(Clone, PartialEq, Debug)]
pub enum Credential<'a> {
    /// A JWT access token, as text.
    Token(Cow<'a, str>),
    /// A resume ticket from an earlier `welcome`, opaque.
    Ticket(Cow<'a, [u8]>),
    /// None was given: the sign-in is refused, as one with a bad credential is.
    None,
}

/// A message on its way in.
#[derive(Clone, PartialEq, Debug)]
pub struct SendMessage<'a> {
    /// The client's id.
    pub message_id: MessageId,
    /// The recipient.
    pub to: UserId,
    /// The message answered to, by the server's or the client's id, opaque to the server.
    pub reply_to: Option<[u8; 16]>,
    /// The client's clock, milliseconds since 1970 (kept, never trusted).
    pub client_timestamp_ms: u64,
    /// Only for devices connected now: never stored, no `sent`, no receipt.
    pub ephemeral: bool,
    /// What is sent.
    pub content: Content<'a>,
}

/// The content of a message.
#[derive(Clone, PartialEq, Debug)]
pub enum Content<'a> {
    /// Opaque ciphertext (`encrypted_content`).
    Encrypted(Cow<'a, [u8]>),
    /// Plain text (`content`), refused unless the configuration allows it.
    Plain(Cow<'a, str>),
}

/// A receipt from a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// Which message.
    pub message: Named,
    /// What happened to it.
    pub status: ClientStatus,
    /// The client's clock, milliseconds since 1970.
    pub client_timestamp_ms: u64,
}

/// How a client names a message that it was pushed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Named {
    /// By the server's id.
    Id(ServerId),
    /// By the sender's id alone: refused where several pushed entries fit.
    MessageId(MessageId),
}

/// The statuses that a client may report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientStatus {
    /// The device has it.
    Delivered,
    /// The user has seen it, and all before it.
    Read,
}
