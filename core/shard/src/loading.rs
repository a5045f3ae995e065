//! From absent to resident: loads, what waits for them, and letting users go.
//!
//! A load names the last record that touched the user while it was away: its answer holds that and
//! all before, so a record handed while the user is absent needs no keeping. Records handed while it
//! is loading wait, and those that the image lacks are folded on top. Loads for a connection wait
//! their turn; loads for anybody else are refused when the store or the memory is busy.

use ringpost_wire::{DeviceId, MessageId, ServerId, UserId};

use crate::bound::{Bound, Overload};
use crate::effect::Effect;
use crate::event::ConnectionKey;
use crate::idempotency::{Asker, Held};
use crate::image::{StoreUnavailable, UserImage};
use crate::mail::SendRequest;
use crate::record::{Position, SharedRecord};
use crate::retry::Retry;
use crate::shard::Shard;
use crate::turn::Turn;
use crate::user::{Loading, Resident};
use crate::users::{Found, LOAD_BYTES, UserSlot};

/// What waits for a load.
#[derive(Debug)]
pub(crate) enum Waiting {
    /// A send of the user.
    Send(Held),
    /// A `read` receipt of the user.
    Read { asker: Asker, device: DeviceId, id: ServerId, message_id: MessageId },
    /// A `gap_closed` of the user.
    GapClosed { asker: Asker, number: u64 },
    /// A send to the user.
    Arrival(Box<SendRequest>),
    /// A sign-in of the user by token.
    SignIn(ConnectionKey),
    /// A sign-out of a device of the user.
    SignOut { device: DeviceId, ticket: u64 },
    /// A registration.
    Create { ticket: u64 },
}

impl Waiting {
    fn body_bytes(&self) -> Option<usize> {
        match self {
            Self::Send(held) => Some(held.request.body.len()),
            Self::Arrival(request) => Some(request.body.len()),
            Self::Read { .. }
            | Self::GapClosed { .. }
            | Self::SignIn(_)
            | Self::SignOut { .. }
            | Self::Create { .. } => None,
        }
    }
}

impl Shard {
    /// Asks for an absent user, if there is a place among the loads and memory for it. `waits`:
    /// who stays resident until the load is answered or refused, if anybody does.
    ///
    /// # Errors
    /// Which bound is in the way; it was counted.
    pub(crate) fn load(
        &mut self,
        user: UserId,
        waits: Option<UserId>,
        turn: &mut Turn<'_>,
    ) -> Result<UserSlot, Bound> {
        if let Err(bound) = self.may_load(waits, turn) {
            self.counters.loads_refused += 1;
            self.counters.hits.add(bound);
            return Err(bound);
        }
        let slot = self.users.insert_loading(user, true);
        self.request_load(user, turn);
        Ok(slot)
    }

    /// Asks for an absent user who has a session: at once, or when its turn comes.
    pub(crate) fn load_for_session(&mut self, user: UserId, turn: &mut Turn<'_>) {
        if self.waiting_loads.is_empty() {
            match self.may_load(None, turn) {
                Ok(()) => {
                    self.users.insert_loading(user, true);
                    return self.request_load(user, turn);
                }
                Err(bound) => self.counters.hits.add(bound),
            }
        }
        self.users.insert_loading(user, false);
        self.waiting_loads.push_back(user);
        self.retry_waiting_loads(turn);
    }

    /// Whether one more user may be asked for; if not, which bound is in the way.
    ///
    /// The bytes of the user who waits for the load do not count. They cannot be let go before it is
    /// answered, so whoever fills the memory alone could write to nobody absent, however often it
    /// tried. The cap is passed by that one user at most.
    fn may_load(&mut self, waits: Option<UserId>, turn: &Turn<'_>) -> Result<(), Bound> {
        let limits = &self.config.limits;
        if self.users.loading >= limits.loads_max {
            return Err(Bound::Loads);
        }
        let bytes_max = limits.resident_bytes_max.saturating_sub(LOAD_BYTES);
        let scan_max = limits.eviction_scan_max;
        self.counters.evictions +=
            self.users.evict_down_to(bytes_max, scan_max, self.applied, turn.now.mono);
        let standing = waits.and_then(|user| self.users.standing(user));
        let others = self.users.bytes - standing.map_or(0, |(_, bytes)| bytes);
        if others <= bytes_max { Ok(()) } else { Err(Bound::Resident) }
    }

