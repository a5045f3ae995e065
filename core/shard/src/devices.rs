//! Users and their devices come and go, by records: made, added, seen, removed.
//!
//! ```text
//!  absent ─DeviceAdded─> adding ──durable──> device ─┬ DeviceSeen, at most once a day
//!                                                    │
//!     ^                     sign-out, long absence ──┤ removal: for whoever looks it is gone
//!     │                                              v
//!     └────────── durable ── DeviceRemoved <── nothing on the way looks for it any more
//! ```
//! While a device is being added its user's sends wait: whoever sends then must know of it, or it
//! would miss a copy without being told. A device that signs in again while it is removed waits, and
//! is a new one. Absence is looked at where it matters (at a load, where a place is needed, when a
//! message arrives): no timer walks over the users.
//!
//! Invariants: no connected device is removed; a device is removed only while nothing on the way
//! (a record, a store read, a message, an ack) will look for it; whoever asked is answered once.

use std::time::Duration;

use bytes::Bytes;
use ringpost_wire::{CloseReason, DeviceId, UserId};
use smallvec::SmallVec;

use crate::event::ConnectionKey;
use crate::loading::Waiting;
use crate::record::{DeviceAddedHead, DeviceRemovedHead, DeviceSeenHead, Head};
use crate::shard::Shard;
use crate::turn::Turn;
use crate::user::Removal;
use crate::users::{Found, UserSlot};

/// How exactly it is known when a device was seen last: a record each time would cost more than
/// absence is worth.
const SEEN_EVERY: Duration = Duration::from_secs(86_400);

/// Removals that an event looks at, of those that wait for something on the way.
const REMOVALS_PER_EVENT: usize = 8;

impl Shard {
    /// Commits that the user, and the device if there is one, exists.
    pub(crate) fn add_device(
        &mut self,
        at: UserSlot,
        device: Option<DeviceId>,
        turn: &mut Turn<'_>,
    ) {
        let resident = self.users.resident_mut(at);
        resident.adding += 1;
        let user = resident.id;
        self.unknown.forget(user);
        let head = DeviceAddedHead { user, device, at_ms: turn.now.wall_ms };
        self.commit(Head::DeviceAdded(head), Bytes::new(), turn);
    }

    /// A `DeviceAdded` of this shard is durable and folded.
    pub(crate) fn device_added(
        &mut self,
        at: UserSlot,
        device: Option<DeviceId>,
        turn: &mut Turn<'_>,
    ) {
        let resident = self.users.resident_mut(at);
        resident.adding -= 1;
        let settled = resident.adding == 0;
        match device {
            None => {
                for ticket in std::mem::take(&mut resident.creating) {
                    turn.done(ticket, true);
                }
            }
            Some(id) => {
                self.counters.devices_added += 1;
                if let Some(connection) = resident.device(id).entering.take() {
                    self.admit(at, connection, turn);
                }
            }
        }
        if settled {
            let devices: Vec<_> =
                self.users.resident(at).devices.iter().map(|device| device.id).collect();
            for device in devices {
                self.run_line(at, device, turn);
            }
        }
    }

    /// The device is there: notes it, once a day, unless the date is in doubt.
    pub(crate) fn see_device(&mut self, at: UserSlot, id: DeviceId, turn: &mut Turn<'_>) {
        let every_ms = SEEN_EVERY.as_millis() as u64;
        let at_ms = turn.now.wall_ms;
        if self.journal_failed || !turn.now.may_expire {
            return;
        }
        let resident = self.users.resident_mut(at);
        let user = resident.id;
        let device = resident.device(id);
        if at_ms.saturating_sub(device.seen_ms.max(device.seeing_ms)) >= every_ms {
            device.seeing_ms = at_ms;
            let head = DeviceSeenHead { user, device: id, at_ms };
            self.commit(Head::DeviceSeen(head), Bytes::new(), turn);
        }
    }

