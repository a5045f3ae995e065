//! Setup: clients that are slow, silent or gone. Action: time passes. Expectation: each deadline
//! closes the connection at its time, with its code, and not before; who speaks in time stays.

use std::time::Duration;

use ringpost_conn::ConnectionConfig;
use ringpost_ring::fake::Faults;
use ringpost_wire::command::Credential;
use ringpost_wire::frame::PREAMBLE;
use ringpost_wire::{CloseCode, Command, Event};

use crate::client::{End, hello};
use crate::world::{Setup, World};

const SEEDS: u64 = 10;
const MOMENT: Duration = Duration::from_millis(1);

/// A deadline is looked at in the tick after it.
const TICK: Duration = ringpost_conn::timer::TICK;

fn config() -> ConnectionConfig {
    ConnectionConfig::default()
}

/// The client stays until just before `deadline`, and is closed with `code` in the tick after it.
fn check_closed_at(world: &mut World, client: usize, deadline: Duration, code: CloseCode) {
    let left = deadline - (world.now.mono - Duration::from_secs(1));
    world.pass(left - MOMENT);
    assert!(world.clients[client].close_code().is_none(), "closed before the deadline");
    assert!(world.clients[client].is_connected(), "gone before the deadline");
    world.pass(MOMENT + TICK);
    assert_eq!(world.clients[client].close_code(), Some(code));
    let worker = (0..world.drivers.len()).find(|&it| world.counters(it).closed.count(code) > 0);
    assert!(worker.is_some(), "counted");
}

#[test]
fn who_says_nothing_at_all_is_closed_without_a_word() {
    let mut world = World::new(1, 1);
    let client = world.connect(0);
    world.pass(config().handshake_deadline - MOMENT);
    assert!(world.clients[client].is_connected());
    world.pass(MOMENT + TICK);
    assert_eq!(world.clients[client].end, Some(End::Orderly));
    assert!(world.clients[client].heard.is_empty());
    world.check_nothing_is_left();
}

