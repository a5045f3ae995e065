//! The journal thread: the logic, a device and a queue, and what other threads see of them.
//!
//! ```text
//!  worker: try_reserve -> Batch::push.. -> submit --.                    .--> sink.durable.. batch_end
//!  worker: ...                                      |--> inbox -> driver |
//!  applier: trim(checkpoint) -----------------------'       |            '--> sink.failed
//!                                                    jobs --> preparer
//! ```
//!
//! - Nothing blocks a worker: room is taken first (`gate`), and with room the queue has a place,
//!   because each record in flight holds at least one block of it.
//! - The sink is called on the journal thread, in the order of positions, and must not block.

mod driver;
mod gate;
mod preparer;

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Release},
    },
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use crossbeam::channel::{Sender, TrySendError, bounded};

pub use gate::{Batch, Room};

use crate::{
    Opened,
    device::{
        DeviceKind, LogDevice,
        file::FileDevice,
        glommio::{self, GlommioDevice},
        none::NoDevice,
    },
    directory::{Directory, DirectorySource},
    error::{DeviceError, JournalError, Operation, Refused},
    format::Record,
    logic::{Action, Done, Journal, Touch},
    reader::RecordReader,
    stats::Stats,
    thread::{
        driver::{CONTROL_MESSAGES_MAX, Driver, Inbox},
        gate::{Gate, cost_max},
    },
};

/// Receives what has become durable, in order, on the journal thread. Must not block.
pub trait DurableSink: Send {
    /// One durable record.
    fn durable(&mut self, position: u64, record: Record, touch: Touch);
    /// The batch is complete: a moment to wake those who were given something.
    fn batch_end(&mut self);
    /// No more work should be taken on for want of room, with the reason in words; `None`: it may be
    /// again. What is committed all the same is taken as far as there is room.
    fn room_changed(&mut self, lack: Option<&str>);
    /// The journal has ended. What was submitted and not given to `durable` has an unknown
    /// outcome. Called once, last.
    fn failed(&mut self, error: &JournalError);
}

/// The running journal. Dropping it stops it as [`JournalThread::stop`] does.
#[derive(Debug)]
pub struct JournalThread {
    handle: JournalHandle,
    threads: Vec<thread::JoinHandle<()>>,
}

/// Access to the journal for any thread; cheap to clone.
#[derive(Debug, Clone)]
pub struct JournalHandle {
    inbox: Sender<Inbox>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    gate: Arc<Gate>,
    stats: Arc<Stats>,
    durable_position: AtomicU64,
    trim_to: AtomicU64,
    trim_announced: AtomicBool,
    /// Milliseconds after `started`, plus one, at which the batch in flight began; 0 = none.
    batch_since: AtomicU64,
    failure: OnceLock<Arc<JournalError>>,
    directory: Directory,
    chain_turn: Mutex<()>,
    started: Instant,
}

impl JournalThread {
    /// Starts the threads of an opened journal and waits until the device is usable.
    ///
    /// # Errors
    /// A thread could not be started, or the device cannot be used.
    pub fn start(
        opened: Opened,
        device: DeviceKind,
        sink: impl DurableSink + 'static,
    ) -> Result<Self, DeviceError> {
        match device {
            DeviceKind::File => Self::start_with(opened, FileDevice::new, sink),
            DeviceKind::None => Self::start_with(opened, |_| NoDevice::default(), sink),
            DeviceKind::Glommio => Self::spawn(opened, sink, run_glommio),
        }
    }

    /// Starts with another device, made on the journal thread. Its futures must be ready at once,
    /// that is: it blocks instead of waiting. For tests that inject faults.
    ///
    /// # Errors
    /// A thread could not be started.
    pub fn start_with<D: LogDevice>(
        opened: Opened,
        device: impl FnOnce(Directory) -> D + Send + 'static,
        sink: impl DurableSink + 'static,
    ) -> Result<Self, DeviceError> {
        Self::spawn(opened, sink, |driver, directory, ready| {
            let device = device(directory);
            answer(ready, Ok(()));
            run_ready(driver.run(device));
        })
    }

