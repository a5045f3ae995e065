//! What devices acked: entries leave, receipts are settled, delivered cursors move.
//!
//! At most one ack record of a device is on the way; what is acked meanwhile goes with the next,
//! so that a device that acks each push by itself costs one record per commit and not one per
//! push. An entry is marked when it is acked: a repeated ack finds it marked and does nothing.
//!
//! The delivered cursor stands just below the oldest entry of its direction that the device still
//! has. So an entry acked out of turn only gets a mark, and leaves with the older ones. What leaves
//! without the device having had it, by age, widens the gap of the queue.
//! Invariant: within `pending` the entries of one direction rise by position.

use std::collections::VecDeque;

use bytes::Bytes;
use ringpost_wire::event::Status;
use ringpost_wire::{DeviceId, ErrorCode, MessageId, UserId};

use crate::cursors::Cursors;
use crate::drained::Drained;
use crate::idempotency::Asker;
use crate::live::What;
use crate::queue::{Queue, Queued};
use crate::record::{
    AckHead, Advance, EntryKind, Head, Position, QueueEntry, Settled, status_number,
};
use crate::refusal::Refusal;
use crate::session::SessionSlot;
use crate::shard::Shard;
use crate::turn::Turn;
use crate::users::{Found, UserSlot};

/// One thing that an ack record will say.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Acked {
    /// The entry leaves, and the device `had` it or not.
    Entry { position: Position, had: bool },
    /// The entry is marked.
    Early { position: Position },
    /// The receipt leaves.
    Receipt { peer: UserId, status: Status, position: Position },
}

/// What one device acked and what of it is on the way.
#[derive(Default, Debug)]
pub(crate) struct Acks {
    pending: VecDeque<Acked>,
    in_flight: bool,
    /// Entries among `pending` that the device has not had, and those of the record on the way.
    missed: u32,
    missed_in_flight: u32,
    /// Something acked will never go into a record: the store goes on holding it.
    abandoned: bool,
}

impl Acks {
    pub(crate) fn heap_bytes(&self) -> usize {
        self.pending.capacity() * size_of::<Acked>()
    }

    /// How many acks have not gone into a record yet.
    pub(crate) fn waiting(&self) -> usize {
        self.pending.len()
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.in_flight || !self.pending.is_empty()
    }

    /// Whether something leaves unseen, and no durable record has widened the gap for it yet.
    pub(crate) const fn misses(&self) -> bool {
        self.missed > 0 || self.missed_in_flight > 0
    }

    /// Whether the store will go on holding something that was acked here.
    pub(crate) const fn has_abandoned(&self) -> bool {
        self.abandoned
    }

    /// Nothing will be durable any more.
    pub(crate) fn abandon(&mut self) {
        self.abandoned |= !self.pending.is_empty();
        self.pending = VecDeque::new();
    }

    /// Builds the next record from at most `max` things.
    fn next_head(
        &mut self,
        (user, device, at_ms): (UserId, DeviceId, u64),
        queue: &Queue,
        cursors: &mut Cursors,
        max: u32,
    ) -> AckHead {
        let mut head = AckHead {
            user,
            device,
            at_ms,
            removed: Vec::new(),
            missed_after: None,
            early: None,
            settled: Vec::new(),
            delivered: Vec::new(),
        };
        for _ in 0..max {
            // A record takes one mark; another one starts the next record.
            let next = self.pending.pop_front_if(|acked| {
                !matches!(acked, Acked::Early { .. }) || head.early.is_none()
            });
            match next {
                None => break,
                Some(Acked::Entry { position, had }) => {
                    // What leaves needs no mark, and one after its removal would bring it back.
                    head.early = head.early.filter(|&(early, _)| early != position.0);
                    head.removed.push(position.0);
                    let entry = &queue.find(position).expect("it stays until this record").entry;
                    if !had {
                        let after = position.0 - 1;
                        head.missed_after =
                            Some(head.missed_after.map_or(after, |least| least.min(after)));
                        self.missed -= 1;
                        self.missed_in_flight += 1;
                    } else if entry.kind == EntryKind::Incoming {
                        advance_to(&mut head.delivered, entry);
                    }
                }
                Some(Acked::Early { position }) => {
                    let entry = queue.find(position).expect("it stays until it leaves").entry;
                    head.early = Some((position.0, QueueEntry { acked: true, ..entry }));
                }
                Some(Acked::Receipt { peer, status, position }) => head.settled.push(Settled {
                    peer,
                    status: status_number(status),
                    position: position.0,
                }),
            }
        }
        self.pending.give_back();
        head.delivered
            .retain(|advance| cursors.raise(advance.sender, Status::Delivered, advance.id));
        head
    }
}

