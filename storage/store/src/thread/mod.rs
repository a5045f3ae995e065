//! The store threads: one that applies, a few that read. Nothing here runs on a worker.
//!
//! ```text
//!  journal --submit--> [feed] --> applier thread --apply, persist--> store
//!                                   |  ApplySink: applied (to workers), persisted (trim)
//!  worker --read--> [queue: ripe | waiting for a position] --> reader threads --ReadSink--> worker
//!  REST --wait_applied--> (then reads the store itself)
//! ```
//!
//! Every record that the journal made durable is submitted once, in order. A read names the last
//! record that may touch what it reads; it waits until the applier has passed that record, and
//! kicks the applier so that it does so now. All queues are bounded by [`ThreadLimits`]; a full one
//! refuses (reads) or holds back (records), and is counted.
//!
//! A store that takes no writes is opened again, as often as it takes; meanwhile records are passed
//! over, because the journal has them, and are read from there afterwards ([`ApplySink::replay`]).
#![allow(
    clippy::disallowed_methods,
    reason = "this is the driver of the sans-IO applier: it has threads and a clock"
)]

mod applying;
mod outage;
mod reading;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{self, Receiver, Sender};
use ringpost_shard::event::WorkerId;
use ringpost_shard::image::{Accepted, MessageRow, Received, StoreUnavailable, UserImage};
use ringpost_shard::record::{Position, Record, SharedRecord};
use ringpost_wire::limits::MESSAGE_BYTES_MAX;
use ringpost_wire::{DeviceId, MessageId, ServerId, UserId};
use smallvec::SmallVec;

use crate::applier::ApplierLimits;
use crate::store::{ReopenError, Store, StoreError};

/// What a record counts beside its content while it waits to be applied, bytes.
const RECORD_BYTES: u64 = 256;

/// Limits of the store threads.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ThreadLimits {
    /// How records are gathered.
    pub applier: ApplierLimits,
    /// Records that wait for the applier thread; beyond, `submit` blocks. Default 262,144: as many
    /// as the bytes of `submitted_bytes_max` are without content, so that it is the bytes that bound.
    /// A batch is gathered for 200 ms, in which a fast node commits tens of thousands. 24 B each.
    pub feed_records_max: usize,
    /// Bytes committed and not yet applied at which [`StoreHandle::is_overloaded`] says so: new
    /// sends are to be refused. Default 32 MiB, with 256 B counted per record beside its content.
    pub backlog_bytes_max: u64,
    /// Bytes committed and not yet applied at which `submit` blocks: what was on its way when the
    /// server began to refuse has room between the two. Default 64 MiB.
    pub submitted_bytes_max: u64,
    /// What is applied is persisted this often, and the journal trimmed. Default 1 s.
    pub persist_every: Duration,
    /// Threads that read. Default 2.
    pub readers: usize,
    /// Reads that are queued or wait for a position. Default 4,096.
    pub reads_max: usize,
    /// A read waits this long for its turn and position, then it is answered with
    /// `StoreUnavailable`. Default 1 s.
    pub read_wait: Duration,
    /// Threads that may wait in [`StoreHandle::wait_applied`]. Default 256.
    pub waiters_max: usize,
}

impl Default for ThreadLimits {
    fn default() -> Self {
        Self {
            applier: ApplierLimits::default(),
            feed_records_max: 262_144,
            backlog_bytes_max: 32 << 20,
            submitted_bytes_max: 64 << 20,
            persist_every: Duration::from_secs(1),
            readers: 2,
            reads_max: 4_096,
            read_wait: Duration::from_secs(1),
            waiters_max: 256,
        }
    }
}

impl ThreadLimits {
    /// What the threads may hold in memory, bytes: records on their way, the batch that is made of
    /// them and its rows, and queued reads.
    pub const fn memory_bytes_max(&self) -> u64 {
        let batch = self.applier.batch_bytes_max + MESSAGE_BYTES_MAX;
        let reads = self.reads_max * size_of::<ReadRequest>() * 2;
        self.submitted_bytes_max + (MESSAGE_BYTES_MAX + 2 * batch + reads) as u64
    }
}

/// A read for a worker.
#[derive(Clone, PartialEq, Debug)]
pub enum ReadRequest {
    /// `Effect::Load`.
    Load {
        /// Who.
        user: UserId,
        /// The last record that may touch the user.
        after: Position,
    },
    /// `Effect::LookUpAccepted`.
    LookUp {
        /// The sender.
        user: UserId,
        /// The sender's device.
        device: DeviceId,
        /// The client's id.
        message_id: MessageId,
        /// The last record that may touch the user.
        after: Position,
    },
    /// `Effect::ReadMessages`.
    Messages {
        /// Whose queue is read.
        user: UserId,
        /// Which device's.
        device: DeviceId,
        /// Which messages.
        ids: SmallVec<[ServerId; 4]>,
        /// The last record that put one of them.
        after: Position,
    },
    /// `Effect::FindReceived`.
    Received {
        /// The reader.
        user: UserId,
        /// The reader's device.
        device: DeviceId,
        /// Which message.
        id: ServerId,
        /// The last record that may touch the user.
        after: Position,
    },
}

