//! A wall clock that jumps: ids rise, order holds, nothing expires before the clock is believed
//! again, receipts tell the time, no rate is given away or withheld. Row 42 of the abuse table.

use std::time::Duration;

use ringpost_shard::ShardLimits;
use ringpost_shard::event::ConnectionKey;
use ringpost_shard::limits::Rate;
use ringpost_wire::{ErrorCode, Event as WireEvent, UserId};

use crate::world::World;

const DAY_MS: u64 = 24 * 3600 * 1000;

#[test]
fn abuse_row_42_order_holds_while_the_clock_jumps_by_a_day_each_way_and_over_a_restart() {
    let mut world = World::new(2);
    let (alice, bob) = (world.user(0, 0), world.user(1, 0));
    let (mut a, mut b) = (world.sign_in(alice, 1), world.sign_in(bob, 1));
    world.settle();
    let mut ids = Vec::new();
    let start = world.now.wall_ms;
    let clock = [start, start + DAY_MS, start - DAY_MS, start, start];
    for (number, wall_ms) in (1..).zip(clock) {
        world.now.wall_ms = wall_ms;
        world.pass(Duration::from_millis(0));
        world.send(a, 0, number, bob, b"x");
        world.settle();
        ids.extend(world.messages(b).iter().map(|message| message.id));
        if number == 3 {
            world.ack(b, 3);
            world.settle();
            world.crash(2, 0);
            (a, b) = (world.sign_in(alice, 1), world.sign_in(bob, 1));
            world.settle();
        }
    }
    assert_eq!(ids.len(), 5);
    assert!(ids.is_sorted() && ids.windows(2).all(|pair| pair[0] != pair[1]), "{ids:?}");
}

/// The times of the `sent` that a connection was told since the last look.
fn sent_at(world: &mut World, connection: ConnectionKey) -> Vec<u64> {
    let told = world.told(connection);
    told.into_iter()
        .filter_map(|(_, event)| match event {
            WireEvent::Receipt(receipt) if receipt.push == 0 => Some(receipt.timestamp_ms),
            _ => None,
        })
        .collect()
}

#[test]
fn receipts_tell_the_time_through_a_step_of_the_clock_and_behind_it() {
    for jump_ms in [400 * DAY_MS as i64, -400 * DAY_MS as i64] {
        let limits = ShardLimits { accepted_cache_max: 1, ..ShardLimits::default() };
        let mut world = World::with_limits(2, limits);
        let (alice, bob) = (world.user(0, 0), world.user(1, 0));
        let mut a = world.sign_in(alice, 1);
        world.sign_in(bob, 1);
        world.settle();
        let start = world.now.wall_ms;
        world.now.wall_ms = start.strict_add_signed(jump_ms);
        world.pass(Duration::from_secs(1));
        world.send(a, 0, 1, bob, b"while it was wrong");
        world.settle();
        world.now.wall_ms = start;
        world.pass(Duration::from_secs(2));
        world.send(a, 0, 2, bob, b"when it was right again");
        world.settle();
        let first = sent_at(&mut world, a);
        assert_eq!(first, [start + 1_000, start + 2_000], "{jump_ms}");
        for restart in [false, true] {
            if restart {
                world.crash(2, 0);
                a = world.sign_in(alice, 1);
                world.settle();
                world.told(a);
            }
            world.send(a, 0, 2, bob, b"when it was right again");
            world.send(a, 0, 1, bob, b"while it was wrong");
            world.settle();
            assert_eq!(sent_at(&mut world, a), [first[1], first[0]], "the same answer each time");
        }
    }
}

/// A message waits for Bob, who is away; the wall clock jumps by 400 days.
fn waiting_while_the_clock_jumps() -> (World, UserId) {
    let mut world = World::new(2);
    let (alice, bob) = (world.user(0, 0), world.user(1, 0));
    let (a, b) = (world.sign_in(alice, 1), world.sign_in(bob, 1));
    world.settle();
    world.hang_up(b);
    world.send(a, 0, 1, bob, b"it waits");
    world.settle();
    world.now.wall_ms += 400 * DAY_MS;
    (world, bob)
}

