//! What drives a worker on its thread: the clock, the neighbours that are threads, the commands of
//! the owner, the counters that are published. The turn itself is `ringpost_conn::driver`.

use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam::channel;
use ringpost_conn::driver::{CommitRefused, Committed, Neighbours};
use ringpost_conn::letter::CredentialRefused;
use ringpost_conn::output::Entrant;
use ringpost_conn::{Caller, Driver, Letter, TrustedProxies};
use ringpost_journal::{Batch, JournalHandle, Record, Refused};
use ringpost_ring::{RingSet, Wait};
use ringpost_shard::event::{ConnectionKey, WorkerId};
use ringpost_shard::image::StoreUnavailable;
use ringpost_shard::{Clocks, Effect, Event, Shortage};
use ringpost_store::thread::{ReadRequest, StoreHandle};

use super::control::Requests;
use super::mailbox::Mailbox;
use super::sources::WorkerCells;
use super::watch::Pulse;
use crate::auth::{self, TokenService, VerifyRequest};
use crate::clock::MachineClock;
use crate::rest::RestService;

/// How often counters are published at most.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);

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

/// The other threads of the node, as a worker sees them.
pub(super) struct Threads {
    /// The worker's own mailbox.
    pub(super) letters: channel::Receiver<Letter>,
    pub(super) others: Others,
    /// Records were refused for want of room, and none has been taken since: what is refused again
    /// is not counted again.
    pub(super) waits_for_room: bool,
}

/// What all workers have alike of them.
pub(super) struct Others {
    pub(super) mailboxes: Vec<Arc<Mailbox>>,
    pub(super) journal: JournalHandle,
    pub(super) store: StoreHandle,
    pub(super) tokens: Arc<TokenService<(WorkerId, ConnectionKey)>>,
    pub(super) rest: Arc<RestService>,
    pub(super) requests: Arc<Requests>,
}

impl Neighbours for Threads {
    fn next_letter(&mut self) -> Option<Letter> {
        self.letters.try_recv().ok()
    }

    fn has_letters(&self) -> bool {
        !self.letters.is_empty()
    }

    fn try_post(&mut self, to: WorkerId, letter: Letter) -> Result<bool, Letter> {
        self.others.mailboxes[usize::from(to.0)].try_post(letter)
    }

    fn shortage(&self) -> Option<Shortage> {
        let store = &self.others.store;
        match self.others.journal.admit() {
            Err(Refused::DiskFull) => Some(Shortage::Disk),
            Err(Refused::DiskBudget) => Some(Shortage::JournalBudget),
            // It falls behind because it cannot write: a larger limit would not help it.
            _ if store.is_overloaded() && store.is_out() => Some(Shortage::Disk),
            _ if store.is_overloaded() => Some(Shortage::Unapplied),
            // What has ended says so to who commits.
            _ => None,
        }
    }

    fn try_commit(&mut self, records: Vec<Committed>) -> Result<(), CommitRefused> {
        let count = records.len() as u32;
        let records: Vec<(Record, u64)> = records
            .iter()
            .map(|(record, touch)| {
                (Record { head: record.head.encode(), body: record.body.clone() }, *touch)
            })
            .collect();
        let bytes = records.iter().map(|(record, _)| record.bytes()).sum();
        let journal = &self.others.journal;
        let room = if self.waits_for_room {
            journal.try_reserve_again(count, bytes)
        } else {
            journal.try_reserve(count, bytes)
        };
        let taken = room.and_then(|room| {
            let mut batch = Batch::new(room);
            for (record, touch) in records {
                batch.push(record, touch)?;
            }
            journal.submit(batch)
        });
        self.waits_for_room = taken.is_err();
        taken.map_err(|refused| match refused {
            Refused::Failed | Refused::Closed => CommitRefused::Ended,
            _ => CommitRefused::NoRoom,
        })
    }

