//! What one call of `Shard::handle` carries along: the clocks, and where effects go.

use std::time::Duration;

use ringpost_wire::CloseReason;

use crate::effect::Effect;
use crate::event::{ConnectionKey, Now};

/// One turn.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) now: Now,
    pub(crate) effects: &'a mut Vec<Effect>,
}

impl Turn<'_> {
    /// Ends a connection that has no session, or none any more.
    pub(crate) fn close(&mut self, connection: ConnectionKey, reason: CloseReason) {
        self.effects.push(Effect::Close { connection, reason });
    }

    /// Answers a request of another thread.
    pub(crate) fn done(&mut self, ticket: u64, done: bool) {
        self.effects.push(Effect::RequestDone { ticket, done });
    }
}

/// A pause for a client, milliseconds as the wire has it: rounded up, at most what 32 bits take.
pub(crate) fn retry_ms(pause: Duration) -> u32 {
    u32::try_from(pause.as_micros().div_ceil(1000)).unwrap_or(u32::MAX)
}