    fn spawn<S: DurableSink + 'static>(
        opened: Opened,
        sink: S,
        run: impl FnOnce(Driver<S>, Directory, &Sender<Result<(), DeviceError>>) + Send + 'static,
    ) -> Result<Self, DeviceError> {
        let Opened { journal, directory, .. } = opened;
        let path = directory.path().to_owned();
        let spawn_error = |error| DeviceError::new(Operation::Open, &path, error);
        let queue_max = journal.limits().inflight_records_max() + CONTROL_MESSAGES_MAX;
        let (sender, inbox) = bounded(queue_max);
        let shared = Arc::new(Shared::new(&journal, directory.clone()));
        let (jobs, preparer) =
            preparer::start(directory.clone(), sender.clone()).map_err(spawn_error)?;
        let mut driver = Driver::new(journal, inbox, jobs, shared.clone(), sink);
        driver.publish(None);
        let (ready, started) = bounded(1);
        let thread = thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || run(driver, directory, &ready))
            .map_err(spawn_error)?;
        let handle = JournalHandle { inbox: sender, shared };
        let journal_thread = Self { handle, threads: vec![thread, preparer] };
        started.recv().expect("the thread answers before it does anything else")?;
        Ok(journal_thread)
    }

    /// Access for other threads.
    #[must_use]
    pub fn handle(&self) -> JournalHandle {
        self.handle.clone()
    }

    /// Refuses new records, writes what was submitted, seals, and ends the threads. Submit nothing
    /// while it runs.
    ///
    /// # Errors
    /// Why the journal had failed.
    pub fn stop(mut self) -> Result<(), Arc<JournalError>> {
        self.end();
        self.handle.failure().map_or(Ok(()), Err)
    }

    fn end(&mut self) {
        self.handle.shared.gate.close(Refused::Closed);
        // An error means that it has ended already.
        let _ = self.handle.inbox.send(Inbox::Stop);
        for thread in self.threads.drain(..) {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

impl Drop for JournalThread {
    fn drop(&mut self) {
        if !self.threads.is_empty() && !thread::panicking() {
            self.end();
        }
    }
}

impl JournalHandle {
    /// Takes room for up to `records` records of `bytes` bytes together (head and body). Do it
    /// before the work that will commit them; what is not used comes back by itself.
    ///
    /// # Errors
    /// See [`Refused`]; counted.
    pub fn try_reserve(&self, records: u32, bytes: u64) -> Result<Room, Refused> {
        self.shared.gate.try_reserve(cost_max(records, bytes), false)
    }

    /// The same, for what was refused before and is tried again: not counted.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn try_reserve_again(&self, records: u32, bytes: u64) -> Result<Room, Refused> {
        self.shared.gate.try_reserve(cost_max(records, bytes), true)
    }

    /// Whether more work may be taken on: asked before a command is accepted whose record will need
    /// room. A few loads of memory; nothing is counted.
    ///
    /// # Errors
    /// The journal has ended, or little room is left and more does not come by itself.
    pub fn admit(&self) -> Result<(), Refused> {
        self.shared.gate.admit()
    }

    /// Hands a batch to the journal. Its records keep their order. Does not block.
    ///
    /// # Errors
    /// `Failed` or `Closed`: the journal has ended. The sink has been told, or will not be.
    ///
    /// # Panics
    /// If the queue is full although there was room: a bug.
    pub fn submit(&self, batch: Batch) -> Result<(), Refused> {
        if batch.is_empty() {
            return Ok(());
        }
        let (submissions, room) = batch.into_parts();
        match self.inbox.try_send(Inbox::Batch(submissions)) {
            Ok(()) => {
                room.submitted();
                Ok(())
            }
            Err(TrySendError::Disconnected(_)) => {
                Err(self.shared.gate.closed().unwrap_or(Refused::Failed))
            }
            Err(TrySendError::Full(_)) => panic!("a record with room has a place in the queue"),
        }
    }

    /// Everything up to this position is durable; 0 = nothing.
    #[must_use]
    pub fn durable_position(&self) -> u64 {
        self.shared.durable_position.load(Acquire)
    }

    /// The records above `position` that are durable now, read from disk: for an applier that keeps
    /// less in memory than the journal holds. Blocks until the journal thread has answered, so not
    /// for workers. `position` must not be below the last `trim`, and no later `trim` may pass what
    /// is still to be read.
    ///
    /// # Errors
    /// `Failed` or `Closed`: the journal has ended.
    pub fn records_after(&self, position: u64) -> Result<RecordReader<DirectorySource>, Refused> {
        let ended = || self.shared.gate.closed().unwrap_or(Refused::Failed);
        // One at a time: the queue keeps one place for this question.
        let _turn = self.shared.chain_turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (answer, chain) = bounded(1);
        self.inbox.try_send(Inbox::Chain(answer)).map_err(|_| ended())?;
        let chain = chain.recv().map_err(|_| ended())?;
        let directory = &self.shared.directory;
        Ok(RecordReader::new(directory.source(), directory.journal_id(), &chain, position))
    }

    /// The store has persisted everything up to `checkpoint`: older segments may be used again.
    pub fn trim(&self, checkpoint: u64) {
        self.shared.trim_to.fetch_max(checkpoint, AcqRel);
        if !self.shared.trim_announced.swap(true, AcqRel) {
            // An error means that the journal has ended: then nothing needs trimming.
            let _ = self.inbox.try_send(Inbox::Trim);
        }
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.shared.stats
    }

    /// Why the journal ended, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<Arc<JournalError>> {
        self.shared.failure.get().cloned()
    }

    /// No record is on its way to the disk, and no room is taken for one.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.shared.gate.is_idle()
    }

    /// How long the batch in flight has been on its way; a stuck disk shows here.
    #[must_use]
    pub fn waiting_for(&self) -> Option<Duration> {
        let since = self.shared.batch_since.load(Acquire).checked_sub(1)?;
        Some(self.shared.started.elapsed().saturating_sub(Duration::from_millis(since)))
    }
}

