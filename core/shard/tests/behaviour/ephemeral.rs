//! What is never stored: delivered to who is connected, or dropped and counted.

use ringpost_wire::command::{SendMessage, intent};
use ringpost_wire::{Command, ErrorCode, Event as WireEvent};

use crate::world::{World, message};

#[test]
fn an_ephemeral_message_reaches_connected_devices_and_leaves_no_trace() {
    let mut world = World::new(2);
    let (alice, bob) = (world.user(0, 0), world.user(1, 0));
    let a = world.sign_in(alice, 1);
    let devices = [1, 2].map(|number| world.sign_in(bob, number));
    world.settle();
    world.told(a);
    let records = world.durable.len();
    let ephemeral = |to| SendMessage { ephemeral: true, ..message(1, to, b"ring ring") };
    world.command(a, 3, Command::SendMessage(ephemeral(bob)));
    world.settle();
    for device in devices {
        let told = world.messages(device);
        assert_eq!((told.len(), told[0].push, told[0].ephemeral), (1, 0, true));
        assert!(told[0].id.is_nil());
        assert_eq!((told[0].from, told[0].from_device.number()), (alice, 1));
        world.hang_up(device);
    }
    world.command(a, 4, Command::SendMessage(ephemeral(bob)));
    world.settle();
    assert!(world.told(a).is_empty(), "no `sent`, no error");
    assert_eq!(world.durable.len(), records);
    let counters = world.shards[1].counters();
    assert_eq!((counters.ephemeral_delivered, counters.ephemeral_dropped), (2, 1));
}

#[test]
fn an_outbox_without_room_drops_ephemera_first() {
    let mut world = World::new(1);
    let (alice, bob) = (world.user(0, 0), world.user(0, 1));
    let a = world.sign_in(alice, 1);
    world.room_bytes = 2000;
    let b = world.sign_in(bob, 1);
    world.settle();
    world.told(b);
    world.slow.insert(b);
    for _ in 0..5 {
        let message = SendMessage { ephemeral: true, ..message(1, bob, &[0; 300]) };
        world.command(a, 0, Command::SendMessage(message));
    }
    let delivered = world.messages(b).len() as u64;
    assert!((1..5).contains(&delivered));
    assert_eq!(world.shards[0].counters().ephemeral_dropped, 5 - delivered);
}

#[test]
fn ephemera_meet_the_size_limit_and_the_plain_text_policy() {
    let mut world = World::new(1);
    let (alice, bob) = (world.user(0, 0), world.user(0, 1));
    let a = world.sign_in(alice, 1);
    world.settle();
    let large = vec![0; 64 * 1024 + 1];
    let message = SendMessage { ephemeral: true, ..message(1, bob, &large) };
    world.command(a, 1, Command::SendMessage(message));
    assert_eq!(world.errors(a), [(1, ErrorCode::TooLarge)]);
}

#[test]
fn typing_is_told_to_those_who_asked_for_it() {
    let mut world = World::new(2);
    let (alice, bob) = (world.user(0, 0), world.user(1, 0));
    let a = world.sign_in(alice, 1);
    let listening = world.sign_in_as(bob, 1, |sign_in| sign_in.intents = intent::TYPING);
    let other = world.sign_in_as(bob, 2, |sign_in| sign_in.intents = intent::PRESENCE);
    world.settle();
    world.told(listening);
    world.told(other);
    world.command(a, 0, Command::Typing { to: bob, active: true });
    world.settle();
    assert_eq!(world.told(listening), [(0, WireEvent::Typing { from: alice, active: true })]);
    assert!(world.told(other).is_empty());
}
