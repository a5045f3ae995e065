//! Numbers of the process: what it has in memory, beside what it may have.

use std::fs;

use crate::config::MemoryLine;
use crate::metrics::{MetricSource, Samples};
use crate::output;

/// What the kernel says of this process, and the sum that was printed at boot.
pub(in crate::node) struct ProcessSource {
    pub(in crate::node) memory: Vec<MemoryLine>,
}

/// Lines of `/proc/self/status`, and the kinds of memory that they tell.
const KINDS: [(&str, &str); 3] =
    [("RssAnon:", "anonymous"), ("RssFile:", "file"), ("RssShmem:", "shared")];

impl MetricSource for ProcessSource {
    fn collect(&self, out: &mut Samples) {
        let help = "Bytes that a part may take at most, as printed at boot.";
        for line in &self.memory {
            let labels = [("part", line.what)];
            out.gauge("ringpost_process_memory_max_bytes", help, &labels, line.bytes as i64);
        }
        // Without /proc there is nothing to show; all else goes on.
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        for (begin, kind) in KINDS {
            let Some(bytes) = bytes_of(&status, begin) else { continue };
            let help = "Bytes of the process that are resident, by kind.";
            out.gauge("ringpost_process_resident_bytes", help, &[("kind", kind)], bytes);
        }
        let help = "Lines of the log that were lost, because nobody read them.";
        out.counter("ringpost_process_log_lines_lost", help, &[], output::lines_lost());
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            let help = "Open descriptors; connections are none while the ring holds them.";
            out.gauge("ringpost_process_descriptors", help, &[], open.count() as i64);
        }
    }
}

fn bytes_of(status: &str, begin: &str) -> Option<i64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(begin))?;
    let kib: i64 = rest.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::bytes_of;

    #[test]
    fn resident_bytes_are_read_by_name() {
        let status = "VmRSS:\t    300 kB\nRssAnon:\t     200 kB\nRssFile:\t     100 kB\n";
        assert_eq!(bytes_of(status, "RssAnon:"), Some(200 * 1024));
        assert_eq!(bytes_of(status, "RssShmem:"), None);
    }
}
