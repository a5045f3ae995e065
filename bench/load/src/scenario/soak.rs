//! `soak`: a messenger's day for as long as one likes, and what the server holds meanwhile, beside
//! the sum of its limits.
//!
//! Memory rises while write buffers and caches fill, and goes up and down as they are flushed. What
//! is looked for is what goes on rising behind that. The run is cut into three parts: what the last
//! one holds at most may be little more than what the second one did, and all of it less than the
//! server says that it may take. The first part is for what has to fill. Files on disk are told and
//! not judged: they grow with what is kept.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use super::traffic;
use crate::measure::{descriptors, resident_bytes};
use crate::peer::{Name, Peer, Setting};
use crate::report::Run;
use crate::terminal;

/// The server is set up for as many connections as by default.
const CONNECTIONS: &str = "limits.connections_max=100000";

/// Lines of a run.
const SAMPLES: u64 = 60;
/// Fewer say nothing of thirds.
const SAMPLES_MIN: usize = 9;
/// The last third may hold so much more than the second, as a share and in bytes: flushes of a part
/// that come together in one and not in the other.
const GROWTH_SHARE_MAX: f64 = 0.1;
const GROWTH_BYTES_MAX: u64 = 8 << 20;
/// The same for descriptors: files of the store that a compaction has open.
const DESCRIPTORS_GROWTH_MAX: u64 = 64;

/// What a server held at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Sample {
    /// Since the first message.
    pub(crate) seconds: u64,
    /// Resident memory of its own.
    pub(crate) resident_bytes: u64,
    /// The sum of its limits.
    pub(crate) memory_max_bytes: u64,
    /// All files that it keeps.
    pub(crate) disk_bytes: u64,
    /// Open descriptors.
    pub(crate) descriptors: u64,
}

/// What was found, and which bounds were missed.
pub(crate) struct Found {
    pub(crate) run: Run,
    pub(crate) missed: Vec<String>,
}

/// Runs it against ringpost.
///
/// # Errors
/// When the server does not start, refuses, goes away, or does not say what it may take.
pub(crate) fn run(
    setting: &Setting,
    shape: &traffic::Shape,
    cores: usize,
) -> anyhow::Result<Found> {
    let mut setting = setting.clone();
    // Room for many more than come would be most of the sum. What is set by hand comes later, and wins.
    setting.set.insert(0, CONNECTIONS.to_owned());
    let mut watch = Watch::new(shape.seconds_with_warm_up());
    let mut look = |peer: &dyn Peer| watch.look(peer);
    let mut run = traffic::run_beside(&Name::RINGPOST, &setting, shape, cores, &mut look)?;
    let missed = missed(&watch.samples)?;
    "soak".clone_into(&mut run.scenario);
    run.held = watch.samples;
    Ok(Found { run, missed })
}

struct Watch {
    begun: Instant,
    every: Duration,
    samples: Vec<Sample>,
}

impl Watch {
    fn new(seconds: u64) -> Self {
        let every = Duration::from_secs((seconds / SAMPLES).max(1));
        Self { begun: Instant::now(), every, samples: Vec::new() }
    }

    /// Called every second; takes a sample and tells it when one is due.
    fn look(&mut self, peer: &dyn Peer) -> anyhow::Result<()> {
        if self.samples.is_empty() {
            self.begun = Instant::now();
            terminal::tell("  seconds  resident  of at most  on disk  descriptors\n");
        }
        let elapsed = self.begun.elapsed();
        if elapsed < self.every * self.samples.len() as u32 {
            return Ok(());
        }
        let held = peer.held()?.context("the server does not say how much memory it may take")?;
        let sample = Sample {
            seconds: elapsed.as_secs(),
            resident_bytes: resident_bytes(peer.process_id())?,
            memory_max_bytes: held.memory_max_bytes,
            disk_bytes: held.disk_bytes,
            descriptors: descriptors(peer.process_id())?,
        };
        terminal::tell(&sample.line());
        self.samples.push(sample);
        Ok(())
    }
}

