//! Setup: clients whose input is not complete, over every protocol. Action: it goes on, or ends in
//! any way. Expectation: what it takes stands in the ledger while it does, and not afterwards.

use ringpost_wire::Command;

use crate::client::{encoded, message};
use crate::world::World;

const SEEDS: u64 = 10;

fn input_bytes(world: &World) -> usize {
    world.drivers.iter().map(|driver| driver.worker().gauges().input_bytes).sum()
}

#[test]
fn half_a_message_stands_in_the_ledger_until_it_is_whole_or_gone() {
    for seed in 0..SEEDS {
        let mut world = World::new(1, seed);
        let users = [world.user_at(0, 0), world.user_at(0, 1)];
        let clients = users.map(|user| world.sign_in(0, user, 1));
        assert_eq!(input_bytes(&world), 0, "seed {seed}: a session at rest holds nothing");
        let before = world.drivers[0].worker().ledger().user_bytes;
        let whole = encoded(2, &message(1, users[1], &[7; 10_000]));
        for client in clients {
            world.clients[client].write(&whole[..8_000]);
        }
        world.settle();
        let held = input_bytes(&world);
        assert!(held > 2 * 7_900, "seed {seed}: {held} bytes are held");
        assert!(world.drivers[0].worker().ledger().user_bytes >= before + held);
        world.clients[clients[0]].write(&whole[8_000..]);
        world.clients[clients[1]].reset();
        world.settle();
        assert_eq!(input_bytes(&world), 0, "seed {seed}");
    }
}

#[test]
fn half_a_head_stands_in_the_ledger_until_the_connection_is_refused() {
    let mut world = World::new(1, 3);
    let client = world.connect(0);
    world.clients[client].raw = Some(Vec::new());
    world.clients[client].write(b"GET /v1/ws HTTP/1.1\r\nHost: somewhere\r\n");
    world.settle();
    assert!(input_bytes(&world) > 0);
    world.clients[client].write(b"not a field\r\n\r\n");
    world.settle();
    assert_eq!(input_bytes(&world), 0);
}

/// What came behind a `hello` is counted where it is: here, on its way at home, then nowhere.
#[test]
fn what_waits_for_the_welcome_is_counted_at_the_worker_that_has_it() {
    for seed in 0..SEEDS {
        let mut world = World::new(2, seed);
        let user = world.user_at(1, 0);
        world.checks_held = true;
        let client = world.greet(0, user, 1);
        world.say(client, &Command::Ping { nonce: 1 });
        world.settle();
        let here = world.drivers[0].worker().gauges();
        world.checks_held = false;
        world.settle();
        // The ping may have come in a receive of its own, which is not armed then.
        assert!(here.input_bytes < 1_024, "seed {seed}: at most one buffer");
        assert_eq!(input_bytes(&world), 0, "seed {seed}");
    }
}
