//! Limits, computed once from the configuration and the host, and the sum of memory they allow.
//!
//! Invariant: what is printed at boot is what the parts are built with. Each line of the sum is
//! one bound that some part upholds; a part without a line here must not allocate without bound.

use std::time::Duration;

use ringpost_wire::limits::TOKEN_BYTES_MAX;

use super::quantity::size_rounded;
use super::sections::Config;
use crate::host::HostMemory;

/// What one open connection costs at most beyond its outbox: table slot, timers and session in
/// user space (under 1 KiB), socket and poll entry in the kernel, which a cgroup counts as well
/// (about 3.2 KiB for an idle TCP socket with its file and dentry).
const CONNECTION_BYTES: u64 = 5 << 10;

/// What one REST connection costs beyond a request's body: hyper's read and write buffers.
const REST_CONNECTION_BYTES: u64 = 48 << 10;

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
#[derive(Clone, PartialEq, Debug)]
pub struct Limits {
    /// Worker threads, at least 1.
    pub workers: u16,
    /// Connections that one worker may own.
    pub connections_per_worker_max: u32,
    /// Bytes of answers that may wait at one worker.
    pub outboxes_per_worker_bytes_max: u64,
    /// Receive buffers of one worker, bytes.
    pub receive_buffers_per_worker_bytes: u64,
    /// Resident user state of one worker, bytes.
    pub resident_per_worker_bytes_max: u64,
    /// How long a drain may take.
    pub drain_deadline: Duration,
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
    /// Computes the limits for a host with `cores` and `host_memory`.
    ///
    /// # Errors
    /// If the sum of memory is larger than what the host grants.
    pub fn compute(
        config: &Config,
        cores: u16,
        host_memory: Option<HostMemory>,
    ) -> Result<Self, LimitsError> {
        let workers = if config.workers == 0 { cores } else { config.workers };
        let workers = workers.clamp(1, super::WORKERS_MAX);
        let share = |total: u64| total.div_ceil(u64::from(workers));
        let keys = &config.limits;
        // Homes are random: leave a worker a quarter more than its even share, so that chance
        // does not refuse while others have room.
        let even = share(keys.connections_max.into());
        let connections = if workers == 1 { even } else { even + even / 4 };
        let limits = Self {
            workers,
            connections_per_worker_max: connections.try_into().unwrap_or(u32::MAX),
            outboxes_per_worker_bytes_max: share(keys.outboxes_bytes_max),
            receive_buffers_per_worker_bytes: share(keys.receive_buffers_bytes),
            resident_per_worker_bytes_max: share(keys.resident_bytes_max),
            drain_deadline: config.drain_deadline,
            memory: memory_lines(config),
            host_memory,
        };
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

fn memory_lines(config: &Config) -> Vec<MemoryLine> {
    let keys = &config.limits;
    let each = |count: u64, bytes: u64| format!("{count} x {}", size_rounded(bytes));
    let line =
        |what, key, bytes: u64, arithmetic: String| MemoryLine { what, bytes, key, arithmetic };
    let plain = |what, key, bytes: u64| line(what, key, bytes, String::new());
    let connections = u64::from(keys.connections_max);
    let rest_connections = u64::from(config.rest.connections_max);
    let rest_each = REST_CONNECTION_BYTES + config.rest.body_bytes_max;
    let pages = crate::rest::PAGES_MAX as u64;
    let checks = u64::from(config.auth.verify_queue_max);
    let mut lines = vec![
        line(
            "connections",
            "limits.connections_max",
            connections * CONNECTION_BYTES,
            each(connections, CONNECTION_BYTES),
        ),
        plain(
            "answers waiting to be written",
            "limits.outboxes_bytes_max",
            keys.outboxes_bytes_max,
        ),
        plain("receive buffers", "limits.receive_buffers_bytes", keys.receive_buffers_bytes),
        plain("resident users", "limits.resident_bytes_max", keys.resident_bytes_max),
        plain("journal, waiting", "journal.pending_bytes_max", config.journal.pending_bytes_max),
        plain(
            "journal, not yet applied",
            "journal.unapplied_bytes_max",
            config.journal.unapplied_bytes_max,
        ),
        plain("store cache", "store.cache_bytes", config.store.cache_bytes),
        plain(
            "store write buffers",
            "store.write_buffer_bytes_max",
            config.store.write_buffer_bytes_max,
        ),
        line(
            "REST connections",
            "rest.connections_max",
            rest_connections * rest_each,
            each(rest_connections, rest_each),
        ),
        line(
            "history pages",
            "",
            pages * crate::rest::PAGE_MEMORY_BYTES,
            each(pages, crate::rest::PAGE_MEMORY_BYTES),
        ),
        line(
            "token checks waiting",
            "auth.verify_queue_max",
            checks * TOKEN_BYTES_MAX as u64,
            each(checks, TOKEN_BYTES_MAX as u64),
        ),
    ];
    lines.push(plain("process", "", BASE_BYTES));
    lines
}
