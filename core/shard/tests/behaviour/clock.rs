//! A wall clock that jumps: ids rise, order holds, nothing expires that should not.

use std::time::Duration;

use crate::world::World;

const DAY_MS: u64 = 24 * 3600 * 1000;

#[test]
fn order_holds_while_the_clock_jumps_by_a_day_each_way_and_over_a_restart() {
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
