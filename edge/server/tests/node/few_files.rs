//! Setup: the process may have fewer files than there are clients. Action: they all sign in, are silent, and then speak. Expectation: each worker has the rings that this takes, and everybody
//! is answered, wherever chance has put them.

use crate::abuse_storms::{CROWD, all_of, come, first_hellos, welcomed};
use crate::peer::Peer;
use crate::rig::{Node, eventually};

/// Of these a worker's first ring gets as many slots; the rest of the crowd is beyond it.
const FILES_MAX: u32 = 300;

/// Clients that come at once: fewer than such a small table keeps in spare for a backlog.
const AT_ONCE: usize = 50;

#[test]
fn more_clients_than_files_are_served_on_parking_rings() {
    let settings = ["auth.verify_queue_max=4096", "limits.connections_max=1200"];
    let node = Node::start_with_files(FILES_MAX, &settings);
    let hellos = first_hellos(&node);
    let groups = all_of(&hellos);
    let mut peers: Vec<Peer> =
        groups.chunks(AT_ONCE).flat_map(|group| welcomed(come(&node, group)).1).collect();
    for peer in &mut peers {
        peer.hear_kind("queue_empty");
    }
    // 750 connections at each of two workers.
    eventually("both have rings", || node.metric("ringpost_ring_rings") == 2 * 3);
    let parked = CROWD as u64 - 2 * u64::from(FILES_MAX);
    eventually("parked", || node.metric("ringpost_ring_parked") >= parked);
    for peer in &mut peers {
        peer.ping();
    }
    drop(peers);
    eventually("all are gone", || node.metric("ringpost_edge_connections") == 0);
    eventually("and no slot is taken", || node.metric("ringpost_ring_parked") == 0);
}
