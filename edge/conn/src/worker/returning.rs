//! Connections that REST gives back, because a request on them asks for a WebSocket.
//!
//! ```text
//!   Returned (an ordinary descriptor, what was read of it)
//!     ──> no room, or closing  ─────────────────────────────────> Refuse: REST says 503
//!     ──> Admit ──> AdmitFailed (no slot) ──────────────────────> Refuse
//!             └───> Admitted ──> as if it had just been accepted, and the request had come in ──> ...
//! ```
//! From there on it is a connection like any other: it counts, is charged, judged and answered by
//! what holds for one that came in at the worker's own door, and its time begins anew.

use std::os::fd::OwnedFd;

use hashbrown::HashMap;
use ringpost_ring::Slot;
use ringpost_shard::event::Now;
use ringpost_wire::limits::INPUT_COST_BYTES;

use super::Worker;
use super::handshake::STRANGERS_PAUSE;
use crate::caller::Caller;
use crate::connection::Connection;
use crate::http::Rejection;
use crate::letter::Returned;
use crate::output::{Operation, Output};

/// Those that have no slot yet, bounded by `moves_max`.
#[derive(Debug, Default)]
pub(super) struct Returning {
    next: u32,
    waiting: HashMap<u32, (Vec<u8>, Option<Caller>)>,
}

impl Returning {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    fn add(&mut self, read: Vec<u8>, caller: Option<Caller>) -> u32 {
        let key = self.next;
        self.next = self.next.wrapping_add(1);
        self.waiting.insert(key, (read, caller));
        key
    }

    fn take(&mut self, key: u32) -> (Vec<u8>, Option<Caller>) {
        self.waiting.remove(&key).expect("each is answered once")
    }
}

impl Worker {
    pub(super) fn returned(&mut self, returned: Returned) {
        let Returned { fd, read, caller } = returned;
        let waiting = self.returning.len();
        let full = self.connections.len() + waiting >= self.config.connections_max as usize
            || waiting >= self.config.moves_max;
        if full || self.drain.is_closed() {
            self.counters.refused_full += u64::from(full);
            return self.outputs.push(Output::Refuse { fd });
        }
        let key = self.returning.add(read, caller);
        self.operations.push(Operation::Admit(fd, key));
    }

    /// The ring has no slot for it.
    pub(super) fn admit_failed(&mut self, fd: OwnedFd, key: u32) {
        self.returning.take(key);
        self.counters.refused_full += 1;
        self.outputs.push(Output::Refuse { fd });
    }

    pub(super) fn admitted(&mut self, slot: Slot, key: u32, now: Now) {
        let (read, caller) = self.returning.take(key);
        self.counters.returned += 1;
        self.counters.received_bytes += read.len() as u64;
        let cost_bytes = (read.len() as u32).saturating_add(INPUT_COST_BYTES);
        let mut connection = Connection::accepted(slot, now.mono);
        connection.surplus = read;
        self.connections.insert(connection);
        self.recount_input(slot);
        let has_room = caller.is_none_or(|caller| self.caller_known(slot, caller));
        if self.drain.is_closed() || !has_room {
            return self.reject_upgrade(
                slot,
                Rejection::Overloaded { retry_after: STRANGERS_PAUSE },
                now,
            );
        }
        self.schedule(slot);
        self.charge(slot, cost_bytes);
        self.charge_caller(slot, now);
    }
}
