//! A disk whose cache is volatile: what was written and not flushed may be lost, sector by sector.
//!
//! A value without I/O, clock or threads. A read sees what was written last. After a cut each
//! sector that was not flushed is as any of the writes since the flush left it, or as it was
//! before them: the disk may keep any subset, in any order. Where the user of the disk cannot know
//! what is safe, the cut takes the newest writes away, in order, so that what is left is an earlier
//! moment and a file system on it is whole: on a disk that *pretends*, which answers a flush and
//! keeps nothing by it, and on one whose flushes fail, behind which ext4 goes on writing for a
//! moment.

use std::collections::HashMap;

use crate::seeded::Chance;

/// What a disk writes whole or not at all.
pub(super) const SECTOR_BYTES: usize = 512;

/// Sectors that a disk which pretends may owe; what is older has reached the platter by itself.
const OWED_SECTORS_MAX: usize = 1 << 16;

type Sector = [u8; SECTOR_BYTES];

/// What the disk does wrong, until it is repaired.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Defect {
    /// Flushes fail.
    Flush,
    /// Writes fail.
    Write,
}

/// The operation failed; nothing has changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failed;

/// What a cut has done.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Lost {
    /// Sectors that were not flushed.
    pub(super) volatile: usize,
    /// Those of them that are not as they were written last.
    pub(super) lost: usize,
}

/// The disk.
pub(super) struct Disk {
    /// As a read sees it.
    image: Vec<u8>,
    /// What the writes since the last flush have covered up, oldest first.
    covered: Vec<(usize, Sector)>,
    pretends: bool,
    defect: Option<Defect>,
}

impl Disk {
    /// An empty disk of so many bytes, a multiple of the sector.
    pub(super) fn new(bytes: usize) -> Self {
        assert!(bytes.is_multiple_of(SECTOR_BYTES), "whole sectors");
        Self { image: vec![0; bytes], covered: Vec::new(), pretends: false, defect: None }
    }

    /// Its size.
    pub(super) fn bytes(&self) -> usize {
        self.image.len()
    }

    /// Up to `length` bytes from `offset`; fewer at the end.
    pub(super) fn read(&self, offset: usize, length: usize) -> &[u8] {
        let start = offset.min(self.image.len());
        &self.image[start..(start + length).min(self.image.len())]
    }

    /// Writes into the cache.
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), Failed> {
        let end = offset.checked_add(bytes.len()).filter(|end| *end <= self.image.len());
        let (None | Some(Defect::Flush), Some(end)) = (self.defect, end) else {
            return Err(Failed);
        };
        if !bytes.is_empty() {
            for sector in offset / SECTOR_BYTES..=(end - 1) / SECTOR_BYTES {
                self.covered.push((sector, self.sector(sector)));
            }
        }
        self.image[offset..end].copy_from_slice(bytes);
        if self.pretends && self.covered.len() > 2 * OWED_SECTORS_MAX {
            self.covered.drain(..OWED_SECTORS_MAX);
        }
        Ok(())
    }

    /// Makes durable what was written.
    pub(super) fn flush(&mut self) -> Result<(), Failed> {
        if self.defect.is_some() {
            return Err(Failed);
        }
        if !self.pretends {
            self.covered.clear();
        }
        Ok(())
    }

    /// From now on flushes are answered and do nothing; what was written so far is durable.
    pub(super) fn pretend(&mut self) {
        self.covered.clear();
        self.pretends = true;
    }

    /// From now on something fails.
    pub(super) fn break_down(&mut self, defect: Defect) {
        self.defect = Some(defect);
    }

    /// The power is gone and comes back: the cache is empty, and what was wrong is repaired.
    pub(super) fn cut(&mut self, chance: &mut Chance) -> Lost {
        let in_order = self.pretends || self.defect == Some(Defect::Flush);
        self.defect = None;
        let covered = std::mem::take(&mut self.covered);
        if in_order {
            let lost = chance.within(0..covered.len() as u64 + 1) as usize;
            for (sector, before) in covered[covered.len() - lost..].iter().rev() {
                self.put(*sector, before);
            }
            return Lost { volatile: covered.len(), lost };
        }
        let mut versions = HashMap::<usize, Vec<Sector>>::new();
        for (sector, before) in covered {
            versions.entry(sector).or_default().push(before);
        }
        let mut sectors: Vec<_> = versions.into_iter().collect();
        // In an order that the seed decides, not the map.
        sectors.sort_unstable_by_key(|(sector, _)| *sector);
        let mut lost = Lost { volatile: sectors.len(), lost: 0 };
        for (sector, before) in sectors {
            if chance.once_in(2) {
                lost.lost += 1;
                let version = chance.within(0..before.len() as u64) as usize;
                self.put(sector, &before[version]);
            }
        }
        lost
    }

    fn sector(&self, sector: usize) -> Sector {
        let start = sector * SECTOR_BYTES;
        self.image[start..start + SECTOR_BYTES].try_into().expect("a whole sector")
    }

    fn put(&mut self, sector: usize, content: &Sector) {
        let start = sector * SECTOR_BYTES;
        self.image[start..start + SECTOR_BYTES].copy_from_slice(content);
    }
}

