//! The one fold of durable state: `changes(position, record)` names every put and delete.
//!
//! The worker runs it on resident state when a record is durable, the applier on the store.
//! Pure: it looks at the record alone, never at state. What must not go back is a `Raise`
//! (the higher id wins), so that a replay or a slower device never moves it down. A change of the
//! queue of a device that is not there does nothing: a receipt may still name one that was removed.

use bytes::Bytes;
use ringpost_wire::event::Status;
use ringpost_wire::{DeviceId, MessageId, ServerId, UserId};

use crate::record::{
    AckHead, EntryKind, Head, MessageHead, Position, QueueEntry, ReceiptEntry, Record,
};

/// One change of durable state.
#[derive(Clone, PartialEq, Debug)]
pub enum Change<'a> {
    /// The user exists (does nothing if it did).
    AddUser {
        /// Which user.
        user: UserId,
        /// Server's clock, milliseconds since 1970.
        at_ms: u64,
    },
    /// The device exists, is new, and was seen. Whatever stood under its number is gone, but for
    /// its highest accepted id.
    AddDevice {
        /// Which user.
        user: UserId,
        /// Which device.
        device: DeviceId,
        /// Server's clock, milliseconds since 1970.
        at_ms: u64,
    },
    /// The device was seen (does nothing if there is none, or if it was seen later).
    SeeDevice {
        /// Which user.
        user: UserId,
        /// Which device.
        device: DeviceId,
        /// Server's clock, milliseconds since 1970.
        at_ms: u64,
    },
    /// The device is no more, and with it its queue, receipts and gap. Its highest accepted id
    /// stays: what it repeats as another device under the same number is still known.
    RemoveDevice {
        /// Which user.
        user: UserId,
        /// Which device.
        device: DeviceId,
    },
    /// The message's row, its place in the conversation and in both users' timelines.
    PutMessage {
        /// The record's place, which keys the entry.
        position: Position,
        /// Everything but the content.
        head: &'a MessageHead,
        /// The content.
        body: &'a Bytes,
    },
    /// The idempotency row; raises the device's highest accepted id.
    PutAccepted {
        /// Which user.
        user: UserId,
        /// Which device.
        device: DeviceId,
        /// The client's id.
        message_id: MessageId,
        /// The server's id.
        id: ServerId,
        /// When it was accepted, milliseconds since 1970.
        accepted_ms: u64,
        /// Digest of the decoded fields.
        digest: [u8; 16],
    },
    /// An entry joins a device's queue (or replaces the one at the same position).
    PutEntry {
        /// Which user.
        user: UserId,
        /// Which device.
        device: DeviceId,
        /// The record's place, which keys the entry.
        position: Position,
        /// The entry.
        entry: QueueEntry,
    },
    /// An entry leaves a device's queue.
    DeleteEntry {
        /// Which user.
        user: UserId,
        /// Which device.
        device: DeviceId,
        /// The record's place, which keys the entry.
        position: Position,
    },
    /// Something was left out of the device's queue: its mark is there, with the higher number
    /// and the lower `after`.
    WidenGap {
        /// Which user.
        user: UserId,
        /// Which device.
        device: DeviceId,
        /// The record's place.
        number: Position,
        /// Nothing up to here is missing for what this record does.
        after: Position,
    },
    /// The device's mark goes, unless it has a higher number.
    CloseGap {
        /// Which user.
        user: UserId,
        /// Which device.
        device: DeviceId,
        /// The number that was closed.
        number: Position,
    },
    /// A receipt joins a device's queue, unless one with a higher or equal id stands there.
    RaiseReceipt {
        /// Which user.
        user: UserId,
        /// Which device.
        device: DeviceId,
        /// The other side of the conversation.
        peer: UserId,
        /// `Delivered` or `Read`.
        status: Status,
        /// The receipt.
        receipt: ReceiptEntry,
    },
    /// A receipt leaves a device's queue, unless it was put there after `through`.
    SettleReceipt {
        /// Which user.
        user: UserId,
        /// Which device.
        device: DeviceId,
        /// The other side of the conversation.
        peer: UserId,
        /// `Delivered` or `Read`.
        status: Status,
        /// The last position that is settled.
        through: Position,
    },
    /// A cursor of the direction `sender` to `reader` moves up to `id`, never down.
    RaiseCursor {
        /// Who has (or has read) the messages.
        reader: UserId,
        /// Who sent them.
        sender: UserId,
        /// `Delivered` or `Read`.
        status: Status,
        /// The server's id.
        id: ServerId,
    },
}

