//! Setup: two workers with sessions that talk. Action: connections come and go by the hundred, or
//! everybody comes back at once. Expectation: a turn takes no more than its fill, those who are here
//! go on being served meanwhile, and everybody who comes back is signed in.

use std::time::Duration;

use ringpost_conn::ConnectionConfig;
use ringpost_wire::{Command, Event};

use crate::world::{Setup, World};

const SEEDS: u64 = 10;
const FILL: u32 = 4;
/// Connections come in one of the next rounds; that so many bring no fill is as good as impossible.
const ROUNDS_MAX: usize = 1_000;
const REST: Duration = Duration::from_millis(1);

fn setup(workers: u16, seed: u64) -> Setup {
    let config = ConnectionConfig { accepts_per_turn_max: FILL, ..ConnectionConfig::default() };
    Setup { config, slots: 512, ..Setup::new(workers, seed) }
}

/// Row 33: who only connects and leaves costs a turn its fill, and those who are here nothing.
#[test]
fn churn_takes_no_more_of_a_turn_than_its_fill_and_nobody_who_is_here_waits() {
    for seed in 0..SEEDS {
        let mut world = World::with(&setup(1, seed));
        let user = world.user_at(0, 0);
        let here = world.sign_in(0, user, 1);
        let mut churn: Vec<usize> = Vec::new();
        for nonce in 0..20 {
            churn.extend((0..40).map(|_| world.connect(0)));
            let before = world.counters(0).accept_rests;
            world.say(here, &Command::Ping { nonce });
            let rested = (0..ROUNDS_MAX).any(|_| {
                world.round();
                world.counters(0).accept_rests > before
            });
            assert!(rested, "seed {seed}: a turn took its fill");
            // Without a tick of the clock the others stay in the backlog.
            let taken = world.counters(0).accepted;
            world.settle();
            assert_eq!(world.counters(0).accepted, taken, "seed {seed}: accepted while it rests");
            assert_eq!(world.clients[here].take(), [Event::Pong { nonce }], "seed {seed}");
            for client in churn.drain(..) {
                world.clients[client].hang_up();
            }
            world.now.mono += REST;
        }
        world.clients[here].hang_up();
        world.pass(ConnectionConfig::default().sign_in_deadline);
        world.check_nothing_is_left();
    }
}

/// Row 34: a server has started again, and all clients come at once, half of them to a worker that
/// is not their home.
#[test]
fn everybody_who_comes_back_at_once_is_signed_in() {
    for seed in 0..SEEDS {
        let mut world = World::with(&setup(2, seed));
        let comers: Vec<usize> = (0..120)
            .map(|number| {
                let user = world.user_at(number % 2, number / 2);
                let worker = world.dice.below(2);
                world.greet(worker, user, 1)
            })
            .collect();
        world.pass(120 * REST);
        for &client in &comers {
            let told = world.clients[client].take();
            assert!(matches!(told[..], [Event::Welcome(_), ..]), "seed {seed}: {told:?}");
        }
        let sessions = world.drivers.iter().map(|it| it.worker().shard().gauges().sessions);
        assert_eq!(sessions.sum::<u64>(), 120, "seed {seed}");
        let rests: u64 = (0..2).map(|worker| world.counters(worker).accept_rests).sum();
        assert!(rests > 0, "seed {seed}: the case was met");
    }
}
