//! A send at the conversation's home, which is the recipient's: existence, room, stamp, commit.
//!
//! A recipient without any device is written to all the same: history has the message for the
//! first device to come. So does one whose devices are full or have a gap: the record widens the
//! gap, and nobody is refused for what others have filled. A sender is refused for what it filled
//! itself: where each queue that takes messages holds its share of it.

use ringpost_wire::{DeviceSet, ErrorCode};

use crate::bound::Overload;
use crate::loading::Waiting;
use crate::mail::SendRequest;
use crate::record::{Head, MessageHead};
use crate::refusal::Refusal;
use crate::shard::Shard;
use crate::turn::Turn;
use crate::users::{Found, UserSlot};

impl Shard {
    /// A send arrives from its sender's home.
    pub(crate) fn arrive(&mut self, request: Box<SendRequest>, turn: &mut Turn<'_>) {
        let (from, device, message_id) = (request.from, request.from_device, request.message_id);
        let refusal = match self.users.find(request.to) {
            Found::Resident(at) => return self.arrive_resident(at, *request, turn),
            Found::Loading(at) => match self.wait_for_load(at, Waiting::Arrival(request)) {
                Ok(()) => return,
                Err(bound) => self.overloaded(Overload::At(bound)),
            },
            Found::Absent if self.unknown.contains(request.to, turn.now.mono) => {
                Refusal::now(ErrorCode::UnknownRecipient)
            }
            Found::Absent => {
                let waits = self
                    .load(request.to, Some(from), turn)
                    .and_then(|at| self.wait_for_load(at, Waiting::Arrival(request)));
                match waits {
                    Ok(()) => return,
                    Err(bound) => self.overloaded(Overload::At(bound)),
                }
            }
        };
        self.refuse_send(from, device, message_id, refusal, turn);
    }

    /// A send whose recipient is resident.
    pub(crate) fn arrive_resident(
        &mut self,
        at: UserSlot,
        request: SendRequest,
        turn: &mut Turn<'_>,
    ) {
        let (recipients, gaps) = match self.recipients(at, &request, turn) {
            Ok(devices) => devices,
            Err(refusal) => {
                let SendRequest { from, from_device, message_id, .. } = request;
                return self.refuse_send(from, from_device, message_id, refusal, turn);
            }
        };
        let bytes = request.body.len() as u32;
        let resident = self.users.resident_mut(at);
        resident.arriving += 1;
        for device in recipients.iter() {
            resident.device(device).queue.reserve(Some(request.from), bytes);
        }
        self.counters.gaps += u64::from(gaps.len()) + u64::from(request.copy_gaps.len());
        let head = MessageHead {
            id: self.stamper.stamp_above(request.floor_ticks, turn.now.wall_ms),
            accepted_ms: turn.now.wall_ms,
            message_id: request.message_id,
            from: request.from,
            from_device: request.from_device,
            to: request.to,
            reply_to: request.reply_to,
            client_timestamp_ms: request.client_timestamp_ms,
            plain: request.plain,
            digest: request.digest,
            recipient_devices: recipients,
            recipient_gaps: gaps,
            sender_devices: request.sender_devices,
            copy_devices: request.copy_devices,
            copy_gaps: request.copy_gaps,
        };
        self.counters.route.observe(turn.now.mono.saturating_sub(request.asked_at));
        self.commit(Head::Message(head), request.body, turn);
    }

    /// The recipient's devices whose queues take the message, and those whose gaps it widens.
    fn recipients(
        &mut self,
        at: UserSlot,
        request: &SendRequest,
        turn: &mut Turn<'_>,
    ) -> Result<(DeviceSet, DeviceSet), Refusal> {
        if self.journal_failed {
            return Err(self.unavailable());
        }
        if !self.users.resident(at).is_known() {
            return Err(Refusal::now(ErrorCode::UnknownRecipient));
        }
        self.remove_absent(at, turn);
        let resident = self.users.resident(at);
        let oneself = (request.to == request.from).then_some(request.from_device);
        let devices: Vec<_> = resident
            .present()
            .map(|device| device.id)
            .filter(|&device| Some(device) != oneself)
            .collect();
        if devices.is_empty() && oneself.is_some() {
            return Err(Refusal::now(ErrorCode::NoRecipientDevice));
        }
        let bytes = request.body.len() as u32;
        let (mut with, mut without) = (DeviceSet::EMPTY, DeviceSet::EMPTY);
        let mut used_up = DeviceSet::EMPTY;
        for id in devices {
            let device = self.users.resident_mut(at).device(id);
            let full = device.queue.full_for(bytes, &self.config.limits);
            if device.is_closed() || full.is_some() {
                full.into_iter().for_each(|bound| self.counters.hits.add(bound));
                // What is too old makes room, for the next one at least.
                self.expire(at, id, turn);
                without = without.with(id);
            } else if oneself.is_none()
                && let Some(bound) =
                    device.queue.share_used(request.from, bytes, &self.config.limits)
            {
                self.counters.hits.add(bound);
                used_up = used_up.with(id);
            } else {
                with = with.with(id);
            }
        }
        if with.is_empty() && !used_up.is_empty() {
            return Err(Refusal::later(ErrorCode::Quota, self.config.limits.quota_retry));
        }
        Ok((with, without.iter().chain(used_up.iter()).collect()))
    }
}
