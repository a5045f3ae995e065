//! Records: what the journal keeps. A record is a small head (an rkyv archive behind a version
//! byte) and a body (the ciphertext as it arrived), and it is self-contained: everything that
//! its fold needs was resolved before it was committed.

use std::sync::Arc;

use bytes::Bytes;
use ringpost_wire::event::Status;
use ringpost_wire::{DeviceId, DeviceSet, MessageId, ServerId, UserId};
use rkyv::{Archive, Deserialize, Serialize};
use smallvec::SmallVec;

/// The first byte of every encoded head. Another version is another type.
pub const RECORD_VERSION: u8 = 2;

/// A record's place in the node's one total order: 1, 2, 3, ...; 0 stands before the first.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Debug,
    Archive,
    Serialize,
    Deserialize,
)]
pub struct Position(pub u64);

/// One durable fact.
#[derive(Clone, PartialEq, Debug)]
pub struct Record {
    /// What happened.
    pub head: Head,
    /// A message's content; empty for every other head.
    pub body: Bytes,
}

/// What happened.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub enum Head {
    /// A message was accepted.
    Message(MessageHead),
    /// A device acked entries of its queue.
    Ack(AckHead),
    /// A user has read a conversation up to a message.
    Read(ReadHead),
    /// A device was seen for the first time.
    DeviceAdded(DeviceAddedHead),
    /// A device has read from history what a gap of its queue left out.
    GapClosed(GapClosedHead),
    /// A device was there again.
    DeviceSeen(DeviceSeenHead),
    /// A device signed out, or was absent for too long.
    DeviceRemoved(DeviceRemovedHead),
}

/// A message was accepted.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct MessageHead {
    /// The server's id.
    pub id: ServerId,
    /// The server's clock when the message was accepted, milliseconds since 1970. The id tells
    /// the order and not the time: after a step of the clock back, stamps stay ahead of it.
    pub accepted_ms: u64,
    /// The client's id.
    pub message_id: MessageId,
    /// The sender.
    pub from: UserId,
    /// The sender's device.
    pub from_device: DeviceId,
    /// The recipient.
    pub to: UserId,
    /// The message answered to, as the client gave it.
    pub reply_to: Option<[u8; 16]>,
    /// The client's clock, milliseconds since 1970.
    pub client_timestamp_ms: u64,
    /// The body is UTF-8 text and not ciphertext.
    pub plain: bool,
    /// Digest of the decoded fields that must be equal when the same `message_id` comes again.
    pub digest: [u8; 16],
    /// The recipient's devices whose queues take the message.
    pub recipient_devices: DeviceSet,
    /// The recipient's devices whose queues do not take it: this record widens their gaps.
    pub recipient_gaps: DeviceSet,
    /// The sender's devices: receipts go to all of them.
    pub sender_devices: DeviceSet,
    /// The sender's other devices whose queues take a copy.
    pub copy_devices: DeviceSet,
    /// The sender's other devices whose queues take no copy: this record widens their gaps.
    pub copy_gaps: DeviceSet,
}

/// A device acked entries of its queue.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct AckHead {
    /// Whose device.
    pub user: UserId,
    /// Which device.
    pub device: DeviceId,
    /// Server's clock, milliseconds since 1970.
    pub at_ms: u64,
    /// Positions of the queue entries that leave.
    pub removed: Vec<u64>,
    /// Some of them leave without the device having had them: the position just before the first
    /// of those. This record widens the gap.
    pub missed_after: Option<u64>,
    /// An entry acked before older ones of the same direction: it stays, marked, and leaves with
    /// them.
    pub early: Option<(u64, QueueEntry)>,
    /// Receipt entries that leave, unless a newer one has replaced them.
    pub settled: Vec<Settled>,
    /// Delivered cursors that move, one per sender.
    pub delivered: Vec<Advance>,
}

