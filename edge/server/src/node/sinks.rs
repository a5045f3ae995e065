//! From the storage tier back to the workers: durable records, answers of the store, progress.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use ringpost_conn::{Letter, WORKERS_MAX};
use ringpost_journal::{DurableSink, JournalError, JournalHandle, Record, Touch};
use ringpost_shard::event::WorkerId;
use ringpost_shard::record::{Head, SharedRecord};
use ringpost_shard::{Event, Position};
use ringpost_store::StoreError;
use ringpost_store::thread::{ApplySink, ReadAnswer, ReadSink, StoreHandle};

use super::mailbox::Mailbox;
use crate::readiness::Readiness;
use crate::rest::Progress;

const _: () =
    assert!(WORKERS_MAX as u32 <= Touch::BITS, "a bit of a record's touch for each worker");

/// The mailboxes of all workers, once they stand: recovery runs before them and tells nobody.
pub(super) type Mailboxes = Arc<OnceLock<Vec<Arc<Mailbox>>>>;

/// Hands each durable record to the applier and to the workers that it touches.
pub(super) struct Homes {
    pub(super) mailboxes: Vec<Arc<Mailbox>>,
    pub(super) store: StoreHandle,
    pub(super) progress: Arc<Progress>,
    pub(super) readiness: Arc<Readiness>,
    /// Of the batch at hand, for each worker.
    pub(super) batches: Vec<Vec<(Position, SharedRecord)>>,
    pub(super) last: Position,
}

impl DurableSink for Homes {
    fn durable(&mut self, position: u64, record: Record, touch: Touch) {
        let position = Position(position);
        let record = decoded(&record.head, &record.body);
        self.last = position;
        for (worker, batch) in self.batches.iter_mut().enumerate() {
            if touch & (1 << worker) != 0 {
                batch.push((position, Arc::clone(&record)));
            }
        }
        // A store that has ended is told by `ApplySink::failed`; the journal keeps the record.
        let _ = self.store.submit(position, record);
    }

    fn batch_end(&mut self) {
        self.progress.on_durable(self.last);
        for (mailbox, batch) in self.mailboxes.iter().zip(&mut self.batches) {
            if !batch.is_empty() {
                mailbox.post(Letter::Durable(std::mem::take(batch)));
            }
        }
    }

    fn failed(&mut self, error: &JournalError) {
        tracing::error!(%error, "the journal has failed: nothing more is acknowledged");
        self.readiness.refuse("journal", error.to_string());
        for mailbox in &self.mailboxes {
            mailbox.post(Letter::Event(Event::JournalFailed));
        }
    }
}

/// A record as the journal keeps it, in memory again.
///
/// # Panics
/// If the head cannot be read: its checksum was good, so this build wrote it wrongly.
pub(super) fn decoded(head: &[u8], body: &Bytes) -> SharedRecord {
    let head = Head::decode(head).expect("a record with a good checksum is one of ours");
    Arc::new(ringpost_shard::Record { head, body: body.clone() })
}

/// Tells the workers, REST and the journal how far the store is.
pub(super) struct Applied {
    pub(super) mailboxes: Mailboxes,
    pub(super) journal: Arc<OnceLock<JournalHandle>>,
    pub(super) progress: Arc<OnceLock<Arc<Progress>>>,
    pub(super) readiness: Arc<Readiness>,
}

impl ApplySink for Applied {
    fn applied(&mut self, position: Position) {
        if let Some(progress) = self.progress.get() {
            progress.on_applied(position);
        }
        for mailbox in self.mailboxes.get().into_iter().flatten() {
            mailbox.post(Letter::Event(Event::Applied { position }));
        }
    }

    fn persisted(&mut self, position: Position) {
        if let Some(journal) = self.journal.get() {
            journal.trim(position.0);
        }
    }

    fn failed(&mut self, error: &StoreError) {
        tracing::error!(%error, "the store has failed: the journal keeps what it lacks");
        self.readiness.refuse("store", error.to_string());
        if let Some(progress) = self.progress.get() {
            progress.on_stopped();
        }
    }
}

/// Hands answers of the store to the worker that asked.
pub(super) struct Answers {
    pub(super) mailboxes: Mailboxes,
}

impl ReadSink for Answers {
    fn answer(&self, worker: WorkerId, answer: ReadAnswer) {
        let event = match answer {
            ReadAnswer::Loaded { user, answer } => Event::Loaded { user, answer },
            ReadAnswer::LookedUp { user, device, message_id, answer } => {
                Event::AcceptedFound { user, device, message_id, answer }
            }
            ReadAnswer::MessagesRead { user, device, answer } => {
                Event::MessagesRead { user, device, answer }
            }
            ReadAnswer::ReceivedFound { user, device, answer } => {
                Event::ReceivedFound { user, device, answer }
            }
        };
        if let Some(mailboxes) = self.mailboxes.get() {
            mailboxes[usize::from(worker.0)].post(Letter::Event(event));
        }
    }
}
