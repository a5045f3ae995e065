//! Users come and go under a byte cap, and nothing that a device is owed depends on it.

use std::time::Duration;

use ringpost_shard::{Bound, Event, ShardLimits};
use ringpost_wire::event::Status;
use ringpost_wire::{ErrorCode, UserId};

use crate::world::{Step, World};

fn small() -> ShardLimits {
    ShardLimits { resident_bytes_max: 12_000, ..ShardLimits::default() }
}

/// Users of the one worker who exist and have never signed in.
fn existing(world: &mut World, count: usize) -> Vec<UserId> {
    let users: Vec<UserId> = (0..count).map(|nth| world.user(0, nth)).collect();
    for (ticket, &user) in users.iter().enumerate() {
        world.handle(0, Event::CreateUser { user, ticket: ticket as u64 });
        world.settle();
    }
    users
}

#[test]
fn idle_users_are_let_go_while_their_sessions_stay_and_are_loaded_for_the_next_event() {
    let mut world = World::with_limits(1, small());
    let users: Vec<UserId> = (0..40).map(|nth| world.user(0, nth)).collect();
    let connections: Vec<_> = users
        .iter()
        .map(|&user| {
            let connection = world.sign_in(user, 1);
            world.settle();
            connection
        })
        .collect();
    let gauges = world.shards[0].gauges();
    assert_eq!(gauges.sessions, 40);
    assert!(gauges.users < 30, "{} users are held", gauges.users);
    assert!(gauges.resident_bytes <= 12_000 + 4096);
    assert!(world.shards[0].counters().evictions > 0);
    for (nth, pair) in connections.windows(2).enumerate() {
        world.pass(Duration::from_secs(1));
        world.send(pair[0], 0, 1, users[nth + 1], b"x");
        world.settle();
        assert_eq!(world.messages(pair[1]).len(), 1, "pushed to a session whose user was away");
        world.ack(pair[1], 1);
        world.settle();
        let statuses: Vec<_> = world.receipts(pair[0]).iter().map(|receipt| receipt.1).collect();
        assert_eq!(statuses, [Status::Sent, Status::Delivered]);
        let push = if nth == 0 { 1 } else { 2 };
        world.ack(pair[0], push);
        world.settle();
        assert!(world.errors(pair[0]).is_empty(), "numbers run on while the user comes and goes");
    }
}

#[test]
fn a_burst_that_was_acked_leaves_no_memory_behind() {
    let limits = ShardLimits { window_pushes_default: 256, ..ShardLimits::default() };
    let mut world = World::with_limits(1, limits);
    let (alice, bob) = (world.user(0, 0), world.user(0, 1));
    let (a, b) = (world.sign_in(alice, 1), world.sign_in(bob, 1));
    world.settle();
    let bytes = |world: &World| world.shards[0].inspect_user(bob).bytes;
    let at_rest = bytes(&world);
    let burst = |world: &mut World, numbers: std::ops::RangeInclusive<u64>| {
        let last = *numbers.end();
        for number in numbers {
            world.send(a, 0, number, bob, b"x");
            world.settle();
            world.pass(Duration::from_millis(100));
        }
        assert_eq!(world.errors(a), []);
        let full = bytes(world);
        world.ack(b, last);
        world.settle();
        assert_eq!(world.errors(b), [], "all of them were pushed");
        full
    };
    // What is still named by senders' ids after the ack stays: as much of it as there may be.
    burst(&mut world, 1..=40);
    let named = bytes(&world) - at_rest;
    let full = burst(&mut world, 41..=200);
    let (after, most) = (bytes(&world), at_rest + named);
    assert!(after <= most && full > 2 * after, "{full}, then {after} of {most}");
}

