//! One life of the server: workers, mailboxes and storage tier, from recovery to death.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ringpost_conn::letter::Identity;
use ringpost_conn::{Driver, Letter, Tables, Worker};
use ringpost_ring::fake::{FakePeer, FakeWorld, Faults};
use ringpost_ring::{Rings, Wait};
use ringpost_shard::event::{Proof, WorkerId};
use ringpost_shard::record::EntryKind;
use ringpost_shard::{ClockTrust, Clocks, Event, Homes, Position, Shard, ShardConfig};
use ringpost_store::{Store, StoreError, TimelinePage};
use ringpost_wire::{HistoryCursor, ServerId, UserId};

use crate::desk::{CHECKS_MAX, Check, Desk};
use crate::dice::Dice;
use crate::fact::{Fact, Who};
use crate::front_desk::{self, FrontDesk, Revoked};
use crate::fuse::Fuse;
use crate::mailboxes::Mailboxes;
use crate::options::Options;
use crate::plant::Plant;
use crate::rings::SimRings;
use crate::storage::{Hardware, Storage, Unusable};
use crate::tokens::{self, OpenTickets};
use crate::trace::Trace;

/// Letters that wait for room because of one connection: a move, its failure, mail of its acks.
const LETTERS_PER_SLOT_MAX: u64 = 4;

/// A worker whose ring has nothing to report is served this often until it is called asleep:
/// the fake ring defers completions by chance.
struct Seat {
    driver: Driver<SimRings>,
    /// In the ring, until a completion or a deadline.
    sleeps_until: Option<Option<Duration>>,
}

/// A running server.
pub(crate) struct Process {
    seats: Vec<Seat>,
    net: FakeWorld,
    mailboxes: Mailboxes,
    storage: Storage,
    checks: VecDeque<Check>,
    front_desk: FrontDesk,
    revoked: Revoked,
    /// For what is no worker: the date by which tokens are checked, and what a restart begins with.
    clock: ClockTrust,
    homes: Homes,
    fuse: Fuse,
    dice: Dice,
    trace: Trace,
    options: Options,
    /// Until the queues on the disk are looked at again.
    steps_to_look: u32,
}

/// The queues on the disk are looked at once in so many steps.
const LOOK_IN: u32 = 32;

impl Process {
    /// Starts on what the hardware holds.
    ///
    /// # Errors
    /// Gives the hardware back with what the server says.
    pub(crate) fn start(
        hardware: Hardware,
        options: &Options,
        revoked: &Revoked,
        (mut dice, trace): (Dice, Trace),
        clocks: Clocks,
    ) -> Result<Self, Box<Unusable>> {
        let fuse = Fuse::default();
        let given = (fuse.clone(), dice.split(), trace.clone());
        let agreed_ms = hardware.agreed_ms;
        let storage = Storage::open(hardware, options, given, clocks.mono)?;
        let net = FakeWorld::with(dice.roll(), options.faults, options.sizes);
        let workers = dice.pick(&[1, 2, 3]);
        let hash_seed = dice.roll();
        let mut mailboxes = Mailboxes::new(net.clone(), options.letters_max, options.plant);
        let rings: Vec<_> = (0..workers).map(|_| net.ring(options.slots)).collect();
        let handles: Vec<_> = rings.iter().map(Rings::handle).collect();
        let (stamp_floor, mut clock) = remembered(options.plant, agreed_ms, &storage);
        let at_boot = clock.clone();
        let now = clock.read(clocks);
        let tables = Arc::new(Tables::new(hash_seed, &options.connections()));
        let mut seats = Vec::new();
        for (number, ring) in (0..workers).zip(rings) {
            let shard = Shard::new(ShardConfig {
                worker: WorkerId(number),
                workers,
                node: 7,
                hash_seed,
                stamp_floor,
                provision: Options::PROVISION,
                plaintext_allowed: false,
                limits: options.limits(),
            });
            let domain = (shard, Homes::new(hash_seed, workers));
            let tickets = Box::new(OpenTickets);
            let (id, config) = (WorkerId(number), options.connections());
            let shared = Arc::clone(&tables);
            let mut worker =
                Worker::new(id, config, domain, tickets, shared, options.slots, now.mono);
            let position = storage.store().applied();
            worker.letter(Letter::Event(Event::Applied { position }), now);
            for event in front_desk::revocations(revoked, |user| worker.home(user) == id) {
                worker.letter(Letter::Event(event), now);
            }
            let sleep = mailboxes.add(ring.handle());
            let rings = SimRings::new(ring, fuse.clone(), options.plant, trace.clone());
            let driver = Driver::new(worker, rings, handles.clone(), sleep, at_boot.clone());
            seats.push(Seat { driver, sleeps_until: None });
        }
        trace.fact(Fact::Started { workers });
        let homes = Homes::new(hash_seed, workers);
        let (checks, options) = (VecDeque::new(), options.clone());
        let (front_desk, revoked) = (FrontDesk::default(), revoked.clone());
        Ok(Self {
            seats,
            net,
            mailboxes,
            storage,
            checks,
            front_desk,
            revoked,
            clock,
            homes,
            fuse,
            dice,
            trace,
            options,
            steps_to_look: LOOK_IN,
        })
    }

