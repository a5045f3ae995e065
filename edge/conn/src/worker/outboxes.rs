//! All answers of a worker that wait to be written, together: counted to the byte, and what
//! happens when they are too many.
//!
//! ```text
//!   bytes      0 ............ half ................. max
//!              everybody       who does not take      nobody is read, nothing is pushed,
//!              is served       its answers is not     ephemera are dropped, until an
//!                              read nor pushed to     eighth is free again
//! ```
//! So the slow are asked first, and a neighbour waits only when very many are slow at once. A
//! receive that is armed already brings its bytes once more and is taken back then. What was
//! promised still goes out above the limit: one answer for each send in flight, and what one turn
//! had begun. A send that the ring holds counts until the ring gives it back, also after its
//! connection is gone.

use ringpost_ring::Slot;
use ringpost_shard::Event;
use ringpost_shard::event::Now;

use super::Worker;
use crate::connection::Connection;

/// Share of the limit that must be free before reading and pushing go on.
const FREE_SHARE: usize = 8;

/// The sum, and who waits for it to shrink.
#[derive(Debug)]
pub(super) struct Outboxes {
    bytes: usize,
    bytes_max: usize,
    full: bool,
    /// Connections that were not read or pushed to because of it; each once, so bounded by the
    /// connections.
    waiting: Vec<Slot>,
}

impl Outboxes {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes: 0, bytes_max, full: false, waiting: Vec::new() }
    }

    /// Bytes that wait, those that the ring holds included.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// Bytes were written, or are dropped.
    pub(super) fn remove(&mut self, bytes: usize) {
        self.bytes = self.bytes.checked_sub(bytes).expect("what leaves was counted as it came");
    }

    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// Whether there is still room for an outbox that is not emptied.
    pub(super) fn has_room_for(&self, connection: &Connection) -> bool {
        let stalled = connection.outbox.as_ref().is_some_and(|outbox| outbox.is_stalled());
        !self.full && (!stalled || self.bytes <= self.bytes_max / 2)
    }
}

impl Worker {
    /// Remembers a connection that waits for the outboxes to be full no longer.
    pub(super) fn wait_for_outboxes(&mut self, slot: Slot) {
        if let Some(connection) = self.connections.find(slot)
            && !std::mem::replace(&mut connection.waits_for_outboxes, true)
        {
            self.outboxes.waiting.push(slot);
        }
    }

    /// Finds the outboxes full, or no longer: the shard is told, and those that waited go on.
    pub(super) fn balance_outboxes(&mut self, now: Now) {
        let Outboxes { bytes, bytes_max, full, .. } = self.outboxes;
        if !full && bytes > bytes_max {
            self.outboxes.full = true;
            self.counters.outboxes_full += 1;
            self.shard_event(Event::OutboxesFull { full: true }, now);
        } else if full && bytes <= bytes_max - bytes_max / FREE_SHARE {
            self.outboxes.full = false;
            self.shard_event(Event::OutboxesFull { full: false }, now);
            for slot in std::mem::take(&mut self.outboxes.waiting) {
                let Some(connection) = self.connections.find(slot) else { continue };
                connection.waits_for_outboxes = false;
                self.mark_dirty(slot);
            }
            self.flush(now);
        }
    }
}
