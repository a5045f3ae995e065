//! What REST and the private port ask of the workers. The glue implements it over the workers' queues.

use ringpost_conn::letter::Returned;
use ringpost_conn::question::{Answer, Question};
use ringpost_shard::event::WorkerId;
use ringpost_wire::{DeviceId, UserId};
use tokio::sync::oneshot;

/// Commands from the REST service to the homes of users. Called on tokio threads; never blocks.
pub trait Control: Send + Sync {
    /// Voids credentials of `device` of `user` that were issued at or before `before_ms` (wall
    /// clock, milliseconds since 1970), tickets included, and closes its connection if it signed
    /// in with one of them. The revocation itself is already durable when this is called.
    fn revoke(&self, user: UserId, device: DeviceId, before_ms: u64);

    /// Does what `revoke` does, and removes the device. `true` when that is durable (also if there
    /// was none), `false` or a dropped sender when it was refused: overloaded, or the journal
    /// failed. It goes on if nobody waits for the answer.
    fn remove_device(
        &self,
        user: UserId,
        device: DeviceId,
        before_ms: u64,
    ) -> oneshot::Receiver<bool>;

    /// Creates the user (does nothing if there is one). `true` when that is durable, `false` or
    /// a dropped sender when it was refused: overloaded, or the journal failed.
    fn create_user(&self, user: UserId) -> oneshot::Receiver<bool>;
}

/// The workers' doors: where the connections come from that REST serves.
pub trait Doors: Send + Sync {
    /// Gives a connection back to a worker, because a request on it asks for a WebSocket. Called on
    /// tokio threads; never blocks.
    ///
    /// # Errors
    /// The connection, if the worker's mailbox has no room.
    fn give_back(&self, to: WorkerId, returned: Returned) -> Result<(), Returned>;
}

/// Questions of operators to workers, and their word. Called on tokio threads; nobody who asks can make
/// a worker wait, and but for [`Inspect::trust_clock`] nothing blocks.
pub trait Inspect: Send + Sync {
    /// How many workers there are, numbered from 0.
    fn workers(&self) -> u16;

    /// The worker that owns all state of `user`.
    fn home(&self, user: UserId) -> WorkerId;

    /// The wall clock is right, an operator says: every worker believes it. May wait for room in a
    /// mailbox.
    fn trust_clock(&self);

    /// Asks one worker. A dropped sender means that it will not answer: its mailbox is full, or
    /// it has ended.
    fn ask(&self, worker: WorkerId, question: Question) -> oneshot::Receiver<Answer>;
}
