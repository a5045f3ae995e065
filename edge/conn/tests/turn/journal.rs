//! A journal and a store in one: records become durable in one order, and every read is answered
//! by looking through them. No user is ever let go here, so a load never finds one.

use std::collections::VecDeque;

use ringpost_conn::driver::{CommitRefused, Committed};
use ringpost_conn::{Letter, WORKERS_MAX};
use ringpost_shard::event::WorkerId;
use ringpost_shard::image::{Accepted, MessageRow, Received};
use ringpost_shard::record::{MessageHead, SharedRecord};
use ringpost_shard::{Effect, Event, Head, Position, Shortage};
use ringpost_wire::ServerId;

/// A journal in memory.
pub(crate) struct Journal {
    /// Records that it takes at once.
    pub(crate) batch_records_max: usize,
    /// What is answered to who asks before it takes on work.
    pub(crate) shortage: Option<Shortage>,
    /// Nothing becomes durable while this is set.
    pub(crate) held: bool,
    submitted: VecDeque<Committed>,
    durable: Vec<SharedRecord>,
    reads: VecDeque<(WorkerId, Effect)>,
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            batch_records_max: usize::MAX,
            shortage: None,
            held: false,
            submitted: VecDeque::new(),
            durable: Vec::new(),
            reads: VecDeque::new(),
        }
    }
}

impl Journal {
    pub(crate) fn try_commit(&mut self, batch: Vec<Committed>) -> Result<(), CommitRefused> {
        if batch.len() > self.batch_records_max {
            return Err(CommitRefused::NoRoom);
        }
        self.submitted.extend(batch);
        Ok(())
    }

    pub(crate) fn read(&mut self, worker: WorkerId, read: Effect) {
        self.reads.push_back((worker, read));
    }

    /// Makes up to `most` records durable and answers the reads: letters, in order.
    pub(crate) fn step(&mut self, most: usize) -> Vec<(WorkerId, Letter)> {
        let mut letters: Vec<(WorkerId, Letter)> = Vec::new();
        let most = if self.held { 0 } else { most.min(self.submitted.len()) };
        for (record, touch) in self.submitted.drain(..most) {
            self.durable.push(record.clone());
            let position = Position(self.durable.len() as u64);
            for worker in (0..WORKERS_MAX).filter(|worker| touch & (1 << worker) != 0) {
                let letter = Letter::Durable(vec![(position, record.clone())]);
                letters.push((WorkerId(worker), letter));
            }
        }
        let reads = std::mem::take(&mut self.reads);
        letters.extend(reads.into_iter().map(|(worker, read)| (worker, self.answer(read))));
        letters
    }

    /// Records so far, durable or on their way.
    pub(crate) fn records(&self) -> usize {
        self.durable.len() + self.submitted.len()
    }

    fn messages(&self) -> impl Iterator<Item = (Position, &MessageHead, &SharedRecord)> {
        (1..).map(Position).zip(&self.durable).filter_map(|(position, record)| match &record.head {
            Head::Message(head) => Some((position, head, record)),
            _ => None,
        })
    }

    fn answer(&self, read: Effect) -> Letter {
        Letter::Event(match read {
            Effect::Load { user, .. } => {
                let known = self.durable.iter().any(|record| record.head.touches().contains(&user));
                assert!(!known, "a user who exists stays resident: the cap is far away");
                Event::Loaded { user, answer: Ok(None) }
            }
            Effect::LookUpAccepted { user, device, message_id, .. } => {
                let found = self.messages().find(|(_, head, _)| {
                    (head.from, head.from_device, head.message_id) == (user, device, message_id)
                });
                let accepted = found.map(|(_, head, _)| Accepted::of(head));
                Event::AcceptedFound { user, device, message_id, answer: Ok(accepted) }
            }
            Effect::ReadMessages { user, device, ids, .. } => {
                let row = |id: ServerId| {
                    let (position, head, record) =
                        self.messages().find(|(_, head, _)| head.id == id)?;
                    Some(MessageRow { position, head: head.clone(), body: record.body.clone() })
                };
                let rows = ids.iter().map(|&id| (id, row(id))).collect();
                Event::MessagesRead { user, device, answer: Ok(rows) }
            }
            Effect::FindReceived { user, device, id, .. } => {
                let found = self.messages().find(|(_, head, _)| head.id == id);
                // As much as the records say: nobody reads anything twice here.
                let received = found.map(|(_, head, _)| {
                    Box::new(Received { head: head.clone(), read_to: Default::default() })
                });
                Event::ReceivedFound { user, device, answer: Ok(received) }
            }
            other => unreachable!("not a read: {other:?}"),
        })
    }
}