fn advance_to(delivered: &mut Vec<Advance>, entry: &QueueEntry) {
    let advance = Advance {
        sender: entry.peer,
        sender_devices: entry.sender_devices,
        id: entry.id,
        message_id: entry.message_id,
    };
    match delivered.iter_mut().find(|known| known.sender == entry.peer) {
        // A device that only the earlier message names is told as well.
        Some(known) => {
            let devices = known.sender_devices.iter().chain(entry.sender_devices.iter());
            *known = Advance { sender_devices: devices.collect(), ..advance };
        }
        None => delivered.push(advance),
    }
}

impl Shard {
    /// All pushes up to `push` are kept by the device.
    pub(crate) fn ack(&mut self, asker: Asker, slot: SessionSlot, push: u64, turn: &mut Turn<'_>) {
        let session = self.sessions[slot];
        if push > session.last_push {
            let refusal = Refusal::now(ErrorCode::UnknownPush);
            return self.refuse(asker, MessageId::default(), refusal, turn);
        }
        // With the user absent nothing is unacked: it is an ack again.
        let Found::Resident(at) = self.users.find(session.user) else { return };
        let named_max = self.config.limits.named_pushes_max;
        let device = self.users.resident_mut(at).device(session.device);
        let Some(live) = device.live.as_mut() else { return };
        let taken = live.take_through(push, named_max);
        self.counters.entries_acked += taken.len() as u64;
        for pushed in taken {
            self.counters.device_ack.observe(turn.now.mono.saturating_sub(pushed.at));
            match pushed.what {
                What::Entry { position, .. } => self.leave(at, session.device, position, true),
                What::Receipt { peer, status, position } => {
                    let acks = &mut self.users.resident_mut(at).device(session.device).acks;
                    acks.pending.push_back(Acked::Receipt { peer, status, position });
                }
            }
        }
        self.flush_acks(at, session.device, turn);
        self.pump(at, session.device, turn);
    }

    /// The device has this one message (a `delivered` receipt for it).
    pub(crate) fn ack_one(
        &mut self,
        at: UserSlot,
        id: DeviceId,
        position: Position,
        turn: &mut Turn<'_>,
    ) {
        let named_max = self.config.limits.named_pushes_max;
        let device = self.users.resident_mut(at).device(id);
        let live = device.live.as_mut();
        if let Some(pushed_at) = live.and_then(|live| live.finish(position, named_max)) {
            self.counters.device_ack.observe(turn.now.mono.saturating_sub(pushed_at));
        }
        self.counters.entries_acked += 1;
        let Some(queued) = device.queue.find(position).copied() else { return };
        let in_turn = queued.entry.kind != EntryKind::Incoming
            || device.queue.is_oldest_of(queued.entry.peer, position);
        if in_turn {
            self.leave(at, id, position, true);
        } else if device.queue.start_flagging(position) {
            device.acks.pending.push_back(Acked::Early { position });
        }
        self.flush_acks(at, id, turn);
        self.pump(at, id, turn);
    }

    /// An entry leaves, and with it those marked that it held back.
    fn leave(&mut self, at: UserSlot, id: DeviceId, position: Position, had: bool) {
        let device = self.users.resident_mut(at).device(id);
        if !device.queue.start_leaving(position) {
            return;
        }
        device.acks.pending.push_back(Acked::Entry { position, had });
        device.acks.missed += u32::from(!had);
        if !device.queue.has_flagged() {
            return;
        }
        let entry = device.queue.find(position).expect("it stays until the record").entry;
        if entry.kind == EntryKind::Incoming {
            for position in device.queue.released(entry.peer) {
                device.queue.start_leaving(position);
                device.acks.pending.push_back(Acked::Entry { position, had: true });
            }
        }
    }

    /// An entry leaves without the device having had it: its gap widens.
    pub(crate) fn drop_entry(
        &mut self,
        at: UserSlot,
        id: DeviceId,
        position: Position,
        turn: &mut Turn<'_>,
    ) {
        self.leave(at, id, position, false);
        self.flush_acks(at, id, turn);
    }

