//! Limits and configuration of a shard: each limit once, with unit, default and consequence.
//!
//! All are per worker unless they say otherwise. Full means: refuse with a code, count it.
//! Computed once at boot and checked by [`ShardLimits::check`]; nothing here changes afterwards.

use std::time::Duration;

use ringpost_wire::{ServerId, limits};

use crate::away::AWAY_BYTES;
use crate::event::WorkerId;

/// How a shard is set up.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// The number of this worker, below `workers`.
    pub worker: WorkerId,
    /// How many workers the node has: 1 to 16,384.
    pub workers: u16,
    /// The node's number: stands in every server id it stamps.
    pub node: u32,
    /// Secret of all hash tables and of `home`; the same for all workers of a run, random per run
    /// (an input, so that a simulation can replay it).
    pub hash_seed: u64,
    /// The highest server id that this node ever stamped, nil if none. All stamps lie above.
    pub stamp_floor: ServerId,
    /// Who may sign in without having been created before.
    pub provision: Provision,
    /// Whether plaintext `content` is taken.
    pub plaintext_allowed: bool,
    /// The limits.
    pub limits: ShardLimits,
}

/// What becomes of a valid credential of a user that the store does not know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Provision {
    /// The user is created.
    OnSignIn,
    /// The connection is closed with `sign_in_again`: users are created by registration alone.
    RegisteredOnly,
}

/// A rate: `per_second` on average, `burst` at once after a pause.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// Sustained units per second, at least 1.
    pub per_second: u32,
    /// Units at once, at least 1. A single cost above it is taken as the whole burst.
    pub burst: u32,
}

/// Everything that a shard bounds.
#[derive(Clone, Debug)]
pub struct ShardLimits {
    /// Largest content of one message, bytes. More: `too_large`.
    pub message_bytes_max: u32,
    /// Signed-in connections. More: closed with `try_later`.
    pub sessions_max: u32,
    /// Devices per user, 1 to 127. A further one is closed with `too_many_devices`.
    pub devices_per_user_max: u8,
    /// A device that was not seen for so long is removed, with its queue, once somebody looks.
    /// More than any ticket and a day: one that has a ticket is never absent.
    pub device_absence_max: Duration,

    /// Resident users, bytes as counted here. Above it users are evicted, and where none can be,
    /// loads are refused with `overloaded`. A load counts as 4 KiB before
    /// its answer is there, so the sum may pass the cap by what `loads_max` images hold more, and
    /// by one user who waits for a load: it is not in its own way.
    pub resident_bytes_max: u64,
    /// Loads that the store is asked for at once.
    pub loads_max: u32,
    /// Events that wait for one loading user. More: `overloaded`.
    pub loading_line_max: u32,
    /// Durable records kept for one loading user. More: they are let go and the load is repeated.
    pub loading_records_max: u32,
    /// Slots looked at for eviction in one go: bounds the work of one event.
    pub eviction_scan_max: u32,
    /// Content that waits for loads and look-ups, bytes. More: `overloaded`.
    pub waiting_bytes_max: u64,

    /// Sends between acceptance and durability. More: `overloaded`. Also bounds the mail that one
    /// worker may owe to this one: an answer for each.
    pub in_flight_max: u32,
    /// Their content, bytes. More: `overloaded`.
    pub in_flight_bytes_max: u64,
    /// Sends in flight of one device. More: `overloaded`.
    pub in_flight_per_device_max: u32,
    /// Answers owed for one send in flight that came several times. More: `overloaded`.
    pub answers_per_send_max: u32,
    /// Sends of one device that wait in line, behind a look-up or behind one whose id is on its way
    /// with another content. More: `overloaded`.
    pub look_up_line_max: u32,
    /// Accepted sends remembered per device, so that a quick repetition needs no look-up.
    pub accepted_cache_max: u32,

    /// Users remembered as not existing.
    pub unknown_users_max: u32,
    /// How long they are.
    pub unknown_user_for: Duration,

    /// Messages in one device's queue. Full: the device has a gap.
    pub queue_entries_max: u32,
    /// Content in one device's queue, bytes. Full: as above.
    pub queue_bytes_max: u64,
    /// The part of a device's queue, in entries and in bytes, that one sender may hold, as its
    /// denominator: 10 = a tenth, 1 = all of it. Used up in every queue with room: `quota`.
    pub queue_sender_share: u32,
    /// A sender's part is at least so many entries, and the bytes of so many of the largest
    /// messages.
    pub queue_sender_entries_min: u32,
    /// Receipts in one device's queue (one per peer and status). The oldest leave untold; history
    /// has the status.
    pub queue_receipts_max: u32,
    /// How long an entry waits for its device, by the wall clock; while that is in doubt nothing
    /// expires.
    pub queue_ttl: Duration,