    /// A client that may have been silent for long is there.
    pub(crate) fn renewed(&mut self, connection: ConnectionKey, turn: &mut Turn<'_>) {
        let Some(slot) = self.sessions.find(connection) else { return };
        let (user, device) = (self.sessions[slot].user, self.sessions[slot].device);
        match self.users.find(user) {
            Found::Resident(at) => self.see_device(at, device, turn),
            Found::Loading(_) => {}
            // Attached again, it is seen.
            Found::Absent => self.load_for_session(user, turn),
        }
    }

    /// Removes the devices that were absent for too long. By a date in doubt nobody was.
    pub(crate) fn remove_absent(&mut self, at: UserSlot, turn: &mut Turn<'_>) {
        if !turn.now.may_expire {
            return;
        }
        let max_ms = self.config.limits.device_absence_max.as_millis() as u64;
        let oldest_ms = turn.now.wall_ms.saturating_sub(max_ms);
        let absent: SmallVec<[DeviceId; 2]> = self
            .users
            .resident(at)
            .present()
            .filter(|device| device.durable && device.live.is_none() && device.entering.is_none())
            .filter(|device| device.seen_ms.max(device.seeing_ms) < oldest_ms)
            .map(|device| device.id)
            .collect();
        for device in absent {
            if self.begin_removal(at, device, None, turn) {
                self.counters.devices_absent += 1;
            }
        }
    }

    /// A device signs out: its credentials are void at once, and whoever comes with a newer one comes
    /// behind it. Loads, commits, answers when it is durable.
    pub(crate) fn remove_device(
        &mut self,
        user: UserId,
        device: DeviceId,
        (before_ms, ticket): (u64, u64),
        turn: &mut Turn<'_>,
    ) {
        self.revoke(user, device, before_ms, turn);
        let waits = match self.users.find(user) {
            _ if self.journal_failed => false,
            Found::Resident(at) => return self.sign_out(at, device, ticket, turn),
            Found::Loading(at) => {
                self.wait_for_load(at, Waiting::SignOut { device, ticket }).is_ok()
            }
            Found::Absent => self
                .load(user, None, turn)
                .and_then(|at| self.wait_for_load(at, Waiting::SignOut { device, ticket }))
                .is_ok(),
        };
        if !waits {
            turn.done(ticket, false);
        }
    }

    /// A device of a resident user signs out.
    pub(crate) fn sign_out(
        &mut self,
        at: UserSlot,
        id: DeviceId,
        ticket: u64,
        turn: &mut Turn<'_>,
    ) {
        let max = self.config.limits.loading_line_max as usize;
        // It may have signed in with a newer credential while its user was loaded.
        if let Some(slot) = self.sessions.find_device(self.users.id(at), id) {
            self.close(slot, CloseReason::Revoked, turn);
        }
        let resident = self.users.resident_mut(at);
        if let Some(removal) = resident.removals.iter_mut().find(|removal| removal.device == id) {
            let takes = removal.tickets.len() < max;
            if takes {
                removal.tickets.push(ticket);
            } else {
                turn.done(ticket, false);
            }
        } else if resident.find_device(id).is_none() {
            turn.done(ticket, true);
        } else if self.begin_removal(at, id, Some(ticket), turn) {
            self.counters.devices_signed_out += 1;
        } else {
            turn.done(ticket, false);
        }
    }

    /// From here on the device is gone for whoever looks; its record follows once nothing on the
    /// way looks for it. False if nothing will be durable any more.
    fn begin_removal(
        &mut self,
        at: UserSlot,
        device: DeviceId,
        ticket: Option<u64>,
        turn: &mut Turn<'_>,
    ) -> bool {
        if self.journal_failed {
            return false;
        }
        let resident = self.users.resident_mut(at);
        let user = resident.id;
        let entering = resident.find_device(device).and_then(|device| device.entering.take());
        let tickets = ticket.into_iter().collect();
        resident.removals.push(Removal { device, committed: false, tickets, entering });
        if !self.try_remove(at, device, turn) {
            self.removals.push_back((user, device));
        }
        true
    }