    /// Commits what the device acked, unless its last record is still on the way.
    fn flush_acks(&mut self, at: UserSlot, id: DeviceId, turn: &mut Turn<'_>) {
        let max = self.config.limits.ack_items_max;
        let resident = self.users.resident_mut(at);
        let about = (resident.id, id, turn.now.wall_ms);
        let device = resident
            .devices
            .iter_mut()
            .find(|device| device.id == id)
            .expect("a device stays while something on the way looks for it");
        if self.journal_failed {
            device.acks.abandon();
        } else if !device.acks.in_flight && !device.acks.pending.is_empty() {
            device.acks.in_flight = true;
            let head = device.acks.next_head(about, &device.queue, &mut resident.cursors, max);
            self.commit(Head::Ack(head), Bytes::new(), turn);
        }
    }

    /// An ack record of this shard is durable and folded.
    pub(crate) fn ack_durable(&mut self, at: UserSlot, id: DeviceId, turn: &mut Turn<'_>) {
        let acks = &mut self.users.resident_mut(at).device(id).acks;
        (acks.in_flight, acks.missed_in_flight) = (false, 0);
        self.flush_acks(at, id, turn);
    }

    /// Brings a queue in order before it is used: what an earlier run acked in part leaves whole,
    /// and what is too old leaves.
    pub(crate) fn tidy_queue(&mut self, at: UserSlot, id: DeviceId, turn: &mut Turn<'_>) {
        let queue = &self.users.resident_mut(at).device(id).queue;
        if queue.has_flagged() {
            // The records that removed the older ones were durable, the next one was not.
            let unheld = |queued: &&Queued| {
                !queued.leaving
                    && queued.flagged()
                    && queue.is_oldest_of(queued.entry.peer, queued.position)
            };
            let left: Vec<_> =
                queue.entries().filter(unheld).map(|queued| queued.position).collect();
            for position in left {
                self.leave(at, id, position, true);
            }
        }
        self.expire(at, id, turn);
    }

    /// Lets the entries at the head of a queue go that are older than their time to live; the
    /// record that removes those that the device has not had widens its gap. By a date in doubt
    /// nothing is too old.
    pub(crate) fn expire(&mut self, at: UserSlot, id: DeviceId, turn: &mut Turn<'_>) {
        if self.journal_failed || !turn.now.may_expire {
            return;
        }
        let ttl_ms = u64::try_from(self.config.limits.queue_ttl.as_millis()).unwrap_or(u64::MAX);
        let oldest_ms = turn.now.wall_ms.saturating_sub(ttl_ms);
        let device = self.users.resident_mut(at).device(id);
        let expired: Vec<_> = device
            .queue
            .entries()
            .filter(|queued| !queued.leaving)
            .take_while(|queued| queued.entry.accepted_ms < oldest_ms)
            .map(|queued| (queued.position, queued.flagged()))
            .collect();
        if device.acks.pending.is_empty() && !device.acks.in_flight {
            let receipts = device.queue.receipts();
            let expired = receipts.take_while(|queued| queued.receipt.at_ms < oldest_ms);
            device.acks.pending.extend(expired.map(|queued| Acked::Receipt {
                peer: queued.peer,
                status: queued.status,
                position: Position(queued.receipt.position),
            }));
        }
        for (position, flagged) in expired {
            self.counters.entries_expired += 1;
            self.leave(at, id, position, flagged);
        }
        self.flush_acks(at, id, turn);
    }

    /// Lets the oldest receipts go where a device has more than it may.
    pub(crate) fn trim_receipts(&mut self, at: UserSlot, id: DeviceId, turn: &mut Turn<'_>) {
        let max = self.config.limits.queue_receipts_max as usize;
        let device = self.users.resident_mut(at).device(id);
        // One record at a time: what is on the way may hold those that are too many.
        if device.queue.receipts().len() <= max || device.acks.is_busy() {
            return;
        }
        let surplus = device.queue.receipts().len() - max;
        for queued in device.queue.receipts().take(surplus) {
            let position = Position(queued.receipt.position);
            let (peer, status) = (queued.peer, queued.status);
            device.acks.pending.push_back(Acked::Receipt { peer, status, position });
        }
        self.counters.receipts_trimmed += surplus as u64;
        self.flush_acks(at, id, turn);
    }
}