    /// Unacked pushes of a connection that asks for 0.
    pub window_pushes_default: u32,
    /// Unacked pushes granted at most, up to 65,535.
    pub window_pushes_max: u32,
    /// Unacked bytes of a connection that asks for 0. Windows are granted in KiB, rounded up.
    pub window_bytes_default: u32,
    /// Unacked bytes granted at most, up to 64 MiB less 1 KiB.
    pub window_bytes_max: u32,
    /// Messages acked last that a connection may still name by the sender's id alone.
    pub named_pushes_max: u32,
    /// Message rows in one store read.
    pub read_rows_max: u32,
    /// Content in one store read, bytes (one row always goes).
    pub read_bytes_max: u32,
    /// `read` receipts of one device that wait for the store, or for the journal. More:
    /// `overloaded`.
    pub reads_per_device_max: u32,
    /// Entries, receipts and cursors in one ack record; the rest follows in the next.
    pub ack_items_max: u32,
    /// Durable records kept for live devices that have not been pushed them yet, bytes of content.
    /// Beyond, they are read from the store.
    pub recent_bytes_max: u64,

    /// Durable sends of one user. Above: `rate_limited`.
    pub user_sends: Rate,
    /// Content of them, bytes. Above: `rate_limited`.
    pub user_bytes: Rate,

    /// Devices whose credentials were revoked, remembered in order of revocation. Must outlast the
    /// credentials' lifetime at the pace at which devices are revoked.
    pub revocations_max: u32,

    /// What `overloaded` tells a client to wait.
    pub overloaded_retry: Duration,
    /// What `quota` tells a client to wait.
    pub quota_retry: Duration,
    /// Pause before a failed store read is repeated.
    pub store_retry: Duration,
}

impl Default for ShardLimits {
    fn default() -> Self {
        Self {
            message_bytes_max: limits::MESSAGE_BYTES_MAX as u32,
            sessions_max: 4_000_000,
            devices_per_user_max: 16,
            device_absence_max: Duration::from_secs(90 * 24 * 3600),
            resident_bytes_max: 256 << 20,
            loads_max: 1024,
            loading_line_max: 64,
            loading_records_max: 64,
            eviction_scan_max: 256,
            waiting_bytes_max: 64 << 20,
            in_flight_max: 65_536,
            in_flight_bytes_max: 128 << 20,
            in_flight_per_device_max: 256,
            answers_per_send_max: 4,
            look_up_line_max: 64,
            accepted_cache_max: 64,
            unknown_users_max: 8192,
            unknown_user_for: Duration::from_secs(10),
            queue_entries_max: 10_000,
            queue_bytes_max: 64 << 20,
            queue_sender_share: 10,
            queue_sender_entries_min: 100,
            queue_receipts_max: 4096,
            queue_ttl: Duration::from_secs(30 * 24 * 3600),
            window_pushes_default: limits::WINDOW_PUSHES_DEFAULT,
            window_pushes_max: limits::WINDOW_PUSHES_MAX,
            window_bytes_default: limits::WINDOW_BYTES_DEFAULT,
            window_bytes_max: limits::WINDOW_BYTES_MAX,
            named_pushes_max: 32,
            read_rows_max: 16,
            read_bytes_max: 256 * 1024,
            reads_per_device_max: 16,
            ack_items_max: 256,
            recent_bytes_max: 32 << 20,
            user_sends: Rate { per_second: limits::SENDS_PER_SECOND, burst: limits::SENDS_BURST },
            user_bytes: Rate {
                per_second: limits::SENT_BYTES_PER_SECOND,
                burst: limits::SENT_BURST_BYTES,
            },
            revocations_max: 65_536,
            overloaded_retry: Duration::from_secs(1),
            quota_retry: Duration::from_secs(60),
            store_retry: Duration::from_secs(1),
        }
    }
}

/// A limit that cannot be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LimitError {
    /// Zero, or above what its representation takes.
    #[error("`{name}` is {found}, allowed is {least} to {most}")]
    OutOfRange {
        /// The field.
        name: &'static str,
        /// Its value.
        found: u64,
        /// The smallest allowed.
        least: u64,
        /// The largest allowed.
        most: u64,
    },
}

