//! Setup: four users with two devices each, two or three workers, small limits, a network that
//! defers, cuts, refuses and fails. Action: anything, in an order that a seed chooses. Expectation:
//! nothing acknowledged is lost, order holds, and nothing is left when everybody is gone.
//!
//! A failing run prints its seed.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use ringpost_conn::{ConnectionConfig, Letter};
use ringpost_ring::fake::{FakeSizes, Faults};
use ringpost_wire::frame::PREAMBLE;
use ringpost_wire::{CloseCode, Command};

use crate::device::Device;
use crate::world::{Dice, Setup, World};

const SEEDS: u64 = 200;
const ACTIONS: usize = 300;

/// Largest content that is sent, bytes.
const LARGEST_BYTES: usize = 6_000;

/// Rounds at the end in which all that was asked must be answered and come.
const LAST_ROUNDS: usize = 50;

fn setup(seed: u64) -> Setup {
    let mut dice = Dice::new(seed);
    let config = ConnectionConfig {
        outbox_bytes_max: [600, 4_000, 256 << 10][dice.below(3)],
        outboxes_bytes_max: [16_000, 40_000, 64 << 20][dice.below(3)],
        input_bytes_max: [14_000, 64 << 20][dice.below(2)],
        moves_max: [1, 1_024][dice.below(2)],
        progress_bytes_min: 64,
        ..ConnectionConfig::default()
    };
    let sizes = FakeSizes {
        socket_bytes: [300, 2_000, 16_384][dice.below(3)],
        buffer_bytes: [64, 1_024][dice.below(2)],
        inputs_per_turn: 3,
    };
    let faults = [Faults::none(), Faults::gentle(), Faults::harsh()][dice.below(3)];
    let workers = 2 + dice.below(2) as u16;
    Setup { config, sizes, faults, slots: 40, ..Setup::new(workers, seed) }
}

struct Walk {
    world: World,
    config: ConnectionConfig,
    devices: Vec<Device>,
    /// Connections that are nobody's device.
    strangers: Vec<usize>,
    workers: usize,
}

impl Walk {
    /// Every device has signed in once, so that each is known to all who write to its user.
    fn new(seed: u64) -> Self {
        let setup = setup(seed);
        let workers = usize::from(setup.workers);
        let mut world = World::with(&setup);
        world.net.set_faults(Faults::none());
        let users: Vec<_> = (0..4).map(|nth| world.user_at(nth % workers, nth / workers)).collect();
        let owners = users.iter().flat_map(|&user| [(user, 1), (user, 2)]);
        let mut devices: Vec<_> = (0..)
            .zip(owners)
            .map(|(place, (user, number))| Device::new(user, number, 1 + place * 100_000))
            .collect();
        for device in &mut devices {
            device.connect(&mut world, 0);
            world.settle();
            device.listen(&mut world);
        }
        world.net.set_faults(setup.faults);
        Self { world, config: setup.config, devices, strangers: Vec::new(), workers }
    }

    fn act(&mut self) {
        let Self { world, devices, workers, .. } = self;
        let (at, worker) = (world.dice.below(devices.len()), world.dice.below(*workers));
        let to = devices[world.dice.below(devices.len())].user;
        let device = &mut devices[at];
        let Some(client) = device.client else {
            if world.dice.chance(2) {
                device.connect(world, worker);
            }
            return;
        };
        match world.dice.below(16) {
            0..=5 => {
                let most = [50, 400, LARGEST_BYTES][world.dice.below(3)];
                let bytes = 1 + world.dice.below(most);
                device.send(world, to, bytes);
            }
            6 => {
                let answered_too = world.dice.chance(4);
                device.repeat(world, answered_too);
            }
            7..=9 => device.ack(world),
            10 => {
                let slow = [0, 0, 13, 1 << 16][world.dice.below(4)];
                world.clients[client].read_bytes = slow;
            }
            11 => self.leave(at, client),
            // A second connection of the same device.
            12 if world.dice.chance(3) => device.connect(world, worker),
            13 => self.stranger(worker),
            14 => self.hold(worker),
            _ => {
                let far = world.dice.chance(40);
                let most = if far { 200_000 } else { 3_000 };
                let time = Duration::from_millis(world.dice.below(most) as u64);
                world.pass(time);
            }
        }
    }

    fn leave(&mut self, at: usize, client: usize) {
        let Self { world, devices, .. } = self;
        match world.dice.below(5) {
            0 => world.say(client, &Command::Bye),
            1 => world.clients[client].shutdown_write(),
            2 => world.clients[client].reset(),
            3 => world.clients[client].hang_up(),
            _ => return,
        }
        devices[at].listen(world);
    }

    /// Somebody who never signs in.
    fn stranger(&mut self, worker: usize) {
        let client = self.world.connect(worker);
        let peer = &mut self.world.clients[client];
        peer.raw = Some(Vec::new());
        match self.world.dice.below(4) {
            0 => peer.write(b"GET /v1/messages HTTP/1.1\r\nHost: x\r\n\r\n"),
            1 => peer.write(b"\x16\x03\x01 not for this port"),
            2 => peer.write(&[&PREAMBLE[..], &[0xff; 9]].concat()),
            _ => peer.write(&PREAMBLE),
        }
        self.strangers.push(client);
        if self.world.dice.chance(2) {
            let gone = self.strangers.swap_remove(self.world.dice.below(self.strangers.len()));
            self.world.clients[gone].hang_up();
        }
    }

