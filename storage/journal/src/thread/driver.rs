//! The loop of the journal thread: carries out what the logic asks for. It holds no rule itself.
//!
//! While a batch is written and synced, and while the next one is to gather, submissions gather in
//! the inbox, and nobody wakes the thread for them; when there is nothing to do, it sleeps in the
//! inbox. Nothing else runs on it, so blocking is right under the glommio executor as well.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crossbeam::channel::{Receiver, Sender};

use crate::{
    device::LogDevice,
    error::{DeviceError, Refused},
    format::Record,
    logic::{Action, Done, Durable, Journal, Touch},
    recovery::ChainLink,
    thread::{DurableSink, Shared, preparer::Job},
};

/// Everything that can wake the journal thread.
#[derive(Debug)]
pub(crate) enum Inbox {
    /// Records of one worker's turn; at least one.
    Batch(Vec<(Record, Touch)>),
    /// `Shared::trim_to` has risen.
    Trim,
    /// The preparer is done with a segment.
    Prepared(u32, Result<(), DeviceError>),
    /// The preparer is done with deleting one.
    Removed(u32, Result<(), DeviceError>),
    /// Somebody wants to read what is durable.
    Chain(Sender<Vec<ChainLink>>),
    /// Flush, seal, end.
    Stop,
}

/// Between two lines about the same trouble.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Messages in the inbox that are not batches: one of each kind at most.
pub(crate) const CONTROL_MESSAGES_MAX: usize = 5;

pub(crate) struct Driver<S> {
    pub(crate) journal: Journal,
    pub(crate) inbox: Receiver<Inbox>,
    pub(crate) jobs: Sender<Job>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) sink: S,
    /// Room that the gate knows of.
    published_room: i64,
    /// What the sink knows of the room.
    told_lack: Option<Refused>,
    /// When the last line about a segment that could not be prepared was written.
    warned_at: Option<Instant>,
}

impl<S: DurableSink> Driver<S> {
    pub(crate) fn new(
        journal: Journal,
        inbox: Receiver<Inbox>,
        jobs: Sender<Job>,
        shared: Arc<Shared>,
        sink: S,
    ) -> Self {
        let (published_room, told_lack, warned_at) = (0, None, None);
        Self { journal, inbox, jobs, shared, sink, published_room, told_lack, warned_at }
    }

    /// Runs until stopped or failed.
    pub(crate) async fn run<D: LogDevice>(mut self, mut device: D) {
        // Ends: with a stop or a failure. A round is one operation of the device, or one sleep.
        loop {
            // Ends: what is in flight is bounded, and room comes back only by this thread's work.
            while let Ok(message) = self.inbox.try_recv() {
                self.handle(message);
            }
            match self.journal.poll_action(self.now()) {
                Some(Action::Write { slot, offset, bytes }) => {
                    self.write(&mut device, slot, offset, bytes).await;
                }
                Some(Action::Sync { slot }) => self.sync(&mut device, slot).await,
                Some(Action::Prepare { slot, bytes }) => self.assign(Job::Prepare(slot, bytes)),
                Some(Action::Remove { slot }) => self.assign(Job::Remove(slot)),
                None if self.journal.is_finished() => break,
                None => self.wait(),
            }
        }
        device.close().await;
        self.finish();
    }

    fn handle(&mut self, message: Inbox) {
        match message {
            Inbox::Batch(submissions) => {
                for (record, touch) in submissions {
                    match self.journal.submit(record, touch) {
                        Ok(_) => {}
                        // Came in behind a failure or a stop: unknown outcome, as announced.
                        Err(Refused::Failed | Refused::Closed) => break,
                        Err(reason) => panic!("the gate let pass what does not fit: {reason}"),
                    }
                }
            }
            Inbox::Trim => {
                let checkpoint = self.shared.take_trim();
                self.journal.trim(checkpoint);
                self.publish(None);
            }
            Inbox::Prepared(slot, result) => {
                self.shared.stats.on_prepared(result.is_ok());
                self.log_preparation(result.as_ref().err());
                self.complete(Done::Prepared(slot, result));
            }
            Inbox::Removed(slot, result) => {
                if let Err(error) = &result {
                    tracing::warn!(%error, "the journal cannot delete a surplus segment");
                }
                self.complete(Done::Removed(slot, result));
            }
            Inbox::Chain(answer) => {
                // Who asked may have given up.
                let _ = answer.send(self.journal.durable_chain());
            }
            Inbox::Stop => self.journal.close(),
        }
    }

