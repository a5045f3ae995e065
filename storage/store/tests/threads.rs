//! The store threads on an engine in memory: reads wait for their position and no longer than
//! they may, records are applied in order over an outage, a stop loses nothing, a failure is told.
//! No check depends on how long anything takes: what must not happen early is prevented by a
//! linger of an hour, what must time out has a deadline that has passed.
#![allow(clippy::disallowed_methods, reason = "threads and their deadlines are the subject")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam::channel::{self, Receiver, Sender};
use ringpost_shard::event::WorkerId;
use ringpost_shard::image::StoreUnavailable;
use ringpost_shard::record::{AckHead, Head, Position, Record, SharedRecord};
use ringpost_store::conformance::{Model, World, assert_equal};
use ringpost_store::engine::{Engine, MemoryEngine};
use ringpost_store::store::ReopenError;
use ringpost_store::thread::{
    ApplySink, Ended, ReadAnswer, ReadRequest, ReadSink, ReplayError, StopError, StoreHandle,
    StoreThreads, Take, ThreadLimits,
};
use ringpost_store::{ApplierLimits, Store, StoreError, Tables};
use ringpost_wire::{DeviceId, ServerId, UserId};
use smallvec::smallvec;

/// Long enough that a test which waits for it has failed.
const FOREVER: Duration = Duration::from_secs(3_600);
const PATIENCE: Duration = Duration::from_secs(30);
const WORKER: WorkerId = WorkerId(3);

#[derive(PartialEq, Debug)]
enum Told {
    Applied(Position),
    Persisted(Position),
    Suspended(StoreError),
    Resumed,
    Failed(StoreError),
}

/// The journal as the applier thread knows it, and whom it tells.
struct Node {
    tell: Sender<Told>,
    journal: Arc<[SharedRecord]>,
    durable: Arc<AtomicU64>,
    /// Whom the next replay is followed by so many records that it does not show.
    behind: Behind,
}

type Behind = Arc<Mutex<Option<(StoreHandle, u64)>>>;

impl ApplySink for Node {
    fn applied(&mut self, position: Position) {
        self.tell.send(Told::Applied(position)).unwrap();
    }

    fn persisted(&mut self, position: Position) {
        self.tell.send(Told::Persisted(position)).unwrap();
    }

    fn suspended(&mut self, error: &StoreError) {
        self.tell.send(Told::Suspended(error.clone())).unwrap();
    }

    fn still_suspended(&mut self, error: &ReopenError) {
        assert!(error.may_pass(), "{error}");
    }

    fn resumed(&mut self) {
        self.tell.send(Told::Resumed).unwrap();
    }

    fn replay(&mut self, after: Position, take: Take<'_>) -> Result<(), ReplayError> {
        let durable = after.0..self.durable.load(Ordering::Acquire);
        for index in durable {
            take(Position(index + 1), Some(&self.journal[index as usize]))?;
        }
        if let Some((handle, count)) = self.behind.lock().unwrap().take() {
            for _ in 0..count {
                let index = self.durable.fetch_add(1, Ordering::AcqRel);
                let record = SharedRecord::clone(&self.journal[index as usize]);
                handle.submit(Position(index + 1), record).unwrap();
            }
        }
        Ok(())
    }

    fn failed(&mut self, error: &StoreError) {
        self.tell.send(Told::Failed(error.clone())).unwrap();
    }
}

struct Answers(Sender<ReadAnswer>);

impl ReadSink for Answers {
    fn answer(&self, worker: WorkerId, answer: ReadAnswer) {
        assert_eq!(worker, WORKER);
        self.0.send(answer).unwrap();
    }
}

struct Rig {
    engine: MemoryEngine,
    threads: StoreThreads,
    told: Receiver<Told>,
    answers: Receiver<ReadAnswer>,
    journal: Arc<[SharedRecord]>,
    durable: Arc<AtomicU64>,
    behind: Behind,
}

/// Gathers for ever and persists at the end, unless it is kicked.
fn patient() -> ThreadLimits {
    ThreadLimits {
        applier: ApplierLimits { linger: FOREVER, ..ApplierLimits::default() },
        persist_every: FOREVER,
        read_wait: FOREVER,
        ..ThreadLimits::default()
    }
}

/// Each record counts 256 bytes at least: there is room for two at a time.
fn tight() -> ThreadLimits {
    ThreadLimits { backlog_bytes_max: 512, submitted_bytes_max: 512, ..patient() }
}

fn rig(limits: ThreadLimits) -> Rig {
    let engine = MemoryEngine::new();
    let store = Arc::new(Tables::open(engine.clone()).unwrap());
    rig_on(engine, store, limits)
}

