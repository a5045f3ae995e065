//! The settings of the parts, from the configuration of the node.
//!
//! Pure arithmetic: what is the node's is shared among the workers, and what an operator never
//! needs to touch keeps the default of the part that owns it.

use ringpost_journal::Config as JournalConfig;
use ringpost_ring::RingConfig;
use ringpost_shard::{Provision as ShardProvision, ShardLimits};
use ringpost_store::engine::FjallLimits;
use ringpost_store::thread::ThreadLimits;

use super::sections::{Config, Provision};

/// Fewest receive buffers of a worker.
const BUFFERS_MIN: u16 = 64;
/// Most that the kernel takes.
const BUFFERS_MAX: u16 = 1 << 15;

/// Most rings of a worker: with tables of 20,000 slots enough for all connections of a node.
const RINGS_MAX: u16 = 1_024;

/// Largest record: a message of the largest content and its head, with room for heads to come.
const RECORD_BYTES_MAX: u64 = 128 << 10;

/// Least content that a worker may have in flight: a quarter of it is four of the largest messages.
const IN_FLIGHT_BYTES_MIN: u64 = 1 << 20;

/// Fewest sends that a worker may have in flight, so that many workers do not starve each other.
const IN_FLIGHT_MIN: u32 = 4_096;

impl From<Provision> for ShardProvision {
    fn from(provision: Provision) -> Self {
        match provision {
            Provision::OnSignIn => Self::OnSignIn,
            Provision::Registered => Self::RegisteredOnly,
        }
    }
}

/// An equal share of what is the node's.
pub(super) fn share(total: u64, workers: u16) -> u64 {
    total.div_ceil(u64::from(workers))
}

/// A worker's shard.
pub(super) fn shard(config: &Config, workers: u16, sessions_max: u32) -> ShardLimits {
    let keys = &config.limits;
    let defaults = ShardLimits::default();
    let in_flight = share(keys.in_flight_bytes_max, workers).max(IN_FLIGHT_BYTES_MIN);
    ShardLimits {
        message_bytes_max: keys.message_bytes_max.try_into().unwrap_or(u32::MAX),
        sessions_max,
        devices_per_user_max: keys.devices_per_user_max,
        device_absence_max: keys.device_absence_max,
        resident_bytes_max: share(keys.resident_bytes_max, workers),
        // Half for what is on the way, a quarter for what waits for the store, a quarter for
        // what was lately durable and is pushed without a look into the store.
        in_flight_bytes_max: in_flight.div_ceil(2),
        waiting_bytes_max: in_flight.div_ceil(4),
        recent_bytes_max: in_flight.div_ceil(4),
        in_flight_max: (defaults.in_flight_max / u32::from(workers)).max(IN_FLIGHT_MIN),
        queue_entries_max: keys.queue_entries_max,
        queue_bytes_max: keys.queue_bytes_max,
        queue_sender_share: keys.queue_sender_share,
        queue_ttl: keys.queue_ttl,
        ..defaults
    }
}

/// A worker's rings, in a process that may have so many files.
pub(super) fn ring(config: &Config, workers: u16, slots_max: u32, files_max: u32) -> RingConfig {
    let defaults = RingConfig::default();
    let buffers =
        share(config.limits.receive_buffers_bytes, workers) / u64::from(defaults.buffer_bytes);
    let buffers = u16::try_from(buffers).unwrap_or(BUFFERS_MAX).clamp(BUFFERS_MIN, BUFFERS_MAX);
    // Rounded down to a power of two, so that the share is not passed.
    let buffers = 1 << buffers.ilog2();
    RingConfig {
        slots_max,
        slots_per_ring_max: files_max,
        rings_max: rings_max(files_max, workers),
        buffers,
        ..defaults
    }
}

/// Rings of a worker at most: all of them take half of the process's descriptors, two each (one to
/// enter, one for others to reach it).
fn rings_max(files_max: u32, workers: u16) -> u16 {
    let share = files_max / 2 / 2 / u32::from(workers);
    u16::try_from(share).unwrap_or(RINGS_MAX).clamp(1, RINGS_MAX)
}

/// The journal.
pub(super) fn journal(config: &Config) -> JournalConfig {
    let keys = &config.journal;
    let defaults = JournalConfig::default();
    let spares = keys.disk_budget_bytes / keys.segment_bytes.max(1);
    JournalConfig {
        segment_bytes: keys.segment_bytes,
        disk_budget_bytes: keys.disk_budget_bytes,
        batch_bytes_max: defaults.batch_bytes_max.min(keys.segment_bytes),
        record_bytes_max: RECORD_BYTES_MAX,
        inflight_bytes_max: keys.pending_bytes_max,
        gather_max: keys.gather_max,
        spare_segments: u64::from(defaults.spare_segments).min(spares.saturating_sub(2)) as u32,
    }
}

/// The embedded engine.
pub(super) fn store(config: &Config) -> FjallLimits {
    FjallLimits {
        cache_bytes: config.store.cache_bytes,
        memtable_bytes: FjallLimits::memtable_within(config.store.write_buffer_bytes_max),
        ..FjallLimits::default()
    }
}

/// The threads between journal and store.
pub(super) fn store_threads(config: &Config) -> ThreadLimits {
    let unapplied = config.journal.unapplied_bytes_max;
    ThreadLimits {
        // What was on its way when sends are first refused has the other half.
        backlog_bytes_max: unapplied / 2,
        submitted_bytes_max: unapplied,
        ..ThreadLimits::default()
    }
}
