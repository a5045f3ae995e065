//! Random lives of a journal, and what must be true after each: what was promised is there, what
//! was given up stays away.

use std::io::ErrorKind;

use ringpost_journal::Refused;

use super::{Random, World, device_error, payload};

/// What the test knows: the content of every position, and what was promised.
#[derive(Default)]
pub(crate) struct Oracle {
    /// `submitted[i]` names the content of position `i + 1`.
    pub(crate) submitted: Vec<(u64, usize)>,
    pub(crate) acknowledged: u64,
    pub(crate) checkpoint: u64,
    /// Counts contents, so that each submission has its own.
    contents: u64,
}

impl Oracle {
    pub(crate) fn submit(&mut self, world: &mut World, random: &mut Random) {
        let bytes = match random.below(8) {
            0 => 0,
            1 => 6000,
            2 => 3900 + random.below(200) as usize,
            _ => random.below(600) as usize,
        };
        self.contents += 1;
        match world.submit(&payload(self.contents, bytes)) {
            Ok(position) => {
                self.submitted.push((self.contents, bytes));
                assert_eq!(position, self.submitted.len() as u64, "positions count");
            }
            Err(reason) => assert!(
                matches!(reason, Refused::DiskBudget | Refused::SegmentPending | Refused::Failed),
                "{reason}"
            ),
        }
    }

    pub(crate) fn hear(&mut self, world: &mut World) {
        for batch in world.durable.drain(..) {
            for entry in batch.entries {
                self.acknowledged += 1;
                assert_eq!(entry.position, self.acknowledged, "in order, each once");
            }
        }
    }

    /// What recovery found is the truth from now on.
    pub(crate) fn check(&mut self, world: &World) {
        let found = world.read(self.checkpoint).expect("a crash is no damage");
        let end = self.checkpoint + found.len() as u64;
        assert_eq!(world.recovery.report.next_position, end + 1);
        assert!(end >= self.acknowledged, "lost: {end} of {} acknowledged", self.acknowledged);
        assert!(end <= self.submitted.len() as u64, "more than was submitted");
        self.submitted.truncate(end as usize);
        for (position, record) in (self.checkpoint + 1..).zip(&found) {
            let (content, bytes) = self.submitted[position as usize - 1];
            assert_eq!(record.position, position);
            assert!(record.payload == payload(content, bytes), "position {position}");
            assert_eq!(record.head_bytes, bytes / 3);
        }
        self.acknowledged = end;
    }
}

/// One life: some steps, and now and then a clean end. What follows is the caller's crash.
pub(crate) fn live(world: &mut World, oracle: &mut Oracle, random: &mut Random) {
    for _ in 0..random.below(150) {
        match random.below(10) {
            0..4 => oracle.submit(world, random),
            4 => {
                let known = world.journal.durable_position() - oracle.checkpoint;
                oracle.checkpoint += random.below(known + 1);
                world.journal.trim(oracle.checkpoint);
            }
            _ if world.outstanding.is_some() => {
                let broken = random.chance(200);
                let error = || Err(device_error(ErrorKind::Other));
                world.finish(if broken { error() } else { Ok(()) });
            }
            _ => {
                world.begin();
            }
        }
        oracle.hear(world);
    }
    if random.chance(4) {
        world.journal.close();
        world.settle();
        oracle.hear(world);
    }
}
