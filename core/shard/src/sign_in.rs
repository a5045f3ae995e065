//! Connections sign in, are displaced, leave.
//!
//! ```text
//!  SignIn ─> revoked? ─> close sign_in_again
//!    by ticket ─> welcome (it proves that the device is durable: nothing is read before)
//!                 ─> load, if the user is absent ─> attach ─> replay of the queue
//!    by token ──> entering ─> load ─> admit ─> device durable ─> welcome, attach
//!                                           ─> unknown ─> DeviceAdded ─> durable ─> admit
//!                                           ─> being added or removed ─> durable ─> admit
//!                                           ─> user unknown and not to be made: sign_in_again
//!                                           ─> no place among the devices: too_many_devices
//! ```
//! Invariants: who is told `welcome` is a device, by a durable record; of two connections of a device
//! the one accepted later stays. A connection owns nothing that was begun for its user: if it ends
//! while it enters, the load and the record go on, and nobody was told anything.

use ringpost_wire::{CloseReason, DeviceId, UserId};

use crate::effect::Effect;
use crate::event::{ConnectionKey, Proof, SignIn};
use crate::limits::Provision;
use crate::live::Live;
use crate::loading::Waiting;
use crate::session::{Opening, SessionSlot, Window};
use crate::shard::Shard;
use crate::turn::Turn;
use crate::users::{Found, UserSlot};

impl Shard {
    pub(crate) fn sign_in(&mut self, sign_in: SignIn, turn: &mut Turn<'_>) {
        let SignIn { connection, user, device, .. } = sign_in;
        assert!(self.is_home(user), "a connection moves to its user's home before it signs in");
        if self.revocations.voids(user, device, sign_in.issued_at_ms) {
            self.counters.revoked_sign_ins += 1;
            return turn.close(connection, CloseReason::Revoked);
        }
        let older = self.sessions.find_device(user, device);
        if older.is_some_and(|older| self.sessions[older].accepted_ns > accepted_ns(&sign_in)) {
            self.counters.displacements += 1;
            return turn.close(connection, CloseReason::Displaced);
        }
        let taken = self.sessions.len() + self.entering.len() - usize::from(older.is_some());
        if taken >= self.config.limits.sessions_max as usize {
            self.counters.sessions_refused += 1;
            return turn.close(connection, CloseReason::SessionsFull);
        }
        let removing = match self.users.find(user) {
            Found::Resident(at) => self.users.resident(at).is_removing(device),
            Found::Absent | Found::Loading(_) => false,
        };
        if sign_in.proof == Proof::Token || removing {
            self.entering.insert(sign_in);
            return self.enter(connection, turn);
        }
        let Some(slot) = self.welcome(sign_in, turn) else { return };
        match self.users.find(user) {
            Found::Resident(at) => self.attach(at, slot, turn),
            Found::Loading(_) => {}
            Found::Absent => self.load_for_session(user, turn),
        }
    }

    /// A sign-in that must know its user goes on, or waits until it does.
    pub(crate) fn enter(&mut self, connection: ConnectionKey, turn: &mut Turn<'_>) {
        let Some(&SignIn { user, .. }) = self.entering.find(connection) else { return };
        if self.users.find(user) == Found::Absent {
            self.load_for_session(user, turn);
        }
        match self.users.find(user) {
            Found::Resident(at) => self.admit(at, connection, turn),
            Found::Loading(at) => {
                if self.wait_for_load(at, Waiting::SignIn(connection)).is_err() {
                    self.counters.sign_ins_crowded += 1;
                    self.turn_away(connection, CloseReason::UserCrowded, turn);
                }
            }
            Found::Absent => unreachable!("a load was just begun"),
        }
    }

    /// A sign-in whose user is resident: it is welcome once its device is durable.
    pub(crate) fn admit(&mut self, at: UserSlot, connection: ConnectionKey, turn: &mut Turn<'_>) {
        let Some(&sign_in) = self.entering.find(connection) else { return };
        let (user, id) = (sign_in.user, sign_in.device);
        // What it waited for may have taken long.
        if self.revocations.voids(user, id, sign_in.issued_at_ms) {
            self.counters.revoked_sign_ins += 1;
            return self.turn_away(connection, CloseReason::Revoked, turn);
        }
        let resident = self.users.resident_mut(at);
        if let Some(removal) = resident.removals.iter_mut().find(|removal| removal.device == id) {
            let waits = removal.entering.replace(connection);
            return self.keep_later(at, waits, connection, turn);
        }
        match resident.find_device(id) {
            Some(device) if device.durable => {
                self.entering.take(connection);
                if let Some(slot) = self.welcome(sign_in, turn) {
                    self.attach(at, slot, turn);
                }
            }
            Some(device) => {
                let waits = device.entering.replace(connection);
                self.keep_later(at, waits, connection, turn);
            }
            None => match self.refuse_device(at, turn) {
                Some(reason) => self.turn_away(connection, reason, turn),
                None => {
                    let device = self.users.resident_mut(at).device_or_new(id);
                    device.entering = Some(connection);
                    self.add_device(at, Some(id), turn);
                }
            },
        }
    }

    /// Two connections of one device wait: the one accepted earlier is displaced.
    fn keep_later(
        &mut self,
        at: UserSlot,
        waited: Option<ConnectionKey>,
        came: ConnectionKey,
        turn: &mut Turn<'_>,
    ) {
        let Some(waited) = waited.filter(|&waited| self.entering.find(waited).is_some()) else {
            return;
        };
        let Some(&SignIn { device: id, .. }) = self.entering.find(came) else { return };
        let stays = self.entering.later_of(came, waited);
        let resident = self.users.resident_mut(at);
        match resident.removals.iter_mut().find(|removal| removal.device == id) {
            Some(removal) => removal.entering = Some(stays),
            None => resident.device(id).entering = Some(stays),
        }
        self.counters.displacements += 1;
        let goes = if stays == came { waited } else { came };
        self.turn_away(goes, CloseReason::Displaced, turn);
    }

