//! A device's queue: the durable part of it, and what records on the way will do to it.
//!
//! Durable (changed by [`crate::changes`] alone): entries, receipts, the mark of a gap.
//! On the way (lost with the process, and rightly so): room reserved by sends in flight, entries
//! that leave (an ack waits for the journal), entries that will be marked `acked`.
//! Invariants: entries and receipts rise by position; no position is in both; one receipt per
//! (peer, status).

use std::collections::VecDeque;

use ringpost_wire::event::Status;
use ringpost_wire::{ServerId, UserId};

use crate::bound::Bound;
use crate::drained::Drained;
use crate::image::DeviceImage;
use crate::limits::ShardLimits;
use crate::record::{EntryKind, Gap, Position, QueueEntry, ReceiptEntry};
use crate::shares::Shares;

/// An entry and what is on the way for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queued {
    pub(crate) position: Position,
    pub(crate) entry: QueueEntry,
    /// A record that removes it is on the way (or will be, with the next ack record).
    pub(crate) leaving: bool,
    /// A record that marks it `acked` is on the way (or will be).
    pub(crate) flagging: bool,
    /// The id of the last incoming message up to here, this one included. These rise by position,
    /// so that a message is found by its id although copies of what others sent stand between.
    floor: ServerId,
}

impl Queued {
    /// Acked out of turn: it is not pushed any more, and leaves with the older ones.
    pub(crate) const fn flagged(&self) -> bool {
        self.entry.acked || self.flagging
    }

    /// In the direction of messages from `sender`.
    pub(crate) fn comes_from(&self, sender: UserId) -> bool {
        self.entry.kind == EntryKind::Incoming && self.entry.peer == sender
    }
}

/// A receipt in the queue.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct QueuedReceipt {
    pub(crate) peer: UserId,
    pub(crate) status: Status,
    pub(crate) receipt: ReceiptEntry,
}

/// The next thing to push.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Next {
    Entry(Queued),
    Receipt(QueuedReceipt),
}

/// One device's queue.
#[derive(Clone, Default, Debug)]
pub(crate) struct Queue {
    entries: VecDeque<Queued>,
    receipts: VecDeque<QueuedReceipt>,
    /// Something was left out of it, by a durable record.
    pub(crate) gap: Option<Gap>,
    /// Content of the entries, bytes.
    bytes: u64,
    reserved_entries: u32,
    reserved_bytes: u64,
    /// What each sender holds, with what is on the way.
    shares: Shares,
    /// Entries that are flagged and not leaving.
    flagged: u32,
}

impl Queue {
    pub(crate) fn from_image(image: &DeviceImage) -> Self {
        let mut queue = Self { gap: image.gap, ..Self::default() };
        for &(position, entry) in &image.entries {
            queue.put(position, entry);
        }
        queue.receipts = image
            .receipts
            .iter()
            .map(|&(peer, status, receipt)| QueuedReceipt { peer, status, receipt })
            .collect();
        assert!(queue.receipts.iter().is_sorted_by_key(|queued| queued.receipt.position));
        queue
    }

