//! What the kernel lets this process have (`setrlimit`), against what the server needs.
//!
//! Owns raising what may be raised, and one refusal for each limit that is too low: what it is, what is
//! needed and for what, and what to do. Found at the start, because later it is a write that fails in
//! the middle of a file, or a library that panics. How much memory may be locked is asked only once
//! the kernel has refused some: which kernel counts what is its own affair.

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

use crate::config::quantity::size_rounded;
use crate::config::{Config, Limits};
use crate::exit::{Failure, Kind};
use ringpost_store::engine::{FILE_BYTES_MAX, FILES_MIN};

/// Files beside what is reckoned below: runtime, log, lock, journal, what the store keeps open.
const FILES_BASE: u64 = 64;

/// Files of a worker beside its rings: what wakes it, what it listens on is reckoned apart.
const FILES_OF_WORKER: u64 = 8;

/// Files of a ring: itself, and what hands its connections on.
const FILES_OF_RING: u64 = 2;

/// Memory that the journal's direct I/O locks: its buffer of 1 MiB and three small rings.
const JOURNAL_LOCKED_BYTES: u64 = 2 << 20;

/// A limit that the server cannot live with.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{name} is {granted}, but {needed} are needed ({why}): raise it, by `ulimit {flag}` or systemd's \
     {setting}="
)]
pub struct TooLow {
    name: &'static str,
    granted: String,
    needed: String,
    why: String,
    flag: &'static str,
    setting: &'static str,
}

/// Lets this process have what it may allow itself: many systems start a service with 1,024 files and
/// let it have half a million.
pub fn raise() {
    for resource in [Resource::RLIMIT_NOFILE, Resource::RLIMIT_FSIZE, Resource::RLIMIT_MEMLOCK] {
        let raised = getrlimit(resource).and_then(|(_, hard)| setrlimit(resource, hard, hard));
        if let Err(error) = raised {
            tracing::warn!(?resource, %error, "a limit of this process could not be raised");
        }
    }
}

/// The limit in force. It fails for no resource that exists.
pub(crate) fn granted(resource: Resource) -> u64 {
    getrlimit(resource).map_or(RLIM_INFINITY, |(soft, _)| soft)
}

/// Files without which there is no server, however idle.
pub(crate) fn files_needed(config: &Config, workers: u16, rings: u32) -> u64 {
    let each = FILES_OF_WORKER + FILES_OF_RING * u64::from(rings) + config.listen.len() as u64;
    FILES_BASE + u64::from(workers) * each + FILES_MIN as u64
}

/// Files that REST and operators may take at their limits.
pub(crate) fn files_of_rest(config: &Config) -> u64 {
    u64::from(config.rest.connections_max) + crate::admin::CONNECTIONS_MAX as u64
}

/// Holds the limits of this process against what the server needs; warns of what it can live with.
///
/// # Errors
/// The first limit under which it cannot run.
pub fn check(config: &Config, limits: &Limits) -> Result<(), Failure> {
    let (files, file_bytes) = (granted(Resource::RLIMIT_NOFILE), granted(Resource::RLIMIT_FSIZE));
    judge_files(config, limits, files)
        .and_then(|()| judge_file_bytes(config, file_bytes))
        .map_err(|error| Failure::new(Kind::Host, error))
}

fn judge_files(config: &Config, limits: &Limits, granted: u64) -> Result<(), TooLow> {
    let needed = files_needed(config, limits.workers, limits.rings.rings);
    let too_low = |needed: u64, why: String| TooLow {
        name: "RLIMIT_NOFILE",
        granted: granted.to_string(),
        needed: needed.to_string(),
        why,
        flag: "-n",
        setting: "LimitNOFILE",
    };
    if granted < needed {
        let why = format!("{} workers, the journal and the store", limits.workers);
        return Err(too_low(needed, why));
    }
    let wanted = needed + files_of_rest(config);
    if granted < wanted {
        let spare = granted - needed;
        let why = format!(
            "rest.connections_max and the admin port; with {spare} left for them, more \
                           are refused"
        );
        tracing::warn!("{}", too_low(wanted, why));
    }
    Ok(())
}

fn judge_file_bytes(config: &Config, granted: u64) -> Result<(), TooLow> {
    let needed = config.journal.segment_bytes.max(FILE_BYTES_MAX);
    if granted >= needed {
        return Ok(());
    }
    Err(TooLow {
        name: "RLIMIT_FSIZE",
        granted: size_rounded(granted),
        needed: size_rounded(needed),
        why: "for one file of the journal or the store".to_owned(),
        flag: "-f unlimited",
        setting: "LimitFSIZE",
    })
}

/// A refusal of memory by the kernel, with the limit on what may be locked if that can be why.
pub fn explain_memory(error: anyhow::Error, limits: &Limits) -> anyhow::Error {
    let granted = granted(Resource::RLIMIT_MEMLOCK);
    let rings = limits.ring.queues_bytes_max(limits.rings);
    let needed = u64::from(limits.workers) * rings + JOURNAL_LOCKED_BYTES;
    if granted >= needed {
        return error;
    }
    let too_low = TooLow {
        name: "RLIMIT_MEMLOCK",
        granted: size_rounded(granted),
        needed: size_rounded(needed),
        why: format!("the rings of {} workers and the journal", limits.workers),
        flag: "-l",
        setting: "LimitMEMLOCK",
    };
    error.context(too_low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Host;

    fn limits(config: &Config, files_max: u32) -> Limits {
        Limits::compute(config, &Host { cores: 2, memory: None, files_max }).unwrap()
    }

    #[test]
    fn too_few_files_are_refused_with_limit_need_and_remedy() {
        let config = Config::default();
        let limits = limits(&config, 64);
        let needed = files_needed(&config, 2, limits.rings.rings);
        let text = judge_files(&config, &limits, needed - 1).unwrap_err().to_string();
        let expected = format!("RLIMIT_NOFILE is {}, but {needed} are needed", needed - 1);
        assert!(text.starts_with(&expected), "{text}");
        assert!(text.contains("`ulimit -n`") && text.contains("LimitNOFILE="), "{text}");
        assert_eq!(judge_files(&config, &limits, needed), Ok(()));
    }

    #[test]
    fn a_file_that_may_not_be_large_enough_is_refused() {
        let mut config = Config::default();
        assert_eq!(judge_file_bytes(&config, FILE_BYTES_MAX), Ok(()));
        assert_eq!(judge_file_bytes(&config, u64::MAX), Ok(()));
        let text = judge_file_bytes(&config, FILE_BYTES_MAX - 1).unwrap_err().to_string();
        assert!(text.starts_with("RLIMIT_FSIZE is"), "{text}");
        assert!(text.contains("LimitFSIZE="), "{text}");
        config.journal.segment_bytes = 1 << 30;
        let text = judge_file_bytes(&config, FILE_BYTES_MAX).unwrap_err().to_string();
        assert!(text.contains("1 GiB are needed"), "{text}");
    }

    /// What the parts take at their limits fits what there is, wherever that is enough at all.
    #[test]
    fn the_store_takes_no_files_that_others_need() {
        let config = Config::default();
        for files_max in [200, 1_000, 1_400, 4_096, 1 << 20] {
            let limits = limits(&config, files_max);
            let store = limits.store.files_max as u64;
            assert!((FILES_MIN as u64..=900).contains(&store), "{store}");
            let others = files_needed(&config, 2, limits.rings.rings) - FILES_MIN as u64;
            let is_least = store == FILES_MIN as u64;
            assert!(
                is_least || store + others + files_of_rest(&config) <= u64::from(files_max),
                "{files_max}: {store}"
            );
        }
    }
}
