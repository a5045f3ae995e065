//! Setup: a disk that is stuck: what is committed does not become durable. Action: one client sends
//! messages that are kept, and waits; meanwhile the other connections of the same workers ping, write
//! ephemeral messages, sign in and leave. Expectation: all of these are served as if nothing were the
//! matter, and once the disk goes on the messages are sent, pushed and acknowledged.

use ringpost_wire::event::Status;
use ringpost_wire::{Command, Event};

use crate::client::{ephemeral, message};
use crate::world::World;

const SEEDS: u64 = 50;
const MESSAGES: u64 = 20;

fn sent(told: &[Event]) -> usize {
    let is_sent = |event: &&Event| matches!(event, Event::Receipt(it) if it.status == Status::Sent);
    told.iter().filter(is_sent).count()
}

#[test]
fn a_commit_that_takes_for_ever_holds_up_none_but_its_own_sender() {
    for seed in 1..=SEEDS {
        let mut world = World::new(2, seed);
        let (alice, bob) = (world.user_at(0, 0), world.user_at(1, 0));
        let (carol, dave) = (world.user_at(0, 1), world.user_at(1, 1));
        let known = world.user_at(0, 2);
        let sender = world.sign_in(0, alice, 1);
        let receiver = world.sign_in(1, bob, 1);
        let (talker, listener) = (world.sign_in(0, carol, 1), world.sign_in(1, dave, 1));
        let leaver = world.sign_in(0, known, 1);
        world.clients[leaver].hang_up();
        world.settle();
        world.journal.held = true;
        for number in 1..=MESSAGES {
            world.say(sender, &message(number, bob, b"kept"));
        }
        world.settle();
        assert_eq!(sent(&world.clients[sender].take()), 0, "nothing is durable");
        for nonce in 1..=MESSAGES {
            world.say(talker, &Command::Ping { nonce });
            world.say(talker, &ephemeral(nonce, dave));
            // The sender's own connection is not held up either.
            world.say(sender, &Command::Ping { nonce });
        }
        let returned = world.greet(0, known, 1);
        world.settle();
        let count = |told: &[Event], wanted: fn(&Event) -> bool| {
            told.iter().filter(|event| wanted(event)).count() as u64
        };
        let pongs = |event: &Event| matches!(event, Event::Pong { .. });
        let messages = |event: &Event| matches!(event, Event::NewMessage(_));
        for client in [talker, sender] {
            let told = world.clients[client].take();
            assert_eq!(count(&told, pongs), MESSAGES, "seed {seed}: {told:?}");
        }
        let told = world.clients[listener].take();
        assert_eq!(count(&told, messages), MESSAGES, "seed {seed}: {told:?}");
        let told = world.clients[returned].take();
        assert!(matches!(told.first(), Some(Event::Welcome(_))), "seed {seed}: {told:?}");
        assert_eq!(count(&world.clients[receiver].take(), messages), 0, "nothing is pushed yet");
        world.journal.held = false;
        world.settle();
        assert_eq!(sent(&world.clients[sender].take()) as u64, MESSAGES, "seed {seed}");
        assert_eq!(count(&world.clients[receiver].take(), messages), MESSAGES, "seed {seed}");
    }
}
