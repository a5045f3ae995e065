//! Setup: several workers; a client signs in at one that is not its user's home. Action: the two
//! halves of its connection travel there, in either order, or never meet. Expectation: the session
//! goes on at home as if it had always been there, or everything is given back in time.

use std::time::Duration;

use ringpost_conn::{ConnectionConfig, Letter};
use ringpost_ring::Rings;
use ringpost_ring::fake::Faults;
use ringpost_wire::command::Credential;
use ringpost_wire::{CloseCode, Command, Event};

use crate::client::{encoded, hello, message};
use crate::world::{Setup, TICKET_TTL_MS, World};

const SEEDS: u64 = 20;

/// Whether the client was welcomed, and its ping behind the `hello` answered.
fn check_at_home(world: &mut World, client: usize, seed: u64) {
    let told = world.clients[client].take();
    let [Event::Welcome(_), rest @ ..] = &told[..] else { panic!("seed {seed}: {told:?}") };
    assert!(rest.contains(&Event::Pong { nonce: 77 }), "seed {seed}: {told:?}");
    let (here, there) = (&world.drivers[0], &world.drivers[1]);
    assert_eq!((here.worker().gauges().open, here.rings().slots_in_use()), (0, 0), "seed {seed}");
    assert_eq!((there.worker().gauges().open, there.rings().slots_in_use()), (1, 1), "seed {seed}");
    assert_eq!(world.counters(0).moved_out, 1);
    assert_eq!(world.counters(1).moved_in, 1);
}

/// A client of a user at home at worker 1 says hello to worker 0, and a ping right behind it.
fn greet_elsewhere(world: &mut World) -> usize {
    let user = world.user_at(1, 0);
    let client = world.greet(0, user, 1);
    world.say(client, &Command::Ping { nonce: 77 });
    client
}

#[test]
fn the_state_may_come_before_the_descriptor() {
    for seed in 0..SEEDS {
        let mut world = World::new(2, seed);
        world.drivers[1].ring_held = true;
        let client = greet_elsewhere(&mut world);
        world.settle();
        assert!(world.clients[client].heard.is_empty());
        assert_eq!(world.drivers[1].worker().gauges().arriving, 1, "seed {seed}: the state waits");
        world.drivers[1].ring_held = false;
        world.settle();
        check_at_home(&mut world, client, seed);
    }
}

#[test]
fn the_descriptor_may_come_before_the_state() {
    for seed in 0..SEEDS {
        let mut world = World::new(2, seed);
        world.mailboxes[1].held = true;
        let client = greet_elsewhere(&mut world);
        world.settle();
        assert!(world.clients[client].heard.is_empty());
        assert_eq!(world.drivers[1].worker().gauges().arriving, 1, "seed {seed}: the slot waits");
        world.mailboxes[1].held = false;
        world.settle();
        check_at_home(&mut world, client, seed);
    }
}

#[test]
fn bytes_behind_the_hello_survive_the_move_in_any_pieces() {
    for seed in 0..SEEDS {
        let mut world = World::new(3, seed);
        let (alice, bob) = (world.user_at(2, 0), world.user_at(1, 0));
        let b = world.sign_in(1, bob, 1);
        let a = world.greet(0, alice, 1);
        // A frame that is cut by the hello's receive, and more than one buffer of them.
        for number in 1..=40 {
            world.say(a, &message(number, bob, &[number as u8; 100]));
        }
        world.settle();
        let told = world.clients[a].take();
        assert!(matches!(told.first(), Some(Event::Welcome(_))), "seed {seed}");
        let bodies: Vec<_> = world.clients[b].take().into_iter().filter_map(body).collect();
        assert_eq!(bodies, (1..=40).collect::<Vec<u8>>(), "seed {seed}: in order, none lost");
    }
}

fn body(event: Event) -> Option<u8> {
    match event {
        Event::NewMessage(message) => Some(message.body[0]),
        _ => None,
    }
}

#[test]
fn a_descriptor_whose_state_never_comes_is_closed_at_the_deadline() {
    for seed in 0..SEEDS {
        let mut world = World::new(2, seed);
        world.mailboxes[1].held = true;
        let client = greet_elsewhere(&mut world);
        world.settle();
        let lost = world.mailboxes[1].letters.pop_front();
        assert!(matches!(lost, Some(Letter::Arriving(_))), "{lost:?}");
        world.mailboxes[1].held = false;
        let deadline = ConnectionConfig::default().move_deadline;
        world.pass(deadline - Duration::from_millis(1));
        assert!(world.clients[client].is_connected(), "seed {seed}");
        world.pass(Duration::from_millis(1));
        assert!(!world.clients[client].is_connected(), "seed {seed}");
        assert_eq!(world.counters(1).moves_expired, 1);
        world.check_nothing_is_left();
    }
}

