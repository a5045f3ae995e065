//! Setup: small budgets of input. Action: clients send more than these, in every way. Expectation:
//! who is over is not read until the debt is paid, and everything is answered in the end; nobody is
//! closed for it; a reconnect does not renew a budget; what the server itself asked for is free.

use std::time::Duration;

use ringpost_conn::{ConnectionConfig, InputRate};
use ringpost_wire::command::{ClientStatus, Named, Receipt};
use ringpost_wire::frame::PREAMBLE;
use ringpost_wire::{CloseCode, Command, ErrorCode, Event, ServerId, UserId};

use crate::client::{encoded, message};
use crate::world::{Setup, World};

const SECOND: Duration = Duration::from_secs(1);
const NARROW: InputRate = InputRate { bytes_per_second: 64 << 10, burst_bytes: 128 << 10 };
/// So many small frames pass in a second: each costs 32 bytes and its own.
const FRAMES_PER_SECOND: usize = (64 << 10) / (32 + 18);

fn world(workers: u16, seed: u64, of_user: InputRate, of_address: InputRate) -> World {
    let config = ConnectionConfig {
        user_input: of_user,
        address_input: of_address,
        ..ConnectionConfig::default()
    };
    World::with(&Setup { config, ..Setup::new(workers, seed) })
}

fn wide() -> InputRate {
    ConnectionConfig::default().user_input
}

fn pings(count: usize) -> Vec<u8> {
    encoded(7, &Command::Ping { nonce: 5 }).repeat(count)
}

fn pongs(world: &mut World, client: usize) -> usize {
    let told = world.clients[client].take();
    assert!(told.iter().all(|it| matches!(it, Event::Pong { .. })), "{told:?}");
    told.len()
}

fn paced_users(world: &World) -> u64 {
    (0..world.drivers.len()).map(|worker| world.counters(worker).paced_users).sum()
}

#[test]
fn a_flood_is_read_at_its_rate_and_answered_to_the_last_frame() {
    for seed in 0..10 {
        let mut world = world(1, seed, NARROW, wide());
        let (alice, bob) = (world.user_at(0, 0), world.user_at(0, 1));
        let (flood, calm) = (world.sign_in(0, alice, 1), world.sign_in(0, bob, 1));
        world.clients[flood].write(&pings(20_000));
        world.settle();
        let burst = pongs(&mut world, flood);
        assert!(burst < 3 * FRAMES_PER_SECOND, "{burst} at once");
        assert!(paced_users(&world) > 0, "counted");
        world.clients[calm].write(&pings(3));
        world.settle();
        assert_eq!(pongs(&mut world, calm), 3, "the neighbour is read");
        world.pass(4 * SECOND);
        let later = pongs(&mut world, flood);
        let expected = 4 * FRAMES_PER_SECOND;
        assert!((expected / 2..expected + expected / 2).contains(&later), "{later} in 4 s");
        world.pass(20 * SECOND);
        assert_eq!(burst + later + pongs(&mut world, flood), 20_000);
        assert!(world.clients[flood].is_connected());
    }
}

/// Sends `count` messages to `to`, as fast as the sender's own budget lets it.
fn fill(world: &mut World, from: UserId, to: UserId, count: u64) {
    let sender = world.sign_in(0, from, 1);
    for number in 1..=count {
        world.say(sender, &message(number, to, b"x"));
        if number % 200 == 0 {
            world.pass(2 * SECOND);
        }
    }
    world.pass(2 * SECOND);
    world.clients[sender].hang_up();
    world.settle();
}

/// How a client acks what it is pushed: by push number and server's id.
type Rule = fn(u64, ServerId) -> Option<Command<'static>>;

fn delivered(message: Named) -> Option<Command<'static>> {
    Some(Command::Receipt(Receipt {
        message,
        status: ClientStatus::Delivered,
        client_timestamp_ms: 5,
    }))
}

