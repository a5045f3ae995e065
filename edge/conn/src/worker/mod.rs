//! One worker: a shard, the connections of its users, their timers. Its turn is sans-IO.
//!
//! ```text
//!   completions of the ring --+                                   +--> operations of the ring
//!   letters of other threads -+--> Worker --> Shard --> effects --+--> outputs for other threads
//!   the clock ----------------+      ^                     |      +--> the next deadline
//!                                    +---- connections <---+
//! ```
//!
//! The [driver](crate::driver) calls, in each turn: [`Worker::letter`] for each letter,
//! [`Worker::complete`] for each completion, [`Worker::end_turn`]; then it carries out
//! [`Worker::operations`] and [`Worker::outputs`] in order, and sleeps until
//! [`Worker::next_deadline`].
//!
//! Does not own: the ring, the mailbox, the clock, the domain. Invariants: effects are carried out
//! in the order in which the shard emitted them; what is written to one connection in one turn
//! leaves in one send; nothing here waits.

mod answer;
mod arrivals;
mod callers;
mod clocked;
mod deadlines;
mod dispatch;
mod drain;
mod effects;
mod handshake;
mod incomplete;
mod input;
mod leaving;
mod outboxes;
mod pace;
mod returning;
mod sign_in;
mod temperature;
mod write;

pub use self::clocked::SAMPLED_ONE_IN;
pub use self::temperature::{DEMOTED_AFTER, PROMOTED_WITHIN};

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use ringpost_ring::{Completion, Operation as RingOperation, Slot};
use ringpost_shard::event::{Now, WorkerId};
use ringpost_shard::mail::Mail;
use ringpost_shard::{Effect, Event, Homes, Record, Shard};
use ringpost_wire::{CloseReason, UserId};

use crate::config::ConnectionConfig;
use crate::connection::{Connection, Input, Phase, Protocol, Speech, key};
use crate::connections::Connections;
use crate::counters::{ConnectionCounters, ConnectionGauges};
use crate::ledger::{self, Ledger};
use crate::letter::Letter;
use crate::output::{Operation, Output};
use crate::tables::Tables;
use crate::tickets::Tickets;
use crate::timer::TimerWheel;
use crate::worker::arrivals::Arrivals;
use crate::worker::drain::Drain;
use crate::worker::outboxes::Outboxes;
use crate::worker::returning::Returning;

/// Emptied buffers kept for the next sends of a turn; above it they are freed.
const POOLED_BUFFERS_MAX: usize = 256;

/// Largest buffer worth keeping, bytes.
const POOLED_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// How long accepting pauses after it failed (no descriptors, no memory).
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// How long accepting rests after a turn that took its fill: a turn or more.
const ACCEPT_REST: Duration = Duration::from_millis(1);

/// One worker's state.
pub struct Worker {
    id: WorkerId,
    config: ConnectionConfig,
    shard: Shard,
    homes: Homes,
    tickets: Box<dyn Tickets>,
    connections: Connections,
    /// The whole node's.
    tables: Arc<Tables>,
    /// Connections here that count there.
    unauthenticated: usize,
    timers: TimerWheel,
    arrivals: Arrivals,
    moves_under_way: usize,
    returning: Returning,
    drain: Drain,
    accept_resumes_at: Option<Duration>,
    /// Connections accepted since the turn began.
    accepts: u32,
    effects: Vec<Effect>,
    /// Connections that entered while effects were carried out: what their clients said meanwhile
    /// is decoded when all are, so that nothing overtakes an effect.
    entered: VecDeque<Slot>,
    /// When records of this shard were committed that have not come back (monotonic), in order;
    /// bounded by what the shard lets be in flight.
    committed_at: VecDeque<Duration>,
    /// Receives since the last that was clocked.
    receives: u32,
    /// Mail of this turn, by the number of the peer.
    mail: Vec<Vec<Mail>>,
    dirty: Vec<Slot>,
    outboxes: Outboxes,
    /// Heap bytes of input that is not complete, of all connections.
    input_bytes: usize,
    pool: Vec<Vec<u8>>,
    scratch: BytesMut,
    operations: Vec<Operation>,
    outputs: Vec<Output>,
    counters: ConnectionCounters,
}

