//! Numbers of workers, journal and store for `/metrics`, from snapshots: a scrape stops nobody.

use std::sync::{Arc, Mutex, PoisonError};

use ringpost_conn::Worker;
use ringpost_conn::counters::{ConnectionCounters, ConnectionGauges};
use ringpost_journal::JournalHandle;
use ringpost_ring::{RingSet, RingStats, Rings};
use ringpost_shard::counters::{Counters, Gauges};
use ringpost_store::thread::StoreHandle;
use ringpost_wire::{CloseCode, ErrorCode};

use crate::metrics::{MetricSource, Samples};

/// What a worker last published.
#[derive(Debug, Default)]
pub(super) struct WorkerCells {
    held: ConnectionGauges,
    connections: ConnectionCounters,
    shard: Counters,
    gauges: Gauges,
    ring: RingStats,
}

impl WorkerCells {
    pub(super) fn read(worker: &Worker, rings: &RingSet) -> Self {
        Self {
            held: worker.gauges(),
            connections: worker.counters().clone(),
            shard: worker.shard().counters().clone(),
            gauges: worker.shard().gauges(),
            ring: rings.stats(),
        }
    }
}

/// The workers' numbers, added up.
pub(super) struct WorkerSource(pub(super) Vec<Arc<Mutex<WorkerCells>>>);

impl MetricSource for WorkerSource {
    fn collect(&self, out: &mut Samples) {
        for cells in &self.0 {
            let cells = cells.lock().unwrap_or_else(PoisonError::into_inner);
            connections(&cells, out);
            shard(&cells, out);
            ring(&cells.ring, out);
        }
    }
}

fn connections(cells: &WorkerCells, out: &mut Samples) {
    let counters = &cells.connections;
    let held = &cells.held;
    for (name, help, value) in [
        ("ringpost_edge_connections", "Open connections.", held.open),
        ("ringpost_edge_addresses", "Addresses with connections not signed in.", held.addresses),
        ("ringpost_edge_moving", "Connections on their way to another worker.", held.moving),
        (
            "ringpost_edge_arriving",
            "Halves of moved connections whose other half has not come.",
            held.arriving,
        ),
        (
            "ringpost_edge_outboxes_bytes",
            "Bytes of answers that wait to be written.",
            held.outboxes_bytes,
        ),
    ] {
        out.gauge(name, help, &[], value as i64);
    }
    for (fate, count) in [
        ("accepted", counters.accepted),
        ("moved_home", counters.moved_in),
        ("handed_to_rest", counters.handed_over),
        ("lost", counters.lost),
    ] {
        let help = "Connections by what became of them.";
        out.counter("ringpost_edge_connections_fate", help, &[("fate", fate)], count);
    }
    for (reason, count) in [
        ("full", counters.refused_full),
        ("address", counters.refused_address),
        ("garbage", counters.refused_garbage),
        ("upgrade", counters.refused_upgrade),
        ("credentials", counters.refused_credentials),
        ("move", counters.moves_failed),
        ("move_expired", counters.moves_expired),
        ("malformed", counters.malformed),
    ] {
        let help = "Connections and commands that the edge refused, by reason.";
        out.counter("ringpost_edge_refused", help, &[("reason", reason)], count);
    }
    for &code in CloseCode::ALL {
        let help = "Connections closed by the server, by code.";
        let labels = [("code", code.name())];
        out.counter("ringpost_edge_closed", help, &labels, counters.closed.count(code));
    }
    for (name, help, count) in [
        ("ringpost_edge_received_bytes", "Bytes received.", counters.received_bytes),
        ("ringpost_edge_sent_bytes", "Bytes sent.", counters.sent_bytes),
        ("ringpost_edge_commands", "Commands decoded.", counters.commands),
        ("ringpost_edge_events", "Events written to clients.", counters.events),
        ("ringpost_edge_short_sends", "Sends taken only in part.", counters.short_sends),
        (
            "ringpost_edge_input_paused",
            "Times that a client was not read because its answers waited.",
            counters.input_paused,
        ),
        (
            "ringpost_edge_outboxes_full",
            "Times that the answers waiting at a worker passed their limit.",
            counters.outboxes_full,
        ),
    ] {
        out.counter(name, help, &[], count);
    }
}

