//! An operator asks where things are, and learns it at every stage without changing anything.
//!
//! Setup: a node whose steps the test chooses. Action: one message on its way, stopped at each
//! stage. Expectation: the shard names the stage; a search goes on in bounded steps.

use ringpost_shard::inspect::{
    EntryView, MessageAsk, MessageAtDevice, Residence, SEARCHED_USERS_MAX, UnderWay, WaitsFor,
};
use ringpost_shard::{Event, Position};
use ringpost_wire::event::Status;
use ringpost_wire::{ServerId, UserId};

use crate::world::{Step, World, device, message_id};

/// Where the newest message stands at the only device of `user`.
fn at(world: &World, user: UserId, peer: UserId) -> MessageAtDevice {
    let id = *world.truth.messages.keys().last().expect("a message was accepted");
    let position = world.truth.messages[&id].position;
    let ask = MessageAsk { position, id, user, peer };
    let view = world.shards[world.home(user)].inspect_message(ask);
    assert_eq!(view.residence, Residence::Resident);
    view.devices[0].clone()
}

/// All steps of a search on one worker, and how many they were.
fn search(world: &World, worker: usize, number: u64) -> (Vec<UnderWay>, u32) {
    let (mut found, mut from, mut steps) = (Vec::new(), Some(0), 0);
    while let Some(at) = from {
        let step = world.shards[worker].search_under_way(message_id(number), at);
        found.extend(step.found);
        from = step.next;
        steps += 1;
    }
    (found, steps)
}

fn waits(world: &World, number: u64) -> Vec<WaitsFor> {
    let all = (0..world.shards.len()).flat_map(|worker| search(world, worker, number).0);
    all.map(|under_way| under_way.waits_for).collect()
}

#[test]
fn a_message_is_found_at_every_stage_from_acceptance_to_its_last_receipt() {
    let mut world = World::new(2);
    let (alice, bob) = (world.user(0, 0), world.user(1, 0));
    let (a, b) = (world.sign_in(alice, 1), world.sign_in(bob, 1));
    world.settle();
    world.send(a, 1, 7, bob, b"xyz");
    let in_flight = UnderWay {
        from: alice,
        from_device: device(1),
        to: bob,
        body_bytes: 3,
        waits_for: WaitsFor::Journal,
    };
    assert_eq!(search(&world, 0, 7).0, [in_flight]);
    assert_eq!(search(&world, 0, 8).0, [], "of another id");
    assert_eq!(world.shards[0].inspect_user(alice).devices[0].in_flight, 1);
    world.settle();
    assert_eq!(waits(&world, 7), []);

    let pushed = EntryView { push: Some(1), acked_early: false, leaving: false };
    assert_eq!(at(&world, bob, alice).entry, Some(pushed));
    assert_eq!(at(&world, bob, alice).window, Some((1, 64)));
    assert_eq!(at(&world, alice, bob).receipts, []);
    world.ack(b, 1);
    let leaving = EntryView { push: None, leaving: true, ..pushed };
    assert_eq!(at(&world, bob, alice).entry, Some(leaving), "its ack is on the way");
    world.settle();
    assert_eq!(at(&world, bob, alice).entry, None);
    assert_eq!(at(&world, alice, bob).receipts, [(Status::Delivered, Some(1))]);
    world.ack(a, 1);
    world.settle();
    assert_eq!(at(&world, alice, bob).receipts, []);

    world.hang_up(b);
    world.send(a, 2, 8, bob, b"away");
    world.settle();
    assert_eq!(at(&world, bob, alice).entry, Some(EntryView { push: None, ..pushed }));
    assert_eq!(at(&world, bob, alice).window, None);
    let view = world.shards[1].inspect_user(bob);
    assert_eq!((view.sessions.len(), view.devices[0].entries, view.devices[0].bytes), (0, 1, 4));
}

#[test]
fn a_send_that_waits_is_found_with_what_it_waits_for() {
    let mut world = World::new(2);
    let (alice, bob) = (world.user(0, 0), world.user(1, 0));
    world.handle(1, Event::CreateUser { user: bob, ticket: 1 });
    let a = world.sign_in(alice, 1);
    world.settle();
    world.send(a, 1, 100, bob, b"x");
    world.settle();
    world.crash(2, 0);

    let a = world.resume(alice, 1);
    assert_eq!(world.shards[0].inspect_user(alice).residence, Residence::Loading);
    world.send(a, 1, 50, bob, b"below the highest");
    world.send(a, 2, 101, bob, b"behind it");
    assert_eq!(waits(&world, 50), [WaitsFor::Sender]);
    assert_eq!(world.shards[0].inspect_user(alice).waiting, 2);
    world.step(Step::Answer(0, 0));
    assert_eq!(waits(&world, 50), [WaitsFor::LookUp]);
    assert_eq!(waits(&world, 101), [WaitsFor::LookUp], "in line");
    world.step(Step::Answer(0, 0));
    assert_eq!(waits(&world, 50), [WaitsFor::Journal]);
    world.step(Step::Mail(0, 1));
    assert_eq!(waits(&world, 50), [WaitsFor::Journal, WaitsFor::Recipient]);
    let view = world.shards[1].inspect_user(bob);
    assert_eq!((view.residence, view.waiting), (Residence::Loading, 1));
    world.settle();
    assert_eq!(waits(&world, 50), []);
    assert_eq!(world.receipts(a).len(), 2);
}

#[test]
fn a_search_looks_at_a_bounded_number_of_users_in_each_step() {
    let mut world = World::new(1);
    let count = SEARCHED_USERS_MAX as usize + 10;
    let users: Vec<UserId> = (0..count).map(|nth| world.user(0, nth)).collect();
    for (ticket, &user) in users.iter().enumerate() {
        world.handle(0, Event::CreateUser { user, ticket: ticket as u64 });
    }
    world.settle();
    let last = world.sign_in(users[count - 1], 1);
    world.settle();
    assert_eq!(search(&world, 0, 7), (vec![], 1), "nothing is on its way: nothing is looked at");
    world.send(last, 1, 7, users[0], b"x");
    let (found, steps) = search(&world, 0, 7);
    assert_eq!((found.len(), steps), (1, 3), "two steps, and one that finds the end");
    assert_eq!(world.shards[0].search_under_way(message_id(7), u32::MAX).next, None);
}

#[test]
fn a_user_who_is_not_there_is_absent_and_holds_nothing() {
    let world = World::new(1);
    let nobody = world.user(0, 3);
    let view = world.shards[0].inspect_user(nobody);
    assert_eq!((view.residence, view.bytes, view.sessions.len()), (Residence::Absent, 0, 0));
    let ask =
        MessageAsk { position: Position(9), id: ServerId([1; 16]), user: nobody, peer: nobody };
    let view = world.shards[0].inspect_message(ask);
    assert_eq!((view.residence, view.devices.len()), (Residence::Absent, 0));
}
