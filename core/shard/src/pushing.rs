//! From a device's queue to its connection: in order, within the window and the outbox.
//!
//! A slow reader costs a cursor. Content comes from the record that was just folded, from the
//! records kept for live devices, or from the store in reads of a bounded size; what a read
//! brings and the connection does not take is let go and read again.

use std::time::Duration;

use bytes::Bytes;
use ringpost_wire::event::{NewMessage, Receipt};
use ringpost_wire::{DeviceId, Event as WireEvent, ServerId, UserId};
use smallvec::SmallVec;

use crate::effect::Effect;
use crate::event::ConnectionKey;
use crate::image::{MessageRow, StoreUnavailable};
use crate::live::What;
use crate::queue::{Next, Queued, QueuedReceipt};
use crate::reading::Reading;
use crate::record::{Head, MessageHead, Position, SharedRecord};
use crate::retry::Retry;
use crate::session::SessionSlot;
use crate::shard::Shard;
use crate::turn::Turn;
use crate::users::{Found, UserSlot};

/// Bytes that a receipt counts in a window.
const NOTICE_BYTES: u32 = 64;

/// Content that is at hand beside what is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AtHand<'a> {
    Nothing,
    /// The record that was just folded.
    Record(Position, &'a SharedRecord),
    /// What the store answered.
    Rows(&'a [(ServerId, Option<MessageRow>)]),
}

/// A message's content, as far as it is at hand.
enum Content {
    /// With how long it has waited here since it was durable; unknown if the store was read.
    Found(NewMessage, Option<Duration>),
    /// The store has no such row.
    Missing,
    /// It must be read.
    Unread,
}

impl Shard {
    /// Pushes what the device's connection takes, from what is kept.
    pub(crate) fn pump(&mut self, at: UserSlot, device: DeviceId, turn: &mut Turn<'_>) {
        self.pump_with(at, device, AtHand::Nothing, turn);
    }

    /// Pushes what the device's connection takes.
    pub(crate) fn pump_with(
        &mut self,
        at: UserSlot,
        id: DeviceId,
        at_hand: AtHand<'_>,
        turn: &mut Turn<'_>,
    ) {
        // Ends: each round puts the cursor behind one more of the queue, or is the last.
        loop {
            // One that was removed may be looked for again after a pause.
            let Some(device) = self.users.resident_mut(at).find_device(id) else { return };
            let Some(live) = device.live.as_mut() else { return };
            let session = live.session;
            let Some(next) = device.queue.next_after(live.cursor) else {
                return self.caught_up(at, id, turn);
            };
            if let Next::Entry(queued) = next
                && (queued.leaving || queued.flagged())
            {
                if device.acks.misses() {
                    // What leaves unseen holds up what stands behind it until that is durable: a
                    // crash would bring it back, and it would come after what it stood before.
                    return;
                }
                live.cursor = queued.position;
                continue;
            }
            let bytes = match next {
                Next::Entry(queued) => queued.entry.body_bytes,
                Next::Receipt(_) => NOTICE_BYTES,
            };
            if !live.fits(self.sessions[session].window, bytes) {
                return;
            }
            if !self.has_room(session) {
                return self.want_writable(session, turn);
            }
            match next {
                Next::Receipt(queued) => self.push_receipt(at, id, queued, turn),
                Next::Entry(queued) => match self.content(&queued, at_hand, turn.now.mono) {
                    Content::Found(message, waited) => {
                        if let Some(waited) = waited {
                            self.counters.enqueue.observe(waited);
                        }
                        self.push_message(at, id, queued, message, turn);
                    }
                    Content::Missing => {
                        self.counters.rows_missing += 1;
                        self.drop_entry(at, id, queued.position, turn);
                    }
                    Content::Unread => return self.read_ahead(at, id, turn),
                },
            }
        }
    }

    fn content(&self, queued: &Queued, at_hand: AtHand<'_>, now: Duration) -> Content {
        let kept = || {
            let kept = self.recent.find(queued.position)?;
            Some((&kept.record, now.saturating_sub(kept.since)))
        };
        let found = match at_hand {
            AtHand::Record(position, record) if position == queued.position => {
                Some((record, Duration::ZERO))
            }
            AtHand::Rows(rows) => match rows.iter().find(|(id, _)| *id == queued.entry.id) {
                Some((_, Some(row))) => {
                    return Content::Found(message(&row.head, &row.body), None);
                }
                Some((_, None)) => return Content::Missing,
                None => kept(),
            },
            AtHand::Record(..) | AtHand::Nothing => kept(),
        };
        match found.map(|(record, waited)| (&record.head, &record.body, waited)) {
            Some((Head::Message(head), body, waited)) => {
                Content::Found(message(head, body), Some(waited))
            }
            Some(_) => unreachable!("only messages are kept for live devices"),
            None => Content::Unread,
        }
    }

    fn push_message(
        &mut self,
        at: UserSlot,
        id: DeviceId,
        queued: Queued,
        message: NewMessage,
        turn: &mut Turn<'_>,
    ) {
        let what = What::Entry {
            position: queued.position,
            id: queued.entry.id,
            message_id: queued.entry.message_id,
        };
        let (session, push) = self.count_push(at, id, what, queued.entry.body_bytes, turn);
        let event = WireEvent::NewMessage(NewMessage { push, ..message });
        self.sessions.deliver(session, 0, event, turn);
    }

    fn push_receipt(
        &mut self,
        at: UserSlot,
        id: DeviceId,
        queued: QueuedReceipt,
        turn: &mut Turn<'_>,
    ) {
        let QueuedReceipt { peer, status, receipt } = queued;
        let what = What::Receipt { peer, status, position: Position(receipt.position) };
        let (session, push) = self.count_push(at, id, what, NOTICE_BYTES, turn);
        let event = WireEvent::Receipt(Receipt {
            push,
            id: receipt.id,
            message_id: receipt.message_id,
            peer,
            status,
            timestamp_ms: receipt.at_ms,
        });
        self.sessions.deliver(session, 0, event, turn);
    }

    /// The next push number of the device's connection.
    fn count_push(
        &mut self,
        at: UserSlot,
        id: DeviceId,
        what: What,
        bytes: u32,
        turn: &Turn<'_>,
    ) -> (SessionSlot, u64) {
        let device = self.users.resident_mut(at).device(id);
        let live = device.live.as_mut().expect("only a live device is pushed to");
        let session = live.session;
        self.sessions[session].last_push += 1;
        let number = self.sessions[session].last_push;
        live.push(number, what, bytes, turn.now.mono);
        self.counters.pushes += 1;
        (session, number)
    }

    pub(crate) fn want_writable(&mut self, slot: SessionSlot, turn: &mut Turn<'_>) {
        let session = &mut self.sessions[slot];
        if !std::mem::replace(&mut session.wants_writable, true) {
            turn.effects.push(Effect::WantWritable { connection: session.connection });
        }
    }

    pub(crate) fn writable(
        &mut self,
        connection: ConnectionKey,
        room_bytes: u32,
        turn: &mut Turn<'_>,
    ) {
        let Some(slot) = self.sessions.find(connection) else { return };
        let session = &mut self.sessions[slot];
        session.room_bytes = room_bytes;
        session.wants_writable = false;
        let (user, device) = (session.user, session.device);
        if let Found::Resident(at) = self.users.find(user) {
            self.pump(at, device, turn);
        }
    }

    /// Asks the store for the next messages, as many as the connection takes.
    fn read_ahead(&mut self, at: UserSlot, id: DeviceId, turn: &mut Turn<'_>) {
        let limits = &self.config.limits;
        let resident = self.users.resident_mut(at);
        let user = resident.id;
        let device = resident.device(id);
        if !device.reads.is_idle() {
            return;
        }
        let live = device.live.as_ref().expect("only a live device is pushed to");
        let session = &self.sessions[live.session];
        let bytes_max = live
            .window_left(session.window)
            .min(session.room_bytes.into())
            .min(limits.read_bytes_max.into());
        let rows_max = live.pushes_left(session.window).min(limits.read_rows_max).max(1);
        let (mut ids, mut bytes, mut after) = (SmallVec::new(), 0, Position(0));
        for queued in device.queue.entries_after(live.cursor) {
            if queued.leaving || queued.flagged() {
                continue;
            }
            bytes += u64::from(queued.entry.body_bytes);
            let full = ids.len() >= rows_max as usize || bytes > bytes_max;
            if !ids.is_empty() && (full || self.recent.find(queued.position).is_some()) {
                break;
            }
            ids.push(queued.entry.id);
            after = queued.position;
        }
        device.reads.current = Reading::Replay;
        self.counters.message_reads += 1;
        turn.effects.push(Effect::ReadMessages { user, device: id, ids, after });
    }

    pub(crate) fn messages_read(
        &mut self,
        user: UserId,
        id: DeviceId,
        answer: Result<Vec<(ServerId, Option<MessageRow>)>, StoreUnavailable>,
        turn: &mut Turn<'_>,
    ) {
        let Found::Resident(at) = self.users.find(user) else {
            unreachable!("a read keeps its user resident");
        };
        let device = self.users.resident_mut(at).device(id);
        let reading = std::mem::take(&mut device.reads.current);
        self.counters.store_failures += u64::from(answer.is_err());
        match (reading, answer) {
            (Reading::Idle | Reading::Verify(_), _) => unreachable!("a read is answered once"),
            (Reading::Replay, Ok(rows)) => {
                self.verify_next(at, id, turn);
                self.pump_with(at, id, AtHand::Rows(&rows), turn);
            }
            (Reading::Replay, Err(StoreUnavailable)) => {
                self.verify_next(at, id, turn);
                self.retries.add(turn.now.mono, Retry::Push(user, id));
            }
        }
    }

    /// Pushes a record that was just folded to the user's live devices among `devices`, and
    /// keeps it if one of them does not take it yet.
    pub(crate) fn push_folded(
        &mut self,
        at: UserSlot,
        position: Position,
        record: &SharedRecord,
        turn: &mut Turn<'_>,
    ) {
        let mut behind = false;
        for id in self.users.resident(at).live_devices() {
            self.pump_with(at, id, AtHand::Record(position, record), turn);
            let device = self.users.resident_mut(at).device(id);
            behind |= device.queue.find(position).is_some()
                && device.live.as_ref().is_some_and(|live| live.cursor < position);
        }
        if behind {
            self.recent.keep(position, record.clone(), turn.now.mono);
        }
    }
}

fn message(head: &MessageHead, body: &Bytes) -> NewMessage {
    NewMessage {
        push: 0,
        id: head.id,
        message_id: head.message_id,
        from: head.from,
        from_device: head.from_device,
        to: head.to,
        reply_to: head.reply_to,
        client_timestamp_ms: head.client_timestamp_ms,
        ephemeral: false,
        plain: head.plain,
        body: body.clone(),
    }
}
