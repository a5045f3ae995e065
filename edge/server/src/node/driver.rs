//! The driver of one worker: letters and completions in, operations and outputs out, sleep.
//!
//! ```text
//!   +-> letters -> end of turn -> outputs to other threads -> operations to the ring --+
//!   |                                                                                  |
//!   +-- completions <- submit and wait (sleeps only after a second look) <-------------+
//! ```
//! Owns the clock, the ring, and what did not fit into a queue yet. Holds no rule of the protocol
//! or the domain.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ringpost_conn::letter::CredentialRefused;
use ringpost_conn::{Letter, Operation, Outgoing, Output, Worker};
use ringpost_journal::{Batch, JournalHandle, Record, Refused};
use ringpost_ring::{RingHandle, RingSet, Rings, Wait};
use ringpost_shard::event::{ConnectionKey, Now, WorkerId};
use ringpost_shard::image::StoreUnavailable;
use ringpost_shard::record::SharedRecord;
use ringpost_shard::{Effect, Event};
use ringpost_store::thread::{ReadRequest, StoreHandle};

use super::control::Registrations;
use super::mailbox::{Inbox, Mailbox};
use super::sources::WorkerCells;
use crate::auth::{self, TokenService, VerifyRequest};
use crate::clock;
use crate::rest::RestService;

/// Letters taken in one turn: the ring must not wait for a flood of them.
const LETTERS_PER_TURN_MAX: usize = 1_024;

/// Records handed to the journal as one batch.
const BATCH_RECORDS_MAX: usize = 4_096;

/// A journal without room is asked again after this.
const JOURNAL_RETRY: Duration = Duration::from_millis(2);

/// How often counters are published at most.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);

/// The clocks of a node: one start for all workers, so that times can be compared.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Both clocks. Monotonic time is never zero, which stands for "not yet" in many places.
    pub fn now(self) -> Now {
        Now { mono: self.mono(), wall_ms: clock::wall_ms() }
    }

    /// The monotonic clock.
    pub fn mono(self) -> Duration {
        self.start.elapsed() + Duration::from_secs(1)
    }
}

/// What the owner of a worker tells it beside letters.
#[derive(Debug)]
pub(super) enum Command {
    /// Accept from this socket.
    Listen(OwnedFd),
    /// End when no connection is left, or at the deadline.
    StopWhenDrained {
        /// When to leave anyway.
        deadline: Instant,
    },
}

/// What a worker shares with the other threads of the node.
pub(super) struct Neighbours {
    pub(super) mailboxes: Vec<Arc<Mailbox>>,
    pub(super) handles: Vec<RingHandle>,
    pub(super) journal: JournalHandle,
    pub(super) store: StoreHandle,
    pub(super) tokens: Arc<TokenService<(WorkerId, ConnectionKey)>>,
    pub(super) rest: Arc<RestService>,
    pub(super) registrations: Arc<Registrations>,
}

/// One worker with everything it drives.
pub(super) struct Driver {
    pub(super) worker: Worker,
    pub(super) rings: RingSet,
    pub(super) inbox: Inbox,
    pub(super) commands: Receiver<Command>,
    pub(super) neighbours: Neighbours,
    pub(super) clock: Clock,
    pub(super) cells: Arc<Mutex<WorkerCells>>,
    pub(super) pending: Pending,
}

/// What waits for room in a queue of another thread.
#[derive(Default)]
pub(super) struct Pending {
    commits: VecDeque<SharedRecord>,
    letters: Outgoing,
    journal_failed: bool,
    stop_at: Option<Instant>,
    published_at: Duration,
    unpublished: bool,
}

impl Pending {
    pub(super) fn new(workers: usize) -> Self {
        Self { letters: Outgoing::new(workers), ..Self::default() }
    }

    fn is_empty(&self) -> bool {
        self.commits.is_empty() && self.letters.is_empty()
    }
}

