//! The dispatcher: one event in, effects out. The parts own the state; the flows that touch
//! several of them are methods here, one file for each way a thing goes.
//!
//! ```text
//!  sign_in       sessions, displacement, revocations
//!  devices       users and devices are made, added, seen, removed
//!  loading       absent -> loading -> resident, and what waits meanwhile
//!  sending       a send at the sender's home: idempotency, places, copies, answers
//!  conversation  a send at the recipient's home: existence, quota, stamp, commit
//!  durable       a record comes back from the journal: fold, answer, go on
//!  pushing       from a queue to a connection, within its window and its outbox
//!  acking        what devices acked, one record at a time
//!  gaps          what was left out of a queue is told, and closed
//!  reading       `read` receipts
//!  ephemeral     what is never stored
//!  leaving       who has said its last and waits for answers
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use ringpost_wire::{Command, DeviceId, ErrorCode, MessageId, UserId};

use crate::at_hand::{self, Span};
use crate::away::Away;
use crate::bound::Shortage;
use crate::budget::Budget;
use crate::counters::{Counters, Gauges};
use crate::effect::Effect;
use crate::entering::Entering;
use crate::ephemeral::Relay;
use crate::event::{ConnectionKey, Event, Now};
use crate::home::{Homes, KeyedHash};
use crate::idempotency::Asker;
use crate::image::UserImage;
use crate::leaving::{self, Leaving};
use crate::limits::ShardConfig;
use crate::mail::Mail;
use crate::recent::Recent;
use crate::record::{Head, Position, Record, SharedRecord};
use crate::refusal::Refusal;
use crate::retry::Retries;
use crate::revocation::Revocations;
use crate::session::{SessionSlot, Sessions};
use crate::stamp::Stamper;
use crate::turn::Turn;
use crate::unknown::UnknownUsers;
use crate::users::{Found, Users};

/// Slots that an event looks at for eviction while the cap is passed: what a load looks at at
/// once ([`ShardLimits::eviction_scan_max`](crate::limits::ShardLimits)) would be too much for
/// each.
const SLOTS_PER_EVENT: u32 = 8;

/// The domain of one worker: all state of the users at home here.
#[derive(Debug)]
pub struct Shard {
    pub(crate) config: ShardConfig,
    pub(crate) homes: Homes,
    pub(crate) counters: Counters,
    pub(crate) stamper: Stamper,
    pub(crate) sessions: Sessions,
    pub(crate) entering: Entering,
    pub(crate) users: Users,
    pub(crate) away: Away,
    pub(crate) unknown: UnknownUsers,
    pub(crate) revocations: Revocations,
    pub(crate) leaving: Leaving,
    pub(crate) recent: Recent,
    pub(crate) retries: Retries,
    /// Devices to be removed for which something on the way still looks.
    pub(crate) removals: VecDeque<(UserId, DeviceId)>,
    /// Users with a session whose loads wait for a place or for memory.
    pub(crate) waiting_loads: VecDeque<UserId>,
    /// A retry for them is in the line.
    pub(crate) waiting_loads_retried: bool,
    /// Sends of users at home here, from acceptance to durability.
    pub(crate) in_flight: Budget,
    /// Sends that wait for loads and look-ups.
    pub(crate) waiting: Budget,
    /// The last record handed here.
    pub(crate) handed: Position,
    /// The store has everything up to here.
    pub(crate) applied: Position,
    pub(crate) journal_failed: bool,
    /// Journal or store take on no more work.
    pub(crate) shortage: Option<Shortage>,
}

impl Shard {
    /// An empty shard.
    ///
    /// # Panics
    /// If the worker's number is not below the number of workers, if there are more workers than
    /// ids can name, or if a limit cannot be held ([`ShardLimits::check`] says which before).
    ///
    /// [`ShardLimits::check`]: crate::limits::ShardLimits::check
    pub fn new(config: ShardConfig) -> Self {
        assert!(config.worker.0 < config.workers, "workers are numbered from 0");
        assert_eq!(config.limits.check(), Ok(()), "limits are checked before a shard is made");
        let hash = KeyedHash::new(config.hash_seed);
        let limits = &config.limits;
        Self {
            homes: Homes::new(config.hash_seed, config.workers),
            counters: Counters::default(),
            stamper: Stamper::new(config.node, config.worker, config.stamp_floor),
            sessions: Sessions::new(hash.clone()),
            entering: Entering::new(hash.clone()),
            users: Users::new(hash.clone()),
            away: Away::new(hash.clone()),
            unknown: UnknownUsers::new(
                limits.unknown_users_max,
                limits.unknown_user_for,
                hash.clone(),
            ),
            revocations: Revocations::new(limits.revocations_max, hash),
            recent: Recent::new(limits.recent_bytes_max),
            retries: Retries::new(limits.store_retry),
            removals: VecDeque::new(),
            leaving: Leaving::default(),
            waiting_loads: VecDeque::new(),
            waiting_loads_retried: false,
            in_flight: Budget::new(limits.in_flight_max.into(), limits.in_flight_bytes_max),
            waiting: Budget::new(u64::MAX, limits.waiting_bytes_max),
            handed: Position(0),
            applied: Position(0),
            journal_failed: false,
            shortage: None,
            config,
        }
    }

