//! Refusals: why, how long to wait, and how they reach who asked.

use std::time::Duration;

use ringpost_wire::{DeviceId, ErrorCode, Event as WireEvent, MessageId, ServerId, UserId};

use crate::bound::{Bound, Overload};
use crate::idempotency::Asker;
use crate::mail::Mail;
use crate::shard::Shard;
use crate::turn::{Turn, retry_ms};

/// A refusal of one command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Refusal {
    pub(crate) code: ErrorCode,
    pub(crate) retry_after_ms: u32,
    /// For `conflict`: what was accepted.
    pub(crate) id: ServerId,
    /// For the client's developer: which limit it was, where the code leaves that open.
    pub(crate) detail: &'static str,
}

impl Refusal {
    pub(crate) const fn now(code: ErrorCode) -> Self {
        Self { code, retry_after_ms: 0, id: ServerId([0; 16]), detail: "" }
    }

    pub(crate) fn later(code: ErrorCode, pause: Duration) -> Self {
        Self { retry_after_ms: retry_ms(pause), ..Self::now(code) }
    }

    pub(crate) const fn conflict(id: ServerId) -> Self {
        Self { id, ..Self::now(ErrorCode::Conflict) }
    }
}

impl Shard {
    pub(crate) fn overloaded(&self, overload: Overload) -> Refusal {
        let detail = overload.detail().unwrap_or_default();
        let pause = self.config.limits.overloaded_retry;
        Refusal { detail, ..Refusal::later(ErrorCode::Overloaded, pause) }
    }

    /// Refuses a command because a bound was hit.
    pub(crate) fn refuse_at(
        &mut self,
        bound: Bound,
        asker: Asker,
        message_id: MessageId,
        turn: &mut Turn<'_>,
    ) {
        self.counters.hits.add(bound);
        self.refuse(asker, message_id, self.overloaded(Overload::At(bound)), turn);
    }

    /// Answers a command with a refusal, if its connection is still there.
    pub(crate) fn refuse(
        &mut self,
        asker: Asker,
        message_id: MessageId,
        refusal: Refusal,
        turn: &mut Turn<'_>,
    ) {
        self.counters.count_refusal(refusal.code);
        let Some(slot) = self.sessions.find(asker.connection) else { return };
        let error = ringpost_wire::event::Error {
            retry_after_ms: refusal.retry_after_ms,
            message_id,
            id: refusal.id,
            detail: refusal.detail.into(),
            ..ringpost_wire::event::Error::new(refusal.code)
        };
        self.sessions.deliver(slot, asker.tag, WireEvent::Error(error), turn);
    }

    /// Tells the sender's home that a send was refused at the conversation's.
    pub(crate) fn refuse_send(
        &mut self,
        user: UserId,
        device: DeviceId,
        message_id: MessageId,
        refusal: Refusal,
        turn: &mut Turn<'_>,
    ) {
        let home = self.homes.home(user);
        if home == self.config.worker {
            self.send_refused(user, device, message_id, refusal, turn);
            return;
        }
        let Refusal { code, retry_after_ms, detail, .. } = refusal;
        let mail = Mail::Refused { user, device, message_id, code, retry_after_ms, detail };
        turn.effects.push(crate::effect::Effect::Mail { to: home, mail });
    }
}
