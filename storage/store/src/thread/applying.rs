//! The applier thread: drives the sans-IO [`Applier`] with a channel, a clock and a store.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, TryRecvError};
use ringpost_shard::record::Position;

use super::{ApplySink, Feed, ReplayError, Shared, record_bytes};
use crate::applier::{Applier, Pushed};
use crate::batch::Batch;
use crate::store::{ReopenError, StoreError};

/// First and longest pause before a write is repeated because the store is down.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(10);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(1);

/// First and longest pause before a store that takes no writes is opened again: short beside the
/// half minute in which a server is to be well after its disk is.
const REOPEN_PAUSE_MIN: Duration = Duration::from_millis(100);
const REOPEN_PAUSE_MAX: Duration = Duration::from_secs(4);

/// Times that a store which was opened again reads on in the journal, each time what came during the
/// time before. That becomes less: so far behind, new sends are refused.
const CATCH_UP_ROUNDS_MAX: usize = 64;

/// How often a store that has nothing to write is asked whether it could.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// While records are gathered the thread takes what has come this often, and is not woken for it: a
/// wake for each would cost more than the record.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Records taken between two looks at what is due.
const TAKEN_PER_TURN_MAX: usize = 256;

/// Writes repeated while stopping, before the rest is left to the journal.
const STOP_RETRIES_MAX: u32 = 3;

/// Runs until it is stopped, all senders are gone, or the store fails.
pub(super) fn run(
    shared: &Shared,
    (feed, bell): (Receiver<Feed>, Receiver<()>),
    sink: Box<dyn ApplySink>,
) -> Result<(), StoreError> {
    let applier = Applier::new(shared.store.applied(), shared.limits.applier);
    let started = Instant::now();
    let mut thread = Applying {
        shared,
        feed,
        bell,
        sink,
        applier,
        started,
        persisted_at: started,
        checked_at: started,
        gathered_bytes: 0,
        is_stopping: false,
    };
    let result = thread.run();
    if let Err(error) = &result {
        tracing::error!(%error, "store failed");
        thread.sink.failed(error);
    }
    result
}

struct Applying<'a> {
    shared: &'a Shared,
    /// Goes before the sink does: whoever learns that this thread has ended cannot submit.
    feed: Receiver<Feed>,
    /// Rings when something in the feed must not wait.
    bell: Receiver<()>,
    sink: Box<dyn ApplySink>,
    applier: Applier,
    started: Instant,
    persisted_at: Instant,
    checked_at: Instant,
    /// What the gathered records count in the backlog, bytes.
    gathered_bytes: u64,
    is_stopping: bool,
}

