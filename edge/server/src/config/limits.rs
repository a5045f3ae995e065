//! Limits, computed once from the configuration and the host, and the sum of memory they allow.
//!
//! Invariant: what is printed at boot is what the parts are built with. Each line of the sum is
//! one bound that some part upholds; a part without a line here must not allocate without bound.

use ringpost_journal::Config as JournalConfig;
use ringpost_ring::{RingConfig, RingPlan};
use ringpost_shard::ShardLimits;
use ringpost_store::engine::{FILES_MIN, FjallLimits};
use ringpost_store::thread::ThreadLimits;
use ringpost_wire::limits::TOKEN_BYTES_MAX;

use super::parts;
use super::quantity::size_rounded;
use super::sections::Config;
use crate::host::{Host, HostMemory};
use crate::rlimits;

/// What one open connection costs at most beyond its outbox: table slot, timers and session in
/// user space (under 1 KiB), socket and poll entry in the kernel, which a cgroup counts as well
/// (about 3.2 KiB for an idle TCP socket with its file and dentry).
const CONNECTION_BYTES: u64 = 5 << 10;

/// What one REST connection costs beyond a request's body: hyper's read and write buffers.
const REST_CONNECTION_BYTES: u64 = 48 << 10;

/// Least incomplete input that a worker may hold: several of the largest texts, each in a buffer that
/// may have grown to twice its size.
const INPUT_BYTES_MIN: u64 = 1 << 20;

/// Binaries, stacks, rings, allocator slack.
const BASE_BYTES: u64 = 64 << 20;

/// One bound and what it allows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemoryLine {
    /// What the memory is for.
    pub what: &'static str,
    /// At most so many bytes.
    pub bytes: u64,
    /// The key that changes it, empty if none does.
    pub key: &'static str,
    /// The arithmetic, for people.
    pub arithmetic: String,
}

/// The limits of this process.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Worker threads, at least 1.
    pub workers: u16,
    /// Connections that one worker may own.
    pub connections_per_worker_max: u32,
    /// Bytes of answers that may wait at one worker.
    pub outboxes_per_worker_bytes_max: u64,
    /// Bytes of incomplete input that one worker may hold.
    pub input_per_worker_bytes_max: u64,
    /// Of each worker's shard.
    pub shard: ShardLimits,
    /// Of each worker's rings.
    pub ring: RingConfig,
    /// How many they are.
    pub rings: RingPlan,
    /// Of the journal.
    pub journal: JournalConfig,
    /// Of the embedded engine.
    pub store: FjallLimits,
    /// Of the threads between journal and store.
    pub store_threads: ThreadLimits,
    /// The sum, line by line.
    pub memory: Vec<MemoryLine>,
    /// What the host grants; `None` where the kernel does not say.
    pub host_memory: Option<HostMemory>,
}

/// More memory is allowed than the host grants.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the limits allow {} of memory, but only {granted} is there; lower {largest}",
    size_rounded(*.allowed_bytes)
)]
pub struct LimitsError {
    /// The sum.
    pub allowed_bytes: u64,
    /// What there is.
    pub granted: HostMemory,
    /// The largest lines: key and size.
    pub largest: String,
}

impl Limits {
    /// Computes the limits for a host.
    ///
    /// # Errors
    /// If the sum of memory is larger than what the host grants.
    pub fn compute(config: &Config, host: &Host) -> Result<Self, LimitsError> {
        let workers = if config.workers == 0 { host.cores } else { config.workers };
        let workers = workers.clamp(1, super::WORKERS_MAX);
        let keys = &config.limits;
        // Homes are random: leave a worker a quarter more than its even share, so that chance
        // does not refuse while others have room.
        let even = parts::share(keys.connections_max.into(), workers);
        let connections = if workers == 1 { even } else { even + even / 4 };
        let wanted = connections.try_into().unwrap_or(u32::MAX);
        let ring = parts::ring(config, workers, wanted, host.files_max);
        let rings = ring.plan_for(host.files_max);
        let connections = rings.slots;
        let mut store = parts::store(config);
        store.files_max = store_files(config, workers, rings, host.files_max);
        let mut limits = Self {
            workers,
            connections_per_worker_max: connections,
            outboxes_per_worker_bytes_max: parts::share(keys.outboxes_bytes_max, workers)
                .max(keys.outbox_bytes_max),
            input_per_worker_bytes_max: parts::share(keys.input_bytes_max, workers)
                .max(INPUT_BYTES_MIN),
            shard: parts::shard(config, workers, connections),
            ring,
            rings,
            journal: parts::journal(config),
            store,
            store_threads: parts::store_threads(config),
            memory: Vec::new(),
            host_memory: host.memory,
        };
        limits.memory = memory_lines(config, &limits);
        limits.fits()?;
        Ok(limits)
    }

