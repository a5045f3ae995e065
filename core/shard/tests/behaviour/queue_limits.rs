//! What a queue holds: a share for each sender, and `quota` for who has used it up; receipts.

use std::time::Duration;

use ringpost_shard::event::ConnectionKey;
use ringpost_shard::{Bound, ShardLimits};
use ringpost_wire::{ErrorCode, Event as WireEvent, UserId};

use crate::world::{World, device};

/// Twelve messages in a queue, three of one sender.
fn twelve() -> ShardLimits {
    ShardLimits {
        queue_entries_max: 12,
        queue_sender_share: 4,
        queue_sender_entries_min: 1,
        ..ShardLimits::default()
    }
}

/// A world, a recipient whose one device is away, and so many senders.
fn absent(limits: ShardLimits, senders: usize) -> (World, UserId, Vec<ConnectionKey>) {
    let mut world = World::with_limits(2, limits);
    let bob = world.user(1, 0);
    let b = world.sign_in(bob, 1);
    world.settle();
    world.hang_up(b);
    let senders = (0..senders)
        .map(|nth| {
            let user = world.user((nth % 2) as u16, 1 + nth);
            world.sign_in(user, 1)
        })
        .collect::<Vec<_>>();
    world.settle();
    senders.iter().for_each(|&sender| drop(world.told(sender)));
    (world, bob, senders)
}

/// Sends so many, under numbers from `first`; answers how many were refused with `quota`.
fn send(world: &mut World, from: ConnectionKey, to: UserId, first: u64, count: u64) -> usize {
    for number in first..first + count {
        world.send(from, number as u16, number, to, b"x");
    }
    world.settle();
    let errors = world.errors(from);
    assert!(errors.iter().all(|(_, code)| *code == ErrorCode::Quota), "{errors:?}");
    errors.len()
}

#[test]
fn a_queue_that_ten_senders_have_filled_refuses_each_of_them_and_takes_the_eleventh() {
    let limits = ShardLimits { queue_entries_max: 1000, ..ShardLimits::default() };
    let (mut world, bob, senders) = absent(limits, 11);
    for (nth, &sender) in senders[..9].iter().enumerate() {
        // Nobody holds more than a tenth, whoever else has room.
        assert_eq!(send(&mut world, sender, bob, 1, 110), 10, "sender {nth}");
    }
    assert_eq!(send(&mut world, senders[9], bob, 1, 100), 0);
    let eleventh = senders[10];
    assert_eq!(send(&mut world, eleventh, bob, 1, 5), 0, "it is not to blame");
    assert_eq!(world.receipts(eleventh).len(), 5, "each is `sent`");
    let b = world.sign_in(bob, 1);
    world.settle();
    let mut kept = 0;
    loop {
        let got = world.messages(b).len() as u64;
        if got == 0 {
            break;
        }
        kept += got;
        world.ack(b, kept);
        world.settle();
    }
    assert_eq!(kept, 1000);
    let gap = world.truth.gap(bob, device(1)).expect("what the eleventh wrote lies in it");
    let cursor = ringpost_wire::HistoryCursor(gap.after.0).to_text();
    assert_eq!(world.truth.history(bob, &cursor).len(), 5);
}

#[test]
fn room_on_the_way_counts_in_a_senders_share() {
    let (mut world, bob, senders) = absent(twelve(), 2);
    for number in 1..=5 {
        world.send(senders[0], number as u16, number, bob, b"x");
    }
    world.send(senders[1], 1, 1, bob, b"x");
    world.settle_without_commits();
    assert_eq!(world.errors(senders[0]), [(4, ErrorCode::Quota), (5, ErrorCode::Quota)]);
    assert_eq!(world.errors(senders[1]), []);
    let hits: u64 =
        world.shards.iter().map(|it| it.counters().hits.count(Bound::SenderShare)).sum();
    assert_eq!(hits, 2);
}

#[test]
fn a_senders_devices_share_one_part_and_an_ack_gives_it_back() {
    let (mut world, bob, senders) = absent(twelve(), 1);
    let alice = world.user(0, 1);
    let second = world.sign_in(alice, 2);
    world.settle();
    world.told(second);
    assert_eq!(send(&mut world, senders[0], bob, 1, 2), 0);
    assert_eq!(send(&mut world, second, bob, 1, 2), 1);
    let b = world.sign_in(bob, 1);
    world.settle();
    world.ack(b, 2);
    world.settle();
    assert_eq!(send(&mut world, second, bob, 2, 3), 1);
}

#[test]
fn the_share_is_counted_anew_when_a_user_is_loaded_after_a_crash() {
    let (mut world, bob, senders) = absent(twelve(), 2);
    assert_eq!(send(&mut world, senders[0], bob, 1, 4), 1);
    world.crash(2, 0);
    let alice = world.user(0, 1);
    let a = world.sign_in(alice, 1);
    let other = world.user(1, 2);
    let other = world.sign_in(other, 1);
    world.settle();
    world.told(a);
    world.told(other);
    assert_eq!(send(&mut world, a, bob, 5, 1), 1, "as it was before");
    assert_eq!(send(&mut world, other, bob, 5, 1), 0);
}

#[test]
fn who_has_used_up_its_share_at_one_device_writes_on_while_another_takes_it() {
    let (mut world, bob, senders) = absent(twelve(), 1);
    let second = world.sign_in(bob, 2);
    world.settle();
    world.told(second);
    for number in 1..=5 {
        assert_eq!(send(&mut world, senders[0], bob, number, 1), 0);
        world.ack(second, number);
        world.settle();
    }
    assert_eq!(world.messages(second).len(), 5);
    assert!(world.truth.gap(bob, device(1)).is_some(), "the device that is away has a gap");
    assert_eq!(world.truth.gap(bob, device(2)), None);
}

#[test]
fn a_queue_that_is_full_or_has_a_gap_refuses_nobody() {
    let limits = ShardLimits { queue_entries_max: 3, ..twelve() };
    let limits = ShardLimits { queue_sender_share: 1, ..limits };
    let (mut world, bob, senders) = absent(limits, 2);
    assert_eq!(send(&mut world, senders[0], bob, 1, 6), 0, "full by one sender alone");
    assert_eq!(send(&mut world, senders[1], bob, 1, 2), 0);
    let image = world.truth.image(bob).expect("known");
    assert_eq!(image.devices[0].entries.len(), 3);
    assert_eq!(world.shards.iter().map(|it| it.counters().gaps).sum::<u64>(), 5);
    let full: u64 =
        world.shards.iter().map(|it| it.counters().hits.count(Bound::QueueEntries)).sum();
    assert!(full > 0, "the others find the gap");
}

#[test]
fn notes_to_oneself_are_not_counted_against_oneself() {
    let (mut world, bob, _) = absent(twelve(), 0);
    let second = world.sign_in(bob, 2);
    world.settle();
    world.told(second);
    assert_eq!(send(&mut world, second, bob, 1, 6), 0);
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

#[test]
fn a_refusal_by_quota_says_when_to_repeat() {
    let (mut world, bob, senders) = absent(twelve(), 1);
    for number in 1..=4 {
        world.send(senders[0], number as u16, number, bob, b"x");
    }
    world.settle();
    let told = world.told(senders[0]);
    let retry = told.iter().find_map(|(_, event)| match event {
        WireEvent::Error(error) => Some(Duration::from_millis(error.retry_after_ms.into())),
        _ => None,
    });
    assert_eq!(retry, Some(Duration::from_secs(60)));
    let refused: u64 = world.shards.iter().map(|it| it.counters().refused(ErrorCode::Quota)).sum();
    assert_eq!(refused, 1);
}
