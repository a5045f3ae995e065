//! Setup: signed-in clients that speak seldom, often, or no more. Action: time passes between what
//! they say, and bytes come while a receive is taken back. Expectation: who speaks seldom stays
//! cold, who speaks often gets a receive that stays armed, silence ends it; every byte is answered
//! in order whatever is armed when it comes; and a connection at rest is as it was when it wakes.

use ringpost_conn::ConnectionConfig;
use ringpost_conn::timer::TICK;
use ringpost_conn::worker::{DEMOTED_AFTER, PROMOTED_WITHIN};
use ringpost_ring::Rings;
use ringpost_ring::fake::FakeSizes;
use ringpost_wire::{CloseCode, Command, Event};

use crate::client::{encoded, message};
use crate::world::{Setup, World};

const SEEDS: u64 = 20;

fn ping(world: &mut World, client: usize, nonce: u64) {
    world.say(client, &Command::Ping { nonce });
    world.settle();
    assert_eq!(world.clients[client].take(), [Event::Pong { nonce }]);
}

fn temperature(world: &World) -> (u64, u64, usize) {
    let counters = world.counters(0);
    (counters.promoted, counters.demoted, world.drivers[0].worker().gauges().awake)
}

/// Signed in, and silent for longer than the moment that promotes.
fn at_rest(world: &mut World) -> usize {
    let user = world.user_at(0, 0);
    let client = world.sign_in(0, user, 1);
    world.pass(PROMOTED_WITHIN + 2 * TICK);
    assert_eq!(temperature(world), (0, 0, 0), "at rest after the welcome");
    client
}

#[test]
fn a_ping_now_and_then_neither_promotes_nor_wakes_for_longer_than_its_pong() {
    for seed in 0..SEEDS {
        let mut world = World::new(1, seed);
        let client = at_rest(&mut world);
        for nonce in 0..10 {
            ping(&mut world, client, nonce);
            assert_eq!(temperature(&world), (0, 0, 0), "seed {seed}");
            world.pass(PROMOTED_WITHIN + 2 * TICK);
        }
    }
}

#[test]
fn two_frames_within_a_moment_promote_and_silence_demotes() {
    for seed in 0..SEEDS {
        let mut world = World::new(1, seed);
        let client = at_rest(&mut world);
        ping(&mut world, client, 1);
        ping(&mut world, client, 2);
        assert_eq!(temperature(&world), (1, 0, 1), "seed {seed}");
        // Speaking keeps it hot.
        for nonce in 3..6 {
            world.pass(DEMOTED_AFTER - TICK);
            ping(&mut world, client, nonce);
        }
        assert_eq!(temperature(&world), (1, 0, 1), "seed {seed}");
        world.pass(DEMOTED_AFTER + 2 * TICK);
        assert_eq!(temperature(&world), (1, 1, 0), "seed {seed}");
        ping(&mut world, client, 6);
        assert_eq!(temperature(&world), (1, 1, 0), "seed {seed}");
    }
}

fn rounds(world: &mut World) {
    for _ in 0..world.dice.below(4) {
        world.round();
    }
}

/// Bytes come in any pieces, around every change of what is armed.
#[test]
fn no_byte_is_lost_while_connections_are_promoted_and_demoted() {
    for seed in 0..2 * SEEDS {
        let sizes = FakeSizes { socket_bytes: 2_048, buffer_bytes: 50, ..FakeSizes::default() };
        let mut world = World::with(&Setup { sizes, ..Setup::new(1, seed) });
        let client = at_rest(&mut world);
        let mut bytes: Vec<u8> = Vec::new();
        let nonces = 0..600;
        nonces.clone().for_each(|nonce| bytes.extend(encoded(0, &Command::Ping { nonce })));
        let frame_bytes = bytes.len() / 600;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let then = world.dice.below(6);
            let mut piece = 1 + world.dice.below(rest.len().min(300));
            if then != 1 {
                // A frame in pieces is not given the time that passes here.
                piece += (rest.len() - piece) % frame_bytes;
            }
            world.clients[client].write(&rest[..piece]);
            rest = &rest[piece..];
            match then {
                // Right around the deadline at which a hot one is taken back.
                0 => {
                    world.settle();
                    let next = world.drivers[0].worker().next_deadline();
                    let soon = world.now.mono + DEMOTED_AFTER + TICK;
                    world.now.mono = next.filter(|&at| at <= soon).unwrap_or(world.now.mono);
                    rounds(&mut world);
                }
                2 => world.pass(PROMOTED_WITHIN + 2 * TICK),
                3 => world.settle(),
                _ => rounds(&mut world),
            }
        }
        world.settle();
        assert_eq!(world.clients[client].close_code(), None, "seed {seed}");
        let answers: Vec<_> = world.clients[client].take();
        let expected: Vec<_> = nonces.map(|nonce| Event::Pong { nonce }).collect();
        let pongs: Vec<_> =
            answers.into_iter().filter(|it| matches!(it, Event::Pong { .. })).collect();
        assert_eq!(pongs, expected, "seed {seed}");
        let (promoted, demoted, _) = temperature(&world);
        assert!(promoted > 0 && demoted > 0, "seed {seed}: the case was met");
    }
}

/// What is at rest is woken by what comes for it, and keeps its deadlines.
#[test]
fn a_connection_at_rest_is_pushed_to_pinged_and_closed_like_any_other() {
    for seed in 0..SEEDS {
        let mut world = World::new(1, seed);
        let bob = at_rest(&mut world);
        let (bob_user, alice_user) = (world.user_at(0, 0), world.user_at(0, 1));
        let alice = world.sign_in(0, alice_user, 1);
        world.say(alice, &message(1, bob_user, b"wake up"));
        world.settle();
        let told = world.clients[bob].take();
        assert!(matches!(told[..], [Event::NewMessage(_)]), "seed {seed}: {told:?}");
        world.say(bob, &Command::Ack { push: 1 });
        world.settle();
        let interval = ConnectionConfig::default().ping_interval_tcp;
        world.pass(interval + 2 * TICK);
        let told = world.clients[bob].take();
        assert!(matches!(told[..], [Event::Ping { .. }]), "seed {seed}: {told:?}");
        assert_eq!(world.drivers[0].worker().gauges().awake, 0, "seed {seed}: at rest again");
        world.pass(interval + 2 * TICK);
        assert_eq!(world.clients[bob].close_code(), Some(CloseCode::Silent), "seed {seed}");
    }
}

#[test]
fn a_client_that_leaves_while_its_connection_is_at_rest_leaves_nothing() {
    for seed in 0..SEEDS {
        let mut world = World::new(1, seed);
        let client = at_rest(&mut world);
        if seed % 2 == 0 {
            world.clients[client].hang_up();
        } else {
            world.clients[client].reset();
        }
        world.settle();
        assert_eq!(world.drivers[0].rings().slots_in_use(), 0, "seed {seed}");
        world.check_nothing_is_left();
    }
}
