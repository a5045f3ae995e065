//! Who is told `welcome` is a device, durably; what frees the place of one; and that none of this
//! hangs on a connection. The world itself asserts the first at each `welcome`.

use std::time::Duration;

use ringpost_shard::event::Event;
use ringpost_shard::{Head, ShardLimits, Shortage};
use ringpost_wire::command::{ClientStatus, Named};
use ringpost_wire::event::Status;
use ringpost_wire::{CloseCode, Event as WireEvent, UserId};

use crate::world::{Step, World, device};

const DAY: Duration = Duration::from_secs(86_400);

fn is_welcome(world: &World, connection: ringpost_shard::event::ConnectionKey) -> bool {
    world.connections[&connection].signed_in
}

/// Alice with one device, Bob with one, all at rest.
fn pair(world: &mut World) -> (UserId, UserId) {
    let (alice, bob) = (world.user(0, 0), world.user(0, 1));
    for user in [alice, bob] {
        let connection = world.sign_in(user, 1);
        world.settle();
        assert!(is_welcome(world, connection));
        world.hang_up(connection);
    }
    (alice, bob)
}

fn removals(world: &World) -> usize {
    let removed = |head: &Head| matches!(head, Head::DeviceRemoved(_));
    world.durable.iter().filter(|record| removed(&record.head)).count()
}

#[test]
fn a_first_sign_in_by_token_is_welcome_once_its_device_is_durable() {
    let mut world = World::new(1);
    let user = world.user(0, 0);
    let a = world.sign_in(user, 1);
    world.settle_without_commits();
    assert!(!is_welcome(&world, a), "nothing is told before it is durable");
    world.step(Step::Commit);
    assert!(!is_welcome(&world, a));
    world.settle();
    assert!(is_welcome(&world, a));
    assert_eq!(world.told(a), [(0, WireEvent::QueueEmpty { gap: None })]);
}

#[test]
fn a_device_whose_connection_leaves_while_it_is_added_is_one_all_the_same() {
    let mut world = World::new(1);
    let (alice, _) = pair(&mut world);
    let new = world.user(0, 2);
    let left = world.sign_in(new, 1);
    world.step(Step::Answer(0, 0));
    assert_eq!(world.submitted(), 1, "its record is on the way");
    world.hang_up(left);
    world.settle();
    let a = world.resume(alice, 1);
    world.send(a, 1, 1, new, b"x");
    world.settle();
    assert_eq!(world.receipts(a).len(), 1, "there is such a user");
    let again = world.resume(new, 1);
    world.settle();
    assert_eq!(world.messages(again).len(), 1, "and such a device");
}

#[test]
fn a_sign_in_that_leaves_before_its_load_was_told_nothing_and_leaves_nothing() {
    let limits = ShardLimits { loading_line_max: 2, ..ShardLimits::default() };
    let mut world = World::with_limits(1, limits);
    let new = world.user(0, 2);
    for _ in 0..20 {
        let left = world.sign_in(new, 1);
        world.hang_up(left);
    }
    let stays = world.sign_in(new, 1);
    assert_eq!(world.closed(stays), None, "those that left take no place in the line");
    assert_eq!(world.shards[0].gauges().entering, 1);
    world.hang_up(stays);
    world.settle();
    assert!(world.durable.is_empty());
    assert_eq!(world.shards[0].gauges().entering, 0);
}

#[test]
fn more_sign_ins_of_one_user_than_may_wait_come_later() {
    let limits = ShardLimits { loading_line_max: 2, ..ShardLimits::default() };
    let mut world = World::with_limits(1, limits);
    let user = world.user(0, 0);
    let all = [1, 2, 3].map(|number| world.sign_in(user, number));
    assert_eq!(all.map(|it| world.closed(it)), [None, None, Some(CloseCode::TryLater)]);
    world.settle();
    assert!(is_welcome(&world, all[0]) && is_welcome(&world, all[1]));
    assert_eq!(world.shards[0].counters().sign_ins_crowded, 1);
}

#[test]
fn a_sign_in_by_token_waits_for_a_store_that_fails_and_goes_on_by_itself() {
    let mut world = World::new(1);
    let (alice, _) = pair(&mut world);
    world.crash(1, 0);
    world.store_down = true;
    let a = world.sign_in(alice, 1);
    for _ in 0..3 {
        world.settle();
        assert!(!is_welcome(&world, a) && world.closed(a).is_none());
        world.pass(Duration::from_secs(2));
        world.tick();
    }
    world.store_down = false;
    world.settle();
    assert!(is_welcome(&world, a));
    assert_eq!(world.shards[0].gauges().entering, 0);
}

