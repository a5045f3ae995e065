//! A node without a machine: shards, a journal, a store and clients' ends of connections, driven
//! step by step. What happens next is chosen by the test or by a seed; nothing happens by itself.
//!
//! The journal makes records durable in one total order and hands them to each home at its own
//! pace; the store folds `changes` at its own pace and answers reads only once it has passed what
//! they ask for. A crash loses the shards, the connections and a tail of what was not durable.

pub(crate) mod store;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use ringpost_shard::event::{ConnectionKey, Proof, SignIn, WorkerId};
use ringpost_shard::image::StoreUnavailable;
use ringpost_shard::mail::Mail;
use ringpost_shard::record::{SharedRecord, status_number};
use ringpost_shard::{
    ClockTrust, Clocks, Effect, Event, Head, Homes, Position, Provision, Relay, Shard, ShardConfig,
    ShardLimits,
};
use ringpost_wire::command::{ClientStatus, Content, Named, Receipt, SendMessage};
use ringpost_wire::event::{NewMessage, Status};
use ringpost_wire::{
    CloseCode, Command, DeviceId, ErrorCode, Event as WireEvent, MessageId, ServerId, UserId,
};

use store::Store;

pub(crate) const WALL_MS: u64 = 1_800_000_000_000;
const HASH_SEED: u64 = 11;

/// What a connection was told, in order.
#[derive(Default)]
pub(crate) struct Connection {
    pub(crate) worker: usize,
    pub(crate) told: VecDeque<(u16, WireEvent)>,
    pub(crate) signed_in: bool,
    pub(crate) window: (u32, u32),
    pub(crate) closed: Option<CloseCode>,
    /// The outbox waits to be emptied.
    pub(crate) wants_writable: bool,
}

/// Something that may happen next.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Step {
    /// The journal makes one more record durable.
    Commit,
    /// A worker is handed its next durable record.
    Hand(usize),
    /// A worker reads a piece of mail from another.
    Mail(usize, usize),
    /// The applier moves one record into the store.
    Apply,
    /// A store read of a worker is answered (the n-th that may be).
    Answer(usize, usize),
    /// An outbox that was waited for is empty.
    Drain(ConnectionKey),
}

pub(crate) struct World {
    pub(crate) shards: Vec<Shard>,
    pub(crate) homes: Homes,
    pub(crate) store: Store,
    /// What the store will be once everything durable is applied.
    pub(crate) truth: Store,
    pub(crate) now: Clocks,
    trust: ClockTrust,
    pub(crate) connections: BTreeMap<ConnectionKey, Connection>,
    pub(crate) requests_done: Vec<(u64, bool)>,
    next_request: u64,
    /// Durable as accounts are, and told to the homes at boot.
    revoked: BTreeMap<(UserId, DeviceId), u64>,
    /// Reads fail while this is set.
    pub(crate) store_down: bool,
    /// Outboxes of these connections stay full until the test drains them.
    pub(crate) slow: BTreeSet<ConnectionKey>,
    pub(crate) room_bytes: u32,
    pub(crate) config: ShardConfig,
    /// Not durable yet.
    submitted: VecDeque<SharedRecord>,
    pub(crate) durable: Vec<SharedRecord>,
    /// How many durable records each worker was offered.
    offered: Vec<usize>,
    mail: BTreeMap<(usize, usize), VecDeque<Mail>>,
    reads: Vec<Vec<Effect>>,
    next_connection: u64,
}

impl World {
    pub(crate) fn new(workers: u16) -> Self {
        Self::with(workers, ShardLimits::default(), |_| {})
    }

    pub(crate) fn with_limits(workers: u16, limits: ShardLimits) -> Self {
        Self::with(workers, limits, |_| {})
    }

    pub(crate) fn with(
        workers: u16,
        limits: ShardLimits,
        change: impl FnOnce(&mut ShardConfig),
    ) -> Self {
        let mut config = ShardConfig {
            worker: WorkerId(0),
            workers,
            node: 7,
            hash_seed: HASH_SEED,
            stamp_floor: ServerId::default(),
            provision: Provision::OnSignIn,
            plaintext_allowed: false,
            limits,
        };
        change(&mut config);
        let mut world = Self {
            shards: Vec::new(),
            homes: Homes::new(HASH_SEED, workers),
            store: Store::default(),
            truth: Store::default(),
            now: Clocks { mono: Duration::from_secs(1), wall_ms: WALL_MS },
            trust: ClockTrust::new(0),
            connections: BTreeMap::new(),
            requests_done: Vec::new(),
            next_request: 1 << 32,
            revoked: BTreeMap::new(),
            store_down: false,
            slow: BTreeSet::new(),
            room_bytes: 1 << 20,
            config,
            submitted: VecDeque::new(),
            durable: Vec::new(),
            offered: Vec::new(),
            mail: BTreeMap::new(),
            reads: Vec::new(),
            next_connection: 1,
        };
        world.boot(workers);
        world
    }