    fn read(&mut self, from: WorkerId, question: Effect) -> Option<Event<'static>> {
        self.others.store.read(from, request(question)).err().map(unread)
    }

    fn try_verify(
        &mut self,
        from: WorkerId,
        connection: ConnectionKey,
        token: String,
    ) -> Result<(), CredentialRefused> {
        let request = VerifyRequest { key: (from, connection), token: token.into_boxed_str() };
        self.others.tokens.submit(request).map_err(|refused| match refused {
            auth::Refused::Full => CredentialRefused::Busy,
            auth::Refused::TooLong => CredentialRefused::TokenMalformed,
        })
    }

    fn request_done(&mut self, ticket: u64, done: bool) {
        self.others.requests.answer(ticket, done);
    }

    fn signed_in(&mut self, entrant: Entrant) {
        let Entrant { user, device, proof, speech, address } = entrant;
        let (transport, by) = (speech.name(), proof.name());
        let address = address.map(tracing::field::display);
        tracing::debug!(%user, %device, transport, by, address, "signed in");
    }

    fn foreign_origin(&mut self, origin: Vec<u8>) {
        self.others.rest.on_foreign_origin(origin);
    }

    fn hand_over(&mut self, from: WorkerId, fd: OwnedFd, read: Vec<u8>, caller: Option<Caller>) {
        let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let caller =
            caller.unwrap_or_else(|| Caller::of_socket(unknown, &TrustedProxies::default()));
        self.others.rest.serve_stream(from, TcpStream::from(fd), read, caller);
    }

    fn refuse(&mut self, fd: OwnedFd) {
        RestService::refuse_stream(&TcpStream::from(fd));
    }
}

/// One worker on its thread.
pub(super) struct WorkerLoop {
    pub(super) driver: Driver<RingSet>,
    pub(super) threads: Threads,
    pub(super) commands: Receiver<Command>,
    pub(super) clock: MachineClock,
    pub(super) cells: Arc<Mutex<WorkerCells>>,
    pub(super) published: Published,
    pub(super) pulse: Arc<Pulse>,
}

/// When the counters were last published, and whether they have moved since.
#[derive(Default)]
pub(super) struct Published {
    at: Duration,
    is_behind: bool,
    stop_at: Option<Instant>,
}

impl WorkerLoop {
    /// Runs until told to stop.
    pub(super) fn run(mut self) {
        // Ends: by a command. A round is one turn.
        loop {
            self.pulse.beat();
            let clocks = self.clock.read();
            self.published.is_behind |= self.driver.turn(clocks, &mut self.threads);
            if self.take_commands() {
                return self.pulse.end();
            }
            self.publish(clocks);
            let wait = self.wait(clocks);
            let clock = self.clock;
            self.published.is_behind |= self.driver.enter(wait, || clock.read());
            self.driver.awake();
        }
    }

    /// Answers whether the worker ends.
    fn take_commands(&mut self) -> bool {
        // Ends: the owner sends a listener for each address, and one stop.
        loop {
            match self.commands.try_recv() {
                Ok(Command::Listen(socket)) => self.driver.rings_mut().listen(socket),
                Ok(Command::StopWhenDrained { deadline }) => {
                    self.published.stop_at = Some(deadline);
                }
                Err(TryRecvError::Empty) => break,
                // The owner is gone: nobody is left to serve for.
                Err(TryRecvError::Disconnected) => return true,
            }
        }
        let drained = self.driver.worker().is_drained() && self.driver.is_settled();
        self.published.stop_at.is_some_and(|deadline| drained || deadline <= Instant::now())
    }

    fn wait(&mut self, clocks: Clocks) -> Wait {
        let publish = self.published.is_behind.then_some(PUBLISH_EVERY);
        let stop = self
            .published
            .stop_at
            .map(|at| at.saturating_duration_since(Instant::now()).min(PUBLISH_EVERY));
        let others = publish.into_iter().chain(stop).min();
        self.driver.rest(clocks, &self.threads, others)
    }

    fn publish(&mut self, clocks: Clocks) {
        let due = clocks.mono.saturating_sub(self.published.at) >= PUBLISH_EVERY;
        if !self.published.is_behind || !due {
            return;
        }
        // A scrape that copies them just now is let be: a worker waits for nobody.
        let Ok(mut cells) = self.cells.try_lock() else { return };
        *cells = WorkerCells::read(self.driver.worker(), self.driver.rings());
        self.published.is_behind = false;
        self.published.at = clocks.mono;
    }
}

/// A question of the shard, in the store's words.
///
/// # Panics
/// If the effect asks the store nothing.
fn request(question: Effect) -> ReadRequest {
    match question {
        Effect::Load { user, after } => ReadRequest::Load { user, after },
        Effect::LookUpAccepted { user, device, message_id, after } => {
            ReadRequest::LookUp { user, device, message_id, after }
        }
        Effect::ReadMessages { user, device, ids, after } => {
            ReadRequest::Messages { user, device, ids, after }
        }
        Effect::FindReceived { user, device, id, after } => {
            ReadRequest::Received { user, device, id, after }
        }
        other => unreachable!("not a question to the store: {other:?}"),
    }
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
        ReadRequest::Received { user, device, .. } => {
            Event::ReceivedFound { user, device, answer: Err(answer) }
        }
    }
}