    /// A part stands still, or goes on.
    fn hold(&mut self, worker: usize) {
        let world = &mut self.world;
        let mailbox = &mut world.mailboxes[worker];
        match world.dice.below(4) {
            0 => mailbox.held ^= true,
            1 => world.drivers[worker].ring_held ^= true,
            2 => mailbox.letters_max = [1, usize::MAX][world.dice.below(2)],
            _ => world.journal.held ^= true,
        }
    }

    fn rounds(&mut self) {
        for _ in 0..self.world.dice.below(12) {
            self.world.round();
            self.check_room();
        }
        for device in &mut self.devices {
            device.listen(&mut self.world);
        }
        self.world.drivers.iter_mut().for_each(|driver| driver.handed_over.clear());
    }

    /// What waits at a worker, and what is not complete, stays within its limit but for what a turn
    /// brings: a grant and a message for each device. A buffer that grows may grow to twice its size.
    fn check_room(&self) {
        let granted = self.config.outbox_bytes_max.min(self.config.outboxes_bytes_max) / 4;
        let turn = self.devices.len() / self.workers * (granted + LARGEST_BYTES);
        for driver in &self.world.drivers {
            let held = driver.worker().gauges();
            let (outboxes, input) = (held.outboxes_bytes, held.input_bytes);
            assert!(outboxes <= self.config.outboxes_bytes_max + turn, "{outboxes} in outboxes");
            assert!(input <= 2 * self.config.input_bytes_max + turn, "{input} of input");
        }
    }

    /// Everything goes on, everybody comes back and asks again until all is answered.
    fn come_to_rest(&mut self) {
        let world = &mut self.world;
        world.net.set_faults(Faults::none());
        world.journal.held = false;
        world.drivers.iter_mut().for_each(|driver| driver.ring_held = false);
        for mailbox in &mut world.mailboxes {
            (mailbox.held, mailbox.letters_max) = (false, usize::MAX);
        }
        for &stranger in &self.strangers {
            world.clients[stranger].hang_up();
        }
        world.clients.iter_mut().for_each(|client| client.read_on());
        for round in 0..LAST_ROUNDS {
            let world = &mut self.world;
            world.settle();
            let mut done = true;
            for device in &mut self.devices {
                device.listen(world);
                if device.client.is_none() {
                    device.connect(world, 0);
                    done = false;
                } else if !device.has_everything_answered() {
                    device.repeat(world, false);
                    done = false;
                }
                device.ack(world);
            }
            if done {
                // What is acked brings receipts, which are acked too.
                let before = world.journal.records();
                world.settle();
                if world.journal.records() == before && round > 3 {
                    return;
                }
            }
            // What was refused may be tried again, and slots of closing connections come free.
            world.pass(Duration::from_secs(6));
        }
        panic!("not everything is answered and acked after {LAST_ROUNDS} rounds");
    }

    fn check(&mut self) {
        for device in &self.devices {
            device.check(&self.devices);
        }
        if self.world.dice.chance(2) {
            for mailbox in &mut self.world.mailboxes {
                let within = Duration::from_secs(8);
                mailbox.letters.push_back(Letter::Drain { within });
            }
            self.world.pass(Duration::from_secs(12));
            assert!(self.world.drivers.iter().all(|driver| driver.worker().is_drained()));
        }
        self.world.clients.iter_mut().for_each(|client| client.hang_up());
        self.world.pass(ConnectionConfig::default().ping_interval_tcp * 3);
        self.world.check_nothing_is_left();
    }
}

/// What was met on the way: a walk that meets nothing tests nothing.
#[derive(Default, Debug)]
struct Met {
    messages: usize,
    moves: u64,
    failed_moves: u64,
    half_moves: u64,
    displaced: u64,
    handed_over: u64,
    lost: u64,
    short_sends: u64,
    input_paused: u64,
    outboxes_shed: u64,
    inputs_shed: u64,
}

impl Met {
    fn add(&mut self, walk: &Walk) {
        self.messages += walk.devices.iter().map(Device::sent_count).sum::<usize>();
        for worker in 0..walk.workers {
            let counters = walk.world.counters(worker);
            self.moves += counters.moved_in;
            self.failed_moves += counters.moves_failed;
            self.half_moves += counters.moves_expired;
            self.displaced += counters.closed.count(CloseCode::Displaced);
            self.handed_over += counters.handed_over;
            self.lost += counters.lost;
            self.short_sends += counters.short_sends;
            self.input_paused += counters.input_paused;
            self.outboxes_shed += counters.outboxes_shed;
            self.inputs_shed += counters.inputs_shed;
        }
    }

    fn check(&self, seeds: u64) {
        let rare = [
            self.failed_moves,
            self.half_moves,
            self.displaced,
            self.handed_over,
            self.outboxes_shed,
            self.inputs_shed,
        ];
        let common = [self.moves, self.lost, self.short_sends, self.input_paused];
        assert!(self.messages as u64 > 50 * seeds, "{self:?}");
        assert!(common.iter().all(|&count| count > seeds), "{self:?}");
        assert!(rare.iter().all(|&count| count > 0), "{self:?}");
    }
}

fn walk(seed: u64, met: &mut Met) {
    let mut walk = Walk::new(seed);
    for _ in 0..ACTIONS {
        walk.act();
        walk.rounds();
    }
    walk.come_to_rest();
    walk.check();
    met.add(&walk);
}

#[test]
fn a_walk_of_any_seed_loses_nothing_keeps_order_and_leaves_nothing() {
    let mut met = Met::default();
    for seed in 0..SEEDS {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| walk(seed, &mut met))) {
            println!("the walk of seed {seed} failed");
            resume_unwind(panic);
        }
    }
    met.check(SEEDS);
}
