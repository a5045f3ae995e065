//! Reading durable records back, in order, from a checkpoint on: at boot, and by an applier that
//! has fallen behind what it keeps in memory.
//!
//! The reader is given the chain, and with it where each segment ends. Anything before that end
//! which is not whole is damage. It holds one batch in memory at a time; the records that it
//! yields share that batch's memory.

use std::collections::VecDeque;

use crate::{
    error::RecoveryError,
    format::RecoveredRecord,
    recovery::{ChainLink, SegmentSource, Walk, damage},
};

/// Iterates over the durable records above a position. After an error it yields nothing more.
#[derive(Debug)]
pub struct RecordReader<S> {
    source: S,
    journal_id: u64,
    after: u64,
    links: VecDeque<ChainLink>,
    walk: Option<(Walk, ChainLink)>,
    batch: std::vec::IntoIter<RecoveredRecord>,
}

impl<S: SegmentSource> RecordReader<S> {
    /// Reads what `chain` holds above position `after`, which is not below the checkpoint: what is
    /// to be read must not be trimmed meanwhile.
    #[must_use]
    pub fn new(source: S, journal_id: u64, chain: &[ChainLink], after: u64) -> Self {
        let links = chain.iter().filter(|link| link.last_position > after);
        Self {
            source,
            journal_id,
            after,
            links: links.cloned().collect(),
            walk: None,
            batch: Vec::new().into_iter(),
        }
    }

    fn read_batch(&mut self) -> Result<bool, RecoveryError> {
        let (walk, link) = match &mut self.walk {
            Some((walk, link)) if walk.offset < link.end => (walk, &*link),
            _ => {
                let Some(link) = self.links.pop_front() else { return Ok(false) };
                let (walk, link) = self.walk.insert((Walk::of(&link), link));
                (walk, &*link)
            }
        };
        let (offset, position) = (walk.offset, walk.position);
        let broken = |what| damage(link.slot, link.generation, offset, position, what);
        let Some(batch) = walk.next(&mut self.source, self.journal_id)? else {
            let what = "a later batch says that this one is durable, but it is not whole";
            return Err(broken(what).into());
        };
        if walk.offset > link.end {
            let what = "this batch reaches beyond the end that a later one states";
            return Err(broken(what).into());
        }
        if walk.offset == link.end && walk.position != link.last_position + 1 {
            let what = "the segment does not end with the position that a later one states";
            return Err(broken(what).into());
        }
        self.batch = batch.records.into_iter();
        Ok(true)
    }
}

impl<S: SegmentSource> Iterator for RecordReader<S> {
    type Item = Result<RecoveredRecord, RecoveryError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let after = self.after;
            if let Some(record) = self.batch.find(|record| record.position > after) {
                return Some(Ok(record));
            }
            match self.read_batch() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    self.links.clear();
                    self.walk = None;
                    return Some(Err(error));
                }
            }
        }
    }
}
