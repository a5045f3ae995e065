//! Acks and receipts from clients: what they move, what they may not touch.

use ringpost_shard::Event;
use ringpost_shard::event::ConnectionKey;
use ringpost_wire::command::{ClientStatus, Named};
use ringpost_wire::event::{NewMessage, Status};
use ringpost_wire::{DeviceId, ErrorCode, ServerId, UserId};

use crate::world::{Step, World, message_id};

/// Alice has sent `count` messages to Bob, who was pushed them.
fn pushed(count: u64) -> (World, ConnectionKey, ConnectionKey, Vec<NewMessage>) {
    let mut world = World::new(2);
    let (alice, bob) = (world.user(0, 0), world.user(1, 0));
    let (a, b) = (world.sign_in(alice, 1), world.sign_in(bob, 1));
    world.settle();
    for number in 1..=count {
        world.send(a, 0, number, bob, b"x");
    }
    world.settle();
    world.told(a);
    let messages = world.messages(b);
    (world, a, b, messages)
}

#[test]
fn abuse_row_28_an_ack_of_what_was_never_pushed_is_refused_and_changes_nothing() {
    let (mut world, a, b, _) = pushed(2);
    for push in [3, u64::MAX] {
        world.ack(b, push);
        assert_eq!(world.errors(b), [(0, ErrorCode::UnknownPush)], "push {push}");
    }
    // What nothing was pushed under is below everything.
    world.ack(b, 0);
    assert!(world.errors(b).is_empty());
    world.settle();
    assert!(world.receipts(a).is_empty());
    world.ack(b, 2);
    world.ack(b, 2);
    world.ack(b, 1);
    world.ack(b, 0);
    world.settle();
    assert!(world.errors(b).is_empty(), "a repeated ack does nothing");
    assert_eq!(world.receipts(a).len(), 1);
}

#[test]
fn an_ack_is_cumulative_and_tells_the_sender_of_the_last_one() {
    let (mut world, a, b, messages) = pushed(3);
    world.ack(b, 2);
    world.settle();
    assert_eq!(world.receipts(a), [(1, Status::Delivered, messages[1].id, 0)]);
}

#[test]
fn acks_that_come_while_one_is_on_the_way_go_together() {
    let (mut world, _, b, _) = pushed(5);
    for push in 1..=5 {
        world.ack(b, push);
    }
    assert_eq!(world.submitted(), 1, "the first record; the others follow in one");
    let before = world.durable.len();
    world.settle();
    assert_eq!(world.durable.len() - before, 2);
}

#[test]
fn delivered_out_of_turn_moves_the_cursor_only_when_the_older_ones_are_acked() {
    let (mut world, a, b, messages) = pushed(4);
    for at in [1, 2] {
        world.receipt(b, 0, Named::Id(messages[at].id), ClientStatus::Delivered);
        world.settle();
    }
    assert!(world.receipts(a).is_empty());
    world.receipt(b, 0, Named::MessageId(message_id(1)), ClientStatus::Delivered);
    world.settle();
    assert_eq!(world.receipts(a), [(1, Status::Delivered, messages[2].id, 0)]);
    // The fourth is the only one left.
    world.hang_up(b);
    let bob = world.user(1, 0);
    let b = world.sign_in(bob, 1);
    world.settle();
    assert_eq!(world.messages(b).iter().map(|left| left.id).collect::<Vec<_>>(), [messages[3].id]);
}

#[test]
fn what_was_acked_out_of_turn_is_not_pushed_again_after_a_restart() {
    let (mut world, _, b, messages) = pushed(3);
    world.receipt(b, 0, Named::Id(messages[1].id), ClientStatus::Delivered);
    world.settle();
    world.crash(2, 0);
    let (alice, bob) = (world.user(0, 0), world.user(1, 0));
    let b = world.sign_in(bob, 1);
    world.settle();
    let left: Vec<_> = world.messages(b).iter().map(|message| message.id).collect();
    assert_eq!(left, [messages[0].id, messages[2].id]);
    world.ack(b, 1);
    world.ack(b, 0);
    world.settle();
    let a = world.sign_in(alice, 1);
    world.settle();
    assert_eq!(world.receipts(a)[0].2, messages[1].id, "the marked one left with the first");
}

#[test]
fn read_moves_the_reading_cursor_and_acks_nothing() {
    let (mut world, a, b, messages) = pushed(2);
    world.receipt(b, 0, Named::MessageId(message_id(2)), ClientStatus::Read);
    world.settle();
    assert_eq!(world.receipts(a), [(1, Status::Read, messages[1].id, 0)]);
    world.receipt(b, 0, Named::Id(messages[0].id), ClientStatus::Read);
    world.receipt(b, 0, Named::Id(messages[1].id), ClientStatus::Read);
    world.settle();
    assert!(world.receipts(a).is_empty(), "never back, never twice");
    world.ack(b, 2);
    world.settle();
    assert_eq!(world.receipts(a).len(), 1, "delivered");
}