    /// The process ends here and now; the hardware remains.
    pub(crate) fn die(self) -> Hardware {
        self.storage.into_hardware(self.clock.agreed_ms())
    }

    /// How far the journal is durable.
    pub(crate) fn durable(&self) -> Position {
        self.storage.durable()
    }

    /// A page of a user's history behind a cursor, once the store has applied what `fence` names.
    pub(crate) fn history(
        &mut self,
        user: UserId,
        after: HistoryCursor,
        fence: Position,
        rows: usize,
    ) -> Option<TimelinePage> {
        self.storage.history(user, after, fence, rows)
    }

    /// What decides when it dies.
    pub(crate) fn fuse(&self) -> &Fuse {
        &self.fuse
    }

    /// Whether it can do no more good: its journal has ended, and an operator restarts it.
    pub(crate) fn has_failed(&self) -> bool {
        self.storage.has_failed()
    }

    /// From here on nothing goes wrong.
    pub(crate) fn heal(&mut self) {
        self.net.set_faults(Faults::none());
        self.storage.heal();
        self.fuse.put_out();
    }

    /// A connection to any worker's listener.
    pub(crate) fn connect(&mut self) -> FakePeer {
        let worker = self.dice.index(self.seats.len());
        self.net.connect(self.seats[worker].driver.rings().handle())
    }

    /// One step of each part, in an order that chance chooses; some parts stand still.
    pub(crate) fn step(&mut self, clocks: Clocks, is_calm: bool) {
        let now = self.clock.read(clocks);
        if self.options.plant == Some(Plant::ExpireByJump) && !now.may_expire {
            // Somebody vouches for whatever the clock shows.
            self.vouch();
        }
        let first = self.dice.index(self.seats.len());
        for place in 0..self.seats.len() {
            if is_calm || !self.dice.one_in(3) {
                self.serve((first + place) % self.seats.len(), clocks);
            }
        }
        if is_calm || !self.dice.one_in(3) {
            self.storage.step(now.mono, &mut self.mailboxes);
        }
        self.check_tokens(now.wall_ms);
        self.front_desk.step(&mut self.mailboxes);
        self.tell();
        self.steps_to_look -= 1;
        if self.steps_to_look == 0 {
            self.steps_to_look = LOOK_IN;
            self.tell_queues();
        }
    }

    /// One worker's turn, or a look into the ring in which it sleeps.
    fn serve(&mut self, at: usize, clocks: Clocks) {
        let seat = &mut self.seats[at];
        let is_due = match seat.sleeps_until {
            None => true,
            Some(until) => until.is_some_and(|until| until <= clocks.mono),
        };
        if !is_due && !seat.driver.enter(Wait::POLL, || clocks) {
            return;
        }
        if seat.sleeps_until.take().is_some() {
            seat.driver.awake();
        }
        let mut desk = Desk {
            worker: at,
            now: clocks.mono,
            mailboxes: &mut self.mailboxes,
            storage: &mut self.storage,
            checks: &mut self.checks,
            front_desk: &mut self.front_desk,
            fuse: &self.fuse,
            homes: &self.homes,
            plant: self.options.plant,
        };
        seat.driver.turn(clocks, &mut desk);
        let may_sleep = seat.driver.rest(clocks, &desk, None) != Wait::POLL;
        let completed = seat.driver.enter(Wait::POLL, || clocks);
        if completed || !may_sleep {
            seat.driver.awake();
        } else {
            let within = seat.driver.next_turn_within(clocks);
            seat.sleeps_until = Some(within.map(|within| clocks.mono + within));
        }
    }

    /// Tells every worker that the wall clock is right.
    fn vouch(&mut self) {
        for worker in 0..self.seats.len() {
            // Without room the next step says it again.
            let _ = self.mailboxes.post(worker, Letter::TrustClock);
        }
    }

    fn check_tokens(&mut self, now_ms: u64) {
        while let Some((worker, connection, token)) = self.checks.pop_front() {
            let answer = tokens::verify(&token, now_ms).map(|it| self.issued_anew(it));
            let letter = Letter::Verified { connection, answer };
            if self.mailboxes.post(worker.0.into(), letter).is_err() {
                // The checker's thread waits for room.
                self.checks.push_front((worker, connection, token));
                return;
            }
        }
    }

    /// What the server takes for the date.
    pub(crate) fn date_ms(&mut self, clocks: Clocks) -> u64 {
        self.clock.read(clocks).wall_ms
    }