    /// Heap bytes.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Queued>()
            + self.receipts.capacity() * size_of::<QueuedReceipt>()
            + self.shares.heap_bytes()
    }

    /// Entries and the bytes of their content.
    pub(crate) fn fill(&self) -> (usize, u64) {
        (self.entries.len(), self.bytes)
    }

    /// Room held for messages on the way.
    pub(crate) const fn reserved(&self) -> u32 {
        self.reserved_entries
    }

    pub(crate) fn entries(&self) -> impl DoubleEndedIterator<Item = &Queued> {
        self.entries.iter()
    }

    pub(crate) fn receipts(&self) -> impl ExactSizeIterator<Item = &QueuedReceipt> {
        self.receipts.iter()
    }

    /// Whether an entry is flagged and waits for older ones.
    pub(crate) const fn has_flagged(&self) -> bool {
        self.flagged > 0
    }

    pub(crate) fn find(&self, position: Position) -> Option<&Queued> {
        self.index(position).map(|at| &self.entries[at])
    }

    fn index(&self, position: Position) -> Option<usize> {
        self.entries.binary_search_by_key(&position, |queued| queued.position).ok()
    }

    /// What stands next behind `cursor`, entries and receipts in order of position.
    pub(crate) fn next_after(&self, cursor: Position) -> Option<Next> {
        let entry = self.entries_after(cursor).next();
        let receipt = self.receipts.partition_point(|queued| queued.receipt.position <= cursor.0);
        match (entry, self.receipts.get(receipt)) {
            (Some(entry), Some(receipt)) if receipt.receipt.position < entry.position.0 => {
                Some(Next::Receipt(*receipt))
            }
            (Some(entry), _) => Some(Next::Entry(*entry)),
            (None, receipt) => receipt.map(|&receipt| Next::Receipt(receipt)),
        }
    }

    /// The entries behind `cursor`.
    pub(crate) fn entries_after(&self, cursor: Position) -> impl Iterator<Item = &Queued> {
        self.entries.range(self.entries.partition_point(|queued| queued.position <= cursor)..)
    }

    // Room.

    /// The bound that one more message of `bytes` would break, with all that is on the way.
    pub(crate) fn full_for(&self, bytes: u32, limits: &ShardLimits) -> Option<Bound> {
        let entries = self.entries.len() as u64 + u64::from(self.reserved_entries);
        if entries >= u64::from(limits.queue_entries_max) {
            Some(Bound::QueueEntries)
        } else if self.bytes + self.reserved_bytes + u64::from(bytes) > limits.queue_bytes_max {
            Some(Bound::QueueBytes)
        } else {
            None
        }
    }

    /// The bound that one more message of `bytes` from `sender` would break: its share.
    pub(crate) fn share_used(
        &self,
        sender: UserId,
        bytes: u32,
        limits: &ShardLimits,
    ) -> Option<Bound> {
        let (entries_held, bytes_held) = self.shares.of(sender);
        let (entries_max, bytes_max) = limits.sender_share();
        let is_used = entries_held >= entries_max || bytes_held + u64::from(bytes) > bytes_max;
        is_used.then_some(Bound::SenderShare)
    }

    /// Holds room for a message of `sender`, or for a copy of what its owner sent.
    pub(crate) fn reserve(&mut self, sender: Option<UserId>, bytes: u32) {
        self.reserved_entries += 1;
        self.reserved_bytes += u64::from(bytes);
        if let Some(sender) = sender {
            self.shares.take(sender, bytes);
        }
    }

    /// Gives back what `reserve` took: the message has joined the queue or was refused.
    pub(crate) fn release(&mut self, sender: Option<UserId>, bytes: u32) {
        if let Some(sender) = sender {
            self.shares.give_back(sender, bytes);
        }
        self.reserved_entries =
            self.reserved_entries.checked_sub(1).expect("released no more than was reserved");
        self.reserved_bytes = self
            .reserved_bytes
            .checked_sub(bytes.into())
            .expect("released no more than was reserved");
    }

    pub(crate) const fn has_reserved(&self) -> bool {
        self.reserved_entries > 0
    }

    // On the way.

    /// Marks an entry as leaving. False if there is none or it leaves already.
    pub(crate) fn start_leaving(&mut self, position: Position) -> bool {
        let Some(at) = self.index(position) else { return false };
        let queued = &mut self.entries[at];
        if queued.leaving {
            return false;
        }
        queued.leaving = true;
        if queued.flagged() {
            self.flagged -= 1;
        }
        true
    }

    /// Marks an entry as acked before its turn. False if there is none, or nothing to mark.
    pub(crate) fn start_flagging(&mut self, position: Position) -> bool {
        let Some(at) = self.index(position) else { return false };
        let queued = &mut self.entries[at];
        if queued.leaving || queued.flagged() {
            return false;
        }
        queued.flagging = true;
        self.flagged += 1;
        true
    }

    /// Whether every older entry from `sender` leaves or is flagged.
    pub(crate) fn is_oldest_of(&self, sender: UserId, position: Position) -> bool {
        self.entries
            .iter()
            .take_while(|queued| queued.position < position)
            .all(|queued| !queued.comes_from(sender) || queued.leaving || queued.flagged())
    }

    /// Positions of the flagged entries from `sender` that no older entry of that direction
    /// holds back any more.
    pub(crate) fn released(&self, sender: UserId) -> Vec<Position> {
        self.entries
            .iter()
            .filter(|queued| queued.comes_from(sender) && !queued.leaving)
            .take_while(|queued| queued.flagged())
            .map(|queued| queued.position)
            .collect()
    }

    // Durable changes.

    pub(crate) fn put(&mut self, position: Position, entry: QueueEntry) {
        match self.entries.binary_search_by_key(&position, |queued| queued.position) {
            Ok(at) => {
                let queued = &mut self.entries[at];
                if !queued.leaving {
                    self.flagged -= u32::from(queued.flagged());
                    self.flagged += u32::from(entry.acked);
                }
                self.bytes =
                    self.bytes - u64::from(queued.entry.body_bytes) + u64::from(entry.body_bytes);
                *queued = Queued { entry, flagging: false, ..*queued };
            }
            Err(at) => {
                self.bytes += u64::from(entry.body_bytes);
                self.flagged += u32::from(entry.acked);
                if entry.kind == EntryKind::Incoming {
                    self.shares.take(entry.peer, entry.body_bytes);
                }
                let before = at.checked_sub(1).map(|before| self.entries[before].floor);
                let own = (entry.kind == EntryKind::Incoming).then_some(entry.id);
                let floor = before.max(own).unwrap_or_default();
                let queued = Queued { position, entry, leaving: false, flagging: false, floor };
                self.entries.insert(at, queued);
            }
        }
    }

    pub(crate) fn delete(&mut self, position: Position) {
        let Some(at) = self.index(position) else { return };
        let queued = self.entries.remove(at).expect("the index was just found");
        self.bytes -= u64::from(queued.entry.body_bytes);
        if queued.entry.kind == EntryKind::Incoming {
            self.shares.give_back(queued.entry.peer, queued.entry.body_bytes);
        }
        if queued.flagged() && !queued.leaving {
            self.flagged -= 1;
        }
        self.entries.give_back();
    }

    pub(crate) fn raise_receipt(&mut self, peer: UserId, status: Status, receipt: ReceiptEntry) {
        if let Some(at) = self.receipt_index(peer, status) {
            if self.receipts[at].receipt.id >= receipt.id {
                return;
            }
            self.receipts.remove(at);
        }
        let queued = QueuedReceipt { peer, status, receipt };
        let at = self.receipts.partition_point(|other| other.receipt.position < receipt.position);
        self.receipts.insert(at, queued);
    }

    pub(crate) fn settle_receipt(&mut self, peer: UserId, status: Status, through: Position) {
        // One that was raised meanwhile stands at a later position: it was not settled.
        let at = self.receipts.binary_search_by_key(&through.0, |queued| queued.receipt.position);
        let Ok(at) = at else { return };
        if (self.receipts[at].peer, self.receipts[at].status) == (peer, status) {
            self.receipts.remove(at);
            self.receipts.give_back();
        }
    }

    fn receipt_index(&self, peer: UserId, status: Status) -> Option<usize> {
        self.receipts.iter().position(|queued| queued.peer == peer && queued.status == status)
    }

    /// The entry with this id and kind `Incoming`, if it stands here.
    pub(crate) fn incoming(&self, id: ServerId) -> Option<&Queued> {
        // Incoming messages were stamped by one shard after the other, each above the newest of the
        // one before: their ids rise with their positions.
        let at = self.entries.partition_point(|queued| queued.floor < id);
        self.entries
            .get(at)
            .filter(|queued| queued.entry.kind == EntryKind::Incoming && queued.entry.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENDER: UserId = UserId([1; 16]);
    const OTHER: UserId = UserId([2; 16]);

    fn entry(peer: UserId, number: u8) -> QueueEntry {
        QueueEntry {
            kind: EntryKind::Incoming,
            id: ServerId([number; 16]),
            accepted_ms: number.into(),
            message_id: Default::default(),
            peer,
            sender_devices: Default::default(),
            body_bytes: 10,
            acked: false,
        }
    }

    fn receipt(id: u8, position: u64) -> ReceiptEntry {
        ReceiptEntry { id: ServerId([id; 16]), message_id: Default::default(), position, at_ms: 0 }
    }

    fn queue() -> Queue {
        let mut queue = Queue::default();
        for (position, peer) in [(1, SENDER), (3, OTHER), (5, SENDER), (7, SENDER)] {
            queue.put(Position(position), entry(peer, position as u8));
        }
        queue
    }

    #[test]
    fn entries_and_receipts_come_in_order_of_position() {
        let mut queue = queue();
        queue.raise_receipt(OTHER, Status::Delivered, receipt(9, 4));
        queue.raise_receipt(OTHER, Status::Read, receipt(9, 9));
        let mut cursor = Position(0);
        let mut seen = Vec::new();
        while let Some(next) = queue.next_after(cursor) {
            cursor = match next {
                Next::Entry(queued) => queued.position,
                Next::Receipt(queued) => Position(queued.receipt.position),
            };
            seen.push(cursor.0);
        }
        assert_eq!(seen, [1, 3, 4, 5, 7, 9]);
    }

    #[test]
    fn a_newer_receipt_replaces_the_older_and_a_lower_one_does_nothing() {
        let mut queue = Queue::default();
        queue.raise_receipt(OTHER, Status::Delivered, receipt(5, 10));
        queue.raise_receipt(OTHER, Status::Delivered, receipt(4, 11));
        assert_eq!(queue.receipts().next().map(|it| it.receipt.position), Some(10));
        queue.raise_receipt(OTHER, Status::Delivered, receipt(6, 12));
        assert_eq!(queue.receipts().len(), 1);
        queue.settle_receipt(OTHER, Status::Delivered, Position(10));
        assert_eq!(queue.receipts().len(), 1, "put there after what was acked");
        queue.settle_receipt(OTHER, Status::Delivered, Position(12));
        assert_eq!(queue.receipts().len(), 0);
    }

    #[test]
    fn flagged_entries_are_released_once_nothing_older_of_their_direction_is_left() {
        let mut queue = queue();
        assert!(queue.start_flagging(Position(5)));
        assert!(!queue.start_flagging(Position(5)), "once");
        assert!(!queue.is_oldest_of(SENDER, Position(5)));
        assert!(queue.released(SENDER).is_empty());
        assert!(queue.start_leaving(Position(1)));
        assert!(!queue.start_leaving(Position(1)), "once");
        assert_eq!(queue.released(SENDER), [Position(5)]);
        assert!(queue.is_oldest_of(SENDER, Position(7)));
        queue.put(Position(5), QueueEntry { acked: true, ..entry(SENDER, 5) });
        assert!(queue.has_flagged());
        assert!(queue.start_leaving(Position(5)));
        assert!(!queue.has_flagged());
        for position in [1, 5] {
            queue.delete(Position(position));
        }
        assert_eq!(queue.entries().count(), 2);
        assert_eq!(queue.bytes, 20);
    }

    #[test]
    fn room_counts_what_is_on_the_way_in_entries_and_in_bytes() {
        let limits =
            ShardLimits { queue_entries_max: 6, queue_bytes_max: 65, ..ShardLimits::default() };
        let mut queue = queue();
        assert_eq!(queue.full_for(25, &limits), None);
        assert_eq!(queue.full_for(26, &limits), Some(Bound::QueueBytes));
        queue.reserve(None, 5);
        assert_eq!(queue.full_for(20, &limits), None);
        queue.reserve(Some(SENDER), 5);
        assert_eq!(queue.full_for(0, &limits), Some(Bound::QueueEntries));
        queue.release(None, 5);
        assert_eq!(queue.full_for(0, &limits), None);
    }

    #[test]
    fn an_incoming_message_is_found_by_its_id_whatever_stands_between() {
        let mut queue = queue();
        for (position, id) in [(4, 9), (6, 1), (8, 99)] {
            let copy = QueueEntry { kind: EntryKind::Copy, ..entry(OTHER, id) };
            queue.put(Position(position), copy);
        }
        for deleted in [1, 3] {
            queue.delete(Position(deleted));
        }
        assert_eq!(
            queue.incoming(ServerId([7; 16])).map(|found| found.position),
            Some(Position(7))
        );
        for absent in [0, 1, 2, 3, 9, 99] {
            assert!(queue.incoming(ServerId([absent; 16])).is_none(), "{absent}");
        }
        assert_eq!(
            queue.incoming(ServerId([5; 16])).map(|found| found.position),
            Some(Position(5))
        );
        assert!(queue.incoming(ServerId([6; 16])).is_none());
    }
}