impl Applying<'_> {
    fn run(&mut self) -> Result<(), StoreError> {
        // Ends: with a stop. A round is one batch, or one sleep.
        while !self.is_stopping {
            match self.turn() {
                Err(error) if error.may_pass() => self.sit_out(error)?,
                outcome => outcome?,
            }
        }
        // What was submitted before the stop is in the channel before it.
        self.applier.kick(self.applier.gathered());
        self.apply_due()?;
        self.persist()
    }

    fn turn(&mut self) -> Result<(), StoreError> {
        if self.checked_at.elapsed() >= CHECK_EVERY {
            self.checked_at = Instant::now();
            self.shared.store.check().or_else(|error| match error.is_retryable() {
                true => Ok(()),
                false => Err(error),
            })?;
        }
        self.applier.kick(Position(self.shared.kicked.load(Ordering::Acquire)));
        if self.apply_due()? {
            return Ok(());
        }
        if self.persist_deadline().is_some_and(|deadline| deadline <= Instant::now()) {
            self.persist()?;
        }
        match self.receive() {
            Ok(feed) => self.take_with_followers(feed),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.is_stopping = true,
        }
        Ok(())
    }

    /// The next of the feed. Sleeps until there is one, or something is due.
    fn receive(&self) -> Result<Feed, RecvTimeoutError> {
        let persist = self.persist_deadline();
        let Some(gathered) = self.applier.next_deadline() else {
            let check = self.checked_at + CHECK_EVERY;
            return self.feed.recv_deadline(persist.map_or(check, |persist| persist.min(check)));
        };
        self.feed.try_recv().or_else(|_| {
            let due = (self.started + gathered).min(Instant::now() + LOOK_EVERY);
            let due = persist.map_or(due, |persist| persist.min(due));
            // Rung, due, or nobody is left to ring: the feed says which.
            let _ = self.bell.recv_deadline(due);
            self.feed.try_recv().map_err(|error| match error {
                TryRecvError::Empty => RecvTimeoutError::Timeout,
                TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
            })
        })
    }

    fn take_with_followers(&mut self, first: Feed) {
        let now = self.started.elapsed();
        self.take(first, now);
        for _ in 1..TAKEN_PER_TURN_MAX {
            // A complete batch takes no more, and nothing is behind the stop.
            if self.is_stopping || !self.applier.has_room() {
                return;
            }
            let Ok(next) = self.feed.try_recv() else { return };
            self.take(next, now);
        }
    }

    fn take(&mut self, feed: Feed, now: Duration) {
        let (position, record) = match feed {
            Feed::Record(position, record) => (position, record),
            Feed::SetAside(position) => {
                self.applier.skip(now, position).expect("the journal's order is kept");
                return;
            }
            Feed::Stop => {
                self.is_stopping = true;
                return;
            }
        };
        let bytes = record_bytes(&record);
        let pushed = self.applier.push(now, position, &record);
        match pushed.expect("the journal hands over its records in order") {
            Pushed::Gathered => self.gathered_bytes += bytes,
            Pushed::AlreadyApplied => {
                self.leave_backlog(bytes);
                self.shared.reads.on_room();
            }
        }
    }

    /// When what is applied is to be persisted; `None` if all is.
    fn persist_deadline(&self) -> Option<Instant> {
        let is_dirty = self.shared.store.persisted() < self.applier.applied();
        is_dirty.then(|| self.persisted_at + self.shared.limits.persist_every)
    }

    fn apply_due(&mut self) -> Result<bool, StoreError> {
        let Some(batch) = self.applier.poll_batch(self.started.elapsed()) else {
            return Ok(false);
        };
        self.apply(&batch)?;
        let through = batch.through();
        self.applier.on_applied(through);
        let bytes = std::mem::take(&mut self.gathered_bytes);
        self.leave_backlog(bytes);
        let counters = &self.shared.counters;
        counters.batches.fetch_add(1, Ordering::Relaxed);
        counters.records.fetch_add(batch.records() as u64, Ordering::Relaxed);
        counters.entries_cancelled.store(self.applier.cancelled_total(), Ordering::Relaxed);
        self.shared.reads.on_applied(through);
        self.sink.applied(through);
        Ok(true)
    }

    /// Writes the batch; while the store is down, again and again, slower each time.
    fn apply(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.retry(|shared| shared.store.apply(batch))
    }

    fn persist(&mut self) -> Result<(), StoreError> {
        let position = self.retry(|shared| shared.store.persist())?;
        self.persisted_at = Instant::now();
        self.shared.counters.persists.fetch_add(1, Ordering::Relaxed);
        self.sink.persisted(position);
        Ok(())
    }

    fn retry<T>(
        &mut self,
        mut write: impl FnMut(&Shared) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let (mut pause, mut retries) = (RETRY_PAUSE_MIN, 0);
        // Ends: when the store takes the write or fails for good; at a stop after a few rounds. Each
        // sleeps, longer than the one before.
        loop {
            match write(self.shared) {
                Err(error) if error.is_retryable() => {
                    if self.is_stopping && retries == STOP_RETRIES_MAX {
                        return Err(error);
                    }
                    if retries == 0 {
                        tracing::warn!(%error, "store does not take writes, trying again");
                    }
                    retries += 1;
                    self.shared.counters.retries.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(RETRY_PAUSE_MAX);
                }
                outcome => return outcome,
            }
        }
    }

    /// The store takes no writes: waits until it can be opened again and has caught up. Records that
    /// come meanwhile are passed over.
    fn sit_out(&mut self, error: StoreError) -> Result<(), StoreError> {
        self.shared.counters.suspensions.fetch_add(1, Ordering::Relaxed);
        self.shared.outage.begin(std::mem::take(&mut self.gathered_bytes));
        self.shared.reads.set_stalled(true);
        self.sink.suspended(&error);
        let mut pause = REOPEN_PAUSE_MIN;
        // Ends: when the store has caught up, by the order to stop, or by damage. A round is a pause and
        // one attempt.
        while self.shared.outage.is_out() {
            self.pass_over_for(pause);
            if self.is_stopping {
                return Err(error);
            }
            pause = (pause * 2).min(REOPEN_PAUSE_MAX);
            self.shared.counters.retries.fetch_add(1, Ordering::Relaxed);
            match self.try_again() {
                Ok(()) => {}
                Err(error) if error.may_pass() => self.sink.still_suspended(&error),
                Err(ReopenError::Store(error)) => return Err(error),
                Err(error) => {
                    let detail = error.to_string();
                    return Err(StoreError::Damaged { table: "engine", detail });
                }
            }
        }
        self.shared.reads.set_stalled(false);
        self.sink.resumed();
        Ok(())
    }

    /// Lets what comes go by for so long, or until the order to stop.
    fn pass_over_for(&mut self, pause: Duration) {
        let until = Instant::now() + pause;
        // Ends: when the pause is over, or by the order to stop. A round is one record.
        while !self.is_stopping {
            match self.feed.recv_deadline(until) {
                Ok(Feed::Record(position, record)) => {
                    self.shared.outage.pass_over(position, record_bytes(&record));
                    // The journal's thread may wait for room.
                    self.shared.reads.on_room();
                }
                Ok(Feed::SetAside(position)) => {
                    self.shared.outage.pass_over(position, 0);
                }
                Ok(Feed::Stop) | Err(RecvTimeoutError::Disconnected) => self.is_stopping = true,
                Err(RecvTimeoutError::Timeout) => return,
            }
        }
    }

    /// Opens the store, and applies what the journal has beyond it.
    fn try_again(&mut self) -> Result<(), ReopenError> {
        let found = self.shared.store.reopen()?;
        self.applier.restart(found);
        for _ in 0..CATCH_UP_ROUNDS_MAX {
            match self.catch_up(self.applier.applied()) {
                Ok(()) => {}
                Err(ReplayError::Store(error)) => return Err(error.into()),
                // It has ended: then the node does, and this thread with it.
                Err(ReplayError::Journal(reason)) => {
                    tracing::warn!(%reason, "the store cannot catch up with the journal");
                    return Ok(());
                }
            }
            self.persist()?;
            let applied = self.applier.applied();
            self.shared.reads.on_applied(applied);
            self.sink.applied(applied);
            if let Some(bytes) = self.shared.outage.end(applied) {
                self.leave_backlog(bytes);
                return Ok(());
            }
        }
        Ok(())
    }

    fn catch_up(&mut self, found: Position) -> Result<(), ReplayError> {
        let Self { shared, applier, sink, started, .. } = self;
        sink.replay(found, &mut |position, record| {
            if !applier.has_room() {
                apply_gathered(shared, applier, *started)?;
            }
            let now = started.elapsed();
            let pushed = match record {
                Some(record) => applier.push(now, position, record),
                None => applier.skip(now, position),
            };
            pushed.map(drop).map_err(|error| {
                let detail = error.to_string();
                StoreError::Damaged { table: "journal", detail }
            })
        })?;
        Ok(apply_gathered(shared, applier, *started)?)
    }

    fn leave_backlog(&self, bytes: u64) {
        self.shared.backlog_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Applies at once what an applier has gathered of a replay.
fn apply_gathered(
    shared: &Shared,
    applier: &mut Applier,
    started: Instant,
) -> Result<(), StoreError> {
    applier.kick(applier.gathered());
    let Some(batch) = applier.poll_batch(started.elapsed()) else { return Ok(()) };
    shared.store.apply(&batch)?;
    applier.on_applied(batch.through());
    shared.counters.batches.fetch_add(1, Ordering::Relaxed);
    shared.counters.records.fetch_add(batch.records() as u64, Ordering::Relaxed);
    Ok(())
}
