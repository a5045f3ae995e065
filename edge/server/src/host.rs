//! What the host grants this process: cores, memory, and how many files it may have open.
//!
//! Owns reading them from the kernel's files; the parsers are pure. A limit of any cgroup above
//! the process counts, so the smallest wins (cgroup v2 `memory.max`, v1
//! `memory.limit_in_bytes`; Documentation/admin-guide/cgroup-v2.rst).

use std::path::{Path, PathBuf};

use crate::rlimits;

/// Where cgroup v2, or the memory controller of v1, is mounted by convention.
const CGROUP_ROOTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/memory"];

/// Memory that the process may use, and who says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostMemory {
    /// Bytes.
    pub bytes: u64,
    /// `true`: a cgroup's limit; `false`: all the machine has.
    pub by_cgroup: bool,
}

impl std::fmt::Display for HostMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let whose = if self.by_cgroup { "the cgroup's limit" } else { "the machine's memory" };
        write!(f, "{} ({whose})", crate::config::quantity::size_rounded(self.bytes))
    }
}

/// What limits are computed for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Host {
    /// Cores that the process may use, at least 1.
    pub cores: u16,
    /// Memory that it may use; `None` where the kernel does not say.
    pub memory: Option<HostMemory>,
    /// Files that it may have open (RLIMIT_NOFILE), which is also what a ring's table may hold.
    pub files_max: u32,
}

impl Host {
    /// What this process is granted now.
    pub fn of_this_process() -> Self {
        Self { cores: cores(), memory: memory(), files_max: files_max() }
    }
}

fn files_max() -> u32 {
    let files = rlimits::granted(nix::sys::resource::Resource::RLIMIT_NOFILE);
    files.try_into().unwrap_or(u32::MAX)
}

/// Cores that the process may use: affinity mask and cgroup quota, at least 1.
fn cores() -> u16 {
    // The standard library heeds sched_getaffinity and the CPU quota of cgroup v1 and v2.
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    cores.try_into().unwrap_or(u16::MAX)
}

/// Memory that the process may use; `None` where the kernel does not say.
fn memory() -> Option<HostMemory> {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let total = read(Path::new("/proc/meminfo")).and_then(|text| mem_total(&text));
    let group = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let limit = limit_files(&group).iter().filter_map(|path| limit_of(&read(path)?)).min();
    match (total, limit) {
        (Some(total), Some(limit)) if limit >= total => {
            Some(HostMemory { bytes: total, by_cgroup: false })
        }
        (_, Some(limit)) => Some(HostMemory { bytes: limit, by_cgroup: true }),
        (Some(total), None) => Some(HostMemory { bytes: total, by_cgroup: false }),
        (None, None) => None,
    }
}

/// Bytes in the `MemTotal` line of `/proc/meminfo`.
fn mem_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Every file that may hold a limit for a process of these groups (`/proc/self/cgroup`): its own
/// group's and those of all groups above.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        // hierarchy:controllers:path; v2 has no controllers.
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, name) = if controllers.is_empty() {
            (CGROUP_ROOTS[0], "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            (CGROUP_ROOTS[1], "memory.limit_in_bytes")
        } else {
            continue;
        };
        let group = Path::new(path.trim_start_matches('/'));
        for above in group.ancestors() {
            files.push(Path::new(root).join(above).join(name));
        }
    }
    files
}

/// The limit in a file's text; `max`, and the huge number that v1 writes for it, are none.
fn limit_of(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|&bytes: &u64| bytes < 1 << 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn total_memory_is_read_from_meminfo() {
        let text = "MemFree: 1 kB\nMemTotal:       24576000 kB\n";
        assert_eq!(mem_total(text), Some(24_576_000 * 1024));
        assert_eq!(mem_total("MemTotal: lots"), None);
    }

    #[test]
    fn the_limits_of_all_groups_above_are_asked() {
        let files = limit_files("0::/a/b\n");
        let names: Vec<_> = files.iter().map(|path| path.to_str().expect("ascii")).collect();
        assert_eq!(
            names,
            [
                "/sys/fs/cgroup/a/b/memory.max",
                "/sys/fs/cgroup/a/memory.max",
                "/sys/fs/cgroup/memory.max"
            ]
        );
        let files = limit_files("5:cpu,memory:/x\n3:pids:/x\n");
        assert_eq!(files[0], Path::new("/sys/fs/cgroup/memory/x/memory.limit_in_bytes"));
        assert_eq!(files.len(), 2);
    }

    #[test]
    fn no_limit_is_not_a_limit() {
        assert_eq!(limit_of("max\n"), None);
        assert_eq!(limit_of("9223372036854771712\n"), None);
        assert_eq!(limit_of("536870912\n"), Some(512 << 20));
    }

    #[test]
    fn this_host_grants_at_least_one_core_some_memory_and_some_files() {
        let host = Host::of_this_process();
        assert!(host.cores >= 1 && host.files_max > 0);
        assert!(host.memory.is_some_and(|memory| memory.bytes > 0));
    }
}
