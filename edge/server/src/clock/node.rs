//! The date of the node, for every thread that is no worker: REST, token checks, operators.
//!
//! Owns a trust of its own over the machine's clocks; each worker has another, so that no worker
//! waits for this one's lock. All begin with the same agreed moment and follow the same rule.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ringpost_shard::stamp::stamped_ms;
use ringpost_shard::{ClockTrust, Now};
use ringpost_wire::ServerId;

use super::MachineClock;
use super::agreed::AgreedFile;

/// The node's date.
#[derive(Debug)]
pub struct NodeClock {
    machine: MachineClock,
    trust: Mutex<ClockTrust>,
    /// As the node started: what the trust of each worker begins with.
    at_boot: ClockTrust,
    file: AgreedFile,
}

impl NodeClock {
    /// The date of a node that starts: it must agree with what `data_dir` remembers, or else with
    /// the newest stamp of the store.
    pub fn open(data_dir: &Path, machine: MachineClock, newest_stamp: ServerId) -> Self {
        let file = AgreedFile::of(data_dir);
        let at_boot = ClockTrust::new(file.read().unwrap_or_else(|| stamped_ms(newest_stamp)));
        Self { machine, trust: Mutex::new(at_boot.clone()), at_boot, file }
    }

    /// The machine's clocks, for a worker to judge by itself.
    pub const fn machine(&self) -> MachineClock {
        self.machine
    }

    /// The trust that a worker begins with.
    pub fn at_boot(&self) -> ClockTrust {
        self.at_boot.clone()
    }

    /// What time it is, and whether anything may expire by it.
    pub fn now(&self) -> Now {
        self.state().read(self.machine.read())
    }

    /// The date, milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        self.now().wall_ms
    }

    /// The wall clock is right, an operator says. Workers are told by letters.
    pub fn trust(&self) {
        self.state().trust(self.machine.read());
    }

    /// What time it is, with how the clock stands at that moment.
    pub(super) fn look(&self) -> (Now, ClockTrust) {
        let mut trust = self.state();
        let now = trust.read(self.machine.read());
        (now, trust.clone())
    }

    pub(super) const fn file(&self) -> &AgreedFile {
        &self.file
    }

    fn state(&self) -> MutexGuard<'_, ClockTrust> {
        // A poisoned lock still holds a whole trust: readings replace each other.
        self.trust.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::wall_ms;

    const DAY_MS: u64 = 24 * 3_600 * 1_000;

    #[test]
    fn a_node_begins_in_doubt_unless_its_clock_agrees_with_the_life_before() {
        let (now, day_ago) = (wall_ms(), wall_ms() - DAY_MS);
        for (remembered, may_expire) in [(None, true), (Some(now), true), (Some(day_ago), false)] {
            let dir = tempfile::tempdir().unwrap();
            if let Some(remembered) = remembered {
                AgreedFile::of(dir.path()).write(remembered).unwrap();
            }
            let clock = NodeClock::open(dir.path(), MachineClock::start(), ServerId::default());
            assert_eq!(clock.now().may_expire, may_expire, "{remembered:?}");
            clock.trust();
            assert!(clock.now().may_expire);
        }
    }

    #[test]
    fn without_a_remembered_moment_the_newest_stamp_says_how_late_it_is() {
        let dir = tempfile::tempdir().unwrap();
        // A UUIDv6 of the year 2001.
        let stamp = ServerId(*uuid::uuid!("1d5071a0-c7a3-6000-8000-000000000000").as_bytes());
        let clock = NodeClock::open(dir.path(), MachineClock::start(), stamp);
        assert!(!clock.now().may_expire);
        assert!(clock.now_ms() >= wall_ms() - DAY_MS, "dated by the wall clock, which is later");
    }
}