impl Driver {
    /// Runs until told to stop.
    pub(super) fn run(mut self) {
        loop {
            let now = self.clock.now();
            for _ in 0..LETTERS_PER_TURN_MAX {
                let Ok(letter) = self.inbox.letters.try_recv() else { break };
                self.worker.letter(letter, now);
            }
            self.worker.end_turn(now);
            self.carry_out(now);
            if self.take_commands() {
                return;
            }
            let wait = self.wait(now);
            let (worker, clock) = (&mut self.worker, self.clock);
            let mut time = None;
            let mut completed = false;
            self.rings.submit_and_wait(wait, |completion| {
                completed = true;
                let now = *time.get_or_insert_with(|| clock.now());
                worker.complete_clocked(completion, now, || clock.mono());
            });
            self.inbox.sleep.awake();
            self.pending.unpublished |= completed;
        }
    }

    /// Answers whether the worker ends.
    fn take_commands(&mut self) -> bool {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Listen(socket)) => self.rings.listen(socket),
                Ok(Command::StopWhenDrained { deadline }) => self.pending.stop_at = Some(deadline),
                Err(TryRecvError::Empty) => break,
                // The owner is gone: nobody is left to serve for.
                Err(TryRecvError::Disconnected) => return true,
            }
        }
        let drained = self.worker.is_drained() && self.pending.is_empty();
        self.pending.stop_at.is_some_and(|deadline| drained || deadline <= Instant::now())
    }

    /// How long the ring may sleep: not at all while letters wait; the second look comes after the
    /// announcement, so that no pusher is missed.
    fn wait(&mut self, now: Now) -> Wait {
        self.inbox.sleep.announce();
        if !self.inbox.letters.is_empty() {
            self.inbox.sleep.awake();
            return Wait::POLL;
        }
        self.publish(now);
        let deadline = self.worker.next_deadline().map(|at| at.saturating_sub(now.mono));
        let retry = (!self.pending.is_empty()).then_some(JOURNAL_RETRY);
        let publish = self.pending.unpublished.then_some(PUBLISH_EVERY);
        let stop = self
            .pending
            .stop_at
            .map(|at| at.saturating_duration_since(Instant::now()).min(PUBLISH_EVERY));
        match [deadline, retry, publish, stop].into_iter().flatten().min() {
            None => Wait::FOREVER,
            Some(Duration::ZERO) => Wait::POLL,
            Some(time) => Wait::at_most(time),
        }
    }

    fn carry_out(&mut self, now: Now) {
        let mut outputs: Vec<Output> = self.worker.outputs().collect();
        while !outputs.is_empty() {
            for output in outputs.drain(..) {
                self.output(output, now);
            }
            // What was refused at once has become letters to ourselves: end the turn again.
            self.worker.end_turn(now);
            outputs.extend(self.worker.outputs());
        }
        self.commit(now);
        self.deliver();
        let handles = &self.neighbours.handles;
        let mut queued = false;
        for operation in self.worker.operations() {
            Operation::submit(operation, &mut self.rings, handles);
            queued = true;
        }
        self.pending.unpublished |= queued;
    }

    fn output(&mut self, output: Output, now: Now) {
        match output {
            Output::Tier(effect) => self.tier(effect, now),
            Output::Mail { to, mail } => {
                let from = self.worker.id();
                self.pending.letters.push(to, Letter::Mail { from, mail });
            }
            Output::Arriving { to, arriving } => {
                self.pending.letters.push(to, Letter::Arriving(arriving))
            }
            Output::MoveFailed { to, token } => {
                self.pending.letters.push(to, Letter::MoveFailed { token })
            }
            Output::Verify { connection, token } => self.verify(connection, token, now),
            Output::HandOver { fd, read, address } => {
                let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
                self.neighbours.rest.serve_stream(TcpStream::from(fd), read, address);
            }
        }
    }

    fn tier(&mut self, effect: Effect, now: Now) {
        let request = match effect {
            Effect::Commit { record } => return self.pending.commits.push_back(record),
            Effect::UserCreated { ticket, created } => {
                return self.neighbours.registrations.answer(ticket, created);
            }
            Effect::Load { user, after } => ReadRequest::Load { user, after },
            Effect::LookUpAccepted { user, device, message_id, after } => {
                ReadRequest::LookUp { user, device, message_id, after }
            }
            Effect::ReadMessages { user, device, ids, after } => {
                ReadRequest::Messages { user, device, ids, after }
            }
            other => unreachable!("not an effect for the storage tier: {other:?}"),
        };
        if let Err(refused) = self.neighbours.store.read(self.worker.id(), request) {
            self.worker.letter(Letter::Event(unread(refused)), now);
        }
    }

    fn verify(&mut self, connection: ConnectionKey, token: String, now: Now) {
        let key = (self.worker.id(), connection);
        let request = VerifyRequest { key, token: token.into_boxed_str() };
        if let Err(refused) = self.neighbours.tokens.submit(request) {
            let reason = match refused {
                auth::Refused::Full => CredentialRefused::Busy,
                auth::Refused::TooLong => CredentialRefused::Invalid,
            };
            self.worker.letter(Letter::Verified { connection, answer: Err(reason) }, now);
        }
    }

    /// Hands letters to the peers: one wake for each peer that sleeps, by its ring.
    fn deliver(&mut self) {
        let Self { pending, rings, neighbours, .. } = self;
        let at = |peer: WorkerId| usize::from(peer.0);
        pending.letters.deliver(
            |peer, letter| neighbours.mailboxes[at(peer)].try_post(letter),
            |peer| rings.wake(&neighbours.handles[at(peer)]),
        );
    }

    /// Hands records to the journal, in order, as far as it has room; the rest waits, bounded by
    /// what the shard lets be in flight.
    fn commit(&mut self, now: Now) {
        while !self.pending.commits.is_empty() && !self.pending.journal_failed {
            let records: Vec<(Record, u64)> = self
                .pending
                .commits
                .iter()
                .take(BATCH_RECORDS_MAX)
                .map(|record| (encoded(record), self.touch(record)))
                .collect();
            let bytes = records.iter().map(|(record, _)| record.bytes()).sum();
            let refused =
                self.neighbours.journal.try_reserve(records.len() as u32, bytes).and_then(|room| {
                    let mut batch = Batch::new(room);
                    let count = records.len();
                    for (record, touch) in records {
                        batch.push(record, touch)?;
                    }
                    self.neighbours.journal.submit(batch).map(|()| count)
                });
            match refused {
                Ok(count) => drop(self.pending.commits.drain(..count)),
                Err(Refused::Failed | Refused::Closed) => {
                    self.pending.journal_failed = true;
                    self.worker.letter(Letter::Event(Event::JournalFailed), now);
                }
                Err(_) => return,
            }
        }
        if self.pending.journal_failed {
            // Their outcome was told by `JournalFailed`.
            self.pending.commits.clear();
        }
    }

    /// The workers that are handed the record when it is durable, as a bit for each.
    fn touch(&self, record: &SharedRecord) -> u64 {
        let homes = record.head.touches();
        homes.iter().fold(0, |touch, &user| touch | 1 << self.worker.home(user).0)
    }

    fn publish(&mut self, now: Now) {
        let due = now.mono.saturating_sub(self.pending.published_at) >= PUBLISH_EVERY;
        if !self.pending.unpublished || !due {
            return;
        }
        // A scrape that copies them just now is let be: a worker waits for nobody.
        let Ok(mut cells) = self.cells.try_lock() else { return };
        *cells = WorkerCells::read(&self.worker, &self.rings);
        self.pending.unpublished = false;
        self.pending.published_at = now.mono;
    }
}

fn encoded(record: &SharedRecord) -> Record {
    Record { head: record.head.encode(), body: record.body.clone() }
}

/// The answer of a store that does not take the question.
fn unread(request: ReadRequest) -> Event<'static> {
    let answer = StoreUnavailable;
    match request {
        ReadRequest::Load { user, .. } => Event::Loaded { user, answer: Err(answer) },
        ReadRequest::LookUp { user, device, message_id, .. } => {
            Event::AcceptedFound { user, device, message_id, answer: Err(answer) }
        }
        ReadRequest::Messages { user, device, .. } => {
            Event::MessagesRead { user, device, answer: Err(answer) }
        }
    }
}
