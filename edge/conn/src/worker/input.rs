//! The input side: bytes into commands, by how the connection speaks.
//!
//! A command borrows from the receive buffer and is dispatched at once; what a phase cannot take
//! yet (bytes behind a `hello`) is kept, at most one receive buffer.
//!
//! Does not own: what comes before the first command (`handshake`).

use std::mem;
use std::ops::Range;

use ringpost_ring::{ReceiveMode, Slot};
use ringpost_shard::event::Now;
use ringpost_wire::decoder::FrameDecoder;
use ringpost_wire::error::DecodeError;
use ringpost_wire::frame::Frame;
use ringpost_wire::limits::{
    DISCARDED_BYTES_MAX, FRAME_BYTES_MAX, HEADER_BYTES, HELLO_BYTES_MAX, JSON_TEXT_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
};
use ringpost_wire::{Refused, binary, json};

use super::Worker;
use crate::connection::{Input, Phase, Protocol, Speech};
use crate::output::Operation;
use crate::websocket::{self, Accepts, Item, Received};

impl Worker {
    /// Bytes of the ring, lent for this call.
    pub(super) fn received(&mut self, slot: Slot, bytes: &mut [u8], more: bool, now: Now) {
        if self.shed_if_over(slot, now) {
            return;
        }
        let Some(connection) = self.connections.find(slot) else { return };
        if !more && connection.input == Input::Armed {
            connection.input = Input::Idle;
        }
        connection.heard_at = now.mono;
        connection.pong_due |= std::mem::take(&mut connection.pinged);
        self.counters.received_bytes += bytes.len() as u64;
        if matches!(connection.phase, Phase::Closing { .. }) {
            self.discard(slot, bytes.len());
        } else if connection.wants_input() {
            if self.charge_receive(slot, bytes.len(), now) {
                self.feed(slot, bytes, now);
                self.pace_if_due(slot, now);
            } else {
                self.hold(slot, bytes);
            }
        }
        self.balance_input(slot, now);
    }

    /// Whether what has come waits: it came behind the name of a caller who had used up its budget
    /// already.
    pub(super) fn holds(&mut self, slot: Slot) -> bool {
        self.connections.find(slot).is_some_and(|it| it.paced.is_some())
    }

    /// Keeps what a stranger sent for later: it was received once, so it is one receive buffer.
    fn hold(&mut self, slot: Slot, bytes: &[u8]) {
        if let Some(connection) = self.connections.find(slot) {
            connection.surplus.extend_from_slice(bytes);
            self.recount_input(slot);
        }
    }

    /// Throws away what comes behind the last word: read, because a close with something unread may
    /// cost the client that word; but not for ever. What comes then waits in the kernel until the
    /// connection's time is over.
    fn discard(&mut self, slot: Slot, bytes: usize) {
        let Some(connection) = self.connections.find(slot) else { return };
        let Phase::Closing { discarded_bytes, .. } = &mut connection.phase else { return };
        let before = *discarded_bytes;
        *discarded_bytes += bytes;
        if before <= DISCARDED_BYTES_MAX && *discarded_bytes > DISCARDED_BYTES_MAX {
            self.counters.discards_over += 1;
            if connection.input == Input::Armed {
                connection.input = Input::Stopping;
                self.operations.push(Operation::StopReceive(slot));
            }
        }
    }

    /// Decodes what waited for the `welcome`.
    pub(super) fn feed_surplus(&mut self, slot: Slot, now: Now) {
        let Some(connection) = self.connections.find(slot) else { return };
        let mut surplus = mem::take(&mut connection.surplus);
        if !surplus.is_empty() {
            self.feed(slot, &mut surplus, now);
        }
    }

    /// Waits for input if the connection takes it and answers do not pile up, its own or all.
    pub(super) fn arm(&mut self, slot: Slot) {
        let Some(connection) = self.connections.find(slot) else { return };
        if connection.input != Input::Idle {
            return;
        }
        match connection.phase {
            Phase::SignedIn if connection.hot => self.arm_as(slot, ReceiveMode::Multishot),
            Phase::SignedIn => {
                if self.may_arm(slot)
                    && let Some(connection) = self.connections.find(slot)
                {
                    connection.input = Input::Waiting;
                    self.operations.push(Operation::PollReadable(slot));
                }
            }
            _ => self.arm_as(slot, ReceiveMode::OneShot),
        }
    }

    /// The same by a receive.
    pub(super) fn arm_as(&mut self, slot: Slot, mode: ReceiveMode) {
        if self.may_arm(slot)
            && let Some(connection) = self.connections.find(slot)
        {
            connection.input = Input::Armed;
            self.operations.push(Operation::Receive(slot, mode));
        }
    }

