//! The disk: what was flushed survives everything, any part of what was not may go with the power.
//!
//! Write and fdatasync may also fail. A failed fdatasync leaves each sector as it was or as it was
//! to be, and says so once: what the kernel does (fsync(2), "errors may be reported once").

use std::collections::BTreeMap;
use std::io::ErrorKind;

use ringpost_journal::{DeviceError, Operation, SegmentSource, SlotInfo};

use crate::chance::Chance;
use crate::options::Options;
use crate::planted::Planted;

/// What a device writes as a whole at least.
const SECTOR_BYTES: usize = 512;

#[derive(Default, Clone)]
struct Slot {
    /// What survives a loss of power.
    durable: Vec<u8>,
    /// What a read sees.
    cached: Vec<u8>,
}

/// A disk in memory.
#[derive(Clone)]
pub(crate) struct Disk {
    slots: BTreeMap<u32, Slot>,
    chance: Chance,
    failed_sync_once_in: usize,
    failed_write_once_in: usize,
    pretends: bool,
    just_failed: bool,
}

impl Disk {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            slots: BTreeMap::new(),
            chance: Chance::new(options.seed, 1),
            failed_sync_once_in: options.failed_sync_once_in,
            failed_write_once_in: options.failed_write_once_in,
            pretends: options.planted == Some(Planted::PretendedFlush),
            just_failed: false,
        }
    }

    /// From now on nothing fails.
    pub(crate) fn heal(&mut self) {
        (self.failed_sync_once_in, self.failed_write_once_in) = (0, 0);
    }

    /// From now on it fails as often as the options say.
    pub(crate) fn arm(&mut self, options: &Options) {
        self.failed_sync_once_in = options.failed_sync_once_in;
        self.failed_write_once_in = options.failed_write_once_in;
    }

    /// Whether something failed since this was asked last.
    pub(crate) fn has_just_failed(&mut self) -> bool {
        std::mem::take(&mut self.just_failed)
    }

    pub(crate) fn prepare(&mut self, slot: u32, bytes: u64) {
        let zeros = vec![0; bytes as usize];
        let fresh = Slot { durable: zeros.clone(), cached: zeros };
        assert!(self.slots.insert(slot, fresh).is_none(), "segment {slot} exists already");
    }

    pub(crate) fn remove(&mut self, slot: u32) {
        self.slots.remove(&slot).expect("only what exists is removed");
    }

    pub(crate) fn write(&mut self, slot: u32, at: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        let cached = &mut self.slots.get_mut(&slot).expect("it was prepared").cached;
        let place = &mut cached[at as usize..at as usize + bytes.len()];
        if self.chance.once_in(self.failed_write_once_in) {
            let cut = self.chance.below(bytes.len());
            place[..cut].copy_from_slice(&bytes[..cut]);
            self.just_failed = true;
            return Err(DeviceError::new(Operation::Write, "disk", ErrorKind::StorageFull.into()));
        }
        place.copy_from_slice(bytes);
        Ok(())
    }

    /// fdatasync.
    pub(crate) fn flush(&mut self, slot: u32) -> Result<(), DeviceError> {
        if self.pretends {
            return Ok(());
        }
        let slot = self.slots.get_mut(&slot).expect("it was prepared");
        if self.chance.once_in(self.failed_sync_once_in) {
            survive(slot, &mut self.chance);
            self.just_failed = true;
            return Err(DeviceError::new(Operation::Sync, "disk", ErrorKind::Other.into()));
        }
        slot.durable.clone_from(&slot.cached);
        Ok(())
    }

    /// Whether all that was written to this segment survives a loss of power.
    pub(crate) fn is_flushed(&self, slot: u32) -> bool {
        self.slots.get(&slot).is_none_or(|slot| slot.durable == slot.cached)
    }

    /// Whether all segments would survive it.
    pub(crate) fn is_all_flushed(&self) -> bool {
        self.slots.values().all(|slot| slot.durable == slot.cached)
    }

    /// The power is gone: of each sector that was not flushed the old, the new, or a mix is left.
    pub(crate) fn lose_power(&mut self) {
        for slot in self.slots.values_mut() {
            survive(slot, &mut self.chance);
            slot.cached.clone_from(&slot.durable);
        }
    }
}

fn survive(slot: &mut Slot, chance: &mut Chance) {
    let sectors = slot.durable.chunks_mut(SECTOR_BYTES).zip(slot.cached.chunks(SECTOR_BYTES));
    for (old, new) in sectors.filter(|(old, new)| old != new) {
        match chance.below(4) {
            0 => {}
            1 => {
                let cut = chance.below(SECTOR_BYTES);
                old[..cut].copy_from_slice(&new[..cut]);
            }
            _ => old.copy_from_slice(new),
        }
    }
}

impl SegmentSource for Disk {
    fn slots(&mut self) -> Result<Vec<SlotInfo>, DeviceError> {
        let info = |(&slot, it): (&u32, &Slot)| SlotInfo { slot, bytes: it.cached.len() as u64 };
        Ok(self.slots.iter().map(info).collect())
    }

    fn sync(&mut self, slot: u32) -> Result<(), DeviceError> {
        self.flush(slot)
    }

    fn read(&mut self, slot: u32, offset: u64, out: &mut [u8]) -> Result<(), DeviceError> {
        let start = offset as usize;
        out.copy_from_slice(&self.slots[&slot].cached[start..start + out.len()]);
        Ok(())
    }
}
