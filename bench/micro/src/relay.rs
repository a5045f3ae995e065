//! What one message costs a worker, from the bytes of a receive to the bytes of a send.

use ringpost_wire::command::{Content, SendMessage};
use ringpost_wire::{Command, MessageId};

use crate::worker::{ALICE, BOB, Hand, encoded, user};

const CONTENT_BYTES: usize = 64;
/// Messages before the loop: by then connections are hot and tables have their size.
const WARM_UP: u64 = 200;

/// Decode, route, encode: Alice to Bob, nothing kept.
pub(crate) fn ephemeral(iterations: u64) {
    let mut hand = Hand::new();
    let mut message = message(0, true);
    for number in 0..WARM_UP + iterations {
        let before = hand.sent_bytes[BOB];
        hand.receive(ALICE, &mut message);
        assert!(hand.sent_bytes[BOB] > before + CONTENT_BYTES as u64, "message {number} came");
    }
}

/// The same kept: into Bob's queue, `sent`, out of the queue by Bob's ack, and Alice's receipt into
/// her queue and out of it by hers.
pub(crate) fn durable(iterations: u64) {
    let mut hand = Hand::new();
    for number in 0..WARM_UP + iterations {
        let before = hand.sent_bytes;
        hand.receive(ALICE, &mut message(number, false));
        let push = number + 1;
        hand.receive(BOB, &mut encoded(&Command::Ack { push }));
        hand.receive(ALICE, &mut encoded(&Command::Ack { push }));
        assert!(hand.sent_bytes[BOB] > before[BOB] + CONTENT_BYTES as u64, "message {number} came");
        assert!(hand.sent_bytes[ALICE] > before[ALICE], "message {number} is answered");
    }
}

fn message(number: u64, ephemeral: bool) -> Vec<u8> {
    encoded(&Command::SendMessage(SendMessage {
        message_id: MessageId(u128::from(number + 1).to_be_bytes()),
        to: user(BOB),
        reply_to: None,
        client_timestamp_ms: 5,
        ephemeral,
        content: Content::Encrypted(vec![7; CONTENT_BYTES].into()),
    }))
}
