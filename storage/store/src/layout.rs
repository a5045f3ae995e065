//! The layout of every row of the store, byte for byte. Integers are big-endian, so that keys
//! sort as their fields do. Every value starts with a version byte, [`VALUE_VERSION`].
//!
//! ```text
//! space     table         key                                             value after the version
//! messages  MESSAGE       01 id:16                                        row, see below
//! index     META          00                                              applied:8 stamp:16
//! index     CONVERSATION  01 low:16 high:16 id:16                         (nothing)
//! index     TIMELINE      02 user:16 position:8                           id:16 peer_tag:4
//! index     ACCEPTED      03 message_id:16 user:16 device:1               id:16 accepted_ms:8 digest:16
//! index     CURSOR        04 reader:16 sender:16 status:1                 id:16
//! users     USER          01 user:16 00 00                                added_ms:8
//! users     DEVICE        01 user:16 device:1 01                          added_ms:8 seen_ms:8
//! users     HIGHEST       01 user:16 device:1 02                          message_id:16
//! users     GAP           01 user:16 device:1 03                          number:8 after:8
//! users     RECEIPT       01 user:16 device:1 04 peer:16 status:1         receipt, see below
//! users     ENTRY         01 user:16 device:1 05 position:8               entry, see below
//! any       MARK          00                                              applied:8 stamp:16
//! any       PROD          00 00                                           (nothing)
//! any       COMMIT        00 01                                           identity:16 number:8
//!
//! row       position:8 flags:1 from:16 from_device:1 to:16 message_id:16 accepted_ms:8
//!           client_timestamp_ms:8 digest:16 [reply_to:16, if flags bit 1] recipient_devices recipient_gaps
//!           sender_devices copy_devices copy_gaps (each a device set) body
//!           flags: bit 0 = plain text, bit 1 = reply_to is there
//! entry     kind:1 id:16 accepted_ms:8 message_id:16 peer:16 body_bytes:4 acked:1 sender_devices
//!           kind: 1 = incoming, 2 = copy
//! receipt   id:16 message_id:16 position:8 at_ms:8
//! set       count:1 device:1 x count, rising
//! ```
//!
//! - All that a load of a user reads lies together, in the order in which the image is built, so
//!   that it is one scan.
//! - A device that is removed leaves its HIGHEST row alone: what it repeats later, under the same
//!   number, is found. Rows of a queue may stand without their DEVICE row (a receipt may name a device
//!   that was removed): they are not shown, and go when a device is added under that number.
//! - A conversation's two users are ordered by their bytes, so that both find the same rows.
//! - ACCEPTED begins with the client's id, so that all that was accepted under an id is found
//!   without knowing whose it is; and since such ids mostly rise, new rows lie together.
//! - `peer_tag` is the head of the other side's id: a filtered timeline skips rows by it, and
//!   the row itself decides.
//! - MARK is the META row, written into every space by every batch: a space that nothing else
//!   writes would pin the engine's write-ahead log for ever. Only the one in `index` is read.
//! - COMMIT is written by the embedded engine, into every space by every commit: spaces that do not
//!   show the same one are not of one moment of one store, and one of them has lost files.
//! - The account tables of [`crate::accounts`] have a space, and a layout, of their own.

use bytes::Bytes;
use ringpost_shard::image::{Accepted, MessageRow};
use ringpost_shard::record::{EntryKind, Gap, MessageHead, Position, QueueEntry, ReceiptEntry};
use ringpost_wire::event::Status;
use ringpost_wire::{DeviceId, DeviceSet, MessageId, ServerId, UserId};
use smallvec::SmallVec;

use crate::store::StoreError;

/// Version of the layout of a store directory.
pub const FORMAT_VERSION: u32 = 4;

/// First byte of every value.
pub const VALUE_VERSION: u8 = 1;

/// The key of MARK, and of META in `index`.
pub const MARK: [u8; 1] = [0];

/// The key of a row without meaning that the engine writes to have something to flush.
pub const PROD: [u8; 2] = [0, 0];

/// The key of COMMIT.
pub const COMMIT: [u8; 2] = [0, 1];

