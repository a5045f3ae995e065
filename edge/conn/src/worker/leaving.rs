//! A client that has said its last: what it asked before is answered, then the connection ends.
//!
//! ```text
//!   bye, a Close frame, the end of the client's direction
//!     ──> nothing owed ──────────────────────────> closed
//!     ──> answers owed: leaving ──> all are there ─┘
//!                          │ leaving_deadline: closed with `try_later`
//! ```
//! Owed are answers that wait to be written here, a token that is being checked, and what the shard
//! says. Invariant: nothing that a leaving client says is read as a command, and nothing new is
//! pushed to it; it cannot ack.

use ringpost_ring::Slot;
use ringpost_shard::Event;
use ringpost_shard::event::Now;
use ringpost_wire::CloseReason;

use super::Worker;
use crate::connection::{Input, Phase, key};

impl Worker {
    /// The client ends its direction. It may have gone, or wait for answers: that looks alike.
    pub(super) fn eof(&mut self, slot: Slot, now: Now) {
        let Some(connection) = self.connections.find(slot) else { return };
        connection.input = Input::Ended;
        let has_more = connection.outbox.is_some();
        match connection.phase {
            Phase::Closing { .. } if has_more => {}
            Phase::Closing { .. } => self.remove(slot, now),
            _ if connection.leaving => {}
            Phase::SignedIn => {
                self.counters.lost += 1;
                self.leave(slot, now);
            }
            // What it was told before it signed in is still written.
            Phase::SignIn if has_more => self.close(slot, CloseReason::Left, now),
            _ => {
                self.counters.lost += 1;
                self.remove(slot, now);
            }
        }
    }

    /// The client says no more, one way or another.
    pub(super) fn leave(&mut self, slot: Slot, now: Now) {
        // What was asked in this turn may be answered already.
        self.carry_out_effects(now);
        let Some(connection) = self.connections.find(slot) else { return };
        if !matches!(connection.phase, Phase::SignedIn) {
            return self.close(slot, CloseReason::Left, now);
        }
        connection.leaving = true;
        connection.hot = false;
        connection.phase_since = now.mono;
        let has_gone = connection.input == Input::Ended && connection.outbox.is_none();
        if connection.renewing.is_none() && !self.shard.owes(key(slot)) {
            return match has_gone {
                // Nobody waits for a last word.
                true => self.remove(slot, now),
                false => self.close(slot, CloseReason::Left, now),
            };
        }
        self.schedule(slot);
        self.leave_if_answered(slot, now);
    }

    /// A leaving client is owed nothing more by the edge: the shard says when it is done.
    pub(super) fn leave_if_answered(&mut self, slot: Slot, now: Now) {
        let Some(connection) = self.connections.find(slot) else { return };
        if connection.leaving && connection.renewing.is_none() && connection.in_shard() {
            let connection = connection.key();
            self.shard_event(Event::Leaving { connection }, now);
        }
    }
}