    fn boot(&mut self, workers: u16) {
        self.config.workers = workers;
        self.homes = Homes::new(self.config.hash_seed, workers);
        self.config.stamp_floor = self
            .durable
            .iter()
            .filter_map(|record| match &record.head {
                Head::Message(head) => Some(head.id),
                _ => None,
            })
            .max()
            .unwrap_or_default();
        self.trust = ClockTrust::new(self.trust.agreed_ms());
        self.shards = (0..workers)
            .map(|worker| {
                Shard::new(ShardConfig { worker: WorkerId(worker), ..self.config.clone() })
            })
            .collect();
        self.offered = vec![self.durable.len(); workers.into()];
        self.reads = (0..workers).map(|_| Vec::new()).collect();
        for ((user, device), before_ms) in self.revoked.clone() {
            self.handle(self.home(user), Event::Revoke { user, device, before_ms });
        }
    }

    /// Loses everything but the disk: of what was not durable the first `kept` records are found
    /// to be so. The applier runs to the end before anybody connects.
    pub(crate) fn crash(&mut self, workers: u16, kept: usize) {
        for _ in 0..kept.min(self.submitted.len()) {
            self.make_durable();
        }
        self.submitted.clear();
        self.mail.clear();
        self.connections.clear();
        while self.store.applied.0 < self.durable.len() as u64 {
            self.apply_one();
        }
        self.boot(workers);
    }

    pub(crate) fn submitted(&self) -> usize {
        self.submitted.len()
    }

    /// A user at home on `worker`, the `nth` of them.
    pub(crate) fn user(&self, worker: u16, nth: usize) -> UserId {
        (1..)
            .map(|number: u128| UserId(number.to_be_bytes()))
            .filter(|&user| self.homes.home(user) == WorkerId(worker))
            .nth(nth)
            .expect("there are users for every worker")
    }

    pub(crate) fn home(&self, user: UserId) -> usize {
        self.homes.home(user).0.into()
    }

    // What clients do.

    pub(crate) fn sign_in(&mut self, user: UserId, device: u8) -> ConnectionKey {
        self.sign_in_as(user, device, |_| {})
    }

    /// Signs in by ticket, as a device may that was `welcome` before.
    pub(crate) fn resume(&mut self, user: UserId, device: u8) -> ConnectionKey {
        self.sign_in_as(user, device, |sign_in| sign_in.proof = Proof::Ticket)
    }

    pub(crate) fn sign_in_as(
        &mut self,
        user: UserId,
        device: u8,
        change: impl FnOnce(&mut SignIn),
    ) -> ConnectionKey {
        let connection = ConnectionKey(self.next_connection);
        self.next_connection += 1;
        let worker = self.home(user);
        self.connections.insert(connection, Connection { worker, ..Connection::default() });
        let id = DeviceId::new(device).expect("1 to 127");
        let revoked_ms = self.revoked.get(&(user, id)).copied().unwrap_or_default();
        let mut sign_in = SignIn {
            connection,
            tag: 1,
            user,
            device: id,
            accepted_at: Duration::from_millis(connection.0),
            issued_at_ms: self.now.wall_ms.max(revoked_ms + 1),
            proof: Proof::Token,
            window_pushes: 0,
            window_bytes: 0,
            intents: 0,
            room_bytes: self.room_bytes,
        };
        change(&mut sign_in);
        self.handle(worker, Event::SignIn(sign_in));
        connection
    }

    pub(crate) fn command(&mut self, connection: ConnectionKey, tag: u16, command: Command<'_>) {
        let worker = self.connections[&connection].worker;
        self.handle(worker, Event::Command { connection, tag, command });
    }

    /// Sends `body` to `to` under message id `number`.
    pub(crate) fn send(
        &mut self,
        connection: ConnectionKey,
        tag: u16,
        number: u64,
        to: UserId,
        body: &[u8],
    ) {
        self.command(connection, tag, Command::SendMessage(message(number, to, body)));
    }

