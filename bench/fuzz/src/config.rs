//! The configuration: a file, the environment and flags, from a good operator to a confused one.

use std::io::Write;
use std::path::Path;

use ringpost_server::config::{Limits, Loaded, Sources, check, load, values};
use ringpost_server::host::{Host, HostMemory};
use ringpost_shard::ShardLimits;
use tempfile::NamedTempFile;

/// A host on which the largest configuration fits.
const HOST: HostMemory = HostMemory { bytes: u64::MAX, by_cgroup: false };

/// Lines of the environment and flags that count: each is tried against all keys.
const LINES_MAX: usize = 32;

/// Up to a NUL a file, behind it lines `KEY=VALUE`: those that begin with `RINGPOST_` are the
/// environment's, the others flags.
///
/// # Panics
/// Where a promise is broken.
pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (file_text, lines) = text.split_once('\0').unwrap_or((text, ""));
    let pairs = lines.lines().take(LINES_MAX).filter_map(|line| line.split_once('='));
    let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
    // The file is named here, and no other is to be read.
    let pairs = pairs.filter(|(key, _)| key != "RINGPOST_CONFIG");
    let (environment, flags) = pairs.partition(|(key, _)| key.starts_with("RINGPOST_"));
    let mut file = NamedTempFile::new().expect("a temporary file");
    file.write_all(file_text.as_bytes()).expect("written");
    let sources = Sources { file: Some(file.path().to_owned()), environment, flags };
    match load(&sources) {
        Ok(loaded) => accepted(&loaded, file.path()),
        Err(error) => assert!(!error.to_string().is_empty(), "a refusal says why"),
    }
}

fn accepted(loaded: &Loaded, scratch: &Path) {
    written_down_it_reads_the_same(loaded, scratch);
    if let Err(error) = check(loaded) {
        assert!(!error.to_string().is_empty(), "a refusal says why");
        return;
    }
    for cores in [1, 7, 256] {
        let host = Host { cores, memory: Some(HOST), files_max: 20_000 };
        let Ok(limits) = Limits::compute(&loaded.config, &host) else { continue };
        assert_eq!(ShardLimits::check(&limits.shard), Ok(()), "what passes can be built");
        ringpost_journal::Limits::new(&limits.journal).expect("what passes can be built");
        let sum = limits.memory.iter().map(|line| u128::from(line.bytes)).sum::<u128>();
        assert!(sum > 0 && sum < u64::MAX.into(), "the printed sum is one");
    }
}

fn written_down_it_reads_the_same(loaded: &Loaded, scratch: &Path) {
    let lines = values(&loaded.config).into_iter().map(|(key, value)| format!("{key} = {value}\n"));
    std::fs::write(scratch, lines.collect::<String>()).expect("written");
    let again = load(&Sources { file: Some(scratch.to_owned()), ..Sources::default() });
    assert_eq!(again.expect("what was written down is accepted").config, loaded.config);
}
