//! A checker that finds nothing proves nothing: each violation is put before the ledger once.

use bytes::Bytes;
use ringpost_wire::event::NewMessage;
use ringpost_wire::{DeviceId, MessageId, ServerId, UserId};

use super::{Device, Key, Ledger};

const ALICE: UserId = UserId([1; 16]);
const BOB: UserId = UserId([2; 16]);

fn device(user: UserId, number: u8) -> Device {
    Device { user, number: DeviceId::new(number).unwrap() }
}

fn key(number: u8) -> Key {
    (device(ALICE, 1), MessageId([number; 16]))
}

fn id(number: u8) -> ServerId {
    ServerId([number; 16])
}

fn push(message: u8, server: u8) -> NewMessage {
    NewMessage {
        push: 1,
        id: id(server),
        message_id: key(message).1,
        from: ALICE,
        from_device: key(message).0.number,
        to: BOB,
        reply_to: None,
        client_timestamp_ms: 0,
        ephemeral: false,
        plain: false,
        body: Bytes::from_static(b"hello"),
    }
}

/// Alice has sent messages 1 and 2 to Bob, who has two devices.
fn ledger() -> Ledger {
    let mut ledger = Ledger::new(vec![device(ALICE, 1), device(BOB, 1), device(BOB, 2)]);
    for number in [1, 2] {
        ledger.on_made(key(number), BOB, b"hello");
        ledger.on_sent(key(number), BOB, id(number)).unwrap();
    }
    ledger
}

#[test]
fn a_run_that_keeps_the_promises_has_no_fault() {
    let mut ledger = ledger();
    for number in [1, 2] {
        assert!(!ledger.is_drained());
        ledger.on_push(device(BOB, number), &push(1, 1)).unwrap();
        ledger.on_push(device(BOB, number), &push(1, 1)).unwrap();
        ledger.on_push(device(BOB, number), &push(2, 2)).unwrap();
    }
    ledger.on_ack(BOB, id(2));
    ledger.on_delivered(BOB, id(2)).unwrap();
    assert!(ledger.is_drained());
    assert_eq!(ledger.close(), Vec::<String>::new());
    assert_eq!((ledger.counts.shown, ledger.counts.redeliveries), (4, 2));
}

#[test]
fn a_device_that_was_left_out_is_named() {
    let mut ledger = ledger();
    for message in [1, 2] {
        ledger.on_push(device(BOB, 1), &push(message, message)).unwrap();
    }
    ledger.on_push(device(BOB, 2), &push(2, 2)).unwrap();
    assert!(!ledger.is_drained());
    let faults = ledger.close();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains(&key(1).1.to_string()), "{faults:?}");
    assert!(faults[0].ends_with(&device(BOB, 2).to_string()), "{faults:?}");
}

#[test]
fn one_message_under_two_ids_is_shown_twice() {
    let mut ledger = ledger();
    ledger.on_push(device(BOB, 1), &push(1, 1)).unwrap();
    ledger.on_push(device(BOB, 1), &push(1, 3)).unwrap_err();
}

#[test]
fn another_id_for_a_repeated_message_is_refused() {
    let mut ledger = ledger();
    ledger.on_sent(key(1), BOB, id(1)).unwrap();
    ledger.on_sent(key(1), BOB, id(3)).unwrap_err();
}

#[test]
fn a_message_shown_behind_a_later_one_is_refused() {
    let mut ledger = ledger();
    ledger.on_push(device(BOB, 1), &push(2, 2)).unwrap();
    ledger.on_push(device(BOB, 1), &push(1, 1)).unwrap_err();
}

#[test]
fn acceptance_against_the_order_of_sending_needs_a_refusal() {
    let inverted = |ledger: &mut Ledger| {
        for (message, server) in [(3, 9), (4, 8)] {
            ledger.on_made(key(message), BOB, b"hello");
            ledger.on_sent(key(message), BOB, id(server)).unwrap();
        }
    };
    let order = |ledger: &Ledger| {
        ledger.close().iter().filter(|fault| fault.contains("accepted before it")).count()
    };
    let mut smooth = ledger();
    inverted(&mut smooth);
    assert_eq!(order(&smooth), 1);
    let mut refused = ledger();
    refused.on_refused(key(1));
    inverted(&mut refused);
    assert_eq!(order(&refused), 0);
}

#[test]
fn delivered_needs_an_ack() {
    ledger().on_delivered(BOB, id(1)).unwrap_err();
}

#[test]
fn other_bytes_than_were_sent_are_refused() {
    let mut altered = push(1, 1);
    altered.body = Bytes::from_static(b"jello");
    ledger().on_push(device(BOB, 1), &altered).unwrap_err();
}

#[test]
fn a_message_for_others_is_refused() {
    ledger().on_push(device(ALICE, 1), &push(1, 1)).unwrap_err();
}

#[test]
fn a_conflict_names_what_was_accepted_and_needs_another_content() {
    let mut ledger = ledger();
    ledger.on_conflict(key(1), id(1)).unwrap_err();
    ledger.on_altered(key(1));
    ledger.on_conflict(key(1), id(1)).unwrap();
    ledger.on_conflict(key(1), id(2)).unwrap_err();
}
