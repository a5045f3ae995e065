//! Setup: sessions, handshakes and moves of two workers. Action: both are told to drain.
//! Expectation: accepting stops at once, sessions hear `goaway` and may finish, and by the deadline
//! nobody is left, also nobody who was on the way from one worker to the other.

use std::time::Duration;

use ringpost_conn::{ConnectionConfig, Letter};
use ringpost_wire::command::Credential;
use ringpost_wire::frame::PREAMBLE;
use ringpost_wire::{CloseCode, Command, Event};

use crate::client::{End, hello, message};
use crate::world::World;

const SEEDS: u64 = 15;

fn drain(world: &mut World) {
    for mailbox in &mut world.mailboxes {
        mailbox.letters.push_back(Letter::Drain);
    }
    world.settle();
}

fn deadline() -> Duration {
    let config = ConnectionConfig::default();
    config.drain_deadline + config.close_deadline + Duration::from_millis(500)
}

fn check_drained(world: &World) {
    world.check_nothing_is_left();
    assert!(world.drivers.iter().all(|driver| driver.worker().is_drained()));
}

#[test]
fn sessions_are_told_and_may_finish_and_nobody_new_comes_in() {
    for seed in 0..SEEDS {
        let mut world = World::new(2, seed);
        let (alice, bob) = (world.user_at(0, 0), world.user_at(1, 0));
        let (a, b) = (world.sign_in(1, alice, 1), world.sign_in(1, bob, 1));
        let waiting = world.connect(0);
        world.clients[waiting].write(&PREAMBLE);
        world.settle();
        drain(&mut world);
        for client in [a, b] {
            let told = world.clients[client].take();
            let [Event::GoAway { code, reconnect_after_ms }] = told[..] else {
                panic!("seed {seed}: {told:?}")
            };
            assert_eq!(code, CloseCode::GoingAway);
            assert!(reconnect_after_ms < 10_000);
        }
        let code = world.clients[waiting].close_code();
        assert_eq!(code, Some(CloseCode::GoingAway), "who has no session is closed at once");
        let refused = world.connect(0);
        world.settle();
        assert_eq!(world.clients[refused].end, Some(End::Reset));
        // Sessions go on until they leave.
        world.say(a, &message(1, bob, b"a last one"));
        world.settle();
        assert!(matches!(world.clients[a].take()[..], [Event::Receipt(_)]), "seed {seed}");
        assert!(matches!(world.clients[b].take()[..], [Event::NewMessage(_)]), "seed {seed}");
        world.say(a, &Command::Bye);
        world.settle();
        assert_eq!(world.clients[a].close_code(), Some(CloseCode::Normal));
        [a, waiting].iter().for_each(|&client| world.clients[client].hang_up());
        world.pass(ConnectionConfig::default().drain_deadline + Duration::from_millis(500));
        let code = world.clients[b].close_code();
        assert_eq!(code, Some(CloseCode::GoingAway), "who stays is closed at the deadline");
        world.pass(ConnectionConfig::default().close_deadline);
        check_drained(&world);
    }
}

#[test]
fn a_drain_ends_as_soon_as_the_last_client_has_left() {
    let mut world = World::new(2, 3);
    let user = world.user_at(0, 0);
    let client = world.sign_in(1, user, 1);
    drain(&mut world);
    assert!(!world.drivers[0].worker().is_drained());
    world.clients[client].hang_up();
    world.settle();
    check_drained(&world);
}

/// In every moment of its way a connection is found by the drain, or by its end.
#[test]
fn who_is_on_the_move_is_gone_by_the_deadline() {
    for seed in 0..4 * SEEDS {
        for rounds in 0..25 {
            let mut world = World::new(2, seed);
            let user = world.user_at(1, 0);
            let client = world.greet(0, user, 1);
            for _ in 0..rounds {
                world.round();
            }
            drain(&mut world);
            world.pass(deadline());
            let told = world.clients[client].take();
            assert!(
                !world.clients[client].is_connected(),
                "seed {seed}, drained after {rounds} rounds: {told:?}"
            );
            check_drained(&world);
        }
    }
}

#[test]
fn a_connection_that_comes_home_after_the_drain_is_sent_away() {
    for seed in 0..SEEDS {
        let mut world = World::new(2, seed);
        let user = world.user_at(1, 0);
        world.mailboxes[1].held = true;
        let client = world.greet(0, user, 1);
        world.settle();
        world.mailboxes[1].letters.push_front(Letter::Drain);
        world.mailboxes[0].letters.push_back(Letter::Drain);
        world.mailboxes[1].held = false;
        world.settle();
        assert_eq!(world.clients[client].close_code(), Some(CloseCode::GoingAway), "seed {seed}");
        world.clients[client].hang_up();
        world.pass(deadline());
        check_drained(&world);
    }
}

/// The shard takes a sign-in in one turn and is told of the end in the same turn: what it answered
/// must not open the connection again.
#[test]
fn a_sign_in_that_meets_the_drain_is_welcomed_or_ended_and_never_both() {
    let (mut welcomed, mut ended) = (0, 0);
    for seed in 0..SEEDS {
        for rounds in 0..12 {
            let mut world = World::new(1, seed);
            let user = world.user_at(0, 0);
            let first = world.greet(0, user, 1);
            world.settle();
            let told = world.clients[first].take();
            let [Event::Welcome(welcome), ..] = &told[..] else { panic!("{told:?}") };
            let client = world.connect(0);
            let ticket = Credential::Ticket(welcome.ticket.to_vec().into());
            world.clients[client].write(&hello(ticket, 1, 0));
            for _ in 0..rounds {
                world.round();
            }
            drain(&mut world);
            let is_welcome = |(_, event): &(u16, Event)| matches!(event, Event::Welcome(_));
            let heard = &world.clients[client].heard;
            if heard.iter().any(is_welcome) {
                assert!(heard.iter().any(|(_, event)| matches!(event, Event::GoAway { .. })));
                welcomed += 1;
            } else {
                let end = world.clients[client].end;
                assert!(end.is_some(), "seed {seed}, drained after {rounds} rounds: still open");
                ended += 1;
            }
        }
    }
    assert!(welcomed > 0 && ended > 0, "{welcomed} welcomed, {ended} ended");
}