const MESSAGE: u8 = 1;
const CONVERSATION: u8 = 1;
const TIMELINE: u8 = 2;
const ACCEPTED: u8 = 3;
const CURSOR: u8 = 4;
const USERS: u8 = 1;

const KIND_USER: u8 = 0;
const KIND_DEVICE: u8 = 1;
const KIND_HIGHEST: u8 = 2;
const KIND_GAP: u8 = 3;
const KIND_RECEIPT: u8 = 4;
const KIND_ENTRY: u8 = 5;

const FLAG_PLAIN: u8 = 1;
const FLAG_REPLY: u8 = 2;

/// Length of `peer_tag`, bytes.
const PEER_TAG_BYTES: usize = 4;

/// A key; every table's fits without an allocation.
pub type Key = SmallVec<[u8; 64]>;

pub(crate) fn key(parts: &[&[u8]]) -> Key {
    let mut key = Key::new();
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}

/// The key of a message's row.
pub fn message_key(id: ServerId) -> Key {
    key(&[&[MESSAGE], &id.0])
}

/// What all keys of a conversation start with; the id follows.
pub fn conversation_prefix(user: UserId, peer: UserId) -> Key {
    key(&[&[CONVERSATION], &user.min(peer).0, &user.max(peer).0])
}

/// The key of a message's place in its conversation.
pub fn conversation_key(user: UserId, peer: UserId, id: ServerId) -> Key {
    key(&[&conversation_prefix(user, peer), &id.0])
}

/// The id in a conversation's key.
pub fn conversation_id(key: &[u8]) -> Result<ServerId, StoreError> {
    let mut reader = Reader::new("conversation", key);
    reader.take(1 + 16 + 16)?;
    Ok(ServerId(reader.array()?))
}

/// The key of a record's place in a user's timeline.
pub fn timeline_key(user: UserId, position: Position) -> Key {
    key(&[&[TIMELINE], &user.0, &position.0.to_be_bytes()])
}

/// The position in a timeline's key.
pub fn timeline_position(key: &[u8]) -> Result<Position, StoreError> {
    let mut reader = Reader::new("timeline", key);
    reader.take(1 + 16)?;
    Ok(Position(reader.u64()?))
}

/// The key of an idempotency row.
pub fn accepted_key(user: UserId, device: DeviceId, message_id: MessageId) -> Key {
    key(&[&accepted_prefix(message_id), &user.0, &[device.number()]])
}

/// What the keys of all idempotency rows under a client's id start with.
pub fn accepted_prefix(message_id: MessageId) -> Key {
    key(&[&[ACCEPTED], &message_id.0])
}

/// The key of a cursor.
pub fn cursor_key(reader: UserId, sender: UserId, status: Status) -> Key {
    key(&[&[CURSOR], &reader.0, &sender.0, &[status as u8]])
}

/// What all rows of a user's state start with.
pub fn user_prefix(user: UserId) -> Key {
    key(&[&[USERS], &user.0])
}

/// The key of a user.
pub fn user_key(user: UserId) -> Key {
    key(&[&user_prefix(user), &[0, KIND_USER]])
}

fn device_row(user: UserId, device: DeviceId, kind: u8, rest: &[u8]) -> Key {
    key(&[&user_prefix(user), &[device.number(), kind], rest])
}

/// What all rows of a device start with.
pub fn device_prefix(user: UserId, device: DeviceId) -> Key {
    key(&[&user_prefix(user), &[device.number()]])
}

/// The key of a device.
pub fn device_key(user: UserId, device: DeviceId) -> Key {
    device_row(user, device, KIND_DEVICE, &[])
}

/// The key of a device's highest accepted id.
pub fn highest_key(user: UserId, device: DeviceId) -> Key {
    device_row(user, device, KIND_HIGHEST, &[])
}

/// The key of the mark of a device's queue: there if it has a gap.
pub fn gap_key(user: UserId, device: DeviceId) -> Key {
    device_row(user, device, KIND_GAP, &[])
}

/// The key of a receipt in a device's queue.
pub fn receipt_key(user: UserId, device: DeviceId, peer: UserId, status: Status) -> Key {
    device_row(user, device, KIND_RECEIPT, &key(&[&peer.0, &[status as u8]]))
}

