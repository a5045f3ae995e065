//! A send at the sender's home: is it new, may it go, and what becomes of it.
//!
//! A place in flight is taken here and given back by exactly one of: the durable record, a
//! refusal by the conversation's home, the failure of the journal. Each send that was asked for is
//! answered once per asker; a connection that is gone is answered through the device's present
//! one, with tag 0, if nobody else asked.

use bytes::Bytes;
use ringpost_wire::command::{Content, SendMessage};
use ringpost_wire::event::{Receipt, Status};
use ringpost_wire::{DeviceId, DeviceSet, ErrorCode, Event as WireEvent, MessageId, UserId};
use smallvec::smallvec;

use crate::bound::{Bound, Overload};
use crate::digest::digest;
use crate::effect::Effect;
use crate::idempotency::{Asker, Held, LineHead, Sending, Verdict, of_accepted};
use crate::image::{Accepted, StoreUnavailable};
use crate::loading::Waiting;
use crate::mail::{Mail, SendRequest};
use crate::rate::OverRate;
use crate::record::MessageHead;
use crate::refusal::Refusal;
use crate::session::SessionSlot;
use crate::shard::Shard;
use crate::turn::Turn;
use crate::users::{Found, UserSlot};

/// What `judge` made of a send.
enum Judged {
    /// Answered, refused, or on its way.
    Done,
    /// It comes back and must wait at the head of its device's line, for this.
    Waits(Held, LineHead),
}

impl Shard {
    /// A durable send of a signed-in connection. The content is copied here, once.
    pub(crate) fn send(
        &mut self,
        asker: Asker,
        session: SessionSlot,
        message: &SendMessage<'_>,
        turn: &mut Turn<'_>,
    ) {
        let message_id = message.message_id;
        let user = self.sessions[session].user;
        let held = Held { asker, request: self.own(session, message, turn) };
        let waits = match self.users.find(user) {
            Found::Resident(at) => return self.send_resident(at, held, turn),
            Found::Loading(at) => self.wait_for_load(at, Waiting::Send(held)),
            Found::Absent => {
                self.load_for_session(user, turn);
                match self.users.find(user) {
                    Found::Loading(at) => self.wait_for_load(at, Waiting::Send(held)),
                    Found::Absent | Found::Resident(_) => {
                        unreachable!("a load that was begun is not answered in the same breath")
                    }
                }
            }
        };
        if let Err(bound) = waits {
            self.refuse(asker, message_id, self.overloaded(Overload::At(bound)), turn);
        }
    }

    /// The send as it is kept: the sender from the session, never from the frame.
    fn own(
        &mut self,
        session: SessionSlot,
        message: &SendMessage<'_>,
        turn: &Turn<'_>,
    ) -> Box<SendRequest> {
        let (plain, body) = match &message.content {
            Content::Encrypted(bytes) => (false, Bytes::copy_from_slice(bytes)),
            Content::Plain(text) => (true, Bytes::copy_from_slice(text.as_bytes())),
        };
        self.counters.copied_bytes += body.len() as u64;
        let session = &self.sessions[session];
        Box::new(SendRequest {
            message_id: message.message_id,
            from: session.user,
            from_device: session.device,
            to: message.to,
            reply_to: message.reply_to,
            client_timestamp_ms: message.client_timestamp_ms,
            plain,
            digest: digest(message),
            sender_devices: DeviceSet::EMPTY,
            copy_devices: DeviceSet::EMPTY,
            copy_gaps: DeviceSet::EMPTY,
            floor_ticks: self.stamper.latest_ticks(),
            asked_at: turn.now.mono,
            body,
        })
    }

    /// A send whose sender is resident: it goes now, or behind those of its device that wait.
    pub(crate) fn send_resident(&mut self, at: UserSlot, held: Held, turn: &mut Turn<'_>) {
        if !self.is_signed_in(held.asker.connection) {
            self.counters.orphaned_commands += 1;
            return;
        }
        let limits = &self.config.limits;
        let resident = self.users.resident_mut(at);
        let adding = resident.adding > 0;
        let outgoing = resident.device(held.request.from_device).outgoing_mut();
        if adding || !outgoing.line.is_empty() {
            let bound = if outgoing.line.len() >= limits.look_up_line_max as usize {
                Bound::LookUpLine
            } else if !self.waiting.try_take(held.request.body.len()) {
                Bound::Waiting
            } else {
                return outgoing.line.push_back(held);
            };
            return self.refuse_at(bound, held.asker, held.request.message_id, turn);
        }
        match self.judge(at, held, turn) {
            Judged::Done => {}
            Judged::Waits(held, head) => self.wait_at_head(at, held, head, turn),
        }
    }

