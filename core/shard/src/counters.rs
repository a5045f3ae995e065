//! What a shard counts: plain numbers, closed sets. The edge exports them.

use ringpost_wire::ErrorCode;

use crate::bound::Hits;
use crate::durations::Durations;

/// Slots of [`Counters::refused`]: error codes are numbered from 1 and grow slowly.
pub const REFUSED_SLOTS: usize = 32;

/// Counters since the shard was made.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// Commands refused, by the number of their error code.
    pub refused: [u64; REFUSED_SLOTS],
    /// Bounds that were hit.
    pub hits: Hits,
    /// Bytes of content copied out of receive buffers into messages that are kept or go to another
    /// worker: each message once.
    pub copied_bytes: u64,
    /// Durable messages that users of this shard sent.
    pub sends_accepted: u64,
    /// Repeated sends answered with what was accepted before.
    pub duplicates_answered: u64,
    /// Stored pushes (messages, receipts) handed to connections.
    pub pushes: u64,
    /// Queue entries and receipts that devices acked.
    pub entries_acked: u64,
    /// Records committed.
    pub commits: u64,
    /// Connections closed because their device connected later elsewhere.
    pub displacements: u64,
    /// Sign-ins refused because the credential was revoked.
    pub revoked_sign_ins: u64,
    /// Sign-ins refused because the user must be registered first.
    pub unprovisioned_sign_ins: u64,
    /// Sign-ins refused because the user has as many devices as may be.
    pub devices_refused: u64,
    /// Sign-ins of new devices refused because the journal has failed, or has no room for them.
    pub unkept_sign_ins: u64,
    /// Sign-ins by token refused because too many wait for the same user.
    pub sign_ins_crowded: u64,
    /// Sessions ended because their ticket named a device that is not there.
    pub tickets_unfounded: u64,
    /// Devices that became durable.
    pub devices_added: u64,
    /// Devices removed because they signed out.
    pub devices_signed_out: u64,
    /// Devices removed because they were absent for too long.
    pub devices_absent: u64,
    /// Sign-ins refused because the shard has no room for a session.
    pub sessions_refused: u64,
    /// Revocations forgotten because newer ones needed the room.
    pub revocations_forgotten: u64,
    /// Users asked of the store.
    pub loads: u64,
    /// Loads repeated because more records arrived than a loading user keeps.
    pub loads_repeated: u64,
    /// Loads refused for want of memory or of a place among the loads.
    pub loads_refused: u64,
    /// Users let go under the byte cap.
    pub evictions: u64,
    /// Idempotency look-ups in the store.
    pub look_ups: u64,
    /// Message reads in the store, for replay and for `read` receipts.
    pub message_reads: u64,
    /// Store reads that failed.
    pub store_failures: u64,
    /// Ephemeral messages and typing notices handed to connections.
    pub ephemeral_delivered: u64,
    /// Ephemeral messages and typing notices dropped: nobody connected, or an outbox full.
    pub ephemeral_dropped: u64,
    /// Queue entries that left at their time to live.
    pub entries_expired: u64,
    /// Queue entries that left because their message's row is missing.
    pub rows_missing: u64,
    /// Receipts that left untold because a device had too many.
    pub receipts_trimmed: u64,
    /// Messages that a queue did not take, one for each such queue: it has a gap now.
    pub gaps: u64,
    /// Gaps told to devices, each time that one was.
    pub gaps_told: u64,
    /// Gaps that devices said to have read from history.
    pub gaps_closed: u64,
    /// Commands dropped because their connection ended before they could run.
    pub orphaned_commands: u64,
    /// From a durable send's command to its commit at the conversation's home.
    pub route: Durations,
    /// From a message's coming durable to its push to a connection. What had to be read back from
    /// the store is not counted.
    pub enqueue: Durations,
    /// From a stored push to its ack by the device.
    pub device_ack: Durations,
}

/// What a shard holds now.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Gauges {
    /// Signed-in connections.
    pub sessions: u64,
    /// Sign-ins that wait for their user or their device.
    pub entering: u64,
    /// Users resident or loading.
    pub users: u64,
    /// Bytes of them.
    pub resident_bytes: u64,
    /// Loads asked of the store.
    pub loading: u64,
    /// Sends in flight.
    pub in_flight: u64,
    /// Their content, bytes.
    pub in_flight_bytes: u64,
    /// Content waiting for loads and look-ups, bytes.
    pub waiting_bytes: u64,
    /// Content of recent records kept for live devices, bytes.
    pub recent_bytes: u64,
}

impl Counters {
    pub(crate) fn count_refusal(&mut self, code: ErrorCode) {
        self.refused[usize::from(code.number())] += 1;
    }

    /// How many commands were refused with `code`.
    pub fn refused(&self, code: ErrorCode) -> u64 {
        self.refused[usize::from(code.number())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_code_has_a_slot() {
        assert!(ErrorCode::ALL.iter().all(|code| usize::from(code.number()) < REFUSED_SLOTS));
    }
}