    fn may_arm(&mut self, slot: Slot) -> bool {
        let Some(connection) = self.connections.find(slot) else { return false };
        if connection.input != Input::Idle {
            return false;
        }
        if let Phase::Closing { discarded_bytes, .. } = connection.phase {
            return discarded_bytes <= DISCARDED_BYTES_MAX;
        }
        connection.may_be_read() && connection.pending_bytes() <= self.outboxes.allowance()
    }

    pub(super) fn receive_stopped(&mut self, slot: Slot, now: Now) {
        if let Some(connection) = self.connections.find(slot) {
            if connection.input == Input::Stopping {
                connection.input = Input::Idle;
            }
            self.balance_input(slot, now);
            self.leave_if_quiet(slot, now);
        }
    }

    /// Decodes and dispatches until the bytes are used up or the phase takes no more.
    fn feed(&mut self, slot: Slot, bytes: &mut [u8], now: Now) {
        let Some(connection) = self.connections.find(slot) else { return };
        // Taken out for the time of decoding: what a command does needs the whole worker.
        let mut protocol = mem::replace(&mut connection.protocol, Protocol::Deaf);
        // Most have shaken hands long ago.
        let mut rest = bytes;
        if !matches!(protocol, Protocol::Binary(_) | Protocol::WebSocket(_)) {
            let consumed = self.shake_hands(slot, &mut protocol, rest, now);
            rest = self.take_from_handshake(slot, &mut protocol, &mut rest[consumed..]);
        }
        match &mut protocol {
            Protocol::Binary(decoder) => self.feed_binary(slot, decoder, rest, now),
            Protocol::WebSocket(decoder) => self.feed_websocket(slot, decoder, rest, now),
            Protocol::Sniffing(_)
            | Protocol::ProxyHeader(_)
            | Protocol::Http(_)
            | Protocol::Deaf => {}
        }
        let Some(connection) = self.connections.find(slot) else { return };
        if connection.is_ending() {
            return;
        }
        connection.protocol = protocol;
        if connection.note_assembly(now.mono) {
            self.schedule(slot);
        }
        self.recount_input(slot);
    }