impl ShardLimits {
    /// Bytes that the limits allow in sum, for the boot summary: resident users, content that
    /// waits, is in flight or was lately durable, and the bounded tables.
    pub const fn bytes_max(&self) -> u64 {
        let tables =
            self.unknown_users_max as u64 * 48 + self.revocations_max as u64 * 64 + AWAY_BYTES;
        self.resident_bytes_max
            + self.waiting_bytes_max
            + self.in_flight_bytes_max
            + self.recent_bytes_max
            + tables
    }

    /// What one sender may hold of a device's queue: entries, and the bytes of their content.
    pub fn sender_share(&self) -> (u32, u64) {
        let (part, least) = (self.queue_sender_share, self.queue_sender_entries_min);
        let bytes_least = u64::from(least) * u64::from(self.message_bytes_max);
        (
            (self.queue_entries_max / part).max(least),
            (self.queue_bytes_max / u64::from(part)).max(bytes_least),
        )
    }

    /// Whether every limit can be held.
    ///
    /// # Errors
    /// Names the first that cannot, with what is allowed.
    pub fn check(&self) -> Result<(), LimitError> {
        let any = u64::from(u32::MAX);
        let counts: [(&'static str, u64, u64); 30] = [
            ("message_bytes_max", self.message_bytes_max.into(), limits::MESSAGE_BYTES_MAX as u64),
            ("sessions_max", self.sessions_max.into(), any - 1),
            ("devices_per_user_max", self.devices_per_user_max.into(), 127),
            ("resident_bytes_max", self.resident_bytes_max, u64::MAX),
            ("loads_max", self.loads_max.into(), any),
            ("loading_line_max", self.loading_line_max.into(), any),
            ("loading_records_max", self.loading_records_max.into(), any),
            ("eviction_scan_max", self.eviction_scan_max.into(), any),
            ("waiting_bytes_max", self.waiting_bytes_max, u64::MAX),
            ("in_flight_max", self.in_flight_max.into(), any),
            ("in_flight_bytes_max", self.in_flight_bytes_max, u64::MAX),
            ("in_flight_per_device_max", self.in_flight_per_device_max.into(), any),
            ("answers_per_send_max", self.answers_per_send_max.into(), any),
            ("look_up_line_max", self.look_up_line_max.into(), any),
            ("accepted_cache_max", self.accepted_cache_max.into(), any),
            ("unknown_users_max", self.unknown_users_max.into(), any),
            ("queue_entries_max", self.queue_entries_max.into(), any),
            ("queue_bytes_max", self.queue_bytes_max, u64::MAX),
            ("queue_sender_share", self.queue_sender_share.into(), any),
            ("queue_sender_entries_min", self.queue_sender_entries_min.into(), any),
            ("queue_receipts_max", self.queue_receipts_max.into(), any),
            ("window_pushes_default", self.window_pushes_default.into(), u16::MAX.into()),
            ("window_pushes_max", self.window_pushes_max.into(), u16::MAX.into()),
            ("window_bytes_default", self.window_bytes_default.into(), u64::from(u16::MAX) << 10),
            ("window_bytes_max", self.window_bytes_max.into(), u64::from(u16::MAX) << 10),
            ("named_pushes_max", self.named_pushes_max.into(), any),
            ("read_rows_max", self.read_rows_max.into(), any),
            ("reads_per_device_max", self.reads_per_device_max.into(), any),
            ("ack_items_max", self.ack_items_max.into(), any),
            ("revocations_max", self.revocations_max.into(), any),
        ];
        let rates = [("user_sends", self.user_sends), ("user_bytes", self.user_bytes)];
        let rates = rates.into_iter().flat_map(|(name, rate)| {
            [(name, u64::from(rate.per_second), any), (name, u64::from(rate.burst), any)]
        });
        for (name, found, most) in counts.into_iter().chain(rates) {
            if found == 0 || found > most {
                return Err(LimitError::OutOfRange { name, found, least: 1, most });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_can_be_held() {
        assert_eq!(ShardLimits::default().check(), Ok(()));
    }

    #[test]
    fn a_limit_out_of_range_is_named_with_what_is_allowed() {
        let limits = ShardLimits { window_pushes_max: 65_536, ..ShardLimits::default() };
        let error = limits.check().expect_err("more than 16 bits");
        assert_eq!(error.to_string(), "`window_pushes_max` is 65536, allowed is 1 to 65535");
        let none = Rate { per_second: 0, burst: 1 };
        assert!(ShardLimits { user_sends: none, ..ShardLimits::default() }.check().is_err());
    }
}
