//! What bounds messages: on their way, in the journal, in the store, in queues, and their users.

use serde_json::Value;
use uuid::Uuid;

use super::Answer::{self, Gap, Later, Refused};
use crate::abuse_storms::{all_of, come, first_hellos, welcomed};
use crate::peer::{Encoding, Peer, message};
use crate::rig::Node;

/// What one user sends at once, in messages of this size: fewer than may wait in line for a look into
/// the store.
const CONTENT_BYTES: usize = 60_000;
const AT_ONCE: usize = 60;

/// Users who take part in a flood: each sender has a rate of its own, and its share of each queue.
const SENDERS: usize = 10;
const RECEIVERS: usize = 3;

/// Crowds of a thousand that come one after the other until they do not fit.
const CROWDS_MAX: usize = 10;

/// A user whose one device has been here and is away.
fn absent(node: &Node) -> Uuid {
    let user = Uuid::new_v4();
    drop(Peer::sign_in_live(node, Encoding::Tcp, user, 1));
    user
}

/// One sender after the other sends a heap at once, until the limit is hit, and somebody is refused
/// where the limit refuses. Everything is answered: with one code, or with `sent`.
fn flood(node: &Node, key: &str, refuses: bool) -> Answer {
    let receivers = [(); RECEIVERS].map(|()| absent(node));
    let sender = |_| Peer::sign_in_live(node, Encoding::Tcp, Uuid::new_v4(), 1);
    let mut senders: Vec<Peer> = (0..SENDERS).map(sender).collect();
    let mut errors = Vec::new();
    for sender in &mut senders {
        for &to in receivers.iter().cycle().take(AT_ONCE) {
            sender.say(&message(Uuid::new_v4(), to, &[7; CONTENT_BYTES]));
        }
        errors.extend((0..AT_ONCE).filter_map(|_| sender.hear()["code"].as_u64()));
        if super::hits(node, key) > 0 && errors.is_empty() != refuses {
            assert!(errors.iter().all(|code| *code == errors[0]), "{errors:?}");
            return errors.first().map_or(Later, |code| Refused(*code as u16));
        }
    }
    panic!("{key} was not hit");
}

pub(super) fn more_on_the_way_than_fits(node: &Node) -> Answer {
    flood(node, "limits.in_flight_bytes_max", true)
}

pub(super) fn more_than_the_store_has_taken(node: &Node) -> Answer {
    flood(node, "journal.unapplied_bytes_max", true)
}

/// What the journal puts off comes again from the worker; no client notices.
pub(super) fn more_than_is_written_at_once(node: &Node) -> Answer {
    flood(node, "journal.pending_bytes_max", false)
}

/// Who leaves memory is read again when it comes back.
pub(super) fn more_users_than_fit(node: &Node) -> Answer {
    for _ in 0..CROWDS_MAX {
        let hellos = first_hellos(node);
        drop(welcomed(come(node, &all_of(&hellos))));
        if super::hits(node, "limits.resident_bytes_max") > 0 {
            welcomed(come(node, &all_of(&hellos)));
            return Later;
        }
    }
    panic!("all fit");
}

pub(super) fn more_than_a_queue_takes(node: &Node) -> Answer {
    let bob = absent(node);
    let mut sender = Peer::sign_in_live(node, Encoding::Json, Uuid::new_v4(), 1);
    for _ in 0..3 {
        sender.send(bob, &[7; 128]);
    }
    let mut back = Peer::sign_in(node, Encoding::Json, bob, 1);
    (0..2).for_each(|_| drop(back.hear_kind("new_message")));
    assert_ne!(back.hear_kind("queue_empty")["gap"], Value::Null, "the third is in history");
    Gap
}

/// A tenth of a thousand.
pub(super) fn more_than_a_share(node: &Node) -> Answer {
    let bob = absent(node);
    let mut sender = Peer::sign_in_live(node, Encoding::Tcp, Uuid::new_v4(), 1);
    for _ in 0..100 {
        sender.send(bob, b"mine");
    }
    let error = sender.refused(&message(Uuid::new_v4(), bob, b"one more"), 10);
    Refused(error["code"].as_u64().unwrap() as u16)
}
