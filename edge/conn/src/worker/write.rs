//! The output side: events into outboxes, one send for each connection and turn, short sends,
//! progress.

use std::time::Duration;

use bytes::BytesMut;
use ringpost_ring::{Errno, SendBuffer, Slot};
use ringpost_shard::Event;
use ringpost_shard::event::{ConnectionKey, Now};
use ringpost_wire::{CloseReason, event};

use super::{POOLED_BUFFER_BYTES_MAX, POOLED_BUFFERS_MAX, Worker};
use crate::connection::{Input, Phase, Progress, Speech};
use crate::encode::{self, Said};
use crate::outbox::{Outbox, Sent};
use crate::output::Operation;
use crate::websocket;

/// Times that one turn goes round the connections that were written to. What it leaves is for the
/// next turn. A round brings pushes for at least an eighth of an outbox ([`ROOM_TOLD_SHARE`]), so
/// full ones end it long before.
const FLUSH_ROUNDS_MAX: usize = 64;

/// Share of the outbox that is handed over before the shard is told of its room again: telling
/// it after every send would cost a look-up each, and its estimates may be several times too high.
const ROOM_TOLD_SHARE: usize = 8;

impl Worker {
    /// Writes to the connection that the shard means, if it still lives.
    pub(super) fn deliver(&mut self, to: ConnectionKey, tag: u16, said: Said<'_>) {
        if let Some(slot) = self.connections.slot_of(to)
            && let written = self.write_said(slot, tag, said)
            && let Some(connection) = self.connections.find(slot)
        {
            connection.untold_bytes += written;
        }
    }

    /// Writes an event to a connection.
    pub(super) fn say(&mut self, slot: Slot, tag: u16, event: &event::Event) {
        self.write_said(slot, tag, Said::Event(event));
    }

    /// The same; answers how many bytes it took.
    fn write_said(&mut self, slot: Slot, tag: u16, said: Said<'_>) -> usize {
        let Some(connection) = self.connections.find(slot) else { return 0 };
        if matches!(connection.phase, Phase::Closing { .. }) {
            return 0;
        }
        self.counters.events += 1;
        let mut copied = 0;
        let written = self.append(slot, |outbox, speech, scratch| {
            copied = encode::said(said, tag, speech, outbox, scratch);
        });
        self.counters.gathered_bytes += copied as u64;
        written
    }

    /// Writes bytes that are no event: the answer to an upgrade, a WebSocket control frame.
    pub(super) fn write_raw(&mut self, slot: Slot, write: impl FnOnce(&mut Vec<u8>)) {
        self.append(slot, |outbox, _, _| write(outbox.tail()));
    }

    pub(super) fn write_last_word(&mut self, slot: Slot, reason: CloseReason) {
        let Some(connection) = self.connections.find(slot) else { return };
        // A client's Close frame is answered by its like; one that is let go for another reason
        // hears of that.
        let closed_by = connection.closed_by.filter(|_| reason == CloseReason::Left);
        match (connection.speech, closed_by) {
            (Speech::Undecided, _) => {}
            (_, Some(code)) => self.write_raw(slot, |out| websocket::write_close(code, "", out)),
            (_, None) => {
                self.append(slot, |outbox, speech, scratch| {
                    encode::close(reason, speech, outbox, scratch);
                });
            }
        }
    }

    /// Appends to a connection's outbox; counts and answers how many bytes.
    fn append(
        &mut self,
        slot: Slot,
        write: impl FnOnce(&mut Outbox, Speech, &mut BytesMut),
    ) -> usize {
        let Some(connection) = self.connections.find(slot) else { return 0 };
        let speech = connection.speech;
        let pool = &mut self.pool;
        let outbox = connection
            .outbox
            .get_or_insert_with(|| Box::new(Outbox::new(pool.pop().unwrap_or_default())));
        let before = outbox.pending_bytes();
        write(outbox, speech, &mut self.scratch);
        let written = outbox.pending_bytes() - before;
        self.outboxes.add(written);
        self.mark_dirty(slot);
        written
    }

    pub(super) fn mark_dirty(&mut self, slot: Slot) {
        if let Some(connection) = self.connections.find(slot)
            && !connection.dirty
        {
            connection.dirty = true;
            self.dirty.push(slot);
        }
    }

    /// Starts one send for every connection that was written to in this turn. Room in one outbox
    /// may bring pushes that write to it, or to others, again: until nobody is left.
    pub(super) fn flush(&mut self, now: Now) {
        for _ in 0..FLUSH_ROUNDS_MAX {
            if self.dirty.is_empty() {
                return;
            }
            let mut dirty = std::mem::take(&mut self.dirty);
            for slot in dirty.drain(..) {
                self.flush_one(slot, now);
            }
            // Keeps the allocation unless somebody was written to meanwhile.
            if self.dirty.is_empty() {
                self.dirty = dirty;
            }
        }
        self.counters.turns_cut += u64::from(!self.dirty.is_empty());
    }

    fn flush_one(&mut self, slot: Slot, now: Now) {
        let Some(connection) = self.connections.find(slot) else { return };
        connection.dirty = false;
        if let Some(buffer) =
            connection.outbox.as_mut().and_then(|outbox| outbox.take_send(now.mono))
        {
            self.operations.push(Operation::Send(slot, buffer));
        }
        self.after_write(slot, now);
    }

