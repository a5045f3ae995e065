//! Setup: a limit for all outboxes of a worker together. Action: readers stop until it is passed.
//! Expectation: the fuller they are together the less each may hold, and so a neighbour that reads is
//! always served; above the limit those who take nothing are let go, and then those with the most; nothing is
//! lost, and everything goes on once there is room.

use ringpost_conn::ConnectionConfig;
use ringpost_ring::fake::{FakeSizes, Faults};
use ringpost_wire::command::{Content, SendMessage};
use ringpost_wire::{Command, Event, UserId};

use crate::client::{message, message_id};
use crate::world::{Setup, World};

const SEEDS: u64 = 10;
const SOCKET_BYTES: usize = 2_000;
const BODY_BYTES: usize = 1_000;
const OUTBOXES_BYTES_MAX: usize = 40_000;

/// One worker with a sender, a bystander, and so many who will not read.
struct Scene {
    world: World,
    sender: usize,
    bystander: usize,
    slow: Vec<(UserId, usize)>,
    number: u64,
}

impl Scene {
    fn new(seed: u64, slow: usize) -> Self {
        let config =
            ConnectionConfig { outboxes_bytes_max: OUTBOXES_BYTES_MAX, ..Default::default() };
        let sizes = FakeSizes { socket_bytes: SOCKET_BYTES, ..FakeSizes::default() };
        let faults = Faults { refuse_send: 0, ..Faults::gentle() };
        let mut world = World::with(&Setup { config, sizes, faults, ..Setup::new(1, seed) });
        let users: Vec<_> = (0..slow + 2).map(|nth| world.user_at(0, nth)).collect();
        let clients: Vec<_> = users.iter().map(|&user| world.sign_in(0, user, 1)).collect();
        let slow: Vec<_> = users.into_iter().zip(clients.iter().copied()).skip(2).collect();
        slow.iter().for_each(|&(_, client)| world.clients[client].read_bytes = 0);
        Self { world, sender: clients[0], bystander: clients[1], slow, number: 0 }
    }

    fn bytes(&self) -> usize {
        self.world.drivers[0].worker().gauges().outboxes_bytes
    }

    fn shed(&self) -> u64 {
        self.world.counters(0).outboxes_shed
    }

    /// Sends one message to a slow reader.
    fn send(&mut self, to: usize) {
        self.number += 1;
        let body = [self.number as u8; BODY_BYTES];
        self.world.say(self.sender, &message(self.number, self.slow[to].0, &body));
        self.world.settle();
    }

    /// Whether the bystander's ping is answered.
    fn is_served(&mut self) -> bool {
        self.world.say(self.bystander, &Command::Ping { nonce: 1 });
        self.world.settle();
        self.world.clients[self.bystander].take() == [Event::Pong { nonce: 1 }]
    }

    /// Everybody reads: every message that was `sent` has come, in order, and nothing waits.
    fn check_all_comes(&mut self) {
        for &(_, client) in &self.slow {
            self.world.clients[client].read_on();
        }
        self.world.settle();
        assert_eq!(self.bytes(), 0);
        let mut seen = 0;
        for &(_, client) in &self.slow {
            let pushes: Vec<_> = self.world.clients[client]
                .take()
                .into_iter()
                .filter_map(|event| match event {
                    Event::NewMessage(message) if message.push > 0 => Some(message.push),
                    _ => None,
                })
                .collect();
            assert_eq!(pushes, (1..=pushes.len() as u64).collect::<Vec<_>>());
            seen += pushes.len() as u64;
        }
        let told = self.world.clients[self.sender].take().into_iter();
        let sent = told.filter(|event| matches!(event, Event::Receipt(_))).count() as u64;
        assert_eq!((seen, sent), (self.number, self.number), "all that was sent has come");
    }
}

#[test]
fn what_waits_is_counted_to_the_byte_and_given_back_however_it_ends() {
    for seed in 0..SEEDS {
        let mut scene = Scene::new(seed, 3);
        for to in [0, 1, 2, 0, 1, 2, 0, 1, 2] {
            scene.send(to);
        }
        // Frame and body of three messages each, less what the sockets took.
        let each = scene.bytes() / 3;
        assert!((3 * BODY_BYTES - SOCKET_BYTES..3 * BODY_BYTES).contains(&each), "{each}");
        assert_eq!(scene.bytes(), 3 * each, "seed {seed}");
        let clients: Vec<_> = scene.slow.iter().map(|&(_, client)| client).collect();
        scene.world.clients[clients[0]].reset();
        scene.world.settle();
        assert_eq!(scene.bytes(), 2 * each, "seed {seed}");
        scene.world.clients[clients[1]].read_on();
        scene.world.settle();
        assert_eq!(scene.bytes(), each, "seed {seed}");
        scene.world.pass(ConnectionConfig::default().progress_interval);
        assert_eq!(scene.bytes(), 0, "seed {seed}: closed for want of progress");
    }
}

/// A connection may end while the ring still holds its bytes.
#[test]
fn bytes_that_the_ring_holds_are_counted_until_it_gives_them_back() {
    for seed in 0..4 * SEEDS {
        let mut scene = Scene::new(seed, 2);
        for to in [0, 1] {
            let body = [9; BODY_BYTES];
            scene.number += 1;
            let said = message(scene.number, scene.slow[to].0, &body);
            scene.world.say(scene.sender, &said);
        }
        for _ in 0..seed % 12 {
            scene.world.round();
        }
        for &(_, client) in &scene.slow {
            scene.world.clients[client].reset();
        }
        scene.world.settle();
        assert_eq!(scene.bytes(), 0, "seed {seed}");
    }
}