impl ReadRequest {
    /// The position that must be applied before the read.
    pub const fn after(&self) -> Position {
        match self {
            Self::Load { after, .. }
            | Self::LookUp { after, .. }
            | Self::Messages { after, .. }
            | Self::Received { after, .. } => *after,
        }
    }
}

/// The answer to a [`ReadRequest`]: the fields of the `Event` that it becomes.
#[derive(Clone, PartialEq, Debug)]
pub enum ReadAnswer {
    /// `Event::Loaded`.
    Loaded {
        /// Who.
        user: UserId,
        /// The image, `None` if there is no such user.
        answer: Result<Option<UserImage>, StoreUnavailable>,
    },
    /// `Event::AcceptedFound`.
    LookedUp {
        /// The sender.
        user: UserId,
        /// The sender's device.
        device: DeviceId,
        /// The client's id.
        message_id: MessageId,
        /// What was accepted under it.
        answer: Result<Option<Accepted>, StoreUnavailable>,
    },
    /// `Event::MessagesRead`.
    MessagesRead {
        /// Whose queue.
        user: UserId,
        /// Which device's.
        device: DeviceId,
        /// The rows in the order asked for.
        answer: Result<Vec<(ServerId, Option<MessageRow>)>, StoreUnavailable>,
    },
    /// `Event::ReceivedFound`.
    ReceivedFound {
        /// The reader.
        user: UserId,
        /// The reader's device.
        device: DeviceId,
        /// The message, `None` if there is no such.
        answer: Result<Option<Box<Received>>, StoreUnavailable>,
    },
}

/// Takes answers to a worker. Called on reader threads; must not block on the store.
pub trait ReadSink: Send + Sync {
    /// The answer for `worker`. Called exactly once for each read that was taken.
    fn answer(&self, worker: WorkerId, answer: ReadAnswer);
}

/// Learns how far the store is. Called on the applier thread; must not block on the store, nor
/// on whoever calls [`StoreHandle::submit`].
pub trait ApplySink: Send {
    /// Readers see everything up to here.
    fn applied(&mut self, position: Position);

    /// Everything up to here survives a crash: the journal may be trimmed.
    fn persisted(&mut self, position: Position);

    /// The store takes no writes for now. It is opened again until it does.
    fn suspended(&mut self, error: &StoreError);

    /// The store could still not be opened.
    fn still_suspended(&mut self, error: &ReopenError);

    /// The store takes writes again and has applied everything.
    fn resumed(&mut self);

    /// Shows what is durable behind `after`, in order, to `take`.
    ///
    /// # Errors
    /// Those of `take`; or if the journal has ended or cannot be read.
    fn replay(&mut self, after: Position, take: Take<'_>) -> Result<(), ReplayError>;

    /// The store takes no more writes; the applier thread ends. What is durable is in the
    /// journal.
    fn failed(&mut self, error: &StoreError);
}

/// Takes the records of a replay; `None` for one that is set aside.
pub type Take<'t> = &'t mut dyn FnMut(Position, Option<&SharedRecord>) -> Result<(), StoreError>;

/// Why a replay ended before the journal did.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReplayError {
    /// The store did not take a record.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The journal does not say what it has.
    #[error("{0}")]
    Journal(String),
}

/// The store threads have ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the store threads have ended")]
pub struct Ended;

/// Why the store threads did not end as they should.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StopError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The applier is stuck in the engine; what it has not persisted is in the journal.
    #[error("the store did not finish in time")]
    Late,
}

enum Feed {
    Record(Position, SharedRecord),
    SetAside(Position),
    Stop,
}

/// Counters of the store threads, all rising.
#[derive(Default)]
struct Counters {
    records: AtomicU64,
    batches: AtomicU64,
    entries_cancelled: AtomicU64,
    kicks: AtomicU64,
    persists: AtomicU64,
    retries: AtomicU64,
    suspensions: AtomicU64,
    reads: AtomicU64,
    reads_refused: AtomicU64,
    reads_timed_out: AtomicU64,
    reads_failed: AtomicU64,
    submits_held: AtomicU64,
}

