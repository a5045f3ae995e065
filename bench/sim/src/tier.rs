//! The storage tier of one life: journal, applier, store and the answers to reads, each a step at
//! a time, in whatever order the world chooses.
//!
//! The journal's logic, recovery, the applier and the store's tables are the product's. This file
//! stands for what the product does on threads: carry actions out, hand results on, wait for
//! positions.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ringpost_conn::Letter;
use ringpost_journal::{Action, Config, Done, Journal, Limits, Record, RecordReader, recover};
use ringpost_shard::event::WorkerId;
use ringpost_shard::image::{MessageRow, StoreUnavailable};
use ringpost_shard::record::SharedRecord;
use ringpost_shard::{Effect, Event, Head, Homes, Position};
use ringpost_store::engine::MemoryEngine;
use ringpost_store::{Applier, ApplierLimits, Store, Tables};
use ringpost_wire::ServerId;

use crate::chance::Chance;
use crate::disk::Disk;
use crate::observed::{Observed, Violation};
use crate::options::Options;
use crate::planted::Planted;

const JOURNAL_ID: u64 = 0x5eed_1234_abcd_ef01;
const BLOCK: u64 = ringpost_journal::BLOCK_BYTES as u64;

/// Small segments, so that a run of a few hundred records switches and trims them.
fn journal_limits() -> Limits {
    let config = Config {
        segment_bytes: 16 * BLOCK,
        disk_budget_bytes: 64 * 16 * BLOCK,
        batch_bytes_max: 4 * BLOCK,
        record_bytes_max: 6_000,
        inflight_bytes_max: 1 << 20,
        spare_segments: 2,
    };
    Limits::new(&config).expect("the simulator's limits fit together")
}

/// The tier while a server lives.
pub(crate) struct Tier {
    journal: Journal,
    /// A write or flush that was begun.
    outstanding: Option<Action>,
    /// Accepted by workers, not yet by the journal.
    commits: VecDeque<SharedRecord>,
    /// Messages in the batch that is written, and its segment.
    written: Vec<ServerId>,
    /// Durable and not yet taken by the applier.
    feed: VecDeque<(Position, SharedRecord)>,
    applier: Applier,
    store: Tables<MemoryEngine>,
    reads: VecDeque<(WorkerId, Effect)>,
    persisted_at: Duration,
    persist_every: Duration,
    failed: bool,
    workers: u16,
    chance: Chance,
    planted: Option<Planted>,
}

impl Tier {
    /// Recovers what `disk` and `engine` hold.
    pub(crate) fn recover(
        disk: &mut Disk,
        engine: &MemoryEngine,
        options: &Options,
        life: usize,
        observed: &mut Vec<Observed>,
    ) -> Result<Self, Violation> {
        let broken = |what: String| Violation { checker: "recovery", what };
        let store = Tables::open(engine.clone()).map_err(|error| broken(error.to_string()))?;
        let checkpoint = store.persisted().0;
        let recovery = recover(disk, JOURNAL_ID, checkpoint)
            .map_err(|error| broken(format!("checkpoint {checkpoint}: {error}")))?;
        let mut applier = Applier::new(store.applied(), applier_limits());
        let records =
            RecordReader::new(disk.clone(), JOURNAL_ID, &recovery.chain, store.applied().0);
        for record in records {
            let record = record.map_err(|error| broken(error.to_string()))?;
            let head = Head::decode(&record.payload[..record.head_bytes])
                .map_err(|_| broken("a head with a good checksum cannot be read".to_owned()))?;
            if let Head::Message(head) = &head
                && disk.is_all_flushed()
            {
                observed.push(Observed::OnDisk { id: head.id });
            }
            let body = record.payload.slice(record.head_bytes..);
            let shared = Arc::new(ringpost_shard::Record { head, body });
            applier
                .push(Duration::ZERO, Position(record.position), &shared)
                .map_err(|error| broken(error.to_string()))?;
            applier.kick(Position(record.position));
            if let Some(batch) = applier.poll_batch(Duration::ZERO) {
                store.apply(&batch).map_err(|error| broken(error.to_string()))?;
                applier.on_applied(batch.through());
            }
        }
        let journal = Journal::new(journal_limits(), JOURNAL_ID, &recovery, checkpoint);
        let mut tier = Self {
            journal,
            outstanding: None,
            commits: VecDeque::new(),
            written: Vec::new(),
            feed: VecDeque::new(),
            applier,
            store,
            reads: VecDeque::new(),
            persisted_at: Duration::ZERO,
            persist_every: options.persist_every,
            failed: false,
            workers: options.workers,
            chance: Chance::new(options.seed, 100 + life as u64),
            planted: options.planted,
        };
        tier.prepare(disk, Duration::ZERO);
        Ok(tier)
    }

    /// Above this id new ones begin.
    pub(crate) fn highest_stamp(&self) -> ServerId {
        self.store.highest_stamp()
    }

