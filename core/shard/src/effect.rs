//! Effects: what a shard wants done. The edge and the storage tier carry them out, in order.

use ringpost_wire::{CloseReason, DeviceId, MessageId, ServerId, UserId, event};
use smallvec::SmallVec;

use crate::event::{ConnectionKey, WorkerId};
use crate::mail::Mail;
use crate::record::{Position, SharedRecord};

/// Something to do.
#[derive(Debug)]
pub enum Effect {
    /// The session stands: send `welcome` (the edge adds ticket and clock).
    SignedIn {
        /// Which connection.
        connection: ConnectionKey,
        /// Tag of the command.
        tag: u16,
        /// Which user.
        user: UserId,
        /// Which device.
        device: DeviceId,
        /// Granted window of unacked stored pushes.
        window_pushes: u32,
        /// Granted window, bytes.
        window_bytes: u32,
    },
    /// Send an event to a connection. `tag` is 0 unless it answers a command.
    Deliver {
        /// Which connection.
        connection: ConnectionKey,
        /// Tag of the command.
        tag: u16,
        /// What it is told.
        event: event::Event,
    },
    /// There is more to push than the connection's outbox takes: send one `Event::Writable`
    /// once it has room again. (Without being asked the edge may send one at any time.)
    WantWritable {
        /// Which connection.
        connection: ConnectionKey,
    },
    /// End a connection, and say why. The shard has forgotten it already: `Event::Closed` may
    /// follow, and does nothing.
    Close {
        /// Which connection.
        connection: ConnectionKey,
        /// Why.
        reason: CloseReason,
    },
    /// Say something to another worker's shard. Room in its mailbox was reserved before.
    Mail {
        /// The worker.
        to: WorkerId,
        /// What is said.
        mail: Mail,
    },
    /// Make a record durable; it comes back as `Event::Durable` to the homes of all it touches.
    Commit {
        /// The record.
        record: SharedRecord,
    },
    /// Read a user, once the applier has passed `after`.
    Load {
        /// Which user.
        user: UserId,
        /// The applier must have passed this.
        after: Position,
    },
    /// Look up what was accepted under a client's id.
    LookUpAccepted {
        /// Which user.
        user: UserId,
        /// Which device.
        device: DeviceId,
        /// The client's id.
        message_id: MessageId,
        /// The applier must have passed this.
        after: Position,
    },
    /// Read message rows (bounded by the window), once the applier has passed `after`.
    ReadMessages {
        /// Which user.
        user: UserId,
        /// Which device.
        device: DeviceId,
        /// Which messages.
        ids: SmallVec<[ServerId; 4]>,
        /// The applier must have passed this.
        after: Position,
    },
    /// Read a message and how far its recipient has read its sender's, once the applier has passed
    /// `after`.
    FindReceived {
        /// Which user.
        user: UserId,
        /// Which device.
        device: DeviceId,
        /// Which message.
        id: ServerId,
        /// The applier must have passed this.
        after: Position,
    },
    /// Answer to `Event::CreateUser` and `Event::RemoveDevice`.
    RequestDone {
        /// Names the request.
        ticket: u64,
        /// It is so, and durable; `false`: refused (overloaded or journal failed).
        done: bool,
    },
}
