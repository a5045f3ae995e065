//! A record comes back from the journal: it is folded into every resident user at home here, and
//! what waited for it goes on.
//!
//! The order of the records is the order of recovery, so what is pushed here is what would be
//! pushed after a crash.

use smallvec::SmallVec;

use crate::at_hand::{self, Span};
use crate::change::changes;
use crate::record::{Head, MessageHead, Position, SharedRecord};
use crate::shard::Shard;
use crate::turn::Turn;
use crate::users::{Found, UserSlot};

impl Shard {
    pub(crate) fn durable(
        &mut self,
        position: Position,
        record: &SharedRecord,
        turn: &mut Turn<'_>,
    ) {
        assert!(position > self.handed, "records are handed in the journal's order, once");
        self.handed = position;
        let mut folded: SmallVec<[UserSlot; 4]> = SmallVec::new();
        for user in record.head.touches() {
            if !self.is_home(user) {
                continue;
            }
            match self.users.find(user) {
                Found::Resident(at) if folded.contains(&at) => {}
                Found::Resident(at) => {
                    self.fold(at, position, record);
                    folded.push(at);
                }
                Found::Loading(at) => {
                    self.away.touch(user, position);
                    self.keep_for_load(at, position, record);
                }
                // The store will have it; a session that waits for pushes must not.
                Found::Absent => {
                    self.away.touch(user, position);
                    if self.sessions.has_user(user) {
                        self.load_for_session(user, turn);
                    }
                }
            }
        }
        match &record.head {
            Head::Message(head) => self.message_durable(head, record.body.len() as u32, turn),
            Head::Ack(head) => {
                if let Found::Resident(at) = self.find_home(head.user) {
                    self.ack_durable(at, head.device, turn);
                }
            }
            Head::Read(head) => {
                if let Found::Resident(at) = self.find_home(head.user) {
                    self.read_durable(at, head.device);
                }
            }
            Head::DeviceAdded(head) => {
                if let Found::Resident(at) = self.find_home(head.user) {
                    self.device_added(at, head.device, turn);
                }
            }
            // Nobody waits for it.
            Head::DeviceSeen(_) => {}
            Head::DeviceRemoved(head) => {
                if let Found::Resident(at) = self.find_home(head.user) {
                    self.device_removed(at, head.device, turn);
                }
            }
            Head::GapClosed(head) => {
                if self.is_home(head.user) {
                    self.gap_closed_durable(head);
                }
            }
        }
        for at in folded {
            self.push_folded(at, position, record, turn);
            if matches!(record.head, Head::Ack(_) | Head::Read(_)) {
                let devices = self.users.resident(at).device_set();
                devices.iter().for_each(|device| self.trim_receipts(at, device, turn));
            }
        }
    }

    /// Folds a durable record into a resident user, unless the image held it.
    pub(crate) fn fold(&mut self, at: UserSlot, position: Position, record: &SharedRecord) {
        let resident = self.users.resident_mut(at);
        resident.last_touched = position;
        if !resident.has(position) {
            // Also at the end of a load, behind the record's own event.
            at_hand::with(Span::of(position), || {
                changes(position, record, &mut |change| resident.apply(change));
            });
        }
    }

    /// Gives back what the message reserved, and answers its sender.
    fn message_durable(&mut self, head: &MessageHead, body_bytes: u32, turn: &mut Turn<'_>) {
        if let Found::Resident(at) = self.find_home(head.from) {
            self.send_durable(at, head, turn);
        }
        let Found::Resident(at) = self.find_home(head.to) else { return };
        let resident = self.users.resident_mut(at);
        resident.arriving =
            resident.arriving.checked_sub(1).expect("what is durable was on the way from here");
        // Records become durable in the order in which they set out, so the first are those that a
        // connection found on the way.
        for live in resident.devices.iter_mut().filter_map(|device| device.live.as_mut()) {
            live.ahead = live.ahead.saturating_sub(1);
        }
        for device in head.recipient_devices.iter() {
            resident.device(device).queue.release(Some(head.from), body_bytes);
        }
    }

    fn find_home(&self, user: ringpost_wire::UserId) -> Found {
        if self.is_home(user) { self.users.find(user) } else { Found::Absent }
    }
}