    /// The sum of memory that the limits allow, bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.memory.iter().map(|line| line.bytes).sum()
    }

    fn fits(&self) -> Result<(), LimitsError> {
        let allowed_bytes = self.memory_bytes();
        let Some(granted) = self.host_memory.filter(|host| host.bytes < allowed_bytes) else {
            return Ok(());
        };
        let mut lines: Vec<&MemoryLine> =
            self.memory.iter().filter(|line| !line.key.is_empty()).collect();
        lines.sort_by_key(|line| std::cmp::Reverse(line.bytes));
        let largest: Vec<String> = lines
            .iter()
            .take(3)
            .map(|line| format!("{} ({})", line.key, size_rounded(line.bytes)))
            .collect();
        Err(LimitsError { allowed_bytes, granted, largest: largest.join(", ") })
    }
}

/// Files that the store may keep open: what the others leave, within its own bounds.
fn store_files(config: &Config, workers: u16, rings: RingPlan, files_max: u32) -> usize {
    let needed = rlimits::files_needed(config, workers, rings.rings);
    let left = u64::from(files_max).saturating_sub(needed + rlimits::files_of_rest(config));
    let most = FjallLimits::default().files_max;
    usize::try_from(left).unwrap_or(most).clamp(FILES_MIN, most)
}

/// Every bound on memory, with the key that changes it.
fn memory_lines(config: &Config, limits: &Limits) -> Vec<MemoryLine> {
    let (keys, workers) = (&config.limits, u64::from(limits.workers));
    let each = |what, key, count: u64, bytes: u64| {
        let arithmetic = format!("{count} x {}", size_rounded(bytes));
        MemoryLine { what, bytes: count * bytes, key, arithmetic }
    };
    let plain = |what, key, bytes| MemoryLine { what, bytes, key, arithmetic: String::new() };
    let connections = u64::from(keys.connections_max);
    let buffers = u64::from(limits.ring.buffers) * u64::from(limits.ring.buffer_bytes);
    let outboxes = limits.outboxes_per_worker_bytes_max;
    let incomplete = limits.input_per_worker_bytes_max;
    let ring = limits.ring.memory_bytes(limits.rings) - buffers;
    let resident = limits.shard.resident_bytes_max;
    let in_flight = limits.shard.in_flight_bytes_max
        + limits.shard.waiting_bytes_max
        + limits.shard.recent_bytes_max;
    let tables = limits.shard.bytes_max() - resident - in_flight;
    let journal_waiting = config.journal.pending_bytes_max + limits.journal.batch_bytes_max;
    let rest_each = REST_CONNECTION_BYTES + config.rest.body_bytes_max;
    let rest = u64::from(config.rest.connections_max);
    let (pages, page) = (crate::rest::PAGES_MAX as u64, crate::rest::PAGE_MEMORY_BYTES);
    let checks = u64::from(config.auth.verify_queue_max);
    let unapplied = limits.store_threads.memory_bytes_max();
    vec![
        each("connections", "limits.connections_max", connections, CONNECTION_BYTES),
        each("answers to be written", "limits.outboxes_bytes_max", workers, outboxes),
        each("incomplete input", "limits.input_bytes_max", workers, incomplete),
        each("receive buffers", "limits.receive_buffers_bytes", workers, buffers),
        each("rings", "workers", workers, ring),
        each("resident users", "limits.resident_bytes_max", workers, resident),
        each("messages in flight", "limits.in_flight_bytes_max", workers, in_flight),
        each("tables of the shards", "workers", workers, tables),
        plain("journal, waiting", "journal.pending_bytes_max", journal_waiting),
        plain("journal, not yet applied", "journal.unapplied_bytes_max", unapplied),
        plain("store", "store.write_buffer_bytes_max", limits.store.memory_bytes_max()),
        each("REST connections", "rest.connections_max", rest, rest_each),
        each("history pages", "", pages, page),
        each("token checks", "auth.verify_queue_max", checks, TOKEN_BYTES_MAX as u64),
        plain("process", "", BASE_BYTES),
    ]
}