    /// Takes one event; pushes what is to be done to `effects`, in order. What is passed on with
    /// content that is still the event's is answered, and comes behind them.
    ///
    /// # Panics
    /// On bugs of the caller: an event for a user who is not at home here, records out of order.
    pub fn handle<'a>(
        &mut self,
        event: Event<'a>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<Relay<'a>> {
        let before = effects.len();
        let concerned = leaving::concerned(&event);
        let turn = &mut Turn { now, effects };
        let mut relay = None;
        match event {
            Event::SignIn(sign_in) => self.sign_in(sign_in, turn),
            Event::Closed { connection } => self.closed(connection),
            Event::Leaving { connection } => self.client_leaves(connection, turn),
            Event::Writable { connection, room_bytes } => {
                self.writable(connection, room_bytes, turn);
            }
            Event::Command { connection, tag, command } => {
                relay = self.command(Asker { connection, tag }, command, turn);
            }
            Event::Mail { from: _, mail } => self.mail(mail, turn),
            Event::Durable { position, record } => {
                at_hand::with(Span::of(position), || self.durable(position, &record, turn));
            }
            Event::Storage { shortage } => self.shortage = shortage,
            Event::JournalFailed => self.fail_journal(turn),
            Event::Applied { position } => {
                self.applied = self.applied.max(position);
                self.start_waiting_loads(turn);
            }
            Event::Loaded { user, answer } => self.loaded(user, answer, turn),
            Event::AcceptedFound { user, device, message_id, answer } => {
                self.looked_up(user, device, message_id, answer, turn);
            }
            Event::MessagesRead { user, device, answer } => {
                self.messages_read(user, device, answer, turn);
            }
            Event::ReceivedFound { user, device, answer } => {
                self.received_found(user, device, answer, turn);
            }
            Event::Renewed { connection } => self.renewed(connection, turn),
            Event::Revoke { user, device, before_ms } => self.revoke(user, device, before_ms, turn),
            Event::RemoveDevice { user, device, before_ms, ticket } => {
                self.remove_device(user, device, (before_ms, ticket), turn);
            }
            Event::CreateUser { user, ticket } => self.create_user(user, ticket, turn),
            Event::Tick => self.tick(turn),
        }
        self.go_on_removing(turn);
        self.see_off(before, concerned, turn);
        self.users.settle();
        // What grew in place is brought back under the cap a few slots at a time.
        let bytes_max = self.config.limits.resident_bytes_max;
        if self.users.bytes > bytes_max {
            self.counters.evictions +=
                self.users.evict_down_to(bytes_max, SLOTS_PER_EVENT, self.applied, now.mono);
        }
        relay
    }