impl Worker {
    /// A worker without connections. All workers of a node share `tables`; `slots` is the size of
    /// the ring's table, `started_at` the monotonic time of the first turn.
    pub fn new(
        id: WorkerId,
        config: ConnectionConfig,
        (shard, homes): (Shard, Homes),
        tickets: Box<dyn Tickets>,
        tables: Arc<Tables>,
        slots: u32,
        started_at: Duration,
    ) -> Self {
        tables.join();
        Self {
            id,
            outboxes: Outboxes::new(config.outboxes_bytes_max, config.outbox_bytes_max),
            input_bytes: 0,
            config,
            shard,
            homes,
            tickets,
            connections: Connections::default(),
            tables,
            unauthenticated: 0,
            timers: TimerWheel::new(slots, started_at),
            arrivals: Arrivals::default(),
            moves_under_way: 0,
            returning: Returning::default(),
            drain: Drain::default(),
            accept_resumes_at: None,
            accepts: 0,
            effects: Vec::new(),
            entered: VecDeque::new(),
            committed_at: VecDeque::new(),
            receives: 0,
            mail: Vec::new(),
            dirty: Vec::new(),
            pool: Vec::new(),
            scratch: BytesMut::new(),
            operations: Vec::new(),
            outputs: Vec::new(),
            counters: ConnectionCounters::default(),
        }
    }

    /// Takes one completion of the ring.
    pub fn complete(&mut self, completion: Completion<'_>, now: Now) {
        match completion {
            Completion::Accepted { slot } => self.accepted(slot, now),
            Completion::AcceptRefused => self.counters.refused_full += 1,
            Completion::AcceptFailed { .. } => {
                self.accept_resumes_at = Some(now.mono + ACCEPT_PAUSE);
            }
            Completion::PeerAddress { slot, address } => {
                self.address_known(slot, Some(address.ip()), now);
            }
            Completion::Received { slot, bytes, more } => self.received(slot, bytes, more, now),
            Completion::Eof { slot } => self.eof(slot, now),
            Completion::ReceiveStopped { slot } => self.receive_stopped(slot, now),
            Completion::Readable { slot } => self.readable(slot),
            Completion::Woken => {}
            Completion::Sent { slot, buffer, result } => self.sent(slot, buffer, result, now),
            Completion::Writable { slot } => self.writable(slot, now),
            Completion::WriteShut { .. } | Completion::Closed { .. } => {}
            Completion::Failed { slot, operation, .. } => self.failed(slot, operation, now),
            Completion::Installed { slot, fd } => self.installed(slot, fd, now),
            Completion::MovedOut { slot } => self.moved_out(slot),
            Completion::MoveFailed { slot, unannounced, .. } => {
                self.move_failed(slot, unannounced, now);
            }
            Completion::MovedIn { slot, token } => self.moved_in(slot, token.value(), now),
            Completion::Admitted { slot, key } => self.admitted(slot, key, now),
            Completion::AdmitFailed { fd, key, .. } => self.admit_failed(fd, key),
            Completion::Connected { .. } | Completion::ConnectFailed { .. } => {
                unreachable!("a worker connects to nobody")
            }
        }
    }

    /// Takes one letter of another thread.
    pub fn letter(&mut self, letter: Letter, now: Now) {
        match letter {
            Letter::Mail { from, mail } => {
                for mail in mail {
                    self.shard_event(Event::Mail { from, mail }, now);
                }
            }
            Letter::Durable(records) => {
                for (position, record) in records {
                    self.count_commit(&record, now);
                    self.shard_event(Event::Durable { position, record }, now);
                }
            }
            Letter::Event(event) => self.shard_event(event, now),
            Letter::Verified { connection, answer } => self.verified(connection, answer, now),
            Letter::Arriving(arriving) => self.arriving(arriving, now),
            Letter::Returned(returned) => self.returned(*returned),
            Letter::MoveFailed { token } => {
                self.arrivals.forget(token);
                self.operations.push(Operation::ReclaimUnannounced);
            }
            Letter::Ask { question, reply } => self.ask(*question, reply, now),
            Letter::Drain { within } => self.start_drain(within, now),
            Letter::TrustClock => unreachable!("the driver has the clock, and reads this itself"),
        }
    }

