//! Input of which a part is missing, of all connections of a worker together: heads, frames and
//! messages that have begun, and what waits to be decoded.
//!
//! What one connection may hold is bounded by the largest frame, and a frame must be whole within
//! its time; but very many may each begin one. Above the limit those are let go of which nothing was
//! heard for the longest time, until an eighth is free again: who is at work has just been heard.
//! Not those that began the longest ago: where all are at work these are the nearest to their end,
//! and nobody would come to it.

use std::time::Duration;

use ringpost_ring::Slot;
use ringpost_shard::event::Now;
use ringpost_wire::CloseReason;

use super::Worker;
use super::handshake::STRANGERS_PAUSE;
use crate::connection::{Connection, Phase, Protocol};
use crate::http::Rejection;

/// Share of the limit that is free again after the oldest were let go.
const FREE_SHARE: usize = 8;

impl Worker {
    /// Keeps the sum of what connections hold of their input.
    pub(super) fn recount_input(&mut self, slot: Slot) {
        let Some(connection) = self.connections.find(slot) else { return };
        let held_bytes = connection.input_bytes();
        let before = std::mem::replace(&mut connection.held_bytes, held_bytes);
        self.input_bytes = self.input_bytes + held_bytes - before;
    }

    /// Lets go who was not heard for the longest time, if all together hold more than they may.
    pub(super) fn shed_input(&mut self, now: Now) {
        let max = self.config.input_bytes_max;
        if self.input_bytes <= max {
            return;
        }
        let holds = |it: &&Connection| it.held_bytes > 0 && !it.is_given_away();
        let mut holders: Vec<(Duration, Slot)> =
            self.connections.awake_ones().filter(holds).map(|it| (it.heard_at, it.slot)).collect();
        holders.sort_unstable_by_key(|&(heard_at, slot)| (heard_at, slot.index()));
        for (_, slot) in holders {
            self.counters.inputs_shed += 1;
            self.let_go_incomplete(slot, now);
            if self.input_bytes <= max - max / FREE_SHARE {
                return;
            }
        }
    }

    fn let_go_incomplete(&mut self, slot: Slot, now: Now) {
        let Some(connection) = self.connections.find(slot) else { return };
        if let (Phase::Handshake, Protocol::Http(reader)) =
            (&connection.phase, &connection.protocol)
        {
            let refusal =
                reader.refusal(Rejection::Overloaded { retry_after: STRANGERS_PAUSE }, &[]);
            return self.reject_upgrade(slot, refusal, now);
        }
        self.close(slot, CloseReason::InputCrowded, now);
    }
}
