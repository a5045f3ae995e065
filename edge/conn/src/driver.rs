//! The driver of one worker: letters and completions in, operations and outputs out, sleep.
//!
//! ```text
//!   +-> letters -> end of turn -> outputs to the neighbours -> operations to the ring --+
//!   |                                                                                   |
//!   +-- completions <- submit and wait (sleeps only after a second look) <--------------+
//! ```
//! Owns what did not fit into a queue of a neighbour yet, the order of a turn, and how far the wall
//! clock is to be believed. Is given the rings, the clocks and the neighbours: the server's are io_uring, clocks and threads, the
//! simulator's are none of these, and both run this code. Holds no rule of the protocol or the
//! domain.
//!
//! A whole turn is [`Driver::turn`], [`Driver::rest`], [`Driver::enter`], [`Driver::awake`].

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use ringpost_ring::{Rings, SleepFlag, Wait};
use ringpost_shard::event::{ConnectionKey, Now, WorkerId};
use ringpost_shard::record::SharedRecord;
use ringpost_shard::{ClockTrust, Clocks, Effect, Event, Shortage};

use crate::caller::Caller;
use crate::letter::{CredentialRefused, Letter};
use crate::outgoing::Outgoing;
use crate::output::{Entrant, Operation, Output};
use crate::worker::Worker;

/// Letters taken in one turn: the ring must not wait for a flood of them.
const LETTERS_PER_TURN_MAX: usize = 1_024;

/// Records handed to the journal as one batch.
const BATCH_RECORDS_MAX: usize = 4_096;

/// Times that one turn goes round because a neighbour answered at once: what it leaves is for the next
/// turn. Two are what happens: a question that the store does not take, and what follows from that.
const ROUNDS_PER_TURN_MAX: usize = 16;

/// A journal without room is asked again after this, and then after twice as long each time, up to
/// the longer one: a moment's wait for a segment is short, and a full disk is not asked all the time.
const JOURNAL_RETRY_MIN: Duration = Duration::from_millis(2);
const JOURNAL_RETRY_MAX: Duration = Duration::from_millis(64);

/// A peer without room in its mailbox is tried again after this.
const LETTER_RETRY: Duration = Duration::from_millis(2);

/// While the storage tier takes on no work it is looked at this often.
const STORAGE_LOOK: Duration = Duration::from_millis(100);

/// Workers of a node, at most: a record names those that it touches by a bit for each.
pub const WORKERS_MAX: u16 = u64::BITS as u16;

/// A record, and the workers that are handed it when it is durable, as a bit for each.
pub type Committed = (SharedRecord, u64);

/// Everything beside a worker. Nothing here waits.
pub trait Neighbours {
    /// The next letter in the worker's mailbox.
    fn next_letter(&mut self) -> Option<Letter>;

    /// Whether a letter is there.
    fn has_letters(&self) -> bool;

    /// Puts a letter into a peer's mailbox; `Ok(true)`: the peer sleeps and must be woken.
    ///
    /// # Errors
    /// Gives the letter back if there is no room.
    fn try_post(&mut self, to: WorkerId, letter: Letter) -> Result<bool, Letter>;

    /// Why journal and store take on no more work; `None` while they do. Asked once a turn.
    fn shortage(&self) -> Option<Shortage>;

    /// Hands records to the journal: all of them in order, or none.
    ///
    /// # Errors
    /// If there is no room for them, or the journal has ended.
    fn try_commit(&mut self, records: Vec<Committed>) -> Result<(), CommitRefused>;

    /// Asks the store: `Load`, `LookUpAccepted`, `ReadMessages` or `FindReceived`, answered by a
    /// letter; or at once, by `StoreUnavailable`, if the store does not take the question.
    fn read(&mut self, from: WorkerId, question: Effect) -> Option<Event<'static>>;

    /// Has a token checked, answered by a letter.
    ///
    /// # Errors
    /// Why it is not checked at all.
    fn try_verify(
        &mut self,
        from: WorkerId,
        connection: ConnectionKey,
        token: String,
    ) -> Result<(), CredentialRefused>;

    /// Answers a registration or a sign-out.
    fn request_done(&mut self, ticket: u64, done: bool);

    /// Somebody has signed in: for the log of whoever runs the server.
    fn signed_in(&mut self, entrant: Entrant);

    /// A web page of this origin was refused a WebSocket: for the log of whoever runs the server.
    /// The bytes are a peer's.
    fn foreign_origin(&mut self, origin: Vec<u8>);

    /// Hands an HTTP connection of worker `from` to REST, with what was read of it already. REST
    /// may give it back to that worker, by `Letter::Returned`.
    fn hand_over(&mut self, from: WorkerId, fd: OwnedFd, read: Vec<u8>, caller: Option<Caller>);

    /// Has REST refuse a connection that it gave back: there is no room for it.
    fn refuse(&mut self, fd: OwnedFd);
}