impl Sample {
    fn line(&self) -> String {
        let Self { seconds, resident_bytes, memory_max_bytes, disk_bytes, descriptors } = *self;
        let mib = |bytes: u64| bytes >> 20;
        format!(
            "  {seconds:>7} {:>9} {:>11} {:>8} {descriptors:>12}\n",
            format!("{} MiB", mib(resident_bytes)),
            format!("{} MiB", mib(memory_max_bytes)),
            format!("{} MiB", mib(disk_bytes)),
        )
    }
}

/// The bounds that the samples miss, in words.
fn missed(samples: &[Sample]) -> anyhow::Result<Vec<String>> {
    ensure!(
        samples.len() >= SAMPLES_MIN,
        "{} samples say nothing of growth: soak for longer",
        samples.len()
    );
    let third = samples.len() / 3;
    let (second, last) = (&samples[third..2 * third], &samples[2 * third..]);
    let most = |part: &[Sample], of: fn(&Sample) -> u64| part.iter().map(of).max().unwrap_or(0);
    let resident = |sample: &Sample| sample.resident_bytes;
    let mut missed = Vec::new();
    if let Some(over) = samples.iter().find(|it| it.resident_bytes > it.memory_max_bytes) {
        missed.push(format!(
            "after {} s {} bytes were resident, and the server may take {}",
            over.seconds, over.resident_bytes, over.memory_max_bytes
        ));
    }
    let (before, behind) = (most(second, resident), most(last, resident));
    let allowed = before + ((before as f64 * GROWTH_SHARE_MAX) as u64).max(GROWTH_BYTES_MAX);
    if behind > allowed {
        missed.push(format!(
            "memory grows: {before} bytes at most in the second third of the run, {behind} in the \
             last, where {allowed} would be a plateau"
        ));
    }
    let opened = |sample: &Sample| sample.descriptors;
    let (before, behind) = (most(second, opened), most(last, opened));
    if behind > before + DESCRIPTORS_GROWTH_MAX {
        missed.push(format!("descriptors grow: {before} at most, then {behind}"));
    }
    Ok(missed)
}

#[cfg(test)]
mod tests {
    use super::{Sample, missed};

    /// A sample for each of these mebibytes, under a sum of 1,000.
    fn samples(mib: &[u64]) -> Vec<Sample> {
        let sample = |(index, &mib): (usize, &u64)| Sample {
            seconds: index as u64,
            resident_bytes: mib << 20,
            memory_max_bytes: 1_000 << 20,
            descriptors: 40,
            ..Sample::default()
        };
        mib.iter().enumerate().map(sample).collect()
    }

    fn check(mib: &[u64], expected: &[&str]) {
        let found = missed(&samples(mib)).expect("enough samples");
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (said, word) in found.iter().zip(expected) {
            assert!(said.contains(word), "{said}");
        }
    }

    #[test]
    fn memory_that_fills_and_is_flushed_is_a_plateau() {
        check(&[100, 200, 260, 200, 270, 210, 205, 280, 215], &[]);
    }

    #[test]
    fn memory_that_goes_on_rising_is_a_miss() {
        check(&[100, 150, 200, 250, 300, 350, 400, 450, 500], &["memory grows"]);
    }

    #[test]
    fn memory_beyond_the_limits_of_the_server_is_a_miss_wherever_it_was() {
        check(&[100, 1_001, 200, 250, 250, 250, 250, 250, 250], &["may take"]);
    }

    #[test]
    fn descriptors_that_rise_are_a_miss() {
        let mut rising = samples(&[100; 9]);
        for (index, sample) in rising.iter_mut().enumerate() {
            sample.descriptors = 100 * index as u64;
        }
        assert!(missed(&rising).expect("enough samples")[0].contains("descriptors"));
    }

    #[test]
    fn a_run_too_short_to_tell_says_so() {
        assert!(missed(&samples(&[1; 8])).is_err());
    }
}
