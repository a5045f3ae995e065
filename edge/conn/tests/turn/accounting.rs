//! Setup: two workers. Action: connections come, move, sign in, send, are displaced, broken, closed
//! and refused, many times. Expectation: when everybody is gone, nothing is held for anybody.

use std::time::Duration;

use ringpost_conn::ConnectionConfig;
use ringpost_ring::fake::Faults;
use ringpost_wire::Command;

use crate::client::message;
use crate::world::{Setup, World};

#[test]
fn everything_is_given_back_when_everybody_is_gone() {
    for seed in 0..20 {
        let setup = Setup { faults: Faults::harsh(), slots: 6, ..Setup::new(2, seed) };
        let mut world = World::with(&setup);
        let users = [world.user_at(0, 0), world.user_at(1, 0)];
        let mut number = 0;
        for _ in 0..30 {
            let (worker, user, to) =
                (world.dice.below(2), world.dice.below(2), world.dice.below(2));
            let (user, to) = (users[user], users[to]);
            let client = world.greet(worker, user, 1);
            for _ in 0..world.dice.below(30) {
                world.round();
            }
            number += 1;
            world.say(client, &message(number, to, &[1; 700]));
            for _ in 0..world.dice.below(30) {
                world.round();
            }
            match world.dice.below(4) {
                0 => world.say(client, &Command::Bye),
                1 => world.clients[client].hang_up(),
                2 => world.clients[client].reset(),
                _ => world.clients[client].read_bytes = 0,
            }
            if world.dice.chance(4) {
                world.pass(Duration::from_secs(3));
            }
        }
        world.clients.iter_mut().for_each(|client| client.hang_up());
        world.settle();
        // Nobody is told by TCP that the far end of a connection which it does not read is gone.
        world.pass(ConnectionConfig::default().ping_interval_tcp * 3);
        world.check_nothing_is_left();
    }
}
