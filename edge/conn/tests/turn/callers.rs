//! Setup: every connection comes from a trusted proxy, or none does. Action: it names callers by a
//! PROXY header or by the fields of a request, lies, or names nobody. Expectation: limits by address
//! count whom it names, one caller's limits are no other's, and who is not trusted is not heard.

use std::net::IpAddr;
use std::time::Duration;

use ringpost_conn::http::Rejection;
use ringpost_conn::{Caller, ConnectionConfig, InputRate, TrustedProxies};
use ringpost_wire::command::Credential;
use ringpost_wire::frame::PREAMBLE;
use ringpost_wire::{CloseCode, Command, Event};

use crate::client::{End, encoded, hello};
use crate::world::{Setup, TICKET_TTL_MS, World};

const REQUEST: &[u8] = b"GET /v1/messages HTTP/1.1\r\nHost: here\r\n\r\n";
const ALICE: &str = "192.0.2.1";
const BOB: &str = "2001:db8::2";

/// A world in which all connections come from trusted proxies, which hold one stranger each address.
fn proxied(seed: u64) -> World {
    with(seed, ConnectionConfig { unauthenticated_per_address_max: 1, ..trusting() })
}

fn trusting() -> ConnectionConfig {
    let trusted_proxies = TrustedProxies::new(["198.18.0.0/15", "10.0.0.0/8"]).expect("networks");
    ConnectionConfig { trusted_proxies, ..ConnectionConfig::default() }
}

fn with(seed: u64, config: ConnectionConfig) -> World {
    World::with(&Setup { config, ..Setup::new(1, seed) })
}

/// A header of version 1, or of version 2 with an extension.
fn header(address: &str, version: u8) -> Vec<u8> {
    let address: IpAddr = address.parse().expect("an address");
    match (version, address) {
        (1, IpAddr::V4(v4)) => format!("PROXY TCP4 {v4} 10.0.0.1 4711 7400\r\n").into_bytes(),
        (1, IpAddr::V6(v6)) => format!("PROXY TCP6 {v6} ::1 4711 7400\r\n").into_bytes(),
        (_, address) => {
            let (family, octets) = match address {
                IpAddr::V4(v4) => (0x11, v4.octets().to_vec()),
                IpAddr::V6(v6) => (0x21, v6.octets().to_vec()),
            };
            let addresses = [&octets[..], &octets, &[0, 1, 0, 2], b"\x03\0\x04abcd"].concat();
            let fixed = [b"\r\n\r\n\0\r\nQUIT\n\x21", &[family, 0, addresses.len() as u8][..]];
            [fixed.concat(), addresses].concat()
        }
    }
}

fn upgrade(fields: &str) -> Vec<u8> {
    format!(
        "GET /v1/ws HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{fields}\r\n"
    )
    .into_bytes()
}

/// A connection that has written this.
fn write(world: &mut World, bytes: &[u8]) -> usize {
    let client = world.connect(0);
    world.clients[client].raw = Some(Vec::new());
    world.clients[client].write(bytes);
    world.settle();
    client
}

fn answer(world: &World, client: usize) -> String {
    let raw = world.clients[client].raw.as_ref().expect("raw bytes are kept");
    String::from_utf8_lossy(raw).into_owned()
}

fn is_refused(world: &World, client: usize) -> bool {
    world.clients[client].end.is_some() && answer(world, client).is_empty()
}

fn named(world: &World, by: &str) -> u64 {
    world.counters(0).named.counts().find(|(label, _)| *label == by).expect("a label").1
}

#[test]
fn a_proxy_header_in_every_cut_names_the_caller_of_any_protocol() {
    for (version, address) in [(1, ALICE), (1, BOB), (2, ALICE), (2, BOB)] {
        let header = header(address, version);
        for cut in 0..=header.len() + 5 {
            let mut world = proxied(cut as u64);
            let bytes = [&header[..], REQUEST].concat();
            let client = write(&mut world, &bytes[..cut]);
            world.clients[client].write(&bytes[cut..]);
            world.settle();
            let handed = world.drivers[0].handed_over.pop().expect("handed over");
            let caller = handed.caller.expect("a caller");
            assert_eq!((caller.address(), caller.is_proxy()), (address.parse().unwrap(), false));
            assert!(REQUEST.starts_with(&handed.read), "nothing of the header is handed on");
            drop(handed);
            world.check_nothing_is_left();

            let alice = world.user_at(0, 0);
            let token = Credential::Token(world.token(alice, 1, TICKET_TTL_MS).into());
            let bytes = [header.clone(), hello(token, 1, 0)].concat();
            let client = world.connect(0);
            world.clients[client].write(&bytes[..cut]);
            world.settle();
            world.clients[client].write(&bytes[cut..]);
            world.settle();
            let told = world.clients[client].take();
            assert!(matches!(told.first(), Some(Event::Welcome(_))), "{cut}: {told:?}");
            assert_eq!(named(&world, "proxy_header"), 2);
        }
    }
}

