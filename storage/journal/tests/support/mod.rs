//! An in-memory disk that loses and tears what was not synced, and a journal driven on it step by
//! step. Everything random comes from one seed.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod lives;

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    time::Duration,
};

use bytes::Bytes;
use ringpost_journal::{
    Action, BLOCK_BYTES, Config, DeviceError, Done, Durable, Journal, Limits, Operation, Record,
    RecordReader, RecoveredRecord, Recovery, RecoveryError, Refused, SegmentSource, SlotInfo,
    recover,
};

pub(crate) const JOURNAL_ID: u64 = 0x5EED_1234_ABCD_EF01;
/// What a device writes atomically at least.
const SECTOR_BYTES: usize = 512;

/// Segments of 16 blocks, at most 8 of them, records up to 6,000 bytes.
pub(crate) fn small_config() -> Config {
    Config {
        segment_bytes: 16 * BLOCK_BYTES as u64,
        disk_budget_bytes: 8 * 16 * BLOCK_BYTES as u64,
        batch_bytes_max: 4 * BLOCK_BYTES as u64,
        record_bytes_max: 6_000,
        inflight_bytes_max: 1 << 20,
        spare_segments: 2,
        gather_max: Duration::ZERO,
    }
}

/// xorshift64*, small and the same everywhere; or a script, and behind its end xorshift64*.
pub(crate) struct Random {
    state: u64,
    script: Option<VecDeque<u8>>,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1, script: None }
    }

    /// Each choice is a byte of the script, or two where there are more than 256 ways: a small
    /// change of the script is a small change of what happens.
    pub(crate) fn from_script(script: &[u8]) -> Self {
        Self { script: Some(script.iter().copied().collect()), ..Self::new(0) }
    }

    /// Whether the script is at its end; without one there is none.
    pub(crate) fn is_spent(&self) -> bool {
        self.script.as_ref().is_some_and(VecDeque::is_empty)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let Some(script) = self.script.as_mut().filter(|script| !script.is_empty()) else {
            return self.next() % bound;
        };
        let bytes = if bound > 256 { 2 } else { 1 };
        let choice = script.drain(..bytes.min(script.len()));
        choice.fold(0, |number, byte| number << 8 | u64::from(byte)) % bound
    }

    pub(crate) fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }
}

#[derive(Default, Clone)]
struct Slot {
    /// What survives a loss of power.
    durable: Vec<u8>,
    /// What a read sees.
    cached: Vec<u8>,
}

