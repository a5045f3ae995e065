//! The machine: what it is, and how busy others keep it.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// Length of a tick in `/proc/stat`: 100 in a second on every Linux of today (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// What numbers were measured with.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Environment {
    /// Release of the kernel.
    pub(crate) kernel: String,
    /// Processor and how many cores of it.
    pub(crate) processor: String,
    /// Memory, bytes.
    pub(crate) memory_bytes: u64,
    /// Commit of the repository, `-dirty` if it was changed.
    pub(crate) commit: String,
    /// The command line.
    pub(crate) command: String,
    /// Load average of the last minute, before the run.
    pub(crate) load_average: f64,
    /// RLIMIT_NOFILE.
    pub(crate) descriptors_max: u64,
}

impl Environment {
    /// Looks around.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub(crate) fn look() -> anyhow::Result<Self> {
        let info = fs::read_to_string("/proc/cpuinfo")?;
        let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let cores = info.lines().filter(|line| line.starts_with("processor")).count();
        let memory = fs::read_to_string("/proc/meminfo")?;
        let total = memory.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
        let load = fs::read_to_string("/proc/loadavg")?;
        let load = load.split(' ').next().and_then(|load| load.parse().ok());
        let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)?;
        Ok(Self {
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            processor: format!("{cores} x {}", model.map_or("unknown", |(_, model)| model)),
            memory_bytes: total.context("an unknown form of /proc/meminfo")? * 1024,
            commit: commit(),
            command: std::env::args().collect::<Vec<_>>().join(" "),
            load_average: load.context("an unknown form of /proc/loadavg")?,
            descriptors_max: limit.0,
        })
    }
}

fn commit() -> String {
    let output =
        Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=12"]).output();
    let text = output.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    let text = text.and_then(|text| String::from_utf8(text).ok());
    text.map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned())
}

/// Processor time that all processes together have used, interrupts included.
///
/// # Errors
/// When `/proc/stat` has an unknown form.
pub(crate) fn busy_everywhere() -> anyhow::Result<Duration> {
    let text = fs::read_to_string("/proc/stat")?;
    busy_ticks(&text).map(|ticks| TICK * ticks).context("an unknown form of /proc/stat")
}

/// user, nice, system, irq, softirq of the first line; idle, iowait and steal are not work.
fn busy_ticks(text: &str) -> Option<u32> {
    let fields = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let ticks = fields.map(str::parse).collect::<Result<Vec<u32>, _>>().ok()?;
    Some(ticks.first()? + ticks.get(1)? + ticks.get(2)? + ticks.get(5)? + ticks.get(6)?)
}

#[cfg(test)]
mod tests {
    use super::busy_ticks;

    #[test]
    fn idle_time_is_not_work() {
        assert_eq!(busy_ticks("cpu  1 2 3 400 50 6 7 800 0 0\ncpu0 1"), Some(19));
        assert_eq!(busy_ticks("intr 5"), None);
    }
}