    /// Why a further device cannot be added, if it cannot.
    fn refuse_device(&mut self, at: UserSlot, turn: &mut Turn<'_>) -> Option<CloseReason> {
        let devices_max = usize::from(self.config.limits.devices_per_user_max);
        if self.users.resident(at).present().count() >= devices_max {
            self.remove_absent(at, turn);
        }
        let resident = self.users.resident(at);
        let unregistered =
            !resident.is_known() && self.config.provision == Provision::RegisteredOnly;
        let (reason, count) = if unregistered {
            (CloseReason::Unregistered, &mut self.counters.unprovisioned_sign_ins)
        } else if resident.present().count() >= devices_max {
            (CloseReason::TooManyDevices, &mut self.counters.devices_refused)
        } else if self.journal_failed || self.shortage.is_some() {
            (CloseReason::DeviceUnkept, &mut self.counters.unkept_sign_ins)
        } else {
            return None;
        };
        *count += 1;
        Some(reason)
    }

    /// Ends a sign-in that was told nothing.
    pub(crate) fn turn_away(
        &mut self,
        connection: ConnectionKey,
        reason: CloseReason,
        turn: &mut Turn<'_>,
    ) {
        if self.entering.take(connection).is_some() {
            turn.close(connection, reason);
        }
    }

    /// The session stands from here on, unless one of the same device stays; its device is durable.
    fn welcome(&mut self, sign_in: SignIn, turn: &mut Turn<'_>) -> Option<SessionSlot> {
        let SignIn { connection, user, device, .. } = sign_in;
        let accepted_ns = accepted_ns(&sign_in);
        if let Some(older) = self.sessions.find_device(user, device) {
            self.counters.displacements += 1;
            if self.sessions[older].accepted_ns > accepted_ns {
                turn.close(connection, CloseReason::Displaced);
                return None;
            }
            self.close(older, CloseReason::Displaced, turn);
        }
        let window = self.window(sign_in.window_pushes, sign_in.window_bytes);
        let slot = self.sessions.insert(Opening {
            connection,
            user,
            device,
            accepted_ns,
            room_bytes: sign_in.room_bytes,
            window,
            intents: sign_in.intents,
        });
        turn.effects.push(Effect::SignedIn {
            connection,
            tag: sign_in.tag,
            user,
            device,
            window_pushes: window.pushes.into(),
            window_bytes: window.bytes(),
        });
        Some(slot)
    }

    fn window(&self, pushes: u32, bytes: u32) -> Window {
        let limits = &self.config.limits;
        let granted = |asked, default, max: u32| if asked == 0 { default } else { max.min(asked) };
        Window::new(
            granted(pushes, limits.window_pushes_default, limits.window_pushes_max),
            granted(bytes, limits.window_bytes_default, limits.window_bytes_max),
        )
    }

    /// Begins delivery to a session of a resident user.
    pub(crate) fn attach(&mut self, at: UserSlot, slot: SessionSlot, turn: &mut Turn<'_>) {
        let id = self.sessions[slot].device;
        let resident = self.users.resident_mut(at);
        let ahead = resident.arriving;
        let Some(device) = resident.find_device(id).filter(|device| device.durable) else {
            // A ticket of another past: the data directory was put back from a copy.
            self.counters.tickets_unfounded += 1;
            return self.close(slot, CloseReason::TicketUnfounded, turn);
        };
        let mark = device.queue.gap;
        let live = Live::new(slot, ahead, self.told(slot, mark));
        self.users.resident_mut(at).device(id).live = Some(Box::new(live));
        self.see_device(at, id, turn);
        self.tidy_queue(at, id, turn);
        self.pump(at, id, turn);
    }

    pub(crate) fn revoke(
        &mut self,
        user: UserId,
        device: DeviceId,
        before_ms: u64,
        turn: &mut Turn<'_>,
    ) {
        if self.revocations.add(user, device, before_ms) {
            self.counters.revocations_forgotten += 1;
        }
        if let Some(slot) = self.sessions.find_device(user, device) {
            self.close(slot, CloseReason::Revoked, turn);
        }
    }

    pub(crate) fn closed(&mut self, connection: ConnectionKey) {
        if let Some(slot) = self.sessions.find(connection) {
            self.end_session(slot);
        }
        let Some(sign_in) = self.entering.take(connection) else { return };
        // Its place in the line is another's.
        if let Found::Loading(at) = self.users.find(sign_in.user) {
            let line = &mut self.users.loading_mut(at).line;
            line.retain(|it| !matches!(it, Waiting::SignIn(waits) if *waits == connection));
        }
    }

    pub(crate) fn close(&mut self, slot: SessionSlot, reason: CloseReason, turn: &mut Turn<'_>) {
        let connection = self.sessions[slot].connection;
        self.end_session(slot);
        turn.close(connection, reason);
    }

    /// The session is gone; what it committed stays in flight.
    fn end_session(&mut self, slot: SessionSlot) {
        let session = self.sessions.remove(slot);
        self.leaving.remove(session.connection);
        if let Found::Resident(at) = self.users.find(session.user)
            && let Some(device) = self.users.resident_mut(at).find_device(session.device)
            && device.live.as_ref().is_some_and(|live| live.session == slot)
        {
            device.live = None;
        }
    }
}

fn accepted_ns(sign_in: &SignIn) -> u64 {
    u64::try_from(sign_in.accepted_at.as_nanos())
        .expect("a monotonic clock runs for less than 584 years")
}