#[test]
fn read_after_delivered_may_name_the_message_by_the_senders_id_alone() {
    let (mut world, a, b, messages) = pushed(1);
    world.receipt(b, 0, Named::MessageId(message_id(1)), ClientStatus::Delivered);
    world.settle();
    world.receipt(b, 0, Named::MessageId(message_id(1)), ClientStatus::Delivered);
    world.receipt(b, 0, Named::MessageId(message_id(1)), ClientStatus::Read);
    world.settle();
    assert!(world.errors(b).is_empty());
    let receipts = world.receipts(a);
    let told: Vec<_> = receipts.iter().map(|receipt| (receipt.1, receipt.2)).collect();
    let id = messages[0].id;
    assert_eq!(told, [(Status::Delivered, id), (Status::Read, id)]);
}

#[test]
fn read_by_id_of_a_message_of_old_is_verified_in_the_store() {
    let (mut world, a, b, messages) = pushed(1);
    world.ack(b, 1);
    world.ack(b, 0);
    world.settle();
    world.told(a);
    world.crash(2, 0);
    let (alice, bob) = (world.user(0, 0), world.user(1, 0));
    let (a, b) = (world.sign_in(alice, 1), world.sign_in(bob, 1));
    world.settle();
    world.told(a);
    world.receipt(b, 3, Named::Id(messages[0].id), ClientStatus::Read);
    world.settle();
    assert!(world.errors(b).is_empty());
    assert_eq!(world.receipts(a).last().map(|receipt| receipt.1), Some(Status::Read));
}

#[test]
fn abuse_row_27_receipts_of_other_peoples_messages_are_all_refused_alike() {
    let (mut world, a, _, messages) = pushed(2);
    let mallory: UserId = world.user(1, 5);
    let m = world.sign_in(mallory, 1);
    world.settle();
    world.told(m);
    let foreign = messages[0].id;
    let nothing = ServerId([3; 16]);
    let names = [
        Named::Id(foreign),
        Named::Id(nothing),
        Named::MessageId(message_id(1)),
        Named::MessageId(message_id(77)),
    ];
    for status in [ClientStatus::Delivered, ClientStatus::Read] {
        for name in names {
            world.receipt(m, 4, name, status);
            world.settle();
            let told = world.told(m);
            assert_eq!(told.len(), 1, "{name:?} {status:?}");
            let ringpost_wire::Event::Error(error) = &told[0].1 else { panic!("{told:?}") };
            assert_eq!((error.code, error.id.is_nil()), (ErrorCode::UnknownMessage, true));
        }
    }
    // Nor does the sender read or deliver what he sent himself.
    for status in [ClientStatus::Delivered, ClientStatus::Read] {
        world.receipt(a, 4, Named::Id(foreign), status);
        world.settle();
        assert_eq!(world.errors(a), [(4, ErrorCode::UnknownMessage)]);
    }
    assert!(world.truth.cursors.is_empty());
}

#[test]
fn a_name_that_fits_several_messages_is_ambiguous() {
    let (mut world, _, b, _) = pushed(1);
    let (carol, bob) = (world.user(0, 3), world.user(1, 0));
    let c = world.sign_in(carol, 1);
    world.settle();
    world.send(c, 0, 1, bob, b"same name");
    world.settle();
    for status in [ClientStatus::Delivered, ClientStatus::Read] {
        world.receipt(b, 5, Named::MessageId(message_id(1)), status);
        assert_eq!(world.errors(b), [(5, ErrorCode::Ambiguous)]);
    }
}

#[test]
fn a_newer_receipt_replaces_one_that_waits_for_an_absent_sender() {
    let (mut world, a, b, messages) = pushed(2);
    world.hang_up(a);
    for push in 1..=2 {
        world.ack(b, push);
        world.settle();
    }
    let alice = world.user(0, 0);
    let a = world.sign_in(alice, 1);
    world.settle();
    assert_eq!(world.receipts(a), [(1, Status::Delivered, messages[1].id, 0)]);
}

#[test]
fn a_second_device_that_acks_later_tells_the_sender_nothing_older() {
    let mut world = World::new(1);
    let (alice, bob) = (world.user(0, 0), world.user(0, 1));
    let a = world.sign_in(alice, 1);
    let devices = [1, 2].map(|number| world.sign_in(bob, number));
    world.settle();
    for number in 1..=2 {
        world.send(a, 0, number, bob, b"x");
    }
    world.settle();
    world.told(a);
    world.ack(devices[0], 2);
    world.settle();
    assert_eq!(world.receipts(a).len(), 1);
    world.ack(a, 1);
    world.ack(devices[1], 1);
    world.settle();
    assert!(world.receipts(a).is_empty());
}

