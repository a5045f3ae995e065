//! A resident user: the durable state as of the last record handed here, and what is on the way.
//!
//! Durable state changes in [`Resident::apply`] alone. Everything else here is lost with the
//! process, and pins the user while it matters: a user is let go only if nothing is on the way,
//! nothing is pushed and unacked, and the store has every record that touched it. What a connection
//! acked after the journal had ended pins its user too: read from the store it would be pushed again.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use ringpost_wire::{DeviceId, DeviceSet, MessageId, UserId};
use smallvec::SmallVec;

use crate::acking::Acks;
use crate::change::Change;
use crate::cursors::Cursors;
use crate::event::ConnectionKey;
use crate::idempotency::Outgoing;
use crate::image::{DeviceImage, UserImage};
use crate::live::Live;
use crate::queue::{Queue, Queued};
use crate::rate::Gcra;
use crate::reading::Reads;
use crate::record::{EntryKind, Gap, Position};

/// A user whose state is here.
#[derive(Debug)]
pub(crate) struct Resident {
    pub(crate) id: UserId,
    /// A durable record says that the user exists.
    pub(crate) exists: bool,
    /// By rising number; those not `durable` are being added.
    pub(crate) devices: Vec<Device>,
    /// The highest ids accepted under numbers that no device has now, by rising number.
    former: Vec<(DeviceId, MessageId)>,
    /// Devices that are being removed: for whoever looks they are gone.
    pub(crate) removals: Vec<Removal>,
    /// The image held every record up to here.
    image_applied: Position,
    /// The last record that touched the user.
    pub(crate) last_touched: Position,
    /// `DeviceAdded` records on the way.
    pub(crate) adding: u32,
    /// Messages to this user on the way from here to the journal.
    pub(crate) arriving: u32,
    /// Tickets of `CreateUser` that wait for the record.
    pub(crate) creating: SmallVec<[u64; 1]>,
    pub(crate) rate: Gcra,
    pub(crate) cursors: Cursors,
}

/// A device of a resident user.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) id: DeviceId,
    /// A durable record says that the device exists.
    pub(crate) durable: bool,
    /// The highest id ever accepted from it.
    pub(crate) highest: MessageId,
    /// When it was seen last, to a day (wall clock, milliseconds since 1970).
    pub(crate) seen_ms: u64,
    /// The same by the record that is on the way.
    pub(crate) seeing_ms: u64,
    /// The sign-in that waits for the device to be durable.
    pub(crate) entering: Option<ConnectionKey>,
    pub(crate) queue: Queue,
    /// The number of a `GapClosed` that is on the way.
    pub(crate) closing: Option<Position>,
    pub(crate) live: Option<Box<Live>>,
    pub(crate) outgoing: Option<Box<Outgoing>>,
    pub(crate) acks: Acks,
    pub(crate) reads: Reads,
}

impl Device {
    pub(crate) fn new(id: DeviceId, durable: bool) -> Self {
        Self {
            id,
            durable,
            highest: MessageId::default(),
            seen_ms: 0,
            seeing_ms: 0,
            entering: None,
            queue: Queue::default(),
            closing: None,
            live: None,
            outgoing: None,
            acks: Acks::default(),
            reads: Reads::default(),
        }
    }

    fn from_image(image: &DeviceImage) -> Self {
        Self {
            highest: image.highest_accepted,
            seen_ms: image.seen_ms,
            queue: Queue::from_image(image),
            ..Self::new(image.device, true)
        }
    }

    fn to_image(&self) -> DeviceImage {
        DeviceImage {
            device: self.id,
            highest_accepted: self.highest,
            seen_ms: self.seen_ms,
            gap: self.queue.gap,
            entries: self.queue.entries().map(|q: &Queued| (q.position, q.entry)).collect(),
            receipts: self
                .queue
                .receipts()
                .map(|queued| (queued.peer, queued.status, queued.receipt))
                .collect(),
        }
    }

    /// Whether the queue takes no more: it has a gap, as far as is known here, and nobody is
    /// connected to whom it could be pushed at once.
    pub(crate) fn is_closed(&self) -> bool {
        self.live.is_none() && self.queue.gap.is_some_and(|gap| self.closing < Some(gap.number))
    }

    pub(crate) fn outgoing_mut(&mut self) -> &mut Outgoing {
        self.outgoing.get_or_insert_default()
    }

    fn is_busy(&self) -> bool {
        let delivering = self.live.as_ref().is_some_and(|live| {
            live.has_unacked()
                || self.queue.next_after(live.cursor).is_some()
                || self.acks.has_abandoned()
                || live.owes(self.queue.gap)
        });
        delivering || self.is_on_the_way()
    }

    /// Whether a record, a read or a message that is on the way will look for the device.
    pub(crate) fn is_on_the_way(&self) -> bool {
        self.closing.is_some()
            || self.seeing_ms > self.seen_ms
            || self.acks.is_busy()
            || self.reads.is_busy()
            || self.outgoing.as_ref().is_some_and(|outgoing| outgoing.is_busy())
            || self.queue.has_reserved()
    }

