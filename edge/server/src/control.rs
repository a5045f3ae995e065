//! What REST asks of the workers. The glue implements it over the workers' queues.

use ringpost_wire::{DeviceId, UserId};
use tokio::sync::oneshot;

/// Commands from the REST service to the homes of users. Called on tokio threads; never blocks.
pub trait Control: Send + Sync {
    /// Voids credentials of `device` of `user` that were issued at or before `before_ms` (wall
    /// clock, milliseconds since 1970), tickets included, and closes its connection if it signed
    /// in with one of them. The revocation itself is already durable when this is called.
    fn revoke(&self, user: UserId, device: DeviceId, before_ms: u64);

    /// Creates the user (does nothing if there is one). `true` when that is durable, `false` or
    /// a dropped sender when it was refused: overloaded, or the journal failed.
    fn create_user(&self, user: UserId) -> oneshot::Receiver<bool>;
}
