//! Batches: the fold of a run of records, coalesced.
//!
//! A batch carries typed operations, not bytes: an operation that depends on what the store holds
//! (a raise, a settle, an "add unless there") is resolved by the store itself, against its
//! state before the batch. Invariant that makes this right: at most one operation per row.
//!
//! What coalescing may do, and why it changes nothing: an entry that one record of the batch puts
//! at its own position cannot be in the store yet, so that its delete in the same batch cancels
//! both; raises of one row keep the maximum; a receipt that was raised and settled in the batch is
//! gone whatever stood there before, because every position in the store is lower; what stood ahead of
//! the adding or removing of its device is void.

use std::collections::HashMap;

use ringpost_shard::at_hand::{self, Span};
use ringpost_shard::change::{Change, changes};
use ringpost_shard::record::{Gap, Head, Position, QueueEntry, ReceiptEntry, SharedRecord};
use ringpost_wire::event::Status;
use ringpost_wire::{DeviceId, MessageId, ServerId, UserId};
use smallvec::SmallVec;

/// What a message costs a batch beside its body, bytes: its head and its index rows.
const MESSAGE_BYTES: usize = 400;

/// What any other operation costs a batch, bytes.
const OP_BYTES: usize = 96;

/// One operation of a batch. Fields mean what they mean in [`Change`].
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "fields are those of the change that the operation stands for")]
pub enum Op {
    /// The message's row, its place in the conversation and in both timelines.
    PutMessage {
        /// The record's position.
        position: Position,
        /// The record; its head is a `Head::Message`.
        record: SharedRecord,
    },
    /// The idempotency row.
    PutAccepted {
        user: UserId,
        device: DeviceId,
        message_id: MessageId,
        id: ServerId,
        accepted_ms: u64,
        digest: [u8; 16],
    },
    /// The device's highest accepted id moves up, never down.
    RaiseHighest { user: UserId, device: DeviceId, message_id: MessageId },
    /// The user is there (keeps an earlier time).
    AddUser { user: UserId, at_ms: u64 },
    /// What becomes of the device's own row, and of its queue.
    Device { user: UserId, device: DeviceId, fate: Fate },
    /// A queue entry is there.
    PutEntry { user: UserId, device: DeviceId, position: Position, entry: QueueEntry },
    /// A queue entry is not there.
    DeleteEntry { user: UserId, device: DeviceId, position: Position },
    /// Steps that the mark of a queue goes through, in order.
    Gap { user: UserId, device: DeviceId, steps: SmallVec<[GapStep; 2]> },
    /// Steps that a receipt row goes through, in order.
    Receipt {
        user: UserId,
        device: DeviceId,
        peer: UserId,
        status: Status,
        steps: SmallVec<[ReceiptStep; 2]>,
    },
    /// A cursor moves up, never down.
    RaiseCursor { reader: UserId, sender: UserId, status: Status, id: ServerId },
}

/// What a batch does to a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It was seen, if it is there.
    Seen {
        /// When, milliseconds since 1970.
        at_ms: u64,
    },
    /// Its rows go, but for its highest accepted id; then it is there anew.
    Added {
        /// When it was added, milliseconds since 1970.
        at_ms: u64,
        /// When it was seen last.
        seen_ms: u64,
    },
    /// Its rows go, but for its highest accepted id.
    Removed,
}

impl Fate {
    /// The outcome if `self` comes first. `None`: the later one begins anew.
    fn and_then(self, later: Self) -> Option<Self> {
        match (self, later) {
            (_, Self::Added { .. } | Self::Removed) => None,
            (Self::Removed, Self::Seen { .. }) => Some(self),
            (Self::Seen { at_ms: old }, Self::Seen { at_ms }) => {
                Some(Self::Seen { at_ms: at_ms.max(old) })
            }
            (Self::Added { at_ms, seen_ms: old }, Self::Seen { at_ms: seen_ms }) => {
                Some(Self::Added { at_ms, seen_ms: seen_ms.max(old) })
            }
        }
    }

    /// Whether nothing of the device's rows stays.
    pub const fn clears(self) -> bool {
        matches!(self, Self::Added { .. } | Self::Removed)
    }
}