    fn request_load(&mut self, user: UserId, turn: &mut Turn<'_>) {
        self.counters.loads += 1;
        turn.effects.push(Effect::Load { user, after: self.away.last(user) });
    }

    fn retry_waiting_loads(&mut self, turn: &Turn<'_>) {
        if !self.waiting_loads.is_empty() && !self.waiting_loads_retried {
            self.waiting_loads_retried = true;
            self.retries.add(turn.now.mono, Retry::WaitingLoads);
        }
    }

    /// Starts loads that waited, as many as there is room for.
    pub(crate) fn start_waiting_loads(&mut self, turn: &mut Turn<'_>) {
        // Ends: each round takes a load out of those that wait, or is the last.
        while let Some(&user) = self.waiting_loads.front() {
            let Found::Loading(slot) = self.users.find(user) else {
                self.waiting_loads.pop_front();
                continue;
            };
            let loading = self.users.loading_mut(slot);
            let wanted = !loading.line.is_empty() || self.sessions.has_user(user);
            if !wanted {
                self.users.abandon_loading(slot);
            } else if !loading.requested {
                // Counted when it was put off, not at each try.
                if self.may_load(None, turn).is_err() {
                    return self.retry_waiting_loads(turn);
                }
                self.users.mark_requested(slot);
                self.request_load(user, turn);
            }
            self.waiting_loads.pop_front();
        }
    }

    /// Puts an event in the line of a loading user.
    ///
    /// A send to a user whose load itself waits for memory is not let in: it keeps its sender
    /// resident, and so could keep from the load what it waits for.
    ///
    /// # Errors
    /// Which bound is in the way; it was counted.
    pub(crate) fn wait_for_load(&mut self, slot: UserSlot, waiting: Waiting) -> Result<(), Bound> {
        let loading = self.users.loading_mut(slot);
        let stuck = !loading.requested && matches!(waiting, Waiting::Arrival(_));
        let bound = if stuck {
            Some(Bound::Resident)
        } else if loading.line.len() >= self.config.limits.loading_line_max as usize {
            Some(Bound::Line)
        } else if waiting.body_bytes().is_some_and(|bytes| !self.waiting.try_take(bytes)) {
            Some(Bound::Waiting)
        } else {
            None
        };
        if let Some(bound) = bound {
            self.counters.hits.add(bound);
            return Err(bound);
        }
        loading.line.push_back(waiting);
        Ok(())
    }

    /// Keeps a durable record for a loading user.
    pub(crate) fn keep_for_load(
        &mut self,
        slot: UserSlot,
        position: Position,
        record: &SharedRecord,
    ) {
        let max = self.config.limits.loading_records_max as usize;
        let loading = self.users.loading_mut(slot);
        // A load that is still to be asked for will name this record.
        if !loading.requested {
            return;
        }
        if loading.records.len() >= max {
            loading.records.clear();
            loading.let_go = Some(position);
        } else if loading.let_go.is_none() {
            loading.records.push((position, record.clone()));
        } else {
            loading.let_go = Some(position);
        }
    }

    pub(crate) fn loaded(
        &mut self,
        user: UserId,
        answer: Result<Option<UserImage>, StoreUnavailable>,
        turn: &mut Turn<'_>,
    ) {
        let Found::Loading(slot) = self.users.find(user) else {
            unreachable!("a load that was asked for is answered once, and waits until then");
        };
        match answer {
            Err(StoreUnavailable) => self.load_failed(slot, user, turn),
            Ok(image) => {
                let held = image.as_ref().map_or(Position(0), |image| image.applied);
                let let_go = &mut self.users.loading_mut(slot).let_go;
                if let_go.take_if(|position| *position > held).is_some() {
                    self.counters.loads_repeated += 1;
                    self.request_load(user, turn);
                    return;
                }
                let resident = Resident::new(user, image.as_ref());
                let loading = self.users.finish_loading(slot, resident);
                self.begin_residence(slot, loading, turn);
            }
        }
        self.start_waiting_loads(turn);
    }

