//! Commands: those of the connection are answered here, all others are the shard's.

use ringpost_ring::Slot;
use ringpost_shard::Event;
use ringpost_shard::event::Now;
use ringpost_wire::event::Error;
use ringpost_wire::limits::INPUT_COST_BYTES;
use ringpost_wire::{CloseReason, Command, Consequence, ErrorCode, Refused, event};

use super::Worker;
use crate::connection::{Phase, key};

impl Worker {
    /// One decoded command, of so many bytes.
    pub(super) fn command(
        &mut self,
        slot: Slot,
        tag: u16,
        (command, bytes): (Command<'_>, usize),
        now: Now,
    ) {
        self.counters.commands += 1;
        let Some(connection) = self.connections.find(slot) else { return };
        let signed_in = matches!(connection.phase, Phase::SignedIn);
        let expected = matches!(connection.phase, Phase::SignIn);
        match command {
            Command::Hello(_) if !expected => self.refuse(slot, tag, ErrorCode::AlreadySignedIn),
            Command::Hello(hello) => self.hello(slot, tag, &hello, now),
            Command::Ping { nonce } => self.say(slot, tag, &event::Event::Pong { nonce }),
            Command::Pong { .. } => {
                if std::mem::take(&mut connection.pong_due) {
                    self.give_back(slot, bytes);
                }
            }
            Command::Bye => self.leave(slot, now),
            command if !signed_in => {
                let code = ErrorCode::NotSignedIn;
                self.counters.refused.add(code);
                let message_id = command.message_id();
                self.say(slot, tag, &event::Event::Error(Error { message_id, ..Error::new(code) }));
            }
            Command::Auth { token } => self.renew(slot, tag, &token),
            command => {
                let acked = self.shard.counters().entries_acked;
                let event = Event::Command { connection: key(slot), tag, command };
                if let Some(relay) = self.shard.handle(event, now, &mut self.effects) {
                    self.relay(relay, now);
                }
                // An ack that acks nothing is input like any other.
                if self.shard.counters().entries_acked != acked {
                    self.give_back(slot, bytes);
                }
            }
        }
    }

    /// Bytes that are no command: refused, or the end of the connection.
    pub(super) fn violation(&mut self, slot: Slot, refused: &Refused, now: Now) {
        self.counters.malformed += 1;
        match refused.error.consequence() {
            Consequence::Close(reason) => self.break_off(slot, reason, now),
            Consequence::Refuse(code) => {
                self.counters.refused.add(code);
                self.say(slot, refused.tag, &refused.answer());
            }
        }
    }

    /// Closes a connection for what came on it.
    pub(super) fn break_off(&mut self, slot: Slot, reason: CloseReason, now: Now) {
        let is_stranger = !self.signed_in(slot);
        let reason = match reason {
            CloseReason::TooBig if is_stranger => CloseReason::TooBigForStranger,
            other => other,
        };
        self.close(slot, reason, now);
    }

    pub(super) fn refuse(&mut self, slot: Slot, tag: u16, code: ErrorCode) {
        self.counters.refused.add(code);
        self.say(slot, tag, &event::Event::Error(Error::new(code)));
    }

    /// The same, and says what was wrong.
    pub(super) fn refuse_saying(
        &mut self,
        slot: Slot,
        tag: u16,
        code: ErrorCode,
        detail: &'static str,
    ) {
        self.counters.refused.add(code);
        let error = Error { detail: detail.into(), ..Error::new(code) };
        self.say(slot, tag, &event::Event::Error(error));
    }

    /// A frame, text or control frame is complete: it is charged for before it is looked at.
    pub(super) fn charge_frame(&mut self, slot: Slot, now: Now) {
        let Some(connection) = self.connections.find(slot) else { return };
        connection.owed += i64::from(INPUT_COST_BYTES);
        self.counters.charged_bytes += u64::from(INPUT_COST_BYTES);
        self.warm(slot, now);
    }
}
