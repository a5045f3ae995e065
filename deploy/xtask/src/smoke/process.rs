//! What the kernel says of a process and of the machine, out of `/proc`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};

/// Length of a tick in `/proc/PID/stat`: 100 in a second on every Linux of today (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// Memory of the process that is resident and its own, not the page cache's, bytes.
pub(super) fn resident_bytes(process: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let kib = status.lines().find_map(|line| {
        line.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    Ok(kib.context("no RssAnon in /proc/PID/status")? * 1024)
}

/// Processor time that all threads of the process have used, in the kernel and outside.
pub(super) fn processor_time(process: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    ticks(&stat).map(|ticks| TICK * ticks).context("an unknown form of /proc/PID/stat")
}

/// utime and stime, the 14th and 15th fields. The second field is a name in parentheses and may
/// hold blanks.
fn ticks(stat: &str) -> Option<u32> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u32>().ok();
    Some(next()? + next()?)
}

/// The commit, kernel and processor that numbers were measured with.
pub(super) fn measured_with(repository: &Path) -> anyhow::Result<String> {
    let output = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=12"])
        .current_dir(repository)
        .output()?;
    ensure!(output.status.success(), "`git describe` ended with {}", output.status);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let cores = std::thread::available_parallelism()?;
    let info = fs::read_to_string("/proc/cpuinfo")?;
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, model)| model);
    let load = fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    Ok(format!(
        "commit {}, Linux {}, {cores} cores of {model}, load average before {load}",
        String::from_utf8(output.stdout)?.trim(),
        kernel.trim(),
    ))
}

#[cfg(test)]
mod tests {
    use super::ticks;

    #[test]
    fn the_name_of_a_process_may_hold_blanks_and_parentheses() {
        let stat = "7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 230 45 0 0";
        assert_eq!(ticks(stat), Some(275));
    }
}