    fn begin_residence(&mut self, slot: UserSlot, loading: Loading, turn: &mut Turn<'_>) {
        let user = self.users.id(slot);
        for (position, record) in &loading.records {
            self.fold(slot, *position, record);
        }
        let devices: Vec<_> =
            self.users.resident(slot).devices.iter().map(|device| device.id).collect();
        for device in devices {
            self.tidy_queue(slot, device, turn);
        }
        for session in self.sessions.of_user(user).into_iter().rev() {
            self.attach(slot, session, turn);
        }
        for waiting in loading.line {
            if let Some(bytes) = waiting.body_bytes() {
                self.waiting.give_back(bytes);
            }
            self.stop_waiting(slot, waiting, turn);
        }
        self.remove_absent(slot, turn);
        // Nobody made the user, so it is not held: its absence is remembered more cheaply.
        if !self.users.resident(slot).is_known() {
            self.users.evict(slot);
            self.unknown.remember(user, turn.now.mono);
        }
    }

    fn stop_waiting(&mut self, slot: UserSlot, waiting: Waiting, turn: &mut Turn<'_>) {
        match waiting {
            Waiting::Send(held) => self.send_resident(slot, held, turn),
            // It is answered by nothing: its client may have left, and has read all the same.
            Waiting::Read { asker, device, id, message_id } => {
                if self.users.resident(slot).is_present(device) {
                    self.read_resident(slot, device, asker, id, message_id, turn);
                } else {
                    self.counters.orphaned_commands += 1;
                }
            }
            Waiting::GapClosed { asker, number } => match self.sessions.find(asker.connection) {
                Some(session) => self.close_gap(slot, session, asker, number, turn),
                None => self.counters.orphaned_commands += 1,
            },
            Waiting::Arrival(request) => self.arrive_resident(slot, *request, turn),
            Waiting::SignIn(connection) => self.admit(slot, connection, turn),
            Waiting::SignOut { device, ticket } => self.sign_out(slot, device, ticket, turn),
            Waiting::Create { ticket } => self.create_resident(slot, ticket, turn),
        }
    }

    fn load_failed(&mut self, slot: UserSlot, user: UserId, turn: &mut Turn<'_>) {
        self.counters.store_failures += 1;
        let loading = self.users.abandon_loading(slot);
        let refusal = self.overloaded(Overload::Store);
        for waiting in loading.line {
            if let Some(bytes) = waiting.body_bytes() {
                self.waiting.give_back(bytes);
            }
            match waiting {
                Waiting::Send(held) => {
                    self.refuse(held.asker, held.request.message_id, refusal, turn);
                }
                Waiting::Read { asker, message_id, .. } => {
                    self.refuse(asker, message_id, refusal, turn);
                }
                Waiting::GapClosed { asker, .. } => {
                    self.refuse(asker, MessageId::default(), refusal, turn);
                }
                Waiting::Arrival(request) => {
                    let SendRequest { from, from_device, message_id, .. } = *request;
                    self.refuse_send(from, from_device, message_id, refusal, turn);
                }
                // It waits as long as its connection may.
                Waiting::SignIn(connection) => {
                    self.retries.add(turn.now.mono, Retry::SignIn(connection));
                }
                Waiting::SignOut { ticket, .. } | Waiting::Create { ticket } => {
                    turn.done(ticket, false);
                }
            }
        }
        if self.sessions.has_user(user) {
            self.retries.add(turn.now.mono, Retry::Load(user));
        }
    }

    pub(crate) fn tick(&mut self, turn: &mut Turn<'_>) {
        // Ends: what a retry puts off again is due later than now.
        while let Some(retry) = self.retries.pop_due(turn.now.mono) {
            match retry {
                Retry::Load(user) => {
                    if self.users.find(user) == Found::Absent && self.sessions.has_user(user) {
                        self.load_for_session(user, turn);
                    }
                }
                Retry::SignIn(connection) => self.enter(connection, turn),
                Retry::Push(user, device) => {
                    if let Found::Resident(slot) = self.users.find(user) {
                        self.pump(slot, device, turn);
                    }
                }
                Retry::WaitingLoads => {
                    self.waiting_loads_retried = false;
                    self.start_waiting_loads(turn);
                }
            }
        }
    }
}
