//! Setup: two workers, a sender and a recipient at home at different ones. Action: one part after
//! the other stands still for a while. Expectation: the time is counted to that stage, to no other.

use std::time::Duration;

use ringpost_conn::worker::SAMPLED_ONE_IN;
use ringpost_ring::fake::{FakeSizes, Faults};
use ringpost_shard::Durations;
use ringpost_wire::Command;
use ringpost_wire::command::Credential;

use crate::client::{hello, message};
use crate::world::{Setup, TICKET_TTL_MS, World};

const WAIT: Duration = Duration::from_millis(40);

struct Scene {
    world: World,
    sender: usize,
    recipient: usize,
    number: u64,
}

/// Route, commit, enqueue, send, device ack, of both workers together.
fn sums(world: &World) -> [Duration; 5] {
    let worker = |at: usize| {
        let (edge, shard) = (world.counters(at), world.drivers[at].worker().shard().counters());
        let stages = [shard.route, edge.commit, shard.enqueue, edge.send, shard.device_ack];
        stages.map(|durations| durations.sum)
    };
    let (one, other) = (worker(0), worker(1));
    std::array::from_fn(|stage| one[stage] + other[stage])
}

impl Scene {
    fn new() -> Self {
        let sizes = FakeSizes { socket_bytes: 2_000, ..FakeSizes::default() };
        let mut world = World::with(&Setup { faults: Faults::none(), sizes, ..Setup::new(2, 1) });
        let (alice, bob) = (world.user_at(0, 0), world.user_at(1, 0));
        let (sender, recipient) = (world.sign_in(0, alice, 1), world.sign_in(1, bob, 1));
        Self { world, sender, recipient, number: 0 }
    }

    /// Sends one message while `hold` holds something for [`WAIT`]; answers where the time went.
    fn waits(&mut self, bytes: usize, mut hold: impl FnMut(&mut World, bool)) -> [Duration; 5] {
        let before = sums(&self.world);
        let bob = self.world.user_at(1, 0);
        hold(&mut self.world, true);
        self.number += 1;
        self.world.say(self.sender, &message(self.number, bob, &vec![7; bytes]));
        self.world.settle();
        self.world.pass(WAIT);
        hold(&mut self.world, false);
        self.world.settle();
        let after = sums(&self.world);
        // Each message is acked at once, so that the next finds the window empty.
        self.world.say(self.recipient, &Command::Ack { push: self.number });
        self.world.settle();
        std::array::from_fn(|stage| after[stage] - before[stage])
    }
}

#[test]
fn the_time_of_each_stage_is_counted_to_it() {
    let mut scene = Scene::new();
    let zero = Duration::ZERO;
    let mailbox = |world: &mut World, held: bool| world.mailboxes[1].held = held;
    assert_eq!(scene.waits(100, mailbox), [WAIT, zero, zero, zero, zero]);
    let journal = |world: &mut World, held: bool| world.journal.held = held;
    assert_eq!(scene.waits(100, journal), [zero, WAIT, zero, zero, zero]);
    let recipient = scene.recipient;
    let socket = |world: &mut World, held: bool| {
        world.clients[recipient].read_bytes = if held { 0 } else { 1 << 16 };
    };
    assert_eq!(scene.waits(5_000, socket), [zero, zero, zero, WAIT, zero]);
    let before = sums(&scene.world)[4];
    assert_eq!(before, WAIT, "the ack came when the slow reader had read");
    assert_eq!(scene.waits(100, |_, _| {}), [zero; 5]);
    assert_eq!(sums(&scene.world)[4] - before, WAIT, "acked a while after it was pushed");
}

/// The window is full of what is not acked: the next message waits at its recipient's home.
#[test]
fn what_waits_for_the_window_is_counted_to_enqueue() {
    let mut world = World::with(&Setup { faults: Faults::none(), ..Setup::new(2, 1) });
    let (alice, bob) = (world.user_at(0, 0), world.user_at(1, 0));
    let sender = world.sign_in(0, alice, 1);
    let recipient = world.connect(1);
    let token = Credential::Token(world.token(bob, 1, TICKET_TTL_MS).into());
    world.clients[recipient].write(&hello(token, 1, 1));
    world.settle();
    for number in 1..=2 {
        world.say(sender, &message(number, bob, b"one at a time"));
    }
    world.pass(WAIT);
    world.say(recipient, &Command::Ack { push: 1 });
    world.settle();
    let enqueue = world.drivers[1].worker().shard().counters().enqueue;
    assert_eq!((enqueue.count(), enqueue.sum), (2, WAIT));
}

#[test]
fn every_record_and_every_push_is_counted_once() {
    let mut scene = Scene::new();
    for _ in 0..20 {
        scene.waits(50, |_, _| {});
    }
    let count = |of: fn(&World, usize) -> &Durations| -> u64 {
        (0..2).map(|worker| of(&scene.world, worker).count()).sum()
    };
    let shard = |world: &'_ World, at: usize| world.drivers[at].worker().shard().counters().clone();
    assert_eq!(count(|world, at| &world.counters(at).commit), scene.world.journal.records() as u64);
    assert_eq!(shard(&scene.world, 1).route.count(), 20);
    assert_eq!(shard(&scene.world, 1).enqueue.count(), 20);
    assert_eq!(shard(&scene.world, 1).device_ack.count(), 20);
    let held: Vec<_> =
        scene.world.drivers.iter().map(|it| it.worker().gauges().committing).collect();
    assert_eq!(held, [0, 0]);
}

/// The clock moves with each reading: one before the receive is handled and one after it.
#[test]
fn one_receive_in_so_many_is_clocked_from_its_batch_to_its_end() {
    let mut world = World::with(&Setup { faults: Faults::none(), ..Setup::new(1, 1) });
    let user = world.user_at(0, 0);
    let client = world.sign_in(0, user, 1);
    let counted = |world: &World| {
        let (receive, decode) = (world.counters(0).receive, world.counters(0).decode);
        assert_eq!((receive.count(), receive.sum), (decode.count(), decode.sum));
        (receive.count(), receive.sum)
    };
    let before = counted(&world);
    world.drivers[0].tick = WAIT;
    for nonce in 0..u64::from(3 * SAMPLED_ONE_IN) {
        world.say(client, &Command::Ping { nonce });
        world.settle();
    }
    let after = counted(&world);
    assert_eq!((after.0 - before.0, after.1 - before.1), (3, 3 * WAIT));
}
