//! A device that does not read or does not ack costs a cursor: pushes stop at its window and its
//! outbox, nothing is kept for it beyond the queue, and all goes on when it does.

use ringpost_shard::{Event, ShardLimits};
use ringpost_wire::command::SendMessage;
use ringpost_wire::{Command, Event as WireEvent};

use crate::world::{Step, World, message};

#[test]
fn pushes_stop_at_the_window_and_go_on_with_acks() {
    let mut world = World::new(1);
    let (alice, bob) = (world.user(0, 0), world.user(0, 1));
    let a = world.sign_in(alice, 1);
    let b = world.sign_in_as(bob, 1, |sign_in| sign_in.window_pushes = 2);
    world.settle();
    for number in 1..=5 {
        world.send(a, 0, number, bob, b"x");
        world.settle();
    }
    assert_eq!(world.messages(b).len(), 2);
    world.ack(b, 1);
    world.settle();
    assert_eq!(world.messages(b).iter().map(|message| message.push).collect::<Vec<_>>(), [3]);
    world.ack(b, 3);
    world.settle();
    assert_eq!(world.messages(b).len(), 2);
}

#[test]
fn a_window_of_bytes_lets_one_message_through_however_large() {
    let mut world = World::new(1);
    let (alice, bob) = (world.user(0, 0), world.user(0, 1));
    let a = world.sign_in(alice, 1);
    let b = world.sign_in_as(bob, 1, |sign_in| sign_in.window_bytes = 1);
    world.settle();
    assert_eq!(world.connections[&b].window.1, 1024);
    for number in 1..=2 {
        world.send(a, 0, number, bob, &[0; 5000]);
    }
    world.settle();
    assert_eq!(world.messages(b).len(), 1);
    world.ack(b, 1);
    world.settle();
    assert_eq!(world.messages(b).len(), 1);
}

#[test]
fn a_full_outbox_stops_pushes_until_it_is_writable_and_bodies_come_from_the_store() {
    let limits = ShardLimits { recent_bytes_max: 3000, read_rows_max: 4, ..ShardLimits::default() };
    let mut world = World::with_limits(1, limits);
    world.room_bytes = 4000;
    let (alice, bob) = (world.user(0, 0), world.user(0, 1));
    let a = world.sign_in(alice, 1);
    let b = world.sign_in(bob, 1);
    world.settle();
    world.told(b);
    world.slow.insert(b);
    for number in 1..=30 {
        world.send(a, 0, number, bob, &[number as u8; 500]);
        world.settle();
    }
    let first = world.messages(b);
    assert!(first.len() < 5, "{} pushed into a full outbox", first.len());
    assert!(world.shards[0].gauges().recent_bytes <= 3000);
    world.slow.clear();
    world.settle();
    let rest = world.messages(b);
    let pushes: Vec<_> = first.iter().chain(&rest).map(|message| message.push).collect();
    assert_eq!(pushes, (1..=30).collect::<Vec<_>>());
    let bodies = first.iter().chain(&rest).map(|message| message.body[0]);
    assert!(bodies.eq(1..=30), "in order");
    assert!(world.shards[0].counters().message_reads >= 6, "in bounded reads");
}

#[test]
fn a_new_connection_gets_what_is_left_in_windows_and_then_queue_empty() {
    let mut world = World::new(2);
    let (alice, bob) = (world.user(0, 0), world.user(1, 0));
    let a = world.sign_in(alice, 1);
    let b = world.sign_in(bob, 1);
    world.settle();
    world.hang_up(b);
    for number in 1..=7 {
        world.send(a, 0, number, bob, b"x");
    }
    world.settle();
    let b = world.sign_in_as(bob, 1, |sign_in| sign_in.window_pushes = 3);
    let mut seen = Vec::new();
    for round in 0..3 {
        world.settle();
        let told = world.told(b);
        for (_, event) in &told {
            match event {
                WireEvent::NewMessage(message) => seen.push(message.push),
                WireEvent::QueueEmpty { gap: None } => seen.push(0),
                other => panic!("{other:?}"),
            }
        }
        if round < 2 {
            world.ack(b, 3 * (round + 1));
        }
    }
    assert_eq!(seen, [1, 2, 3, 4, 5, 6, 7, 0], "each once, then the end, once");
}

