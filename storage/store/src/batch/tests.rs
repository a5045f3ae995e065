//! What coalescing leaves of a batch, case by case. That it never changes the result is the
//! property test's to show (`tests/fold_equals_reference.rs`).

use std::sync::Arc;

use bytes::Bytes;
use ringpost_shard::record::{
    AckHead, Advance, GapClosedHead, MessageHead, ReadHead, Record, Settled,
};
use ringpost_wire::DeviceSet;

use super::*;

const ALICE: UserId = UserId([0xa; 16]);
const BOB: UserId = UserId([0xb; 16]);

fn device() -> DeviceId {
    DeviceId::new(1).unwrap()
}

fn id(number: u8) -> ServerId {
    ServerId([number; 16])
}

fn message(number: u8) -> Head {
    let devices = DeviceSet::only(device());
    Head::Message(MessageHead {
        id: id(number),
        accepted_ms: number.into(),
        message_id: MessageId([number; 16]),
        from: ALICE,
        from_device: device(),
        to: BOB,
        reply_to: None,
        client_timestamp_ms: 0,
        plain: false,
        digest: [0; 16],
        recipient_devices: devices,
        recipient_gaps: DeviceSet::EMPTY,
        sender_devices: devices,
        copy_devices: DeviceSet::EMPTY,
        copy_gaps: DeviceSet::EMPTY,
    })
}

fn ack(user: UserId, removed: &[u64], settled: Option<u64>) -> Head {
    let settle = |position| Settled { peer: BOB, status: Status::Read as u8, position };
    Head::Ack(AckHead {
        user,
        device: device(),
        at_ms: 0,
        removed: removed.to_vec(),
        missed_after: None,
        early: None,
        settled: settled.map(settle).into_iter().collect(),
        delivered: Vec::new(),
    })
}

fn read(number: u8) -> Head {
    let advance = Advance {
        sender: ALICE,
        sender_devices: DeviceSet::only(device()),
        id: id(number),
        message_id: MessageId([number; 16]),
    };
    Head::Read(ReadHead { user: BOB, device: device(), at_ms: 0, advance })
}

/// The batch of the heads, from position 11 on.
fn batch(heads: &[Head]) -> Batch {
    let mut builder = BatchBuilder::new(Position(10));
    for (position, head) in (11..).zip(heads) {
        let record = Record { head: head.clone(), body: Bytes::new() };
        builder.push(Position(position), &Arc::new(record));
    }
    builder.finish()
}

fn receipt_steps(heads: &[Head]) -> Vec<ReceiptStep> {
    let batch = batch(heads);
    let steps = batch.ops().iter().find_map(|op| match op {
        Op::Receipt { steps, .. } => Some(steps.to_vec()),
        _ => None,
    });
    steps.unwrap()
}

fn is_entry_op(op: &Op) -> bool {
    matches!(op, Op::PutEntry { .. } | Op::DeleteEntry { .. })
}

#[test]
fn an_entry_acked_within_the_batch_leaves_no_trace() {
    let batch = batch(&[message(1), ack(BOB, &[11], None)]);
    assert!(!batch.ops().iter().any(is_entry_op), "{batch:?}");
}

#[test]
fn an_entry_of_an_earlier_batch_is_deleted() {
    let batch = batch(&[message(1), ack(BOB, &[10], None)]);
    let position = Position(10);
    assert!(batch.ops().contains(&Op::DeleteEntry { user: BOB, device: device(), position }));
    assert_eq!(batch.ops().iter().filter(|op| is_entry_op(op)).count(), 2);
}

