//! What bounds bytes: what is read of users and strangers, and what waits to be written to them.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::json;
use uuid::Uuid;

use super::Answer::{self, Close, Cut, Later, Refused};
use super::value;
use crate::abuse_storms::{all_of, come, hellos, welcomed};
use crate::peer::{Encoding, Heard, Peer, message};
use crate::rig::{Node, eventually};

/// A `ping` of the binary protocol without a nonce, which is its header alone.
const PING: [u8; 8] = [0, 0, 0, 0, 0x7e, 0, 0, 0];

/// What a frame costs beside its bytes, and a token beside that.
const FRAME_COST: u64 = 32;
const TOKEN_COST: u64 = 16 << 10;

/// How long at least it takes to read what costs so much.
fn pause(node: &Node, of: &str, cost: u64) -> Duration {
    let per_second = value(node, &format!("limits.{of}_input_bytes_per_second"));
    let burst = value(node, &format!("limits.{of}_input_burst_bytes"));
    Duration::from_secs_f64(cost.saturating_sub(burst) as f64 / per_second as f64)
}

/// Writes so many pings in a thread of its own, does something, and hears the pongs.
fn ping_at_once(peer: &mut Peer, count: usize, meanwhile: impl FnOnce()) {
    let mut writer = peer.stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || writer.write_all(&PING.repeat(count)));
    meanwhile();
    (0..count).for_each(|_| drop(peer.hear_kind("pong")));
    writing.join().unwrap().unwrap();
}

/// Two seconds' worth beyond the burst: what comes behind it is heard after them.
pub(super) fn a_user_who_writes_too_much(node: &Node) -> Answer {
    let mut peer = Peer::sign_in_live(node, Encoding::Tcp, Uuid::new_v4(), 1);
    let cost = value(node, "limits.user_input_burst_bytes")
        + 2 * value(node, "limits.user_input_bytes_per_second");
    let each = PING.len() as u64 + FRAME_COST;
    let begun = Instant::now();
    ping_at_once(&mut peer, cost.div_ceil(each) as usize, || {});
    peer.ping();
    let (took, least) = (begun.elapsed(), pause(node, "user", cost));
    assert!(took >= least, "{took:?}, and {least:?} is the least");
    Later
}

/// Each pays for its token; there are so many that they have to wait for two seconds.
pub(super) fn strangers_who_write_too_much(node: &Node) -> Answer {
    let cost = value(node, "limits.address_input_burst_bytes")
        + 2 * value(node, "limits.address_input_bytes_per_second");
    let count = cost.div_ceil(TOKEN_COST);
    let hellos = hellos(node, count as usize);
    let mut peers: Vec<Peer> = hellos.iter().map(|_| Peer::connect(node, Encoding::Tcp)).collect();
    let begun = Instant::now();
    peers.iter_mut().zip(&hellos).for_each(|(peer, hello)| peer.say(hello));
    welcomed(peers);
    let (took, least) = (begun.elapsed(), pause(node, "address", (count - 1) * TOKEN_COST));
    assert!(took >= least, "{took:?}, and {least:?} is the least");
    Later
}

pub(super) fn a_large_message(node: &Node) -> Answer {
    let bob = Uuid::new_v4();
    drop(Peer::sign_in_live(node, Encoding::Tcp, bob, 1));
    let mut sender = Peer::sign_in_live(node, Encoding::Json, Uuid::new_v4(), 1);
    sender.send(bob, &[7; 1_024]);
    let error = sender.refused(&message(Uuid::new_v4(), bob, &[7; 1_025]), 6);
    Refused(error["code"].as_u64().unwrap() as u16)
}

/// A client that asks and does not read is not read any more; then it reads, and all is answered.
pub(super) fn answers_that_nobody_takes(node: &Node) -> Answer {
    const ASKED: usize = 300_000;
    let mut peer = Peer::sign_in_narrow(node, Uuid::new_v4());
    ping_at_once(&mut peer, ASKED, || {
        eventually("not read", || super::hits(node, "limits.outbox_bytes_max") > 0);
    });
    Later
}

/// Many are pushed to at once, and nobody reads: those for whom the most waits are cut off. They come
/// again and read, and nothing is missing.
pub(super) fn pushes_that_nobody_takes(node: &Node) -> Answer {
    const EACH: usize = 8;
    let users: Vec<Uuid> = (0..16).map(|_| Uuid::new_v4()).collect();
    let deaf: Vec<Peer> = users.iter().map(|&user| Peer::sign_in_narrow(node, user)).collect();
    let mut sender = Peer::sign_in_live(node, Encoding::Tcp, Uuid::new_v4(), 1);
    for &user in users.iter().cycle().take(EACH * users.len()) {
        // It is served all the while.
        sender.send(user, &[7; 60_000]);
    }
    eventually("full", || super::hits(node, "limits.outboxes_bytes_max") > 0);
    drop(deaf);
    std::thread::scope(|scope| {
        for user in users {
            scope.spawn(move || {
                let mut ids = BTreeSet::new();
                // One message fills the room of all, and so who reads may be cut off here as well.
                while ids.len() < EACH {
                    let mut peer = Peer::sign_in(node, Encoding::Tcp, user, 1);
                    while let Heard::Event(event) = peer.listen() {
                        let Some(push) = event.get("push") else { continue };
                        ids.insert(event["id"].to_string());
                        peer.say(&json!({"type": "ack", "push": push}));
                        if ids.len() == EACH {
                            break;
                        }
                    }
                }
            });
        }
    });
    Cut
}

/// Many begin a message and do not end it: whose is the oldest is told to come later, and the next
/// one who writes is served.
pub(super) fn messages_that_are_not_ended(node: &Node) -> Answer {
    let said = message(Uuid::new_v4(), Uuid::new_v4(), &[7; 60_000]);
    let mut peers: Vec<Peer> = (0..40)
        .map(|_| {
            let mut peer = Peer::sign_in_drained(node, Encoding::Json, Uuid::new_v4(), 1);
            let whole = peer.encoded(&said);
            peer.write(&whole[..whole.len() - 1]);
            peer
        })
        .collect();
    eventually("too much", || super::hits(node, "limits.input_bytes_max") > 0);
    peers.last_mut().unwrap().write(&[0]);
    let code = peers[0].last_word().unwrap();
    Peer::sign_in_live(node, Encoding::Json, Uuid::new_v4(), 1).ping();
    Close(code)
}

/// More comes in at once than there are buffers for; all is answered.
pub(super) fn everybody_writes_at_once(node: &Node) -> Answer {
    const EACH: usize = 2_000;
    let peers = welcomed(come(node, &all_of(&hellos(node, 200)))).1;
    let peers = node.while_stopped(|| {
        peers
            .into_iter()
            .map(|mut peer| {
                peer.hear_kind("queue_empty");
                peer.write(&PING.repeat(EACH));
                peer
            })
            .collect::<Vec<_>>()
    });
    for mut peer in peers {
        (0..EACH).for_each(|_| drop(peer.hear_kind("pong")));
    }
    Later
}