/// A receipt entry that leaves the queue.
#[derive(Clone, Copy, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct Settled {
    /// The other side of the conversation.
    pub peer: UserId,
    /// `Delivered` or `Read`, as its number on the wire.
    pub status: u8,
    /// The position of the entry that was acked.
    pub position: u64,
}

/// A cursor of a conversation's direction moves.
#[derive(Clone, Copy, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct Advance {
    /// Who sent the messages.
    pub sender: UserId,
    /// The sender's devices that are told.
    pub sender_devices: DeviceSet,
    /// The last message below the cursor.
    pub id: ServerId,
    /// The client's id of that message.
    pub message_id: MessageId,
}

/// A user has read a conversation up to a message.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct ReadHead {
    /// Who read.
    pub user: UserId,
    /// On which device.
    pub device: DeviceId,
    /// Server's clock, milliseconds since 1970.
    pub at_ms: u64,
    /// Up to where, and who is told.
    pub advance: Advance,
}

/// A device was seen for the first time.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct DeviceAddedHead {
    /// Whose device.
    pub user: UserId,
    /// Which device; none where only the user is created.
    pub device: Option<DeviceId>,
    /// Server's clock, milliseconds since 1970.
    pub at_ms: u64,
}

/// A device was there again: written at most once a day for each.
#[derive(Clone, Copy, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct DeviceSeenHead {
    /// Whose device.
    pub user: UserId,
    /// Which device.
    pub device: DeviceId,
    /// Server's clock, milliseconds since 1970.
    pub at_ms: u64,
}

/// A device signed out, or was absent for too long: its queue goes with it.
#[derive(Clone, Copy, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct DeviceRemovedHead {
    /// Whose device.
    pub user: UserId,
    /// Which device.
    pub device: DeviceId,
    /// Server's clock, milliseconds since 1970.
    pub at_ms: u64,
}

/// A device has read from history what a gap of its queue left out.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct GapClosedHead {
    /// Whose device.
    pub user: UserId,
    /// Which device.
    pub device: DeviceId,
    /// The gap's number, as the device was told it.
    pub number: u64,
}

/// The mark of a queue: something that its device must learn is not in it, and history has it.
///
/// Whoever reads the user's timeline behind `after` to its end, once `number` is durable, and
/// takes what is pushed, misses nothing:
/// - what a record up to `number` left out of the queue lies behind `after`, because a mark folds
///   by the lower `after`, and a record that leaves something out names the position before it;
/// - the timeline is keyed by positions and written in their order, so nothing comes to lie behind
///   a place that a reader has passed;
/// - what a later record leaves out raises `number`, so that it is told anew, and a `GapClosed` of
///   the lower number, also one that was on its way then, leaves the mark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gap {
    /// The position of the record that last widened it: its name towards the device.
    pub number: Position,
    /// The position just before the first thing that may be missing.
    pub after: Position,
}

impl Gap {
    /// The mark once something behind `after` was left out by the record at `number`.
    #[must_use]
    pub fn widened(mark: Option<Self>, number: Position, after: Position) -> Self {
        match mark {
            None => Self { number, after },
            Some(mark) => Self { number: mark.number.max(number), after: mark.after.min(after) },
        }
    }

    /// What the closing of the gap `number` leaves of a mark.
    #[must_use]
    pub fn closed(mark: Option<Self>, number: Position) -> Option<Self> {
        mark.filter(|mark| mark.number > number)
    }
}

/// One entry of a device's queue, keyed by the position of the record that put it there.
/// Its body is the message row of the same id.
#[derive(Clone, Copy, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct QueueEntry {
    /// What is queued.
    pub kind: EntryKind,
    /// The message.
    pub id: ServerId,
    /// When the message was accepted, milliseconds since 1970: what its age is counted from.
    pub accepted_ms: u64,
    /// The client's id of the message.
    pub message_id: MessageId,
    /// The other side: the sender of an incoming message, the recipient of a copy.
    pub peer: UserId,
    /// The sender's devices, who learn of delivery (empty for copies).
    pub sender_devices: DeviceSet,
    /// Size of the body, bytes.
    pub body_bytes: u32,
    /// Acked before older entries of the same direction.
    pub acked: bool,
}