    pub(crate) fn ack(&mut self, connection: ConnectionKey, push: u64) {
        self.command(connection, 0, Command::Ack { push });
    }

    pub(crate) fn receipt(
        &mut self,
        connection: ConnectionKey,
        tag: u16,
        message: Named,
        status: ClientStatus,
    ) {
        let receipt = Receipt { message, status, client_timestamp_ms: 0 };
        self.command(connection, tag, Command::Receipt(receipt));
    }

    pub(crate) fn hang_up(&mut self, connection: ConnectionKey) {
        if let Some(gone) = self.connections.remove(&connection) {
            self.handle(gone.worker, Event::Closed { connection });
        }
    }

    /// Signs a device out; answered in `requests_done` under the number that is returned.
    pub(crate) fn sign_out(&mut self, user: UserId, device: u8) -> u64 {
        let device = DeviceId::new(device).expect("1 to 127");
        let revoked_ms = self.revoked.entry((user, device)).or_default();
        *revoked_ms = self.now.wall_ms.max(*revoked_ms + 1);
        let before_ms = *revoked_ms;
        self.next_request += 1;
        let ticket = self.next_request;
        let worker = self.home(user);
        self.handle(worker, Event::RemoveDevice { user, device, before_ms, ticket });
        ticket
    }

    // What clients saw.

    pub(crate) fn told(&mut self, connection: ConnectionKey) -> Vec<(u16, WireEvent)> {
        let connection = self.connections.get_mut(&connection).expect("a connection of the test");
        connection.told.drain(..).collect()
    }

    /// The messages told since the last look; other events are let go.
    pub(crate) fn messages(&mut self, connection: ConnectionKey) -> Vec<NewMessage> {
        let told = self.told(connection);
        told.into_iter()
            .filter_map(|(_, event)| match event {
                WireEvent::NewMessage(message) => Some(message),
                _ => None,
            })
            .collect()
    }

    /// The receipts told since the last look: push, status, server id, tag.
    pub(crate) fn receipts(
        &mut self,
        connection: ConnectionKey,
    ) -> Vec<(u64, Status, ServerId, u16)> {
        let told = self.told(connection);
        told.into_iter()
            .filter_map(|(tag, event)| match event {
                WireEvent::Receipt(receipt) => {
                    Some((receipt.push, receipt.status, receipt.id, tag))
                }
                _ => None,
            })
            .collect()
    }

    /// Takes out the refusals told since the last look, and leaves the other events.
    pub(crate) fn errors(&mut self, connection: ConnectionKey) -> Vec<(u16, ErrorCode)> {
        let told = &mut self.end(connection).told;
        let (errors, others) = std::mem::take(told)
            .into_iter()
            .partition(|(_, event)| matches!(event, WireEvent::Error(_)));
        *told = others;
        VecDeque::into_iter(errors)
            .map(|(tag, event)| match event {
                WireEvent::Error(error) => (tag, error.code),
                _ => unreachable!("only refusals were taken out"),
            })
            .collect()
    }

    pub(crate) fn closed(&self, connection: ConnectionKey) -> Option<CloseCode> {
        self.connections[&connection].closed
    }

    // What the machine does.

