//! What is never stored: ephemeral messages and typing notices, to whoever is connected now.
//!
//! No load, no store, no receipt, no `sent`. Dropped first: where nobody is connected, where an
//! outbox has no room. Every drop is counted.

use ringpost_wire::command::{SendMessage, intent};
use ringpost_wire::event::NewMessage;
use ringpost_wire::{Event as WireEvent, ServerId, UserId};

use crate::effect::Effect;
use crate::idempotency::Asker;
use crate::mail::{Mail, SendRequest};
use crate::session::SessionSlot;
use crate::shard::Shard;
use crate::turn::Turn;

impl Shard {
    pub(crate) fn send_ephemeral(
        &mut self,
        asker: Asker,
        session: SessionSlot,
        message: &SendMessage<'_>,
        turn: &mut Turn<'_>,
    ) {
        let request = self.own(session, message, turn);
        if let Some(refusal) = self.unfit(&request) {
            self.refuse(asker, message.message_id, refusal, turn);
            return;
        }
        let home = self.homes.home(request.to);
        if home == self.config.worker {
            self.deliver_ephemeral(*request, turn);
        } else {
            turn.effects.push(Effect::Mail { to: home, mail: Mail::Ephemeral(request) });
        }
    }

    pub(crate) fn deliver_ephemeral(&mut self, request: SendRequest, turn: &mut Turn<'_>) {
        let oneself = (request.to == request.from).then_some(request.from_device);
        let event = WireEvent::NewMessage(NewMessage {
            push: 0,
            id: ServerId::default(),
            message_id: request.message_id,
            from: request.from,
            from_device: request.from_device,
            to: request.to,
            reply_to: request.reply_to,
            client_timestamp_ms: request.client_timestamp_ms,
            ephemeral: true,
            plain: request.plain,
            body: request.body,
        });
        let mut sessions = self.sessions.of_user(request.to);
        sessions.retain(|slot| Some(self.sessions[*slot].device) != oneself);
        self.deliver_or_drop(&sessions, &event, turn);
    }

    pub(crate) fn send_typing(
        &mut self,
        session: SessionSlot,
        to: UserId,
        active: bool,
        turn: &mut Turn<'_>,
    ) {
        let from = self.sessions[session].user;
        let home = self.homes.home(to);
        if home == self.config.worker {
            self.deliver_typing(from, to, active, turn);
        } else {
            turn.effects.push(Effect::Mail { to: home, mail: Mail::Typing { from, to, active } });
        }
    }

    pub(crate) fn deliver_typing(
        &mut self,
        from: UserId,
        to: UserId,
        active: bool,
        turn: &mut Turn<'_>,
    ) {
        let mut sessions = self.sessions.of_user(to);
        sessions.retain(|slot| u32::from(self.sessions[*slot].intents) & intent::TYPING != 0);
        self.deliver_or_drop(&sessions, &WireEvent::Typing { from, active }, turn);
    }

    fn deliver_or_drop(
        &mut self,
        sessions: &[SessionSlot],
        event: &WireEvent,
        turn: &mut Turn<'_>,
    ) {
        if sessions.is_empty() {
            self.counters.ephemeral_dropped += 1;
        }
        for &slot in sessions {
            if self.has_room(slot) {
                self.counters.ephemeral_delivered += 1;
                self.sessions.deliver(slot, 0, event.clone(), turn);
            } else {
                self.counters.ephemeral_dropped += 1;
            }
        }
    }
}