    fn heap_bytes(&self) -> usize {
        self.queue.heap_bytes()
            + self.live.as_ref().map_or(0, |live| live.heap_bytes())
            + self.outgoing.as_ref().map_or(0, |outgoing| outgoing.heap_bytes())
            + self.acks.heap_bytes()
            + self.reads.heap_bytes()
    }
}

impl Resident {
    /// The user as the store knows it; `None`: not at all.
    pub(crate) fn new(id: UserId, image: Option<&UserImage>) -> Self {
        let devices =
            image.map(|image| image.devices.iter().map(Device::from_image).collect::<Vec<_>>());
        let devices = devices.unwrap_or_default();
        assert!(devices.is_sorted_by_key(|device| device.id), "an image lists devices in order");
        Self {
            id,
            exists: image.is_some(),
            devices,
            former: image.map(|image| image.former.clone()).unwrap_or_default(),
            removals: Vec::new(),
            image_applied: image.map_or(Position(0), |image| image.applied),
            last_touched: Position(0),
            adding: 0,
            arriving: 0,
            creating: SmallVec::new(),
            rate: Gcra::default(),
            cursors: image.map_or_else(Cursors::default, |it| Cursors::from_image(&it.cursors)),
        }
    }

    /// The durable state, as the store will have it once the applier has passed `applied`. Of the
    /// cursors those that are known here: a message that joined a queue since the load needs none.
    pub(crate) fn to_image(&self, applied: Position) -> Option<UserImage> {
        let devices = self.devices.iter().filter(|device| device.durable);
        self.exists.then(|| UserImage {
            applied,
            devices: devices.map(Device::to_image).collect(),
            former: self.former.clone(),
            cursors: self.cursors.to_image(),
        })
    }

    /// The device, which was found in this turn.
    ///
    /// # Panics
    /// If there is none; no device leaves while something is on the way that looks for it.
    pub(crate) fn device(&mut self, id: DeviceId) -> &mut Device {
        self.find_device(id).expect("a device stays while something on the way looks for it")
    }

    pub(crate) fn find_device(&mut self, id: DeviceId) -> Option<&mut Device> {
        self.devices.iter_mut().find(|device| device.id == id)
    }

    /// The device, new if it is not here yet.
    pub(crate) fn device_or_new(&mut self, id: DeviceId) -> &mut Device {
        let at = match self.devices.binary_search_by_key(&id, |device| device.id) {
            Ok(at) => at,
            Err(at) => {
                // Most users have one or two: not the four that a vector would begin with.
                self.devices.reserve_exact(1);
                self.devices.insert(at, Device::new(id, false));
                at
            }
        };
        &mut self.devices[at]
    }

    /// The devices that are to stay: what is done from here on reaches these.
    pub(crate) fn present(&self) -> impl Iterator<Item = &Device> {
        self.devices.iter().filter(|device| !self.is_removing(device.id))
    }

    pub(crate) fn device_set(&self) -> DeviceSet {
        self.present().map(|device| device.id).collect()
    }

    pub(crate) fn is_removing(&self, id: DeviceId) -> bool {
        self.removals.iter().any(|removal| removal.device == id)
    }

    /// Whether it is a device, by a durable record, and is to stay.
    pub(crate) fn is_present(&self, id: DeviceId) -> bool {
        self.present().any(|device| device.id == id && device.durable)
    }

    /// The device by durable records.
    fn durable_device(&mut self, id: DeviceId) -> Option<&mut Device> {
        self.find_device(id).filter(|device| device.durable)
    }

    fn add(&mut self, id: DeviceId, at_ms: u64) {
        let former = self.former.binary_search_by_key(&id, |&(device, _)| device).ok();
        let highest = former.map(|at| self.former.remove(at).1);
        let device = self.device_or_new(id);
        assert!(!device.durable, "a device is added where there is none");
        device.durable = true;
        device.seen_ms = at_ms;
        device.highest = highest.unwrap_or_default();
    }

    fn remove(&mut self, id: DeviceId) {
        let Ok(at) = self.devices.binary_search_by_key(&id, |device| device.id) else { return };
        let device = self.devices.remove(at);
        if device.highest != MessageId::default() {
            let at = self.former.partition_point(|&(former, _)| former < id);
            self.former.insert(at, (id, device.highest));
        }
    }

    /// Devices with a connection.
    pub(crate) fn live_devices(&self) -> SmallVec<[DeviceId; 4]> {
        self.devices.iter().filter(|device| device.live.is_some()).map(|device| device.id).collect()
    }

    /// Whether the user exists, by a record that is durable or on the way.
    pub(crate) fn is_known(&self) -> bool {
        self.exists || self.adding > 0
    }

    /// Whether the image held the record at `position` already.
    pub(crate) fn has(&self, position: Position) -> bool {
        position <= self.image_applied
    }