    /// Puts a send at the head of its device's line, and asks the store for its id if that is what
    /// it waits for.
    fn wait_at_head(&mut self, at: UserSlot, held: Held, head: LineHead, turn: &mut Turn<'_>) {
        let SendRequest { from, from_device, message_id, .. } = *held.request;
        if !self.waiting.try_take(held.request.body.len()) {
            return self.refuse_at(Bound::Waiting, held.asker, message_id, turn);
        }
        let resident = self.users.resident_mut(at);
        // Every record that accepted something of this user touched it.
        let after = resident.last_touched;
        let outgoing = resident.device(from_device).outgoing_mut();
        outgoing.line.push_front(held);
        outgoing.head = head;
        if head != LineHead::LookUp {
            return;
        }
        self.counters.look_ups += 1;
        let (user, device) = (from, from_device);
        turn.effects.push(Effect::LookUpAccepted { user, device, message_id, after });
    }

    /// Lets the sends that wait go, up to the next that needs a look-up.
    pub(crate) fn run_line(&mut self, at: UserSlot, device: DeviceId, turn: &mut Turn<'_>) {
        // Ends: each round takes a send out of the line, or is the last.
        loop {
            let resident = self.users.resident_mut(at);
            if resident.adding > 0 {
                return;
            }
            let Some(outgoing) = resident.device(device).outgoing.as_mut() else { return };
            if outgoing.head != LineHead::Free {
                return;
            }
            let Some(held) = outgoing.line.pop_front() else { return };
            self.waiting.give_back(held.request.body.len());
            if !self.is_signed_in(held.asker.connection) {
                self.counters.orphaned_commands += 1;
                continue;
            }
            if let Judged::Waits(held, head) = self.judge(at, held, turn) {
                self.wait_at_head(at, held, head, turn);
            }
        }
    }

    pub(crate) fn looked_up(
        &mut self,
        user: UserId,
        device: DeviceId,
        message_id: MessageId,
        answer: Result<Option<Accepted>, StoreUnavailable>,
        turn: &mut Turn<'_>,
    ) {
        let Found::Resident(at) = self.users.find(user) else {
            unreachable!("a look-up keeps its user resident");
        };
        let outgoing = self.users.resident_mut(at).device(device).outgoing_mut();
        let head = std::mem::take(&mut outgoing.head);
        assert_eq!(head, LineHead::LookUp, "an answer belongs to a look-up");
        let held = outgoing.line.pop_front().expect("what is looked up heads the line");
        assert_eq!(held.request.message_id, message_id, "look-ups are answered one by one");
        self.waiting.give_back(held.request.body.len());
        if !self.is_signed_in(held.asker.connection) {
            self.counters.orphaned_commands += 1;
        } else {
            match answer {
                Err(StoreUnavailable) => {
                    self.counters.store_failures += 1;
                    let refusal = self.overloaded(Overload::Store);
                    self.refuse(held.asker, message_id, refusal, turn);
                }
                Ok(None) => self.start(at, held, turn),
                Ok(Some(accepted)) => {
                    let verdict = of_accepted(accepted, held.request.digest);
                    self.answer_known(&held, verdict, turn);
                }
            }
        }
        self.run_line(at, device, turn);
    }

    fn judge(&mut self, at: UserSlot, held: Held, turn: &mut Turn<'_>) -> Judged {
        let SendRequest { from_device, message_id, digest, .. } = *held.request;
        let limits = &self.config.limits;
        let resident = self.users.resident_mut(at);
        let device = resident.device(from_device);
        let highest = device.highest;
        let outgoing = device.outgoing_mut();
        let verdict = outgoing.verdict(message_id, digest, highest);
        match verdict {
            Verdict::Accepted(_) | Verdict::Conflict(_) => {
                self.answer_known(&held, verdict, turn);
                return Judged::Done;
            }
            Verdict::InFlight(place) => {
                let askers = &mut outgoing.sending[place].askers;
                if askers.len() < limits.answers_per_send_max as usize {
                    askers.push(held.asker);
                } else {
                    self.refuse_at(Bound::Answers, held.asker, message_id, turn);
                }
                return Judged::Done;
            }
            Verdict::Contended => return Judged::Waits(held, LineHead::Contended),
            Verdict::New | Verdict::LookUp => {}
        }
        // From here on it may cost something; a refusal by rate says nothing about the message.
        let bytes = held.request.body.len() as u32;
        let (sends, rate_bytes) = (limits.user_sends, limits.user_bytes);
        if let Err(over) = resident.rate.take(turn.now.mono, sends, rate_bytes, bytes) {
            self.counters.hits.add(Bound::UserRate);
            let (wait, detail) = match over {
                OverRate::Units(wait) => (wait, "durable messages of one user"),
                OverRate::Bytes(wait) => (wait, "content of the durable messages of one user"),
            };
            let refusal = Refusal { detail, ..Refusal::later(ErrorCode::RateLimited, wait) };
            self.refuse(held.asker, message_id, refusal, turn);
            return Judged::Done;
        }
        if verdict == Verdict::LookUp {
            return Judged::Waits(held, LineHead::LookUp);
        }
        self.start(at, held, turn);
        Judged::Done
    }