/// All changes that `record` at `position` makes, in order.
pub fn changes<'a>(position: Position, record: &'a Record, emit: &mut dyn FnMut(Change<'a>)) {
    match &record.head {
        Head::Message(head) => message(position, head, &record.body, emit),
        Head::Ack(head) => ack(position, head, emit),
        Head::Read(head) => {
            let reader = head.user;
            advance(position, reader, Status::Read, head.at_ms, &head.advance, emit);
        }
        Head::DeviceAdded(head) => {
            emit(Change::AddUser { user: head.user, at_ms: head.at_ms });
            if let Some(device) = head.device {
                emit(Change::AddDevice { user: head.user, device, at_ms: head.at_ms });
            }
        }
        Head::DeviceSeen(head) => {
            let (user, device, at_ms) = (head.user, head.device, head.at_ms);
            emit(Change::SeeDevice { user, device, at_ms });
        }
        Head::DeviceRemoved(head) => {
            emit(Change::RemoveDevice { user: head.user, device: head.device });
        }
        Head::GapClosed(head) => {
            let number = Position(head.number);
            emit(Change::CloseGap { user: head.user, device: head.device, number });
        }
    }
}

fn message<'a>(
    position: Position,
    head: &'a MessageHead,
    body: &'a Bytes,
    emit: &mut dyn FnMut(Change<'a>),
) {
    emit(Change::PutMessage { position, head, body });
    emit(Change::PutAccepted {
        user: head.from,
        device: head.from_device,
        message_id: head.message_id,
        id: head.id,
        accepted_ms: head.accepted_ms,
        digest: head.digest,
    });
    let incoming = QueueEntry {
        kind: EntryKind::Incoming,
        id: head.id,
        accepted_ms: head.accepted_ms,
        message_id: head.message_id,
        peer: head.from,
        sender_devices: head.sender_devices,
        body_bytes: body.len() as u32,
        acked: false,
    };
    for device in head.recipient_devices.iter() {
        emit(Change::PutEntry { user: head.to, device, position, entry: incoming });
    }
    let after = Position(position.0 - 1);
    for device in head.recipient_gaps.iter() {
        emit(Change::WidenGap { user: head.to, device, number: position, after });
    }
    let copy = QueueEntry {
        kind: EntryKind::Copy,
        peer: head.to,
        sender_devices: Default::default(),
        ..incoming
    };
    for device in head.copy_devices.iter() {
        emit(Change::PutEntry { user: head.from, device, position, entry: copy });
    }
    for device in head.copy_gaps.iter() {
        emit(Change::WidenGap { user: head.from, device, number: position, after });
    }
}

fn ack<'a>(position: Position, head: &AckHead, emit: &mut dyn FnMut(Change<'a>)) {
    let (user, device) = (head.user, head.device);
    for &removed in &head.removed {
        emit(Change::DeleteEntry { user, device, position: Position(removed) });
    }
    if let Some(after) = head.missed_after {
        emit(Change::WidenGap { user, device, number: position, after: Position(after) });
    }
    if let Some((at, entry)) = head.early {
        emit(Change::PutEntry { user, device, position: Position(at), entry });
    }
    for settled in &head.settled {
        let status = status_of(settled.status);
        let (peer, through) = (settled.peer, Position(settled.position));
        emit(Change::SettleReceipt { user, device, peer, status, through });
    }
    for moved in &head.delivered {
        advance(position, user, Status::Delivered, head.at_ms, moved, emit);
    }
}

fn advance<'a>(
    position: Position,
    reader: UserId,
    status: Status,
    at_ms: u64,
    advance: &crate::record::Advance,
    emit: &mut dyn FnMut(Change<'a>),
) {
    let sender = advance.sender;
    emit(Change::RaiseCursor { reader, sender, status, id: advance.id });
    let receipt = ReceiptEntry {
        id: advance.id,
        message_id: advance.message_id,
        position: position.0,
        at_ms,
    };
    for device in advance.sender_devices.iter() {
        emit(Change::RaiseReceipt { user: sender, device, peer: reader, status, receipt });
    }
}

fn status_of(number: u8) -> Status {
    if number == Status::Read as u8 { Status::Read } else { Status::Delivered }
}
