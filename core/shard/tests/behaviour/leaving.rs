//! A client that has said its last. Setup: Alice asks something and leaves before it is answered.
//! Action: what she asked for is decided, one way or another. Expectation: she is told, pushed
//! nothing meanwhile, and let go when nothing is owed; who is owed nothing is let go at once.

use ringpost_shard::Event;
use ringpost_shard::event::ConnectionKey;
use ringpost_wire::command::{ClientStatus, Named};
use ringpost_wire::{CloseCode, ErrorCode, Event as WireEvent, ServerId, UserId};

use crate::world::{Step, World};

/// Alice and Bob are connected, each at home on a worker of their own.
fn pair() -> (World, ConnectionKey, ConnectionKey, [UserId; 2]) {
    let mut world = World::new(2);
    let (alice, bob) = (world.user(0, 0), world.user(1, 0));
    let (a, b) = (world.sign_in(alice, 1), world.sign_in(bob, 1));
    world.settle();
    world.told(a);
    world.told(b);
    (world, a, b, [alice, bob])
}

fn leave(world: &mut World, connection: ConnectionKey) {
    let worker = world.connections[&connection].worker;
    world.handle(worker, Event::Leaving { connection });
}

#[test]
fn who_is_owed_nothing_is_let_go_at_once() {
    let (mut world, a, _, _) = pair();
    leave(&mut world, a);
    assert_eq!(world.closed(a), Some(CloseCode::Normal));
    assert_eq!(world.shards[0].gauges().sessions, 0);
}

#[test]
fn who_leaves_behind_a_send_is_told_what_became_of_it() {
    for refused in [false, true] {
        let (mut world, a, _, [_, bob]) = pair();
        let to = if refused { world.user(1, 9) } else { bob };
        world.send(a, 7, 1, to, b"the last word");
        leave(&mut world, a);
        assert_eq!(world.closed(a), None);
        world.settle();
        let told = world.told(a);
        match &told[..] {
            [(7, WireEvent::Receipt(_))] => assert!(!refused),
            [(7, WireEvent::Error(error))] => {
                assert!(refused && error.code == ErrorCode::UnknownRecipient);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(world.closed(a), Some(CloseCode::Normal));
    }
}

#[test]
fn all_that_was_asked_is_answered_before() {
    let (mut world, a, _, [_, bob]) = pair();
    for number in 1..=3 {
        world.send(a, number as u16, number, bob, b"x");
    }
    leave(&mut world, a);
    world.settle_without_commits();
    world.step(Step::Commit);
    world.settle_without_commits();
    assert_eq!((world.receipts(a).len(), world.closed(a)), (1, None));
    world.settle();
    assert_eq!((world.receipts(a).len(), world.closed(a)), (2, Some(CloseCode::Normal)));
}

#[test]
fn nothing_is_pushed_to_who_leaves_and_it_waits_for_the_next_connection() {
    let (mut world, a, b, [alice, bob]) = pair();
    world.send(a, 7, 1, bob, b"the last word");
    leave(&mut world, a);
    world.send(b, 0, 1, alice, b"it comes too late");
    world.settle();
    assert!(matches!(world.told(a)[..], [(7, WireEvent::Receipt(_))]));
    let again = world.sign_in(alice, 1);
    world.settle();
    assert_eq!(world.messages(again).len(), 1);
}

#[test]
fn what_waits_for_the_store_is_owed_with_and_without_an_answer() {
    for refused in [true, false] {
        let (mut world, a, b, [alice, _]) = pair();
        world.send(b, 0, 1, alice, b"x");
        world.settle();
        let id = world.messages(a)[0].id;
        world.ack(a, 1);
        world.settle();
        let named = if refused { ServerId([9; 16]) } else { id };
        world.receipt(a, 5, Named::Id(named), ClientStatus::Read);
        leave(&mut world, a);
        assert_eq!(world.closed(a), None);
        world.settle();
        let errors = if refused { vec![(5, ErrorCode::UnknownMessage)] } else { Vec::new() };
        assert_eq!(world.errors(a), errors);
        assert_eq!(world.closed(a), Some(CloseCode::Normal));
    }
}

#[test]
fn a_later_connection_of_the_device_gets_the_answers_that_are_owed() {
    let (mut world, a, _, [alice, bob]) = pair();
    world.send(a, 7, 1, bob, b"the last word");
    leave(&mut world, a);
    let again = world.sign_in(alice, 1);
    assert_eq!(world.closed(a), Some(CloseCode::Displaced));
    world.settle();
    assert_eq!(world.receipts(again).len(), 1);
}
