//! A node without threads: workers over one fake network, mailboxes between them, a journal. It
//! goes on in rounds; time passes only when the test says so, and every choice comes from a seed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ringpost_conn::counters::{ConnectionCounters, ConnectionGauges};
use ringpost_conn::letter::{CredentialRefused, Identity};
use ringpost_conn::{ConnectionConfig, Letter, Tables, Ticket, Tickets, Worker};
use ringpost_ring::Rings;
use ringpost_ring::fake::{Chance, FakeHandle, FakeSizes, FakeWorld, Faults};
use ringpost_shard::event::{Proof, WorkerId};
use ringpost_shard::{Clocks, Homes, Provision, Shard, ShardConfig, ShardLimits};
use ringpost_wire::command::Credential;
use ringpost_wire::{Command, DeviceId, Event, ServerId, UserId};

use crate::client::{Client, hello};
use crate::driver::{Driver, Mailbox};
use crate::journal::Journal;

pub(crate) const WALL_MS: u64 = 1_800_000_000_000;
const HASH_SEED: u64 = 11;

/// Life of a ticket unless its token ends before.
pub(crate) const TICKET_TTL_MS: u64 = 3_600_000;

/// A deferred completion comes in one of the next rounds; that so many pass without is as good as
/// impossible.
const QUIET_ROUNDS: usize = 40;
const ROUNDS_MAX: usize = 200_000;

/// What a test draws from.
pub(crate) struct Dice(Chance);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Chance::new(seed))
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.0.number() % bound as u64) as usize
    }

    pub(crate) fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }
}

/// What a world is made of.
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) workers: u16,
    /// Slots of each worker's ring.
    pub(crate) slots: u32,
    pub(crate) faults: Faults,
    pub(crate) sizes: FakeSizes,
    pub(crate) config: ConnectionConfig,
    pub(crate) limits: ShardLimits,
}

impl Setup {
    pub(crate) fn new(workers: u16, seed: u64) -> Self {
        Self {
            seed,
            workers,
            slots: 64,
            faults: Faults::gentle(),
            sizes: FakeSizes::default(),
            config: ConnectionConfig::default(),
            limits: ShardLimits::default(),
        }
    }

    fn worker(&self, id: WorkerId, tables: Arc<Tables>, started_at: Duration) -> Worker {
        let shard = Shard::new(ShardConfig {
            worker: id,
            workers: self.workers,
            node: 7,
            hash_seed: HASH_SEED,
            stamp_floor: ServerId::default(),
            provision: Provision::OnSignIn,
            plaintext_allowed: false,
            limits: self.limits.clone(),
        });
        let domain = (shard, Homes::new(HASH_SEED, self.workers));
        let config = self.config.clone();
        let tickets = Box::new(OpenTickets);
        Worker::new(id, config, domain, tickets, tables, self.slots, started_at)
    }
}

pub(crate) struct World {
    pub(crate) now: Clocks,
    pub(crate) net: FakeWorld,
    pub(crate) drivers: Vec<Driver>,
    pub(crate) mailboxes: Vec<Mailbox>,
    pub(crate) clients: Vec<Client>,
    pub(crate) journal: Journal,
    /// Tokens wait unchecked while this is set.
    pub(crate) checks_held: bool,
    pub(crate) dice: Dice,
    homes: Homes,
    handles: Vec<FakeHandle>,
    tokens: BTreeMap<String, Identity>,
    last_number: u64,
}

impl World {
    pub(crate) fn new(workers: u16, seed: u64) -> Self {
        Self::with(&Setup::new(workers, seed))
    }

    pub(crate) fn with(setup: &Setup) -> Self {
        let now = Clocks { mono: Duration::from_secs(1), wall_ms: WALL_MS };
        let net = FakeWorld::with(setup.seed, setup.faults, setup.sizes);
        let rings: Vec<_> = (0..setup.workers).map(|_| net.ring(setup.slots)).collect();
        let handles: Vec<_> = rings.iter().map(Rings::handle).collect();
        let tables = Arc::new(Tables::new(setup.seed, &setup.config));
        let drivers = (0..)
            .zip(rings)
            .map(|(number, ring)| {
                let worker = setup.worker(WorkerId(number), Arc::clone(&tables), now.mono);
                Driver::new(worker, ring, handles.clone())
            })
            .collect();
        Self {
            now,
            net,
            handles,
            drivers,
            mailboxes: (0..setup.workers).map(|_| Mailbox::new()).collect(),
            clients: Vec::new(),
            journal: Journal::default(),
            checks_held: false,
            dice: Dice::new(setup.seed),
            homes: Homes::new(HASH_SEED, setup.workers),
            tokens: BTreeMap::new(),
            last_number: 0,
        }
    }

    /// The `nth` user whose home is `worker`.
    pub(crate) fn user_at(&self, worker: usize, nth: usize) -> UserId {
        (1..)
            .map(|number: u128| UserId(number.to_be_bytes()))
            .filter(|&user| usize::from(self.homes.home(user).0) == worker)
            .nth(nth)
            .expect("homes are spread over all workers")
    }

    pub(crate) fn token(&mut self, user: UserId, device: u8, ttl_ms: u64) -> String {
        let token = format!("token-{}", self.tokens.len());
        let identity = Identity {
            user,
            device: DeviceId::new(device).expect("1 to 127"),
            issued_at_ms: self.now.wall_ms,
            expires_at_ms: self.now.wall_ms + ttl_ms,
            proof: Proof::Token,
        };
        self.tokens.insert(token.clone(), identity);
        token
    }

    /// A number that names a message of its own.
    pub(crate) fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// A connection that has said nothing yet.
    pub(crate) fn connect(&mut self, worker: usize) -> usize {
        self.clients.push(Client::new(self.net.connect(self.handles[worker])));
        self.clients.len() - 1
    }