    /// Commits a removal, unless something on the way still looks for the device.
    fn try_remove(&mut self, at: UserSlot, id: DeviceId, turn: &mut Turn<'_>) -> bool {
        let resident = self.users.resident_mut(at);
        let user = resident.id;
        let device = resident.device(id);
        if !device.durable || device.live.is_some() || device.is_on_the_way() {
            return false;
        }
        let removal = resident.removals.iter_mut().find(|removal| removal.device == id);
        removal.expect("it was begun").committed = true;
        let head = DeviceRemovedHead { user, device: id, at_ms: turn.now.wall_ms };
        self.commit(Head::DeviceRemoved(head), Bytes::new(), turn);
        true
    }

    /// Goes on with removals that waited, some at each event.
    pub(crate) fn go_on_removing(&mut self, turn: &mut Turn<'_>) {
        for _ in 0..self.removals.len().min(REMOVALS_PER_EVENT) {
            let Some((user, device)) = self.removals.pop_front() else { return };
            let Found::Resident(at) = self.users.find(user) else {
                unreachable!("a removal keeps its user resident");
            };
            if !self.journal_failed && !self.try_remove(at, device, turn) {
                self.removals.push_back((user, device));
            }
        }
    }

    /// A `DeviceRemoved` of this shard is durable and folded.
    pub(crate) fn device_removed(&mut self, at: UserSlot, id: DeviceId, turn: &mut Turn<'_>) {
        let removals = &mut self.users.resident_mut(at).removals;
        let Some(place) = removals.iter().position(|it| it.device == id && it.committed) else {
            // What was durable just before the journal failed was answered as refused.
            assert!(self.journal_failed, "a removal stands until its record is durable");
            return;
        };
        let removal = removals.swap_remove(place);
        for ticket in removal.tickets {
            turn.done(ticket, true);
        }
        if let Some(connection) = removal.entering {
            self.admit(at, connection, turn);
        }
    }

    /// Creates a user: loads, commits, answers when it is durable.
    pub(crate) fn create_user(&mut self, user: UserId, ticket: u64, turn: &mut Turn<'_>) {
        let waits = match self.users.find(user) {
            _ if self.journal_failed => false,
            Found::Resident(at) => return self.create_resident(at, ticket, turn),
            Found::Loading(at) => self.wait_for_load(at, Waiting::Create { ticket }).is_ok(),
            Found::Absent => self
                .load(user, None, turn)
                .and_then(|at| self.wait_for_load(at, Waiting::Create { ticket }))
                .is_ok(),
        };
        if !waits {
            turn.done(ticket, false);
        }
    }

    pub(crate) fn create_resident(&mut self, at: UserSlot, ticket: u64, turn: &mut Turn<'_>) {
        let resident = self.users.resident_mut(at);
        if resident.exists {
            turn.done(ticket, true);
        } else if self.journal_failed
            || self.shortage.is_some()
            || resident.creating.len() >= self.config.limits.loading_line_max as usize
        {
            turn.done(ticket, false);
        } else {
            resident.creating.push(ticket);
            if resident.creating.len() == 1 {
                self.add_device(at, None, turn);
            }
        }
    }

    /// Nothing will be durable any more: who waits for a record of this user is told.
    pub(crate) fn give_up_devices(&mut self, at: UserSlot, turn: &mut Turn<'_>) {
        let resident = self.users.resident_mut(at);
        let mut tickets = std::mem::take(&mut resident.creating).into_vec();
        let mut entering = Vec::new();
        for removal in &mut resident.removals {
            tickets.extend(std::mem::take(&mut removal.tickets));
            entering.extend(removal.entering.take());
        }
        entering.extend(resident.devices.iter_mut().filter_map(|device| device.entering.take()));
        for ticket in tickets {
            turn.done(ticket, false);
        }
        for connection in entering {
            self.counters.unkept_sign_ins += 1;
            self.turn_away(connection, CloseReason::DeviceUnkept, turn);
        }
    }
}
