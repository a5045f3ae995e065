//! Records that were durable lately and that a live device has not been pushed yet.
//!
//! A cache under a byte cap, oldest out first: what is not here any more is read from the store.

use std::collections::VecDeque;
use std::time::Duration;

use crate::record::{Position, SharedRecord};

/// A record that is kept.
#[derive(Debug)]
pub(crate) struct Kept {
    position: Position,
    /// When it was handed here (monotonic).
    pub(crate) since: Duration,
    pub(crate) record: SharedRecord,
}

/// Message records by rising position.
#[derive(Debug)]
pub(crate) struct Recent {
    records: VecDeque<Kept>,
    pub(crate) bytes: u64,
    bytes_max: u64,
}

impl Recent {
    pub(crate) const fn new(bytes_max: u64) -> Self {
        Self { records: VecDeque::new(), bytes: 0, bytes_max }
    }

    pub(crate) fn find(&self, position: Position) -> Option<&Kept> {
        let at = self.records.binary_search_by_key(&position, |kept| kept.position).ok()?;
        Some(&self.records[at])
    }

    /// Keeps a record; positions rise. Both users of a message may ask for the same one.
    pub(crate) fn keep(&mut self, position: Position, record: SharedRecord, since: Duration) {
        let last = self.records.back().map(|kept| kept.position);
        if last == Some(position) {
            return;
        }
        assert!(last < Some(position), "records are kept in the journal's order");
        self.bytes += cost(&record);
        self.records.push_back(Kept { position, since, record });
        // Ends: each round lets the oldest go; with none left there are no bytes.
        while self.bytes > self.bytes_max {
            let oldest = self.records.pop_front().expect("bytes are of records kept");
            self.bytes -= cost(&oldest.record);
        }
    }
}

fn cost(record: &SharedRecord) -> u64 {
    (record.body.len() + size_of::<crate::record::Record>()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{DeviceAddedHead, Head, Record};

    #[test]
    fn the_oldest_leave_when_the_bytes_are_used() {
        let head =
            Head::DeviceAdded(DeviceAddedHead { user: Default::default(), device: None, at_ms: 0 });
        let record = SharedRecord::new(Record { head, body: vec![0; 1000].into() });
        let mut recent = Recent::new(3 * cost(&record));
        for position in [1, 4, 6, 6, 9] {
            recent.keep(Position(position), record.clone(), Duration::ZERO);
        }
        assert!(recent.find(Position(1)).is_none());
        assert!([4, 6, 9].iter().all(|&position| recent.find(Position(position)).is_some()));
        assert!(recent.find(Position(5)).is_none());
        assert_eq!(recent.bytes, 3 * cost(&record));
    }
}