impl Op {
    /// The device of whose queue this is.
    const fn queue_of(&self) -> Option<(UserId, DeviceId)> {
        match self {
            Self::PutEntry { user, device, .. }
            | Self::DeleteEntry { user, device, .. }
            | Self::Gap { user, device, .. }
            | Self::Receipt { user, device, .. }
            | Self::Device { user, device, .. } => Some((*user, *device)),
            _ => None,
        }
    }
}

/// One step of a receipt row.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum ReceiptStep {
    /// Becomes this one, unless one with a higher or equal id stands there.
    Raise(ReceiptEntry),
    /// Goes away, unless it was put there after this position.
    Settle(Position),
}

impl ReceiptStep {
    /// The row after this step.
    pub fn run(self, row: Option<ReceiptEntry>) -> Option<ReceiptEntry> {
        match self {
            Self::Raise(new) => Some(row.filter(|old| old.id >= new.id).unwrap_or(new)),
            Self::Settle(through) => row.filter(|old| old.position > through.0),
        }
    }
}

/// One step of the mark of a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GapStep {
    /// Something was left out.
    Widen {
        /// By the record here.
        number: Position,
        /// Behind here.
        after: Position,
    },
    /// The gap of this number is closed.
    Close(Position),
}

impl GapStep {
    /// The mark after this step.
    pub fn run(self, mark: Option<Gap>) -> Option<Gap> {
        match self {
            Self::Widen { number, after } => Some(Gap::widened(mark, number, after)),
            Self::Close(number) => Gap::closed(mark, number),
        }
    }
}

/// The coalesced fold of the records after `after` up to `through`.
#[derive(Clone, PartialEq, Debug)]
pub struct Batch {
    after: Position,
    through: Position,
    stamp: ServerId,
    ops: Vec<Op>,
    bytes: usize,
    records: usize,
}

impl Batch {
    /// The last record before the batch.
    pub const fn after(&self) -> Position {
        self.after
    }

    /// The last record of the batch.
    pub const fn through(&self) -> Position {
        self.through
    }

    /// The highest server id of the batch's messages, nil if it has none.
    pub const fn stamp(&self) -> ServerId {
        self.stamp
    }

    /// The operations: at most one per row, in the order in which the rows were first touched.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Estimated size, bytes.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Number of records folded.
    pub const fn records(&self) -> usize {
        self.records
    }
}

/// A row that more than one record of a batch may touch.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Slot {
    Highest(UserId, DeviceId),
    User(UserId),
    Device(UserId, DeviceId),
    Entry(Life, Position),
    Gap(Life),
    Receipt(Life, UserId, u8),
    Cursor(UserId, UserId, u8),
}

/// A device and how often it was cleared in this batch before: what comes behind a clearing does not
/// meet what came ahead of it.
type Life = (UserId, DeviceId, u32);

/// The last clearing of a device in a batch.
#[derive(Clone, Copy)]
struct Cleared {
    /// Where its operation stands: those of the device's queue ahead of it are void.
    index: usize,
    count: u32,
}

/// Where a slot's operation stands.
#[derive(Clone, Copy)]
struct Place {
    index: usize,
    /// The row cannot have been in the store before this batch.
    born: bool,
}

/// Gathers records into a [`Batch`].
pub struct BatchBuilder {
    after: Position,
    through: Position,
    stamp: ServerId,
    /// `None` where an operation was cancelled.
    ops: Vec<Option<Op>>,
    places: HashMap<Slot, Place>,
    cleared: HashMap<(UserId, DeviceId), Cleared>,
    bytes: usize,
    records: usize,
    cancelled: usize,
}

impl BatchBuilder {
    /// An empty batch that follows the record at `after`.
    pub fn new(after: Position) -> Self {
        Self {
            after,
            through: after,
            stamp: ServerId::default(),
            ops: Vec::new(),
            places: HashMap::new(),
            cleared: HashMap::new(),
            bytes: 0,
            records: 0,
            cancelled: 0,
        }
    }

    /// Whether no record is in it.
    pub const fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// The last record in it.
    pub const fn through(&self) -> Position {
        self.through
    }

    /// Estimated size, bytes.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Number of records folded.
    pub const fn records(&self) -> usize {
        self.records
    }

    /// Number of queue entries that were put and deleted within the batch.
    pub const fn cancelled(&self) -> usize {
        self.cancelled
    }