    fn answer_known(&mut self, held: &Held, verdict: Verdict, turn: &mut Turn<'_>) {
        let SendRequest { message_id, to, .. } = *held.request;
        match verdict {
            Verdict::Accepted(accepted) => {
                self.counters.duplicates_answered += 1;
                self.answer_sent(held.asker, accepted, message_id, to, turn);
            }
            Verdict::Conflict(id) => {
                self.refuse(held.asker, message_id, Refusal::conflict(id), turn);
            }
            Verdict::New | Verdict::InFlight(_) | Verdict::Contended | Verdict::LookUp => {
                unreachable!("only what was judged before is answered from memory")
            }
        }
    }

    /// A new message: checks it, takes its place, and sends it to the conversation's home.
    fn start(&mut self, at: UserSlot, mut held: Held, turn: &mut Turn<'_>) {
        let failed = self.journal_failed.then(|| self.unavailable());
        if let Some(refusal) =
            failed.or_else(|| self.unfit(held.request.plain, held.request.body.len()))
        {
            return self.refuse(held.asker, held.request.message_id, refusal, turn);
        }
        if let Some(shortage) = self.shortage {
            let bound = shortage.bound();
            return self.refuse_at(bound, held.asker, held.request.message_id, turn);
        }
        let request = &mut held.request;
        let (message_id, device, bytes) =
            (request.message_id, request.from_device, request.body.len());
        let limits = &self.config.limits;
        let resident = self.users.resident_mut(at);
        let in_flight = resident.device(device).outgoing_mut().sending.len();
        if in_flight >= limits.in_flight_per_device_max as usize {
            return self.refuse_at(Bound::DeviceInFlight, held.asker, message_id, turn);
        }
        if !self.in_flight.try_take(bytes) {
            return self.refuse_at(Bound::InFlight, held.asker, message_id, turn);
        }
        request.sender_devices = resident.device_set();
        if request.to == request.from {
            // A note to oneself: what the other devices get is the message, not a copy.
            request.sender_devices = DeviceSet::only(device);
        } else {
            let others = resident.device_set();
            let others = others.iter().filter(|&other| other != device);
            for other in others {
                let other = resident.device(other);
                let full = other.queue.full_for(bytes as u32, limits);
                if other.is_closed() || full.is_some() {
                    full.into_iter().for_each(|bound| self.counters.hits.add(bound));
                    request.copy_gaps = request.copy_gaps.with(other.id);
                } else {
                    other.queue.reserve(None, bytes as u32);
                    request.copy_devices = request.copy_devices.with(other.id);
                }
            }
        }
        resident.device(device).outgoing_mut().sending.push(Sending {
            message_id,
            to: request.to,
            digest: request.digest,
            body_bytes: bytes as u32,
            copy_devices: request.copy_devices,
            askers: smallvec![held.asker],
        });
        let home = self.homes.home(request.to);
        if home == self.config.worker {
            self.arrive(held.request, turn);
        } else {
            turn.effects.push(Effect::Mail { to: home, mail: Mail::Send(held.request) });
        }
    }

    /// Why a message can never go as it is.
    pub(crate) fn unfit(&self, plain: bool, content_bytes: usize) -> Option<Refusal> {
        if content_bytes > self.config.limits.message_bytes_max as usize {
            Some(Refusal::now(ErrorCode::TooLarge))
        } else if plain && !self.config.plaintext_allowed {
            Some(Refusal::now(ErrorCode::PlaintextRefused))
        } else {
            None
        }
    }

