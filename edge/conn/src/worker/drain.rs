//! Leaving in order: accept no more, tell every client, close those that stay.

use std::time::Duration;

use ringpost_shard::event::Now;
use ringpost_wire::{CloseCode, event};

use super::Worker;
use crate::connection::Phase;
use crate::output::Operation;

/// Clients come back spread over this time after a drain, milliseconds: nobody wants them all at
/// once at the next server.
const RECONNECT_SPREAD_MS: u32 = 10_000;

/// How far a drain is.
#[derive(Debug, Default)]
pub(super) enum Drain {
    /// Not asked for.
    #[default]
    Off,
    /// Clients were told; those that stay are closed at the deadline.
    Told { close_at: Duration },
    /// Everybody was closed.
    Closed,
}

impl Drain {
    pub(super) fn is_on(&self) -> bool {
        !matches!(self, Self::Off)
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        match self {
            Self::Told { close_at } => Some(*close_at),
            Self::Off | Self::Closed => None,
        }
    }
}

impl Worker {
    /// Accepts no more and tells every signed-in client to leave.
    pub(super) fn start_drain(&mut self, now: Now) {
        if self.drain.is_on() {
            return;
        }
        self.drain = Drain::Told { close_at: now.mono + self.config.drain_deadline };
        self.operations.push(Operation::CloseListeners);
        for slot in self.connections.slots() {
            let signed_in = self
                .connections
                .find(slot)
                .is_some_and(|connection| matches!(connection.phase, Phase::SignedIn));
            if signed_in {
                // Spread by the slot's index: even, and the same in every replay.
                let reconnect_after_ms =
                    slot.index().wrapping_mul(2_654_435_761) % RECONNECT_SPREAD_MS;
                let code = CloseCode::GoingAway;
                self.say(slot, 0, &event::Event::GoAway { code, reconnect_after_ms });
            } else {
                self.close(slot, CloseCode::GoingAway, now);
            }
        }
    }

    pub(super) fn pass_drain(&mut self, now: Now) {
        if let Drain::Told { close_at } = self.drain
            && (close_at <= now.mono || self.connections.is_empty())
        {
            self.drain = Drain::Closed;
            for slot in self.connections.slots() {
                self.counters.drains_late += 1;
                self.close(slot, CloseCode::GoingAway, now);
            }
        }
    }

    /// The drain is over: no connection is left, nor half of one.
    pub fn is_drained(&self) -> bool {
        self.drain.is_on() && self.connections.is_empty() && self.arrivals.len() == 0
    }
}
