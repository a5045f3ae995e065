//! Effects: what a shard wants done. The edge and the storage tier carry them out, in order.

use ringpost_wire::{CloseCode, DeviceId, MessageId, ServerId, UserId, event};
use smallvec::SmallVec;

use crate::event::{ConnectionKey, WorkerId};
use crate::mail::Mail;
use crate::record::{Position, SharedRecord};

/// Something to do.
#[derive(Debug)]
pub enum Effect {
    /// The session stands: send `welcome` (the edge adds ticket and clock).
    SignedIn {
        connection: ConnectionKey,
        tag: u16,
        user: UserId,
        device: DeviceId,
        window_pushes: u32,
        window_bytes: u32,
    },
    /// Send an event to a connection. `tag` is 0 unless it answers a command.
    Deliver { connection: ConnectionKey, tag: u16, event: event::Event },
    /// There is more to push than the connection's outbox takes: send one `Event::Writable`
    /// once it has room again. (Without being asked the edge may send one at any time.)
    WantWritable { connection: ConnectionKey },
    /// End a connection with a code. The shard has forgotten it already: `Event::Closed` may
    /// follow, and does nothing.
    Close { connection: ConnectionKey, code: CloseCode },
    /// Say something to another worker's shard. Room in its mailbox was reserved before.
    Mail { to: WorkerId, mail: Mail },
    /// Make a record durable; it comes back as `Event::Durable` to the homes of all it touches.
    Commit { record: SharedRecord },
    /// Read a user, once the applier has passed `after`.
    Load { user: UserId, after: Position },
    /// Look up what was accepted under a client's id.
    LookUpAccepted { user: UserId, device: DeviceId, message_id: MessageId, after: Position },
    /// Read message rows (bounded by the window), once the applier has passed `after`.
    ReadMessages { user: UserId, device: DeviceId, ids: SmallVec<[ServerId; 4]>, after: Position },
    /// Answer to `Event::CreateUser`; `false`: refused (overloaded or journal failed).
    UserCreated { ticket: u64, created: bool },
}
