//! Numbers of the journal and the store.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use ringpost_journal::{JournalHandle, Refused, SYNC_BUCKETS_US, StatsSnapshot};
use ringpost_store::Store;
use ringpost_store::store::StoreStats;
use ringpost_store::thread::{StoreHandle, ThreadStats};
use tokio::sync::watch;

use crate::metrics::{MetricSource, Samples};
use crate::set_aside::SetAside;

/// The numbers of journal and store.
pub(in crate::node) struct StorageSource {
    pub(in crate::node) journal: JournalHandle,
    pub(in crate::node) store: StoreHandle,
    pub(in crate::node) engine: Arc<EngineCells>,
    pub(in crate::node) set_aside: Arc<OnceLock<SetAside>>,
}

/// Time between two looks at the engine.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the engine counted when it was last looked at. Its own numbers stand behind locks that it holds
/// while it writes, so a disk that does not answer would keep every scrape.
#[derive(Debug, Default)]
pub(in crate::node) struct EngineCells(Mutex<StoreStats>);

impl EngineCells {
    /// Looks, each time on a thread that may block, until `stop` turns true.
    pub(in crate::node) async fn watch(
        self: Arc<Self>,
        store: Arc<dyn Store>,
        mut stop: watch::Receiver<bool>,
    ) {
        // Ends: with REST. A round is one look.
        loop {
            let store = Arc::clone(&store);
            if let Ok(stats) = tokio::task::spawn_blocking(move || store.stats()).await {
                *self.0.lock().unwrap_or_else(PoisonError::into_inner) = stats;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }
}

impl MetricSource for StorageSource {
    fn collect(&self, out: &mut Samples) {
        journal(&self.journal.stats().snapshot(), out);
        store(&self.store.stats(), out);
        let set_aside = self.set_aside.get().map_or(0, SetAside::len);
        let help = "Records that brought the server down and are kept out of the store.";
        out.gauge("ringpost_store_records_set_aside", help, &[], set_aside as i64);
        let stats = *self.engine.0.lock().unwrap_or_else(PoisonError::into_inner);
        let help = "Commits that had to wait for write buffers to be flushed.";
        out.counter("ringpost_store_commits_held", help, &[], stats.commits_held);
        engine(&stats, out);
    }
}

/// Upper bounds of the journal's sync times, seconds.
const SYNC_BUCKETS_S: [f64; SYNC_BUCKETS_US.len()] = {
    let mut bounds = [0.0; SYNC_BUCKETS_US.len()];
    let mut index = 0;
    while index < bounds.len() {
        bounds[index] = SYNC_BUCKETS_US[index] as f64 / 1e6;
        index += 1;
    }
    bounds
};

fn journal(stats: &StatsSnapshot, out: &mut Samples) {
    plain_journal(stats, out);
    // A record is copied once, into the batch that is written.
    let labels = [("place", "journal")];
    out.counter(super::COPIES, super::COPIES_HELP, &labels, stats.record_bytes);
    for reason in Refused::ALL {
        let help = "Reservations and batches that the journal refused, by reason.";
        let labels = [("reason", reason.label())];
        out.counter("ringpost_journal_refused", help, &labels, stats.refused[reason.index()]);
    }
    for (state, count) in [("live", stats.segments_live), ("spare", stats.segments_spare)] {
        let help = "Segments by what they hold: records, or nothing yet.";
        out.gauge("ringpost_journal_segments", help, &[("state", state)], count as i64);
    }
    let help = "Bytes of all segment files.";
    out.gauge("ringpost_journal_disk_bytes", help, &[], stats.disk_bytes as i64);
    let (name, help) = ("ringpost_journal_sync_seconds", "Time of one fdatasync.");
    let counts = (&stats.sync_buckets[..], stats.sync_time);
    out.durations(name, help, &[], &SYNC_BUCKETS_S, counts);
}

shows! {
    plain_journal: counter of StatsSnapshot {
        batches => "ringpost_journal_batches", "Group commits.";
        records => "ringpost_journal_records", "Records made durable.";
        record_bytes => "ringpost_journal_record_bytes", "Bytes of these records.";
        written_bytes => "ringpost_journal_written_bytes", "Bytes written for them.";
        syncs => "ringpost_journal_syncs", "Calls of fdatasync.";
        segments_prepared => "ringpost_journal_segments_prepared", "Segments created.";
        segments_taken => "ringpost_journal_segments_taken", "Segments put to use.";
        prepare_failures => "ringpost_journal_prepare_failures", "Segments not created.";
    }
    elsewhere {
        sync_time, sync_buckets, segments_live, segments_spare, disk_bytes, refused
    }
}

shows! {
    engine: gauge of StoreStats {
        journal_count => "ringpost_store_engine_journals", "Files of the engine's own log.";
        disk_bytes => "ringpost_store_disk_bytes", "Bytes of all files of the engine.";
        write_buffer_bytes => "ringpost_store_write_buffer_bytes",
            "Bytes of rows that are written and not yet flushed.";
        cache_bytes => "ringpost_store_cache_bytes", "Bytes of blocks read and kept.";
        index_bytes => "ringpost_store_index_bytes",
            "Bytes of indexes and filters of files that stay in memory beside the cache.";
    }
    elsewhere { commits_held, flushes_outstanding, compactions_active }
}

fn store(stats: &ThreadStats, out: &mut Samples) {
    plain_store(stats, out);
    for (outcome, count) in [
        ("answered", stats.reads),
        ("refused", stats.reads_refused),
        ("timed_out", stats.reads_timed_out),
        ("failed", stats.reads_failed),
    ] {
        let help = "Reads by how they ended.";
        out.counter("ringpost_store_reads", help, &[("outcome", outcome)], count);
    }
    for (name, help, value) in [
        ("ringpost_store_reads_queued", "Reads that wait.", stats.reads_queued),
        (
            "ringpost_store_suspended",
            "Whether the store takes no writes now.",
            stats.is_suspended.into(),
        ),
        (
            "ringpost_store_backlog_bytes",
            "Bytes committed and not yet applied.",
            stats.backlog_bytes,
        ),
    ] {
        out.gauge(name, help, &[], value as i64);
    }
}

shows! {
    plain_store: counter of ThreadStats {
        records => "ringpost_store_records", "Records applied.";
        batches => "ringpost_store_batches", "Batches applied.";
        entries_cancelled => "ringpost_store_entries_cancelled",
            "Queue entries acked before they reached the store.";
        kicks => "ringpost_store_kicks", "Batches asked for before they were full.";
        persists => "ringpost_store_persists", "Checkpoints.";
        retries => "ringpost_store_retries", "Writes repeated because the store was down.";
        suspensions => "ringpost_store_suspensions",
            "Times that the store took no writes and was opened again.";
        submits_held => "ringpost_store_submits_held", "Times that the applier had no room.";
    }
    elsewhere {
        is_suspended, reads, reads_refused, reads_timed_out, reads_failed, reads_queued, backlog_bytes
    }
}
