//! The kernel's memory for objects, out of `/proc/slabinfo`.
//!
//! Names of caches lie (several are merged), so all caches are summed and two sums are compared.
//! Whole pages count, also those that are only partly used: that is what a connection takes.

use std::fs;

use anyhow::{Context, ensure};

/// Caches that have nothing to do with connections and move by themselves.
const APART: &[&str] = &["inode_cache", "proc_inode_cache", "buffer_head", "radix_tree"];
const PAGE_BYTES: u64 = 4_096;

/// Bytes of all slabs together; needs root.
///
/// # Errors
/// When the file cannot be read or has another form than version 2.1.
pub(crate) fn slab_bytes() -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/slabinfo").context("/proc/slabinfo needs root")?;
    ensure!(text.starts_with("slabinfo - version: 2.1"), "an unknown version of slabinfo");
    text.lines().skip(2).map(line_bytes).sum()
}

fn line_bytes(line: &str) -> anyhow::Result<u64> {
    let fields = line.split_whitespace().collect::<Vec<_>>();
    let number = |at: usize| {
        let field = fields.get(at).with_context(|| format!("a short line of slabinfo: {line}"))?;
        field.parse::<u64>().with_context(|| format!("a line of slabinfo: {line}"))
    };
    // name, active, objects, bytes, per slab, pages per slab, ":" tunables x4, ":" slabdata,
    // active slabs, slabs
    if fields.first().is_some_and(|name| APART.contains(name)) {
        return Ok(0);
    }
    Ok(number(14)? * number(5)? * PAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::line_bytes;

    #[test]
    fn whole_slabs_count() {
        let line = "TCP 26 26 2368 13 8 : tunables 0 0 0 : slabdata 2 2 0";
        assert_eq!(line_bytes(line).unwrap(), 2 * 8 * 4096);
        assert_eq!(
            line_bytes("buffer_head 1 1 104 39 1 : tunables 0 0 0 : slabdata 1 1 0").unwrap(),
            0
        );
        assert!(line_bytes("TCP 26").is_err());
    }
}
