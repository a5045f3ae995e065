//! Connections whose clients have said their last and wait for the answers to what they asked.
//!
//! Owns which connections these are: at most as many as there are sessions, and nothing where nobody
//! leaves. A connection is looked at when it is asked about, when it is told something, and when a
//! read of the store about its user is over, which is when something it waits for may have ended
//! without a word. What a look searches is bounded: sends and reads of one device.

use std::collections::BTreeSet;

use ringpost_wire::{CloseReason, UserId};
use smallvec::SmallVec;

use crate::effect::Effect;
use crate::event::{ConnectionKey, Event};
use crate::loading::Waiting;
use crate::session::Session;
use crate::shard::Shard;
use crate::turn::Turn;
use crate::user::Loading;
use crate::users::{Found, UserSlot};

/// Who leaves.
#[derive(Default, Debug)]
pub(crate) struct Leaving(BTreeSet<ConnectionKey>);

impl Leaving {
    pub(crate) fn contains(&self, connection: ConnectionKey) -> bool {
        !self.0.is_empty() && self.0.contains(&connection)
    }

    pub(crate) fn remove(&mut self, connection: ConnectionKey) {
        if !self.0.is_empty() {
            self.0.remove(&connection);
        }
    }
}

/// The user of whom a read of the store is over with this event.
pub(crate) const fn concerned(event: &Event<'_>) -> Option<UserId> {
    match event {
        Event::Loaded { user, .. }
        | Event::AcceptedFound { user, .. }
        | Event::ReceivedFound { user, .. } => Some(*user),
        _ => None,
    }
}

impl Shard {
    /// Whether the connection waits for the answer to something that it asked.
    pub fn owes(&self, connection: ConnectionKey) -> bool {
        let Some(slot) = self.sessions.find(connection) else { return false };
        let session = &self.sessions[slot];
        match self.users.find(session.user) {
            Found::Absent => false,
            Found::Loading(at) => is_awaited(self.users.loading(at), connection),
            Found::Resident(at) => self.owes_at(at, session),
        }
    }

    fn owes_at(&self, at: UserSlot, session: &Session) -> bool {
        let mut devices = self.users.resident(at).devices.iter();
        let Some(device) = devices.find(|device| device.id == session.device) else { return false };
        let sends = device.outgoing.as_ref().is_some_and(|it| it.owes(session.connection));
        sends || device.reads.owes(session.connection)
    }

    pub(crate) fn client_leaves(&mut self, connection: ConnectionKey, turn: &mut Turn<'_>) {
        if self.sessions.find(connection).is_some() {
            self.leaving.0.insert(connection);
            self.let_go_if_answered(connection, turn);
        }
    }

    /// Lets those go who were told something from the effect at `told_from` on, or whose user was
    /// `concerned`, and are owed nothing more.
    pub(crate) fn see_off(
        &mut self,
        told_from: usize,
        concerned: Option<UserId>,
        turn: &mut Turn<'_>,
    ) {
        if self.leaving.0.is_empty() {
            return;
        }
        let told = turn.effects[told_from..].iter().filter_map(|effect| match effect {
            Effect::Deliver { connection, .. } => Some(*connection),
            _ => None,
        });
        let mut some: SmallVec<[ConnectionKey; 8]> = told.collect();
        if let Some(user) = concerned {
            let slots = self.sessions.of_user(user);
            some.extend(slots.into_iter().map(|slot| self.sessions[slot].connection));
        }
        for connection in some {
            self.let_go_if_answered(connection, turn);
        }
    }

    fn let_go_if_answered(&mut self, connection: ConnectionKey, turn: &mut Turn<'_>) {
        if self.leaving.contains(connection) && !self.owes(connection) {
            self.closed(connection);
            turn.effects.push(Effect::Close { connection, reason: CloseReason::Left });
        }
    }
}

fn is_awaited(loading: &Loading, connection: ConnectionKey) -> bool {
    loading.line.iter().any(|waiting| match waiting {
        Waiting::Send(held) => held.asker.connection == connection,
        Waiting::Read { asker, .. } | Waiting::GapClosed { asker, .. } => {
            asker.connection == connection
        }
        Waiting::SignIn(_)
        | Waiting::SignOut { .. }
        | Waiting::Arrival(_)
        | Waiting::Create { .. } => false,
    })
}