#[test]
fn a_long_queue_comes_over_one_connection_by_any_rule_of_acking() {
    const WAITING: u64 = 1_500;
    let rules: [Rule; 4] = [
        |push, _| Some(Command::Ack { push }),
        |push, _| push.is_multiple_of(32).then_some(Command::Ack { push }),
        |_, id| delivered(Named::Id(id)),
        // Every other one by itself, what is between with the next.
        |push, id| match push % 2 {
            0 => Some(Command::Ack { push }),
            _ => delivered(Named::Id(id)),
        },
    ];
    for (number, rule) in rules.into_iter().enumerate() {
        let mut world = world(2, number as u64, NARROW, wide());
        let (alice, bob) = (world.user_at(0, 0), world.user_at(1, 0));
        let gone = world.sign_in(1, bob, 1);
        world.clients[gone].hang_up();
        world.settle();
        // Two senders: neither holds more than its share of the queue.
        for sender in [alice, world.user_at(0, 1)] {
            fill(&mut world, sender, bob, WAITING / 2);
        }
        let client = world.greet(1, bob, 1);
        let mut shown = 0;
        // Without time for a budget to fill again.
        while shown < WAITING {
            world.settle();
            let told = world.clients[client].take();
            assert!(!told.is_empty(), "{shown} of {WAITING} by rule {number}");
            for event in told {
                let Event::NewMessage(pushed) = event else { continue };
                shown += 1;
                assert_eq!(pushed.push, shown);
                if let Some(ack) = rule(pushed.push, pushed.id) {
                    world.say(client, &ack);
                }
            }
        }
        world.settle();
        assert_eq!(world.counters(1).paced_users, 0, "rule {number}");
        assert!(world.clients[client].is_connected());
    }
}

#[test]
fn acks_that_ack_nothing_are_input_like_any_other() {
    let mut world = world(1, 3, NARROW, wide());
    let (alice, bob) = (world.user_at(0, 0), world.user_at(0, 1));
    let (a, b) = (world.sign_in(0, alice, 1), world.sign_in(0, bob, 1));
    world.say(a, &message(1, bob, b"x"));
    world.settle();
    world.clients[b].write(&encoded(0, &Command::Ack { push: 1 }).repeat(4_000));
    world.settle();
    assert!(paced_users(&world) > 0);
    assert!(world.clients[b].is_connected());
}

#[test]
fn neither_a_reconnect_nor_another_device_renews_a_budget() {
    let mut world = world(1, 4, NARROW, wide());
    let alice = world.user_at(0, 0);
    let first = world.sign_in(0, alice, 1);
    world.clients[first].write(&pings(6_000));
    world.settle();
    let before = pongs(&mut world, first);
    assert!(before < 3 * FRAMES_PER_SECOND);
    world.clients[first].hang_up();
    world.settle();
    for device in [1, 2] {
        let again = world.sign_in(0, alice, device);
        world.clients[again].write(&pings(500));
        world.settle();
        assert_eq!(pongs(&mut world, again), 0, "device {device}");
    }
    assert!(paced_users(&world) >= 2);
}

#[test]
fn strangers_share_the_budget_of_their_address_over_reconnects() {
    let mut world = world(1, 5, wide(), NARROW);
    let mut answered = 0;
    for _ in 0..60 {
        let stranger = world.connect(0);
        world.clients[stranger].write(&[&PREAMBLE[..], &pings(100)].concat());
        world.settle();
        answered += pongs(&mut world, stranger);
        world.clients[stranger].hang_up();
        world.settle();
    }
    // What one receive holds is decoded whole.
    assert!(answered < 3 * FRAMES_PER_SECOND, "{answered}");
    assert!(world.counters(0).paced_addresses > 0, "counted");
    // That they have hung up is heard when they are read again, or their time is over.
    world.pass(12 * SECOND);
    let held = world.drivers[0].worker().gauges();
    assert_eq!((held.open, held.input_bytes), (0, 0), "what was held is gone with its owner");
    // Somebody else of that address waits a little, and is welcome.
    let bob = world.user_at(0, 1);
    let patient = world.greet(0, bob, 1);
    world.pass(4 * SECOND);
    let told = world.clients[patient].take();
    assert!(matches!(told.first(), Some(Event::Welcome(_))), "{told:?}");
}

