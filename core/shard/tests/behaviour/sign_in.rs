//! Who may sign in, who is closed with which code, and what a new device is told.

use std::time::Duration;

use ringpost_shard::event::Event;
use ringpost_shard::{Provision, ShardLimits};
use ringpost_wire::{CloseCode, Event as WireEvent};

use crate::world::{World, device};

#[test]
fn by_ticket_welcome_comes_before_any_read_of_the_store() {
    let mut world = World::new(1);
    let user = world.user(0, 0);
    world.sign_in(user, 1);
    world.settle();
    world.crash(1, 0);
    world.store_down = true;
    let a = world.resume(user, 1);
    assert!(world.connections[&a].signed_in);
    assert_eq!(world.connections[&a].window, (64, 256 * 1024), "the default window");
}

#[test]
fn of_two_connections_of_a_device_the_one_accepted_later_stays() {
    let mut world = World::new(1);
    let user = world.user(0, 0);
    let first = world.sign_in(user, 1);
    world.settle();
    let second = world.sign_in(user, 1);
    assert_eq!(world.closed(first), Some(CloseCode::Displaced));
    // A connection that was accepted before them, and moved here late.
    let late = world.sign_in_as(user, 1, |sign_in| sign_in.accepted_at = Duration::ZERO);
    assert_eq!(world.closed(late), Some(CloseCode::Displaced));
    assert!(!world.connections[&late].signed_in);
    let other = world.sign_in(user, 2);
    world.settle();
    assert_eq!((world.closed(second), world.closed(other)), (None, None));
    assert_eq!(world.shards[0].counters().displacements, 2);
}

#[test]
fn what_a_displaced_connection_committed_stays_in_flight() {
    let mut world = World::new(2);
    let (alice, bob) = (world.user(0, 0), world.user(1, 0));
    let a = world.sign_in(alice, 1);
    let b = world.sign_in(bob, 1);
    world.settle();
    world.send(a, 9, 1, bob, b"one");
    let again = world.sign_in(alice, 1);
    world.settle();
    assert_eq!(world.messages(b).len(), 1);
    let sent = world.receipts(again);
    assert_eq!(sent.len(), 1, "the device learns of it on its present connection");
    assert_eq!(sent[0].3, 0, "which did not ask");
}

#[test]
fn revoked_credentials_close_and_stay_out_and_newer_ones_come_in() {
    let mut world = World::new(1);
    let user = world.user(0, 0);
    let a = world.sign_in(user, 1);
    world.settle();
    let before_ms = world.now.wall_ms;
    world.handle(0, Event::Revoke { user, device: device(1), before_ms });
    assert_eq!(world.closed(a), Some(CloseCode::SignInAgain));
    let old = world.sign_in_as(user, 1, |sign_in| sign_in.issued_at_ms = before_ms);
    assert_eq!(world.closed(old), Some(CloseCode::SignInAgain));
    assert!(!world.connections[&old].signed_in);
    let new = world.sign_in_as(user, 1, |sign_in| sign_in.issued_at_ms = before_ms + 1);
    assert_eq!(world.closed(new), None);
    assert_eq!(world.shards[0].counters().revoked_sign_ins, 1);
}

#[test]
fn an_unknown_user_is_created_by_sign_in_only_where_the_policy_says_so() {
    let mut world = World::with(1, ShardLimits::default(), |config| {
        config.provision = Provision::RegisteredOnly;
    });
    let (user, other) = (world.user(0, 0), world.user(0, 1));
    let a = world.sign_in(user, 1);
    world.settle();
    assert_eq!(world.closed(a), Some(CloseCode::SignInAgain));
    world.handle(0, Event::CreateUser { user, ticket: 5 });
    world.settle_without_commits();
    assert!(world.requests_done.is_empty(), "not before it is durable");
    world.settle();
    assert_eq!(world.requests_done, [(5, true)]);
    let a = world.sign_in(user, 1);
    world.settle();
    assert_eq!(world.closed(a), None);
    assert_eq!(world.told(a), [(0, WireEvent::QueueEmpty { gap: None })]);
    world.handle(0, Event::CreateUser { user, ticket: 6 });
    assert_eq!(world.requests_done.last(), Some(&(6, true)), "there already");
    assert!(world.truth.image(other).is_none());
}

#[test]
fn devices_per_user_are_bounded() {
    let limits = ShardLimits { devices_per_user_max: 2, ..ShardLimits::default() };
    let mut world = World::with_limits(1, limits);
    let user = world.user(0, 0);
    let connections = [1, 2, 3].map(|number| world.sign_in(user, number));
    world.settle();
    let closed = connections.map(|connection| world.closed(connection));
    assert_eq!(closed, [None, None, Some(CloseCode::TooManyDevices)]);
    assert_eq!(world.shards[0].counters().devices_refused, 1);
}

#[test]
fn sessions_are_bounded() {
    let limits = ShardLimits { sessions_max: 1, ..ShardLimits::default() };
    let mut world = World::with_limits(1, limits);
    let (a, b) = (world.user(0, 0), world.user(0, 1));
    world.sign_in(a, 1);
    let refused = world.sign_in(b, 1);
    assert_eq!(world.closed(refused), Some(CloseCode::TryLater), "one that waits counts");
    world.settle();
    let refused = world.sign_in(b, 1);
    assert_eq!(world.closed(refused), Some(CloseCode::TryLater));
    assert_eq!(world.shards[0].counters().sessions_refused, 2);
    let same_device = world.sign_in(a, 1);
    world.settle();
    assert_eq!(world.closed(same_device), None, "displacement needs no further room");
}

#[test]
fn sends_wait_while_a_device_is_being_added_and_keep_their_order() {
    let mut world = World::new(1);
    let (alice, bob) = (world.user(0, 0), world.user(0, 1));
    let b = world.sign_in(bob, 1);
    world.settle();
    let a = world.sign_in(alice, 1);
    world.settle();
    let second = world.sign_in(alice, 2);
    for number in 1..=3 {
        world.send(a, number as u16, number, bob, b"early");
    }
    assert_eq!(world.submitted(), 1, "the device, and no message yet");
    world.settle();
    assert_eq!(world.messages(second).len(), 3, "a copy of each");
    let numbers: Vec<_> = world.messages(b).iter().map(|message| message.message_id).collect();
    assert_eq!(numbers, [1, 2, 3].map(crate::world::message_id));
    assert_eq!(world.receipts(a).iter().map(|sent| sent.3).collect::<Vec<_>>(), [1, 2, 3]);
}