#[test]
fn what_a_connection_acked_after_the_journal_ended_is_not_pushed_to_it_again() {
    let mut world = World::with_limits(1, small());
    let users = existing(&mut world, 60);
    let (alice, bob) = (users[0], users[1]);
    let (a, b) = (world.sign_in(alice, 1), world.sign_in(bob, 1));
    world.settle();
    world.send(a, 1, 1, bob, b"x");
    world.settle();
    assert_eq!(world.messages(b).len(), 1);
    world.handle(0, Event::JournalFailed);
    world.ack(b, 1);
    world.told(b);
    // The others come, until everybody was let go who can be.
    let evictions = world.shards[0].counters().evictions;
    for &user in &users[2..] {
        world.pass(Duration::from_secs(1));
        world.sign_in(user, 1);
        world.settle();
    }
    assert!(world.shards[0].counters().evictions > evictions);
    world.send(b, 2, 1, alice, b"y");
    world.settle();
    assert_eq!(world.messages(b), [], "it was acked on this connection");
}

#[test]
fn nobody_is_let_go_before_the_store_has_what_touched_them() {
    let mut world = World::with_limits(1, small());
    let users: Vec<UserId> = (0..20).map(|nth| world.user(0, nth)).collect();
    for &user in &users {
        world.sign_in(user, 1);
        world.settle_without_applier();
    }
    assert_eq!(world.shards[0].counters().evictions, 0);
    assert!(world.shards[0].gauges().users <= 20);
    world.settle();
    world.pass(Duration::from_secs(2));
    world.tick();
    world.settle();
    assert!(world.shards[0].counters().evictions > 0);
    assert!(users.iter().all(|&user| world.truth.image(user).is_some()), "all came in at last");
}

#[test]
fn a_load_waits_for_records_of_its_user_and_of_nobody_else() {
    let mut world = World::with_limits(1, small());
    let users = existing(&mut world, 120);
    let (alice, bob) = (users[118], users[119]);
    let (a, b) = (world.sign_in(alice, 1), world.sign_in(bob, 1));
    world.settle();
    let is_away = |user: &UserId| world.shards[0].image(*user).is_none();
    let away = users.iter().copied().find(is_away).expect("there is no room for all of them");
    let sent = |world: &mut World| {
        let receipts = world.receipts(a);
        receipts.iter().filter(|receipt| receipt.1 == Status::Sent).count()
    };
    // Of these the store learns nothing for now.
    world.send(a, 0, 1, bob, b"x");
    world.settle_without_applier();
    assert_eq!(sent(&mut world), 1);
    world.send(a, 0, 2, away, b"y");
    world.settle_without_applier();
    assert_eq!(sent(&mut world), 1, "the store has all of who is written to");
    assert!(world.shards[0].image(away).is_some());
    world.told(b);
}

#[test]
fn a_send_to_an_absent_user_is_refused_when_nobody_can_be_let_go() {
    let mut world = World::with_limits(1, small());
    let users: Vec<UserId> = (0..20).map(|nth| world.user(0, nth)).collect();
    for (ticket, &user) in users.iter().enumerate() {
        world.handle(0, Event::CreateUser { user, ticket: ticket as u64 });
        world.settle();
    }
    // Everybody who is resident now is pinned by a message that is not acked.
    let pinned = &users[..3];
    let connections: Vec<_> = pinned.iter().map(|&user| world.sign_in(user, 1)).collect();
    world.settle();
    for (number, &to) in (1..).zip(pinned[1..].iter().cycle().take(100)) {
        world.send(connections[0], 0, number, to, &[0; 100]);
        world.settle();
    }
    assert!(world.errors(connections[0]).is_empty());
    let mut refused = 0;
    for (number, &user) in (1000..).zip(&users[3..]) {
        world.send(connections[0], 7, number, user, b"x");
        world.settle();
        let errors = world.errors(connections[0]);
        assert!(errors.iter().all(|&error| error == (7, ErrorCode::Overloaded)), "{errors:?}");
        refused += errors.len() as u64;
    }
    assert!(refused > 0, "{:?}", world.shards[0].gauges());
    assert_eq!(world.shards[0].counters().loads_refused, refused);
}

