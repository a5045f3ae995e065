//! A queue that is full: quota where no device has room, an announced gap where another has.

use std::time::Duration;

use ringpost_shard::ShardLimits;
use ringpost_wire::{ErrorCode, Event as WireEvent};

use crate::world::{World, device};

fn three() -> ShardLimits {
    ShardLimits { queue_entries_max: 3, ..ShardLimits::default() }
}

#[test]
fn a_send_is_refused_with_quota_only_when_no_device_has_room() {
    let mut world = World::with_limits(2, three());
    let (alice, bob) = (world.user(0, 0), world.user(1, 0));
    let a = world.sign_in(alice, 1);
    let b = world.sign_in(bob, 1);
    world.settle();
    world.told(a);
    for number in 1..=4 {
        // All at once: what is in flight counts.
        world.send(a, number as u16, number, bob, b"x");
    }
    world.settle();
    let told = world.told(a);
    let refused = told.iter().find_map(|(tag, event)| match event {
        WireEvent::Error(error) => Some((*tag, error.code, error.retry_after_ms)),
        _ => None,
    });
    assert_eq!(refused, Some((4, ErrorCode::Quota, 60_000)));
    world.ack(b, 3);
    world.settle();
    world.send(a, 5, 4, bob, b"x");
    world.settle();
    assert_eq!(world.messages(b).len(), 4);
}

#[test]
fn a_full_device_gets_a_gap_that_is_announced_once_it_has_drained() {
    let mut world = World::with_limits(2, three());
    let (alice, bob) = (world.user(0, 0), world.user(1, 0));
    let a = world.sign_in(alice, 1);
    let b = world.sign_in(bob, 1);
    let late = world.sign_in(bob, 2);
    world.settle();
    world.hang_up(late);
    for number in 1..=6 {
        world.send(a, 0, number, bob, b"x");
        world.settle();
        world.ack(b, number);
        world.settle();
    }
    assert_eq!(world.messages(b).len(), 6, "the device that reads gets all");
    let late = world.sign_in(bob, 2);
    world.settle();
    let told = world.told(late);
    assert_eq!(told.len(), 3, "what was kept, and no word of an empty queue: {told:?}");
    world.ack(late, 3);
    world.settle();
    assert_eq!(world.told(late), [(0, WireEvent::QueueEmpty { push: 4, gap: true })]);
    // The queue is open again, behind the notice that is not acked yet.
    world.send(a, 0, 7, bob, b"x");
    world.settle();
    assert_eq!(world.messages(late).len(), 1);
    world.hang_up(late);
    let late = world.sign_in(bob, 2);
    world.settle();
    let told = world.told(late);
    assert!(matches!(told[0].1, WireEvent::QueueEmpty { push: 1, gap: true }), "{told:?}");
    world.ack(late, 2);
    world.settle();
    let image = world.truth.image(bob).expect("known");
    let state = image.devices.iter().find(|known| known.device == device(2)).expect("known");
    assert!(state.entries.is_empty() && !state.gap);
}

#[test]
fn copies_for_the_senders_other_devices_meet_the_same_limits() {
    let mut world = World::with_limits(2, three());
    let (alice, bob) = (world.user(0, 0), world.user(1, 0));
    let a = world.sign_in(alice, 1);
    let other = world.sign_in(alice, 2);
    let b = world.sign_in(bob, 1);
    world.settle();
    for number in 1..=4 {
        world.send(a, 0, number, bob, b"x");
        world.settle();
        world.ack(b, number);
        world.settle();
    }
    let copies = world.messages(other);
    assert_eq!(copies.len(), 3);
    assert!(copies.iter().all(|copy| copy.from == alice && copy.to == bob));
    // Three copies, and the four receipts that every device of the sender gets.
    world.ack(other, 7);
    world.settle();
    let told = world.told(other);
    assert!(
        told.iter().any(|(_, event)| matches!(event, WireEvent::QueueEmpty { gap: true, .. })),
        "{told:?}"
    );
}

#[test]
fn entries_leave_at_their_time_to_live_without_being_delivered() {
    let limits = ShardLimits { queue_ttl: Duration::from_secs(3600), ..three() };
    let mut world = World::with_limits(1, limits);
    let (alice, bob) = (world.user(0, 0), world.user(0, 1));
    let a = world.sign_in(alice, 1);
    let b = world.sign_in(bob, 1);
    world.settle();
    world.hang_up(b);
    for number in 1..=3 {
        world.send(a, 0, number, bob, b"old");
    }
    world.settle();
    world.told(a);
    world.pass(Duration::from_secs(3601));
    // The first one meets a full queue, and makes room for the next.
    world.send(a, 4, 4, bob, b"new");
    world.settle();
    assert_eq!(world.errors(a), [(4, ErrorCode::Quota)]);
    world.send(a, 5, 4, bob, b"new");
    world.settle();
    let b = world.sign_in(bob, 1);
    world.settle();
    let told = world.messages(b);
    assert_eq!((told.len(), &told[0].body[..]), (1, &b"new"[..]));
    assert_eq!(world.shards[0].counters().entries_expired, 3);
    let statuses: Vec<_> = world.receipts(a).iter().map(|receipt| receipt.1).collect();
    assert_eq!(statuses, [ringpost_wire::event::Status::Sent], "nothing old was delivered");
}

#[test]
fn receipts_of_an_absent_device_are_bounded() {
    let limits = ShardLimits { queue_receipts_max: 2, ..ShardLimits::default() };
    let mut world = World::with_limits(1, limits);
    let alice = world.user(0, 0);
    let a = world.sign_in(alice, 1);
    world.settle();
    for nth in 1..=4 {
        let peer = world.user(0, nth);
        let connection = world.sign_in(peer, 1);
        world.settle();
        world.send(a, 0, nth as u64, peer, b"x");
        world.settle();
        if nth == 1 {
            // From here on the sender's device acks nothing.
            world.slow.insert(a);
        }
        world.ack(connection, 1);
        world.settle();
    }
    let image = world.truth.image(alice).expect("known");
    assert_eq!(image.devices[0].receipts.len(), 2);
    assert_eq!(world.shards[0].counters().receipts_trimmed, 2);
}
