//! One worker with its ring, driven as the server drives it: by the product's own driver, whose
//! neighbours are here mailboxes in memory, the journal of the test, and lists that a test looks at.

use std::cell::Cell;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use ringpost_conn::driver::{CommitRefused, Committed, Neighbours};
use ringpost_conn::letter::CredentialRefused;
use ringpost_conn::output::Entrant;
use ringpost_conn::{Caller, Letter, Worker};
use ringpost_ring::fake::{FakeHandle, FakeRing};
use ringpost_ring::{Rings, SleepFlag, Wait};
use ringpost_shard::event::{ConnectionKey, WorkerId};
use ringpost_shard::{ClockTrust, Clocks, Effect, Event, Shortage};

use crate::journal::Journal;

/// An HTTP connection that was handed to REST.
pub(crate) struct HandedOver {
    pub(crate) fd: OwnedFd,
    pub(crate) read: Vec<u8>,
    pub(crate) caller: Option<Caller>,
}

/// What other threads said to a worker and it has not taken.
pub(crate) struct Mailbox {
    pub(crate) letters: VecDeque<Letter>,
    /// Letters that it holds; above it a peer keeps its own.
    pub(crate) letters_max: usize,
    /// It is not read while this is set.
    pub(crate) held: bool,
}

impl Mailbox {
    pub(crate) fn new() -> Self {
        Self { letters: VecDeque::new(), letters_max: usize::MAX, held: false }
    }
}

pub(crate) struct Driver {
    inner: ringpost_conn::Driver<FakeRing>,
    /// The ring is not entered while this is set.
    pub(crate) ring_held: bool,
    pub(crate) handed_over: Vec<HandedOver>,
    /// Origins of web pages that were refused.
    pub(crate) foreign_origins: Vec<Vec<u8>>,
    /// Given back to REST, because there was no room.
    pub(crate) refused: Vec<OwnedFd>,
    /// What each reading of the clock within a batch adds to the time.
    pub(crate) tick: Duration,
    /// Tokens that nobody has checked.
    pub(crate) checks: VecDeque<(ConnectionKey, String)>,
}

impl Driver {
    pub(crate) fn new(worker: Worker, ring: FakeRing, rings: Vec<FakeHandle>) -> Self {
        let sleep = Arc::new(SleepFlag::new());
        Self {
            inner: ringpost_conn::Driver::new(worker, ring, rings, sleep, ClockTrust::new(0)),
            ring_held: false,
            handed_over: Vec::new(),
            foreign_origins: Vec::new(),
            refused: Vec::new(),
            tick: Duration::ZERO,
            checks: VecDeque::new(),
        }
    }

    pub(crate) fn worker(&self) -> &Worker {
        self.inner.worker()
    }

    pub(crate) fn rings(&self) -> &impl Rings {
        self.inner.rings()
    }

    /// Whether nothing waits for room in a peer's mailbox or the journal.
    pub(crate) fn is_settled(&self) -> bool {
        self.inner.is_settled()
    }

    /// One turn up to the ring; whether there was anything to do.
    pub(crate) fn turn(
        &mut self,
        now: Clocks,
        journal: &mut Journal,
        mailboxes: &mut [Mailbox],
    ) -> bool {
        let own = usize::from(self.inner.worker().id().0);
        let (handed_over, checks) = (&mut self.handed_over, &mut self.checks);
        let (foreign_origins, refused) = (&mut self.foreign_origins, &mut self.refused);
        let mut desk = Desk {
            own,
            journal,
            mailboxes,
            handed_over,
            foreign_origins,
            refused,
            checks,
            is_busy: false,
        };
        let queued = self.inner.turn(now, &mut desk);
        let is_busy = queued || desk.is_busy;
        if self.ring_held {
            return is_busy;
        }
        let (tick, readings) = (self.tick, Cell::new(0));
        let completed = self.inner.enter(Wait::POLL, || {
            let mono = now.mono + tick * readings.get();
            readings.set(readings.get() + 1);
            Clocks { mono, ..now }
        });
        is_busy || completed
    }
}

/// What a worker reaches in one turn.
struct Desk<'a> {
    own: usize,
    journal: &'a mut Journal,
    mailboxes: &'a mut [Mailbox],
    handed_over: &'a mut Vec<HandedOver>,
    foreign_origins: &'a mut Vec<Vec<u8>>,
    refused: &'a mut Vec<OwnedFd>,
    checks: &'a mut VecDeque<(ConnectionKey, String)>,
    is_busy: bool,
}

impl Neighbours for Desk<'_> {
    fn shortage(&self) -> Option<Shortage> {
        self.journal.shortage
    }

    fn next_letter(&mut self) -> Option<Letter> {
        let mailbox = &mut self.mailboxes[self.own];
        let letter = if mailbox.held { None } else { mailbox.letters.pop_front() };
        self.is_busy |= letter.is_some();
        letter
    }

    fn has_letters(&self) -> bool {
        let mailbox = &self.mailboxes[self.own];
        !mailbox.held && !mailbox.letters.is_empty()
    }

    fn try_post(&mut self, to: WorkerId, letter: Letter) -> Result<bool, Letter> {
        let mailbox = &mut self.mailboxes[usize::from(to.0)];
        if mailbox.letters.len() >= mailbox.letters_max {
            return Err(letter);
        }
        mailbox.letters.push_back(letter);
        self.is_busy = true;
        // Nobody sleeps here: every round asks everybody.
        Ok(false)
    }

    fn try_commit(&mut self, records: Vec<Committed>) -> Result<(), CommitRefused> {
        let taken = self.journal.try_commit(records);
        self.is_busy |= taken.is_ok();
        taken
    }

    fn read(&mut self, from: WorkerId, question: Effect) -> Option<Event<'static>> {
        self.is_busy = true;
        self.journal.read(from, question);
        None
    }

    fn try_verify(
        &mut self,
        _from: WorkerId,
        connection: ConnectionKey,
        token: String,
    ) -> Result<(), CredentialRefused> {
        self.is_busy = true;
        self.checks.push_back((connection, token));
        Ok(())
    }

    fn request_done(&mut self, ticket: u64, _done: bool) {
        unreachable!("nobody registers here, but {ticket} is answered");
    }

    fn signed_in(&mut self, _entrant: Entrant) {}

    fn foreign_origin(&mut self, origin: Vec<u8>) {
        self.foreign_origins.push(origin);
    }

    fn hand_over(&mut self, _from: WorkerId, fd: OwnedFd, read: Vec<u8>, caller: Option<Caller>) {
        self.is_busy = true;
        self.handed_over.push(HandedOver { fd, read, caller });
    }

    fn refuse(&mut self, fd: OwnedFd) {
        self.is_busy = true;
        self.refused.push(fd);
    }
}
