//! Everybody at once, against the real server: connections that come and go by the thousand, and a
//! whole town that comes back after a restart. Rows of the abuse table by number.
//!
//! So that a storm is a storm on any machine, the server is stopped while they connect: all of
//! them stand in its backlogs when it goes on.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket};
use ringpost_server::auth::Keys;
use ringpost_server::clock::wall_ms;
use ringpost_wire::{DeviceId, UserId};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::peer::{Encoding, Heard, Peer};
use crate::rig::{Node, eventually};
use crate::siege::{NEIGHBOURS, Siege};

/// More than two workers take in a turn each, however chance shares them out.
pub(crate) const CROWD: usize = 1_000;

/// More than the submission queues of both workers hold (2,048 each), however chance shares them out.
const WAVE: usize = 6_000;

/// Connections that one address may have before they sign in: as many as both workers take in a
/// turn.
const PER_ADDRESS: u64 = 512;

/// What a server that has just started may grow by while a crowd comes back: the caches, threads and
/// buffers of its first work are in it.
const GROWTH_AFTER_START_BYTES_MAX: u64 = 64 << 20;

/// A crowd that is sent away may have to come so often.
const RETURNS_MAX: usize = 200;

const RESTS: &str = "ringpost_edge_accept_rests_total";
const ACCEPTED: &str = r#"ringpost_edge_connections_fate_total{fate="accepted"}"#;
const CONNECTIONS: &str = "ringpost_edge_connections";
const REFUSED_ADDRESS: &str = r#"ringpost_edge_refused_total{reason="address"}"#;
const TRY_LATER: &str = r#"ringpost_edge_closed_total{code="try_later"}"#;
const CHECKED: &str = r#"ringpost_auth_token_checks_total{outcome="ok"}"#;

/// Connects from the `number`th of many addresses.
fn connect_from(number: usize, to: SocketAddr) -> TcpStream {
    let [.., high, low] = u32::try_from(number).unwrap().to_be_bytes();
    let own = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 1, high, low)), 0);
    let (family, kind) = (AddressFamily::Inet, SockType::Stream);
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(socket.as_raw_fd(), &SockaddrStorage::from(own)).unwrap();
    connect(socket.as_raw_fd(), &SockaddrStorage::from(to)).unwrap();
    socket.into()
}

#[test]
fn abuse_row_33_who_connects_and_leaves_by_the_thousand_takes_no_turn_of_others() {
    const WAVES: u64 = 5;
    let siege = Siege::begin(&["limits.unauthenticated_per_address_max=512"]);
    let node = &siege.node;
    let only_neighbours = || node.metric(CONNECTIONS) == NEIGHBOURS;
    let one = || TcpStream::connect(node.address).unwrap();
    for wave in 1..=WAVES {
        let crowd: Vec<TcpStream> = node.while_stopped(|| (0..WAVE).map(|_| one()).collect());
        siege.counted(ACCEPTED, NEIGHBOURS + wave * WAVE as u64);
        siege.counted(REFUSED_ADDRESS, wave * (WAVE as u64 - PER_ADDRESS));
        drop(crowd);
        eventually("all are gone", only_neighbours);
    }
    // Those who do not even stay until they are taken.
    node.while_stopped(|| (0..WAVE).for_each(|_| drop(one())));
    eventually("all are gone", only_neighbours);
    siege.counted(RESTS, WAVES);
    Peer::sign_in_live(node, Encoding::Tcp, Uuid::new_v4(), 1).ping();
    siege.end(&[(REFUSED_ADDRESS, WAVES * (WAVE as u64 - PER_ADDRESS))]);
}

/// The `hello` of a token for each of a crowd, signed with the server's own key.
pub(crate) fn first_hellos(node: &Node) -> Vec<Value> {
    hellos(node, CROWD)
}

/// The same for so many.
pub(crate) fn hellos(node: &Node, count: usize) -> Vec<Value> {
    let signer = Keys::signer_of(&node.data_dir()).unwrap().unwrap();
    let hello = |_| {
        let who = (UserId::from(Uuid::new_v4()), DeviceId::new(1).unwrap());
        let signed = signer.sign("ringpost", "ringpost", who, wall_ms(), Duration::from_secs(600));
        json!({"type": "hello", "token": signed.token, "device": 1})
    };
    (0..count).map(hello).collect()
}

/// They all connect and say their `hello` at once.
pub(crate) fn come(node: &Node, hellos: &[(usize, &Value)]) -> Vec<Peer> {
    node.while_stopped(|| {
        let come = |&(number, hello): &(usize, &Value)| {
            let stream = connect_from(number, node.address);
            let mut peer = Peer::shake_hands(stream, Encoding::Tcp);
            peer.say(hello);
            peer
        };
        hellos.iter().map(come).collect()
    })
}

pub(crate) fn all_of(hellos: &[Value]) -> Vec<(usize, &Value)> {
    hellos.iter().enumerate().collect()
}

/// What each welcome says, and the connections.
pub(crate) fn welcomed(mut peers: Vec<Peer>) -> (Vec<Value>, Vec<Peer>) {
    let welcomes = peers.iter_mut().map(|peer| peer.hear_kind("welcome")).collect();
    (welcomes, peers)
}

#[test]
fn abuse_row_34_everybody_comes_back_with_a_ticket_and_no_signature_is_checked() {
    let mut node = Node::start(&["auth.verify_queue_max=4096"]);
    let (welcomes, first) = welcomed(come(&node, &all_of(&first_hellos(&node))));
    node.kill();
    drop(first);
    let siege = Siege::on(node.restart());
    let ticket =
        |welcome: &Value| json!({"type": "hello", "ticket": welcome["ticket"], "device": 1});
    let tickets: Vec<Value> = welcomes.iter().map(ticket).collect();
    let checked = siege.node.metric(CHECKED);
    let (_, mut back) = welcomed(come(&siege.node, &all_of(&tickets)));
    for peer in &mut back {
        peer.hear_kind("queue_empty");
        peer.ping();
    }
    assert_eq!(siege.node.metric(CHECKED), checked, "a ticket costs no check");
    siege.counted(RESTS, 1);
    siege.counted(CONNECTIONS, NEIGHBOURS + CROWD as u64);
    siege.end_within(GROWTH_AFTER_START_BYTES_MAX, &[]);
}

#[test]
fn abuse_row_34_who_cannot_be_checked_now_comes_later_and_gets_in() {
    // One thread checks signatures, and few may wait for it.
    let siege = Siege::begin(&["auth.verify_threads=1", "auth.verify_queue_max=16"]);
    let hellos = first_hellos(&siege.node);
    let mut outside = all_of(&hellos);
    let mut inside = Vec::new();
    for _ in 0..RETURNS_MAX {
        let peers = come(&siege.node, &outside);
        let mut sent_away = Vec::new();
        for (who, mut peer) in outside.into_iter().zip(peers) {
            match peer.listen() {
                Heard::Event(event) if event["type"] == "welcome" => inside.push(peer),
                Heard::End(Some(1013)) => sent_away.push(who),
                other => panic!("{other:?}"),
            }
        }
        outside = sent_away;
        if outside.is_empty() {
            break;
        }
    }
    assert!(outside.is_empty(), "{} never got in", outside.len());
    inside.iter_mut().for_each(|peer| {
        peer.hear_kind("queue_empty");
    });
    siege.end(&[(TRY_LATER, 1)]);
}