/// The key of an entry of a device's queue.
pub fn entry_key(user: UserId, device: DeviceId, position: Position) -> Key {
    device_row(user, device, KIND_ENTRY, &position.0.to_be_bytes())
}

/// A row of a user's state, as its key names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UserRow {
    /// The user is there.
    User,
    /// The device is there.
    Device(DeviceId),
    /// Its highest accepted id.
    Highest(DeviceId),
    /// Its queue has a gap.
    Gap(DeviceId),
    /// A receipt of its queue.
    Receipt(DeviceId, UserId, Status),
    /// An entry of its queue.
    Entry(DeviceId, Position),
}

/// Reads the key of a row of a user's state.
///
/// # Errors
/// If it is none.
pub fn user_row(key: &[u8]) -> Result<UserRow, StoreError> {
    let mut reader = Reader::new("users", key);
    reader.take(1 + 16)?;
    let (device, kind) = (reader.u8()?, reader.u8()?);
    if (device, kind) == (0, KIND_USER) {
        return Ok(UserRow::User);
    }
    let device = DeviceId::new(device).ok_or_else(|| reader.damaged("no such device number"))?;
    match kind {
        KIND_DEVICE => Ok(UserRow::Device(device)),
        KIND_HIGHEST => Ok(UserRow::Highest(device)),
        KIND_GAP => Ok(UserRow::Gap(device)),
        KIND_RECEIPT => {
            let peer = UserId(reader.array()?);
            let status = reader.status()?;
            Ok(UserRow::Receipt(device, peer, status))
        }
        KIND_ENTRY => Ok(UserRow::Entry(device, Position(reader.u64()?))),
        _ => Err(reader.damaged("unknown kind of row")),
    }
}

/// The end of the keys that start with `prefix`: the first key behind all of them.
///
/// # Panics
/// If `prefix` is all 0xff; each table starts with a smaller byte.
pub fn prefix_end(prefix: &[u8]) -> Key {
    let mut end = Key::from_slice(prefix);
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    unreachable!("a table's first byte is below 0xff")
}

pub(crate) fn value(parts: &[&[u8]]) -> Bytes {
    let length = 1 + parts.iter().map(|part| part.len()).sum::<usize>();
    let mut value = Vec::with_capacity(length);
    value.push(VALUE_VERSION);
    parts.iter().for_each(|part| value.extend_from_slice(part));
    value.into()
}

/// A value without content.
pub fn empty_value() -> Bytes {
    Bytes::from_static(&[VALUE_VERSION])
}

/// The value of MARK and META.
pub fn mark_value(applied: Position, stamp: ServerId) -> Bytes {
    value(&[&applied.0.to_be_bytes(), &stamp.0])
}

/// Reads MARK.
///
/// # Errors
/// If it is damaged.
pub fn read_mark(value: &[u8]) -> Result<(Position, ServerId), StoreError> {
    let mut reader = Reader::value("mark", value)?;
    Ok((Position(reader.u64()?), ServerId(reader.array()?)))
}

/// The value of COMMIT: the identity of the store and the number of its last commit.
pub fn commit_value(identity: [u8; 16], number: u64) -> Bytes {
    value(&[&identity, &number.to_be_bytes()])
}

/// Reads COMMIT.
///
/// # Errors
/// If it is damaged.
pub fn read_commit(value: &[u8]) -> Result<([u8; 16], u64), StoreError> {
    let mut reader = Reader::value("commit", value)?;
    Ok((reader.array()?, reader.u64()?))
}

fn peer_tag(peer: UserId) -> [u8; PEER_TAG_BYTES] {
    std::array::from_fn(|index| peer.0[index])
}

/// The value of a timeline row.
pub fn timeline_value(id: ServerId, peer: UserId) -> Bytes {
    value(&[&id.0, &peer_tag(peer)])
}

/// Reads a timeline row: its id, and whether it may be of the conversation with `peer`.
///
/// # Errors
/// If it is damaged.
pub fn read_timeline(value: &[u8], peer: Option<UserId>) -> Result<Option<ServerId>, StoreError> {
    let mut reader = Reader::value("timeline", value)?;
    let id = ServerId(reader.array()?);
    let tag = reader.array::<PEER_TAG_BYTES>()?;
    Ok(peer.is_none_or(|peer| peer_tag(peer) == tag).then_some(id))
}