/// A disk in memory.
#[derive(Default, Clone)]
pub(crate) struct MemoryDisk {
    slots: BTreeMap<u32, Slot>,
    /// Every operation, for rules about their order.
    pub(crate) log: Vec<Operated>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operated {
    Read { slot: u32 },
    Write { slot: u32, offset: u64, bytes: usize },
    Sync { slot: u32 },
    Prepare { slot: u32 },
    Remove { slot: u32 },
}

impl MemoryDisk {
    pub(crate) fn write(&mut self, slot: u32, offset: u64, bytes: &[u8]) {
        self.log.push(Operated::Write { slot, offset, bytes: bytes.len() });
        let cached = &mut self.slots.get_mut(&slot).expect("a segment is prepared first").cached;
        let start = offset as usize;
        cached[start..start + bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn sync_writes(&mut self, slot: u32) {
        self.log.push(Operated::Sync { slot });
        let slot = self.slots.get_mut(&slot).expect("a segment is prepared first");
        slot.durable.clone_from(&slot.cached);
    }

    pub(crate) fn prepare(&mut self, slot: u32, bytes: u64) {
        self.log.push(Operated::Prepare { slot });
        let zeros = vec![0; bytes as usize];
        let fresh = Slot { durable: zeros.clone(), cached: zeros };
        assert!(self.slots.insert(slot, fresh).is_none(), "slot {slot} exists already");
    }

    pub(crate) fn remove(&mut self, slot: u32) {
        self.log.push(Operated::Remove { slot });
        self.slots.remove(&slot).expect("only what exists is removed");
    }

    /// Power is lost: of each sector that was not synced the new, the old, or a mix survives.
    pub(crate) fn lose_power(&mut self, random: &mut Random) {
        for slot in self.slots.values_mut() {
            let Slot { durable, cached } = slot;
            for (old, new) in durable.chunks_mut(SECTOR_BYTES).zip(cached.chunks_mut(SECTOR_BYTES))
            {
                if old == new {
                    continue;
                }
                match random.below(4) {
                    0 => {}
                    1 => {
                        let cut = random.below(SECTOR_BYTES as u64) as usize;
                        old[..cut].copy_from_slice(&new[..cut]);
                    }
                    _ => old.copy_from_slice(new),
                }
            }
            cached.clone_from(durable);
        }
    }

    /// The process is killed: the cache survives, unsynced.
    pub(crate) fn kill_process(&mut self) {}

    pub(crate) fn flip(&mut self, slot: u32, offset: u64, bit: u8) {
        let slot = self.slots.get_mut(&slot).expect("exists");
        slot.durable[offset as usize] ^= 1 << bit;
        slot.cached[offset as usize] ^= 1 << bit;
    }

    pub(crate) fn overwrite(&mut self, slot: u32, offset: u64, bytes: &[u8]) {
        let slot = self.slots.get_mut(&slot).expect("exists");
        let start = offset as usize;
        slot.durable[start..start + bytes.len()].copy_from_slice(bytes);
        slot.cached[start..start + bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn bytes_of(&self, slot: u32) -> &[u8] {
        &self.slots[&slot].cached
    }

    pub(crate) fn slot_numbers(&self) -> Vec<u32> {
        self.slots.keys().copied().collect()
    }
}

impl SegmentSource for MemoryDisk {
    fn slots(&mut self) -> Result<Vec<SlotInfo>, DeviceError> {
        let info =
            |(&slot, found): (&u32, &Slot)| SlotInfo { slot, bytes: found.cached.len() as u64 };
        Ok(self.slots.iter().map(info).collect())
    }

    fn sync(&mut self, slot: u32) -> Result<(), DeviceError> {
        self.sync_writes(slot);
        Ok(())
    }

    fn read(&mut self, slot: u32, offset: u64, out: &mut [u8]) -> Result<(), DeviceError> {
        self.log.push(Operated::Read { slot });
        let start = offset as usize;
        out.copy_from_slice(&self.slots[&slot].cached[start..start + out.len()]);
        Ok(())
    }
}

pub(crate) fn device_error(kind: io::ErrorKind) -> DeviceError {
    DeviceError::new(Operation::Write, "memory", kind.into())
}

/// A journal on a disk in memory.
pub(crate) struct World {
    pub(crate) disk: MemoryDisk,
    pub(crate) journal: Journal,
    pub(crate) recovery: Recovery,
    pub(crate) config: Config,
    pub(crate) now: Duration,
    /// The action that was begun and not completed.
    pub(crate) outstanding: Option<Action>,
    /// What each `Durable` said, in order.
    pub(crate) durable: Vec<Durable>,
}

impl World {
    pub(crate) fn new(config: Config) -> Self {
        Self::open(MemoryDisk::default(), config, 0).expect("an empty disk is fine")
    }

    pub(crate) fn open(
        mut disk: MemoryDisk,
        config: Config,
        checkpoint: u64,
    ) -> Result<Self, RecoveryError> {
        let recovery = recover(&mut disk, JOURNAL_ID, checkpoint)?;
        let limits = Limits::new(&config).expect("valid");
        let journal = Journal::new(limits, JOURNAL_ID, &recovery, checkpoint);
        let now = Duration::ZERO;
        Ok(Self { disk, journal, recovery, config, now, outstanding: None, durable: Vec::new() })
    }

    /// Recovers from this disk as it is.
    pub(crate) fn reopen(self, checkpoint: u64) -> Result<Self, RecoveryError> {
        Self::open(self.disk, self.config, checkpoint)
    }

    /// All records that recovery yields above `after`.
    pub(crate) fn read(&self, after: u64) -> Result<Vec<RecoveredRecord>, RecoveryError> {
        RecordReader::new(self.disk.clone(), JOURNAL_ID, &self.recovery.chain, after).collect()
    }

    pub(crate) fn submit(&mut self, payload: &[u8]) -> Result<u64, Refused> {
        self.journal.submit(record(payload), 0)
    }

    /// Begins the next write or sync, which stays outstanding until `finish`; segments are
    /// prepared and removed on the way.
    pub(crate) fn begin(&mut self) -> Option<Action> {
        loop {
            let action = self.journal.poll_action(self.now)?;
            match action {
                Action::Prepare { slot, bytes } => {
                    self.disk.prepare(slot, bytes);
                    self.journal.complete(Done::Prepared(slot, Ok(())), self.now);
                    continue;
                }
                Action::Remove { slot } => {
                    self.disk.remove(slot);
                    self.journal.complete(Done::Removed(slot, Ok(())), self.now);
                    continue;
                }
                Action::Write { slot, offset, bytes } => {
                    let mut batch = vec![0xEE; bytes];
                    self.journal.encode(&mut batch);
                    self.disk.write(slot, offset, &batch);
                }
                Action::Sync { .. } => {}
            }
            self.outstanding = Some(action);
            return Some(action);
        }
    }

    /// Completes the outstanding action.
    pub(crate) fn finish(&mut self, result: Result<(), DeviceError>) {
        let done = match self.outstanding.take().expect("something is outstanding") {
            Action::Write { .. } => Done::Written(result),
            Action::Sync { slot } => {
                if result.is_ok() {
                    self.disk.sync_writes(slot);
                }
                Done::Synced(result)
            }
            other => unreachable!("{other:?} is completed at once"),
        };
        self.durable.extend(self.journal.complete(done, self.now));
    }

    /// Runs until there is nothing to do.
    pub(crate) fn settle(&mut self) {
        loop {
            if self.outstanding.is_some() {
                self.finish(Ok(()));
            }
            if self.begin().is_none() {
                return;
            }
        }
    }

    /// Submits one record and makes it durable, alone in its batch.
    pub(crate) fn commit(&mut self, payload: &[u8]) -> u64 {
        let position = self.submit(payload).expect("there is room");
        self.settle();
        assert_eq!(self.journal.durable_position(), position);
        position
    }
}

pub(crate) fn record(payload: &[u8]) -> Record {
    let split = payload.len() / 3;
    Record {
        head: Bytes::copy_from_slice(&payload[..split]),
        body: Bytes::copy_from_slice(&payload[split..]),
    }
}

/// A payload that names its position's worth of content, of any length.
pub(crate) fn payload(seed: u64, bytes: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    (0..bytes).map(|_| random.next() as u8).collect()
}
