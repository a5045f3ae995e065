//! `disk`: what durability costs at least here: a write and an fdatasync into a file that was
//! written before, as a journal's segments are. What `sent` takes above it is the server's.
//!
//! One batch after another, or by a schedule: then messages come at their times, those that are there
//! share a batch, and each has waited since its time. Nobody who syncs before saying `sent` can answer
//! the same messages earlier.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::Instant;

use anyhow::{Context, ensure};

use crate::arrival::Schedule;
use crate::latency::Histogram;
use crate::measure::Environment;
use crate::progress::Progress;
use crate::report::Run;

/// Length of the file that is written round and round.
const FILE_BYTES: u64 = 64 << 20;
/// A batch is a multiple of it, as direct I/O wants.
const BLOCK_BYTES: usize = 4_096;

/// The shape of the writes.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    /// Of one write.
    pub(crate) bytes: usize,
    /// How many; with a rate, how many messages.
    pub(crate) batches: u64,
    /// Messages in a second; the open loop.
    pub(crate) rate: Option<u64>,
}

/// Runs it in the folder where servers keep their files.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn run(shape: &Shape) -> anyhow::Result<Run> {
    let Shape { bytes, batches, rate } = shape;
    ensure!(
        *bytes > 0 && bytes.is_multiple_of(BLOCK_BYTES) && *bytes as u64 <= FILE_BYTES,
        "a batch is a multiple of {BLOCK_BYTES} bytes, up to {FILE_BYTES}"
    );
    let environment = Environment::look()?;
    let folder = std::env::current_dir()?.join("target/bench");
    std::fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{}-disk", std::process::id()));
    let outcome = measure(&path, shape);
    // What cannot be removed is in the target folder, where `cargo clean` finds it.
    let _ = std::fs::remove_file(&path);
    let (histogram, seconds) = outcome?;
    let words = match rate {
        None => format!("{batches} batches of {bytes} B, each written and synced"),
        Some(rate) => {
            format!("{batches} messages, {rate} messages/s, synced in batches of {bytes} B")
        }
    };
    Ok(Run {
        scenario: "disk".to_owned(),
        peer: "floor".to_owned(),
        promise: "durable".to_owned(),
        shape: words,
        messages: *batches,
        messages_per_second: Some(*batches as f64 / seconds),
        latency: Some(histogram.latency()),
        environment,
        ..Run::default()
    })
}

fn measure(path: &std::path::Path, shape: &Shape) -> anyhow::Result<(Histogram, f64)> {
    let what = || format!("cannot write {}", path.display());
    let file = File::create(path).with_context(what)?;
    let batch = vec![0xa5; shape.bytes];
    let places = FILE_BYTES / shape.bytes as u64;
    for place in 0..places {
        file.write_all_at(&batch, place * shape.bytes as u64).with_context(what)?;
    }
    file.sync_all().with_context(what)?;
    let mut number = 0;
    let mut sync = || {
        number += 1;
        file.write_all_at(&batch, number % places * shape.bytes as u64).with_context(what)?;
        file.sync_data().with_context(what)
    };
    let begun = Instant::now();
    let histogram = match shape.rate {
        None => one_after_another(shape.batches, &mut sync)?,
        Some(rate) => by_schedule(rate, shape.batches, &mut sync)?,
    };
    Ok((histogram, begun.elapsed().as_secs_f64()))
}

fn one_after_another(
    batches: u64,
    sync: &mut impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Histogram> {
    let mut progress = Progress::new("batches", batches);
    let mut histogram = Histogram::new();
    for number in 0..batches {
        let start = Instant::now();
        sync()?;
        histogram.record(start.elapsed().as_nanos() as u64);
        progress.at(number + 1);
    }
    Ok(histogram)
}

fn by_schedule(
    rate: u64,
    messages: u64,
    sync: &mut impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Histogram> {
    let mut progress = Progress::new("messages", messages);
    let mut histogram = Histogram::new();
    let mut synced = 0;
    let begun = Instant::now();
    let now_ns = || begun.elapsed().as_nanos() as u64;
    let mut schedule = Schedule::new(rate, messages, now_ns());
    let mut batch = Vec::new();
    while let Some(wait) = schedule.wait(now_ns()) {
        thread::sleep(wait);
        let now = now_ns();
        batch.extend(std::iter::from_fn(|| schedule.due(now)));
        sync()?;
        let now = now_ns();
        synced += batch.len() as u64;
        batch.drain(..).for_each(|intended| histogram.record(now - intended));
        progress.at(synced);
    }
    Ok(histogram)
}

#[cfg(test)]
mod tests {
    use super::{Shape, run};

    #[test]
    fn a_batch_that_no_journal_would_write_is_refused() {
        for bytes in [0, 100, 4_097, 128 << 20] {
            assert!(run(&Shape { bytes, batches: 1, rate: None }).is_err(), "{bytes}");
        }
    }
}
