//! Numbers of workers, journal and store for `/metrics`, from snapshots: a scrape stops nobody.
//!
//! Each part is taken apart field by field, so that a counter which is not shown does not compile.

/// Defines a function that shows the fields of a part, each as a counter or a gauge without labels.
/// Fields that are shown otherwise, or by another part, stand under `elsewhere`.
macro_rules! shows {
    (
        $function:ident: $kind:ident of $part:ident
        { $($field:ident => $name:literal, $help:literal;)* }
        elsewhere { $($other:ident),* }
    ) => {
        fn $function(part: &$part, out: &mut Samples) {
            let &$part { $($field,)* $($other: _,)* } = part;
            $(out.$kind($name, $help, &[], $field as _);)*
        }
    };
}

mod edge;
mod process;
mod ring;
mod shard;
mod storage;

use std::sync::{Arc, Mutex, PoisonError};

use ringpost_conn::counters::{ConnectionCounters, ConnectionGauges};
use ringpost_conn::{Ledger, Worker};
use ringpost_ring::{RingSet, RingStats, Rings};
use ringpost_shard::counters::{Counters, Gauges};
use ringpost_shard::durations::BOUNDS_S;

pub(super) use self::process::ProcessSource;
pub(super) use self::storage::{EngineCells, StorageSource};
use crate::metrics::{MetricSource, Samples};

/// The ledger of copies: workers and journal fill it.
const COPIES: &str = "ringpost_copies_bytes";
const COPIES_HELP: &str = "Bytes copied on a message's way, by place.";

/// What a worker last published.
#[derive(Clone, Debug, Default)]
pub(super) struct WorkerCells {
    held: ConnectionGauges,
    ledger: Ledger,
    connections: ConnectionCounters,
    shard: Counters,
    gauges: Gauges,
    ring: RingStats,
}

impl WorkerCells {
    pub(super) fn read(worker: &Worker, rings: &RingSet) -> Self {
        Self {
            held: worker.gauges(),
            ledger: worker.ledger(),
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
            // Copied out, so that a worker which publishes meanwhile finds the cells free.
            let cells = cells.lock().unwrap_or_else(PoisonError::into_inner).clone();
            edge::collect(&cells.held, &cells.connections, out);
            edge::ledger(&cells.ledger, out);
            shard::collect(&cells.shard, &cells.gauges, out);
            ring::collect(&cells.ring, out);
            copies(&cells, out);
            stages(&cells, out);
        }
    }
}

/// What was copied on a message's way, as it is. JSON is written anew, which is no copy.
fn copies(cells: &WorkerCells, out: &mut Samples) {
    for (place, bytes) in [
        ("frame", cells.connections.assembled_bytes),
        ("message", cells.shard.copied_bytes),
        ("send", cells.connections.gathered_bytes),
    ] {
        out.counter(COPIES, COPIES_HELP, &[("place", place)], bytes);
    }
}

/// How long each stage of a message's way took. Each is counted where it ends.
fn stages(cells: &WorkerCells, out: &mut Samples) {
    for (stage, durations) in [
        ("receive", &cells.connections.receive),
        ("decode", &cells.connections.decode),
        ("route", &cells.shard.route),
        ("commit", &cells.connections.commit),
        ("enqueue", &cells.shard.enqueue),
        ("send", &cells.connections.send),
        ("device_ack", &cells.shard.device_ack),
    ] {
        let help = "Time of one stage of a message's way.";
        let counts = (&durations.buckets[..], durations.sum);
        let labels = [("stage", stage)];
        out.durations("ringpost_edge_stage_seconds", help, &labels, &BOUNDS_S, counts);
    }
}
