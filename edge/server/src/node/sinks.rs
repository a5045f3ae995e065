//! From the storage tier back to the workers: durable records, answers of the store, progress.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ringpost_conn::{Letter, WORKERS_MAX};
use ringpost_journal::{DurableSink, JournalError, JournalHandle, Record, RecoveredRecord, Touch};
use ringpost_shard::at_hand::{self, Span};
use ringpost_shard::event::WorkerId;
use ringpost_shard::record::{Head, SharedRecord};
use ringpost_shard::{Event, Position};
use ringpost_store::StoreError;
use ringpost_store::store::ReopenError;
use ringpost_store::thread::{ApplySink, ReadAnswer, ReadSink, ReplayError, StoreHandle, Take};

use super::ending::Ending;
use super::mailbox::Mailbox;
use crate::exit::Kind;
use crate::readiness::Readiness;
use crate::rest::Progress;
use crate::set_aside::SetAside;

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
    pub(super) ending: Arc<Ending>,
    /// Of the batch at hand, for each worker.
    pub(super) batches: Vec<Vec<(Position, SharedRecord)>>,
    pub(super) last: Position,
}

impl DurableSink for Homes {
    fn durable(&mut self, position: u64, record: Record, touch: Touch) {
        let position = Position(position);
        let record = decoded(position, &record.head, &record.body);
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

    fn room_changed(&mut self, lack: Option<&str>) {
        match lack {
            Some(lack) => {
                let text = format!(
                    "{lack}; new messages are refused with `overloaded`; free space, or move the data \
                     directory to a larger disk: no restart is needed"
                );
                tracing::error!("the journal has no room: {text}");
                self.readiness.refuse("journal_room", text);
            }
            None => {
                tracing::info!("the journal has room again");
                self.readiness.clear("journal_room");
            }
        }
    }

    fn failed(&mut self, error: &JournalError) {
        tracing::error!(%error, "the journal has failed: nothing more is acknowledged");
        let text = format!("{error}; the server ends, and its next start recovers");
        self.readiness.refuse("journal", text);
        for mailbox in &self.mailboxes {
            mailbox.post(Letter::Event(Event::JournalFailed));
        }
        self.ending.report(Kind::JournalFailed, format!("the journal has failed: {error}"));
    }
}

/// Head and body of a record that was read back.
pub(super) fn parts(record: &RecoveredRecord) -> (Bytes, Bytes) {
    let payload = &record.payload;
    (payload.slice(..record.head_bytes), payload.slice(record.head_bytes..))
}

/// A record as the journal keeps it, in memory again.
///
/// # Panics
/// If the head cannot be read: its checksum was good, so this build wrote it wrongly.
pub(super) fn decoded(position: Position, head: &[u8], body: &Bytes) -> SharedRecord {
    let head = at_hand::with(Span::of(position), || {
        Head::decode(head).expect("a record with a good checksum is one of ours")
    });
    Arc::new(ringpost_shard::Record { head, body: body.clone() })
}

/// Tells the workers, REST and the journal how far the store is.
pub(super) struct Applied {
    pub(super) mailboxes: Mailboxes,
    pub(super) journal: Arc<OnceLock<JournalHandle>>,
    pub(super) progress: Arc<OnceLock<Arc<Progress>>>,
    pub(super) readiness: Arc<Readiness>,
    pub(super) ending: Arc<Ending>,
    pub(super) set_aside: Arc<OnceLock<SetAside>>,
    /// The store's directory, for people.
    pub(super) path: PathBuf,
    /// When the last line was written about a store that takes no writes.
    pub(super) told_at: Option<Instant>,
}

/// Between two lines about the same trouble.
const TELL_EVERY: Duration = Duration::from_secs(60);

impl Applied {
    /// `/readyz` always, the log at most once a minute.
    fn tell_suspended(&mut self, error: &str) {
        if self.journal.get().is_none() {
            // There is no server yet that could go on from memory, so this start ends by it.
            tracing::error!("the store takes no writes, which the start needs: {error}");
            return;
        }
        let text = format!(
            "{error}; messages are kept in the journal and delivered from memory, history waits; \
             when the disk takes writes it goes on by itself: no restart is needed"
        );
        if self.told_at.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
            self.told_at = Some(Instant::now());
            tracing::error!("the store takes no writes and is tried again: {text}");
        }
        self.readiness.refuse("store", text);
    }
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

    fn suspended(&mut self, error: &StoreError) {
        self.tell_suspended(&format!("{}: {error}", self.path.display()));
    }

    fn still_suspended(&mut self, error: &ReopenError) {
        self.tell_suspended(&error.to_string());
    }

    fn resumed(&mut self) {
        self.told_at = None;
        tracing::info!(path = %self.path.display(), "the store takes writes again, and has caught up");
        self.readiness.clear("store");
    }

    fn replay(&mut self, after: Position, take: Take<'_>) -> Result<(), ReplayError> {
        let Some(journal) = self.journal.get() else {
            return Err(ReplayError::Journal("the journal is not started yet".to_owned()));
        };
        let records = journal.records_after(after.0);
        let records = records.map_err(|error| ReplayError::Journal(error.to_string()))?;
        for record in records {
            let record = record.map_err(|error| ReplayError::Journal(error.to_string()))?;
            let position = Position(record.position);
            if self.set_aside.get().is_some_and(|it| it.contains(position)) {
                take(position, None)?;
                continue;
            }
            let (head, body) = parts(&record);
            take(position, Some(&decoded(position, &head, &body)))?;
        }
        Ok(())
    }

    fn failed(&mut self, error: &StoreError) {
        tracing::error!(%error, "the store has failed: the journal keeps what it lacks");
        self.readiness.refuse("store", format!("{}: {error}", self.path.display()));
        self.ending.report(Kind::Storage, format!("{}: {error}", self.path.display()));
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
