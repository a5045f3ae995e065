//! The storage tier of a process: journal, applier and store in virtual time.
//!
//! Carries out what the journal's logic and the applier ask for, as the server's threads do: one
//! batch and one preparation at a time, records in order to the applier and to the workers that
//! they touch, reads when their position has been applied. Holds no rule of theirs.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ringpost_conn::Letter;
use ringpost_conn::driver::{CommitRefused, Committed};
use ringpost_journal::{
    Action, BLOCK_BYTES, Config, Done, Durable, Journal, Limits, Record, RecordReader,
    RecoveredRecord, Refused, recover,
};
use ringpost_shard::event::WorkerId;
use ringpost_shard::record::SharedRecord;
use ringpost_shard::{Effect, Event, Head, Position, Shortage};
use ringpost_store::engine::{Engine, MemoryEngine};
use ringpost_store::{Applier, ApplierLimits, Batch, Store, StoreError, Tables, TimelinePage};
use ringpost_wire::{HistoryCursor, UserId};

use crate::content;
use crate::dice::Dice;
use crate::disk::{Disk, JOURNAL_ID};
use crate::fact::Fact;
use crate::fuse::Fuse;
use crate::mailboxes::Mailboxes;
use crate::options::Options;
use crate::outage::{Outage, Standing};
use crate::plant::Plant;
use crate::reads::Reads;
use crate::trace::Trace;

/// What the dice of outages differs by from others of the same seed and time.
const OUTAGES: u64 = 0x0D15_C0FF;

/// How often the store persists.
const PERSIST_EVERY: Duration = Duration::from_millis(700);

/// Bytes of one segment: the smallest, so that trimming and recycling are met.
const SEGMENT_BYTES: u64 = 16 * BLOCK_BYTES as u64;

/// Bytes of all segments.
const DISK_BUDGET_BYTES: u64 = 24 * SEGMENT_BYTES;

/// Where the disk fails at all, one start in so many finds it failing. Not every one: a run is about
/// more than starts.
const FAILING_START_IN: u64 = 4;

/// How many of its operations fail then: one in so many.
const START_ERROR_IN: u64 = 40;

/// What outlives a process.
pub(crate) struct Hardware {
    /// Beneath the journal.
    pub(crate) disk: Disk,
    /// Beneath the store.
    pub(crate) engine: MemoryEngine,
    /// The last agreed moment of the wall clock, in a file beside them; 0 if there was none.
    pub(crate) agreed_ms: u64,
}

/// Hardware on which no server starts.
pub(crate) struct Unusable {
    pub(crate) hardware: Hardware,
    /// What recovery says.
    pub(crate) why: String,
}

/// The tier while a process lives.
pub(crate) struct Storage {
    hardware: Hardware,
    journal: Journal,
    /// Cost of what was submitted and is not durable.
    undurable_cost: u64,
    /// What was begun on the disk, and when it is done; with the bytes of a write.
    under_way: Vec<(Duration, Action, Vec<u8>)>,
    store: Tables<MemoryEngine>,
    applier: Applier,
    /// The last record that is durable.
    durable: Position,
    feed: VecDeque<(Position, SharedRecord)>,
    applying: Option<(Duration, Batch)>,
    persisted_at: Duration,
    outage: Outage,
    standing: Standing,
    reads: Reads,
    /// Letters that wait for room in a mailbox: the threads wait with them.
    owed: VecDeque<(usize, Letter)>,
    /// Letters for every second worker come so late, as of a thread that got no processor.
    lag: Duration,
    lagging: VecDeque<(Duration, usize, Letter)>,
    now: Duration,
    failure_told: bool,
    fuse: Fuse,
    dice: Dice,
    trace: Trace,
    plant: Option<Plant>,
    latency_max: Duration,
}

