//! Setup: two connections of one device, accepted one after the other, at the same or at different
//! workers. Action: they sign in, in either order. Expectation: the one accepted later stays; the
//! other is closed with its own code, and what it was told before counts.

use std::time::Duration;

use ringpost_wire::command::Credential;
use ringpost_wire::{CloseCode, Command, Event};

use crate::client::{hello, message};
use crate::world::{TICKET_TTL_MS, World};

const SEEDS: u64 = 15;

#[test]
fn the_connection_accepted_later_wins_in_either_order_of_signing_in() {
    for (seed, later_first) in (0..SEEDS).flat_map(|seed| [(seed, false), (seed, true)]) {
        let mut world = World::new(3, seed);
        let user = world.user_at(2, 0);
        let token = world.token(user, 1, TICKET_TTL_MS);
        let earlier = world.connect(0);
        world.settle();
        world.pass(Duration::from_millis(5));
        let later = world.connect(1);
        world.settle();
        let order = if later_first { [later, earlier] } else { [earlier, later] };
        for client in order {
            let credential = Credential::Token(token.as_str().into());
            world.clients[client].write(&hello(credential, 1, 0));
            world.settle();
        }
        let code = world.clients[earlier].close_code();
        assert_eq!(code, Some(CloseCode::Displaced), "seed {seed}, later first: {later_first}");
        assert_eq!(CloseCode::Displaced.number(), 4409);
        assert!(world.clients[later].is_connected());
        assert_eq!(world.clients[later].close_code(), None);
        world.say(later, &Command::Ping { nonce: 3 });
        world.settle();
        assert!(world.clients[later].take().contains(&Event::Pong { nonce: 3 }));
        assert_eq!(world.drivers[2].worker().shard().gauges().sessions, 1);
    }
}

/// What the displaced connection sent and was not yet durable stays in flight, and its answer goes
/// to the device's present connection; unread input is discarded.
#[test]
fn commits_of_the_displaced_connection_are_answered_on_the_new_one() {
    for seed in 0..SEEDS {
        let mut world = World::new(2, seed);
        let (alice, bob) = (world.user_at(0, 0), world.user_at(1, 0));
        let (old, b) = (world.sign_in(0, alice, 1), world.sign_in(1, bob, 1));
        world.journal.held = true;
        world.say(old, &message(1, bob, b"on its way"));
        world.settle();
        world.pass(Duration::from_millis(5));
        let new = world.greet(1, alice, 1);
        world.settle();
        assert_eq!(world.clients[old].close_code(), Some(CloseCode::Displaced));
        world.say(old, &message(2, bob, b"too late"));
        world.journal.held = false;
        world.settle();
        let told = world.clients[new].take();
        let sent = told.iter().filter(|event| matches!(event, Event::Receipt(_))).count();
        assert_eq!(sent, 1, "seed {seed}: {told:?}");
        let seen = world.clients[b].take().into_iter();
        let seen = seen.filter(|event| matches!(event, Event::NewMessage(_))).count();
        assert_eq!(seen, 1, "seed {seed}");
    }
}
