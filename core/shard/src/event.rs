//! Events: everything that can wake a shard, as one closed enum.

use std::time::Duration;

use ringpost_wire::{Command, DeviceId, MessageId, ServerId, UserId};

use crate::bound::Shortage;
use crate::image::{Accepted, MessageRow, Received, StoreUnavailable, UserImage};
use crate::mail::Mail;
use crate::record::{Position, SharedRecord};

/// What time it is, read once per turn by the driver: what a [`ClockTrust`] made of two clocks.
///
/// [`ClockTrust`]: crate::clock_trust::ClockTrust
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Now {
    /// Monotonic, since an arbitrary start: deadlines and rates.
    pub mono: Duration,
    /// The date, milliseconds since 1970: stamps, records and token checks. The wall clock as far
    /// as it is believed; it goes back or jumps only where a wall clock does that was.
    pub wall_ms: u64,
    /// Whether the date is sure enough for what is too old to expire by it.
    pub may_expire: bool,
}

/// The edge's name for a connection, never reused while anything refers to it. The low half is an
/// index that no other connection of the worker has now: small, because tables here are as long
/// as the highest. The high half tells its uses apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ConnectionKey(pub u64);

impl ConnectionKey {
    /// The name of one use of an index.
    pub const fn new(index: u32, generation: u32) -> Self {
        Self((generation as u64) << 32 | index as u64)
    }

    /// The index.
    pub const fn index(self) -> u32 {
        self.0 as u32
    }
}

/// Number of a worker of this node, from 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct WorkerId(pub u16);

/// Something happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// A connection proved to be a device of a user of this shard.
    SignIn(SignIn),
    /// A connection ended, for whatever reason.
    Closed {
        /// Which connection.
        connection: ConnectionKey,
    },
    /// The client of a connection says no more and waits for the answers to what it asked. Nothing
    /// more is pushed to it; `Effect::Close` with `normal` follows when nothing is owed.
    Leaving {
        /// Which connection.
        connection: ConnectionKey,
    },
    /// The connection's outbox takes `room_bytes` now, all that was delivered before counted.
    /// Sent after `Effect::WantWritable`, and whenever an outbox that was used has emptied.
    Writable {
        /// Which connection.
        connection: ConnectionKey,
        /// Room, bytes.
        room_bytes: u32,
    },
    /// A command of a signed-in connection (`hello`, `auth`, `ping`, `pong`, `bye` stay in the
    /// edge).
    Command {
        /// Which connection.
        connection: ConnectionKey,
        /// Tag of the command.
        tag: u16,
        /// What it asks.
        command: Command<'a>,
    },
    /// Another worker's shard says something.
    Mail {
        /// Which worker.
        from: WorkerId,
        /// What is said.
        mail: Mail,
    },
    /// A record that touches a user of this shard is durable. In the journal's order.
    Durable {
        /// The record's place, which keys the entry.
        position: Position,
        /// The record.
        record: SharedRecord,
    },
    /// The journal has failed; nothing will ever be durable again.
    JournalFailed,
    /// Journal or store take on no more work, or take it again. Meanwhile new sends are refused; what
    /// was accepted before has room.
    Storage {
        /// What there is no room in; `None`: they take on work.
        shortage: Option<Shortage>,
    },
    /// The applier has put everything up to `position` into the store.
    Applied {
        /// The record's place, which keys the entry.
        position: Position,
    },
    /// Answer to `Effect::Load`; `None`: no such user.
    Loaded {
        /// Which user.
        user: UserId,
        /// The store's answer.
        answer: Result<Option<UserImage>, StoreUnavailable>,
    },
    /// Answer to `Effect::LookUpAccepted`.
    AcceptedFound {
        /// Which user.
        user: UserId,
        /// Which device.
        device: DeviceId,
        /// The client's id.
        message_id: MessageId,
        /// The store's answer.
        answer: Result<Option<Accepted>, StoreUnavailable>,
    },
    /// Answer to `Effect::ReadMessages`: rows in the order asked for, `None` where there is none.
    MessagesRead {
        /// Which user.
        user: UserId,
        /// Which device.
        device: DeviceId,
        /// The store's answer.
        answer: Result<Vec<(ServerId, Option<MessageRow>)>, StoreUnavailable>,
    },
    /// Answer to `Effect::FindReceived`; `None`: no such message.
    ReceivedFound {
        /// Which user.
        user: UserId,
        /// Which device.
        device: DeviceId,
        /// The store's answer.
        answer: Result<Option<Box<Received>>, StoreUnavailable>,
    },
    /// The client proved once more that it is there: its token was renewed.
    Renewed {
        /// Which connection.
        connection: ConnectionKey,
    },
    /// Credentials of the device issued at or before `before_ms` (wall) are void.
    Revoke {
        /// Which user.
        user: UserId,
        /// Which device.
        device: DeviceId,
        /// Issued at or before this, wall clock ms.
        before_ms: u64,
    },
    /// Credentials of the device issued at or before `before_ms` (wall) are void, and it is no
    /// device of the user any more; answered by `Effect::RequestDone` when that is durable.
    RemoveDevice {
        /// Which user.
        user: UserId,
        /// Which device.
        device: DeviceId,
        /// Issued at or before this, wall clock ms.
        before_ms: u64,
        /// Names the request.
        ticket: u64,
    },
    /// Create the user (registration); answered by `Effect::RequestDone` when durable.
    CreateUser {
        /// Which user.
        user: UserId,
        /// Names the request.
        ticket: u64,
    },
    /// A deadline that `Shard::next_deadline` named may have passed.
    Tick,
}

/// What a credential proves beside who it names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proof {
    /// A token: who holds it may be a device of the user.
    Token,
    /// A ticket: only a device is given one, and only once its record is durable.
    Ticket,
}

impl Proof {
    /// Its name in the log. Names are stable.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Ticket => "ticket",
        }
    }
}

/// A verified sign-in.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SignIn {
    /// The connection.
    pub connection: ConnectionKey,
    /// Tag of the `hello`, echoed by `welcome`.
    pub tag: u16,
    /// The user, from the credential.
    pub user: UserId,
    /// The device, from the credential.
    pub device: DeviceId,
    /// When the connection was accepted (monotonic): of two of the same device the later stays.
    pub accepted_at: Duration,
    /// When the credential was issued, wall clock ms: compared with revocations.
    pub issued_at_ms: u64,
    /// What the credential is.
    pub proof: Proof,
    /// Asked window, 0 = default.
    pub window_pushes: u32,
    /// Asked window in bytes, 0 = default.
    pub window_bytes: u32,
    /// What the client wants to be told of (`ringpost_wire::command::intent`).
    pub intents: u32,
    /// Bytes that the connection's outbox takes before it is full.
    pub room_bytes: u32,
}