/// Bob's first device has acked and read the second of three messages, his second device none;
/// then the server is restarted, and nothing is held of anybody.
fn forgotten() -> (World, [ConnectionKey; 3], Vec<NewMessage>) {
    let mut world = World::new(2);
    let (alice, bob) = (world.user(0, 0), world.user(1, 0));
    let sign_in = |world: &mut World| {
        let connections = [(alice, 1), (bob, 1), (bob, 2)];
        let connections = connections.map(|(user, device)| world.sign_in(user, device));
        world.settle();
        connections
    };
    let [a, b, _] = sign_in(&mut world);
    for number in 1..=3 {
        world.send(a, 0, number, bob, b"x");
    }
    world.settle();
    world.told(a);
    let messages = world.messages(b);
    world.ack(b, 2);
    world.receipt(b, 0, Named::Id(messages[1].id), ClientStatus::Read);
    world.settle();
    assert_eq!(world.receipts(a).len(), 2);
    world.ack(a, 2);
    world.settle();
    world.crash(2, 0);
    let connections = sign_in(&mut world);
    connections.iter().for_each(|&connection| drop(world.told(connection)));
    (world, connections, messages)
}

#[test]
fn a_second_device_that_acks_after_a_restart_tells_the_sender_nothing_older() {
    let (mut world, [a, _, second], messages) = forgotten();
    for push in 1..=2 {
        world.ack(second, push);
        world.settle();
        assert!(world.receipts(a).is_empty(), "push {push}");
    }
    world.ack(second, 3);
    world.settle();
    assert_eq!(world.receipts(a), [(1, Status::Delivered, messages[2].id, 0)]);
}

#[test]
fn what_was_read_before_a_restart_is_not_told_again() {
    let (mut world, [a, first, second], messages) = forgotten();
    // The second device still has all of them in its queue, the first device the third alone.
    for reader in [second, first] {
        let before = world.durable.len();
        for message in &messages[..2] {
            world.receipt(reader, 0, Named::Id(message.id), ClientStatus::Read);
            world.settle();
        }
        assert_eq!(world.durable.len(), before, "no record");
        assert!(world.errors(reader).is_empty() && world.receipts(a).is_empty());
    }
    // No queue has the third once it is acked: only the store knows who sent it.
    world.ack(second, 3);
    world.ack(first, 1);
    world.settle();
    world.told(a);
    for (message, told) in messages.iter().zip([0, 0, 1]) {
        world.receipt(first, 0, Named::Id(message.id), ClientStatus::Read);
        world.settle();
        assert_eq!(world.receipts(a).len(), told, "{message:?}");
    }
}

#[test]
fn a_read_is_verified_again_if_what_moved_meanwhile_was_forgotten() {
    let mut world = World::new(1);
    let (alice, bob) = (world.user(0, 0), world.user(0, 1));
    let a = world.sign_in(alice, 1);
    let devices = [1, 2].map(|number| world.sign_in(bob, number));
    world.settle();
    for number in 1..=2 {
        world.send(a, 0, number, bob, b"x");
    }
    world.settle();
    let messages = world.messages(devices[0]);
    devices.iter().for_each(|&device| world.ack(device, 2));
    world.settle();
    // The store looks at the first message, and its answer is late.
    world.receipt(devices[0], 0, Named::Id(messages[0].id), ClientStatus::Read);
    let early = world.store.received(messages[0].id).map(Box::new);
    assert!(early.as_ref().is_some_and(|early| early.read_to.is_nil()));
    // Meanwhile the second one is read, and so many others write that this is forgotten.
    let late = Step::Answer(0, 0);
    world.receipt(devices[1], 0, Named::Id(messages[1].id), ClientStatus::Read);
    world.settle_without(late);
    for nth in 0..40 {
        let other = world.user(0, 2 + nth);
        let connection = world.sign_in(other, 1);
        world.settle_without(late);
        world.send(connection, 0, 1, bob, b"x");
        world.settle_without(late);
        devices.iter().for_each(|&device| world.ack(device, 3 + nth as u64));
        world.settle_without(late);
    }
    let held = world.shards[0].image(bob).expect("resident").cursors;
    assert!(held.iter().all(|(sender, ..)| *sender != alice), "forgotten");
    let records = world.durable.len();
    let device = DeviceId::new(1).expect("1 to 127");
    let answer = Event::ReceivedFound { user: bob, device, answer: Ok(early) };
    world.answer_oldest(0, answer);
    world.settle();
    assert_eq!(world.durable.len(), records, "behind the second one: no record");
    assert!(world.errors(devices[0]).is_empty());
}
