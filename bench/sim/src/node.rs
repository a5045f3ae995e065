//! The server: workers, their mailboxes and rings, and the tier. A life is one of these; its end
//! is a drop, and the next begins from the disk.

use ringpost_conn::{ConnectionConfig, Letter, Worker};
use ringpost_ring::fake::{FakeHandle, FakePeer, FakeSizes, FakeWorld};
use ringpost_shard::event::{Now, WorkerId};
use ringpost_shard::{Homes, Provision, Shard, ShardConfig, ShardLimits};
use ringpost_store::engine::MemoryEngine;
use ringpost_wire::ServerId;

use crate::chance::Chance;
use crate::credentials::{OpenTickets, verify};
use crate::disk::Disk;
use crate::driver::Driver;
use crate::observed::{Observed, Violation};
use crate::options::Options;
use crate::planted::Planted;
use crate::tier::Tier;

/// Slots of a worker's ring.
const SLOTS: u32 = 64;

/// The number of the node in its ids.
const NODE: u32 = 7;

pub(crate) struct Node {
    net: FakeWorld,
    drivers: Vec<Driver>,
    handles: Vec<FakeHandle>,
    pub(crate) tier: Tier,
    homes: Homes,
    chance: Chance,
    mailbox_letters_max: usize,
    planted: Option<Planted>,
}

impl Node {
    /// Starts from what the disk and the store hold.
    pub(crate) fn start(
        options: &Options,
        life: usize,
        disk: &mut Disk,
        engine: &MemoryEngine,
        now: Now,
        seen: &mut Vec<Observed>,
    ) -> Result<Self, Violation> {
        let tier = Tier::recover(disk, engine, options, life, seen)?;
        let mut chance = Chance::new(options.seed, 200 + life as u64);
        let sizes = FakeSizes { socket_bytes: options.socket_bytes, ..FakeSizes::default() };
        let net = FakeWorld::with(chance.number(), options.ring, sizes);
        // How a life hashes is its own affair: nothing on disk may depend on it.
        let hash_seed = chance.number();
        let floor = match options.planted {
            Some(Planted::ForgottenStamps) => ServerId::default(),
            _ => tier.highest_stamp(),
        };
        let limits = ShardLimits {
            resident_bytes_max: options.resident_bytes_max,
            ..ShardLimits::default()
        };
        let worker = |number: u16| {
            let id = WorkerId(number);
            let shard = Shard::new(ShardConfig {
                worker: id,
                workers: options.workers,
                node: NODE,
                hash_seed,
                stamp_floor: floor,
                provision: Provision::OnSignIn,
                plaintext_allowed: false,
                limits: limits.clone(),
            });
            let domain = (shard, Homes::new(hash_seed, options.workers));
            let config = ConnectionConfig::default();
            Worker::new(id, config, domain, Box::new(OpenTickets), SLOTS, now.mono)
        };
        let drivers: Vec<Driver> = (0..options.workers)
            .map(|number| Driver::new(worker(number), net.ring(SLOTS), options.workers.into()))
            .collect();
        let handles = {
            use ringpost_ring::Rings;
            drivers.iter().map(|driver| driver.rings.handle()).collect()
        };
        let applied = tier.applied();
        let mut node = Self {
            net,
            drivers,
            handles,
            tier,
            homes: Homes::new(hash_seed, options.workers),
            chance,
            mailbox_letters_max: options.mailbox_letters_max,
            planted: options.planted,
        };
        for number in 0..options.workers {
            let letter = Letter::Event(ringpost_shard::Event::Applied { position: applied });
            node.post(WorkerId(number), letter);
        }
        Ok(node)
    }

    /// A connection to any worker, as the kernel chooses one.
    pub(crate) fn connect(&mut self) -> FakePeer {
        let worker = self.chance.below(self.handles.len());
        self.net.connect(self.handles[worker])
    }

    /// One step of one thread of the server; whether it did anything.
    pub(crate) fn step(&mut self, disk: &mut Disk, now: Now, seen: &mut Vec<Observed>) -> bool {
        let threads = self.drivers.len() * 2 + 4;
        match self.chance.below(threads) {
            0 => {
                let mut letters = Vec::new();
                let (tier, homes) = (&mut self.tier, &self.homes);
                let busy = tier.step_journal(disk, homes, now.mono, &mut letters, seen);
                for (worker, letter) in letters {
                    self.post(worker, letter);
                }
                busy
            }
            1 => {
                let Some(letter) = self.tier.step_applier(now.mono) else { return false };
                let Letter::Event(ringpost_shard::Event::Applied { position }) = letter else {
                    unreachable!("the applier tells how far it is")
                };
                for number in 0..self.drivers.len() as u16 {
                    let event = ringpost_shard::Event::Applied { position };
                    self.post(WorkerId(number), Letter::Event(event));
                }
                true
            }
            2 => {
                let Some((worker, letter)) = self.tier.step_reads() else { return false };
                self.post(worker, letter);
                true
            }
            3 => self.check_tokens(now.wall_ms),
            other => {
                let at = (other - 4) % self.drivers.len();
                let busy = self.drivers[at].turn(now, &mut self.tier, &self.handles, usize::MAX);
                self.deliver(at);
                busy
            }
        }
    }

    /// The process is killed in the middle of a turn: some of its operations still reach the ring.
    pub(crate) fn last_gasp(&mut self, now: Now) {
        let at = self.chance.below(self.drivers.len());
        let most = self.chance.below(4);
        self.drivers[at].turn(now, &mut self.tier, &self.handles, most);
    }

    /// When something is to happen although nobody says so.
    pub(crate) fn next_deadline(&self) -> Option<std::time::Duration> {
        let workers = self.drivers.iter().filter_map(|driver| driver.worker.next_deadline());
        workers.chain(self.tier.next_deadline()).min()
    }

    /// Threads that are no workers wait for room; so these letters are never refused.
    fn post(&mut self, worker: WorkerId, letter: Letter) {
        let lost = self.planted == Some(Planted::LostLetter) && self.chance.once_in(50);
        if !lost {
            self.drivers[usize::from(worker.0)].mailbox.push_back(letter);
        }
    }

    fn deliver(&mut self, from: usize) {
        let mut outgoing = std::mem::take(&mut self.drivers[from].outgoing);
        let (planted, room) = (self.planted, self.mailbox_letters_max);
        let (chance, drivers) = (&mut self.chance, &mut self.drivers);
        outgoing.deliver(
            |to, letter| {
                let mailbox = &mut drivers[usize::from(to.0)].mailbox;
                if mailbox.len() >= room {
                    return Err(letter);
                }
                match planted {
                    Some(Planted::LostLetter) if chance.once_in(20) => {}
                    Some(Planted::SwappedLetters) => mailbox.push_front(letter),
                    _ => mailbox.push_back(letter),
                }
                Ok(false)
            },
            |_| {},
        );
        self.drivers[from].outgoing = outgoing;
    }

    fn check_tokens(&mut self, wall_ms: u64) -> bool {
        for at in 0..self.drivers.len() {
            if let Some((connection, token)) = self.drivers[at].checks.pop_front() {
                let answer = verify(&token, wall_ms);
                let id = self.drivers[at].worker.id();
                self.post(id, Letter::Verified { connection, answer });
                return true;
            }
        }
        false
    }
}
