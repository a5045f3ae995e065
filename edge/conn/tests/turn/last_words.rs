//! Setup: a client that ends its own direction right behind what ends the connection. Action: the
//! end of its stream comes before the last word is written. Expectation: it reads the last word,
//! then the end, and nothing is left.

use ringpost_wire::frame::PREAMBLE;
use ringpost_wire::{CloseCode, Command};

use crate::client::End;
use crate::world::World;

const SEEDS: u64 = 40;

#[test]
fn a_client_that_ends_its_direction_behind_bye_reads_the_last_word() {
    for seed in 0..SEEDS {
        let mut world = World::new(2, seed);
        let user = world.user_at(1, 0);
        let client = world.sign_in(0, user, 1);
        world.say(client, &Command::Bye);
        world.clients[client].round();
        world.clients[client].shutdown_write();
        world.settle();
        assert_eq!(world.clients[client].close_code(), Some(CloseCode::Normal), "seed {seed}");
        assert_eq!(world.clients[client].end, Some(End::Orderly), "seed {seed}");
        world.check_nothing_is_left();
    }
}

#[test]
fn a_client_that_ends_its_direction_behind_a_violation_reads_why() {
    for seed in 0..SEEDS {
        let mut world = World::new(1, seed);
        let client = world.connect(0);
        world.clients[client].write(&PREAMBLE);
        // A header that announces more than any frame has.
        world.clients[client].write(&[0xff; 8]);
        world.clients[client].round();
        world.clients[client].shutdown_write();
        world.settle();
        assert_eq!(world.clients[client].close_code(), Some(CloseCode::TooBig), "seed {seed}");
        assert_eq!(world.clients[client].end, Some(End::Orderly), "seed {seed}");
        world.check_nothing_is_left();
    }
}