/// How many messages Bob is shown when he comes.
fn shown(world: &mut World, bob: UserId) -> usize {
    let b = world.sign_in(bob, 1);
    world.settle();
    let shown = world.messages(b).len();
    world.hang_up(b);
    shown
}

#[test]
fn nothing_expires_by_a_jump_until_the_clock_has_agreed_for_a_day() {
    let (mut world, bob) = waiting_while_the_clock_jumps();
    assert_eq!(shown(&mut world, bob), 1);
    world.crash(2, 0);
    assert_eq!(shown(&mut world, bob), 1, "a restart is no agreement");
    world.pass(Duration::from_millis(DAY_MS) - Duration::from_secs(1));
    assert_eq!(shown(&mut world, bob), 1);
    world.pass(Duration::from_secs(1));
    assert_eq!(shown(&mut world, bob), 0);
}

#[test]
fn an_operators_word_lets_expire_what_is_too_old() {
    let (mut world, bob) = waiting_while_the_clock_jumps();
    assert_eq!(shown(&mut world, bob), 1);
    world.trust_clock();
    assert_eq!(shown(&mut world, bob), 0);
}

#[test]
fn what_came_while_the_clock_was_behind_is_not_old_when_it_is_right_again() {
    let mut world = World::new(2);
    let (alice, bob) = (world.user(0, 0), world.user(1, 0));
    let (a, b) = (world.sign_in(alice, 1), world.sign_in(bob, 1));
    world.settle();
    world.hang_up(b);
    world.now.wall_ms -= 400 * DAY_MS;
    world.send(a, 0, 1, bob, b"it waits");
    world.settle();
    world.now.wall_ms += 400 * DAY_MS;
    assert_eq!(shown(&mut world, bob), 1);
}

#[test]
fn abuse_row_42_a_jump_neither_grants_nor_delays_what_a_rate_allows() {
    for jump_ms in [DAY_MS as i64, -(DAY_MS as i64)] {
        let user_sends = Rate { per_second: 10, burst: 2 };
        let limits = ShardLimits { user_sends, ..ShardLimits::default() };
        let mut world = World::with_limits(1, limits);
        let (alice, bob) = (world.user(0, 0), world.user(0, 1));
        let a = world.sign_in(alice, 1);
        world.sign_in(bob, 1);
        world.settle();
        world.told(a);
        for number in 1..=2 {
            world.send(a, 0, number, bob, b"x");
        }
        world.settle();
        world.told(a);
        world.now.wall_ms = world.now.wall_ms.strict_add_signed(jump_ms);
        world.send(a, 3, 3, bob, b"x");
        let told = world.told(a);
        let [(3, WireEvent::Error(error))] = &told[..] else { panic!("{jump_ms}: {told:?}") };
        assert_eq!((error.code, error.retry_after_ms), (ErrorCode::RateLimited, 100));
        world.pass(Duration::from_millis(100));
        world.send(a, 4, 3, bob, b"x");
        world.settle();
        assert_eq!(world.receipts(a).len(), 1, "{jump_ms}");
    }
}

#[test]
fn abuse_row_42_what_waits_for_a_device_outlives_a_jump() {
    for jump_ms in [DAY_MS as i64, -(DAY_MS as i64)] {
        let mut world = World::new(2);
        let (alice, bob) = (world.user(0, 0), world.user(1, 0));
        let a = world.sign_in(alice, 1);
        let b = world.sign_in(bob, 1);
        world.settle();
        world.hang_up(b);
        world.send(a, 0, 1, bob, b"before");
        world.settle();
        world.now.wall_ms = world.now.wall_ms.strict_add_signed(jump_ms);
        world.send(a, 0, 2, bob, b"after");
        world.settle();
        let b = world.sign_in(bob, 1);
        world.settle();
        let got = world.messages(b);
        let bodies: Vec<&[u8]> = got.iter().map(|message| &message.body[..]).collect();
        assert_eq!(bodies, [&b"before"[..], b"after"], "{jump_ms}");
        assert!(got[0].id < got[1].id);
        assert_eq!(world.shards[1].counters().entries_expired, 0);
    }
}