    /// Everything that may happen next, in a fixed order.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        if !self.submitted.is_empty() {
            steps.push(Step::Commit);
        }
        for worker in 0..self.shards.len() {
            if self.offered[worker] < self.durable.len() {
                steps.push(Step::Hand(worker));
            }
        }
        for (&(from, to), line) in &self.mail {
            if !line.is_empty() {
                steps.push(Step::Mail(from, to));
            }
        }
        for (worker, reads) in self.reads.iter().enumerate() {
            for (nth, read) in reads.iter().enumerate() {
                if self.store_down || after(read) <= self.store.applied {
                    steps.push(Step::Answer(worker, nth));
                }
            }
        }
        if self.store.applied.0 < self.durable.len() as u64 {
            steps.push(Step::Apply);
        }
        for (&key, connection) in &self.connections {
            if connection.wants_writable && !self.slow.contains(&key) {
                steps.push(Step::Drain(key));
            }
        }
        steps
    }

    pub(crate) fn step(&mut self, step: Step) {
        match step {
            Step::Commit => self.make_durable(),
            Step::Hand(worker) => self.hand_one(worker),
            Step::Mail(from, to) => {
                let mail = self.mail.get_mut(&(from, to)).and_then(VecDeque::pop_front);
                let mail = mail.expect("the step was offered");
                self.handle(to, Event::Mail { from: WorkerId(from as u16), mail });
            }
            Step::Apply => {
                self.apply_one();
                let position = self.store.applied;
                for worker in 0..self.shards.len() {
                    self.handle(worker, Event::Applied { position });
                }
            }
            Step::Answer(worker, nth) => self.answer(worker, nth),
            Step::Drain(connection) => self.drain(connection),
        }
    }

    /// Lets everything happen that can, until nothing is left.
    pub(crate) fn settle(&mut self) {
        for _ in 0..1_000_000 {
            match self.steps().first() {
                Some(&step) => self.step(step),
                None => return self.check_held_equal(),
            }
        }
        panic!("the world does not come to rest");
    }

    /// Like `settle`, but the applier stands still (and with it reads that wait for it).
    pub(crate) fn settle_without_applier(&mut self) {
        self.settle_without(Step::Apply);
    }

    /// Like `settle`, but nothing becomes durable.
    pub(crate) fn settle_without_commits(&mut self) {
        self.settle_without(Step::Commit);
    }

    /// Like `settle`, but this one thing does not happen.
    pub(crate) fn settle_without(&mut self, held: Step) {
        while let Some(&step) = self.steps().iter().find(|&&step| step != held) {
            self.step(step);
        }
    }

    /// Answers the oldest read of a worker with what the store said earlier.
    pub(crate) fn answer_oldest(&mut self, worker: usize, answer: Event<'_>) {
        self.reads[worker].remove(0);
        self.handle(worker, answer);
    }

    pub(crate) fn drain(&mut self, connection: ConnectionKey) {
        let room_bytes = self.room_bytes;
        let end = self.connections.get_mut(&connection).expect("a connection of the test");
        end.wants_writable = false;
        let worker = end.worker;
        self.handle(worker, Event::Writable { connection, room_bytes });
    }

    /// An operator says that the wall clock is right.
    pub(crate) fn trust_clock(&mut self) {
        self.trust.trust(self.now);
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now.mono += time;
        self.now.wall_ms += time.as_millis() as u64;
        // As somebody does who writes down each agreed moment.
        self.trust.read(self.now);
    }

    /// Ticks every shard whose deadline has come.
    pub(crate) fn tick(&mut self) {
        for worker in 0..self.shards.len() {
            if self.shards[worker].next_deadline().is_some_and(|due| due <= self.now.mono) {
                self.handle(worker, Event::Tick);
            }
        }
    }

    /// Every user that is resident on a worker that was handed everything is equal to the fold of
    /// all durable records.
    pub(crate) fn check_held_equal(&self) {
        for (worker, shard) in self.shards.iter().enumerate() {
            if self.offered[worker] < self.durable.len() {
                continue;
            }
            for user in shard.residents() {
                let held = shard.image(user).unwrap_or_default();
                let stored = self.truth.image(user).unwrap_or_default();
                let about = format!("{user} on worker {worker}");
                assert_eq!(held.devices, stored.devices, "{about} is held as the store has it");
                assert_eq!(held.former, stored.former, "{about}: what was accepted before");
                for (sender, status, id) in held.cursors {
                    let stored = self.truth.cursors.get(&(user, sender, status_number(status)));
                    assert_eq!(stored, Some(&id), "{status:?} of {sender} by {about}");
                }
            }
        }
    }

    pub(crate) fn handle(&mut self, worker: usize, event: Event<'_>) {
        let mut effects = Vec::new();
        let now = self.trust.read(self.now);
        let relay = self.shards[worker].handle(event, now, &mut effects);
        for effect in effects {
            self.carry_out(worker, effect);
        }
        let Some(Relay { to, message }) = relay else { return };
        let event = WireEvent::NewMessage(message.map_body(|body| body.into_owned().into()));
        for connection in to {
            self.carry_out(worker, Effect::Deliver { connection, tag: 0, event: event.clone() });
        }
    }

    fn carry_out(&mut self, worker: usize, effect: Effect) {
        match effect {
            Effect::SignedIn { connection, user, device, window_pushes, window_bytes, .. } => {
                let is_device = self.truth.device(user, device).is_some();
                assert!(is_device, "who is told `welcome` is a device, durably");
                let connection = self.end(connection);
                connection.signed_in = true;
                connection.window = (window_pushes, window_bytes);
            }
            Effect::Deliver { connection, tag, event } => {
                let connection = self.end(connection);
                assert!(connection.signed_in && connection.closed.is_none());
                connection.told.push_back((tag, event));
            }
            Effect::WantWritable { connection } => self.end(connection).wants_writable = true,
            Effect::Close { connection, reason } => {
                // One that has left is told nothing.
                let Some(connection) = self.connections.get_mut(&connection) else { return };
                connection.closed = Some(reason.code());
                connection.wants_writable = false;
            }
            Effect::Mail { to, mail } => {
                assert_ne!(usize::from(to.0), worker, "no mail to oneself");
                self.mail.entry((worker, to.0.into())).or_default().push_back(mail);
            }
            Effect::Commit { record } => self.submitted.push_back(record),
            read @ (Effect::Load { .. }
            | Effect::LookUpAccepted { .. }
            | Effect::ReadMessages { .. }
            | Effect::FindReceived { .. }) => self.reads[worker].push(read),
            Effect::RequestDone { ticket, done } => self.requests_done.push((ticket, done)),
        }
    }

    fn end(&mut self, connection: ConnectionKey) -> &mut Connection {
        self.connections.get_mut(&connection).expect("effects name connections that are there")
    }

    fn make_durable(&mut self) {
        let record = self.submitted.pop_front().expect("the step was offered");
        // What is recovered is what was encoded.
        let head = Head::decode(&record.head.encode()).expect("a head reads back");
        assert_eq!(head, record.head);
        self.durable.push(record.clone());
        self.truth.apply(Position(self.durable.len() as u64), &record);
    }

    fn hand_one(&mut self, worker: usize) {
        let at = self.offered[worker];
        self.offered[worker] += 1;
        let record = self.durable[at].clone();
        let concerned = record.head.touches().iter().any(|&user| self.home(user) == worker);
        if concerned {
            let position = Position(at as u64 + 1);
            self.handle(worker, Event::Durable { position, record });
        }
    }

    fn apply_one(&mut self) {
        let position = Position(self.store.applied.0 + 1);
        let record = self.durable[position.0 as usize - 1].clone();
        self.store.apply(position, &record);
    }

    fn answer(&mut self, worker: usize, nth: usize) {
        let read = self.reads[worker].remove(nth);
        let down = self.store_down;
        match read {
            Effect::Load { user, .. } => {
                let answer = if down { Err(StoreUnavailable) } else { Ok(self.store.image(user)) };
                self.handle(worker, Event::Loaded { user, answer });
            }
            Effect::LookUpAccepted { user, device, message_id, .. } => {
                let found = self.store.accepted.get(&(user, device, message_id)).copied();
                let answer = if down { Err(StoreUnavailable) } else { Ok(found) };
                self.handle(worker, Event::AcceptedFound { user, device, message_id, answer });
            }
            Effect::ReadMessages { user, device, ids, .. } => {
                let rows =
                    ids.iter().map(|id| (*id, self.store.messages.get(id).cloned())).collect();
                let answer = if down { Err(StoreUnavailable) } else { Ok(rows) };
                self.handle(worker, Event::MessagesRead { user, device, answer });
            }
            Effect::FindReceived { user, device, id, .. } => {
                let found = self.store.received(id).map(Box::new);
                let answer = if down { Err(StoreUnavailable) } else { Ok(found) };
                self.handle(worker, Event::ReceivedFound { user, device, answer });
            }
            other => unreachable!("{other:?} is no read"),
        }
    }
}

fn after(read: &Effect) -> Position {
    match read {
        Effect::Load { after, .. }
        | Effect::LookUpAccepted { after, .. }
        | Effect::ReadMessages { after, .. }
        | Effect::FindReceived { after, .. } => *after,
        other => unreachable!("{other:?} is no read"),
    }
}

pub(crate) fn message_id(number: u64) -> MessageId {
    MessageId(u128::from(number).to_be_bytes())
}

pub(crate) fn device(number: u8) -> DeviceId {
    DeviceId::new(number).expect("1 to 127")
}

pub(crate) fn message(number: u64, to: UserId, body: &[u8]) -> SendMessage<'_> {
    SendMessage {
        message_id: message_id(number),
        to,
        reply_to: None,
        client_timestamp_ms: 5,
        ephemeral: false,
        content: Content::Encrypted(body.into()),
    }
}
