//! The conformance suite over the fake driver, for many seeds.

#![allow(clippy::unwrap_used, reason = "helpers of a test")]

mod suite;

use std::net::SocketAddr;

use ringpost_ring::Rings;
use ringpost_ring::fake::{FakePeer, FakeRing, FakeWorld, PeerRead};
use suite::{Far, World, cases, walk};

const SEEDS: u64 = 40;

struct Memory {
    world: FakeWorld,
    rings: FakeRing,
    other: FakeRing,
}

impl Memory {
    fn new(seed: u64) -> Self {
        let world = FakeWorld::new(seed);
        Self { rings: world.ring(16), other: world.ring(16), world }
    }
}

impl World for Memory {
    type Rings = FakeRing;
    type Far = FakePeer;

    fn rings(&mut self) -> &mut FakeRing {
        &mut self.rings
    }

    fn other(&mut self) -> &mut FakeRing {
        &mut self.other
    }

    fn connect(&mut self) -> FakePeer {
        self.world.connect(self.rings.handle())
    }

    fn installs(&self) -> bool {
        false
    }
}

impl Far for FakePeer {
    fn write(&mut self, bytes: &[u8]) -> usize {
        FakePeer::write(self, bytes).unwrap()
    }

    fn read(&mut self, most: usize) -> Option<Vec<u8>> {
        match FakePeer::read(self, most) {
            PeerRead::Bytes(bytes) => Some(bytes),
            PeerRead::End | PeerRead::Reset => None,
        }
    }

    fn shutdown_write(&mut self) {
        FakePeer::shutdown_write(self);
    }

    fn reset(self) {
        FakePeer::reset(self);
    }

    fn address(&self) -> SocketAddr {
        FakePeer::address(self)
    }
}

macro_rules! conform {
    ($($case:ident),* $(,)?) => { $(
        #[test]
        fn $case() {
            for seed in 0..SEEDS {
                println!("seed {seed}");
                cases::$case(&mut Memory::new(seed));
            }
        }
    )* };
}

conform!(
    echo_returns_every_byte,
    a_one_shot_receive_reports_once,
    a_poll_tells_of_input_and_leaves_it,
    the_end_comes_after_the_last_byte,
    a_reset_fails_the_receive,
    a_stopped_receive_loses_no_bytes,
    every_stop_is_answered_once,
    a_slow_reader_gets_every_byte,
    chunks_leave_in_order,
    a_close_ends_what_is_in_flight,
    a_new_life_hears_nothing_of_the_old,
    a_moved_connection_keeps_its_stream,
    the_peer_address_is_the_far_end,
    a_wake_arrives,
    a_pause_holds_connections_back,
    an_installed_connection_leaves_the_ring,
    an_installed_connection_comes_back,
);

#[test]
fn any_sequence_of_operations_keeps_the_promises() {
    for seed in 0..200 {
        println!("seed {seed}");
        walk::any_sequence_of_operations_keeps_the_promises(&mut Memory::new(seed), seed, 1_000);
    }
}