    /// What of the bytes behind a part of the handshake is decoded now: nothing where the connection
    /// has ended with it, nor where its caller must wait.
    fn take_from_handshake<'b>(
        &mut self,
        slot: Slot,
        protocol: &mut Protocol,
        rest: &'b mut [u8],
    ) -> &'b mut [u8] {
        if !self.connections.find(slot).is_some_and(|it| it.wants_input()) {
            *protocol = Protocol::Deaf;
        } else if self.holds(slot) {
            self.hold(slot, rest);
            return &mut [];
        }
        rest
    }

    fn feed_binary(&mut self, slot: Slot, decoder: &mut FrameDecoder, bytes: &[u8], now: Now) {
        let mut rest = bytes;
        // Ends: each round takes a frame out of one buffer of the ring, or is the last.
        loop {
            let step = match decoder.decode(rest, self.payload_bytes_max(slot)) {
                Ok(step) => step,
                Err(error) => {
                    return self.violation(slot, &error.into(), now);
                }
            };
            let Some(frame) = step.frame else { return };
            self.counters.assembled_bytes += put_together(rest.as_ptr_range(), frame.payload);
            rest = &rest[step.consumed..];
            self.frame(slot, &frame, now);
            if !self.takes_more(slot, &[], rest) {
                // The next byte may be long in coming: the frame is done with now.
                return decoder.release();
            }
        }
    }

    fn feed_websocket(
        &mut self,
        slot: Slot,
        decoder: &mut websocket::Decoder,
        bytes: &mut [u8],
        now: Now,
    ) {
        let arrived = bytes.as_ptr_range();
        let mut input = Received::new(bytes);
        // Ends: each round takes an item out of one buffer of the ring, or is the last.
        loop {
            let Some(connection) = self.connections.find(slot) else { return };
            let limits = message_limits(connection.speech, self.signed_in(slot));
            let unread = match decoder.decode(&mut input, &limits, now.mono) {
                Ok(None) => return,
                Ok(Some(item)) => {
                    self.counters.assembled_bytes += match item {
                        Item::Text(text) => put_together(arrived.clone(), text.as_bytes()),
                        Item::Binary(bytes) => put_together(arrived.clone(), bytes),
                        Item::Ping(_) | Item::Pong(_) | Item::Close(_) => 0,
                    };
                    self.item(slot, item, now)
                }
                Err(violation) => return self.break_off(slot, violation.reason(), now),
            };
            if !self.takes_more(slot, &unread, input.rest()) {
                return decoder.release();
            }
        }
    }

    /// Dispatches one item. Answers what of it must wait for the `welcome`, as it is received again.
    fn item(&mut self, slot: Slot, item: Item<'_>, now: Now) -> Vec<u8> {
        match item {
            Item::Text(text) => self.text(slot, text, now),
            Item::Binary(message) => return self.frames(slot, message, now),
            Item::Ping(payload) => {
                self.charge_frame(slot, now);
                self.write_raw(slot, |out| websocket::write_pong(payload, out));
            }
            // The server sends none of WebSocket's pings, so no pong answers one.
            Item::Pong(_) => self.charge_frame(slot, now),
            Item::Close(close) => {
                if let Some(connection) = self.connections.find(slot) {
                    connection.closed_by = Some(close.code);
                }
                self.leave(slot, now);
            }
        }
        Vec::new()
    }

    fn text(&mut self, slot: Slot, text: &str, now: Now) {
        self.charge_frame(slot, now);
        match json::decode_command(text) {
            Ok((command, tag)) => self.command(slot, tag, (command, text.len()), now),
            Err(refused) => self.violation(slot, &refused, now),
        }
    }

    /// The frames of one WebSocket message; each must be whole. What comes behind a `hello` waits
    /// for the `welcome`, as on the bare stream: it is answered as a message of its own.
    fn frames(&mut self, slot: Slot, message: &[u8], now: Now) -> Vec<u8> {
        let mut decoder = FrameDecoder::default();
        let mut rest = message;
        // Ends: each round takes a frame out of the message, or is the last.
        loop {
            let error = match decoder.decode(rest, self.payload_bytes_max(slot)) {
                Ok(step) => match step.frame {
                    Some(frame) => {
                        self.frame(slot, &frame, now);
                        rest = &rest[step.consumed..];
                        None
                    }
                    None => Some(DecodeError::PartialFrame),
                },
                Err(error) => Some(error),
            };
            if let Some(error) = error {
                self.violation(slot, &error.into(), now);
                return Vec::new();
            }
            let takes_more = self.connections.find(slot).is_some_and(|it| it.wants_input());
            if rest.is_empty() || !takes_more {
                return if rest.is_empty() { Vec::new() } else { websocket::as_received(rest) };
            }
        }
    }

    fn frame(&mut self, slot: Slot, frame: &Frame<'_>, now: Now) {
        self.charge_frame(slot, now);
        let (header, bytes) = (frame.header, frame.payload.len());
        match binary::decode_command(header.kind, header.flags, frame.payload) {
            Ok(command) => self.command(slot, header.tag, (command, bytes), now),
            Err(error) => {
                let message_id = binary::message_id_of(header.kind, frame.payload);
                let refused = Refused { error, tag: header.tag, message_id };
                self.violation(slot, &refused, now);
            }
        }
    }

    /// Largest payload of a frame that may come now.
    fn payload_bytes_max(&mut self, slot: Slot) -> usize {
        if self.signed_in(slot) { PAYLOAD_BYTES_MAX } else { HELLO_BYTES_MAX }
    }

    pub(super) fn signed_in(&mut self, slot: Slot) -> bool {
        self.connections.find(slot).is_some_and(|it| matches!(it.phase, Phase::SignedIn))
    }

    /// Whether decoding goes on; if not, what is left, `unread` and then `rest`, is kept for later
    /// or dropped with the connection.
    fn takes_more(&mut self, slot: Slot, unread: &[u8], rest: &[u8]) -> bool {
        let Some(connection) = self.connections.find(slot) else { return false };
        let more = connection.wants_input();
        if !more && !connection.leaving && !matches!(connection.phase, Phase::Closing { .. }) {
            connection.surplus = [unread, rest].concat();
        }
        more
    }
}

/// Limits of the messages that a connection may send now: before it has a session, no more than
/// a `hello` needs, which is counted alike in every transport. A message of frames is no longer than
/// one frame may be.
pub(super) fn message_limits(speech: Speech, signed_in: bool) -> websocket::Limits {
    let (accepts, bytes) = match (speech, signed_in) {
        (Speech::WebSocketBinary, true) => (Accepts::Binary, FRAME_BYTES_MAX),
        (Speech::WebSocketBinary, false) => (Accepts::Binary, HEADER_BYTES + HELLO_BYTES_MAX),
        (_, true) => (Accepts::Text, JSON_TEXT_BYTES_MAX),
        (_, false) => (Accepts::Text, HELLO_BYTES_MAX),
    };
    websocket::Limits::new(accepts, bytes as u32)
}

/// How many bytes of a payload lie elsewhere than in the buffer that arrived: it came in pieces, and
/// was copied together.
fn put_together(arrived: Range<*const u8>, payload: &[u8]) -> u64 {
    let in_place = payload.is_empty() || arrived.contains(&payload.as_ptr());
    if in_place { 0 } else { payload.len() as u64 }
}
