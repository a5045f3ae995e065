//! Resume tickets, as a worker sees them: pure functions over a key that the server holds.

use bytes::Bytes;

use crate::letter::{CredentialRefused, Identity};

/// Issues and opens tickets.
pub trait Tickets: Send {
    /// A ticket for a session that was signed in with a credential of `identity`.
    fn issue(&self, identity: &Identity, now_ms: u64) -> Ticket;

    /// Who a ticket speaks for.
    ///
    /// # Errors
    /// If it is not ours or its time is over.
    fn open(&self, ticket: &[u8], now_ms: u64) -> Result<Identity, CredentialRefused>;
}

/// A ticket and how long it serves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ticket {
    /// What the client presents; opaque to it.
    pub bytes: Bytes,
    /// Milliseconds from now: its own life, or what is left of the credential behind it, whichever
    /// is less. 0 if the credential is over.
    pub ttl_ms: u32,
}