fn shard(cells: &WorkerCells, out: &mut Samples) {
    let counters = &cells.shard;
    for &code in ErrorCode::ALL {
        let help = "Commands that the shard refused, by code.";
        let count = counters.refused.get(usize::from(code.number())).copied().unwrap_or(0);
        out.counter("ringpost_shard_refused", help, &[("code", code.name())], count);
    }
    for (name, help, count) in [
        ("ringpost_shard_messages", "Durable messages accepted.", counters.sends_accepted),
        (
            "ringpost_shard_duplicates",
            "Repeated sends answered with what was accepted.",
            counters.duplicates_answered,
        ),
        ("ringpost_shard_pushes", "Stored pushes handed to connections.", counters.pushes),
        ("ringpost_shard_acked", "Queue entries acked by devices.", counters.entries_acked),
        ("ringpost_shard_commits", "Records committed.", counters.commits),
        ("ringpost_shard_displacements", "Connections displaced.", counters.displacements),
        ("ringpost_shard_loads", "Users asked of the store.", counters.loads),
        ("ringpost_shard_evictions", "Users let go under the byte cap.", counters.evictions),
        ("ringpost_shard_gaps", "Device queues that overflowed.", counters.gaps),
        ("ringpost_shard_expired", "Queue entries that expired.", counters.entries_expired),
        (
            "ringpost_shard_ephemeral_dropped",
            "Ephemeral messages that found no device or no room.",
            counters.ephemeral_dropped,
        ),
    ] {
        out.counter(name, help, &[], count);
    }
    for (name, help, value) in [
        ("ringpost_shard_sessions", "Signed-in connections.", cells.gauges.sessions),
        ("ringpost_shard_users", "Users resident in memory.", cells.gauges.users),
        ("ringpost_shard_resident_bytes", "Memory of users.", cells.gauges.resident_bytes),
        ("ringpost_shard_in_flight", "Messages not yet durable.", cells.gauges.in_flight),
    ] {
        out.gauge(name, help, &[], value as i64);
    }
}

fn ring(stats: &RingStats, out: &mut Samples) {
    for (name, help, count) in [
        ("ringpost_ring_enters", "Calls of io_uring_enter.", stats.enters),
        ("ringpost_ring_submissions", "Operations submitted.", stats.submissions),
        ("ringpost_ring_completions", "Completions taken.", stats.completions),
        (
            "ringpost_ring_overflows",
            "Times that the completion queue was full.",
            stats.completion_queue_overflows,
        ),
        (
            "ringpost_ring_buffer_starvations",
            "Receives that ended for want of a buffer.",
            stats.buffer_starvations,
        ),
        ("ringpost_ring_re_arms", "Receives armed again.", stats.receive_re_arms),
        ("ringpost_ring_cancelled", "Operations cancelled.", stats.cancelled),
        ("ringpost_ring_wakes", "Wakes sent to other workers.", stats.wakes_sent),
    ] {
        out.counter(name, help, &[], count);
    }
}

/// The numbers of journal and store.
pub(super) struct StorageSource {
    pub(super) journal: JournalHandle,
    pub(super) store: StoreHandle,
}

impl MetricSource for StorageSource {
    fn collect(&self, out: &mut Samples) {
        let journal = self.journal.stats().snapshot();
        for (name, help, count) in [
            ("ringpost_journal_batches", "Group commits.", journal.batches),
            ("ringpost_journal_records", "Records made durable.", journal.records),
            ("ringpost_journal_written_bytes", "Bytes written.", journal.written_bytes),
            ("ringpost_journal_syncs", "Calls of fdatasync.", journal.syncs),
        ] {
            out.counter(name, help, &[], count);
        }
        let store = self.store.stats();
        for (name, help, count) in [
            ("ringpost_store_records", "Records applied.", store.records),
            ("ringpost_store_batches", "Batches applied.", store.batches),
            (
                "ringpost_store_entries_cancelled",
                "Queue entries acked before they reached the store.",
                store.entries_cancelled,
            ),
        ] {
            out.counter(name, help, &[], count);
        }
        let backlog = self.store.backlog_bytes() as i64;
        let help = "Bytes committed and not yet applied.";
        out.gauge("ringpost_store_backlog_bytes", help, &[], backlog);
        let engine = self.store.store().stats();
        let help = "Files of the engine's own log.";
        out.gauge("ringpost_store_engine_journals", help, &[], engine.journal_count as i64);
    }
}
