//! `disk`: what durability costs at least here: a write and an fdatasync into a file that was
//! written before, as a journal's segments are. What `sent` takes above it is the server's.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use anyhow::{Context, ensure};

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
    /// How many.
    pub(crate) batches: u64,
}

/// Runs it in the folder where servers keep their files.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn run(shape: &Shape) -> anyhow::Result<Run> {
    let Shape { bytes, batches } = shape;
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
    Ok(Run {
        scenario: "disk".to_owned(),
        peer: "floor".to_owned(),
        promise: "durable".to_owned(),
        shape: format!("{batches} batches of {bytes} B, each written and synced"),
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
    let mut progress = Progress::new("batches", shape.batches);
    let mut histogram = Histogram::new();
    let begun = Instant::now();
    for number in 0..shape.batches {
        let start = Instant::now();
        file.write_all_at(&batch, number % places * shape.bytes as u64).with_context(what)?;
        file.sync_data().with_context(what)?;
        histogram.record(start.elapsed().as_nanos() as u64);
        progress.at(number + 1);
    }
    Ok((histogram, begun.elapsed().as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::{Shape, run};

    #[test]
    fn a_batch_that_no_journal_would_write_is_refused() {
        for bytes in [0, 100, 4_097, 128 << 20] {
            assert!(run(&Shape { bytes, batches: 1 }).is_err(), "{bytes}");
        }
    }
}