fn rig_on(engine: MemoryEngine, store: Arc<dyn Store>, limits: ThreadLimits) -> Rig {
    let ((tell, told), (answer, answers)) = (channel::unbounded(), channel::unbounded());
    let journal: Arc<[SharedRecord]> = World::new(5).records(300).into();
    let durable = Arc::new(AtomicU64::new(0));
    let behind = Behind::default();
    let node = Node {
        tell,
        journal: Arc::clone(&journal),
        durable: Arc::clone(&durable),
        behind: Arc::clone(&behind),
    };
    let (apply_sink, read_sink) = (Box::new(node), Arc::new(Answers(answer)));
    let threads = StoreThreads::start(store, limits, apply_sink, read_sink).unwrap();
    Rig { engine, threads, told, answers, journal, durable, behind }
}

impl Rig {
    fn submit(&self, positions: std::ops::RangeInclusive<u64>) {
        for position in positions {
            let record = SharedRecord::clone(&self.journal[position as usize - 1]);
            self.durable.store(position, Ordering::Release);
            self.threads.handle().submit(Position(position), record).unwrap();
        }
    }

    fn model(&self, records: usize) -> Model {
        let mut model = Model::new();
        self.journal[..records].iter().for_each(|record| model.apply(record));
        model
    }

    /// Waits to be told so; answers why the store was suspended last.
    fn told_until(&self, is_it: impl Fn(&Told) -> bool) -> StoreError {
        let mut why = StoreError::Down;
        loop {
            let told = self.told.recv_timeout(PATIENCE).unwrap();
            let is_last = is_it(&told);
            if let Told::Suspended(error) = told {
                why = error;
            }
            if is_last {
                return why;
            }
        }
    }

    fn answer(&self) -> ReadAnswer {
        self.answers.recv_timeout(PATIENCE).unwrap()
    }
}

fn load(after: u64) -> ReadRequest {
    ReadRequest::Load { user: World::users()[0], after: Position(after) }
}

#[test]
fn a_read_waits_for_its_position_and_has_it_applied_at_once() {
    let rig = rig(patient());
    let handle = rig.threads.handle();
    let is_there = |user: &UserId| rig.model(50).user(*user).is_some();
    let user = World::users().into_iter().find(is_there).unwrap();
    handle.read(WORKER, ReadRequest::Load { user, after: Position(50) }).unwrap();
    rig.submit(1..=50);
    match rig.answer() {
        ReadAnswer::Loaded { user: loaded, answer: Ok(image) } => {
            let applied = image.as_ref().unwrap().applied.0 as usize;
            assert!(applied >= 50);
            assert_eq!((loaded, image), (user, rig.model(applied).user(user)));
        }
        other => panic!("{other:?}"),
    }
    assert!(handle.stats().kicks > 0);
    assert_eq!(handle.backlog_bytes(), 0);
}

#[test]
fn each_read_is_answered_with_what_it_asked_for() {
    let rig = rig(patient());
    let handle = rig.threads.handle();
    rig.submit(1..=100);
    handle.wait_applied(Position(100), Instant::now() + PATIENCE).unwrap();
    let model = rig.model(100);

    let (&(user, device, message_id), &accepted) = model.accepted().next().unwrap();
    let after = Position(100);
    handle.read(WORKER, ReadRequest::LookUp { user, device, message_id, after }).unwrap();
    let answer = Ok(Some(accepted));
    assert_eq!(rig.answer(), ReadAnswer::LookedUp { user, device, message_id, answer });

    let row = model.messages().next().unwrap().clone();
    let (known, unknown) = (row.head.id, ServerId([0xee; 16]));
    let ids = smallvec![unknown, known];
    handle.read(WORKER, ReadRequest::Messages { user, device, ids, after }).unwrap();
    let answer = Ok(vec![(unknown, None), (known, Some(row))]);
    assert_eq!(rig.answer(), ReadAnswer::MessagesRead { user, device, answer });
    assert_eq!(handle.stats().reads, 2);
}

#[test]
fn a_read_whose_position_does_not_come_is_answered_unavailable() {
    let rig = rig(ThreadLimits { read_wait: Duration::ZERO, ..patient() });
    let handle = rig.threads.handle();
    handle.read(WORKER, load(1)).unwrap();
    let user = World::users()[0];
    assert_eq!(rig.answer(), ReadAnswer::Loaded { user, answer: Err(StoreUnavailable) });
    assert_eq!(handle.wait_applied(Position(1), Instant::now()), Err(StoreUnavailable));
    assert_eq!(handle.stats().reads_timed_out, 2);
}