    /// Folds one change of a durable record into the state, if it is about this user.
    pub(crate) fn apply(&mut self, change: Change<'_>) {
        match change {
            Change::AddUser { user, .. } if user == self.id => self.exists = true,
            Change::AddDevice { user, device, at_ms } if user == self.id => {
                self.add(device, at_ms);
            }
            Change::SeeDevice { user, device, at_ms } if user == self.id => {
                if let Some(device) = self.durable_device(device) {
                    device.seen_ms = at_ms.max(device.seen_ms);
                }
            }
            Change::RemoveDevice { user, device } if user == self.id => self.remove(device),
            Change::PutAccepted { user, device, message_id, .. } if user == self.id => {
                let device = self.device(device);
                device.highest = device.highest.max(message_id);
            }
            Change::PutEntry { user, device, position, entry } if user == self.id => {
                if let Some(device) = self.durable_device(device) {
                    device.queue.put(position, entry);
                }
            }
            Change::DeleteEntry { user, device, position } if user == self.id => {
                if let Some(device) = self.durable_device(device) {
                    device.queue.delete(position);
                }
            }
            Change::WidenGap { user, device, number, after } if user == self.id => {
                if let Some(Device { queue, .. }) = self.durable_device(device) {
                    queue.gap = Some(Gap::widened(queue.gap, number, after));
                }
            }
            Change::CloseGap { user, device, number } if user == self.id => {
                if let Some(Device { queue, .. }) = self.durable_device(device) {
                    queue.gap = Gap::closed(queue.gap, number);
                }
            }
            Change::RaiseReceipt { user, device, peer, status, receipt } if user == self.id => {
                if let Some(device) = self.durable_device(device) {
                    device.queue.raise_receipt(peer, status, receipt);
                }
            }
            Change::SettleReceipt { user, device, peer, status, through } if user == self.id => {
                if let Some(device) = self.durable_device(device) {
                    device.queue.settle_receipt(peer, status, through);
                }
            }
            Change::RaiseCursor { reader, sender, status, id } if reader == self.id => {
                self.cursors.fold(sender, status, id);
                if self.cursors.are_many() {
                    let senders = self.queued_senders();
                    self.cursors.forget(|sender| senders.contains(&sender));
                }
            }
            // Of another user, or kept by the store alone.
            Change::AddUser { .. }
            | Change::AddDevice { .. }
            | Change::SeeDevice { .. }
            | Change::RemoveDevice { .. }
            | Change::PutMessage { .. }
            | Change::PutAccepted { .. }
            | Change::PutEntry { .. }
            | Change::DeleteEntry { .. }
            | Change::WidenGap { .. }
            | Change::CloseGap { .. }
            | Change::RaiseReceipt { .. }
            | Change::SettleReceipt { .. }
            | Change::RaiseCursor { .. } => {}
        }
    }

    /// The senders of the messages in the queues.
    fn queued_senders(&self) -> BTreeSet<UserId> {
        let entries = self.devices.iter().flat_map(|device| device.queue.entries());
        let incoming = entries.filter(|queued| queued.entry.kind == EntryKind::Incoming);
        incoming.map(|queued| queued.entry.peer).collect()
    }

    /// Whether the user may be let go: see the head of this file.
    pub(crate) fn is_evictable(&self, applied: Position, now: Duration) -> bool {
        self.last_touched <= applied
            && self.adding == 0
            && self.arriving == 0
            && self.creating.is_empty()
            && self.removals.is_empty()
            && self.rate.is_idle(now)
            && !self.devices.iter().any(Device::is_busy)
    }

    /// Bytes, with the heap.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.devices.capacity() * size_of::<Device>()
            + self.devices.iter().map(Device::heap_bytes).sum::<usize>()
            + self.former.capacity() * size_of::<(DeviceId, MessageId)>()
            + self.removals.capacity() * size_of::<Removal>()
            + self.cursors.heap_bytes()
    }
}

/// A device on its way out.
#[derive(Debug)]
pub(crate) struct Removal {
    pub(crate) device: DeviceId,
    /// Its record is on the way; before, something on the way still looks for the device.
    pub(crate) committed: bool,
    /// Who asked and waits for the record.
    pub(crate) tickets: SmallVec<[u64; 1]>,
    /// A sign-in of the same device, which will be a new one.
    pub(crate) entering: Option<ConnectionKey>,
}

/// A user whose state was asked of the store.
#[derive(Default, Debug)]
pub(crate) struct Loading {
    /// The store was asked; else the user waits for a place among the loads.
    pub(crate) requested: bool,
    /// Events that wait, in order.
    pub(crate) line: VecDeque<crate::loading::Waiting>,
    /// Durable records that arrived meanwhile.
    pub(crate) records: Vec<(Position, crate::record::SharedRecord)>,
    /// A record was let go for want of room: its position.
    pub(crate) let_go: Option<Position>,
}
