//! Leaving in order: every client is told when to come back, and is kept until then.
//!
//! ```text
//!   told                    last slot           close            the end
//!     |-- slots, all kept ------|-- who is late --|-- last words --|
//!     0                        1/2               3/4         of the time
//! ```
//! A worker goes on accepting until it closes: who comes meanwhile is answered `goaway` as soon as it
//! is known how it speaks, so that it hears when to come back, and a request of REST is answered as
//! always. The kernel shares newcomers out among the listening sockets of all workers: so one without
//! sessions goes on accepting as long as another has some, and all stop when none has any. Each is done
//! when those have been answered that had come to it by then. Only who connects in that last instant, and
//! is in the backlog of a socket that is being closed, is reset by the kernel.

use std::time::Duration;

use ringpost_ring::Slot;
use ringpost_shard::event::Now;
use ringpost_wire::{CloseCode, CloseReason, event};

use super::Worker;
use crate::connection::Phase;
use crate::output::Operation;

/// How often a worker without sessions looks whether the others have none either.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// How far a drain is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Drain {
    /// Not asked for.
    #[default]
    Off,
    /// Clients were told.
    Told {
        /// When the last of them has left, if it keeps to its slot (monotonic).
        slots_end: Duration,
        /// Over how long the slots are spread.
        spread: Duration,
        /// When those that stay are closed (monotonic).
        close_at: Duration,
        /// Newcomers are let in.
        accepts: bool,
        /// When it is looked again whether the other workers have sessions (monotonic); set as soon as
        /// this one has none.
        look_at: Option<Duration>,
    },
    /// Nobody is accepted any more, and everybody was closed.
    Closed,
}

impl Drain {
    /// A drain that may take so long from now on.
    fn begin(within: Duration, now: Duration) -> Self {
        Self::Told {
            slots_end: now + within / 2,
            spread: within / 2,
            close_at: now + within * 3 / 4,
            accepts: true,
            look_at: None,
        }
    }

    pub(super) fn is_on(self) -> bool {
        !matches!(self, Self::Off)
    }

    pub(super) fn is_closed(self) -> bool {
        matches!(self, Self::Closed)
    }

    /// Whether newcomers are let in.
    pub(super) fn accepts(self) -> bool {
        matches!(self, Self::Off | Self::Told { accepts: true, .. })
    }

    pub(super) fn next_deadline(self) -> Option<Duration> {
        match self {
            Self::Told { close_at, look_at: Some(look_at), accepts: true, .. } => {
                Some(close_at.min(look_at))
            }
            Self::Told { close_at, .. } => Some(close_at),
            Self::Off | Self::Closed => None,
        }
    }

    /// When a client with a session comes back, from the begin of the drain on. The slots are spread by
    /// the connection's index: even, and the same in every replay.
    fn slot_of(self, slot: Slot) -> Duration {
        let Self::Told { spread, .. } = self else { return Duration::ZERO };
        let part = slot.index().wrapping_mul(2_654_435_761);
        Duration::from_secs_f64(spread.as_secs_f64() * f64::from(part) / f64::from(u32::MAX))
    }

    /// When somebody comes back who has come during the drain: behind the last slot, and spread as wide.
    fn slot_of_newcomer(self, slot: Slot, now: Duration) -> Duration {
        let Self::Told { slots_end, .. } = self else { return Duration::ZERO };
        slots_end.saturating_sub(now) + self.slot_of(slot)
    }
}

impl Worker {
    /// Tells every client to leave, in slots that fit into `within`.
    pub(super) fn start_drain(&mut self, within: Duration, now: Now) {
        if self.drain.is_on() {
            return;
        }
        self.drain = Drain::begin(within, now.mono);
        for slot in self.connections.slots() {
            let Some(connection) = self.connections.find(slot) else { continue };
            match connection.phase {
                Phase::SignedIn => self.say_goaway(slot, self.drain.slot_of(slot)),
                Phase::SignIn | Phase::Checking(_) | Phase::Departing(..) | Phase::Welcoming => {
                    self.send_away(slot, now);
                }
                // Told as soon as it has said how it speaks, or where it arrives.
                Phase::Handshake | Phase::Moving(..) => {}
                Phase::HandingOver(_) | Phase::Installing(_) | Phase::Closing { .. } => {}
            }
        }
    }

    /// Tells a client without a session when to come back, and closes.
    pub(super) fn send_away(&mut self, slot: Slot, now: Now) {
        self.say_goaway(slot, self.drain.slot_of_newcomer(slot, now.mono));
        self.close(slot, CloseReason::Stopping, now);
    }

    fn say_goaway(&mut self, slot: Slot, reconnect_after: Duration) {
        let reconnect_after_ms = u32::try_from(reconnect_after.as_millis()).unwrap_or(u32::MAX);
        let code = CloseCode::GoingAway;
        self.say(slot, 0, &event::Event::GoAway { code, reconnect_after_ms });
    }

    pub(super) fn pass_drain(&mut self, now: Now) {
        let Drain::Told { close_at, accepts, look_at, .. } = &mut self.drain else { return };
        let is_over = *close_at <= now.mono;
        if *accepts && look_at.is_none() && !self.shard.has_sessions() {
            self.tables.leave();
            *look_at = Some(now.mono);
        }
        // Who waits in the backlog of a listener that is closed is reset: while accepting rests there
        // may be somebody.
        let is_last = self.tables.nobody_is_awaited() && self.accept_resumes_at.is_none();
        if *accepts && (is_over || is_last) {
            *accepts = false;
            self.operations.push(Operation::CloseListeners);
        } else if let Some(look_at) = look_at.as_mut().filter(|at| **at <= now.mono) {
            *look_at = now.mono + LOOK_INTERVAL;
        }
        // Who was let in before that hears when to come back, as soon as it speaks.
        if !is_over && (*accepts || !self.connections.is_empty()) {
            return;
        }
        self.drain = Drain::Closed;
        for slot in self.connections.slots() {
            let Some(connection) = self.connections.find(slot) else { continue };
            self.counters.drains_late += u64::from(connection.in_shard());
            // A request on its way to REST is answered there.
            if !matches!(connection.phase, Phase::HandingOver(_)) {
                self.close(slot, CloseReason::Stopping, now);
            }
        }
    }

    /// The drain is over: no connection is left, nor half of one.
    pub fn is_drained(&self) -> bool {
        let none_comes = self.arrivals.len() == 0 && self.returning.len() == 0;
        self.drain.is_closed() && self.connections.is_empty() && none_comes
    }
}