#[test]
fn reads_beyond_the_limit_come_back_and_the_others_are_answered_at_the_stop() {
    let rig = rig(ThreadLimits { reads_max: 2, ..patient() });
    let handle = rig.threads.handle();
    handle.read(WORKER, load(1)).unwrap();
    handle.read(WORKER, load(2)).unwrap();
    assert_eq!(handle.read(WORKER, load(3)), Err(load(3)));
    assert_eq!((handle.stats().reads_refused, handle.stats().reads_queued), (1, 2));
    rig.threads.stop(PATIENCE).unwrap();
    let unavailable = rig.answers.iter().take(2).filter(|answer| {
        matches!(answer, ReadAnswer::Loaded { answer: Err(StoreUnavailable), .. })
    });
    assert_eq!(unavailable.count(), 2);
    assert_eq!(handle.read(WORKER, load(0)), Err(load(0)), "the threads have ended");
}

#[test]
fn a_stop_applies_and_persists_all_that_was_submitted() {
    let rig = rig(patient());
    let handle = rig.threads.handle();
    rig.submit(1..=300);
    let model = rig.model(300);
    rig.threads.stop(PATIENCE).unwrap();
    assert_eq!(rig.told.iter().last(), Some(Told::Persisted(Position(300))));
    rig.engine.crash();
    assert_equal(&Tables::open(rig.engine.clone()).unwrap(), &model, 5);
    assert_eq!(handle.submit(Position(301), SharedRecord::clone(&rig.journal[0])), Err(Ended));
}

#[test]
fn what_is_applied_is_persisted_without_a_stop() {
    let rig = rig(ThreadLimits { persist_every: Duration::ZERO, ..patient() });
    rig.submit(1..=10);
    rig.threads.handle().wait_applied(Position(10), Instant::now() + PATIENCE).unwrap();
    let is_last = |told: &Told| *told == Told::Persisted(Position(10));
    while !is_last(&rig.told.recv_timeout(PATIENCE).unwrap()) {}
}

#[test]
fn records_that_are_in_the_store_already_are_skipped() {
    let engine = MemoryEngine::new();
    let first = rig_on(engine.clone(), Arc::new(Tables::open(engine.clone()).unwrap()), patient());
    first.submit(1..=60);
    first.threads.stop(PATIENCE).unwrap();

    // Recovery reads the journal from its last checkpoint.
    let store = Arc::new(Tables::open(engine.clone()).unwrap());
    let second = rig_on(engine, Arc::clone(&store) as Arc<dyn Store>, tight());
    second.submit(1..=90);
    second.threads.handle().wait_applied(Position(90), Instant::now() + PATIENCE).unwrap();
    assert_equal(&*store, &second.model(90), 5);
    assert_eq!(second.threads.handle().backlog_bytes(), 0);
}

#[test]
fn an_outage_holds_records_back_and_loses_none() {
    let limits = ThreadLimits { backlog_bytes_max: 1_000, ..patient() };
    let rig = rig(limits);
    let handle = rig.threads.handle();
    rig.engine.set_down(true);
    rig.submit(1..=100);
    assert!(handle.wait_applied(Position(1), Instant::now()).is_err());
    assert!(handle.is_overloaded(), "{} bytes", handle.backlog_bytes());
    while handle.stats().retries == 0 {
        std::thread::yield_now();
    }
    rig.engine.set_down(false);
    handle.wait_applied(Position(100), Instant::now() + PATIENCE).unwrap();
    assert!(!handle.is_overloaded());
    let model = rig.model(100);
    rig.threads.stop(PATIENCE).unwrap();
    assert_equal(&Tables::open(rig.engine.clone()).unwrap(), &model, 5);
}

#[test]
fn records_beyond_the_byte_limit_are_held_back_until_there_is_room() {
    let rig = rig(tight());
    let handle = rig.threads.handle();
    rig.submit(1..=300);
    assert!(handle.stats().submits_held > 100, "{:?}", handle.stats());
    let model = rig.model(300);
    rig.threads.stop(PATIENCE).unwrap();
    assert_equal(&Tables::open(rig.engine.clone()).unwrap(), &model, 5);
}

/// An ack may name hundreds of entries, and no content.
#[test]
fn a_record_counts_its_lists_in_the_backlog() {
    let rig = rig(patient());
    let head = Head::Ack(AckHead {
        user: UserId([1; 16]),
        device: DeviceId::new(1).unwrap(),
        at_ms: 1,
        removed: (0..1_000).collect(),
        missed_after: None,
        early: None,
        settled: Vec::new(),
        delivered: Vec::new(),
    });
    let record = SharedRecord::new(Record { head, body: Bytes::new() });
    rig.threads.handle().submit(Position(1), record).unwrap();
    assert!(rig.threads.handle().backlog_bytes() >= 8_000);
}

#[test]
fn a_stop_during_an_outage_leaves_the_rest_to_the_journal() {
    let rig = rig(patient());
    rig.submit(1..=10);
    rig.engine.set_down(true);
    assert_eq!(rig.threads.stop(PATIENCE), Err(StopError::Store(StoreError::Down)));
    rig.engine.set_down(false);
    assert_eq!(Tables::open(rig.engine.clone()).unwrap().applied(), Position(0));
}