/// The value of an idempotency row.
pub fn accepted_value(accepted: Accepted) -> Bytes {
    value(&[&accepted.id.0, &accepted.accepted_ms.to_be_bytes(), &accepted.digest])
}

/// Reads an idempotency row.
///
/// # Errors
/// If it is damaged.
pub fn read_accepted(value: &[u8]) -> Result<Accepted, StoreError> {
    let mut reader = Reader::value("accepted", value)?;
    Ok(Accepted {
        id: ServerId(reader.array()?),
        accepted_ms: reader.u64()?,
        digest: reader.array()?,
    })
}

/// The value of a cursor or of a highest accepted id.
pub fn id_value(id: [u8; 16]) -> Bytes {
    value(&[&id])
}

/// Reads a cursor or a highest accepted id.
///
/// # Errors
/// If it is damaged.
pub fn read_id(table: &'static str, value: &[u8]) -> Result<[u8; 16], StoreError> {
    Reader::value(table, value)?.array()
}

/// The value of a user.
pub fn added_value(at_ms: u64) -> Bytes {
    value(&[&at_ms.to_be_bytes()])
}

/// The value of a device.
pub fn device_value(added_ms: u64, seen_ms: u64) -> Bytes {
    value(&[&added_ms.to_be_bytes(), &seen_ms.to_be_bytes()])
}

/// Reads a device: when it was added, and when it was seen last.
///
/// # Errors
/// If it is damaged.
pub fn read_device(value: &[u8]) -> Result<(u64, u64), StoreError> {
    let mut reader = Reader::value("device", value)?;
    Ok((reader.u64()?, reader.u64()?))
}

/// The value of a receipt.
pub fn receipt_value(receipt: &ReceiptEntry) -> Bytes {
    let (position, at_ms) = (receipt.position.to_be_bytes(), receipt.at_ms.to_be_bytes());
    value(&[&receipt.id.0, &receipt.message_id.0, &position, &at_ms])
}

/// Reads a receipt.
///
/// # Errors
/// If it is damaged.
pub fn read_receipt(value: &[u8]) -> Result<ReceiptEntry, StoreError> {
    let mut reader = Reader::value("receipt", value)?;
    Ok(ReceiptEntry {
        id: ServerId(reader.array()?),
        message_id: MessageId(reader.array()?),
        position: reader.u64()?,
        at_ms: reader.u64()?,
    })
}

/// The value of a queue's mark.
pub fn gap_value(gap: Gap) -> Bytes {
    value(&[&gap.number.0.to_be_bytes(), &gap.after.0.to_be_bytes()])
}

/// Reads a queue's mark.
///
/// # Errors
/// If it is damaged.
pub fn read_gap(value: &[u8]) -> Result<Gap, StoreError> {
    let mut reader = Reader::value("gap", value)?;
    Ok(Gap { number: Position(reader.u64()?), after: Position(reader.u64()?) })
}

/// The value of a queue entry.
pub fn entry_value(entry: &QueueEntry) -> Bytes {
    let kind = match entry.kind {
        EntryKind::Incoming => 1,
        EntryKind::Copy => 2,
    };
    value(&[
        &[kind],
        &entry.id.0,
        &entry.accepted_ms.to_be_bytes(),
        &entry.message_id.0,
        &entry.peer.0,
        &entry.body_bytes.to_be_bytes(),
        &[u8::from(entry.acked)],
        &set_bytes(entry.sender_devices),
    ])
}

/// Reads a queue entry.
///
/// # Errors
/// If it is damaged.
pub fn read_entry(value: &[u8]) -> Result<QueueEntry, StoreError> {
    let mut reader = Reader::value("entry", value)?;
    let kind = match reader.u8()? {
        1 => EntryKind::Incoming,
        2 => EntryKind::Copy,
        _ => return Err(reader.damaged("unknown kind of entry")),
    };
    Ok(QueueEntry {
        kind,
        id: ServerId(reader.array()?),
        accepted_ms: reader.u64()?,
        message_id: MessageId(reader.array()?),
        peer: UserId(reader.array()?),
        body_bytes: u32::from_be_bytes(reader.array()?),
        acked: reader.u8()? != 0,
        sender_devices: reader.set()?,
    })
}