    /// Folds the next record.
    ///
    /// # Panics
    /// If `position` does not follow the last one: the caller has the order to keep.
    pub fn push(&mut self, position: Position, record: &SharedRecord) {
        assert_eq!(position.0, self.through.0 + 1, "records are folded in the journal's order");
        self.through = position;
        self.records += 1;
        if let Head::Message(head) = &record.head {
            self.stamp = self.stamp.max(head.id);
        }
        at_hand::with(Span::of(position), || {
            changes(position, record, &mut |change| self.fold(position, record, change));
        });
    }

    /// Counts the next record and folds nothing: it is set aside.
    ///
    /// # Panics
    /// As [`BatchBuilder::push`].
    pub fn skip(&mut self, position: Position) {
        assert_eq!(
            position.0,
            self.through.0 + 1,
            "records are passed over in the journal's order"
        );
        self.through = position;
        self.records += 1;
    }

    /// The batch.
    pub fn finish(self) -> Batch {
        let cleared = self.cleared;
        let is_void = |at: usize, op: &Op| {
            let device = op.queue_of().and_then(|device| cleared.get(&device));
            device.is_some_and(|cleared| at < cleared.index)
        };
        let ops = self.ops.into_iter().enumerate();
        let ops = ops.filter_map(|(at, op)| op.filter(|op| !is_void(at, op)));
        Batch {
            after: self.after,
            through: self.through,
            stamp: self.stamp,
            ops: ops.collect(),
            bytes: self.bytes,
            records: self.records,
        }
    }

    fn fold(&mut self, at: Position, record: &SharedRecord, change: Change<'_>) {
        match change {
            Change::PutMessage { position, body, .. } => {
                self.bytes += MESSAGE_BYTES + body.len();
                self.ops
                    .push(Some(Op::PutMessage { position, record: SharedRecord::clone(record) }));
            }
            Change::PutAccepted { user, device, message_id, id, accepted_ms, digest } => {
                self.bytes += OP_BYTES;
                let op = Op::PutAccepted { user, device, message_id, id, accepted_ms, digest };
                self.ops.push(Some(op));
                self.raise_highest(user, device, message_id);
            }
            Change::AddUser { user, at_ms } => {
                self.keep_first(Slot::User(user), Op::AddUser { user, at_ms });
            }
            Change::AddDevice { user, device, at_ms } => {
                self.device(user, device, Fate::Added { at_ms, seen_ms: at_ms });
            }
            Change::SeeDevice { user, device, at_ms } => {
                self.device(user, device, Fate::Seen { at_ms });
            }
            Change::RemoveDevice { user, device } => self.device(user, device, Fate::Removed),
            Change::PutEntry { user, device, position, entry } => {
                let slot = Slot::Entry(self.life(user, device), position);
                let op = Op::PutEntry { user, device, position, entry };
                self.replace(slot, op, position == at);
            }
            Change::DeleteEntry { user, device, position } => {
                self.delete_entry(user, device, position);
            }
            Change::WidenGap { user, device, number, after } => {
                self.gap(user, device, GapStep::Widen { number, after });
            }
            Change::CloseGap { user, device, number } => {
                self.gap(user, device, GapStep::Close(number));
            }
            Change::RaiseReceipt { user, device, peer, status, receipt } => {
                self.receipt(user, device, peer, status, ReceiptStep::Raise(receipt));
            }
            Change::SettleReceipt { user, device, peer, status, through } => {
                self.receipt(user, device, peer, status, ReceiptStep::Settle(through));
            }
            Change::RaiseCursor { reader, sender, status, id } => {
                self.raise_cursor(reader, sender, status, id);
            }
        }
    }

    fn life(&self, user: UserId, device: DeviceId) -> Life {
        let count = self.cleared.get(&(user, device)).map_or(0, |cleared| cleared.count);
        (user, device, count)
    }

    fn device(&mut self, user: UserId, device: DeviceId, fate: Fate) {
        let slot = Slot::Device(user, device);
        let earlier = match self.place(slot) {
            Some(Op::Device { fate, .. }) => Some(*fate),
            _ => None,
        };
        let merged = earlier.and_then(|earlier| earlier.and_then(fate));
        let op = Op::Device { user, device, fate: merged.unwrap_or(fate) };
        if merged.is_some() {
            return self.replace(slot, op, false);
        }
        if fate.clears() {
            let count = self.life(user, device).2 + 1;
            let cleared = Cleared { index: self.ops.len(), count };
            self.cleared.insert((user, device), cleared);
        }
        self.insert(slot, op, false);
    }

