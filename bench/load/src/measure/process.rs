//! What the kernel says of one process.

use std::fs;
use std::time::Duration;

use anyhow::Context;

/// Processor time of all threads that live, out of `schedstat` (nanoseconds; the ticks of `stat`
/// are too coarse for short runs). Threads that have ended are not in it: servers keep theirs.
///
/// # Errors
/// When the process is gone.
pub(crate) fn processor_time(process: u32) -> anyhow::Result<Duration> {
    let mut sum = Duration::ZERO;
    let threads = fs::read_dir(format!("/proc/{process}/task"))
        .with_context(|| format!("process {process} is gone"))?;
    for thread in threads {
        // A thread may end between the listing and the reading.
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        let first = text.split_whitespace().next().context("an empty schedstat")?;
        sum += Duration::from_nanos(first.parse()?);
    }
    Ok(sum)
}

/// Memory of the process that is resident and its own, bytes.
///
/// # Errors
/// When the process is gone.
pub(crate) fn resident_bytes(process: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let kib = status.lines().find_map(|line| {
        line.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    Ok(kib.context("no RssAnon in /proc/PID/status")? * 1024)
}

/// Descriptors that the process has open.
///
/// # Errors
/// When the process is gone.
pub(crate) fn descriptors(process: u32) -> anyhow::Result<u64> {
    Ok(fs::read_dir(format!("/proc/{process}/fd"))?.count() as u64)
}
