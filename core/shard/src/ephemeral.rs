//! What is never stored: ephemeral messages and typing notices, to whoever is connected now.
//!
//! No load, no store, no receipt, no `sent`. Dropped first: where nobody is connected, where an
//! outbox has no room. Every drop is counted.

use std::borrow::Cow;

use bytes::Bytes;
use ringpost_wire::command::{Content, SendMessage, intent};
use ringpost_wire::event::NewMessage;
use ringpost_wire::{DeviceId, Event as WireEvent, ServerId, UserId};
use smallvec::SmallVec;

use crate::effect::Effect;
use crate::event::ConnectionKey;
use crate::idempotency::Asker;
use crate::mail::Mail;
use crate::session::SessionSlot;
use crate::shard::Shard;
use crate::turn::Turn;

/// An ephemeral message for connections of the same worker. Its content is still where it arrived,
/// so it is written before the bytes that it came in are let go: behind all effects so far.
#[derive(Debug)]
pub struct Relay<'a> {
    /// Who gets it.
    pub to: SmallVec<[ConnectionKey; 2]>,
    /// What they get.
    pub message: NewMessage<Cow<'a, [u8]>>,
}

impl Shard {
    pub(crate) fn send_ephemeral<'a>(
        &mut self,
        asker: Asker,
        session: SessionSlot,
        send: SendMessage<'a>,
        turn: &mut Turn<'_>,
    ) -> Option<Relay<'a>> {
        let (plain, body) = match send.content {
            Content::Encrypted(bytes) => (false, bytes),
            Content::Plain(Cow::Borrowed(text)) => (true, Cow::Borrowed(text.as_bytes())),
            Content::Plain(Cow::Owned(text)) => (true, Cow::Owned(text.into_bytes())),
        };
        if let Some(refusal) = self.unfit(plain, body.len()) {
            self.refuse(asker, send.message_id, refusal, turn);
            return None;
        }
        let session = &self.sessions[session];
        let message = NewMessage {
            push: 0,
            id: ServerId::default(),
            message_id: send.message_id,
            from: session.user,
            from_device: session.device,
            to: send.to,
            reply_to: send.reply_to,
            client_timestamp_ms: send.client_timestamp_ms,
            ephemeral: true,
            plain,
            body,
        };
        let home = self.homes.home(message.to);
        if home != self.config.worker {
            if let Cow::Borrowed(bytes) = message.body {
                self.counters.copied_bytes += bytes.len() as u64;
            }
            let message = Box::new(message.map_body(|body| Bytes::from(body.into_owned())));
            turn.effects.push(Effect::Mail { to: home, mail: Mail::Ephemeral(message) });
            return None;
        }
        let takers = self.takers(message.to, own_device(&message));
        let body_bytes = message.body.len();
        let to = takers.into_iter().map(|slot| self.sessions.take_room(slot, body_bytes));
        let to: SmallVec<_> = to.collect();
        (!to.is_empty()).then_some(Relay { to, message })
    }

    pub(crate) fn deliver_ephemeral(&mut self, message: NewMessage, turn: &mut Turn<'_>) {
        for slot in self.takers(message.to, own_device(&message)) {
            self.sessions.deliver(slot, 0, WireEvent::NewMessage(message.clone()), turn);
        }
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
        self.drop_without_room(&mut sessions);
        for slot in sessions {
            self.sessions.deliver(slot, 0, WireEvent::Typing { from, active }, turn);
        }
    }

    /// The sessions of `user` that take an ephemeral message now, but for that of one device.
    fn takers(&mut self, user: UserId, but: Option<DeviceId>) -> SmallVec<[SessionSlot; 4]> {
        let mut sessions = self.sessions.of_user(user);
        sessions.retain(|slot| Some(self.sessions[*slot].device) != but);
        self.drop_without_room(&mut sessions);
        sessions
    }

    /// Leaves those that have room; counts what is delivered and what is dropped.
    fn drop_without_room(&mut self, sessions: &mut SmallVec<[SessionSlot; 4]>) {
        let wanted = sessions.len().max(1) as u64;
        sessions.retain(|slot| self.has_room(*slot));
        let delivered = sessions.len() as u64;
        self.counters.ephemeral_delivered += delivered;
        self.counters.ephemeral_dropped += wanted - delivered;
    }
}

/// The device that a message is not delivered to: its own sender's, when one writes to oneself.
fn own_device<B>(message: &NewMessage<B>) -> Option<DeviceId> {
    (message.to == message.from).then_some(message.from_device)
}