/// Why the journal took nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommitRefused {
    /// There is no room now.
    NoRoom,
    /// It has ended: nothing will be durable any more.
    Ended,
}

/// One worker with its rings, and what waits for room in a queue of a neighbour.
pub struct Driver<R: Rings> {
    worker: Worker,
    rings: R,
    handles: Vec<R::Handle>,
    sleep: Arc<SleepFlag>,
    clock: ClockTrust,
    commits: VecDeque<SharedRecord>,
    letters: Outgoing,
    /// Until when a journal without room is let be, and the pause behind that.
    commit_at: Duration,
    commit_pause: Duration,
    shortage: Option<Shortage>,
    journal_failed: bool,
}

impl<R: Rings> Driver<R> {
    /// A driver that has nothing to do. `handles` has the rings of all workers by their number;
    /// `sleep` is what those look at who put letters into the worker's mailbox; `clock` knows when
    /// the node last agreed on the date.
    ///
    /// # Panics
    /// If there are more than [`WORKERS_MAX`].
    pub fn new(
        worker: Worker,
        rings: R,
        handles: Vec<R::Handle>,
        sleep: Arc<SleepFlag>,
        clock: ClockTrust,
    ) -> Self {
        assert!(handles.len() <= WORKERS_MAX.into(), "each worker has a bit of its own");
        let letters = Outgoing::new(handles.len());
        let commits = VecDeque::new();
        Self {
            worker,
            rings,
            handles,
            sleep,
            clock,
            commits,
            letters,
            commit_at: Duration::ZERO,
            commit_pause: JOURNAL_RETRY_MIN,
            shortage: None,
            journal_failed: false,
        }
    }

    /// The worker.
    pub fn worker(&self) -> &Worker {
        &self.worker
    }

    /// Its rings.
    pub fn rings(&self) -> &R {
        &self.rings
    }

    /// Its rings, to listen with them.
    pub fn rings_mut(&mut self) -> &mut R {
        &mut self.rings
    }

    /// How far the wall clock is believed, as of the last turn.
    pub fn clock(&self) -> &ClockTrust {
        &self.clock
    }

    /// Whether nothing waits for room with a neighbour.
    pub fn is_settled(&self) -> bool {
        self.commits.is_empty() && self.letters.is_empty()
    }

    /// Records and letters that wait for room.
    pub fn waiting(&self) -> usize {
        self.commits.len() + self.letters.len()
    }

    /// Takes letters, ends the turn and carries out what it asks for; operations are queued.
    /// Answers whether the ring was given any.
    pub fn turn(&mut self, clocks: Clocks, neighbours: &mut impl Neighbours) -> bool {
        let mut now = self.clock.read(clocks);
        let shortage = neighbours.shortage();
        if std::mem::replace(&mut self.shortage, shortage) != shortage {
            self.worker.letter(Letter::Event(Event::Storage { shortage }), now);
        }
        for _ in 0..LETTERS_PER_TURN_MAX {
            match neighbours.next_letter() {
                None => break,
                Some(Letter::TrustClock) => {
                    self.clock.trust(clocks);
                    now = self.clock.read(clocks);
                }
                Some(letter) => self.worker.letter(letter, now),
            }
        }
        self.worker.end_turn(now);
        self.carry_out(now, neighbours)
    }

    /// How long the ring may sleep: not at all while letters wait; the second look comes after
    /// the announcement, so that no pusher is missed. `others` is what else wakes the caller.
    pub fn rest(
        &mut self,
        clocks: Clocks,
        neighbours: &impl Neighbours,
        others: Option<Duration>,
    ) -> Wait {
        self.sleep.announce();
        if neighbours.has_letters() {
            self.sleep.awake();
            return Wait::POLL;
        }
        match self.next_turn_within(clocks).into_iter().chain(others).min() {
            None => Wait::FOREVER,
            Some(Duration::ZERO) => Wait::POLL,
            Some(time) => Wait::at_most(time),
        }
    }

    /// When the next turn is due although nothing happens; `None`: when something does.
    pub fn next_turn_within(&self, clocks: Clocks) -> Option<Duration> {
        if self.worker.has_more() {
            return Some(Duration::ZERO);
        }
        let deadline = self.worker.next_deadline().map(|at| at.saturating_sub(clocks.mono));
        let waits = self.commit_at.saturating_sub(clocks.mono).max(JOURNAL_RETRY_MIN);
        let commits = (!self.commits.is_empty()).then_some(waits);
        let letters = (!self.letters.is_empty()).then_some(LETTER_RETRY);
        let look = self.shortage.map(|_| STORAGE_LOOK);
        [deadline, commits, letters, look].into_iter().flatten().min()
    }