    /// Ends the turn: deadlines, effects, and one send for every connection that was written to.
    pub fn end_turn(&mut self, now: Now) {
        self.accepts = 0;
        self.pass_deadlines(now);
        self.carry_out_effects(now);
        self.flush(now);
        self.shed_outboxes(now);
        self.shed_input(now);
        self.settle_down(now);
        self.hand_out_mail();
    }

    /// Operations of the ring that this turn asks for; drained by the driver, in order.
    pub fn operations(&mut self) -> std::vec::Drain<'_, Operation> {
        self.operations.drain(..)
    }

    /// What this turn asks of other threads; drained by the driver, in order.
    pub fn outputs(&mut self) -> std::vec::Drain<'_, Output> {
        self.outputs.drain(..)
    }

    /// When the worker must run even if nothing happens (monotonic).
    pub fn next_deadline(&self) -> Option<Duration> {
        [
            self.timers.next_deadline(),
            self.shard.next_deadline(),
            self.arrivals.next_deadline(),
            self.drain.next_deadline(),
            self.accept_resumes_at,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Whether this turn has left something to the next because it went round too often.
    pub fn has_more(&self) -> bool {
        !self.outputs.is_empty() || !self.dirty.is_empty()
    }

    /// The worker's number.
    pub fn id(&self) -> WorkerId {
        self.id
    }

    /// The worker that owns all state of `user`.
    pub fn home(&self, user: UserId) -> WorkerId {
        self.homes.home(user)
    }

    /// Counters of the connections.
    pub fn counters(&self) -> &ConnectionCounters {
        &self.counters
    }

    /// What the connections cost, by kind.
    pub fn ledger(&self) -> Ledger {
        let (open, awake) = (self.connections.len(), self.connections.awake());
        Ledger {
            user_bytes: self.connections.bytes()
                + self.shard.session_bytes()
                + TimerWheel::bytes(self.connections.places() as u32)
                + self.input_bytes,
            kernel_bytes: ledger::kernel_bytes(open, awake),
            backlog_bytes: self.outboxes.bytes(),
        }
    }

    /// The domain, to read its counters.
    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    /// What the connections hold now.
    pub fn gauges(&self) -> ConnectionGauges {
        ConnectionGauges {
            open: self.connections.len(),
            awake: self.connections.awake(),
            unauthenticated: self.unauthenticated,
            moving: self.moves_under_way,
            arriving: self.arrivals.len(),
            returning: self.returning.len(),
            outboxes_bytes: self.outboxes.bytes(),
            input_bytes: self.input_bytes,
            committing: self.committed_at.len(),
        }
    }

    /// Every record of this shard comes back to it, in the order of committing.
    fn count_commit(&mut self, record: &Record, now: Now) {
        if self.home(record.head.committer()) == self.id
            && let Some(at) = self.committed_at.pop_front()
        {
            self.counters.commit.observe(now.mono.saturating_sub(at));
        }
    }

    /// Tells the shard what is no command: those alone bring something to relay.
    fn shard_event(&mut self, event: Event<'static>, now: Now) {
        let relay = self.shard.handle(event, now, &mut self.effects);
        debug_assert!(relay.is_none(), "only a command has content that is lent");
    }

    /// A new connection: refused at once if there are too many.
    fn accepted(&mut self, slot: Slot, now: Now) {
        self.counters.accepted += 1;
        self.accepts += 1;
        if self.accepts == self.config.accepts_per_turn_max && self.drain.accepts() {
            self.counters.accept_rests += 1;
            self.operations.push(Operation::PauseAccept);
            let rests_until = now.mono + ACCEPT_REST;
            self.accept_resumes_at = self.accept_resumes_at.max(Some(rests_until));
        }
        let full = self.connections.len() >= self.config.connections_max as usize;
        if full || self.drain.is_closed() {
            self.counters.refused_full += u64::from(full);
            self.operations.push(Operation::Close(slot));
            return;
        }
        let mut connection = Connection::accepted(slot, now.mono);
        connection.asking_address = true;
        self.connections.insert(connection);
        self.operations.push(Operation::PeerAddress(slot));
        self.arm(slot);
        self.schedule(slot);
    }

    /// Moves a connection to another phase, keeping the count of those not signed in.
    fn enter(&mut self, slot: Slot, phase: Phase, now: Now) {
        let Some(connection) = self.connections.find(slot) else { return };
        connection.phase = phase;
        connection.phase_since = now.mono;
        if connection.has_proved_itself() {
            let counted = mem::take(&mut connection.counted);
            self.uncount(counted);
        }
    }

    /// Takes a connection out of the table and tells the shard; its slot is the caller's.
    fn take(&mut self, slot: Slot, now: Now) -> Option<Box<Connection>> {
        self.settle_debt(slot, now);
        let connection = self.connections.remove(slot)?;
        self.uncount(connection.counted);
        if connection.in_shard() {
            self.shard_event(Event::Closed { connection: key(slot) }, now);
        }
        self.timers.cancel(slot.index());
        self.input_bytes -= connection.held_bytes;
        if let Some(outbox) = &connection.outbox {
            // What the ring holds comes back by itself.
            self.outboxes.remove(outbox.pending_bytes() - outbox.in_flight_bytes());
        }
        Some(connection)
    }

    /// Lets the descriptor of a connection that is to leave go, once nothing is under way for it.
    fn leave_if_quiet(&mut self, slot: Slot, now: Now) {
        let Some(connection) = self.connections.find(slot).filter(|it| it.is_quiet()) else {
            return;
        };
        match &mut connection.phase {
            Phase::Departing(..) => self.depart(slot, now),
            Phase::HandingOver(read) => {
                connection.phase = Phase::Installing(mem::take(read));
                self.operations.push(Operation::Install(slot));
            }
            _ => {}
        }
    }

    /// Ends a connection at once, without a word. One that is being given away goes on: the other
    /// side has deadlines of its own.
    fn remove(&mut self, slot: Slot, now: Now) {
        if self.connections.find(slot).is_some_and(|it| it.is_given_away()) {
            return;
        }
        if self.take(slot, now).is_some() {
            self.operations.push(Operation::Close(slot));
        }
    }

    /// Says the last word and closes. What the client still sends is discarded.
    fn close(&mut self, slot: Slot, reason: CloseReason, now: Now) {
        let Some(connection) = self.connections.find(slot) else { return };
        if matches!(connection.phase, Phase::Closing { .. }) || connection.is_given_away() {
            return;
        }
        self.counters.closed.add(reason);
        if connection.in_shard() {
            let connection = connection.key();
            self.shard_event(Event::Closed { connection }, now);
        }
        self.write_last_word(slot, reason);
        self.enter(slot, Phase::Closing { shut: false, discarded_bytes: 0 }, now);
        let Some(connection) = self.connections.find(slot) else { return };
        connection.protocol = Protocol::Deaf;
        connection.surplus = Vec::new();
        connection.paced = None;
        self.recount_input(slot);
        let Some(connection) = self.connections.find(slot) else { return };
        if connection.speech == Speech::Undecided && connection.pending_bytes() == 0 {
            return self.remove(slot, now);
        }
        self.mark_dirty(slot);
        self.arm(slot);
        self.schedule(slot);
    }

    fn failed(&mut self, slot: Slot, operation: RingOperation, now: Now) {
        let Some(connection) = self.connections.find(slot) else { return };
        match operation {
            // Without an address the limits per address do not see the connection; it is gone
            // already (ENOTCONN), and the next receive says so.
            RingOperation::PeerAddress => self.address_known(slot, None, now),
            RingOperation::ShutdownWrite => {}
            RingOperation::Receive
            | RingOperation::PollReadable
            | RingOperation::PollWritable
            | RingOperation::Install => {
                if connection.is_given_away() {
                    // The hand-over has failed: it is ours again.
                    connection.phase = Phase::Handshake;
                }
                connection.input = Input::Idle;
                self.counters.lost += 1;
                self.remove(slot, now);
            }
        }
    }
}
