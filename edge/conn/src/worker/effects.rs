//! Carrying out what the shard wants, in order.

use std::borrow::Cow;

use ringpost_ring::Slot;
use ringpost_shard::event::{ConnectionKey, Now, WorkerId};
use ringpost_shard::mail::Mail;
use ringpost_shard::{Effect, Relay};
use ringpost_wire::event;

use super::Worker;
use crate::caller::Caller;
use crate::connection::Phase;
use crate::encode::Said;
use crate::letter::Identity;
use crate::outbox::SHARED_BODY_BYTES_MIN;
use crate::output::{Entrant, Output};

impl Worker {
    /// Carries out all effects, also those that follow from them and from what waited for them.
    pub(super) fn carry_out_effects(&mut self, now: Now) {
        // Ends: a connection enters once, and what it said before is at most what it may.
        loop {
            self.carry_out_queued(now);
            let Some(slot) = self.entered.pop_front() else { return };
            self.open_account(slot, now);
        }
    }

    /// Writes an ephemeral message while its content is still where it arrived, behind all effects
    /// so far. A large one is copied once for all who get it, a small one into each outbox.
    pub(super) fn relay(&mut self, relay: Relay<'_>, now: Now) {
        self.carry_out_queued(now);
        let Relay { to, message } = relay;
        if message.body.len() < SHARED_BODY_BYTES_MIN {
            for connection in to {
                self.deliver(connection, 0, Said::Lent(&message));
            }
            return;
        }
        if let Cow::Borrowed(bytes) = message.body {
            self.counters.gathered_bytes += bytes.len() as u64;
        }
        let event = event::Event::NewMessage(message.map_body(|body| body.into_owned().into()));
        for connection in to {
            self.deliver(connection, 0, Said::Event(&event));
        }
    }

    fn carry_out_queued(&mut self, now: Now) {
        // Ends: effects follow from effects only where one closes a connection, once for each.
        while !self.effects.is_empty() {
            let mut effects = std::mem::take(&mut self.effects);
            for effect in effects.drain(..) {
                self.carry_out(effect, now);
            }
            // Keeps the allocation unless something was emitted meanwhile.
            if self.effects.is_empty() {
                self.effects = effects;
            }
        }
    }

    fn carry_out(&mut self, effect: Effect, now: Now) {
        match effect {
            Effect::SignedIn { connection, tag, window_pushes, window_bytes, .. } => {
                self.signed_in_now(connection, tag, (window_pushes, window_bytes), now);
            }
            Effect::Deliver { connection, tag, event } => {
                self.deliver(connection, tag, Said::Event(&event));
            }
            Effect::WantWritable { connection } => self.want_writable(connection),
            Effect::Close { connection, reason } => {
                if let Some(connection) = self.connections.find_key(connection) {
                    let slot = connection.slot;
                    self.close(slot, reason, now);
                }
            }
            Effect::Mail { to, mail } => self.post(to, mail),
            Effect::Commit { record } => {
                self.committed_at.push_back(now.mono);
                self.outputs.push(Output::Tier(Effect::Commit { record }));
            }
            tier @ (Effect::Load { .. }
            | Effect::LookUpAccepted { .. }
            | Effect::ReadMessages { .. }
            | Effect::FindReceived { .. }
            | Effect::RequestDone { .. }) => self.outputs.push(Output::Tier(tier)),
        }
    }

    fn want_writable(&mut self, waits: ConnectionKey) {
        if let Some(connection) = self.connections.find_key(waits).filter(|it| !it.leaving) {
            connection.wants_writable = true;
            let slot = connection.slot;
            // An outbox that is idle already will report no send: look at it in this turn.
            self.mark_dirty(slot);
        }
    }

    /// Adds mail to the batch of this turn for `to`: one letter for each peer and turn.
    fn post(&mut self, to: WorkerId, mail: Mail) {
        let at = usize::from(to.0);
        if at >= self.mail.len() {
            self.mail.resize_with(at + 1, Vec::new);
        }
        self.mail[at].push(mail);
    }

    /// Hands out the mail of this turn.
    pub(super) fn hand_out_mail(&mut self) {
        for (number, batch) in (0..).zip(&mut self.mail) {
            if !batch.is_empty() {
                let (to, mail) = (WorkerId(number), std::mem::take(batch));
                self.outputs.push(Output::Mail { to, mail });
            }
        }
    }

    fn signed_in_now(&mut self, to: ConnectionKey, tag: u16, granted: (u32, u32), now: Now) {
        // It may have been closed since the shard took it in, in the same turn.
        let Some(connection) =
            self.connections.find_key(to).filter(|it| matches!(it.phase, Phase::Welcoming))
        else {
            return;
        };
        let slot = connection.slot;
        let identity = connection.identity.take().expect("who signs in has an identity");
        self.outputs.push(Output::SignedIn(Entrant {
            user: identity.user,
            device: identity.device,
            proof: identity.proof,
            speech: connection.speech,
            address: connection.caller.map(Caller::address),
        }));
        self.welcome(slot, tag, &identity, granted, now);
        self.enter(slot, Phase::SignedIn, now);
        self.schedule(slot);
        self.entered.push_back(slot);
    }

    /// Says `welcome`, with a fresh ticket: to a new session, and to one whose token was renewed.
    pub(super) fn welcome(
        &mut self,
        slot: Slot,
        tag: u16,
        identity: &Identity,
        (window_pushes, window_bytes): (u32, u32),
        now: Now,
    ) {
        let Some(speech) = self.connections.find(slot).map(|connection| connection.speech) else {
            return;
        };
        let ticket = self.tickets.issue(identity, now.wall_ms);
        let welcome = event::Welcome {
            user: identity.user,
            device: identity.device,
            ticket: ticket.bytes,
            ticket_ttl_ms: ticket.ttl_ms,
            server_time_ms: now.wall_ms,
            window_pushes,
            window_bytes,
            message_bytes_max: self.config.message_bytes_max,
            ping_interval_ms: self.config.ping_interval(speech).as_millis() as u32,
        };
        self.say(slot, tag, &event::Event::Welcome(welcome));
    }
}