/// The value of a message's row.
pub fn message_value(position: Position, head: &MessageHead, body: &[u8]) -> Bytes {
    let reply_flag = if head.reply_to.is_some() { FLAG_REPLY } else { 0 };
    let plain_flag = if head.plain { FLAG_PLAIN } else { 0 };
    value(&[
        &position.0.to_be_bytes(),
        &[plain_flag | reply_flag],
        &head.from.0,
        &[head.from_device.number()],
        &head.to.0,
        &head.message_id.0,
        &head.accepted_ms.to_be_bytes(),
        &head.client_timestamp_ms.to_be_bytes(),
        &head.digest,
        head.reply_to.as_ref().map_or(&[], |reply| reply.as_slice()),
        &set_bytes(head.recipient_devices),
        &set_bytes(head.recipient_gaps),
        &set_bytes(head.sender_devices),
        &set_bytes(head.copy_devices),
        &set_bytes(head.copy_gaps),
        body,
    ])
}

/// Reads a message's row; the body shares the value's allocation.
///
/// # Errors
/// If it is damaged.
pub fn read_message(id: ServerId, value: &Bytes) -> Result<MessageRow, StoreError> {
    let mut reader = Reader::value("message", value)?;
    let position = Position(reader.u64()?);
    let flags = reader.u8()?;
    let from = UserId(reader.array()?);
    let from_device = reader.device()?;
    let head = MessageHead {
        id,
        from,
        from_device,
        to: UserId(reader.array()?),
        message_id: MessageId(reader.array()?),
        accepted_ms: reader.u64()?,
        client_timestamp_ms: reader.u64()?,
        digest: reader.array()?,
        reply_to: if flags & FLAG_REPLY != 0 { Some(reader.array()?) } else { None },
        plain: flags & FLAG_PLAIN != 0,
        recipient_devices: reader.set()?,
        recipient_gaps: reader.set()?,
        sender_devices: reader.set()?,
        copy_devices: reader.set()?,
        copy_gaps: reader.set()?,
    };
    let body = value.slice(value.len() - reader.rest.len()..);
    Ok(MessageRow { position, head, body })
}

fn set_bytes(set: DeviceSet) -> SmallVec<[u8; 16]> {
    let mut bytes = SmallVec::new();
    bytes.push(set.len() as u8);
    bytes.extend(set.iter().map(DeviceId::number));
    bytes
}