    /// A send is over.
    pub(super) fn sent(
        &mut self,
        slot: Slot,
        buffer: SendBuffer,
        result: Result<usize, Errno>,
        now: Now,
    ) {
        let taken = result.unwrap_or(0);
        self.counters.sent_bytes += taken as u64;
        let Some(connection) = self.connections.find(slot) else {
            self.outboxes.remove(taken + buffer.remaining_bytes());
            return self.recycle(buffer.recycle());
        };
        self.outboxes.remove(taken);
        connection.progress.bytes += taken;
        if taken > 0 {
            connection.took_at = now.mono;
        }
        let outbox = connection.outbox.as_mut().expect("a send in flight came from an outbox");
        let sent = outbox.sent(buffer);
        if result.is_err_and(|errno| errno != Errno::EAGAIN) {
            self.counters.lost += 1;
            return self.remove(slot, now);
        }
        match sent {
            Sent::All { emptied, taken_at } => {
                self.counters.send.observe(now.mono.saturating_sub(taken_at));
                connection.progress = Progress::default();
                if !outbox.is_idle() {
                    self.mark_dirty(slot);
                }
                self.recycle(emptied);
            }
            Sent::Stalled => {
                self.counters.short_sends += 1;
                if connection.progress.since == Duration::ZERO {
                    connection.progress.since = now.mono;
                    self.schedule(slot);
                }
                self.operations.push(Operation::PollWritable(slot));
            }
        }
        self.after_write(slot, now);
    }

    /// The socket has room again.
    pub(super) fn writable(&mut self, slot: Slot, _now: Now) {
        let Some(connection) = self.connections.find(slot) else { return };
        if let Some(rest) = connection.outbox.as_mut().and_then(|outbox| outbox.resume()) {
            self.operations.push(Operation::Send(slot, rest));
        }
    }

    /// What an outbox that grew or shrank allows: input, more pushes, the move, the end.
    fn after_write(&mut self, slot: Slot, now: Now) {
        let Some(connection) = self.connections.find(slot) else { return };
        let pending = connection.pending_bytes();
        let idle = connection.outbox.as_ref().is_none_or(|outbox| outbox.is_idle());
        if idle {
            connection.outbox = None;
        }
        let allowance = self.outboxes.allowance();
        let has_room = pending < allowance;
        let waits = connection.wants_writable && idle;
        // The shard counts down what it delivers and must be told what has left: one that waits
        // as soon as all has, others now and then while there is room; and at once that there is
        // none.
        let much = connection.untold_bytes >= allowance / ROOM_TOLD_SHARE;
        let seldom = much && pending <= allowance / 2;
        match connection.phase {
            Phase::Closing { .. } if idle && connection.input == Input::Ended => {
                return self.remove(slot, now);
            }
            Phase::Closing { shut: false, discarded_bytes } if idle => {
                connection.phase = Phase::Closing { shut: true, discarded_bytes };
                self.operations.push(Operation::ShutdownWrite(slot));
            }
            Phase::Departing(..) if idle => self.leave_if_quiet(slot, now),
            Phase::SignedIn if has_room && (waits || seldom) => {
                connection.wants_writable = false;
                self.tell_room(slot, self.outboxes.grant(pending), now);
            }
            Phase::SignedIn if !has_room && connection.untold_bytes > 0 => {
                connection.wants_writable = true;
                self.tell_room(slot, 0, now);
            }
            _ => {}
        }
        self.balance_input(slot, now);
    }

    pub(super) fn tell_room(&mut self, slot: Slot, room_bytes: usize, now: Now) {
        let Some(connection) = self.connections.find(slot) else { return };
        connection.untold_bytes = 0;
        let (connection, room_bytes) = (connection.key(), room_bytes as u32);
        self.shard_event(Event::Writable { connection, room_bytes }, now);
        self.carry_out_effects(now);
    }

    /// Stops reading a client whose answers wait, and reads it again when they have left.
    pub(super) fn balance_input(&mut self, slot: Slot, now: Now) {
        let Some(connection) = self.connections.find(slot) else { return };
        let (before, pending) = (connection.input, connection.pending_bytes());
        let allowance = self.outboxes.allowance();
        let piles_up = pending > allowance;
        if piles_up {
            connection.unread_since.get_or_insert(now.mono);
        } else if pending <= allowance / 2
            && let Some(since) = connection.unread_since.take()
        {
            connection.forgive(now.mono.saturating_sub(since), now.mono);
            self.schedule(slot);
        }
        let Some(connection) = self.connections.find(slot) else { return };
        if piles_up || connection.paced.is_some() {
            if connection.input == Input::Armed && connection.wants_input() {
                connection.input = Input::Stopping;
                let own = pending > self.config.outbox_bytes_max;
                self.counters.input_paused += u64::from(piles_up && own);
                self.counters.input_crowded += u64::from(piles_up && !own);
                self.operations.push(Operation::StopReceive(slot));
            }
        } else if pending <= allowance / 2 && before == Input::Idle {
            self.arm(slot);
        }
        // Who is armed is not at rest, and does not come to rest here.
        if before != Input::Armed
            && self.connections.find(slot).is_some_and(|it| it.input == Input::Waiting)
        {
            self.connections.stir(slot);
        }
    }

    fn recycle(&mut self, buffer: Option<Vec<u8>>) {
        if let Some(buffer) = buffer
            && self.pool.len() < POOLED_BUFFERS_MAX
            && buffer.capacity() <= POOLED_BUFFER_BYTES_MAX
        {
            self.pool.push(buffer);
        }
    }
}
