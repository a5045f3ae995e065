//! Setup: an HTTP client that is no WebSocket. Action: its request comes in any pieces.
//! Expectation: REST gets the whole stream, an ordinary descriptor and the client's address, and
//! the worker keeps nothing; a descriptor that cannot be made ends the connection.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ringpost_conn::http::ORIGIN_BYTES_MAX;
use ringpost_conn::{Caller, Letter};
use ringpost_ring::fake::Faults;

use crate::client::End;
use crate::world::{Setup, World};

const SEEDS: u64 = 30;
const REQUEST: &[u8] =
    b"POST /v1/auth/code HTTP/1.1\r\nHost: here\r\nContent-Length: 9\r\n\r\n{\"a\":\"b\"}";

#[test]
fn rest_gets_the_stream_from_its_first_byte_and_the_address() {
    for seed in 0..SEEDS {
        let mut world = World::new(1, seed);
        let client = world.connect(0);
        world.clients[client].raw = Some(Vec::new());
        let cut = 1 + world.dice.below(REQUEST.len() - 1);
        world.clients[client].write(&REQUEST[..cut]);
        world.settle();
        world.clients[client].write(&REQUEST[cut..]);
        world.settle();
        let handed = world.drivers[0].handed_over.pop().expect("handed over");
        let mut stream = UnixStream::from(handed.fd);
        let mut request = handed.read;
        let mut rest = vec![0; REQUEST.len()];
        while request.len() < REQUEST.len() {
            let read = stream.read(&mut rest).expect("what the worker did not read is here");
            request.extend_from_slice(&rest[..read]);
        }
        assert_eq!(request, REQUEST, "seed {seed}, cut at {cut}");
        let address = handed.caller.map(Caller::address);
        assert_eq!(address, world.clients[client].address().map(|it| it.ip()));
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").expect("room");
        world.settle();
        let answer = world.clients[client].raw.take().expect("raw bytes are kept");
        assert!(answer.starts_with(b"HTTP/1.1 204"), "seed {seed}");
        assert_eq!(world.counters(0).handed_over, 1);
        world.check_nothing_is_left();
    }
}

#[test]
fn a_descriptor_that_cannot_be_made_ends_the_connection() {
    let faults = Faults { fail_install: 255, ..Faults::gentle() };
    let mut ended = 0;
    for seed in 0..SEEDS {
        let mut world = World::with(&Setup { faults, ..Setup::new(1, seed) });
        let client = world.connect(0);
        world.clients[client].write(REQUEST);
        world.settle();
        ended += usize::from(world.clients[client].end == Some(End::Orderly));
        assert_eq!(world.counters(0).handed_over + world.counters(0).lost, 1);
        world.check_nothing_is_left();
    }
    assert!(ended > SEEDS as usize / 2, "the case was met: {ended}");
}

/// However the head of the request is cut, what it named is told, once and no longer than may be.
#[test]
fn the_origin_of_a_page_that_is_refused_is_told() {
    for seed in 0..SEEDS {
        for (origin, told) in [("https://evil.example", 20), (&"e".repeat(1_000), ORIGIN_BYTES_MAX)]
        {
            let mut world = World::new(1, seed);
            let client = world.connect(0);
            world.clients[client].raw = Some(Vec::new());
            let request = format!(
                "GET /v1/ws HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Version: 13\r\norigin: {origin}\r\n\r\n"
            );
            let cut = 1 + world.dice.below(request.len() - 1);
            world.clients[client].write(&request.as_bytes()[..cut]);
            world.settle();
            world.clients[client].write(&request.as_bytes()[cut..]);
            world.settle();
            assert_eq!(world.drivers[0].foreign_origins, [origin.as_bytes()[..told].to_vec()]);
            let answer = world.clients[client].raw.take().expect("raw bytes are kept");
            assert!(answer.starts_with(b"HTTP/1.1 403"), "seed {seed}");
            assert_eq!(world.counters(0).handed_over, 0);
        }
    }
}

/// A drain at any moment of the hand-over leaves nothing behind.
#[test]
fn a_drain_in_the_middle_leaves_nothing_behind() {
    for seed in 0..SEEDS {
        for rounds in 0..12 {
            let mut world = World::new(1, seed);
            let client = world.connect(0);
            world.clients[client].write(REQUEST);
            for _ in 0..rounds {
                world.round();
            }
            world.mailboxes[0].letters.push_back(Letter::Drain { within: Duration::from_secs(8) });
            world.settle();
            assert!(world.drivers[0].worker().is_drained(), "seed {seed}, round {rounds}");
            world.pass(Duration::from_secs(8));
            world.check_nothing_is_left();
        }
    }
}