    /// Connects and says `hello`, as soon as the rounds go on.
    pub(crate) fn greet(&mut self, worker: usize, user: UserId, device: u8) -> usize {
        let client = self.connect(worker);
        let token = self.token(user, device, 10 * TICKET_TTL_MS);
        self.clients[client].write(&hello(Credential::Token(token.into()), device, 0));
        client
    }

    /// Connects to `worker`, signs in, and takes what is said first.
    pub(crate) fn sign_in(&mut self, worker: usize, user: UserId, device: u8) -> usize {
        let client = self.greet(worker, user, device);
        self.settle();
        let told = self.clients[client].take();
        assert!(matches!(told.first(), Some(Event::Welcome(_))), "{told:?}");
        client
    }

    pub(crate) fn say(&mut self, client: usize, command: &Command<'_>) {
        self.clients[client].say(0, command);
    }

    /// One step of everything; whether anything happened.
    pub(crate) fn round(&mut self) -> bool {
        let mut busy = false;
        for client in &mut self.clients {
            busy |= client.round();
        }
        let first = self.dice.below(self.drivers.len());
        for place in 0..self.drivers.len() {
            let at = (first + place) % self.drivers.len();
            let (journal, mailboxes) = (&mut self.journal, &mut self.mailboxes);
            busy |= self.drivers[at].turn(self.now, journal, mailboxes);
        }
        let most = 1 + self.dice.below(8);
        for (worker, letter) in self.journal.step(most) {
            self.mailboxes[usize::from(worker.0)].letters.push_back(letter);
            busy = true;
        }
        busy | self.check_tokens()
    }

    /// Lets everything happen that can without the clock.
    pub(crate) fn settle(&mut self) {
        let mut quiet = 0;
        for _ in 0..ROUNDS_MAX {
            quiet = if self.round() { 0 } else { quiet + 1 };
            if quiet == QUIET_ROUNDS {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    /// Lets time pass, from deadline to deadline.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.settle();
        let end = self.now.mono + time;
        while self.now.mono < end {
            let deadlines = self.drivers.iter().filter_map(|it| it.worker().next_deadline());
            let next = deadlines.min().unwrap_or(end);
            // A deadline in the past would be a worker that never sleeps.
            let step = next.clamp(self.now.mono + Duration::from_millis(1), end) - self.now.mono;
            self.now.mono += step;
            self.now.wall_ms += step.as_millis() as u64;
            self.settle();
        }
    }

    pub(crate) fn counters(&self, worker: usize) -> &ConnectionCounters {
        self.drivers[worker].worker().counters()
    }

    /// Everybody is gone: nothing is held for anybody, by any worker, ring or shard.
    pub(crate) fn check_nothing_is_left(&self) {
        for (number, driver) in self.drivers.iter().enumerate() {
            let worker = driver.worker();
            assert_eq!(worker.gauges(), ConnectionGauges::default(), "worker {number}");
            assert_eq!(driver.rings().slots_in_use(), 0, "slots of worker {number}");
            assert!(driver.is_settled() && self.mailboxes[number].letters.is_empty());
            let held = worker.shard().gauges();
            let held = [
                ("sessions", held.sessions),
                ("loading", held.loading),
                ("in_flight", held.in_flight),
                ("in_flight_bytes", held.in_flight_bytes),
                ("waiting_bytes", held.waiting_bytes),
            ];
            let left: Vec<_> = held.iter().filter(|(_, count)| *count > 0).collect();
            assert!(left.is_empty(), "shard {number} holds {left:?}");
            assert_eq!(worker.next_deadline(), None, "worker {number} waits for something");
        }
    }

    fn check_tokens(&mut self) -> bool {
        let mut busy = false;
        let drivers = self.drivers.iter_mut().zip(&mut self.mailboxes);
        for (driver, mailbox) in drivers.filter(|_| !self.checks_held) {
            while let Some((connection, token)) = driver.checks.pop_front() {
                let answer =
                    self.tokens.get(&token).copied().ok_or(CredentialRefused::TokenUnsigned);
                mailbox.letters.push_back(Letter::Verified { connection, answer });
                busy = true;
            }
        }
        busy
    }
}

/// Tickets that say openly whom they speak for.
struct OpenTickets;

impl Tickets for OpenTickets {
    fn issue(&self, identity: &Identity, now_ms: u64) -> Ticket {
        let expires_at_ms = identity.expires_at_ms.min(now_ms + TICKET_TTL_MS);
        let bytes = [
            &identity.user.0[..],
            &[identity.device.number()],
            &identity.issued_at_ms.to_le_bytes(),
            &expires_at_ms.to_le_bytes(),
        ]
        .concat();
        let ttl_ms = expires_at_ms.saturating_sub(now_ms) as u32;
        Ticket { bytes: Bytes::from(bytes), ttl_ms }
    }

    fn open(&self, ticket: &[u8], now_ms: u64) -> Result<Identity, CredentialRefused> {
        let part =
            |from: usize, to: usize| ticket.get(from..to).ok_or(CredentialRefused::TicketUnknown);
        let number = |at: usize| {
            let bytes = part(at, at + 8)?.try_into().expect("eight bytes");
            Ok(u64::from_le_bytes(bytes))
        };
        let identity = Identity {
            user: UserId(part(0, 16)?.try_into().expect("sixteen bytes")),
            device: DeviceId::new(part(16, 17)?[0]).ok_or(CredentialRefused::TicketUnknown)?,
            issued_at_ms: number(17)?,
            expires_at_ms: number(25)?,
            proof: Proof::Ticket,
        };
        if identity.expires_at_ms <= now_ms {
            return Err(CredentialRefused::TicketExpired);
        }
        Ok(identity)
    }
}