/// Reads fields off the front of a key or value.
pub(crate) struct Reader<'a> {
    table: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(table: &'static str, rest: &'a [u8]) -> Self {
        Self { table, rest }
    }

    pub(crate) fn value(table: &'static str, value: &'a [u8]) -> Result<Self, StoreError> {
        let mut reader = Self::new(table, value);
        match reader.u8()? {
            VALUE_VERSION => Ok(reader),
            version => Err(reader.damaged(&format!("value of version {version}"))),
        }
    }

    fn damaged(&self, detail: &str) -> StoreError {
        StoreError::Damaged { table: self.table, detail: detail.to_owned() }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], StoreError> {
        let (head, rest) =
            self.rest.split_at_checked(length).ok_or_else(|| self.damaged("too short"))?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let bytes = self.take(N)?;
        Ok(bytes.try_into().expect("take returns as many bytes as asked for"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, StoreError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, StoreError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn device(&mut self) -> Result<DeviceId, StoreError> {
        let number = self.u8()?;
        DeviceId::new(number).ok_or_else(|| self.damaged("no such device number"))
    }

    fn set(&mut self) -> Result<DeviceSet, StoreError> {
        let count = self.u8()?;
        let numbers = self.take(usize::from(count))?;
        numbers
            .iter()
            .map(|&number| DeviceId::new(number))
            .collect::<Option<DeviceSet>>()
            .ok_or_else(|| self.damaged("no such device number"))
    }

    fn status(&mut self) -> Result<Status, StoreError> {
        match self.u8()? {
            number if number == Status::Sent as u8 => Ok(Status::Sent),
            number if number == Status::Delivered as u8 => Ok(Status::Delivered),
            number if number == Status::Read as u8 => Ok(Status::Read),
            _ => Err(self.damaged("unknown status")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(number: u8) -> DeviceId {
        DeviceId::new(number).unwrap()
    }

    fn head() -> MessageHead {
        MessageHead {
            id: ServerId([9; 16]),
            accepted_ms: u64::MAX - 2,
            message_id: MessageId([1; 16]),
            from: UserId([2; 16]),
            from_device: device(127),
            to: UserId([3; 16]),
            reply_to: Some([4; 16]),
            client_timestamp_ms: u64::MAX - 1,
            plain: true,
            digest: [5; 16],
            recipient_devices: DeviceSet::only(device(1)).with(device(127)),
            recipient_gaps: DeviceSet::only(device(2)),
            sender_devices: DeviceSet::EMPTY,
            copy_devices: DeviceSet::only(device(3)),
            copy_gaps: DeviceSet::only(device(4)),
        }
    }

    #[test]
    fn a_message_row_reads_as_it_was_written() {
        for (reply_to, plain, body) in [(Some([7; 16]), true, &b""[..]), (None, false, b"body")] {
            let head = MessageHead { reply_to, plain, ..head() };
            let value = message_value(Position(77), &head, body);
            let row = read_message(head.id, &value).unwrap();
            let expected =
                MessageRow { position: Position(77), head, body: Bytes::copy_from_slice(body) };
            assert_eq!(row, expected);
        }
    }

    #[test]
    fn a_short_value_of_any_table_is_damage_and_no_panic() {
        let message = message_value(Position(1), &head(), b"");
        let entry = entry_value(&QueueEntry {
            kind: EntryKind::Copy,
            id: ServerId([1; 16]),
            accepted_ms: 7,
            message_id: MessageId([2; 16]),
            peer: UserId([3; 16]),
            sender_devices: DeviceSet::only(device(5)),
            body_bytes: 300,
            acked: true,
        });
        for length in 0..message.len() {
            read_message(ServerId::default(), &message.slice(..length)).unwrap_err();
        }
        for length in 0..entry.len() {
            read_entry(&entry[..length]).unwrap_err();
        }
        for length in 0..26 {
            let key = entry_key(UserId([1; 16]), device(1), Position(2));
            user_row(&key[..length]).unwrap_err();
        }
    }

    #[test]
    fn a_value_of_another_version_is_refused_by_name() {
        let error = read_accepted(&[2; 33]).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { table: "accepted", ref detail }
            if detail.contains("version 2")));
    }

    #[test]
    fn keys_sort_as_an_image_is_built() {
        let user = UserId([8; 16]);
        let peer = UserId([1; 16]);
        let keys = [
            user_key(user),
            device_key(user, device(1)),
            highest_key(user, device(1)),
            gap_key(user, device(1)),
            receipt_key(user, device(1), peer, Status::Delivered),
            entry_key(user, device(1), Position(255)),
            entry_key(user, device(1), Position(256)),
            device_key(user, device(2)),
            user_key(UserId([9; 16])),
        ];
        assert!(keys.is_sorted());
        assert_eq!(
            user_row(&keys[4]).unwrap(),
            UserRow::Receipt(device(1), peer, Status::Delivered)
        );
        assert_eq!(user_row(&keys[6]).unwrap(), UserRow::Entry(device(1), Position(256)));
    }

    #[test]
    fn a_prefix_ends_behind_all_its_keys() {
        assert_eq!(prefix_end(&[1, 0xff, 0xff]).as_slice(), [2]);
        assert_eq!(prefix_end(&[1, 7]).as_slice(), [1, 8]);
    }

    #[test]
    fn both_sides_of_a_conversation_find_the_same_rows() {
        let (low, high, id) = (UserId([1; 16]), UserId([2; 16]), ServerId([3; 16]));
        assert_eq!(conversation_key(low, high, id), conversation_key(high, low, id));
        assert_eq!(conversation_id(&conversation_key(low, high, id)).unwrap(), id);
    }
}