#[test]
fn of_two_connections_that_wait_the_one_accepted_later_is_welcome() {
    let mut world = World::new(1);
    let user = world.user(0, 0);
    let first = world.sign_in(user, 1);
    let second = world.sign_in(user, 1);
    let late = world.sign_in_as(user, 1, |sign_in| sign_in.accepted_at = Duration::ZERO);
    world.settle();
    let closed = [first, second, late].map(|it| world.closed(it));
    assert_eq!(closed, [Some(CloseCode::Displaced), None, Some(CloseCode::Displaced)]);
    assert!(is_welcome(&world, second) && !is_welcome(&world, first));
    assert_eq!(world.shards[0].counters().devices_added, 1);
}

#[test]
fn a_new_device_is_turned_away_when_the_journal_has_failed() {
    let mut world = World::new(1);
    let (alice, _) = pair(&mut world);
    let known = world.resume(alice, 1);
    let waits = world.sign_in(alice, 2);
    world.handle(0, Event::JournalFailed);
    let late = world.sign_in(alice, 3);
    assert_eq!(world.closed(known), None);
    assert_eq!(world.closed(waits), Some(CloseCode::TryLater));
    assert_eq!(world.closed(late), Some(CloseCode::TryLater));
    assert_eq!(world.shards[0].counters().unkept_sign_ins, 2);
}

#[test]
fn a_new_device_is_turned_away_while_there_is_no_room_for_its_record() {
    let mut world = World::new(1);
    let (alice, _) = pair(&mut world);
    world.handle(0, Event::Storage { shortage: Some(Shortage::Disk) });
    let known = world.resume(alice, 1);
    let new = world.sign_in(alice, 2);
    world.settle();
    assert!(is_welcome(&world, known));
    assert_eq!(world.closed(new), Some(CloseCode::TryLater));
    world.handle(0, Event::Storage { shortage: None });
    let new = world.sign_in(alice, 2);
    world.settle();
    assert!(is_welcome(&world, new));
}

#[test]
fn a_device_that_signed_out_frees_its_place_and_nothing_is_queued_for_it() {
    let limits = ShardLimits { devices_per_user_max: 2, ..ShardLimits::default() };
    let mut world = World::with_limits(1, limits);
    let (alice, bob) = pair(&mut world);
    let second = world.sign_in(bob, 2);
    world.settle();
    let third = world.sign_in(bob, 3);
    assert_eq!(world.closed(third), Some(CloseCode::TooManyDevices));

    let request = world.sign_out(bob, 2);
    assert_eq!(world.closed(second), Some(CloseCode::SignInAgain));
    assert!(world.requests_done.is_empty(), "not before it is durable");
    let third = world.sign_in(bob, 3);
    world.settle();
    assert_eq!(world.requests_done, [(request, true)]);
    assert!(is_welcome(&world, third), "its place is free at once");

    let a = world.resume(alice, 1);
    world.send(a, 1, 1, bob, b"x");
    world.settle();
    let image = world.truth.image(bob).expect("bob");
    let queues: Vec<_> =
        image.devices.iter().map(|it| (it.device.number(), it.entries.len())).collect();
    assert_eq!(queues, [(1, 1), (3, 1)]);
    assert_eq!(world.shards[0].counters().devices_signed_out, 1);
}

#[test]
fn a_sign_out_waits_for_what_looks_for_the_device_and_is_no_device_meanwhile() {
    let mut world = World::new(2);
    let (alice, bob) = (world.user(0, 0), world.user(1, 0));
    let a = world.sign_in(alice, 1);
    let b = world.sign_in(bob, 1);
    let second = world.sign_in(bob, 2);
    world.settle();
    // One message to it and one from it are on the way.
    world.send(a, 1, 1, bob, b"before");
    world.step(Step::Mail(0, 1));
    world.send(second, 1, 2, alice, b"its last");
    let request = world.sign_out(bob, 2);
    world.send(a, 2, 3, bob, b"behind");
    world.settle();
    assert_eq!(world.requests_done, [(request, true)]);
    assert_eq!(world.messages(b).len(), 3, "the other device has both, and the copy");
    assert_eq!(world.messages(a).len(), 1, "what it sent was sent");
    let again = world.sign_in(bob, 2);
    world.settle();
    assert_eq!(world.messages(again).len(), 0, "it is a new device");
    // A receipt names the device that was there when the message was sent.
    world.ack(a, 1);
    world.settle();
    let told = world.receipts(again);
    assert_eq!(told.len(), 1, "which is one again, under the same number");
}

