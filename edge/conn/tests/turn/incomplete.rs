//! Setup: a limit for the incomplete input of a worker. Action: very many begin a frame and do not end
//! it. Expectation: those not heard for the longest time are told to come later, the sum stays below the
//! limit but for what one turn receives, and who is at work gets his frame through.

use std::time::Duration;

use ringpost_conn::ConnectionConfig;
use ringpost_ring::fake::{FakeSizes, Faults};
use ringpost_wire::{CloseCode, Event};

use crate::client::{encoded, message};
use crate::world::{Setup, World};

const SEEDS: u64 = 10;
const INPUT_BYTES_MAX: usize = 100_000;
const BODY_BYTES: usize = 10_000;
const BUFFER_BYTES: usize = 1_024;
const HOLDERS: usize = 40;

fn world(seed: u64) -> World {
    let config = ConnectionConfig { input_bytes_max: INPUT_BYTES_MAX, ..Default::default() };
    let sizes = FakeSizes { buffer_bytes: BUFFER_BYTES, ..FakeSizes::default() };
    let faults = Faults::gentle();
    World::with(&Setup { config, sizes, faults, slots: 100, ..Setup::new(1, seed) })
}

fn held(world: &World) -> usize {
    world.drivers[0].worker().gauges().input_bytes
}

#[test]
fn who_holds_a_part_of_a_frame_the_longest_goes_first_and_who_is_at_work_stays() {
    for seed in 0..SEEDS {
        let mut world = world(seed);
        let users: Vec<_> = (0..HOLDERS + 1).map(|nth| world.user_at(0, nth)).collect();
        let clients: Vec<_> = users.iter().map(|&user| world.sign_in(0, user, 1)).collect();
        let (&worker, holders) = clients.split_last().expect("there are some");
        let frame = encoded(0, &message(1, users[0], &[7; BODY_BYTES]));
        for &holder in holders {
            world.clients[holder].write(&frame[..frame.len() - 1]);
            world.settle();
            world.pass(Duration::from_millis(50));
            let most = INPUT_BYTES_MAX + BUFFER_BYTES;
            assert!(held(&world) <= most, "seed {seed}: {}", held(&world));
        }
        let closed: Vec<_> = holders
            .iter()
            .map(|&holder| world.clients[holder].close_code() == Some(CloseCode::TryLater))
            .collect();
        let count = closed.iter().filter(|&&closed| closed).count();
        assert!(closed[..count].iter().all(|&closed| closed), "seed {seed}: the oldest");
        assert!((20..HOLDERS).contains(&count), "seed {seed}: {count}");
        assert_eq!(world.counters(0).inputs_shed, count as u64);
        // One who begins now, and those who have stayed, end their frames.
        let whole = encoded(1, &message(2, users[0], &[7; BODY_BYTES]));
        world.clients[worker].write(&whole);
        for &holder in &holders[count..] {
            world.clients[holder].write(&frame[frame.len() - 1..]);
        }
        world.settle();
        assert_eq!(held(&world), 0, "seed {seed}");
        for &client in clients[count..].iter() {
            let told = world.clients[client].take();
            assert!(told.iter().any(|it| matches!(it, Event::Receipt(_))), "seed {seed}: {told:?}");
        }
    }
}

/// The same where nobody has signed in: heads and first frames count alike.
#[test]
fn strangers_who_begin_and_do_not_end_are_bounded_too() {
    for seed in 0..SEEDS {
        let mut world = world(seed);
        let strangers: Vec<_> = (0..80).map(|_| world.connect(0)).collect();
        for (nth, &stranger) in strangers.iter().enumerate() {
            let client = &mut world.clients[stranger];
            client.raw = Some(Vec::new());
            match nth % 2 {
                0 => client.write(&[b"GET / HTTP/1.1\r\nX: ", &[b'x'; 3_000][..]].concat()),
                _ => client.write(&[b"RPP1\x28\x23\0\0\x01\0\0\0", &[0; 5_000][..]].concat()),
            }
            world.settle();
            let most = INPUT_BYTES_MAX + BUFFER_BYTES;
            assert!(held(&world) <= most, "seed {seed}: {}", held(&world));
        }
        assert!(world.counters(0).inputs_shed > 0, "seed {seed}");
        world.pass(Duration::from_secs(30));
        assert_eq!(held(&world), 0, "seed {seed}: too late through the handshake");
    }
}