    fn insert(&mut self, slot: Slot, op: Op, born: bool) {
        self.bytes += OP_BYTES;
        self.places.insert(slot, Place { index: self.ops.len(), born });
        self.ops.push(Some(op));
    }

    fn keep_first(&mut self, slot: Slot, op: Op) {
        if !self.places.contains_key(&slot) {
            self.insert(slot, op, false);
        }
    }

    /// The later operation stands; a row stays born if it was.
    fn replace(&mut self, slot: Slot, op: Op, born: bool) {
        match self.places.get(&slot) {
            Some(place) => self.ops[place.index] = Some(op),
            None => self.insert(slot, op, born),
        }
    }

    fn delete_entry(&mut self, user: UserId, device: DeviceId, position: Position) {
        let slot = Slot::Entry(self.life(user, device), position);
        if let Some(place) = self.places.get(&slot).copied().filter(|place| place.born) {
            self.ops[place.index] = None;
            self.places.remove(&slot);
            self.bytes -= OP_BYTES;
            self.cancelled += 1;
        } else {
            self.replace(slot, Op::DeleteEntry { user, device, position }, false);
        }
    }

    fn raise_highest(&mut self, user: UserId, device: DeviceId, new: MessageId) {
        let slot = Slot::Highest(user, device);
        match self.place(slot) {
            Some(Op::RaiseHighest { message_id, .. }) => *message_id = new.max(*message_id),
            _ => self.insert(slot, Op::RaiseHighest { user, device, message_id: new }, false),
        }
    }

    fn raise_cursor(&mut self, reader: UserId, sender: UserId, status: Status, new: ServerId) {
        let slot = Slot::Cursor(reader, sender, status as u8);
        match self.place(slot) {
            Some(Op::RaiseCursor { id, .. }) => *id = new.max(*id),
            _ => self.insert(slot, Op::RaiseCursor { reader, sender, status, id: new }, false),
        }
    }

    fn gap(&mut self, user: UserId, device: DeviceId, step: GapStep) {
        let slot = Slot::Gap(self.life(user, device));
        match self.place(slot) {
            Some(Op::Gap { steps, .. }) => append_gap_step(steps, step),
            _ => {
                let steps = SmallVec::from_slice(&[step]);
                self.insert(slot, Op::Gap { user, device, steps }, false);
            }
        }
    }

    fn receipt(
        &mut self,
        user: UserId,
        device: DeviceId,
        peer: UserId,
        status: Status,
        step: ReceiptStep,
    ) {
        let slot = Slot::Receipt(self.life(user, device), peer, status as u8);
        match self.place(slot) {
            Some(Op::Receipt { steps, .. }) => append_step(steps, step),
            _ => {
                let steps = SmallVec::from_slice(&[step]);
                self.insert(slot, Op::Receipt { user, device, peer, status, steps }, false);
            }
        }
    }

    fn place(&mut self, slot: Slot) -> Option<&mut Op> {
        let place = self.places.get(&slot)?;
        self.ops[place.index].as_mut()
    }
}

/// Appends a step, and shortens the list where the outcome is the same for every row that can be
/// in the store (its position is below every position of the batch).
fn append_step(steps: &mut SmallVec<[ReceiptStep; 2]>, step: ReceiptStep) {
    use ReceiptStep::{Raise, Settle};
    match (steps.last_mut(), step) {
        (Some(Raise(old)), Raise(new)) => {
            if new.id > old.id {
                *old = new;
            }
        }
        (Some(Settle(old)), Settle(new)) => *old = new.max(*old),
        (Some(Raise(raised)), Settle(through)) if through.0 >= raised.position => {
            // Everything that was ever there is at or below `raised.position`: all of it goes.
            steps.clear();
            steps.push(step);
        }
        _ => steps.push(step),
    }
}

/// Appends a step; two of one kind behind each other are one, whatever mark they meet.
fn append_gap_step(steps: &mut SmallVec<[GapStep; 2]>, step: GapStep) {
    use GapStep::{Close, Widen};
    match (steps.last_mut(), step) {
        (Some(Widen { number: old, after: from }), Widen { number, after }) => {
            (*old, *from) = (number.max(*old), after.min(*from));
        }
        (Some(Close(old)), Close(number)) => *old = number.max(*old),
        _ => steps.push(step),
    }
}

#[cfg(test)]
mod tests;
