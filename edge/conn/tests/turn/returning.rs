//! Setup: an HTTP client whose connection REST has. Action: REST gives it back with a request that
//! asks for a WebSocket. Expectation: it becomes a WebSocket as a new connection would, or is refused
//! as one, and nothing is left behind, whatever is full, fails or drains meanwhile.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ringpost_conn::letter::Returned;
use ringpost_conn::{ConnectionConfig, Letter};
use ringpost_ring::fake::Faults;

use crate::driver::HandedOver;
use crate::world::{Setup, World};

const SEEDS: u64 = 30;
const DRAIN: Duration = Duration::from_secs(8);
const REST: &[u8] = b"GET /v1/messages HTTP/1.1\r\nHost: here\r\n\r\n";
const UPGRADE: &[u8] = b"GET /v1/ws HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";
/// A masked ping frame of WebSocket, and what answers it.
const PING: &[u8] = b"\x89\x82\0\0\0\0hi";
const PONG: &[u8] = b"\x8a\x02hi";

/// A client whose connection REST has, and that connection.
fn at_rest(world: &mut World) -> (usize, HandedOver) {
    let client = world.connect(0);
    world.clients[client].raw = Some(Vec::new());
    world.clients[client].write(REST);
    world.settle();
    let handed = world.drivers[0].handed_over.pop().expect("handed over");
    assert_eq!(handed.read, REST);
    (client, handed)
}

fn give_back(world: &mut World, handed: HandedOver, behind: &[u8]) {
    let read = [UPGRADE, behind].concat();
    let returned = Returned { fd: handed.fd, read, caller: handed.caller };
    world.mailboxes[0].letters.push_back(Letter::Returned(Box::new(returned)));
}

fn heard(world: &mut World, client: usize) -> Vec<u8> {
    world.clients[client].raw.replace(Vec::new()).expect("raw bytes are kept")
}

#[test]
fn it_is_a_websocket_from_there_on_with_what_came_behind_the_request() {
    for seed in 0..SEEDS {
        for is_pipelined in [true, false] {
            let mut world = World::new(1, seed);
            let (client, handed) = at_rest(&mut world);
            if is_pipelined {
                give_back(&mut world, handed, PING);
            } else {
                world.clients[client].write(PING);
                world.round();
                give_back(&mut world, handed, b"");
            }
            world.settle();
            let answer = heard(&mut world, client);
            assert!(answer.starts_with(b"HTTP/1.1 101 "), "seed {seed}: {answer:?}");
            assert!(answer.ends_with(PONG), "seed {seed}: {answer:?}");
            world.clients[client].write(PING);
            world.settle();
            assert_eq!(heard(&mut world, client), PONG, "seed {seed}");
            assert_eq!(world.counters(0).returned, 1);
            assert_eq!(world.drivers[0].worker().gauges().unauthenticated, 1);
            world.clients[client].hang_up();
            world.settle();
            world.check_nothing_is_left();
        }
    }
}

/// Its time to sign in counts from its coming back.
#[test]
fn who_does_not_sign_in_is_closed_at_the_deadline() {
    let mut world = World::new(1, 1);
    let (client, handed) = at_rest(&mut world);
    let deadline = ConnectionConfig::default().sign_in_deadline;
    world.pass(deadline * 3);
    give_back(&mut world, handed, b"");
    world.settle();
    assert!(heard(&mut world, client).starts_with(b"HTTP/1.1 101 "));
    world.pass(deadline);
    assert_eq!(world.counters(0).sign_ins_late, 1);
    world.pass(ConnectionConfig::default().close_deadline);
    world.check_nothing_is_left();
}

#[test]
fn where_there_is_no_room_rest_refuses_it() {
    let config = ConnectionConfig { connections_max: 1, ..ConnectionConfig::default() };
    let mut world = World::with(&Setup { config, ..Setup::new(1, 1) });
    let (_, handed) = at_rest(&mut world);
    let other = world.connect(0);
    world.settle();
    give_back(&mut world, handed, b"");
    world.settle();
    assert_eq!(world.drivers[0].refused.len(), 1);
    assert_eq!(world.counters(0).refused_full, 1);
    world.clients[other].hang_up();
    world.settle();
    world.check_nothing_is_left();
}

#[test]
fn a_stranger_too_many_of_its_address_is_answered_503() {
    let config =
        ConnectionConfig { unauthenticated_per_address_max: 1, ..ConnectionConfig::default() };
    let mut world = World::with(&Setup { config, ..Setup::new(1, 1) });
    let (client, handed) = at_rest(&mut world);
    let (other, held) = at_rest(&mut world);
    // Both are of one address, as behind one NAT.
    let held = HandedOver { caller: handed.caller, ..held };
    give_back(&mut world, handed, b"");
    world.settle();
    assert!(heard(&mut world, client).starts_with(b"HTTP/1.1 101 "));
    give_back(&mut world, held, b"");
    world.settle();
    assert!(heard(&mut world, other).starts_with(b"HTTP/1.1 503 "));
    assert_eq!(world.counters(0).refused_address, 1);
    world.clients[client].hang_up();
    world.clients[other].hang_up();
    world.settle();
    world.check_nothing_is_left();
}

#[test]
fn a_slot_that_cannot_be_had_ends_at_rest() {
    let faults = Faults { fail_admit: 255, ..Faults::gentle() };
    let mut refused = 0;
    for seed in 0..SEEDS {
        let mut world = World::with(&Setup { faults, ..Setup::new(1, seed) });
        let (_, handed) = at_rest(&mut world);
        give_back(&mut world, handed, PING);
        world.settle();
        refused += world.drivers[0].refused.len();
        world.drivers[0].refused.clear();
        world.settle();
        world.pass(ConnectionConfig::default().sign_in_deadline * 2);
        world.check_nothing_is_left();
    }
    assert!(refused > SEEDS as usize / 2, "the case was met: {refused}");
}

/// A drain at any moment of the return leaves nothing behind.
#[test]
fn a_drain_in_the_middle_leaves_nothing_behind() {
    for seed in 0..SEEDS {
        for rounds in 0..12 {
            let mut world = World::new(1, seed);
            let (_, handed) = at_rest(&mut world);
            give_back(&mut world, handed, PING);
            for _ in 0..rounds {
                world.round();
            }
            world.mailboxes[0].letters.push_back(Letter::Drain { within: DRAIN });
            world.settle();
            world.pass(DRAIN);
            world.pass(ConnectionConfig::default().close_deadline);
            assert!(world.drivers[0].worker().is_drained(), "seed {seed}, round {rounds}");
            world.check_nothing_is_left();
        }
    }
}

/// What was written by REST stands before the answer.
#[test]
fn what_rest_has_said_comes_first() {
    for seed in 0..SEEDS {
        let mut world = World::new(1, seed);
        let (client, handed) = at_rest(&mut world);
        let mut stream = UnixStream::from(handed.fd);
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").expect("room");
        let fd = OwnedFd::from(stream);
        give_back(&mut world, HandedOver { fd, ..handed }, b"");
        world.settle();
        let answers = heard(&mut world, client);
        assert!(answers.starts_with(b"HTTP/1.1 204 "), "seed {seed}");
        assert_eq!(answers.windows(13).filter(|it| *it == b"HTTP/1.1 101 ").count(), 1);
    }
}
