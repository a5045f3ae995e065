//! Setup: a ring that refuses: no slot, no memory to accept, no address, sends refused and cut,
//! receives cancelled. Expectation: what can go on goes on, what cannot is closed and counted, and
//! nothing is lost or left.

use std::time::Duration;

use ringpost_conn::ConnectionConfig;
use ringpost_ring::Rings;
use ringpost_ring::fake::{FakeSizes, Faults};
use ringpost_wire::frame::PREAMBLE;
use ringpost_wire::{CloseCode, Command, Event};

use crate::client::{End, message};
use crate::world::{Setup, World};

const SEEDS: u64 = 15;

#[test]
fn a_full_table_refuses_and_serves_again_once_somebody_leaves() {
    for seed in 0..SEEDS {
        let mut world = World::with(&Setup { slots: 2, ..Setup::new(1, seed) });
        let clients: Vec<_> = (0..3).map(|_| world.connect(0)).collect();
        world.settle();
        let refused = clients.iter().filter(|&&it| world.clients[it].end == Some(End::Reset));
        assert_eq!(refused.count(), 1, "seed {seed}");
        assert_eq!(world.counters(0).refused_full, 1);
        clients.iter().for_each(|&client| world.clients[client].hang_up());
        world.settle();
        let user = world.user_at(0, 0);
        world.sign_in(0, user, 1);
    }
}

#[test]
fn the_limit_of_connections_closes_the_next_one_at_once() {
    let config = ConnectionConfig { connections_max: 2, ..ConnectionConfig::default() };
    let mut world = World::with(&Setup { config, ..Setup::new(1, 1) });
    let clients: Vec<_> = (0..3).map(|_| world.connect(0)).collect();
    world.settle();
    let ended = clients.iter().filter(|&&client| !world.clients[client].is_connected()).count();
    assert_eq!((ended, world.counters(0).refused_full), (1, 1));
}

#[test]
fn accepting_goes_on_after_a_pause_when_it_failed() {
    for seed in 0..SEEDS {
        let faults = Faults { fail_accept: 255, ..Faults::gentle() };
        let mut world = World::with(&Setup { faults, ..Setup::new(1, seed) });
        let user = world.user_at(0, 0);
        let client = world.greet(0, user, 1);
        world.settle();
        assert!(world.clients[client].heard.is_empty(), "seed {seed}: nobody is accepted");
        world.net.set_faults(Faults::gentle());
        world.settle();
        assert!(world.clients[client].heard.is_empty(), "seed {seed}: it is a pause");
        world.pass(Duration::from_millis(200));
        assert!(matches!(world.clients[client].take()[..], [Event::Welcome(_), ..]));
    }
}

#[test]
fn a_client_without_an_address_is_served() {
    for seed in 0..SEEDS {
        let faults = Faults { fail_peer_address: 255, ..Faults::gentle() };
        let mut world = World::with(&Setup { faults, ..Setup::new(2, seed) });
        let user = world.user_at(1, 0);
        world.sign_in(0, user, 1);
    }
}

/// Connections of one address: all fake clients have the same. Whichever worker has them.
#[test]
fn an_address_holds_no_more_connections_without_a_session_than_the_limit() {
    for seed in 0..SEEDS {
        let config =
            ConnectionConfig { unauthenticated_per_address_max: 2, ..ConnectionConfig::default() };
        let mut world = World::with(&Setup { config, ..Setup::new(2, seed) });
        let user = world.user_at(1, 0);
        world.sign_in(0, user, 1);
        world.sign_in(0, user, 2);
        let counted = |world: &World| {
            let each = world.drivers.iter().map(|driver| driver.worker().gauges().unauthenticated);
            each.sum::<usize>()
        };
        assert_eq!(counted(&world), 0, "sessions do not count");
        let (held, closing) = (world.connect(0), world.connect(1));
        // One that is closed for a violation counts until it is gone.
        world.clients[closing].write(&PREAMBLE);
        world.clients[closing].write(&[0xff; 16]);
        world.settle();
        assert!(world.clients[closing].close_code().is_some());
        assert_eq!(counted(&world), 2);
        for worker in [0, 1] {
            let refused = world.connect(worker);
            world.settle();
            assert!(!world.clients[refused].is_connected(), "seed {seed}");
            assert_eq!(world.counters(worker).refused_address, 1);
        }
        world.clients[closing].hang_up();
        world.settle();
        let next = world.connect(0);
        world.settle();
        assert!(world.clients[next].is_connected() && world.clients[held].is_connected());
    }
}