    /// Submits what was queued, sleeps as `wait` allows, and takes completions. Answers whether
    /// there was any. The clocks are read after the sleep.
    pub fn enter(&mut self, wait: Wait, clocks: impl Fn() -> Clocks) -> bool {
        let Self { worker, rings, clock, .. } = self;
        let mut time = None;
        rings.submit_and_wait(wait, |completion| {
            let now = *time.get_or_insert_with(|| clock.read(clocks()));
            worker.complete_clocked(completion, now, || clocks().mono);
        });
        time.is_some()
    }

    /// The sleep is over: who puts letters into the mailbox need not wake the worker.
    pub fn awake(&self) {
        self.sleep.awake();
    }

    fn carry_out(&mut self, now: Now, neighbours: &mut impl Neighbours) -> bool {
        for _ in 0..ROUNDS_PER_TURN_MAX {
            let outputs: Vec<Output> = self.worker.outputs().collect();
            let is_last = outputs.is_empty();
            for output in outputs {
                self.output(output, now, neighbours);
            }
            if is_last && !self.commit(now, neighbours) {
                break;
            }
            // What was refused at once has become letters to ourselves: end the turn again.
            self.worker.end_turn(now);
        }
        self.deliver(neighbours);
        let mut queued = false;
        for operation in self.worker.operations() {
            Operation::submit(operation, &mut self.rings, &self.handles);
            queued = true;
        }
        queued
    }

    fn output(&mut self, output: Output, now: Now, neighbours: &mut impl Neighbours) {
        let from = self.worker.id();
        match output {
            Output::Tier(Effect::Commit { record }) => self.commits.push_back(record),
            Output::Tier(Effect::RequestDone { ticket, done }) => {
                neighbours.request_done(ticket, done);
            }
            Output::Tier(question) => {
                if let Some(unavailable) = neighbours.read(from, question) {
                    self.worker.letter(Letter::Event(unavailable), now);
                }
            }
            Output::Mail { to, mail } => self.letters.push(to, Letter::Mail { from, mail }),
            Output::Arriving { to, arriving } => self.letters.push(to, Letter::Arriving(arriving)),
            Output::MoveFailed { to, token } => {
                self.letters.push(to, Letter::MoveFailed { token });
            }
            Output::Verify { connection, token } => {
                if let Err(reason) = neighbours.try_verify(from, connection, token) {
                    self.worker.letter(Letter::Verified { connection, answer: Err(reason) }, now);
                }
            }
            Output::Answer { reply, answer } => reply.send(answer),
            Output::SignedIn(entrant) => neighbours.signed_in(entrant),
            Output::ForeignOrigin { origin } => neighbours.foreign_origin(origin),
            Output::HandOver { fd, read, caller } => neighbours.hand_over(from, fd, read, caller),
            Output::Refuse { fd } => neighbours.refuse(fd),
        }
    }

    /// Hands letters to the peers: one wake for each peer that sleeps, by its ring.
    fn deliver(&mut self, neighbours: &mut impl Neighbours) {
        let Self { letters, rings, handles, .. } = self;
        letters.deliver(
            |peer, letter| neighbours.try_post(peer, letter),
            |peer| rings.wake(&handles[usize::from(peer.0)]),
        );
    }

    /// Hands records to the journal, in order, as far as it has room; the rest waits, bounded by
    /// what the shard lets be in flight. What waits may be more than the journal ever takes at
    /// once, so a batch that is refused is tried again by halves. Answers whether the worker was told that the journal has
    /// ended.
    fn commit(&mut self, now: Now, neighbours: &mut impl Neighbours) -> bool {
        let had_failed = self.journal_failed;
        let mut most = BATCH_RECORDS_MAX;
        // Ends: each round hands records over, halves the batch, or is the last.
        while !self.commits.is_empty() && !self.journal_failed {
            let count = self.commits.len().min(most);
            if now.mono < self.commit_at {
                return false;
            }
            let batch = self.commits.iter().take(count);
            let batch = batch.map(|record| (Arc::clone(record), self.touch(record))).collect();
            match neighbours.try_commit(batch) {
                Ok(()) => {
                    self.commit_pause = JOURNAL_RETRY_MIN;
                    drop(self.commits.drain(..count));
                }
                Err(CommitRefused::Ended) => {
                    self.journal_failed = true;
                    self.worker.letter(Letter::Event(Event::JournalFailed), now);
                }
                Err(CommitRefused::NoRoom) if count > 1 => most = count / 2,
                Err(CommitRefused::NoRoom) => {
                    self.commit_at = now.mono + self.commit_pause;
                    self.commit_pause = (self.commit_pause * 2).min(JOURNAL_RETRY_MAX);
                    return false;
                }
            }
        }
        if self.journal_failed {
            // Their outcome was told by `JournalFailed`.
            self.commits.clear();
        }
        self.journal_failed != had_failed
    }

    fn touch(&self, record: &SharedRecord) -> u64 {
        let homes = record.head.touches();
        homes.iter().fold(0, |touch, &user| touch | 1u64 << self.worker.home(user).0)
    }
}