    /// Takes a send out of flight: gives back its place and the room of its copies.
    fn finish_send(
        &mut self,
        at: UserSlot,
        device: DeviceId,
        message_id: MessageId,
    ) -> Option<Sending> {
        let resident = self.users.resident_mut(at);
        let sending = resident.device(device).outgoing.as_mut()?.finish(message_id)?;
        self.in_flight.give_back(sending.body_bytes as usize);
        for copy in sending.copy_devices.iter() {
            resident.device(copy).queue.release(None, sending.body_bytes);
        }
        Some(sending)
    }

    /// The record of a send is durable and folded: answers it.
    pub(crate) fn send_durable(&mut self, at: UserSlot, head: &MessageHead, turn: &mut Turn<'_>) {
        let (device, message_id) = (head.from_device, head.message_id);
        let Some(sending) = self.finish_send(at, device, message_id) else {
            // What was durable just before the journal failed was answered as outcome unknown.
            assert!(self.journal_failed, "a send stays in flight until it is durable or refused");
            return;
        };
        self.counters.sends_accepted += 1;
        let accepted = Accepted::of(head);
        let max = self.config.limits.accepted_cache_max;
        let outgoing = self.users.resident_mut(at).device(device).outgoing_mut();
        outgoing.remember(message_id, accepted, max);
        let mut answered = false;
        for asker in sending.askers {
            if self.is_signed_in(asker.connection) {
                self.answer_sent(asker, accepted, message_id, head.to, turn);
                answered = true;
            }
        }
        if !answered && let Some(session) = self.sessions.find_device(head.from, device) {
            let connection = self.sessions[session].connection;
            self.answer_sent(Asker { connection, tag: 0 }, accepted, message_id, head.to, turn);
        }
        self.run_line(at, device, turn);
    }

    /// The conversation's home has refused a send.
    pub(crate) fn send_refused(
        &mut self,
        user: UserId,
        device: DeviceId,
        message_id: MessageId,
        refusal: Refusal,
        turn: &mut Turn<'_>,
    ) {
        // After the journal has failed every send was answered and is forgotten.
        let Found::Resident(at) = self.users.find(user) else { return };
        let Some(sending) = self.finish_send(at, device, message_id) else { return };
        for asker in sending.askers {
            self.refuse(asker, message_id, refusal, turn);
        }
        self.run_line(at, device, turn);
    }

    fn answer_sent(
        &mut self,
        asker: Asker,
        accepted: Accepted,
        message_id: MessageId,
        to: UserId,
        turn: &mut Turn<'_>,
    ) {
        let Some(slot) = self.sessions.find(asker.connection) else { return };
        let receipt = Receipt {
            push: 0,
            id: accepted.id,
            message_id,
            peer: to,
            status: Status::Sent,
            timestamp_ms: accepted.accepted_ms,
        };
        self.sessions.deliver(slot, asker.tag, WireEvent::Receipt(receipt), turn);
    }

    pub(crate) fn unavailable(&self) -> Refusal {
        Refusal::later(ErrorCode::Unavailable, self.config.limits.overloaded_retry)
    }

    /// Nothing will be durable any more: everything on the way gets its one answer.
    pub(crate) fn fail_journal(&mut self, turn: &mut Turn<'_>) {
        if std::mem::replace(&mut self.journal_failed, true) {
            return;
        }
        let slots: Vec<UserSlot> = self.users.residents().map(|(slot, _)| slot).collect();
        let refusal = self.unavailable();
        for at in slots {
            self.give_up_devices(at, turn);
            let resident = self.users.resident_mut(at);
            let mut refused = Vec::new();
            for device in &mut resident.devices {
                device.acks.abandon();
                let Some(outgoing) = device.outgoing.as_mut() else { continue };
                for sending in outgoing.sending.drain(..) {
                    self.in_flight.give_back(sending.body_bytes as usize);
                    let id = sending.message_id;
                    refused.extend(sending.askers.into_iter().map(|asker| (asker, id)));
                }
                // What is being looked up heads its line and is answered with the look-up.
                let kept = usize::from(outgoing.head == LineHead::LookUp);
                if kept == 0 {
                    outgoing.head = LineHead::Free;
                }
                for held in outgoing.line.drain(kept..) {
                    self.waiting.give_back(held.request.body.len());
                    refused.push((held.asker, held.request.message_id));
                }
            }
            for (asker, message_id) in refused {
                self.refuse(asker, message_id, refusal, turn);
            }
        }
    }
}
