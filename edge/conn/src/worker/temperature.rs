//! Cold and hot connections: how a signed-in connection waits for its client's next frame.
//!
//! ```text
//!                    Readable: a one-shot receive, then
//!             +--------------------------------------------+
//!             v                                            |
//!   at rest (cold: one poll) ------------------------------+
//!             ^                                            | another frame within PROMOTED_WITHIN
//!             |                                            v
//!             +-- DEMOTED_AFTER of silence: taken back -- hot: a multishot receive stays armed
//! ```
//! A poll costs the kernel 256 bytes and a receive 865, and neither holds a buffer; a receive saves
//! two submissions for each frame. So a ping now and then does not promote, and a conversation
//! does. No byte is lost on either way: a poll takes none, and what a receive took before it was
//! taken back is reported before `ReceiveStopped`.

use std::time::Duration;

use ringpost_ring::{ReceiveMode, Slot};
use ringpost_shard::event::Now;

use super::Worker;
use crate::connection::{Connection, Input, Phase};
use crate::connections::Seen;
use crate::output::Operation;

/// A frame that comes so soon after another promotes a connection. Far below the interval of
/// pings, above the pauses of a conversation between machines.
pub const PROMOTED_WITHIN: Duration = Duration::from_secs(1);

/// Silence after which a hot connection is cold again: long enough that who types is not promoted
/// for each message, and short beside the hours in which nothing is said.
pub const DEMOTED_AFTER: Duration = Duration::from_secs(10);

impl Worker {
    /// The poll of a cold connection is over: there is something to receive.
    pub(super) fn readable(&mut self, slot: Slot) {
        if self.connections.begin_receiving(slot) {
            self.operations.push(Operation::Receive(slot, ReceiveMode::OneShot));
        } else if let Some(connection) = self.connections.find(slot) {
            connection.input = Input::Idle;
            self.arm_as(slot, ReceiveMode::OneShot);
        }
    }

    /// A frame has come: the second within a moment promotes.
    pub(super) fn warm(&mut self, slot: Slot, now: Now) {
        let Some(connection) = self.connections.find(slot) else { return };
        if !matches!(connection.phase, Phase::SignedIn) {
            return;
        }
        let before = connection.spoke_at.replace(now.mono);
        if !connection.hot && before.is_some_and(|at| now.mono <= at + PROMOTED_WITHIN) {
            connection.hot = true;
            self.counters.promoted += 1;
            self.schedule(slot);
        }
    }

    /// A hot connection has been silent: its receive is taken back.
    pub(super) fn cool(&mut self, slot: Slot) {
        let Some(connection) = self.connections.find(slot) else { return };
        connection.hot = false;
        self.counters.demoted += 1;
        if connection.input == Input::Armed {
            connection.input = Input::Stopping;
            self.operations.push(Operation::StopReceive(slot));
        }
    }

    /// Lays to rest whom this turn has left with nothing under way.
    pub(super) fn settle_down(&mut self, now: Now) {
        // Ends: what is looked at here is not stirred again before the flush below.
        while let Some(slot) = self.connections.pop_stirred() {
            let Some((same, Seen::Awake(connection))) = self.connections.see(slot.index()) else {
                continue;
            };
            if same != slot || connection.outbox.is_some() || connection.input != Input::Waiting {
                continue;
            }
            if connection.untold_bytes > 0 && matches!(connection.phase, Phase::SignedIn) {
                // The shard counts down what it delivers, and nobody will tell it later.
                self.tell_room(slot, self.outboxes.grant(0), now);
            }
            if self.connections.find(slot).is_some_and(|it| it.is_at_rest()) {
                self.connections.lay_to_rest(slot);
            }
        }
        self.flush(now);
    }
}

/// When a hot connection is cold again (monotonic).
pub(super) fn cools_at(connection: &Connection) -> Option<Duration> {
    connection.hot.then(|| connection.heard_at + DEMOTED_AFTER)
}
