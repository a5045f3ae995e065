//! What one device has sent lately: in flight, accepted, or waiting for a look-up.
//!
//! ```text
//!  a send ──> in flight? ── same digest ──> one more answer is owed
//!             │             other digest ─> waits in line until the first is decided
//!             accepted lately? ───────────> `sent` again, or conflict
//!             above the highest accepted? ─> new
//!             else ───────────────────────> look up; later sends wait in line
//! ```
//! Whose id is on its way with another content waits for what becomes of that: a conflict has to
//! name what was accepted, and where nothing was, the id is free. Later sends wait behind it, so
//! that none overtakes.
//!
//! Clients use UUIDv7, which rise, so the look-up is rare. It is asked before every check that can
//! change its mind (rates of the user, sizes, quotas): what was accepted stays accepted.

use std::collections::VecDeque;

use ringpost_wire::{DeviceSet, MessageId, ServerId, UserId};
use smallvec::SmallVec;

use crate::event::ConnectionKey;
use crate::image::Accepted;
use crate::mail::SendRequest;

/// Who waits for an answer: a command of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Asker {
    pub(crate) connection: ConnectionKey,
    pub(crate) tag: u16,
}

/// A send that waits, with who asked.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) asker: Asker,
    pub(crate) request: Box<SendRequest>,
}

/// A send that is in flight, at the sender's home.
#[derive(Debug)]
pub(crate) struct Sending {
    pub(crate) message_id: MessageId,
    pub(crate) to: UserId,
    pub(crate) digest: [u8; 16],
    pub(crate) body_bytes: u32,
    /// Other devices of the sender whose queues hold room for the copy.
    pub(crate) copy_devices: DeviceSet,
    pub(crate) askers: SmallVec<[Asker; 1]>,
}

/// What is known of a message id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Never accepted.
    New,
    /// On its way with the same content: the place among [`Outgoing::sending`].
    InFlight(usize),
    /// On its way with another content.
    Contended,
    /// Accepted as this, with another content.
    Conflict(ServerId),
    /// Accepted with the same content.
    Accepted(Accepted),
    /// Only the store knows.
    LookUp,
}

/// One device's sends.
#[derive(Default, Debug)]
pub(crate) struct Outgoing {
    /// In order of acceptance into flight.
    pub(crate) sending: Vec<Sending>,
    /// Accepted last, oldest first.
    accepted: VecDeque<(MessageId, Accepted)>,
    /// Sends that wait for what the first of them waits for.
    pub(crate) line: VecDeque<Held>,
    pub(crate) head: LineHead,
}

/// What the first send of a line waits for.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum LineHead {
    /// Nothing of its own: the line goes on as soon as it may.
    #[default]
    Free,
    /// The store, which is looking its id up.
    LookUp,
    /// The send under its id that is on its way with another content.
    Contended,
}

impl Outgoing {
    pub(crate) fn heap_bytes(&self) -> usize {
        size_of::<Self>()
            + self.sending.capacity() * size_of::<Sending>()
            + self.accepted.capacity() * size_of::<(MessageId, Accepted)>()
            + self.line.capacity() * (size_of::<Held>() + size_of::<SendRequest>())
    }

    pub(crate) fn is_busy(&self) -> bool {
        !self.sending.is_empty() || !self.line.is_empty()
    }

    /// What becomes of `message_id` with `digest`, where `highest` was accepted from the device.
    pub(crate) fn verdict(
        &self,
        message_id: MessageId,
        digest: [u8; 16],
        highest: MessageId,
    ) -> Verdict {
        if let Some(at) = self.sending.iter().position(|sending| sending.message_id == message_id) {
            let is_same = self.sending[at].digest == digest;
            return if is_same { Verdict::InFlight(at) } else { Verdict::Contended };
        }
        match self.accepted.iter().rev().find(|(accepted, _)| *accepted == message_id) {
            Some((_, accepted)) => of_accepted(*accepted, digest),
            None if message_id > highest => Verdict::New,
            None => Verdict::LookUp,
        }
    }

    /// Takes a send out of flight. Who waited for it at the head of the line may go on.
    pub(crate) fn finish(&mut self, message_id: MessageId) -> Option<Sending> {
        let at = self.sending.iter().position(|sending| sending.message_id == message_id)?;
        let contender = self.line.front().map(|held| held.request.message_id);
        if self.head == LineHead::Contended && contender == Some(message_id) {
            self.head = LineHead::Free;
        }
        Some(self.sending.remove(at))
    }

    /// Whether an answer is owed to this connection.
    pub(crate) fn owes(&self, connection: ConnectionKey) -> bool {
        let is_its = |asker: &Asker| asker.connection == connection;
        self.sending.iter().any(|sending| sending.askers.iter().any(is_its))
            || self.line.iter().any(|held| is_its(&held.asker))
    }

    /// Remembers what was accepted, the last `max`.
    pub(crate) fn remember(&mut self, message_id: MessageId, accepted: Accepted, max: u32) {
        // Ends: each round lets the oldest go, one as a rule.
        while self.accepted.len() >= max as usize && !self.accepted.is_empty() {
            self.accepted.pop_front();
        }
        self.accepted.push_back((message_id, accepted));
    }
}

/// The verdict on a send with `digest` under an id that was accepted before.
pub(crate) fn of_accepted(accepted: Accepted, digest: [u8; 16]) -> Verdict {
    if accepted.digest == digest {
        Verdict::Accepted(accepted)
    } else {
        Verdict::Conflict(accepted.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAME: [u8; 16] = [1; 16];
    const OTHER: [u8; 16] = [2; 16];

    fn id(number: u8) -> MessageId {
        MessageId([number; 16])
    }

    fn accepted(number: u8) -> Accepted {
        Accepted {
            id: ServerId([number; 16]),
            accepted_ms: 1_000 + u64::from(number),
            digest: SAME,
        }
    }

    #[test]
    fn a_message_id_is_judged_by_flight_then_cache_then_highest() {
        let mut outgoing = Outgoing::default();
        outgoing.sending.push(Sending {
            message_id: id(3),
            to: UserId::default(),
            digest: SAME,
            body_bytes: 0,
            copy_devices: DeviceSet::EMPTY,
            askers: SmallVec::new(),
        });
        for number in [4, 5, 6] {
            let accepted = accepted(number);
            outgoing.remember(id(number), accepted, 2);
        }
        let cases = [
            (3, SAME, Verdict::InFlight(0)),
            (3, OTHER, Verdict::Contended),
            (6, SAME, Verdict::Accepted(accepted(6))),
            (6, OTHER, Verdict::Conflict(ServerId([6; 16]))),
            (4, SAME, Verdict::LookUp),
            (7, SAME, Verdict::New),
            (1, SAME, Verdict::LookUp),
        ];
        for (number, digest, expected) in cases {
            assert_eq!(outgoing.verdict(id(number), digest, id(6)), expected, "id {number}");
        }
    }
}