impl Storage {
    /// Opens what the hardware holds: recovery, then the store is brought to the journal's end.
    ///
    /// # Errors
    /// Gives the hardware back with what recovery says.
    pub(crate) fn open(
        mut hardware: Hardware,
        options: &Options,
        (fuse, mut dice, trace): (Fuse, Dice, Trace),
        now: Duration,
    ) -> Result<Self, Box<Unusable>> {
        hardware.disk.set_full(false);
        if hardware.engine.check().is_err() {
            // What an outage has left is found at the start, as by a process that is opened anew.
            hardware.engine.mend();
            hardware.engine.reopen().expect("there is room");
        }
        let store = Tables::open(hardware.engine.clone()).expect("its rows are whole");
        if options.plant == Some(Plant::CutTooMuch) {
            hardware.disk.cut_newest_batch();
        }
        let mut applier = Applier::new(store.applied(), applier_limits(&mut dice));
        let error_in = hardware.disk.fail_once_in(0);
        if error_in > 0 && finds_a_failing_disk(options.seed, now) {
            hardware.disk.fail_once_in(START_ERROR_IN);
        }
        let recovered = recovered(&mut hardware.disk, &store, &mut applier, &trace);
        hardware.disk.fail_once_in(error_in);
        let journal = match recovered {
            Ok(journal) => journal,
            Err(why) => return Err(Box::new(Unusable { hardware, why })),
        };
        let seed = options.seed ^ now.as_nanos() as u64 ^ OUTAGES;
        let outage = Outage::new(Dice::new(seed), error_in > 0);
        let reads = Reads::new(options.read_error_in, options.plant, dice.split());
        Ok(Self {
            hardware,
            journal,
            undurable_cost: 0,
            under_way: Vec::new(),
            durable: store.applied(),
            store,
            applier,
            feed: VecDeque::new(),
            applying: None,
            persisted_at: now,
            outage,
            standing: Standing::Well,
            reads,
            owed: VecDeque::new(),
            lag: options.lag,
            lagging: VecDeque::new(),
            now,
            failure_told: false,
            fuse,
            dice,
            trace,
            plant: options.plant,
            latency_max: options.latency_max,
        })
    }

    /// The process is dead, and believed its clock at `agreed_ms`: what it was writing is torn.
    pub(crate) fn into_hardware(mut self, agreed_ms: u64) -> Hardware {
        self.hardware.agreed_ms = agreed_ms;
        for (_, action, bytes) in &self.under_way {
            if let Action::Write { slot, offset, .. } = action {
                self.hardware.disk.write_torn(*slot, *offset, bytes);
            }
        }
        self.hardware
    }

    /// The store, to be read.
    pub(crate) fn store(&self) -> &Tables<MemoryEngine> {
        &self.store
    }

    /// The last record that is durable: everything acknowledged is at or before it.
    pub(crate) const fn durable(&self) -> Position {
        self.durable
    }

    /// A page of a user's timeline, once `fence` is applied.
    pub(crate) fn history(
        &mut self,
        user: UserId,
        after: HistoryCursor,
        fence: Position,
        rows: usize,
    ) -> Option<TimelinePage> {
        self.applier.kick(fence);
        if self.store.applied() < fence {
            return None;
        }
        match self.store.timeline(user, Position(after.0), None, rows) {
            Err(StoreError::CatchingUp) => None,
            page => Some(page.expect("the store's rows are whole")),
        }
    }

    /// From here on nothing fails.
    pub(crate) fn heal(&mut self) {
        self.hardware.disk.fail_once_in(0);
        self.outage.heal(&mut self.hardware.disk, &self.hardware.engine);
        self.reads.heal();
        self.lag = Duration::ZERO;
    }

    /// Whether the journal has ended.
    pub(crate) fn has_failed(&self) -> bool {
        self.journal.failure().is_some()
    }

    /// Why no more work may be taken on.
    pub(crate) fn shortage(&self) -> Option<Shortage> {
        self.journal.lack().map(|lack| match lack {
            Refused::DiskBudget => Shortage::JournalBudget,
            _ => Shortage::Disk,
        })
    }

    /// Takes records of one worker's turn, all or none.
    pub(crate) fn try_commit(
        &mut self,
        records: Vec<Committed>,
        mailboxes: &mut Mailboxes,
    ) -> Result<(), CommitRefused> {
        if self.has_failed() {
            return Err(CommitRefused::Ended);
        }
        let records: Vec<(Record, u64, SharedRecord)> = records
            .into_iter()
            .map(|(shared, touch)| {
                let record = Record { head: shared.head.encode(), body: shared.body.clone() };
                (record, touch, shared)
            })
            .collect();
        // As the server's gate: room for the batch as a whole, or nothing.
        let cost: u64 = records.iter().map(|(record, ..)| record.cost()).sum();
        if self.undurable_cost + cost > self.journal.room_bytes().min(INFLIGHT_BYTES_MAX) {
            return Err(CommitRefused::NoRoom);
        }
        self.undurable_cost += cost;
        for (record, touch, shared) in records {
            match self.journal.submit(record, touch) {
                Ok(position) if self.plant == Some(Plant::DeliverBeforeCommit) => {
                    self.hand_over(Position(position), &shared, touch, mailboxes);
                }
                Ok(_) => {}
                Err(Refused::Failed | Refused::Closed) => return Err(CommitRefused::Ended),
                Err(reason) => panic!("there was room, and a record was refused: {reason}"),
            }
        }
        Ok(())
    }

