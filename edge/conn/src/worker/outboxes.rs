//! All answers of a worker that wait to be written, together: counted to the byte, and what
//! happens when they are too many.
//!
//! ```text
//!   bytes      0 ............ half ...................... max
//!              each outbox     each may hold less, the    who is stalled is let go, those that
//!              may hold all    fuller they are together:  took nothing for a while first, until
//!              of its own      its part of what is free   an eighth is free again
//! ```
//! So only those wait who do not take what waits for them: an outbox that is empty is always granted
//! a little, however full the others are. What is promised still goes out above what an outbox may
//! hold: the answers to what was received already, and the pushes that one turn had begun. A send that
//! the ring holds counts until the ring gives it back, also after its connection is gone.

use std::cmp::Reverse;
use std::time::Duration;

use ringpost_ring::Slot;
use ringpost_shard::event::Now;

use super::Worker;

/// Share of the limit that is free again after those who hold the most were let go.
const FREE_SHARE: usize = 8;

/// Who took something so lately is a slow reader, and not one that has stopped.
const TAKES_WITHIN: Duration = Duration::from_secs(2);

/// Share of its own limit that an outbox may hold however full all are together.
const GRANTED_SHARE: usize = 64;

/// Into so many parts is what an outbox may hold granted.
const GRANTS: usize = 4;

/// The sum, and what follows from it for one outbox.
#[derive(Debug)]
pub(super) struct Outboxes {
    bytes: usize,
    bytes_max: usize,
    each_bytes_max: usize,
}

impl Outboxes {
    pub(super) fn new(bytes_max: usize, each_bytes_max: usize) -> Self {
        Self { bytes: 0, bytes_max, each_bytes_max: each_bytes_max.min(bytes_max) }
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

    /// What one outbox may hold now, bytes: who has more is not read and not pushed to. All of its own
    /// limit up to half of the sum; then in proportion to what is free. However many there are, those
    /// that nobody empties come to rest below the sum.
    pub(super) fn allowance(&self) -> usize {
        let half = self.bytes_max / 2;
        let free = self.bytes_max.saturating_sub(self.bytes);
        if free >= half {
            return self.each_bytes_max;
        }
        let part = self.each_bytes_max as u64 * free as u64 / half as u64;
        (part as usize).max(self.each_bytes_max / GRANTED_SHARE).max(1)
    }

    /// What may be pushed to one connection before it is asked again, where so much waits for it
    /// already, bytes. Only a part of what it may hold, as many others may be granted the same now.
    pub(super) fn grant(&self, pending_bytes: usize) -> usize {
        let allowance = self.allowance();
        allowance.saturating_sub(pending_bytes).min(allowance.div_ceil(GRANTS))
    }

    /// How many bytes must leave, for there to be room again; `None` while the limit is not passed.
    fn excess(&self) -> Option<usize> {
        let wanted = self.bytes_max - self.bytes_max / FREE_SHARE;
        (self.bytes > self.bytes_max).then(|| self.bytes - wanted)
    }
}

impl Worker {
    /// Lets go who does not take its answers, if all answers together have passed their limit: first
    /// those that took nothing for a while, then those with the most. Nothing that was promised is lost
    /// with them, and nobody else has to wait. Their sockets are full, so that no last word would arrive.
    pub(super) fn shed_outboxes(&mut self, now: Now) {
        let Some(mut excess) = self.outboxes.excess() else { return };
        let mut stalled: Vec<(bool, Reverse<usize>, Slot)> = self
            .connections
            .awake_ones()
            .filter_map(|it| {
                let bytes = it.outbox.as_ref()?.stalled_bytes()?;
                Some((it.took_at + TAKES_WITHIN > now.mono, Reverse(bytes), it.slot))
            })
            .collect();
        stalled.sort_unstable_by_key(|&(takes, bytes, slot)| (takes, bytes, slot.index()));
        for (_, Reverse(bytes), slot) in stalled {
            self.shed(slot, now);
            match excess.checked_sub(bytes) {
                Some(rest) if rest > 0 => excess = rest,
                _ => return,
            }
        }
    }

    /// The same for one that goes on asking meanwhile: a turn may bring all receive buffers. Answers
    /// whether it was let go.
    pub(super) fn shed_if_over(&mut self, slot: Slot, now: Now) -> bool {
        if self.outboxes.excess().is_none() {
            return false;
        }
        let allowance = self.outboxes.allowance();
        let is_over = self.connections.find(slot).is_some_and(|it| {
            it.outbox.as_ref().and_then(|it| it.stalled_bytes()).is_some_and(|it| it > allowance)
        });
        if is_over {
            self.shed(slot, now);
        }
        is_over
    }

    fn shed(&mut self, slot: Slot, now: Now) {
        self.counters.outboxes_shed += 1;
        self.remove(slot, now);
    }
}