/// What a queue entry is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub enum EntryKind {
    /// A message from the peer.
    Incoming,
    /// A copy of what another device of oneself sent to the peer.
    Copy,
}

/// A receipt entry of a device's queue: one per (peer, status), the higher id wins.
#[derive(Clone, Copy, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct ReceiptEntry {
    /// The last message below the cursor.
    pub id: ServerId,
    /// The client's id of that message.
    pub message_id: MessageId,
    /// The record that put the entry here: its place in the queue.
    pub position: u64,
    /// Server's clock at that record, milliseconds since 1970.
    pub at_ms: u64,
}

/// An encoded head that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HeadError {
    /// The head has no byte at all.
    #[error("empty record head")]
    Empty,
    /// Written by another version of the software.
    #[error("record head of version {0}, this build reads version {RECORD_VERSION}")]
    Version(u8),
    /// The archive is damaged.
    #[error("damaged record head: {0}")]
    Damaged(String),
}

impl Record {
    /// What of it grows with what was said, bytes: a message's content, and the lists of an ack.
    pub fn content_bytes(&self) -> usize {
        // The heads of all others are of one size.
        let Head::Ack(ack) = &self.head else { return self.body.len() };
        size_of_val(ack.removed.as_slice())
            + size_of_val(ack.settled.as_slice())
            + size_of_val(ack.delivered.as_slice())
    }
}

impl Head {
    /// The head as the journal keeps it: version byte, rkyv archive.
    pub fn encode(&self) -> Bytes {
        let archive = rkyv::to_bytes::<rkyv::rancor::Error>(self)
            .expect("a head is made of fixed-size values and short vectors, which always archive");
        let mut bytes = Vec::with_capacity(1 + archive.len());
        bytes.push(RECORD_VERSION);
        bytes.extend_from_slice(&archive);
        bytes.into()
    }

    /// Reads an encoded head.
    ///
    /// # Errors
    /// If it was written by another version, or is damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeadError> {
        match bytes.split_first() {
            None => Err(HeadError::Empty),
            Some((&RECORD_VERSION, archive)) => {
                rkyv::from_bytes::<Self, rkyv::rancor::Error>(archive)
                    .map_err(|error| HeadError::Damaged(error.to_string()))
            }
            Some((&version, _)) => Err(HeadError::Version(version)),
        }
    }

    /// The user whose home commits such a record, and is handed it.
    pub fn committer(&self) -> UserId {
        match self {
            Self::Message(message) => message.to,
            Self::Ack(ack) => ack.user,
            Self::Read(read) => read.user,
            Self::DeviceAdded(added) => added.user,
            Self::GapClosed(closed) => closed.user,
            Self::DeviceSeen(seen) => seen.user,
            Self::DeviceRemoved(removed) => removed.user,
        }
    }

    /// The users whose durable state the record touches; each one's home is handed the record.
    pub fn touches(&self) -> SmallVec<[UserId; 4]> {
        match self {
            Self::Message(message) => [message.from, message.to].into_iter().collect(),
            Self::Ack(ack) => std::iter::once(ack.user)
                .chain(ack.delivered.iter().map(|advance| advance.sender))
                .collect(),
            Self::Read(read) => [read.user, read.advance.sender].into_iter().collect(),
            Self::DeviceAdded(added) => std::iter::once(added.user).collect(),
            Self::GapClosed(closed) => std::iter::once(closed.user).collect(),
            Self::DeviceSeen(seen) => std::iter::once(seen.user).collect(),
            Self::DeviceRemoved(removed) => std::iter::once(removed.user).collect(),
        }
    }
}

/// A record as it is handed around in memory: one allocation, shared by all its readers.
pub type SharedRecord = Arc<Record>;

/// The number of a status in records and keys.
pub const fn status_number(status: Status) -> u8 {
    status as u8
}
