//! Setup: a client that does not read, with a socket of a few bytes. Action: many messages are sent
//! to it. Expectation: it costs one outbox at most and a cursor into its queue, never a copy of what
//! waits; and once it reads, everything comes, in order, and all memory is given back.

use std::time::Duration;

use ringpost_conn::ConnectionConfig;
use ringpost_ring::fake::FakeSizes;
use ringpost_wire::command::Credential;
use ringpost_wire::{Command, Event};

use crate::client::{encoded, hello, message};
use crate::world::{Setup, TICKET_TTL_MS, World};

const SEEDS: u64 = 10;
const OUTBOX_BYTES_MAX: usize = 4 * 1024;
const BODY_BYTES: usize = 900;
const MESSAGES: u64 = 100;

/// Two users at different workers, the second with a window that is no limit here.
fn world(seed: u64) -> (World, usize, usize) {
    let config =
        ConnectionConfig { outbox_bytes_max: OUTBOX_BYTES_MAX, ..ConnectionConfig::default() };
    let sizes = FakeSizes { socket_bytes: 2_000, ..FakeSizes::default() };
    let mut world = World::with(&Setup { config, sizes, ..Setup::new(2, seed) });
    let alice = world.user_at(0, 0);
    let a = world.sign_in(0, alice, 1);
    let b = sign_in_wide(&mut world);
    (world, a, b)
}

fn sign_in_wide(world: &mut World) -> usize {
    let bob = world.user_at(1, 0);
    let client = world.connect(0);
    let token = world.token(bob, 1, TICKET_TTL_MS);
    world.clients[client].write(&hello(Credential::Token(token.into()), 1, 1_000));
    world.settle();
    client
}

fn numbers(world: &mut World, client: usize) -> Vec<(u64, u8)> {
    let told = world.clients[client].take().into_iter();
    told.filter_map(|event| match event {
        Event::NewMessage(message) => Some((message.push, message.body[0])),
        _ => None,
    })
    .collect()
}

#[test]
fn a_reader_that_stops_costs_a_cursor_and_gets_everything_once_it_reads() {
    for seed in 0..SEEDS {
        let (mut world, a, b) = world(seed);
        world.clients[b].read_bytes = 0;
        let bob = world.user_at(1, 0);
        for number in 1..=MESSAGES {
            world.say(a, &message(number, bob, &[number as u8; BODY_BYTES]));
            world.settle();
            let waiting = world.drivers[1].worker().gauges().outboxes_bytes;
            // One entry always goes, so the last may stand above the limit.
            assert!(waiting <= OUTBOX_BYTES_MAX + 2 * BODY_BYTES, "seed {seed}: {waiting} bytes");
        }
        let sent = world.clients[a].take().into_iter();
        let sent = sent.filter(|event| matches!(event, Event::Receipt(_))).count();
        assert_eq!(sent as u64, MESSAGES, "its sender does not wait for it");
        world.clients[b].read_on();
        world.settle();
        let expected: Vec<_> = (1..=MESSAGES).map(|number| (number, number as u8)).collect();
        assert_eq!(numbers(&mut world, b), expected, "seed {seed}");
        let held: Vec<_> = world.drivers.iter().map(|it| it.worker().gauges()).collect();
        assert!(held.iter().all(|held| held.outboxes_bytes == 0), "{held:?}");
    }
}

/// It reads a few bytes at a time, and acks now and then.
#[test]
fn a_reader_of_a_few_bytes_gets_everything_in_order() {
    for seed in 0..SEEDS {
        let (mut world, a, b) = world(seed);
        let bob = world.user_at(1, 0);
        world.clients[b].read_bytes = 7;
        for number in 1..=MESSAGES {
            world.say(a, &message(number, bob, &[number as u8; BODY_BYTES]));
        }
        let mut seen = Vec::new();
        while seen.len() < MESSAGES as usize {
            for _ in 0..200 {
                world.round();
            }
            let new = numbers(&mut world, b);
            if let Some((push, _)) = new.last().filter(|_| world.dice.chance(3)) {
                world.say(b, &Command::Ack { push: *push });
            }
            seen.extend(new);
        }
        let expected: Vec<_> = (1..=MESSAGES).map(|number| (number, number as u8)).collect();
        assert_eq!(seen, expected, "seed {seed}");
    }
}

/// What had not reached the client when it broke comes again on its next connection.
#[test]
fn what_waited_for_a_reader_that_broke_comes_to_its_next_connection() {
    for seed in 0..SEEDS {
        let (mut world, a, b) = world(seed);
        let bob = world.user_at(1, 0);
        world.clients[b].read_bytes = 0;
        for number in 1..=20 {
            world.say(a, &message(number, bob, &[number as u8; BODY_BYTES]));
        }
        world.settle();
        world.clients[b].reset();
        world.settle();
        assert_eq!(world.drivers[1].worker().gauges().outboxes_bytes, 0, "seed {seed}");
        let again = sign_in_wide(&mut world);
        let expected: Vec<_> = (1..=20).map(|number| (number, number as u8)).collect();
        assert_eq!(numbers(&mut world, again), expected, "seed {seed}");
    }
}

/// The server does not read who has much waiting: it cannot be heard to answer a ping, nor to end a
/// frame. It takes its answers slowly, and always takes some.
#[test]
fn who_is_not_read_is_neither_silent_nor_slow_to_end_a_frame() {
    const ASKED: u64 = 3_000;
    for seed in 0..SEEDS {
        let config = ConnectionConfig {
            outbox_bytes_max: OUTBOX_BYTES_MAX,
            progress_bytes_min: 64,
            ping_interval_tcp: Duration::from_secs(10),
            ..ConnectionConfig::default()
        };
        let sizes = FakeSizes { socket_bytes: 2_000, ..FakeSizes::default() };
        let mut world = World::with(&Setup { config, sizes, ..Setup::new(1, seed) });
        let user = world.user_at(0, 0);
        let client = world.sign_in(0, user, 1);
        world.clients[client].read_bytes = 0;
        (0..ASKED).for_each(|nonce| world.say(client, &Command::Ping { nonce }));
        let last = encoded(0, &Command::Ping { nonce: ASKED });
        world.clients[client].write(&last[..last.len() - 1]);
        world.settle();
        assert!(world.counters(0).input_paused > 0, "seed {seed}: the case was met");
        // Some bytes in each second, for minutes.
        for _ in 0..150 {
            world.clients[client].read_bytes = 100;
            world.round();
            world.clients[client].read_bytes = 0;
            world.settle();
            world.pass(Duration::from_secs(1));
            assert_eq!(world.clients[client].end, None, "seed {seed}");
        }
        world.clients[client].write(&last[last.len() - 1..]);
        world.clients[client].read_on();
        world.settle();
        let told = world.clients[client].take();
        let pongs = told.iter().filter(|event| matches!(event, Event::Pong { .. })).count() as u64;
        assert_eq!(pongs, ASKED + 1, "seed {seed}");
    }
}