#[test]
fn the_fuller_they_are_the_less_each_gets_and_neighbours_are_served() {
    for seed in 0..SEEDS {
        let mut scene = Scene::new(seed, 3);
        while scene.bytes() <= OUTBOXES_BYTES_MAX / 2 {
            scene.send(0);
        }
        // Above half each of the three may hold less than a third of all.
        for _ in 0..30 {
            (0..3).for_each(|to| scene.send(to));
        }
        let held = scene.bytes();
        assert!(held < OUTBOXES_BYTES_MAX, "seed {seed}: {held}");
        for _ in 0..10 {
            (0..3).for_each(|to| scene.send(to));
        }
        assert_eq!(scene.bytes(), held, "seed {seed}: no new room");
        assert!(scene.is_served(), "seed {seed}");
        // Who does not take its answers is not read: its ping gets no pong.
        let slow = scene.slow[0].1;
        scene.world.say(slow, &Command::Ping { nonce: 2 });
        scene.world.settle();
        assert_eq!(scene.bytes(), held, "seed {seed}: not read");
        assert_eq!(scene.shed(), 0, "seed {seed}");
        scene.check_all_comes();
    }
}

/// Many ask for much at once and read nothing: all that the kernel holds of it comes in few turns.
#[test]
fn a_burst_of_questions_of_many_who_do_not_read_holds_up_nobody_else() {
    const EACH: u64 = 3_000;
    for seed in 0..SEEDS {
        let mut scene = Scene::new(seed, 40);
        for &(_, client) in &scene.slow {
            (0..EACH).for_each(|nonce| scene.world.say(client, &Command::Ping { nonce }));
        }
        let mut most = 0;
        for nonce in 0..400 {
            scene.world.say(scene.bystander, &Command::Ping { nonce });
            for _ in 0..8 {
                scene.world.round();
            }
            most = most.max(scene.bytes());
        }
        let told = scene.world.clients[scene.bystander].take();
        let expected: Vec<_> = (0..400).map(|nonce| Event::Pong { nonce }).collect();
        assert_eq!(told, expected, "seed {seed}: served all the time");
        // What a turn receives is answered, and is as much as a buffer for each.
        assert!(most <= 2 * OUTBOXES_BYTES_MAX, "seed {seed}: {most}");
        assert!(scene.bytes() <= OUTBOXES_BYTES_MAX, "seed {seed}: {}", scene.bytes());
    }
}

#[test]
fn above_the_limit_who_takes_nothing_is_let_go_and_misses_nothing() {
    for seed in 0..SEEDS {
        let mut scene = Scene::new(seed, 40);
        let mut to = 0;
        while scene.shed() == 0 {
            scene.send(to % 40);
            to += 1;
            assert!(to < 4_000, "seed {seed}: the limit is never met");
            assert!(scene.is_served(), "seed {seed}");
            let most = OUTBOXES_BYTES_MAX + 2 * BODY_BYTES;
            assert!(scene.bytes() <= most, "seed {seed}: by one turn's pushes");
        }
        // An eighth is free again, and so most have stayed.
        assert!(scene.bytes() <= OUTBOXES_BYTES_MAX / 8 * 7, "seed {seed}");
        assert!((1..20).contains(&scene.shed()), "seed {seed}: {}", scene.shed());
        // They come again, and read.
        for at in 0..scene.slow.len() {
            let (user, client) = scene.slow[at];
            scene.world.clients[client].read_on();
            scene.world.settle();
            if scene.world.clients[client].end.is_some() {
                scene.slow[at].1 = scene.world.greet(0, user, 1);
            }
        }
        scene.check_all_comes();
    }
}

/// It has more waiting than any of them, and takes a little all the time.
#[test]
fn a_slow_reader_is_not_let_go_for_those_that_have_stopped() {
    for seed in 0..SEEDS {
        let mut scene = Scene::new(seed, 40);
        let slow = scene.slow[0].1;
        (0..30).for_each(|_| scene.send(0));
        let mut to = 0;
        while scene.shed() == 0 {
            scene.send(1 + to % 39);
            to += 1;
            if to % 8 == 0 {
                scene.world.clients[slow].read_bytes = 100;
                scene.world.round();
                scene.world.clients[slow].read_bytes = 0;
                scene.world.settle();
                scene.world.pass(std::time::Duration::from_millis(500));
            }
            assert!(to < 4_000, "seed {seed}: the limit is never met");
        }
        assert_eq!(scene.world.clients[slow].end, None, "seed {seed}");
        scene.world.clients[slow].read_on();
        scene.world.settle();
        assert_eq!(scene.world.clients[slow].end, None, "seed {seed}");
    }
}

/// Ephemera are dropped first, and come again as soon as there is room.
#[test]
fn ephemera_are_dropped_for_those_who_do_not_read_and_come_again_afterwards() {
    let mut scene = Scene::new(3, 1);
    for _ in 0..40 {
        scene.send(0);
    }
    let (user, client) = scene.slow[0];
    let body = [7; 100];
    let ephemeral = Command::SendMessage(SendMessage {
        message_id: message_id(9_999),
        to: user,
        reply_to: None,
        client_timestamp_ms: 5,
        ephemeral: true,
        content: Content::Encrypted(body[..].into()),
    });
    scene.world.say(scene.sender, &ephemeral);
    scene.world.settle();
    let dropped =
        |scene: &Scene| scene.world.drivers[0].worker().shard().counters().ephemeral_dropped;
    assert_eq!(dropped(&scene), 1);
    scene.check_all_comes();
    scene.world.say(scene.sender, &ephemeral);
    scene.world.settle();
    assert_eq!(dropped(&scene), 1);
    let told = scene.world.clients[client].take();
    assert!(matches!(&told[..], [Event::NewMessage(message)] if message.ephemeral), "{told:?}");
}