#[cfg(test)]
mod tests {
    use super::{Defect, Disk, Failed, SECTOR_BYTES};
    use crate::seeded::Chance;

    const SECTORS: usize = 64;

    fn disk() -> Disk {
        let mut disk = Disk::new(SECTORS * SECTOR_BYTES);
        disk.write(0, &[1; SECTORS * SECTOR_BYTES]).unwrap();
        disk.flush().unwrap();
        disk
    }

    fn first_bytes(disk: &Disk) -> Vec<u8> {
        (0..SECTORS).map(|sector| disk.read(sector * SECTOR_BYTES, 1)[0]).collect()
    }

    #[test]
    fn what_was_flushed_survives_every_cut() {
        for seed in 0..50 {
            let mut disk = disk();
            disk.write(100, &[2; 5000]).unwrap();
            disk.flush().unwrap();
            let before = disk.read(0, disk.bytes()).to_vec();
            let lost = disk.cut(&mut Chance::new(seed, 0));
            assert_eq!((lost.volatile, lost.lost), (0, 0));
            assert_eq!(disk.read(0, disk.bytes()), before);
        }
    }

    #[test]
    fn of_what_was_not_flushed_any_subset_survives() {
        let mut disk = disk();
        for value in [2, 3] {
            disk.write(0, &[value; SECTORS * SECTOR_BYTES]).unwrap();
        }
        let lost = disk.cut(&mut Chance::new(7, 0));
        let left = first_bytes(&disk);
        let of = |value| left.iter().filter(|byte| **byte == value).count();
        assert!(of(1) > 0 && of(2) > 0 && of(3) > 0, "{left:?}");
        assert_eq!((lost.volatile, lost.lost), (SECTORS, of(1) + of(2)));
        assert_eq!(disk.cut(&mut Chance::new(8, 0)).volatile, 0, "what is left is durable");
    }

    #[test]
    fn a_disk_that_pretends_loses_the_newest_writes_and_no_others() {
        let mut shortened = 0;
        for seed in 0..20 {
            let mut disk = disk();
            disk.pretend();
            for sector in 0..SECTORS {
                disk.write(sector * SECTOR_BYTES, &[2; SECTOR_BYTES]).unwrap();
                disk.flush().unwrap();
            }
            let lost = disk.cut(&mut Chance::new(seed, 0)).lost;
            let left = first_bytes(&disk);
            assert!(left.is_sorted_by_key(|byte| 2 - byte), "a prefix is left: {left:?}");
            assert_eq!(left.iter().filter(|byte| **byte == 1).count(), lost);
            shortened += usize::from(lost > 0);
        }
        assert!(shortened > 10);
    }

    #[test]
    fn after_a_flush_that_failed_the_newest_writes_are_lost_and_no_others() {
        let mut shortened = 0;
        for seed in 0..20 {
            let mut disk = disk();
            disk.break_down(Defect::Flush);
            for sector in 0..SECTORS {
                disk.write(sector * SECTOR_BYTES, &[2; SECTOR_BYTES]).unwrap();
            }
            let lost = disk.cut(&mut Chance::new(seed, 0)).lost;
            let left = first_bytes(&disk);
            assert!(left.is_sorted_by_key(|byte| 2 - byte), "a prefix is left: {left:?}");
            assert_eq!(left.iter().filter(|byte| **byte == 1).count(), lost);
            shortened += usize::from(lost > 0);
        }
        assert!(shortened > 10);
    }

    #[test]
    fn a_defect_fails_until_the_cut_and_changes_nothing() {
        let mut disk = disk();
        disk.break_down(Defect::Write);
        assert_eq!(disk.write(0, &[2]), Err(Failed));
        assert_eq!(disk.flush(), Err(Failed));
        disk.break_down(Defect::Flush);
        disk.write(0, &[3]).unwrap();
        assert_eq!(disk.flush(), Err(Failed));
        disk.cut(&mut Chance::new(1, 0));
        disk.write(0, &[4]).unwrap();
        disk.flush().unwrap();
        assert_eq!(disk.read(0, 2), [4, 1]);
        assert_eq!(disk.write(SECTORS * SECTOR_BYTES - 1, &[0; 2]), Err(Failed), "past the end");
    }
}
