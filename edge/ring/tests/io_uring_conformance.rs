//! The conformance suite over the io_uring driver, on loopback: on one ring, and on so many small
//! ones that hardly two connections share one.

#![allow(clippy::unwrap_used, reason = "helpers of a test")]

mod suite;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

use nix::sys::socket::{setsockopt, sockopt};
use ringpost_ring::{RingConfig, RingSet};
use suite::{Far, World, cases, walk};

struct Loopback {
    rings: RingSet,
    other: RingSet,
    address: SocketAddr,
}

impl Loopback {
    fn on_one_ring() -> Self {
        Self::with(&RingConfig::default())
    }

    fn on_many_rings() -> Self {
        let (slots_max, slots_per_ring_max, rings_max) = (32, 2, 16);
        let sizes =
            RingConfig { slots_max, slots_per_ring_max, rings_max, ..RingConfig::default() };
        Self::with(&sizes)
    }

    fn with(sizes: &RingConfig) -> Self {
        let config = RingConfig {
            submission_entries: 256,
            completion_entries: 4_096,
            buffers: 64,
            ..sizes.clone()
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut rings = RingSet::open(&config).unwrap();
        rings.listen(listener.into());
        Self { rings, other: RingSet::open(&config).unwrap(), address }
    }
}

impl World for Loopback {
    type Rings = RingSet;
    type Far = Socket;

    fn rings(&mut self) -> &mut RingSet {
        &mut self.rings
    }

    fn other(&mut self) -> &mut RingSet {
        &mut self.other
    }

    fn connect(&mut self) -> Socket {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream.set_nodelay(true).unwrap();
        Socket(stream)
    }
}

/// A far end; a type of its own, because it reads and writes in its own way.
struct Socket(TcpStream);

impl Far for Socket {
    fn write(&mut self, bytes: &[u8]) -> usize {
        match self.0.write(bytes) {
            Ok(written) => written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("the far end writes: {error}"),
        }
    }

    fn read(&mut self, most: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; most];
        match self.0.read(&mut bytes) {
            Ok(0) if most > 0 => None,
            Ok(read) => {
                bytes.truncate(read);
                Some(bytes)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Some(Vec::new()),
            Err(_) => None,
        }
    }

    fn shutdown_write(&mut self) {
        self.0.shutdown(Shutdown::Write).unwrap();
    }

    fn reset(self) {
        let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(&self.0, sockopt::Linger, &linger).unwrap();
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }
}

macro_rules! conform {
    ($($case:ident),* $(,)?) => {
        mod one_ring { $(
            #[test]
            fn $case() {
                super::cases::$case(&mut super::Loopback::on_one_ring());
            }
        )* }
        mod many_rings { $(
            #[test]
            fn $case() {
                super::cases::$case(&mut super::Loopback::on_many_rings());
            }
        )* }
    };
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
fn any_sequence_of_operations_keeps_the_promises_on_one_ring() {
    for seed in 0..30 {
        println!("seed {seed}");
        let world = &mut Loopback::on_one_ring();
        walk::any_sequence_of_operations_keeps_the_promises(world, seed, 400);
    }
}

#[test]
fn any_sequence_of_operations_keeps_the_promises_on_many_rings() {
    for seed in 0..30 {
        println!("seed {seed}");
        let world = &mut Loopback::on_many_rings();
        walk::any_sequence_of_operations_keeps_the_promises(world, seed, 400);
    }
}