#[test]
fn a_store_without_room_holds_up_nobody_and_goes_on_by_itself() {
    for (error, kept) in [(StoreError::NoSpace, 0), (StoreError::Stopped, 1)] {
        let rig = rig(tight());
        let handle = rig.threads.handle();
        for last in [10, 20] {
            rig.submit(last - 9..=last);
            handle.wait_applied(Position(last), Instant::now() + PATIENCE).unwrap();
        }
        rig.engine.fail(error.clone(), kept);
        // Far more than there is room for: none of them waits.
        rig.submit(21..=200);
        assert_eq!(rig.told_until(|told| matches!(told, Told::Suspended(_))), error);
        assert!(handle.is_overloaded(), "who heeds it refuses sends");
        // What will not come soon is not waited for.
        handle.read(WORKER, load(200)).unwrap();
        let user = World::users()[0];
        assert_eq!(rig.answer(), ReadAnswer::Loaded { user, answer: Err(StoreUnavailable) });
        assert!(handle.wait_applied(Position(200), Instant::now() + FOREVER).is_err());
        // What it had shown is shown on.
        handle.read(WORKER, load(20)).unwrap();
        assert!(matches!(rig.answer(), ReadAnswer::Loaded { answer: Ok(_), .. }));
        assert!(handle.stats().is_suspended);

        rig.engine.mend();
        rig.told_until(|told| *told == Told::Resumed);
        assert!(!handle.is_overloaded());
        rig.submit(201..=300);
        handle.wait_applied(Position(300), Instant::now() + PATIENCE).unwrap();
        assert_eq!((handle.stats().suspensions, handle.backlog_bytes()), (1, 0));
        let model = rig.model(300);
        rig.threads.stop(PATIENCE).unwrap();
        rig.engine.crash();
        assert_equal(&Tables::open(rig.engine.clone()).unwrap(), &model, 5);
    }
}

#[test]
fn what_comes_while_a_store_catches_up_costs_it_no_other_opening() {
    let rig = rig(patient());
    rig.submit(1..=10);
    rig.engine.fail(StoreError::NoSpace, 0);
    *rig.behind.lock().unwrap() = Some((rig.threads.handle(), 50));
    rig.threads.handle().kick(Position(10));
    rig.told_until(|told| matches!(told, Told::Suspended(_)));
    rig.engine.mend();
    rig.told_until(|told| *told == Told::Resumed);
    assert_eq!(rig.engine.openings(), 1);
    let model = rig.model(60);
    rig.threads.stop(PATIENCE).unwrap();
    assert_equal(&Tables::open(rig.engine.clone()).unwrap(), &model, 5);
}

#[test]
fn a_store_that_stopped_while_nothing_was_written_is_found_out() {
    let rig = rig(patient());
    rig.engine.fail(StoreError::Stopped, 0);
    rig.engine.mend();
    rig.told_until(|told| *told == Told::Resumed);
    rig.threads.stop(PATIENCE).unwrap();
}

#[test]
fn a_stop_does_not_wait_for_room() {
    let rig = rig(patient());
    rig.engine.fail(StoreError::NoSpace, 0);
    rig.submit(1..=10);
    assert!(rig.threads.handle().wait_applied(Position(10), Instant::now() + PATIENCE).is_err());
    let stopped = rig.threads.stop(PATIENCE);
    assert_eq!(stopped, Err(StopError::Store(StoreError::NoSpace)));
}

#[test]
fn a_store_that_is_damaged_is_told_and_reads_of_what_it_has_go_on() {
    let rig = rig(patient());
    let handle = rig.threads.handle();
    rig.submit(1..=10);
    handle.wait_applied(Position(10), Instant::now() + PATIENCE).unwrap();
    let damaged = StoreError::Damaged { table: "entry", detail: "nonsense".to_owned() };
    rig.engine.fail(damaged.clone(), 0);
    rig.submit(11..=20);
    handle.read(WORKER, load(20)).unwrap();

    let user = World::users()[0];
    assert_eq!(rig.answer(), ReadAnswer::Loaded { user, answer: Err(StoreUnavailable) });
    assert_eq!(rig.told.iter().last(), Some(Told::Failed(damaged.clone())));
    let wait = handle.wait_applied(Position(20), Instant::now() + FOREVER);
    assert_eq!(wait, Err(StoreUnavailable));
    assert_eq!(handle.submit(Position(21), SharedRecord::clone(&rig.journal[0])), Err(Ended));
    handle.read(WORKER, load(10)).unwrap();
    assert!(matches!(rig.answer(), ReadAnswer::Loaded { answer: Ok(_), .. }));
    assert_eq!(rig.threads.stop(PATIENCE), Err(StopError::Store(damaged)));
}