#[test]
fn what_was_sent_before_a_connection_came_is_pushed_ahead_of_queue_empty() {
    let mut world = World::new(2);
    let (alice, bob) = (world.user(0, 0), world.user(1, 0));
    let a = world.sign_in(alice, 1);
    let b = world.sign_in(bob, 1);
    world.settle();
    world.hang_up(b);
    world.send(a, 0, 1, bob, b"x");
    world.settle_without_commits();
    // The sender's worker has the record and says `sent`; the recipient's has not got it yet.
    world.step(Step::Commit);
    world.step(Step::Hand(0));
    assert_eq!(world.receipts(a).len(), 1);
    let b = world.sign_in(bob, 1);
    assert_eq!(world.told(b), [], "the queue is not empty, as far as anybody was told");
    // What sets out after the connection came does not hold it up.
    world.send(a, 0, 2, bob, b"y");
    world.step(Step::Mail(0, 1));
    world.step(Step::Hand(1));
    let told: Vec<_> = world
        .told(b)
        .into_iter()
        .map(|(_, event)| match event {
            WireEvent::NewMessage(message) => message.push,
            WireEvent::QueueEmpty { gap: None } => 0,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, [1, 0]);
    world.settle();
    assert_eq!(world.messages(b).iter().map(|message| message.push).collect::<Vec<_>>(), [2]);
}

#[test]
fn a_store_that_fails_is_asked_again_after_a_pause() {
    let mut world = World::new(1);
    let (alice, bob) = (world.user(0, 0), world.user(0, 1));
    let a = world.sign_in(alice, 1);
    let b = world.sign_in(bob, 1);
    world.settle();
    world.hang_up(b);
    world.send(a, 0, 1, bob, b"x");
    world.settle();
    world.crash(1, 0);
    world.store_down = true;
    let b = world.sign_in(bob, 1);
    world.settle();
    assert!(world.messages(b).is_empty());
    assert_eq!(world.shards[0].counters().store_failures, 1);
    let deadline = world.shards[0].next_deadline().expect("it will be tried again");
    assert_eq!(deadline, world.now.mono + std::time::Duration::from_secs(1));
    world.store_down = false;
    world.pass(std::time::Duration::from_secs(1));
    world.tick();
    world.settle();
    assert_eq!(world.messages(b).len(), 1);
    assert_eq!(world.shards[0].next_deadline(), None);
}

#[test]
fn an_entry_whose_row_is_missing_leaves_and_is_counted() {
    let mut world = World::new(1);
    let (alice, bob) = (world.user(0, 0), world.user(0, 1));
    let a = world.sign_in(alice, 1);
    let b = world.sign_in(bob, 1);
    world.settle();
    world.hang_up(b);
    for number in 1..=2 {
        world.send(a, 0, number, bob, b"x");
    }
    world.settle();
    let first = *world.store.messages.keys().next().expect("two messages");
    world.store.messages.remove(&first);
    let b = world.sign_in(bob, 1);
    world.settle();
    assert_eq!(world.messages(b).len(), 1);
    assert_eq!(world.shards[0].counters().rows_missing, 1);
    let image = world.truth.image(bob).expect("known");
    assert_eq!(image.devices[0].entries.len(), 1);
}

#[test]
fn a_connection_without_room_is_not_pushed_to_and_its_answers_still_come() {
    let mut world = World::new(1);
    let (alice, bob) = (world.user(0, 0), world.user(0, 1));
    let (a, b) = (world.sign_in(alice, 1), world.sign_in(bob, 1));
    world.settle();
    world.told(b);
    world.handle(0, Event::Writable { connection: b, room_bytes: 0 });
    world.slow.insert(b);
    world.send(a, 7, 1, bob, b"later");
    let ephemeral = SendMessage { ephemeral: true, ..message(2, bob, b"dropped") };
    world.command(a, 0, Command::SendMessage(ephemeral));
    world.settle();
    assert!(world.messages(b).is_empty());
    assert_eq!(world.shards[0].counters().ephemeral_dropped, 1);
    let told = world.told(a);
    assert!(told.iter().any(|(tag, event)| *tag == 7 && matches!(event, WireEvent::Receipt(_))));
    world.drain(b);
    assert_eq!(world.messages(b).len(), 1);
}