/// What the store threads have done so far, for metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ThreadStats {
    /// Records applied.
    pub records: u64,
    /// Batches applied.
    pub batches: u64,
    /// Queue entries that were put and acked within one batch.
    pub entries_cancelled: u64,
    /// Times that somebody did not want to wait for the batch to fill.
    pub kicks: u64,
    /// Checkpoints.
    pub persists: u64,
    /// Writes repeated because the store was down.
    pub retries: u64,
    /// Times that the store took no writes and had to be opened again.
    pub suspensions: u64,
    /// Whether it takes none now.
    pub is_suspended: bool,
    /// Reads answered with what was asked for.
    pub reads: u64,
    /// Reads refused because the queue was full.
    pub reads_refused: u64,
    /// Reads that waited too long.
    pub reads_timed_out: u64,
    /// Reads that the store failed.
    pub reads_failed: u64,
    /// Times that `submit` had to wait for room.
    pub submits_held: u64,
    /// Reads queued now.
    pub reads_queued: u64,
    /// Bytes committed and not yet applied, now.
    pub backlog_bytes: u64,
}

struct Shared {
    store: Arc<dyn Store>,
    limits: ThreadLimits,
    reads: reading::ReadQueue,
    kicked: AtomicU64,
    backlog_bytes: AtomicU64,
    outage: outage::Outage,
    counters: Counters,
}

/// The running threads.
pub struct StoreThreads {
    handle: StoreHandle,
    readers: Vec<JoinHandle<()>>,
    outcome: Receiver<Result<(), StoreError>>,
}

impl StoreThreads {
    /// Starts the threads on `store`. Records are to be submitted from any position at or before
    /// `store.applied() + 1`.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(
        store: Arc<dyn Store>,
        limits: ThreadLimits,
        apply_sink: Box<dyn ApplySink>,
        read_sink: Arc<dyn ReadSink>,
    ) -> std::io::Result<Self> {
        assert!(limits.readers > 0 && limits.reads_max > 0, "reads are answered by somebody");
        assert!(
            limits.submitted_bytes_max >= limits.backlog_bytes_max,
            "sends are refused before the journal is held back"
        );
        let shared = Arc::new(Shared {
            reads: reading::ReadQueue::new(store.applied()),
            store,
            limits,
            kicked: AtomicU64::new(0),
            backlog_bytes: AtomicU64::new(0),
            outage: outage::Outage::default(),
            counters: Counters::default(),
        });
        let (feed, records) = channel::bounded(limits.feed_records_max);
        let (bell, rung) = channel::bounded(1);
        let (done, outcome) = channel::bounded(1);
        let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let applying = Arc::clone(&shared);
        named("store-apply").spawn(move || {
            let result = applying::run(&applying, (records, rung), apply_sink);
            applying.reads.end_progress();
            // The other side is gone only if nobody waits for the outcome.
            let _ = done.send(result);
        })?;
        let spawn_reader = |_| {
            let (shared, sink) = (Arc::clone(&shared), Arc::clone(&read_sink));
            named("store-read").spawn(move || reading::run(&shared, &*sink))
        };
        let readers = (0..limits.readers).map(spawn_reader).collect::<std::io::Result<Vec<_>>>();
        // On an error the feed closes, which ends the applier; the readers are told.
        let readers = readers.inspect_err(|_| shared.reads.stop())?;
        Ok(Self { handle: StoreHandle { shared, feed, bell }, readers, outcome })
    }

    /// The way in.
    pub fn handle(&self) -> StoreHandle {
        self.handle.clone()
    }

    /// Applies and persists what was submitted, answers what is queued, ends the threads.
    ///
    /// # Errors
    /// If the store had failed or fails now, or takes longer than `wait`.
    pub fn stop(self, wait: Duration) -> Result<(), StopError> {
        let deadline = Instant::now() + wait;
        // A failed applier has left: then its outcome is there already.
        let _ = self.handle.feed.send_deadline(Feed::Stop, deadline);
        self.handle.ring();
        let outcome = self.outcome.recv_deadline(deadline);
        self.handle.shared.reads.stop();
        for reader in self.readers {
            // A reader that panicked has said so; the others' answers are out.
            let _ = reader.join();
        }
        outcome.map_err(|_| StopError::Late)?.map_err(StopError::Store)
    }
}

/// The way to the store threads; cheap to clone.
#[derive(Clone)]
pub struct StoreHandle {
    shared: Arc<Shared>,
    feed: Sender<Feed>,
    /// Wakes the applier while it gathers; records alone do not.
    bell: Sender<()>,
}

