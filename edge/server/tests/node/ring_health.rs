//! `/metrics` on the health of the rings.
//!
//! Setup: a node with two workers. Action: people write to each other. Expectation: one scrape shows
//! how many operations each system call took with it and how many completions each wait found, as
//! histograms that agree with the counters beside them.

use uuid::Uuid;

use crate::peer::{Encoding, Peer};
use crate::rig::{Node, eventually};

const MESSAGES: u64 = 20;

/// A value of a scrape; sums are written with a fraction.
fn value(scrape: &str, name: &str) -> u64 {
    let value = scrape.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in\n{scrape}")).parse::<f64>().unwrap() as u64
}

/// The buckets of a histogram, in their order.
fn buckets(scrape: &str, name: &str) -> Vec<u64> {
    let begin = format!("{name}_bucket{{le=");
    let lines = scrape.lines().filter(|line| line.starts_with(&begin));
    lines.map(|line| line.split_once("} ").unwrap().1.parse().unwrap()).collect()
}

#[test]
fn a_scrape_shows_what_each_call_submitted_and_what_each_wait_found() {
    let node = Node::start(&[]);
    let (alice, bob) = (Uuid::new_v4(), Uuid::new_v4());
    let mut sender = Peer::sign_in_live(&node, Encoding::Tcp, alice, 1);
    let mut reader = Peer::sign_in_live(&node, Encoding::Tcp, bob, 1);
    for _ in 0..MESSAGES {
        sender.send(bob, b"hello");
        reader.hear_kind("new_message");
    }
    let (submitted, found) = ("ringpost_ring_submissions", "ringpost_ring_wait_completions");
    let mut scrape = String::new();
    eventually("the workers have told", || {
        scrape = node.admin_get("/metrics");
        value(&scrape, "ringpost_shard_messages_total") >= MESSAGES
            && value(&scrape, &format!("{found}_sum")) > 2 * MESSAGES
    });
    let of = |name: &str, what: &str| value(&scrape, &format!("{name}_{what}"));
    let enters = value(&scrape, "ringpost_ring_enters_total");
    let refused = value(&scrape, "ringpost_ring_enters_refused_total");
    assert_eq!(of(submitted, "count"), enters - refused);
    assert!(of(submitted, "sum") > MESSAGES, "each message was sent");
    // A ring waits once more, for its first operation, as it is opened: before there is a turn.
    let waits = value(&scrape, "ringpost_ring_waits_total");
    let opened = value(&scrape, "ringpost_ring_rings");
    assert!((waits - opened..=waits).contains(&of(found, "count")), "{waits}, {opened} rings");
    assert!(of(found, "sum") <= value(&scrape, "ringpost_ring_completions_total"));
    for name in [submitted, found] {
        let buckets = buckets(&scrape, name);
        assert!(buckets.len() == 15 && buckets.is_sorted(), "{name}: {buckets:?}");
        assert_eq!(buckets.last(), Some(&of(name, "count")), "{name}");
        // Never more than all came with two at once or more: most were one, or none.
        assert!(buckets[1] > 0, "{name}: {buckets:?}");
    }
}