    /// A token is fetched anew for each sign-in: behind all that was revoked.
    fn issued_anew(&self, identity: Identity) -> Identity {
        let Some(user) = tokens::number_of(identity.user) else { return identity };
        let who = Who { user, device: identity.device.number() };
        let revoked_ms = self.revoked.get(&who).copied().unwrap_or_default();
        let first_newcomer = self.options.users + self.options.liars;
        let on_its_word =
            self.options.plant == Some(Plant::ToldBeforeDurable) && user >= first_newcomer;
        Identity {
            issued_at_ms: identity.issued_at_ms.max(revoked_ms + 1),
            proof: if on_its_word { Proof::Ticket } else { identity.proof },
            ..identity
        }
    }

    /// A device signs out.
    pub(crate) fn sign_out(&mut self, who: Who, before_ms: u64) {
        self.revoked.insert(who, before_ms);
        self.front_desk.sign_out(who, before_ms, (&self.homes, self.options.plant));
    }

    /// Who is told now how its sign-out went.
    pub(crate) fn signed_out(&mut self) -> Vec<(Who, bool)> {
        self.front_desk.take_answers()
    }

    /// Tells how full the queues are, as the store has them, and what one sender holds.
    fn tell_queues(&self) {
        let limits = self.options.limits();
        let (share, max) = (limits.sender_share().0.into(), limits.queue_entries_max.into());
        for number in 0..self.options.users {
            let image = match self.storage.store().user(tokens::user_id(number)) {
                // Opened again: it says nothing before it has what it had shown.
                Err(StoreError::CatchingUp) => return,
                image => image.expect("the store's rows are whole"),
            };
            for device in image.iter().flat_map(|image| &image.devices) {
                let held = device.entries.len() as u64;
                self.trace.fact(Fact::Held { place: "a queue", held, max });
                let mut senders: Vec<_> = device
                    .entries
                    .iter()
                    .filter(|(_, entry)| entry.kind == EntryKind::Incoming)
                    .map(|(_, entry)| entry.peer)
                    .collect();
                senders.sort_unstable();
                for of_one in senders.chunk_by(|one, other| one == other) {
                    let (place, held) = ("a sender's share of a queue", of_one.len() as u64);
                    self.trace.fact(Fact::Held { place, held, max: share });
                }
            }
        }
    }

    fn tell(&self) {
        self.mailboxes.tell(&self.trace);
        self.storage.tell();
        let (limits, config) = (self.options.limits(), self.options.connections());
        // On top comes what one turn brings of each connection, and to each: what it was granted, and
        // one message.
        let slots = self.options.slots as usize;
        let received = slots * self.options.sizes.buffer_bytes;
        let granted = config.outbox_bytes_max.min(config.outboxes_bytes_max);
        let pushed = slots * (granted + self.options.body_bytes_max as usize);
        let outboxes = (config.outboxes_bytes_max + received + pushed) as u64;
        // A buffer that grows may grow to twice its size.
        let incomplete = (2 * config.input_bytes_max + received) as u64;
        let (checks, checks_max) = (self.checks.len() as u64, CHECKS_MAX as u64);
        self.trace.fact(Fact::Held { place: "token checks", held: checks, max: checks_max });
        // What a worker asked for itself, what it was asked by the others, and a few letters for
        // each connection that comes or goes.
        let sends = self.seats.len() as u64 * u64::from(limits.in_flight_max);
        let waiting = sends + LETTERS_PER_SLOT_MAX * u64::from(self.options.slots);
        if !self.options.queues_age() {
            let shards = self.seats.iter().map(|seat| seat.driver.worker().shard());
            let entries = shards.map(|shard| shard.counters().entries_expired).sum();
            self.trace.fact(Fact::Expired { entries });
        }
        for seat in &self.seats {
            let worker = seat.driver.worker();
            let gauges = worker.shard().gauges();
            let slots = u64::from(seat.driver.rings().slots());
            for (place, held, max) in [
                ("in flight", gauges.in_flight, limits.in_flight_max.into()),
                ("in flight bytes", gauges.in_flight_bytes, limits.in_flight_bytes_max),
                ("waiting bytes", gauges.waiting_bytes, limits.waiting_bytes_max),
                ("recent bytes", gauges.recent_bytes, limits.recent_bytes_max),
                ("loads", gauges.loading, limits.loads_max.into()),
                ("sessions", gauges.sessions, limits.sessions_max.into()),
                ("connections", worker.gauges().open as u64, slots),
                ("moves", worker.gauges().moving as u64, config.moves_max as u64),
                ("outboxes", worker.gauges().outboxes_bytes as u64, outboxes),
                ("incomplete input", worker.gauges().input_bytes as u64, incomplete),
                ("waiting for neighbours", seat.driver.waiting() as u64, waiting),
            ] {
                self.trace.fact(Fact::Held { place, held, max });
            }
        }
    }
}

/// What a server knows of the life before: the highest stamp, and the last agreed moment.
fn remembered(plant: Option<Plant>, agreed_ms: u64, storage: &Storage) -> (ServerId, ClockTrust) {
    match plant {
        Some(Plant::StampBack) => (ServerId::default(), ClockTrust::new(0)),
        _ => (storage.store().highest_stamp(), ClockTrust::new(agreed_ms)),
    }
}