#[test]
fn a_state_whose_descriptor_never_comes_is_forgotten_at_the_deadline() {
    let mut world = World::new(2, 1);
    world.mailboxes[1].held = true;
    let client = greet_elsewhere(&mut world);
    world.settle();
    let Some(Letter::Arriving(mut arriving)) = world.mailboxes[1].letters.pop_front() else {
        panic!("the state is in the mailbox")
    };
    // No descriptor carries this token.
    arriving.token += 1;
    world.mailboxes[1].letters.push_back(Letter::Arriving(arriving));
    world.mailboxes[1].held = false;
    world.settle();
    assert_eq!(world.drivers[1].worker().gauges().arriving, 2);
    world.pass(ConnectionConfig::default().move_deadline);
    assert!(!world.clients[client].is_connected());
    assert_eq!(world.counters(1).moves_expired, 2);
    world.check_nothing_is_left();
}

/// The table of the home is full: the client is told to come back, and may.
#[test]
fn a_home_without_a_slot_sends_the_client_away_with_try_later() {
    for seed in 0..SEEDS {
        let mut world = World::with(&Setup { slots: 2, ..Setup::new(2, seed) });
        let held: Vec<_> = (0..2)
            .map(|nth| {
                let user = world.user_at(1, nth + 1);
                world.sign_in(1, user, 1)
            })
            .collect();
        let client = greet_elsewhere(&mut world);
        world.settle();
        assert_eq!(world.clients[client].close_code(), Some(CloseCode::TryLater), "seed {seed}");
        assert_eq!(world.counters(0).moves_failed, 1);
        world.clients[client].hang_up();
        world.clients[held[0]].hang_up();
        world.settle();
        let client = greet_elsewhere(&mut world);
        world.settle();
        assert!(matches!(world.clients[client].take()[..], [Event::Welcome(_), ..]));
    }
}

/// Moves that the kernel refuses, half of them after it has filled the slot at the target.
#[test]
fn refused_moves_give_everything_back() {
    let faults = Faults { fail_move: 200, ..Faults::gentle() };
    for seed in 0..SEEDS {
        let config = ConnectionConfig { moves_max: 1, ..ConnectionConfig::default() };
        let mut world = World::with(&Setup { faults, config, ..Setup::new(2, seed) });
        let mut welcomed = 0;
        for _ in 0..10 {
            let client = greet_elsewhere(&mut world);
            world.settle();
            match world.clients[client].close_code() {
                Some(code) => assert_eq!(code, CloseCode::TryLater, "seed {seed}"),
                None => welcomed += 1,
            }
            world.clients[client].hang_up();
            world.settle();
        }
        assert_eq!(world.counters(0).moves_failed + welcomed, 10, "seed {seed}");
        world.check_nothing_is_left();
    }
}

#[test]
fn no_more_connections_are_on_the_move_than_the_limit_says() {
    let config = ConnectionConfig { moves_max: 2, ..ConnectionConfig::default() };
    let mut world = World::with(&Setup { config, faults: Faults::none(), ..Setup::new(2, 1) });
    let clients: Vec<_> = (0..5)
        .map(|nth| {
            let user = world.user_at(1, nth);
            let client = world.connect(0);
            let identity = world.token(user, 1, TICKET_TTL_MS);
            world.clients[client].write(&hello(Credential::Token(identity.into()), 1, 0));
            client
        })
        .collect();
    world.checks_held = true;
    world.settle();
    // All are checked in one turn.
    world.checks_held = false;
    world.settle();
    let told = |world: &World, client: usize| world.clients[client].close_code();
    let sent_away = clients.iter().filter(|&&client| told(&world, client).is_some()).count();
    assert_eq!((sent_away, world.counters(0).moved_out), (3, 2));
    let later = |&client: &usize| told(&world, client).is_none_or(|it| it == CloseCode::TryLater);
    assert!(clients.iter().all(later));
}

/// A letter is kept by its sender while the home's mailbox is full.
#[test]
fn a_full_mailbox_keeps_the_state_at_its_sender() {
    let mut world = World::new(2, 5);
    world.mailboxes[1].letters_max = 0;
    let client = greet_elsewhere(&mut world);
    world.settle();
    assert!(!world.drivers[0].is_settled() && world.clients[client].heard.is_empty());
    world.mailboxes[1].letters_max = 1;
    world.settle();
    check_at_home(&mut world, client, 5);
}

/// A frame of the WebSocket kind of handshake is covered by the walk; here the binary decoder's
/// state itself is cut in a header.
#[test]
fn half_a_frame_behind_the_hello_is_completed_at_home() {
    for seed in 0..SEEDS {
        let mut world = World::new(2, seed);
        let user = world.user_at(1, 0);
        let client = world.greet(0, user, 1);
        let ping = encoded(9, &Command::Ping { nonce: 5 });
        world.clients[client].write(&ping[..3]);
        world.settle();
        assert!(matches!(world.clients[client].take()[..], [Event::Welcome(_), ..]));
        world.clients[client].write(&ping[3..]);
        world.settle();
        assert_eq!(world.clients[client].heard.pop_front(), Some((9, Event::Pong { nonce: 5 })));
    }
}