#[test]
fn a_device_that_signs_in_while_it_is_signed_out_is_a_new_one() {
    let mut world = World::new(1);
    let (alice, bob) = pair(&mut world);
    let a = world.resume(alice, 1);
    world.send(a, 1, 1, bob, b"x");
    world.settle();
    world.sign_out(bob, 1);
    let again = world.sign_in(bob, 1);
    world.settle_without_commits();
    assert!(!is_welcome(&world, again));
    world.settle();
    assert!(is_welcome(&world, again));
    assert_eq!(world.told(again), [(0, WireEvent::QueueEmpty { gap: None })]);
}

#[test]
fn what_a_device_repeats_after_it_signed_out_and_in_again_is_known() {
    let mut world = World::new(1);
    let (alice, bob) = pair(&mut world);
    let a = world.resume(alice, 1);
    world.send(a, 1, 7, bob, b"x");
    world.settle();
    let id = world.receipts(a)[0].2;
    world.sign_out(alice, 1);
    world.settle();
    for crash in [false, true] {
        if crash {
            world.crash(2, 0);
        }
        let a = world.sign_in(alice, 1);
        world.settle();
        world.send(a, 2, 7, bob, b"x");
        world.settle();
        assert_eq!(world.receipts(a)[0].2, id, "the same answer");
    }
    assert_eq!(world.truth.messages.len(), 1);
}

#[test]
fn a_ticket_of_a_device_that_signed_out_is_void_also_after_a_restart() {
    let mut world = World::new(1);
    let (alice, _) = pair(&mut world);
    let issued_at_ms = world.now.wall_ms;
    let old = |sign_in: &mut ringpost_shard::event::SignIn| {
        sign_in.proof = ringpost_shard::event::Proof::Ticket;
        sign_in.issued_at_ms = issued_at_ms;
    };
    world.sign_out(alice, 1);
    for workers in [0, 1, 3] {
        if workers > 0 {
            world.crash(workers, 9);
        }
        let ticket = world.sign_in_as(alice, 1, old);
        world.settle();
        assert_eq!(world.closed(ticket), Some(CloseCode::SignInAgain));
        assert!(!is_welcome(&world, ticket));
    }
}

#[test]
fn a_revocation_that_was_forgotten_for_want_of_room_lets_nothing_old_in() {
    let limits = ShardLimits { revocations_max: 4, ..ShardLimits::default() };
    let mut world = World::with_limits(1, limits);
    let (alice, _) = pair(&mut world);
    let issued_at_ms = world.now.wall_ms;
    world.sign_out(alice, 1);
    world.settle();
    for number in 0..8 {
        world.pass(Duration::from_secs(1));
        let (user, before_ms) = (world.user(0, 10 + number), world.now.wall_ms);
        world.handle(0, Event::Revoke { user, device: device(1), before_ms });
    }
    let old = world.sign_in_as(alice, 1, |sign_in| {
        sign_in.issued_at_ms = issued_at_ms;
        sign_in.proof = ringpost_shard::event::Proof::Ticket;
    });
    assert_eq!(world.closed(old), Some(CloseCode::SignInAgain));
    let new = world.sign_in_as(alice, 1, |sign_in| sign_in.issued_at_ms += 1);
    world.settle();
    assert!(is_welcome(&world, new));
}

#[test]
fn a_sign_out_is_refused_when_it_cannot_be_durable_and_done_when_there_is_nothing_to_do() {
    let mut world = World::new(1);
    let (alice, _) = pair(&mut world);
    let nobody = world.user(0, 5);
    let nothing = [world.sign_out(alice, 9), world.sign_out(nobody, 1)];
    world.settle();
    assert_eq!(world.requests_done, nothing.map(|request| (request, true)));
    let twice = [world.sign_out(alice, 1), world.sign_out(alice, 1)];
    world.handle(0, Event::JournalFailed);
    let late = world.sign_out(alice, 1);
    let told = &world.requests_done[2..];
    assert_eq!(told, [twice[0], twice[1], late].map(|request| (request, false)));
}