/// Frames are cut by the pauses, and what it says waits: that is no silence, and no slow frame.
#[test]
fn who_is_not_read_is_neither_silent_nor_slow() {
    let slow = InputRate { bytes_per_second: 1_024, burst_bytes: 128 << 10 };
    let mut world = world(1, 6, slow, wide());
    let alice = world.user_at(0, 0);
    let client = world.sign_in(0, alice, 1);
    world.clients[client].write(&pings(10_000));
    world.pass(8 * 60 * SECOND);
    assert!(world.clients[client].is_connected(), "{:?}", world.clients[client].close_code());
    assert_eq!(pongs(&mut world, client), 10_000);
}

/// A crowd of one address, each with a debt of its own to bring: they keep one another from being read,
/// and would stay for as long as the debt of all lasts.
#[test]
fn no_debt_of_an_address_puts_off_the_deadline_of_a_stranger() {
    for seed in 0..5 {
        let mut world = world(1, seed, wide(), NARROW);
        let crowd: Vec<usize> = (0..40).map(|_| world.connect(0)).collect();
        for &client in &crowd {
            world.clients[client].write(&PREAMBLE);
            world.clients[client].write(&pings(2_000));
        }
        world.settle();
        // Ten until the deadline, and five in which a client may close by itself.
        world.pass(16 * SECOND);
        world.settle();
        assert_eq!(world.drivers[0].worker().gauges().open, 0, "nobody stays beyond its time");
        for &client in &crowd {
            let told = world.clients[client].close_code();
            assert_eq!(told, Some(CloseCode::HandshakeTimeout), "a last word, in every case");
        }
    }
}

#[test]
fn behind_the_last_word_some_is_thrown_away_and_more_is_not_read() {
    let mut world = World::new(1, 7);
    let alice = world.user_at(0, 0);
    let (some, more) = (world.sign_in(0, alice, 1), world.sign_in(0, alice, 2));
    for (client, bytes) in [(some, 60 << 10), (more, 1 << 20)] {
        world.say(client, &Command::Bye);
        world.clients[client].write(&vec![0; bytes]);
    }
    // It does not look at what it is told, and goes on.
    world.clients[more].read_bytes = 0;
    world.settle();
    world.clients[some].hang_up();
    world.settle();
    assert_eq!(world.clients[some].close_code(), Some(CloseCode::Normal));
    assert_eq!(world.counters(0).discards_over, 1);
    let read = world.counters(0).received_bytes;
    world.pass(10 * SECOND);
    assert_eq!(world.counters(0).received_bytes, read, "no more is read");
    assert_eq!(world.drivers[0].worker().gauges().open, 0);
}

#[test]
fn a_pong_to_the_servers_ping_is_free_and_others_are_not() {
    let mut world = world(1, 8, NARROW, wide());
    let alice = world.user_at(0, 0);
    let client = world.sign_in(0, alice, 1);
    world.clients[client].write(&encoded(0, &Command::Pong { nonce: 1 }).repeat(6_000));
    world.settle();
    assert!(paced_users(&world) > 0);
    world.pass(60 * SECOND);
    assert!(world.clients[client].is_connected());
    world.say(
        client,
        &Command::Receipt(Receipt {
            message: Named::Id(ServerId([1; 16])),
            status: ClientStatus::Delivered,
            client_timestamp_ms: 0,
        }),
    );
    world.settle();
    let told = world.clients[client].take();
    let [Event::Error(error)] = &told[..] else { panic!("{told:?}") };
    assert_eq!(error.code, ErrorCode::UnknownMessage);
}