    /// Takes a question; answers it at once if it cannot be taken.
    pub(crate) fn read(
        &mut self,
        from: WorkerId,
        question: Effect,
        now: Duration,
    ) -> Option<Event<'static>> {
        self.applier.kick(self.reads.after(&question));
        let due = now + self.latency();
        self.reads.push(from, question, due)
    }

    /// Does what is due.
    pub(crate) fn step(&mut self, now: Duration, mailboxes: &mut Mailboxes) {
        self.now = now;
        while let Some((_, to, letter)) = self.lagging.pop_front_if(|it| it.0 <= now) {
            self.owed.push_back((to, letter));
        }
        self.pay(mailboxes);
        if !self.owed.is_empty() || self.fuse.is_dead() {
            return;
        }
        self.finish_actions(now, mailboxes);
        self.begin_actions(now);
        self.apply(now, mailboxes);
        for (worker, event) in self.reads.answers(&self.store, now) {
            if self.fuse.burn() {
                self.post(worker.0.into(), Letter::Event(event), mailboxes);
            }
        }
        if self.has_failed() && !std::mem::replace(&mut self.failure_told, true) {
            self.trace.note("the journal has failed");
            for worker in 0..mailboxes.len() {
                self.post(worker, Letter::Event(Event::JournalFailed), mailboxes);
            }
        }
    }

    /// Tells the checkers what is held.
    pub(crate) fn tell(&self) {
        let held = self.journal.disk_bytes();
        self.trace.fact(Fact::Held { place: "journal disk", held, max: DISK_BUDGET_BYTES });
        self.reads.tell(&self.trace);
    }

    fn latency(&mut self) -> Duration {
        self.latency_max.mul_f64(self.dice.below(1_000) as f64 / 1_000.0)
    }

    fn begin_actions(&mut self, now: Duration) {
        while let Some(action) = self.journal.poll_action(now) {
            let mut bytes = Vec::new();
            if let Action::Write { bytes: length, .. } = action {
                bytes.resize(length, 0xee);
                self.journal.encode(&mut bytes);
            }
            let due = now + self.latency();
            self.under_way.push((due, action, bytes));
        }
    }

    fn finish_actions(&mut self, now: Duration, mailboxes: &mut Mailboxes) {
        while let Some(at) = self.under_way.iter().position(|(due, ..)| *due <= now) {
            if !self.fuse.burn() {
                return;
            }
            let (_, action, bytes) = self.under_way.remove(at);
            let disk = &mut self.hardware.disk;
            let done = match action {
                Action::Write { slot, offset, .. } => {
                    Done::Written(disk.write(slot, offset, &bytes))
                }
                Action::Sync { slot } => Done::Synced(disk.flush(slot).or_else(|error| {
                    let is_swallowed = self.plant == Some(Plant::SwallowError);
                    if is_swallowed { Ok(()) } else { Err(error) }
                })),
                Action::Prepare { slot, bytes } => Done::Prepared(slot, disk.prepare(slot, bytes)),
                Action::Remove { slot } => {
                    disk.remove(slot);
                    Done::Removed(slot, Ok(()))
                }
            };
            if let Some(durable) = self.journal.complete(done, now) {
                self.on_durable(durable, mailboxes);
            }
        }
    }

    fn on_durable(&mut self, durable: Durable, mailboxes: &mut Mailboxes) {
        self.undurable_cost -= durable.cost;
        for entry in durable.entries {
            let position = Position(entry.position);
            self.durable = position;
            let record = decoded(&entry.record.head, &entry.record.body);
            self.feed.push_back((position, Arc::clone(&record)));
            if self.plant != Some(Plant::DeliverBeforeCommit) && self.fuse.burn() {
                self.hand_over(position, &record, entry.touch, mailboxes);
            }
        }
    }

    fn hand_over(
        &mut self,
        position: Position,
        record: &SharedRecord,
        touch: u64,
        mailboxes: &mut Mailboxes,
    ) {
        for worker in (0..mailboxes.len()).filter(|worker| touch & 1 << worker != 0) {
            let letter = Letter::Durable(vec![(position, Arc::clone(record))]);
            self.post(worker, letter, mailboxes);
        }
    }

    fn apply(&mut self, now: Duration, mailboxes: &mut Mailboxes) {
        let Hardware { disk, engine, .. } = &mut self.hardware;
        self.outage.step(now, disk, engine, &self.trace);
        if let Standing::Well = self.standing {
            let applied = self.apply_due(now, mailboxes);
            if applied.and(self.store.check()).is_err() {
                self.standing = Standing::Out;
            }
        } else {
            // The journal has what comes meanwhile.
            self.feed.clear();
            self.applying = None;
            self.mend_store(mailboxes);
        }
    }

    /// Opens the store again, or brings it a step nearer to the journal.
    fn mend_store(&mut self, mailboxes: &mut Mailboxes) {
        let Standing::CatchingUp(records) = &mut self.standing else {
            let shown = self.store.applied();
            match self.store.reopen() {
                Ok(found) => {
                    self.trace.fact(Fact::Reopened { lost: shown.0 - found.0 });
                    self.applier.restart(found);
                    self.standing = Standing::CatchingUp(self.lacking(found));
                    if self.plant == Some(Plant::SkipReplay) {
                        self.skip_up_to(shown);
                    }
                }
                Err(error) => assert!(error.may_pass(), "{error}"),
            }
            return;
        };
        for _ in 0..self.outage.pace() {
            let Some((position, record)) = records.pop_front() else { break };
            if !self.applier.has_room() {
                records.push_front((position, record));
                break;
            }
            self.applier.push(self.now, position, &record).expect("in order, and there is room");
        }
        self.applier.kick(self.applier.gathered());
        if let Some(batch) = self.applier.poll_batch(self.now) {
            if self.store.apply(&batch).is_err() {
                self.standing = Standing::Out;
                return;
            }
            self.applier.on_applied(batch.through());
        }
        if let Standing::CatchingUp(records) = &self.standing
            && records.is_empty()
        {
            let rest = self.lacking(self.applier.applied());
            if rest.is_empty() {
                self.standing = Standing::Well;
                let position = self.store.applied();
                for worker in 0..mailboxes.len() {
                    self.post(worker, Letter::Event(Event::Applied { position }), mailboxes);
                }
            } else {
                self.standing = Standing::CatchingUp(rest);
            }
        }
    }

    /// The durable records behind one, read from the disk; none if that fails just now.
    fn lacking(&mut self, after: Position) -> VecDeque<(Position, SharedRecord)> {
        let chain = self.journal.durable_chain();
        let error_in = self.hardware.disk.fail_once_in(0);
        let reader = RecordReader::new(&mut self.hardware.disk, JOURNAL_ID, &chain, after.0);
        let records = reader
            .map(|record| {
                let record = record.expect("no bit turns over while the server lives");
                let (head, body) = split(&record);
                (Position(record.position), decoded(&head, &body))
            })
            .collect();
        self.hardware.disk.fail_once_in(error_in);
        records
    }

    /// For [`Plant::SkipReplay`].
    fn skip_up_to(&mut self, shown: Position) {
        let Standing::CatchingUp(records) = &mut self.standing else { return };
        while let Some((position, _)) = records.pop_front_if(|it| it.0 <= shown) {
            self.applier.skip(self.now, position).expect("in order");
        }
    }

    fn apply_due(&mut self, now: Duration, mailboxes: &mut Mailboxes) -> Result<(), StoreError> {
        while self.applier.has_room()
            && let Some((position, record)) = self.feed.pop_front()
        {
            self.applier.push(now, position, &record).expect("in order, and there is room");
        }
        if let Some((_, batch)) = self.applying.take_if(|(due, _)| *due <= now) {
            if !self.fuse.burn() {
                return Ok(());
            }
            self.store.apply(&batch)?;
            self.applier.on_applied(batch.through());
            let position = batch.through();
            for worker in 0..mailboxes.len() {
                self.post(worker, Letter::Event(Event::Applied { position }), mailboxes);
            }
            if self.plant == Some(Plant::TrimEarly) {
                self.journal.trim(position.0);
            }
        }
        if let Some(batch) = self.applier.poll_batch(now) {
            let due = now + self.latency();
            self.applying = Some((due, batch));
        }
        if now >= self.persisted_at + PERSIST_EVERY && self.fuse.burn() {
            self.persisted_at = now;
            let position = self.store.persist()?;
            if self.fuse.burn() && !self.has_failed() {
                self.journal.trim(position.0);
            }
        }
        Ok(())
    }

    fn post(&mut self, to: usize, letter: Letter, mailboxes: &mut Mailboxes) {
        if to % 2 == 1 && (!self.lag.is_zero() || !self.lagging.is_empty()) {
            return self.lagging.push_back((self.now + self.lag, to, letter));
        }
        self.owed.push_back((to, letter));
        self.pay(mailboxes);
    }

    fn pay(&mut self, mailboxes: &mut Mailboxes) {
        while let Some((to, letter)) = self.owed.pop_front() {
            if let Err(letter) = mailboxes.post(to, letter) {
                self.owed.push_front((to, letter));
                return;
            }
        }
    }
}