#[test]
fn what_was_read_counts_although_its_client_leaves_before_its_user_is_loaded() {
    let mut world = World::new(1);
    let (alice, bob) = pair(&mut world);
    let a = world.resume(alice, 1);
    world.send(a, 1, 1, bob, b"x");
    world.settle();
    let id = world.receipts(a)[0].2;
    world.crash(1, 0);
    let b = world.resume(bob, 1);
    world.receipt(b, 1, Named::Id(id), ClientStatus::Read);
    world.hang_up(b);
    world.settle();
    let a = world.resume(alice, 1);
    world.settle();
    let told = world.receipts(a);
    assert!(told.iter().any(|(_, status, read, _)| (*status, *read) == (Status::Read, id)));
}

#[test]
fn a_device_is_seen_by_a_record_at_most_once_a_day() {
    let mut world = World::new(1);
    let (alice, _) = pair(&mut world);
    let seen = |world: &World| {
        let is_seen = |head: &Head| matches!(head, Head::DeviceSeen(_));
        world.durable.iter().filter(|record| is_seen(&record.head)).count()
    };
    for _ in 0..3 {
        let a = world.resume(alice, 1);
        world.settle();
        world.hang_up(a);
    }
    assert_eq!(seen(&world), 0, "it was added today");
    world.pass(DAY);
    for day in 1..=3 {
        for _ in 0..3 {
            let a = world.sign_in(alice, 1);
            world.settle();
            world.hang_up(a);
        }
        assert_eq!(seen(&world), day);
        world.pass(DAY);
    }
    // One that stays for days is seen when it renews its token.
    let a = world.resume(alice, 1);
    world.settle();
    world.pass(DAY);
    world.handle(0, Event::Renewed { connection: a });
    world.settle();
    assert_eq!(seen(&world), 5);
}

#[test]
fn a_device_that_was_absent_for_too_long_frees_its_place_wherever_it_matters() {
    let limits = ShardLimits {
        devices_per_user_max: 2,
        device_absence_max: 90 * DAY,
        ..ShardLimits::default()
    };
    let mut world = World::with_limits(1, limits);
    let (alice, bob) = pair(&mut world);
    for crash in [true, false] {
        let second = world.sign_in(bob, 2);
        world.settle();
        world.hang_up(second);
        world.pass(89 * DAY);
        let first = world.resume(bob, 1);
        world.settle();
        let third = world.sign_in(bob, 3);
        world.settle();
        assert_eq!(world.closed(third), Some(CloseCode::TooManyDevices), "not yet");
        world.pass(2 * DAY);
        if crash {
            // Somebody writes, and the user is loaded for it.
            world.crash(1, 0);
            let a = world.sign_in(alice, 1);
            world.settle();
            world.send(a, 1, world.now.wall_ms, bob, b"x");
        } else {
            let third = world.sign_in(bob, 3);
            world.settle();
            assert!(is_welcome(&world, third), "a place was needed");
            world.sign_out(bob, 3);
            world.hang_up(first);
        }
        world.settle();
        let image = world.truth.image(bob).expect("bob");
        let devices: Vec<_> = image.devices.iter().map(|it| it.device.number()).collect();
        assert_eq!(devices, [1], "the one that came again stays");
    }
    assert_eq!(removals(&world), 3);
    // The third was signed out.
    assert_eq!(world.shards[0].counters().devices_absent, 2);
}

#[test]
fn a_device_with_a_connection_is_never_absent() {
    let limits = ShardLimits { device_absence_max: 7 * DAY, ..ShardLimits::default() };
    let mut world = World::with_limits(1, limits);
    let (alice, bob) = pair(&mut world);
    let b = world.resume(bob, 1);
    let a = world.resume(alice, 1);
    world.settle();
    world.pass(30 * DAY);
    world.send(a, 1, 1, bob, b"x");
    world.settle();
    assert_eq!(world.messages(b).len(), 1);
    assert_eq!(removals(&world), 0);
}

#[test]
fn one_that_comes_again_before_anybody_looked_is_the_device_that_it_was() {
    let limits = ShardLimits { device_absence_max: 7 * DAY, ..ShardLimits::default() };
    let mut world = World::with_limits(1, limits);
    let (_, bob) = pair(&mut world);
    world.crash(1, 0);
    world.pass(8 * DAY);
    let b = world.sign_in(bob, 1);
    world.settle();
    assert!(is_welcome(&world, b));
    assert_eq!(removals(&world), 0);
}
