//! Where a message stands, for an operator who asks: read from the rows that the fold left, so
//! that the answer is what the server acts on and not a log beside it.

use std::ops::ControlFlow;

use ringpost_shard::image::MessageRow;
use ringpost_shard::record::{MessageHead, Position, QueueEntry, ReceiptEntry};
use ringpost_wire::event::Status;
use ringpost_wire::{DeviceId, DeviceSet, MessageId, ServerId, UserId};

use crate::engine::{Order, Space, View};
use crate::layout;
use crate::store::StoreError;

/// The messages under one client's id.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Named {
    /// Their server ids, in the order of their senders' ids.
    pub ids: Vec<ServerId>,
    /// There are more than were asked for.
    pub has_more: bool,
}

/// A message and what is left of it in the queues, of one state of the store.
#[derive(Clone, PartialEq, Debug)]
pub struct Trace {
    /// The last record of that state.
    pub applied: Position,
    /// The record that accepted the message.
    pub position: Position,
    /// Everything but the content.
    pub head: MessageHead,
    /// The content's size, bytes.
    pub body_bytes: u64,
    /// The recipient's devices that it was queued for, and the entry where it still stands.
    pub recipients: Vec<(DeviceId, Option<QueueEntry>)>,
    /// The sender's other devices that a copy was queued for, in the same way.
    pub copies: Vec<(DeviceId, Option<QueueEntry>)>,
    /// The recipient's delivered cursor is at it or behind it.
    pub delivered: bool,
    /// The recipient's read cursor is at it or behind it.
    pub read: bool,
    /// Receipts that tell of it, or of a later message with it, and that the sender's devices
    /// have not acked.
    pub receipts: Vec<(DeviceId, Status, ReceiptEntry)>,
}

pub(crate) fn named(
    view: &impl View,
    (message_id, sender): (MessageId, Option<UserId>),
    limit: usize,
) -> Result<Named, StoreError> {
    let mut from = layout::accepted_prefix(message_id);
    if let Some(sender) = sender {
        from.extend_from_slice(&sender.0);
    }
    let to = layout::prefix_end(&from);
    let mut named = Named::default();
    view.scan(Space::Index, &from, &to, Order::Rising, &mut |_, value| {
        if named.ids.len() == limit {
            named.has_more = true;
            return Ok(ControlFlow::Break(()));
        }
        named.ids.push(layout::read_accepted(value)?.id);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(named)
}

pub(crate) fn trace(
    view: &impl View,
    row: MessageRow,
    applied: Position,
) -> Result<Trace, StoreError> {
    let MessageRow { position, head, body } = row;
    let is_at = |status| {
        let cursor = cursor(view, head.to, head.from, status)?;
        Ok::<_, StoreError>(cursor.is_some_and(|cursor| head.id <= cursor))
    };
    let (delivered, read) = (is_at(Status::Delivered)?, is_at(Status::Read)?);
    let mut receipts = Vec::new();
    for device in head.sender_devices.iter() {
        for status in [Status::Delivered, Status::Read] {
            let key = layout::receipt_key(head.from, device, head.to, status);
            let value = view.read(Space::Users, &key)?;
            let receipt = value.map(|value| layout::read_receipt(&value)).transpose()?;
            receipts.extend(
                receipt.filter(|it| it.id >= head.id).map(|receipt| (device, status, receipt)),
            );
        }
    }
    Ok(Trace {
        applied,
        position,
        body_bytes: body.len() as u64,
        recipients: entries(view, head.to, head.recipient_devices, position)?,
        copies: entries(view, head.from, head.copy_devices, position)?,
        delivered,
        read,
        receipts,
        head,
    })
}

fn entries(
    view: &impl View,
    user: UserId,
    devices: DeviceSet,
    position: Position,
) -> Result<Vec<(DeviceId, Option<QueueEntry>)>, StoreError> {
    let entry = |device| {
        let value = view.read(Space::Users, &layout::entry_key(user, device, position))?;
        let entry = value.map(|value| layout::read_entry(&value)).transpose()?;
        Ok((device, entry))
    };
    devices.iter().map(entry).collect()
}

pub(crate) fn cursor(
    view: &impl View,
    reader: UserId,
    sender: UserId,
    status: Status,
) -> Result<Option<ServerId>, StoreError> {
    let value = view.read(Space::Index, &layout::cursor_key(reader, sender, status))?;
    value.map(|value| layout::read_id("cursor", &value).map(ServerId)).transpose()
}