/// The deadline is for the whole head, not for each read.
#[test]
fn a_head_that_comes_drop_by_drop_is_answered_with_408() {
    let mut world = World::new(1, 2);
    let client = world.connect(0);
    world.clients[client].raw = Some(Vec::new());
    let head = b"GET /v1/ws HTTP/1.1\r\nHost: somewhere\r\n";
    for byte in &head[..5] {
        world.clients[client].write(&[*byte]);
        world.pass(Duration::from_millis(999));
    }
    assert!(world.clients[client].is_connected());
    world.pass(TICK + MOMENT);
    let answer = world.clients[client].raw.take().expect("raw bytes are kept");
    assert!(answer.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn a_preamble_without_a_hello_is_closed_with_its_code() {
    for seed in 0..SEEDS {
        let mut world = World::new(1, seed);
        let client = world.connect(0);
        world.clients[client].write(&PREAMBLE);
        world.settle();
        check_closed_at(&mut world, client, config().sign_in_deadline, CloseCode::HandshakeTimeout);
    }
}

#[test]
fn a_token_that_nobody_checks_holds_no_connection_open() {
    let mut world = World::new(1, 3);
    world.checks_held = true;
    let user = world.user_at(0, 0);
    let client = world.greet(0, user, 1);
    world.settle();
    check_closed_at(&mut world, client, config().sign_in_deadline, CloseCode::HandshakeTimeout);
    // The answer comes when nobody waits for it any more.
    world.checks_held = false;
    world.settle();
    assert_eq!(world.drivers[0].worker().shard().gauges().sessions, 0);
    world.clients[client].hang_up();
    world.pass(config().close_deadline);
    world.check_nothing_is_left();
}

/// What moves the deadline is read when the timer fires, and the timer fires once. Sockets take all
/// at once here: one that takes a part has a deadline for the rest.
#[test]
fn a_client_that_pings_moves_no_timer() {
    for seed in 0..SEEDS {
        let mut world = World::with(&Setup { faults: Faults::none(), ..Setup::new(1, seed) });
        let user = world.user_at(0, 0);
        let client = world.sign_in(0, user, 1);
        // Beyond what is remembered of the user's arrival.
        world.pass(config().ping_interval_tcp / 2);
        let due = world.drivers[0].worker().next_deadline().expect("who is signed in has a timer");
        assert!(due > world.now.mono + TICK, "seed {seed}: {due:?}");
        for nonce in 0..3 {
            world.say(client, &Command::Ping { nonce });
            world.pass(2 * TICK + Duration::from_secs(2));
            assert_eq!(world.clients[client].take(), [Event::Pong { nonce }], "seed {seed}");
            assert_eq!(world.drivers[0].worker().next_deadline(), Some(due), "seed {seed}");
        }
        world.pass(due - world.now.mono + TICK);
        assert_eq!(world.clients[client].take(), [], "seed {seed}: it has been heard");
        let next = world.drivers[0].worker().next_deadline().expect("it has a timer");
        assert!(next > due, "seed {seed}: {next:?}");
    }
}

#[test]
fn a_silent_client_is_pinged_and_lives_as_long_as_it_answers() {
    for seed in 0..SEEDS {
        let mut world = World::new(2, seed);
        let user = world.user_at(1, 0);
        let client = world.sign_in(0, user, 1);
        for _ in 0..5 {
            world.pass(config().ping_interval_tcp - TICK);
            assert_eq!(world.clients[client].take(), [], "not before the interval");
            world.pass(2 * TICK);
            let [Event::Ping { nonce }] = world.clients[client].take()[..] else {
                panic!("seed {seed}: one ping")
            };
            world.say(client, &Command::Pong { nonce });
            world.settle();
        }
        assert!(world.clients[client].is_connected());
    }
}

#[test]
fn a_client_that_leaves_the_ping_unanswered_is_closed_after_two_intervals() {
    for seed in 0..SEEDS {
        let mut world = World::new(1, seed);
        let user = world.user_at(0, 0);
        let client = world.sign_in(0, user, 1);
        check_closed_at(&mut world, client, config().ping_interval_tcp * 2, CloseCode::Silent);
    }
}

/// The far end is gone without a trace: it acknowledges nothing and says nothing.
#[test]
fn a_half_open_connection_costs_nothing_after_two_intervals() {
    for seed in 0..SEEDS {
        let mut world = World::new(2, seed);
        let user = world.user_at(0, 0);
        let client = world.sign_in(1, user, 1);
        world.clients[client].read_bytes = 0;
        world.pass(config().ping_interval_tcp * 2 + TICK);
        assert_eq!(world.drivers[0].worker().shard().gauges().sessions, 0, "the session is over");
        world.pass(config().close_deadline + TICK);
        world.check_nothing_is_left();
    }
}

#[test]
fn a_session_ends_with_its_token_unless_a_new_one_comes_in_place() {
    for seed in 0..SEEDS {
        let mut world = World::new(2, seed);
        let user = world.user_at(1, 0);
        let sign_in = |world: &mut World, device: u8| {
            let client = world.connect(0);
            let token = world.token(user, device, 60_000);
            world.clients[client].write(&hello(Credential::Token(token.into()), device, 0));
            client
        };
        let (ends, renews) = (sign_in(&mut world, 1), sign_in(&mut world, 2));
        world.settle();
        let told = world.clients[renews].take();
        let [Event::Welcome(welcome), ..] = &told[..] else { panic!("{told:?}") };
        assert_eq!(welcome.ticket_ttl_ms, 60_000, "the ticket ends with the token");
        world.pass(Duration::from_secs(59));
        let token = world.token(user, 2, 60_000);
        world.clients[renews].say(9, &Command::Auth { token: token.into() });
        world.settle();
        let renewed = world.clients[renews].heard.pop_front();
        assert!(matches!(renewed, Some((9, Event::Welcome(_)))), "{renewed:?}");
        // A jump of the wall clock ends nothing.
        world.now.wall_ms += 24 * 3_600_000;
        let deadline = Duration::from_secs(60);
        check_closed_at(&mut world, ends, deadline, CloseCode::SignInAgain);
        check_closed_at(&mut world, renews, 2 * deadline - Duration::from_secs(1), {
            CloseCode::SignInAgain
        });
    }
}

#[test]
fn a_closed_client_that_does_not_close_is_dropped_at_the_close_deadline() {
    let mut world = World::new(1, 4);
    let user = world.user_at(0, 0);
    let client = world.sign_in(0, user, 1);
    world.say(client, &Command::Bye);
    world.settle();
    assert_eq!(world.clients[client].close_code(), Some(CloseCode::Normal));
    assert_eq!(world.drivers[0].worker().gauges().open, 1, "the client has not closed yet");
    world.pass(config().close_deadline + TICK);
    world.check_nothing_is_left();
}

#[test]
fn a_reader_without_progress_is_dropped_and_one_with_a_little_is_not() {
    for seed in 0..SEEDS {
        let config = ConnectionConfig { progress_bytes_min: 512, ..config() };
        let interval = config.progress_interval;
        let mut world = World::with(&Setup { config, ..Setup::new(1, seed) });
        let (alice, bob) = (world.user_at(0, 0), world.user_at(0, 1));
        let a = world.sign_in(0, alice, 1);
        let (stalled, slow) = (world.sign_in(0, bob, 1), world.sign_in(0, bob, 2));
        for client in [stalled, slow] {
            world.clients[client].read_bytes = 0;
        }
        for number in 1..=60 {
            world.say(a, &crate::client::message(number, bob, &[7; 900]));
        }
        world.settle();
        for _ in 0..4 {
            world.pass(interval / 2);
            // A little more in each interval than it must.
            world.clients[slow].read_bytes = 600;
            world.round();
            world.clients[slow].read_bytes = 0;
            world.settle();
        }
        world.pass(TICK);
        assert_eq!(world.counters(0).closed.count(CloseCode::NoProgress), 1, "seed {seed}");
        assert_eq!(world.drivers[0].worker().shard().gauges().sessions, 2, "seed {seed}");
        world.clients[slow].read_on();
        world.settle();
        let seen = world.clients[slow].take().into_iter();
        let seen = seen.filter(|event| matches!(event, Event::NewMessage(_))).count();
        assert_eq!(seen, 60, "seed {seed}: everything that was accepted comes");
    }
}