    pub(crate) fn applied(&self) -> Position {
        self.store.applied()
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    /// Takes an effect of a worker; what the journal refuses at once comes back as a letter.
    pub(crate) fn take(&mut self, worker: WorkerId, effect: Effect) -> Option<Letter> {
        match effect {
            Effect::Commit { .. } if self.failed => Some(Letter::Event(Event::JournalFailed)),
            Effect::Commit { record } => {
                self.commits.push_back(record);
                None
            }
            read => {
                self.reads.push_back((worker, read));
                None
            }
        }
    }

    /// One step of the journal's thread.
    pub(crate) fn step_journal(
        &mut self,
        disk: &mut Disk,
        homes: &Homes,
        now: Duration,
        letters: &mut Vec<(WorkerId, Letter)>,
        observed: &mut Vec<Observed>,
    ) -> bool {
        if let Some(action) = self.outstanding.take() {
            self.finish(action, disk, now, letters, observed);
            return true;
        }
        self.submit(homes, letters);
        self.prepare(disk, now);
        let Some(action) = self.journal.poll_action(now) else { return false };
        self.begin(action, disk, now, letters);
        true
    }

    /// One step of the applier's thread.
    pub(crate) fn step_applier(&mut self, now: Duration) -> Option<Letter> {
        while self.applier.has_room() {
            let Some((position, record)) = self.feed.pop_front() else { break };
            self.applier.push(now, position, &record).expect("the journal's order is kept");
        }
        let wanted = self.reads.iter().filter_map(|(_, read)| after(read)).max();
        self.applier.kick(wanted.unwrap_or_default());
        if let Some(batch) = self.applier.poll_batch(now) {
            self.store.apply(&batch).expect("an engine in memory takes what it is given");
            self.applier.on_applied(batch.through());
            return Some(Letter::Event(Event::Applied { position: batch.through() }));
        }
        if now >= self.persisted_at + self.persist_every {
            self.persisted_at = now;
            if self.planted == Some(Planted::TrimUnpersisted) {
                self.journal.trim(self.store.applied().0);
            } else {
                let position = self.store.persist().expect("an engine in memory persists");
                self.journal.trim(position.0);
            }
        }
        None
    }

    /// When the applier wants to be asked again.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.applier.next_deadline().into_iter().chain(self.journal.deadline()).min()
    }

    /// Answers one read whose position is applied.
    pub(crate) fn step_reads(&mut self) -> Option<(WorkerId, Letter)> {
        let applied = self.store.applied();
        let ripe = |(_, read): &(WorkerId, Effect)| after(read).is_none_or(|at| at <= applied);
        let place = self.reads.iter().position(ripe)?;
        let (worker, read) = self.reads.remove(place)?;
        Some((worker, Letter::Event(self.answer(read))))
    }

    fn submit(&mut self, homes: &Homes, letters: &mut Vec<(WorkerId, Letter)>) {
        while let Some(record) = self.commits.front() {
            let touch = record
                .head
                .touches()
                .iter()
                .fold(0, |touch, &user| touch | 1 << homes.home(user).0);
            let encoded = Record { head: record.head.encode(), body: record.body.clone() };
            let Ok(position) = self.journal.submit(encoded, touch) else { return };
            let record = self.commits.pop_front().expect("it was looked at");
            if self.planted == Some(Planted::PushBeforeCommit) {
                self.hand_over(vec![(Position(position), record, touch)], letters);
            }
        }
    }

    /// Segments are prepared and removed at once: nothing that is promised hangs on them.
    fn prepare(&mut self, disk: &mut Disk, now: Duration) {
        while !self.journal.is_ready() {
            let Some(action) = self.journal.poll_action(now) else { return };
            assert!(self.housekeeping(action, disk, now), "segments come first");
        }
    }

    fn housekeeping(&mut self, action: Action, disk: &mut Disk, now: Duration) -> bool {
        let done = match action {
            Action::Prepare { slot, bytes } => {
                disk.prepare(slot, bytes);
                Done::Prepared(slot, Ok(()))
            }
            Action::Remove { slot } => {
                disk.remove(slot);
                Done::Removed(slot, Ok(()))
            }
            Action::Write { .. } | Action::Sync { .. } => return false,
        };
        self.journal.complete(done, now);
        true
    }

    fn begin(
        &mut self,
        action: Action,
        disk: &mut Disk,
        now: Duration,
        letters: &mut Vec<(WorkerId, Letter)>,
    ) {
        if self.housekeeping(action, disk, now) {
            return;
        }
        if let Action::Write { slot, offset, bytes } = action {
            let mut batch = vec![0xee; bytes];
            self.journal.encode(&mut batch);
            if let Err(error) = disk.write(slot, offset, &batch)
                && self.planted != Some(Planted::SwallowedError)
            {
                self.journal.complete(Done::Written(Err(error)), now);
                return self.fail(letters);
            }
        }
        self.outstanding = Some(action);
    }

