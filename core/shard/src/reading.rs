//! Receipts from a client: `delivered` acks one message, `read` moves the reading cursor.
//!
//! `read` names a message of the queue, or one that the store is asked for: it counts only if it
//! was sent to this user. A message that does not exist and one of other people get the same
//! answer. Per device one store read is outstanding, shared with the replay of the queue; the
//! `read`s that wait are bounded, and so are their records on the way.

use std::collections::VecDeque;

use bytes::Bytes;
use ringpost_wire::command::{ClientStatus, Named, Receipt};
use ringpost_wire::event::Status;
use ringpost_wire::{DeviceId, ErrorCode, MessageId, ServerId, UserId};

use crate::bound::{Bound, Overload};
use crate::effect::Effect;
use crate::event::ConnectionKey;
use crate::idempotency::Asker;
use crate::image::{Received, StoreUnavailable};
use crate::live::Naming;
use crate::loading::Waiting;
use crate::record::{Advance, Head, ReadHead};
use crate::refusal::Refusal;
use crate::session::SessionSlot;
use crate::shard::Shard;
use crate::turn::Turn;
use crate::users::{Found, UserSlot};

/// The one store read of a device.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) enum Reading {
    #[default]
    Idle,
    /// Messages of the queue.
    Replay,
    /// Whether a message was sent to this user.
    Verify(ReadAsk),
}

/// A `read` that needs the store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadAsk {
    asker: Asker,
    id: ServerId,
    message_id: MessageId,
    /// As it was when the store was asked.
    forgettings: u32,
}

/// Store reads of one device.
#[derive(Default, Debug)]
pub(crate) struct Reads {
    pub(crate) current: Reading,
    line: VecDeque<ReadAsk>,
    /// `Read` records on the way.
    in_flight: u32,
}

impl Reads {
    pub(crate) fn heap_bytes(&self) -> usize {
        self.line.capacity() * size_of::<ReadAsk>()
    }

    pub(crate) const fn is_idle(&self) -> bool {
        matches!(self.current, Reading::Idle)
    }

    /// Whether a `read` of this connection waits for the store.
    pub(crate) fn owes(&self, connection: ConnectionKey) -> bool {
        let is_its = |ask: &ReadAsk| ask.asker.connection == connection;
        matches!(&self.current, Reading::Verify(ask) if is_its(ask)) || self.line.iter().any(is_its)
    }

    pub(crate) fn is_busy(&self) -> bool {
        !self.is_idle() || !self.line.is_empty() || self.in_flight > 0
    }
}

impl Shard {
    pub(crate) fn receipt(
        &mut self,
        asker: Asker,
        slot: SessionSlot,
        receipt: Receipt,
        turn: &mut Turn<'_>,
    ) {
        let session = self.sessions[slot];
        let found = self.users.find(session.user);
        let naming = match (found, receipt.message) {
            (Found::Resident(at), message) => self.naming(at, session.device, message),
            // With the user absent nothing is unacked, and what was acked is forgotten.
            (_, Named::Id(id)) => Naming::Acked(id),
            (_, Named::MessageId(_)) => Naming::Nothing,
        };
        let message_id = match receipt.message {
            Named::MessageId(message_id) => message_id,
            Named::Id(_) => MessageId::default(),
        };
        match (receipt.status, naming, found) {
            (_, Naming::Several, _) => {
                self.refuse(asker, message_id, Refusal::now(ErrorCode::Ambiguous), turn);
            }
            (ClientStatus::Delivered, Naming::Unacked(position, _), Found::Resident(at)) => {
                self.ack_one(at, session.device, position, turn);
            }
            (ClientStatus::Delivered, Naming::Acked(id), Found::Resident(at))
                if self.was_acked(at, session.device, id) => {}
            (ClientStatus::Read, Naming::Unacked(_, id) | Naming::Acked(id), _) => {
                self.read(asker, slot, id, message_id, turn);
            }
            (_, Naming::Nothing | Naming::Unacked(..) | Naming::Acked(_), _) => {
                self.refuse(asker, message_id, Refusal::now(ErrorCode::UnknownMessage), turn);
            }
        }
    }

    /// What a client means by a message, where its user is resident.
    fn naming(&mut self, at: UserSlot, device: DeviceId, message: Named) -> Naming {
        let live =
            self.users.resident_mut(at).find_device(device).and_then(|device| device.live.as_ref());
        match (message, live) {
            (Named::Id(id), Some(live)) => match live.unacked(id) {
                Some(position) => Naming::Unacked(position, id),
                None => Naming::Acked(id),
            },
            (Named::Id(id), None) => Naming::Acked(id),
            (Named::MessageId(message_id), Some(live)) => live.named(message_id),
            (Named::MessageId(_), None) => Naming::Nothing,
        }
    }

    fn was_acked(&mut self, at: UserSlot, device: DeviceId, id: ServerId) -> bool {
        let device = self.users.resident_mut(at).find_device(device);
        device.and_then(|device| device.live.as_ref()).is_some_and(|live| live.was_acked(id))
    }