    async fn write<D: LogDevice>(&mut self, device: &mut D, slot: u32, offset: u64, bytes: usize) {
        self.shared.batch_started(self.now());
        if offset == 0 {
            self.shared.stats.on_segment_taken();
        }
        let mut buffer = device.buffer(bytes);
        self.journal.encode(buffer.as_mut());
        let result = device.write(slot, offset, buffer).await;
        self.complete(Done::Written(result));
    }

    async fn sync<D: LogDevice>(&mut self, device: &mut D, slot: u32) {
        let started = Instant::now();
        let result = device.sync(slot).await;
        if result.is_ok() {
            self.shared.stats.on_sync(started.elapsed());
        }
        self.complete(Done::Synced(result));
        self.shared.batch_ended();
    }

    fn complete(&mut self, done: Done) {
        let durable = self.journal.complete(done, self.now());
        // Room first, then the news: who hears that something is durable finds its room free.
        self.publish(durable.as_ref());
        let Some(durable) = durable else { return };
        let record_bytes = durable.entries.iter().map(|entry| entry.record.bytes()).sum();
        self.shared.stats.on_batch(durable.entries.len() as u64, record_bytes, durable.bytes);
        self.shared.set_durable(durable.through);
        if !durable.entries.is_empty() {
            for entry in durable.entries {
                self.sink.durable(entry.position, entry.record, entry.touch);
            }
            self.sink.batch_end();
        }
    }

    /// Tells the gate and the counters how things stand.
    pub(crate) fn publish(&mut self, durable: Option<&Durable>) {
        let room = i64::try_from(self.journal.room_bytes()).unwrap_or(i64::MAX);
        let change = room - self.published_room;
        self.published_room = room;
        self.shared.gate.set_shortage(self.journal.shortage());
        self.shared.gate.settle(durable.map_or(0, |durable| durable.cost), change);
        let journal = &self.journal;
        let (live, spare) = (journal.live_segments(), journal.spare_segments());
        self.shared.stats.set_segments(live, spare, journal.disk_bytes());
        let lack = journal.lack();
        if lack != self.told_lack {
            self.told_lack = lack;
            let why = |reason: Refused| match self.journal.prepare_error() {
                Some(error) => format!("{reason}: {error}"),
                None => reason.to_string(),
            };
            self.sink.room_changed(lack.map(why).as_deref());
        }
    }

    /// A line for the first failure and one a minute while it goes on; one when it is over.
    fn log_preparation(&mut self, error: Option<&DeviceError>) {
        match error {
            Some(error) if self.warned_at.is_none_or(|at| at.elapsed() >= WARN_EVERY) => {
                self.warned_at = Some(Instant::now());
                tracing::warn!(%error, "the journal cannot prepare a segment, will try again");
            }
            Some(_) => {}
            None if self.warned_at.take().is_some() => {
                tracing::info!("the journal has prepared a segment again");
            }
            None => {}
        }
    }

    fn assign(&mut self, job: Job) {
        self.publish(None);
        // Both outlive the other's use: the preparer ends when this sender is dropped.
        self.jobs.try_send(job).expect("one job of each kind is outstanding at most");
    }

    /// Sleeps until something comes in or is due.
    fn wait(&mut self) {
        if let Some(until) = self.journal.gathers_until() {
            // So briefly that nothing in the inbox is worth a wake: not even the order to stop.
            return thread::sleep(until.saturating_sub(self.now()));
        }
        let message = match self.journal.deadline() {
            // A timeout only means to look again.
            Some(at) => self.inbox.recv_timeout(at.saturating_sub(self.now())).ok(),
            // `Shared` is held by this thread, but the owner stops it before it lets go.
            None => self.inbox.recv().ok().or(Some(Inbox::Stop)),
        };
        if let Some(message) = message {
            self.handle(message);
        }
    }

    fn finish(mut self) {
        match self.journal.failure() {
            Some(failure) => {
                tracing::error!(error = %failure, "the journal has failed");
                self.shared.set_failed(failure);
                self.sink.failed(failure);
            }
            None => self.shared.gate.close(Refused::Closed),
        }
    }

    fn now(&self) -> Duration {
        self.shared.started.elapsed()
    }
}