    fn finish(
        &mut self,
        action: Action,
        disk: &mut Disk,
        now: Duration,
        letters: &mut Vec<(WorkerId, Letter)>,
        observed: &mut Vec<Observed>,
    ) {
        let Action::Sync { slot } = action else {
            self.journal.complete(Done::Written(Ok(())), now);
            return;
        };
        let mut result = match self.planted {
            Some(Planted::AckBeforeFlush) => Ok(()),
            _ => disk.flush(slot),
        };
        if self.planted == Some(Planted::SwallowedError) {
            result = Ok(());
        }
        let failed = result.is_err();
        let durable = self.journal.complete(Done::Synced(result), now);
        if failed {
            return self.fail(letters);
        }
        let Some(durable) = durable else { return };
        let decoded = durable.entries.into_iter().map(|entry| {
            let head = Head::decode(&entry.record.head).expect("it was encoded here");
            let record = ringpost_shard::Record { head, body: entry.record.body };
            (Position(entry.position), Arc::new(record), entry.touch)
        });
        let batch: Vec<_> = decoded.collect();
        self.written.extend(batch.iter().filter_map(|(_, record, _)| match &record.head {
            Head::Message(head) => Some(head.id),
            _ => None,
        }));
        if disk.is_flushed(slot) {
            observed.extend(self.written.drain(..).map(|id| Observed::OnDisk { id }));
        }
        self.feed.extend(batch.iter().map(|(at, record, _)| (*at, Arc::clone(record))));
        if self.planted != Some(Planted::PushBeforeCommit) {
            self.hand_over(batch, letters);
        }
    }

    fn hand_over(
        &mut self,
        mut batch: Vec<(Position, SharedRecord, u64)>,
        letters: &mut Vec<(WorkerId, Letter)>,
    ) {
        if self.planted == Some(Planted::ReversedDurable) {
            batch.reverse();
        }
        for worker in 0..self.workers {
            let touched = batch.iter().filter(|(_, _, touch)| touch & 1 << worker != 0);
            let own: Vec<_> = touched.map(|(at, record, _)| (*at, Arc::clone(record))).collect();
            let is_lost = self.planted == Some(Planted::LostDurable) && self.chance.once_in(40);
            if !own.is_empty() && !is_lost {
                letters.push((WorkerId(worker), Letter::Durable(own)));
            }
        }
    }

    fn fail(&mut self, letters: &mut Vec<(WorkerId, Letter)>) {
        self.failed = true;
        self.commits.clear();
        for worker in 0..self.workers {
            letters.push((WorkerId(worker), Letter::Event(Event::JournalFailed)));
        }
    }

    fn answer(&mut self, read: Effect) -> Event<'static> {
        let store = &self.store;
        match read {
            Effect::Load { user, .. } => {
                Event::Loaded { user, answer: store.user(user).map_err(|_| StoreUnavailable) }
            }
            Effect::LookUpAccepted { user, device, message_id, .. } => {
                let found = store.accepted(user, device, message_id);
                let answer = match self.planted {
                    Some(Planted::ForgottenIdempotency) => Ok(None),
                    _ => found.map_err(|_| StoreUnavailable),
                };
                Event::AcceptedFound { user, device, message_id, answer }
            }
            Effect::ReadMessages { user, device, ids, .. } => {
                let mut rows = store.messages(&ids).expect("rows in memory are read");
                self.spoil(&mut rows);
                let rows = ids.into_iter().zip(rows).collect();
                Event::MessagesRead { user, device, answer: Ok(rows) }
            }
            other => unreachable!("not a read: {other:?}"),
        }
    }

    fn spoil(&mut self, rows: &mut [Option<MessageRow>]) {
        for row in rows.iter_mut().flatten() {
            match self.planted {
                Some(Planted::FlippedBody) if !row.body.is_empty() => {
                    let mut bytes = row.body.to_vec();
                    let last = bytes.len() - 1;
                    bytes[last] ^= 1;
                    row.body = bytes.into();
                }
                Some(Planted::StrangeBody) => {
                    // Somebody else's: the canary of the conversation stands at the front.
                    let mut bytes = row.body.to_vec();
                    bytes.iter_mut().take(16).for_each(|byte| *byte = byte.wrapping_add(1));
                    row.body = bytes.into();
                }
                _ => {}
            }
        }
    }
}

fn applier_limits() -> ApplierLimits {
    ApplierLimits { batch_records_max: 32, ..ApplierLimits::default() }
}

/// The record that must be applied before this is read.
fn after(read: &Effect) -> Option<Position> {
    match read {
        Effect::Load { after, .. }
        | Effect::LookUpAccepted { after, .. }
        | Effect::ReadMessages { after, .. } => Some(*after),
        _ => None,
    }
}