impl StoreHandle {
    /// Hands over the next durable record. Blocks while there is no room for it, in records or in
    /// bytes: that holds the journal back, and happens only if [`StoreHandle::is_overloaded`] was
    /// not heeded. While the store takes no writes the record is passed over, and read from the
    /// journal later.
    ///
    /// # Errors
    /// If the applier thread has ended.
    pub fn submit(&self, position: Position, record: SharedRecord) -> Result<(), Ended> {
        let (outage, bytes) = (&self.shared.outage, record_bytes(&record));
        if !outage.is_out() && self.backlog_bytes() >= self.shared.limits.submitted_bytes_max {
            self.shared.counters.submits_held.fetch_add(1, Ordering::Relaxed);
            self.kick(Position(position.0 - 1));
            let has_room =
                || outage.is_out() || self.backlog_bytes() < self.shared.limits.submitted_bytes_max;
            self.shared.reads.wait_for(&has_room)?;
        }
        self.shared.backlog_bytes.fetch_add(bytes, Ordering::Relaxed);
        if outage.is_out() && outage.pass_over(position, bytes) {
            return Ok(());
        }
        let feed = match self.feed.try_send(Feed::Record(position, record)) {
            Err(channel::TrySendError::Full(feed)) => {
                self.shared.counters.submits_held.fetch_add(1, Ordering::Relaxed);
                self.ring();
                feed
            }
            Err(channel::TrySendError::Disconnected(_)) => return Err(Ended),
            Ok(()) => return Ok(()),
        };
        self.feed.send(feed).map_err(|_| Ended)
    }

    /// Passes over the next durable record: it is set aside.
    ///
    /// # Errors
    /// If the applier thread has ended.
    pub fn skip(&self, position: Position) -> Result<(), Ended> {
        self.feed.send(Feed::SetAside(position)).map_err(|_| Ended)
    }

    /// Queues a read for `worker`; its answer comes through the [`ReadSink`].
    ///
    /// # Errors
    /// If the queue is full, or the threads have ended: the request comes back, and is to be
    /// answered with `StoreUnavailable`.
    pub fn read(&self, worker: WorkerId, request: ReadRequest) -> Result<(), ReadRequest> {
        let after = request.after();
        let deadline = Instant::now() + self.shared.limits.read_wait;
        let must_wait =
            self.shared.reads.push(worker, request, deadline, self.shared.limits.reads_max);
        match must_wait {
            Ok(false) => Ok(()),
            Ok(true) => {
                self.kick(after);
                Ok(())
            }
            Err(request) => {
                self.shared.counters.reads_refused.fetch_add(1, Ordering::Relaxed);
                Err(request)
            }
        }
    }

    /// Waits until the store has applied `position`, and has it applied now.
    ///
    /// # Errors
    /// If `deadline` passes before, too many wait already, or the applier has ended.
    pub fn wait_applied(
        &self,
        position: Position,
        deadline: Instant,
    ) -> Result<(), StoreUnavailable> {
        if self.shared.store.applied() >= position {
            return Ok(());
        }
        self.kick(position);
        let waited = self.shared.reads.wait(position, deadline, self.shared.limits.waiters_max);
        waited.inspect_err(|_| {
            self.shared.counters.reads_timed_out.fetch_add(1, Ordering::Relaxed);
        })
    }

    /// The store, for threads that may block.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.shared.store
    }

    /// Bytes committed and not yet applied.
    pub fn backlog_bytes(&self) -> u64 {
        self.shared.backlog_bytes.load(Ordering::Relaxed)
    }

    /// Whether the backlog is at its cap, in bytes or in records: refuse new sends.
    pub fn is_overloaded(&self) -> bool {
        self.backlog_bytes() >= self.shared.limits.backlog_bytes_max
            || self.feed.len() >= self.shared.limits.feed_records_max / 2
    }

    /// Whether the store takes no writes just now: it is opened again and again until it does.
    pub fn is_out(&self) -> bool {
        self.shared.outage.is_out()
    }

    /// The counters.
    pub fn stats(&self) -> ThreadStats {
        let counters = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ThreadStats {
            records: read(&counters.records),
            batches: read(&counters.batches),
            entries_cancelled: read(&counters.entries_cancelled),
            kicks: read(&counters.kicks),
            persists: read(&counters.persists),
            retries: read(&counters.retries),
            suspensions: read(&counters.suspensions),
            is_suspended: self.shared.outage.is_out(),
            reads: read(&counters.reads),
            reads_refused: read(&counters.reads_refused),
            reads_timed_out: read(&counters.reads_timed_out),
            reads_failed: read(&counters.reads_failed),
            submits_held: read(&counters.submits_held),
            reads_queued: self.shared.reads.len() as u64,
            backlog_bytes: self.backlog_bytes(),
        }
    }

    /// Has the applier run up to `through` at once instead of gathering. Does not block.
    pub fn kick(&self, through: Position) {
        self.shared.counters.kicks.fetch_add(1, Ordering::Relaxed);
        self.shared.kicked.fetch_max(through.0, Ordering::Release);
        self.ring();
    }

    fn ring(&self) {
        // Full: it has been rung and not yet heard. Disconnected: who waits is told by the end of
        // the thread.
        let _ = self.bell.try_send(());
    }
}

fn record_bytes(record: &Record) -> u64 {
    RECORD_BYTES + record.content_bytes() as u64
}
