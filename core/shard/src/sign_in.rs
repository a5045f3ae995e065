//! Devices sign in, are displaced, are added, leave.
//!
//! ```text
//!  SignIn ─> revoked? ─> close sign_in_again
//!         ─> same device connected? ─> the one accepted later stays, the other: displaced
//!         ─> SignedIn (nothing is read before `welcome`) ─> load, if the user is absent
//!  attach ─> device known ─> replay of its queue
//!         ─> not known, but the user is, or may be made ─> DeviceAdded ─> durable ─> replay
//!         ─> else close sign_in_again
//! ```
//! While a device is being added its user's sends wait: whoever sends then must know of it, or it
//! would miss a copy without being told.

use ringpost_wire::{CloseCode, DeviceId, UserId};

use crate::effect::Effect;
use crate::event::{ConnectionKey, SignIn};
use crate::limits::Provision;
use crate::live::Live;
use crate::loading::Waiting;
use crate::record::{DeviceAddedHead, Head};
use crate::session::{Opening, SessionSlot, Window};
use crate::shard::Shard;
use crate::turn::Turn;
use crate::users::{Found, UserSlot};

impl Shard {
    pub(crate) fn sign_in(&mut self, sign_in: SignIn, turn: &mut Turn<'_>) {
        let SignIn { connection, user, device, .. } = sign_in;
        assert!(self.is_home(user), "a connection moves to its user's home before it signs in");
        let refused = |code, turn: &mut Turn<'_>| {
            turn.effects.push(Effect::Close { connection, code });
        };
        if self.revocations.voids(user, device, sign_in.issued_at_ms) {
            self.counters.revoked_sign_ins += 1;
            return refused(CloseCode::SignInAgain, turn);
        }
        let accepted_ns = u64::try_from(sign_in.accepted_at.as_nanos())
            .expect("a monotonic clock runs for less than 584 years");
        if let Some(older) = self.sessions.find_device(user, device) {
            self.counters.displacements += 1;
            if self.sessions[older].accepted_ns > accepted_ns {
                return refused(CloseCode::Displaced, turn);
            }
            self.close(older, CloseCode::Displaced, turn);
        }
        if self.sessions.len() >= self.config.limits.sessions_max as usize {
            self.counters.sessions_refused += 1;
            return refused(CloseCode::TryLater, turn);
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
        match self.users.find(user) {
            Found::Resident(at) => self.attach(at, slot, turn),
            Found::Loading(_) => {}
            Found::Absent => self.load_for_session(user, turn),
        }
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
        if let Some(device) = resident.find_device(id) {
            device.live = Some(Box::new(Live::new(slot, ahead)));
            if device.durable {
                self.tidy_queue(at, id, turn);
                self.pump(at, id, turn);
            }
            return;
        }
        let counters = &mut self.counters;
        let refusal = if !resident.is_known() && self.config.provision == Provision::RegisteredOnly
        {
            Some((CloseCode::SignInAgain, &mut counters.unprovisioned_sign_ins))
        } else if resident.devices.len() >= usize::from(self.config.limits.devices_per_user_max) {
            Some((CloseCode::Policy, &mut counters.devices_refused))
        } else if self.journal_failed {
            Some((CloseCode::TryLater, &mut counters.unkept_sign_ins))
        } else {
            None
        };
        if let Some((code, count)) = refusal {
            *count += 1;
            self.close(slot, code, turn);
            return;
        }
        resident.device_or_new(id).live = Some(Box::new(Live::new(slot, ahead)));
        self.add_device(at, Some(id), turn);
    }

    /// Commits that the user, and the device if there is one, exists.
    fn add_device(&mut self, at: UserSlot, device: Option<DeviceId>, turn: &mut Turn<'_>) {
        let resident = self.users.resident_mut(at);
        resident.adding += 1;
        let user = resident.id;
        self.unknown.forget(user);
        let head = DeviceAddedHead { user, device, at_ms: turn.now.wall_ms };
        self.commit(Head::DeviceAdded(head), bytes::Bytes::new(), turn);
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
        if device.is_none() {
            for ticket in std::mem::take(&mut resident.creating) {
                turn.effects.push(Effect::UserCreated { ticket, created: true });
            }
        }
        let devices: Vec<_> = resident.devices.iter().map(|device| device.id).collect();
        if let Some(device) = device {
            self.pump(at, device, turn);
        }
        if settled {
            for device in devices {
                self.run_line(at, device, turn);
            }
        }
    }

    /// Creates a user: loads, commits, answers when it is durable.
    pub(crate) fn create_user(&mut self, user: UserId, ticket: u64, turn: &mut Turn<'_>) {
        let refused = Effect::UserCreated { ticket, created: false };
        match self.users.find(user) {
            _ if self.journal_failed => turn.effects.push(refused),
            Found::Resident(at) => self.create_resident(at, ticket, turn),
            Found::Loading(at) => {
                if !self.wait_for_load(at, Waiting::Create { ticket }) {
                    turn.effects.push(refused);
                }
            }
            Found::Absent => match self.load(user, None, turn) {
                Some(at) => {
                    self.users.loading_mut(at).line.push_back(Waiting::Create { ticket });
                }
                None => turn.effects.push(refused),
            },
        }
    }

    pub(crate) fn create_resident(&mut self, at: UserSlot, ticket: u64, turn: &mut Turn<'_>) {
        let resident = self.users.resident_mut(at);
        if resident.exists {
            turn.effects.push(Effect::UserCreated { ticket, created: true });
        } else if self.journal_failed
            || resident.creating.len() >= self.config.limits.loading_line_max as usize
        {
            turn.effects.push(Effect::UserCreated { ticket, created: false });
        } else {
            resident.creating.push(ticket);
            if resident.creating.len() == 1 {
                self.add_device(at, None, turn);
            }
        }
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
            self.close(slot, CloseCode::SignInAgain, turn);
        }
    }

    pub(crate) fn closed(&mut self, connection: ConnectionKey) {
        if let Some(slot) = self.sessions.find(connection) {
            self.end_session(slot);
        }
    }

    fn close(&mut self, slot: SessionSlot, code: CloseCode, turn: &mut Turn<'_>) {
        let connection = self.sessions[slot].connection;
        self.end_session(slot);
        turn.effects.push(Effect::Close { connection, code });
    }

    /// The session is gone; what it committed stays in flight.
    fn end_session(&mut self, slot: SessionSlot) {
        let session = self.sessions.remove(slot);
        if let Found::Resident(at) = self.users.find(session.user)
            && let Some(device) = self.users.resident_mut(at).find_device(session.device)
            && device.live.as_ref().is_some_and(|live| live.session == slot)
        {
            device.live = None;
        }
    }
}