impl Shared {
    fn new(journal: &Journal, directory: Directory) -> Self {
        let stats = Arc::new(Stats::default());
        Self {
            gate: Arc::new(Gate::new(journal.limits(), Arc::clone(&stats))),
            stats,
            durable_position: AtomicU64::new(journal.durable_position()),
            trim_to: AtomicU64::new(0),
            trim_announced: AtomicBool::new(false),
            batch_since: AtomicU64::new(0),
            failure: OnceLock::new(),
            directory,
            chain_turn: Mutex::new(()),
            started: Instant::now(),
        }
    }

    /// The announcement is taken back before the value is read: a later rise announces itself.
    fn take_trim(&self) -> u64 {
        self.trim_announced.swap(false, AcqRel);
        self.trim_to.load(Acquire)
    }

    fn set_durable(&self, position: u64) {
        self.durable_position.store(position, Release);
    }

    fn set_failed(&self, failure: &Arc<JournalError>) {
        // Set once: the thread ends with it.
        let _ = self.failure.set(Arc::clone(failure));
        self.gate.close(Refused::Failed);
    }

    fn batch_started(&self, at: Duration) {
        let millis = u64::try_from(at.as_millis()).unwrap_or(u64::MAX - 1);
        self.batch_since.store(millis + 1, Release);
    }

    fn batch_ended(&self) {
        self.batch_since.store(0, Release);
    }
}

/// The journal thread under glommio: makes an executor and the device, says so, and drives.
fn run_glommio(
    driver: Driver<impl DurableSink>,
    directory: Directory,
    ready: &Sender<Result<(), DeviceError>>,
) {
    let executor = match glommio::executor() {
        Ok(executor) => executor,
        Err(error) => {
            let error = DeviceError::new(Operation::Open, directory.path(), error);
            return answer(ready, Err(error));
        }
    };
    executor.run(async {
        match GlommioDevice::open(directory).await {
            Ok(device) => {
                answer(ready, Ok(()));
                driver.run(device).await;
            }
            Err(error) => answer(ready, Err(error)),
        }
    });
}

fn answer(ready: &Sender<Result<(), DeviceError>>, result: Result<(), DeviceError>) {
    ready.send(result).expect("the starter waits for the answer");
}

/// Runs a future that never waits, because its device blocks instead.
fn run_ready(future: impl Future<Output = ()>) {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(()) => {}
        Poll::Pending => unreachable!("a device that blocks has no pending operation"),
    }
}

/// Prepares segments on the calling thread until the journal takes records, or cannot for lack of
/// space: then it refuses, and what it holds can be applied and trimmed.
pub(crate) fn prepare_first(
    journal: &mut Journal,
    directory: &Directory,
) -> Result<(), DeviceError> {
    // Ends: each round prepares or removes one segment of a bounded number.
    while !journal.is_ready() {
        let done = match journal.poll_action(Duration::ZERO) {
            Some(Action::Prepare { slot, bytes }) => match directory.prepare(slot, bytes) {
                Err(error) if !error.is_full() || journal.live_segments() == 0 => {
                    return Err(error);
                }
                result => Done::Prepared(slot, result),
            },
            Some(Action::Remove { slot }) => Done::Removed(slot, directory.remove(slot)),
            Some(other) => unreachable!("nothing was submitted, but {other:?}"),
            None => break,
        };
        journal.complete(done, Duration::ZERO);
    }
    Ok(())
}