/// Bytes that may be on their way to the disk.
const INFLIGHT_BYTES_MAX: u64 = 1 << 20;

fn journal_config() -> Config {
    Config {
        segment_bytes: SEGMENT_BYTES,
        disk_budget_bytes: DISK_BUDGET_BYTES,
        batch_bytes_max: 4 * BLOCK_BYTES as u64,
        record_bytes_max: 28 << 10,
        inflight_bytes_max: INFLIGHT_BYTES_MAX,
        spare_segments: 2,
        ..Config::default()
    }
}

fn applier_limits(dice: &mut Dice) -> ApplierLimits {
    ApplierLimits {
        batch_records_max: dice.pick(&[1, 8, 512]),
        linger: Duration::from_millis(dice.pick(&[0, 20, 200])),
        ..ApplierLimits::default()
    }
}

/// One start in [`FAILING_START_IN`]. Decided by a dice of its own: what chance has in store for the
/// rest of a run does not depend on it.
fn finds_a_failing_disk(seed: u64, now: Duration) -> bool {
    Dice::new(seed ^ now.as_nanos() as u64).one_in(FAILING_START_IN)
}

/// Recovery as at the server's start: the journal's end goes into the store first.
fn recovered(
    disk: &mut Disk,
    store: &Tables<MemoryEngine>,
    applier: &mut Applier,
    trace: &Trace,
) -> Result<Journal, String> {
    let checkpoint = store.persisted().0;
    let recovery = recover(&mut &mut *disk, JOURNAL_ID, checkpoint).map_err(|it| it.to_string())?;
    let limits = Limits::new(&journal_config()).expect("the limits can be held");
    let mut journal = Journal::new(limits, JOURNAL_ID, &recovery, checkpoint);
    while !journal.is_ready() {
        let done = match journal.poll_action(Duration::ZERO) {
            Some(Action::Prepare { slot, bytes }) => match disk.prepare(slot, bytes) {
                // As at the server's start: what a full journal holds can be applied and trimmed.
                Err(error) if journal.live_segments() == 0 => return Err(error.to_string()),
                result => Done::Prepared(slot, result),
            },
            Some(Action::Remove { slot }) => {
                disk.remove(slot);
                Done::Removed(slot, Ok(()))
            }
            _ => break,
        };
        journal.complete(done, Duration::ZERO);
    }
    let mut last = store.applied();
    let records: Vec<_> =
        RecordReader::new(&mut *disk, JOURNAL_ID, &recovery.chain, last.0).collect();
    for record in records {
        let record = record.map_err(|error| error.to_string())?;
        last = Position(record.position);
        let (head, body) = split(&record);
        for canary in content::canaries(&body) {
            trace.note(&format!("recovered {canary} at {}", last.0));
        }
        if !applier.has_room() {
            drain(applier, store);
        }
        applier.push(Duration::ZERO, last, &decoded(&head, &body)).map_err(|it| it.to_string())?;
    }
    drain(applier, store);
    Ok(journal)
}

/// Head and body of a record that was read back.
fn split(record: &RecoveredRecord) -> (Bytes, Bytes) {
    let payload = &record.payload;
    (payload.slice(..record.head_bytes), payload.slice(record.head_bytes..))
}

/// Applies what was gathered.
fn drain(applier: &mut Applier, store: &Tables<MemoryEngine>) {
    applier.kick(applier.gathered());
    while let Some(batch) = applier.poll_batch(Duration::ZERO) {
        store.apply(&batch).expect("the engine in memory takes every batch");
        applier.on_applied(batch.through());
    }
}

fn decoded(head: &[u8], body: &bytes::Bytes) -> SharedRecord {
    let head = Head::decode(head).expect("a record with a good checksum is one of ours");
    Arc::new(ringpost_shard::Record { head, body: body.clone() })
}