#[test]
fn a_user_who_fills_the_memory_alone_can_write_to_one_who_is_absent() {
    let mut world = World::with_limits(1, small());
    let (alice, bob) = (world.user(0, 0), world.user(0, 1));
    let b = world.sign_in(bob, 1);
    world.settle();
    let a = world.sign_in(alice, 1);
    world.sign_in(alice, 2);
    world.settle();
    // Alice's second device acks nothing of her notes: its queue alone is more than the cap.
    for number in 1..=150 {
        world.send(a, 0, number, alice, b"a note");
        world.settle();
    }
    assert!(world.shards[0].gauges().resident_bytes > small().resident_bytes_max);
    assert_eq!(world.shards[0].residents().collect::<Vec<_>>(), [alice], "Bob made room");
    world.told(a);
    world.send(a, 7, 1_000, bob, b"hello");
    world.settle();
    assert_eq!(world.errors(a), []);
    assert_eq!(world.receipts(a).first().map(|receipt| receipt.1), Some(Status::Sent));
    assert_eq!(world.messages(b).len(), 1);
    let bytes = world.shards[0].gauges().resident_bytes;
    let of_alice = world.shards[0].inspect_user(alice).bytes;
    assert!(bytes <= of_alice + small().resident_bytes_max, "{bytes}, hers are {of_alice}");
}

#[test]
fn events_for_a_loading_user_wait_in_a_bounded_line() {
    let limits = ShardLimits { loading_line_max: 2, ..ShardLimits::default() };
    let mut world = World::with_limits(2, limits);
    let (alice, bob) = (world.user(0, 0), world.user(1, 0));
    world.handle(1, Event::CreateUser { user: bob, ticket: 1 });
    let a = world.sign_in(alice, 1);
    world.settle();
    world.crash(2, 0);
    let a2 = world.sign_in(alice, 1);
    assert_ne!(a, a2);
    world.settle();
    world.told(a2);
    for number in 1..=3 {
        world.send(a2, number as u16, number, bob, b"x");
    }
    for _ in 0..3 {
        world.step(Step::Mail(0, 1));
    }
    world.settle();
    assert_eq!(world.errors(a2), [(3, ErrorCode::Overloaded)]);
    assert_eq!(world.shards[1].counters().hits.count(Bound::Line), 1);
    assert_eq!(world.receipts(a2).iter().map(|sent| sent.3).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn records_that_arrive_during_a_load_are_folded_on_top_and_too_many_repeat_the_load() {
    for (max, repeats) in [(64, 0), (1, 1)] {
        let limits = ShardLimits { loading_records_max: max, ..ShardLimits::default() };
        let mut world = World::with_limits(2, limits);
        let (alice, bob) = (world.user(0, 0), world.user(1, 0));
        let (a, b) = (world.sign_in(alice, 1), world.sign_in(bob, 1));
        world.settle();
        for number in 1..=3 {
            world.send(a, 0, number, bob, b"x");
        }
        world.settle();
        world.crash(2, 0);
        let _gone = (a, b);
        let b = world.sign_in(bob, 1);
        world.settle();
        // Alice's load is asked for, and not answered while Bob acks.
        let a = world.sign_in(alice, 1);
        for push in 1..=3 {
            world.ack(b, push);
            while world.submitted() > 0 {
                world.step(Step::Commit);
                while world.steps().contains(&Step::Hand(1)) {
                    world.step(Step::Hand(1));
                }
            }
        }
        while world.steps().contains(&Step::Hand(0)) {
            world.step(Step::Hand(0));
        }
        world.settle();
        let last = *world.truth.messages.keys().last().expect("three messages");
        assert_eq!(world.receipts(a).last().map(|receipt| receipt.2), Some(last));
        assert_eq!(world.shards[0].counters().loads_repeated, repeats);
    }
}