#[test]
fn callers_behind_one_proxy_have_a_limit_each() {
    for version in [1, 2] {
        let mut world = proxied(1);
        let silent = |address| [&header(address, version)[..], &PREAMBLE].concat();
        let first = write(&mut world, &silent(ALICE));
        let too_many = write(&mut world, &silent(ALICE));
        assert!(is_refused(&world, too_many), "the second of one address");
        let other = write(&mut world, &silent(BOB));
        let neighbour = write(&mut world, &silent("2001:db8::ffff:2"));
        assert!(is_refused(&world, neighbour), "an IPv6 address counts by its /64");
        assert!([first, other].iter().all(|&it| world.clients[it].is_connected()));
        assert_eq!(world.counters(0).refused_address, 2);
        world.clients[first].hang_up();
        world.settle();
        let again = write(&mut world, &silent(ALICE));
        assert!(world.clients[again].is_connected());
    }
}

#[test]
fn the_fields_of_an_upgrade_name_the_caller() {
    let mut world = proxied(2);
    let by = |fields: &str| upgrade(fields);
    let x = |address: &str| by(&format!("X-Forwarded-For: 6.6.6.6, {address}, 10.0.0.2\r\n"));
    let first = write(&mut world, &x(ALICE));
    assert!(answer(&world, first).starts_with("HTTP/1.1 101"));
    let again = write(&mut world, &by(&format!("Forwarded: for={ALICE}\r\n")));
    let refused = answer(&world, again);
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("Retry-After"), "{refused}");
    let other = write(&mut world, &by(&format!("Forwarded: for=\"[{BOB}]:4711\"\r\n")));
    assert!(answer(&world, other).starts_with("HTTP/1.1 101"));
    // Who lies in the other field is alone with those who do.
    let liar = write(&mut world, &[x("192.0.2.3"), Vec::new()].concat());
    assert!(answer(&world, liar).starts_with("HTTP/1.1 101"));
    let both = by("X-Forwarded-For: 192.0.2.4\r\nForwarded: for=192.0.2.5\r\n");
    let disagreed = write(&mut world, &both);
    assert!(answer(&world, disagreed).starts_with("HTTP/1.1 101"));
    let next = write(&mut world, &both);
    assert!(answer(&world, next).starts_with("HTTP/1.1 503"), "they share the proxy's own limit");
    assert_eq!((named(&world, "forwarded"), named(&world, "disagreed")), (4, 2));
    let overloaded = Rejection::Overloaded { retry_after: Duration::ZERO }.label();
    let counts = world.counters(0).rejections.counts().find(|(label, _)| *label == overloaded);
    assert_eq!(counts, Some((overloaded, 2)));
}

#[test]
fn a_balancer_in_front_of_a_proxy_leaves_the_name_to_the_request() {
    let mut world = proxied(3);
    let bytes = |address: &str| {
        let fields = format!("X-Forwarded-For: {address}\r\n");
        [header("10.0.0.2", 2), upgrade(&fields)].concat()
    };
    for address in [ALICE, BOB] {
        let client = write(&mut world, &bytes(address));
        assert!(answer(&world, client).starts_with("HTTP/1.1 101"), "{address}");
    }
    let again = write(&mut world, &bytes(ALICE));
    assert!(answer(&world, again).starts_with("HTTP/1.1 503"));
}

#[test]
fn a_kept_connection_of_a_proxy_is_nobodys_until_each_request_says_whose() {
    let mut world = proxied(4);
    let request = [&REQUEST[..REQUEST.len() - 2], b"X-Forwarded-For: 192.0.2.1\r\n\r\n"].concat();
    for _ in 0..3 {
        let client = write(&mut world, &request);
        let caller = world.drivers[0].handed_over.pop().expect("handed over").caller;
        assert!(caller.is_some_and(Caller::is_proxy), "REST reads the fields of each request");
        world.clients[client].hang_up();
    }
    world.settle();
    world.check_nothing_is_left();
}