    /// When `Event::Tick` is wanted next (monotonic), if at all.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.retries.next_deadline()
    }

    /// What was counted since the shard was made.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What is held now.
    pub fn gauges(&self) -> Gauges {
        Gauges {
            sessions: self.sessions.len() as u64,
            entering: self.entering.len() as u64,
            users: self.users.len() as u64,
            resident_bytes: self.users.bytes,
            loading: self.users.loading.into(),
            in_flight: self.in_flight.count,
            in_flight_bytes: self.in_flight.bytes,
            waiting_bytes: self.waiting.bytes,
            recent_bytes: self.recent.bytes,
        }
    }

    /// Whether anybody is signed in.
    pub fn has_sessions(&self) -> bool {
        self.sessions.len() > 0
    }

    /// Heap bytes of the sessions.
    pub fn session_bytes(&self) -> usize {
        self.sessions.bytes() + self.entering.bytes()
    }

    /// The last record handed here: what a history read of a user at home here must not miss.
    pub const fn handed(&self) -> Position {
        self.handed
    }

    /// The durable state of a user as it is held here, as of the last record handed: for
    /// `GET /admin/users/{id}`, and to be compared with the store. `None` if it is not held, or
    /// if the user does not exist.
    pub fn image(&self, user: UserId) -> Option<UserImage> {
        match self.users.find(user) {
            Found::Resident(slot) => self.users.resident(slot).to_image(self.handed),
            Found::Absent | Found::Loading(_) => None,
        }
    }

    /// The users whose state is held here, in no meaningful but in a repeatable order.
    pub fn residents(&self) -> impl Iterator<Item = UserId> {
        self.users.residents().map(|(_, resident)| resident.id)
    }

    fn command<'a>(
        &mut self,
        asker: Asker,
        command: Command<'a>,
        turn: &mut Turn<'_>,
    ) -> Option<Relay<'a>> {
        let Some(slot) = self.sessions.find(asker.connection) else {
            // Displaced or closed while its bytes were on the way.
            self.counters.orphaned_commands += 1;
            return None;
        };
        match command {
            Command::SendMessage(message) if message.ephemeral => {
                return self.send_ephemeral(asker, slot, message, turn);
            }
            Command::SendMessage(message) => self.send(asker, slot, &message, turn),
            Command::Ack { push } => self.ack(asker, slot, push, turn),
            Command::Receipt(receipt) => self.receipt(asker, slot, receipt, turn),
            Command::GapClosed { gap } => self.gap_closed(asker, slot, gap, turn),
            Command::Typing { to, active } => self.send_typing(slot, to, active, turn),
            // Whether the application is in front changes nothing that is delivered here.
            Command::ClientState { .. } => {}
            // Presence is not offered yet; the others are the edge's, and harm nothing here.
            Command::PresenceSubscribe { .. }
            | Command::PresenceUnsubscribe { .. }
            | Command::Hello(_)
            | Command::Auth { .. }
            | Command::Ping { .. }
            | Command::Pong { .. }
            | Command::Bye => {
                let refusal = Refusal::now(ErrorCode::NotSupported);
                self.refuse(asker, MessageId::default(), refusal, turn);
            }
        }
        None
    }

    fn mail(&mut self, mail: Mail, turn: &mut Turn<'_>) {
        match mail {
            Mail::Send(request) => self.arrive(request, turn),
            Mail::Refused { user, device, message_id, code, retry_after_ms, detail } => {
                let refusal = Refusal { retry_after_ms, detail, ..Refusal::now(code) };
                self.send_refused(user, device, message_id, refusal, turn);
            }
            Mail::Ephemeral(message) => self.deliver_ephemeral(*message, turn),
            Mail::Typing { from, to, active } => self.deliver_typing(from, to, active, turn),
        }
    }

    /// Makes a record durable.
    pub(crate) fn commit(&mut self, head: Head, body: bytes::Bytes, turn: &mut Turn<'_>) {
        assert!(!self.journal_failed, "nothing is committed after the journal has failed");
        self.counters.commits += 1;
        turn.effects.push(Effect::Commit { record: SharedRecord::new(Record { head, body }) });
    }

    pub(crate) fn is_home(&self, user: UserId) -> bool {
        self.homes.home(user) == self.config.worker
    }

    /// Whether the session's outbox takes what is not an answer.
    pub(crate) fn has_room(&self, session: SessionSlot) -> bool {
        let session = &self.sessions[session];
        session.room_bytes > 0 && !self.leaving.contains(session.connection)
    }

    /// Who is signed in on a connection, and what it was granted; `None` if nobody is.
    pub fn session(&self, connection: ConnectionKey) -> Option<SignedIn> {
        let session = &self.sessions[self.sessions.find(connection)?];
        Some(SignedIn {
            user: session.user,
            device: session.device,
            window_pushes: session.window.pushes.into(),
            window_bytes: session.window.bytes(),
        })
    }

    /// Whether the connection still has its session.
    pub(crate) fn is_signed_in(&self, connection: ConnectionKey) -> bool {
        self.sessions.find(connection).is_some()
    }
}

/// Who is signed in on a connection: what the edge need not keep beside the shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SignedIn {
    /// The user.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
    /// Granted window: unacked stored pushes.
    pub window_pushes: u32,
    /// Granted window: bytes of them.
    pub window_bytes: u32,
}