/// Sockets of a few bytes, half of all sends refused or cut, receives of a few bytes each.
#[test]
fn short_and_refused_sends_lose_nothing() {
    for seed in 0..SEEDS {
        let faults = Faults { short_send: 128, refuse_send: 128, split: 200, ..Faults::gentle() };
        let sizes = FakeSizes { socket_bytes: 300, buffer_bytes: 64, ..FakeSizes::default() };
        let mut world = World::with(&Setup { faults, sizes, ..Setup::new(2, seed) });
        let (alice, bob) = (world.user_at(0, 0), world.user_at(1, 0));
        let (a, b) = (world.sign_in(1, alice, 1), world.sign_in(0, bob, 1));
        for number in 1..=40 {
            world.say(a, &message(number, bob, &vec![number as u8; 40 * number as usize]));
        }
        // Large enough to travel as a chunk of its own.
        world.say(a, &message(41, bob, &vec![41; 20_000]));
        world.settle();
        let lengths: Vec<_> = world.clients[b].take().into_iter().filter_map(length).collect();
        let expected: Vec<_> = (1..=40).map(|number| 40 * number).chain([20_000]).collect();
        assert_eq!(lengths, expected, "seed {seed}");
        assert!(world.counters(1).short_sends > 0, "seed {seed}: the case was met");
    }
}

fn length(event: Event) -> Option<usize> {
    match event {
        Event::NewMessage(message) => {
            let number = message.body[0];
            assert!(message.body.iter().all(|&byte| byte == number));
            Some(message.body.len())
        }
        _ => None,
    }
}

/// A client that asks and does not read: its receive is taken back in the middle of its bytes, and
/// armed again when it reads; every question is answered, in order.
#[test]
fn a_receive_that_was_taken_back_loses_no_bytes() {
    for seed in 0..SEEDS {
        let config = ConnectionConfig { outbox_bytes_max: 512, ..ConnectionConfig::default() };
        let sizes = FakeSizes { socket_bytes: 1024, buffer_bytes: 100, ..FakeSizes::default() };
        let mut world = World::with(&Setup { config, sizes, ..Setup::new(1, seed) });
        let user = world.user_at(0, 0);
        let client = world.sign_in(0, user, 1);
        world.clients[client].read_bytes = 0;
        for nonce in 0..400 {
            world.say(client, &Command::Ping { nonce });
        }
        world.settle();
        assert!(world.counters(0).input_paused > 0, "seed {seed}: the case was met");
        assert!(world.drivers[0].rings().stats().cancelled > 0);
        world.clients[client].read_on();
        world.settle();
        let nonces: Vec<_> = world.clients[client]
            .take()
            .into_iter()
            .map(|event| match event {
                Event::Pong { nonce } => nonce,
                other => panic!("not asked for: {other:?}"),
            })
            .collect();
        assert_eq!(nonces, (0..400).collect::<Vec<_>>(), "seed {seed}");
    }
}

/// The same before the session: the `hello` comes while the receive is being taken back.
#[test]
fn a_hello_behind_unread_answers_moves_once_all_is_quiet() {
    for seed in 0..4 * SEEDS {
        let config = ConnectionConfig { outbox_bytes_max: 64, ..ConnectionConfig::default() };
        let sizes = FakeSizes { socket_bytes: 256, buffer_bytes: 100, ..FakeSizes::default() };
        let mut world = World::with(&Setup { config, sizes, ..Setup::new(2, seed) });
        let user = world.user_at(1, 0);
        let client = world.connect(0);
        world.clients[client].write(&PREAMBLE);
        for nonce in 0..20 {
            world.say(client, &Command::Ping { nonce });
        }
        let token = world.token(user, 1, 60_000);
        let hello =
            crate::client::hello(ringpost_wire::command::Credential::Token(token.into()), 1, 0);
        world.clients[client].write(&hello[PREAMBLE.len()..]);
        world.settle();
        let told = world.clients[client].take();
        let welcome = told.iter().position(|event| matches!(event, Event::Welcome(_)));
        assert_eq!(welcome, Some(20), "seed {seed}: {told:?}");
    }
}

#[test]
fn a_broken_connection_is_lost_and_leaves_nothing() {
    for seed in 0..SEEDS {
        for rounds in 0..20 {
            let mut world = World::with(&Setup { faults: Faults::harsh(), ..Setup::new(2, seed) });
            let user = world.user_at(1, 0);
            let client = world.greet(0, user, 1);
            for _ in 0..rounds {
                world.round();
            }
            world.clients[client].reset();
            world.settle();
            world.pass(Duration::from_secs(30));
            world.check_nothing_is_left();
            let closed = world.counters(0).closed.count(CloseCode::Internal);
            assert_eq!(closed, 0);
        }
    }
}