#[test]
fn connections_that_name_nobody_have_a_limit_of_their_own() {
    let mut world = with(5, ConnectionConfig { unnamed_max: 3, ..trusting() });
    let silent: Vec<_> = (0..3).map(|_| write(&mut world, b"")).collect();
    let too_many = write(&mut world, b"");
    assert!(is_refused(&world, too_many));
    assert_eq!(world.counters(0).refused_unnamed, 1);
    // Who is named makes room.
    world.clients[silent[0]].write(&[&header(ALICE, 1)[..], &PREAMBLE].concat());
    world.settle();
    let next = write(&mut world, b"");
    assert!(world.clients[next].is_connected());
    // Who names nobody has no longer than any handshake.
    world.pass(ConnectionConfig::default().handshake_deadline + Duration::from_secs(1));
    assert!(silent[1..].iter().all(|&it| world.clients[it].end.is_some()));
    assert_eq!(world.drivers[0].worker().gauges().unauthenticated, 1);
}

#[test]
fn a_proxy_that_names_nobody_counts_for_itself() {
    let mut world = proxied(6);
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    let own = write(&mut world, &PREAMBLE);
    assert!(world.clients[own].is_connected());
    for bytes in [&PREAMBLE[..], &[&local[..], &PREAMBLE].concat(), b"PROXY UNKNOWN\r\nRPP1"] {
        let another = write(&mut world, bytes);
        assert!(is_refused(&world, another), "{bytes:?}");
    }
    assert_eq!((named(&world, "nobody"), named(&world, "proxy_itself")), (2, 2));
}

#[test]
fn a_header_of_who_is_not_trusted_or_that_is_none_is_closed_without_an_answer() {
    let mut world = World::new(1, 7);
    for version in [1, 2] {
        let client = write(&mut world, &[&header(ALICE, version)[..], REQUEST].concat());
        assert!(is_refused(&world, client));
    }
    assert_eq!(world.counters(0).refused_proxy_header, 2);
    let forwarded = upgrade("X-Forwarded-For: 192.0.2.1\r\n");
    let client = write(&mut world, &forwarded);
    assert!(answer(&world, client).starts_with("HTTP/1.1 101"));
    assert_eq!(named(&world, "ignored"), 1);

    let mut world = proxied(8);
    let (one, other) = (header("10.0.0.2", 1), header(ALICE, 2));
    let bad: [&[u8]; 4] = [
        &[one, other, REQUEST.to_vec()].concat(),
        b"PROXY TCP4 192.0.2.1\r\nGET / HTTP/1.1\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c",
        &[&header(ALICE, 1)[..], b"rubbish"].concat(),
    ];
    for bytes in bad {
        let client = write(&mut world, bytes);
        assert!(is_refused(&world, client), "{bytes:?}");
    }
    let counters = world.counters(0);
    assert_eq!((counters.refused_proxy_header, counters.refused_garbage), (3, 1));
    world.check_nothing_is_left();
}

/// A caller over its budget is held behind its name, although the proxy's connection is new; what it
/// held is taken when there is room, and nobody else waits.
#[test]
fn a_budget_is_the_callers_and_not_the_proxys() {
    let narrow = InputRate { bytes_per_second: 10_000, burst_bytes: 20_000 };
    let mut world = with(9, ConnectionConfig { address_input: narrow, ..trusting() });
    let pings = encoded(0, &Command::Ping { nonce: 1 }).repeat(400);
    let flood = [&header(ALICE, 2)[..], &PREAMBLE, &pings].concat();
    let mut answered = Vec::new();
    for address in [ALICE, ALICE, BOB] {
        let client = world.connect(0);
        let bytes = [header(address, 2), flood[header(ALICE, 2).len()..].to_vec()].concat();
        world.clients[client].write(&bytes);
        world.settle();
        answered.push(world.clients[client].take().len());
        if address == ALICE && answered.len() == 2 {
            world.pass(Duration::from_secs(4));
            let late = world.clients[client].take();
            assert!(!late.is_empty(), "what was held is answered when there is room");
            assert!(late.iter().all(|it| matches!(it, Event::Pong { .. })), "{late:?}");
        }
    }
    assert!(answered[0] > 0 && answered[1] == 0 && answered[2] > 0, "{answered:?}");
    assert!(world.counters(0).paced_addresses > 0);
}

#[test]
fn an_end_in_the_middle_of_a_header_leaves_nothing() {
    for cut in 1..header(BOB, 2).len() {
        let mut world = proxied(cut as u64);
        let client = write(&mut world, &header(BOB, 2)[..cut]);
        world.clients[client].reset();
        world.settle();
        world.check_nothing_is_left();
    }
    let mut world = proxied(1);
    let client = write(&mut world, &header(BOB, 1)[..20]);
    world.pass(ConnectionConfig::default().handshake_deadline + Duration::from_secs(1));
    assert!(matches!(world.clients[client].end, Some(End::Orderly | End::Reset)));
    assert_eq!(world.counters(0).closed.count(CloseCode::HandshakeTimeout), 1);
    world.check_nothing_is_left();
}