    fn read(
        &mut self,
        asker: Asker,
        slot: SessionSlot,
        id: ServerId,
        message_id: MessageId,
        turn: &mut Turn<'_>,
    ) {
        let (user, device) = (self.sessions[slot].user, self.sessions[slot].device);
        if self.users.find(user) == Found::Absent {
            self.load_for_session(user, turn);
        }
        let waits = match self.users.find(user) {
            Found::Resident(at) => {
                return self.read_resident(at, device, asker, id, message_id, turn);
            }
            Found::Loading(at) => {
                self.wait_for_load(at, Waiting::Read { asker, device, id, message_id })
            }
            Found::Absent => unreachable!("a load was just begun"),
        };
        if let Err(bound) = waits {
            self.refuse(asker, message_id, self.overloaded(Overload::At(bound)), turn);
        }
    }

    /// A `read` whose user is resident.
    pub(crate) fn read_resident(
        &mut self,
        at: UserSlot,
        device_id: DeviceId,
        asker: Asker,
        id: ServerId,
        message_id: MessageId,
        turn: &mut Turn<'_>,
    ) {
        let max = self.config.limits.reads_per_device_max as usize;
        let device = self.users.resident_mut(at).device(device_id);
        if let Some(queued) = device.queue.incoming(id) {
            let advance = Advance {
                sender: queued.entry.peer,
                sender_devices: queued.entry.sender_devices,
                id,
                message_id: queued.entry.message_id,
            };
            return self.commit_read(at, device_id, asker, advance, turn);
        }
        if device.reads.line.len() >= max {
            return self.refuse_at(Bound::Reads, asker, message_id, turn);
        }
        device.reads.line.push_back(ReadAsk { asker, id, message_id, forgettings: 0 });
        self.verify_next(at, device_id, turn);
    }

    /// Asks the store about the next `read` that waits, if no read is outstanding.
    pub(crate) fn verify_next(&mut self, at: UserSlot, id: DeviceId, turn: &mut Turn<'_>) {
        let resident = self.users.resident_mut(at);
        let (user, forgettings) = (resident.id, resident.cursors.forgettings());
        // Every record that sent something to this user, or moved its cursors, touched it.
        let after = resident.last_touched;
        let reads = &mut resident.device(id).reads;
        if !reads.is_idle() {
            return;
        }
        let Some(ask) = reads.line.pop_front() else { return };
        reads.current = Reading::Verify(ReadAsk { forgettings, ..ask });
        self.counters.message_reads += 1;
        turn.effects.push(Effect::FindReceived { user, device: id, id: ask.id, after });
    }

    pub(crate) fn received_found(
        &mut self,
        user: UserId,
        id: DeviceId,
        answer: Result<Option<Box<Received>>, StoreUnavailable>,
        turn: &mut Turn<'_>,
    ) {
        let Found::Resident(at) = self.users.find(user) else {
            unreachable!("a read keeps its user resident");
        };
        let reads = &mut self.users.resident_mut(at).device(id).reads;
        let Reading::Verify(ask) = std::mem::take(&mut reads.current) else {
            unreachable!("a read is answered once");
        };
        self.counters.store_failures += u64::from(answer.is_err());
        self.verified(at, id, ask, answer, turn);
        self.verify_next(at, id, turn);
        self.pump(at, id, turn);
    }

    /// The store has answered about a `read`.
    fn verified(
        &mut self,
        at: UserSlot,
        device: DeviceId,
        ask: ReadAsk,
        answer: Result<Option<Box<Received>>, StoreUnavailable>,
        turn: &mut Turn<'_>,
    ) {
        let ReadAsk { asker, id, message_id, forgettings } = ask;
        let resident = self.users.resident_mut(at);
        match answer {
            Err(StoreUnavailable) => {
                let refusal = self.overloaded(Overload::Store);
                self.refuse(asker, message_id, refusal, turn);
            }
            Ok(Some(found)) if found.head.to == resident.id => {
                let Received { head, read_to } = *found;
                if forgettings != resident.cursors.forgettings() {
                    // What was forgotten meanwhile may have been moved after the store had looked.
                    resident.device(device).reads.line.push_front(ask);
                } else if id > read_to {
                    let advance = Advance {
                        sender: head.from,
                        sender_devices: head.sender_devices,
                        id,
                        message_id: head.message_id,
                    };
                    self.commit_read(at, device, asker, advance, turn);
                }
            }
            Ok(_) => self.refuse(asker, message_id, Refusal::now(ErrorCode::UnknownMessage), turn),
        }
    }

    fn commit_read(
        &mut self,
        at: UserSlot,
        device: DeviceId,
        asker: Asker,
        advance: Advance,
        turn: &mut Turn<'_>,
    ) {
        let max = self.config.limits.reads_per_device_max;
        let resident = self.users.resident_mut(at);
        let user = resident.id;
        if self.journal_failed {
            return self.refuse(asker, advance.message_id, self.unavailable(), turn);
        }
        if self.users.resident_mut(at).device(device).reads.in_flight >= max {
            return self.refuse_at(Bound::Reads, asker, advance.message_id, turn);
        }
        let resident = self.users.resident_mut(at);
        if !resident.cursors.raise(advance.sender, Status::Read, advance.id) {
            return;
        }
        resident.device(device).reads.in_flight += 1;
        let head = ReadHead { user, device, at_ms: turn.now.wall_ms, advance };
        self.commit(Head::Read(head), Bytes::new(), turn);
    }

    /// A `Read` record of this shard is durable and folded.
    pub(crate) fn read_durable(&mut self, at: UserSlot, device: DeviceId) {
        self.users.resident_mut(at).device(device).reads.in_flight -= 1;
    }
}
