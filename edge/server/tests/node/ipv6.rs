//! Setup: a node that listens on IPv6, where the ring asks twice for a client's address. Action:
//! clients whose first bytes are there before the second answer. Expectation: their connections
//! move home and to REST all the same.

use uuid::Uuid;

use crate::peer::{Encoding, Peer};
use crate::rig::{Node, exchange};

/// Each tries its luck at the moment between the two answers.
const ATTEMPTS: usize = 40;

#[test]
fn connections_leave_for_rest_and_for_their_home_however_fast_the_client_is() {
    let node = Node::start_at("[::1]:0", &[]);
    assert!(node.address.is_ipv6());
    for _ in 0..ATTEMPTS {
        let request = b"GET /v1/messages HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let answer = exchange(node.address, request);
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    }
    for _ in 0..ATTEMPTS {
        // Half of them are at home at the other worker.
        let user = Uuid::new_v4();
        let mut peer = Peer::sign_in_live(&node, Encoding::Tcp, user, 1);
        peer.ping();
    }
}