#[test]
fn an_entry_put_early_may_be_in_the_store_and_its_delete_stays() {
    let Op::PutEntry { entry, .. } =
        batch(&[message(1)]).ops().iter().find(|op| is_entry_op(op)).cloned().unwrap()
    else {
        panic!("a message puts an entry")
    };
    let Head::Ack(mut early) = ack(BOB, &[], None) else { panic!("ack makes an ack") };
    early.early = Some((9, QueueEntry { acked: true, ..entry }));
    let batch = batch(&[Head::Ack(early), ack(BOB, &[9], None)]);
    let position = Position(9);
    assert_eq!(batch.ops(), [Op::DeleteEntry { user: BOB, device: device(), position }]);
}

#[test]
fn a_gap_is_one_operation_whose_steps_of_a_kind_are_one() {
    let closed = |number| Head::GapClosed(GapClosedHead { user: BOB, device: device(), number });
    let full = |number| {
        let Head::Message(mut full) = message(number) else { panic!("message makes a message") };
        full.recipient_gaps = DeviceSet::only(device());
        Head::Message(full)
    };
    let batch = batch(&[full(1), full(2), closed(3), closed(12), full(3)]);
    let steps = batch.ops().iter().find_map(|op| match op {
        Op::Gap { steps, .. } => Some(steps.as_slice()),
        _ => None,
    });
    let widen = |number, after| GapStep::Widen { number: Position(number), after: Position(after) };
    assert_eq!(steps, Some(&[widen(12, 10), GapStep::Close(Position(12)), widen(15, 14)][..]));
    let fold = |mark| steps.unwrap().iter().fold(mark, |mark, step| step.run(mark));
    let last = Gap { number: Position(15), after: Position(14) };
    assert_eq!(fold(None), Some(last));
    let stored = Gap { number: Position(4), after: Position(2) };
    assert_eq!(fold(Some(stored)), Some(last), "what stood in the store was closed as well");
}

#[test]
fn raises_keep_the_maximum() {
    let batch = batch(&[message(3), message(1), read(3), read(2)]);
    let message_id = MessageId([3; 16]);
    assert!(batch.ops().contains(&Op::RaiseHighest { user: ALICE, device: device(), message_id }));
    let (reader, sender, status) = (BOB, ALICE, Status::Read);
    assert!(batch.ops().contains(&Op::RaiseCursor { reader, sender, status, id: id(3) }));
    assert_eq!(batch.stamp(), id(3));
}

#[test]
fn a_receipt_settled_within_the_batch_is_gone_whatever_stood_there() {
    let steps = receipt_steps(&[read(5), ack(ALICE, &[], Some(11))]);
    assert_eq!(steps, [ReceiptStep::Settle(Position(11))]);
}

#[test]
fn a_receipt_raised_after_the_settled_one_stays() {
    let steps = receipt_steps(&[read(5), read(6), ack(ALICE, &[], Some(11))]);
    assert!(matches!(
        steps.as_slice(),
        [ReceiptStep::Raise(receipt), ReceiptStep::Settle(Position(11))] if receipt.id == id(6)
    ));
    // What stood in the store was lower, and is replaced; if it was higher, it is settled.
    let stored = |number, position| {
        Some(ReceiptEntry { id: id(number), message_id: MessageId::default(), position, at_ms: 0 })
    };
    let fold = |row| steps.iter().fold(row, |row, step| step.run(row));
    assert_eq!(fold(None).map(|row| row.id), Some(id(6)));
    assert_eq!(fold(stored(4, 3)).map(|row| row.id), Some(id(6)));
    assert_eq!(fold(stored(7, 3)), None);
}

#[test]
fn a_lower_receipt_does_not_replace_a_higher_one() {
    let steps = receipt_steps(&[read(6), read(5)]);
    assert!(matches!(steps.as_slice(), [ReceiptStep::Raise(receipt)]
        if receipt.id == id(6) && receipt.position == 11));
}

#[test]
#[should_panic(expected = "in the journal's order")]
fn a_record_out_of_order_is_a_bug() {
    let record = Arc::new(Record { head: read(1), body: Bytes::new() });
    BatchBuilder::new(Position(3)).push(Position(5), &record);
}
