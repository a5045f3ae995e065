//! From `hello` to `welcome`: the credential, the way home, the session.
//!
//! A ticket is opened in the turn (a MAC); a token is checked by other threads (a signature costs
//! as much as ten messages). Then the connection goes to its user's home worker, unless it is
//! there, and the shard answers.

use std::time::Duration;

use ringpost_ring::Slot;
use ringpost_shard::Event;
use ringpost_shard::SignedIn;
use ringpost_shard::event::{ConnectionKey, Now, SignIn};
use ringpost_wire::command::{Credential, Hello};
use ringpost_wire::limits::TOKEN_COST_BYTES;
use ringpost_wire::{CloseCode, CloseReason, ErrorCode};

use super::Worker;
use crate::connection::{Connection, Phase, key};
use crate::letter::{Arriving, CredentialRefused, Identity, PendingHello};
use crate::output::{Operation, Output};

impl Worker {
    /// A `hello` on a connection without a session.
    pub(super) fn hello(&mut self, slot: Slot, tag: u16, hello: &Hello<'_>, now: Now) {
        let pending = PendingHello {
            tag,
            device: Some(hello.device),
            window_pushes: hello.window_pushes,
            window_bytes: hello.window_bytes,
            intents: hello.intents,
        };
        self.enter(slot, Phase::Checking(pending), now);
        match &hello.credential {
            Credential::Token(token) => {
                self.charge(slot, TOKEN_COST_BYTES);
                let token = token.as_ref().to_owned();
                self.outputs.push(Output::Verify { connection: key(slot), token });
            }
            Credential::None => self.refuse_credential(slot, CloseReason::NoCredential, now),
            Credential::Ticket(ticket) => {
                let answer = self.tickets.open(ticket, now.wall_ms);
                let is_over = answer == Err(CredentialRefused::TicketExpired);
                self.counters.tickets_expired += u64::from(is_over);
                self.verified(key(slot), answer, now);
            }
        }
    }

    /// An `auth` on a connection with a session: one check at a time.
    pub(super) fn renew(&mut self, slot: Slot, tag: u16, token: &str) {
        let Some(connection) = self.connections.find(slot) else { return };
        if connection.renewing.is_some() {
            // The tag of the one that is being checked stands: its answer is not this one's.
            let detail = "an auth before it is not answered yet";
            return self.refuse_saying(slot, tag, ErrorCode::RateLimited, detail);
        }
        connection.renewing = Some(tag);
        self.charge(slot, TOKEN_COST_BYTES);
        self.outputs.push(Output::Verify { connection: key(slot), token: token.to_owned() });
    }

    /// A credential was checked: of a sign-in, or of a renewal.
    pub(super) fn verified(
        &mut self,
        to: ConnectionKey,
        answer: Result<Identity, CredentialRefused>,
        now: Now,
    ) {
        let Some(connection) = self.connections.find_key(to) else { return };
        let slot = connection.slot;
        match connection.phase {
            Phase::Checking(pending) => self.signed(slot, pending, answer, now),
            Phase::SignedIn => self.renewed(slot, answer, now),
            _ => {}
        }
    }

    fn signed(
        &mut self,
        slot: Slot,
        pending: PendingHello,
        answer: Result<Identity, CredentialRefused>,
        now: Now,
    ) {
        let identity = match answer {
            Ok(identity) if pending.device == Some(identity.device) => identity,
            Ok(_) => return self.refuse_credential(slot, CloseReason::OtherDevice, now),
            Err(refused) => return self.refuse_credential(slot, refused.reason(), now),
        };
        if self.home(identity.user) == self.id {
            return self.join_shard(slot, pending, identity, now);
        }
        self.enter(slot, Phase::Departing(pending, identity), now);
        self.leave_if_quiet(slot, now);
    }

    /// Ends a sign-in for its credential, or for want of room to check it.
    fn refuse_credential(&mut self, slot: Slot, reason: CloseReason, now: Now) {
        self.counters.refused_credentials += u64::from(reason.code() == CloseCode::SignInAgain);
        self.close(slot, reason, now);
    }

    fn renewed(&mut self, slot: Slot, answer: Result<Identity, CredentialRefused>, now: Now) {
        let Some(connection) = self.connections.find(slot) else { return };
        let Some(tag) = connection.renewing.take() else { return };
        let session = self.shard.session(key(slot));
        let same = |new: &Identity, it: &SignedIn| (it.user, it.device) == (new.user, new.device);
        match (answer, session) {
            (Ok(new), Some(session)) if same(&new, &session) => {
                connection.expires_at = expiry(&new, now);
                self.schedule(slot);
                let granted = (session.window_pushes, session.window_bytes);
                self.welcome(slot, tag, &new, granted, now);
                self.shard_event(Event::Renewed { connection: key(slot) }, now);
            }
            (Err(refused), _) => {
                let is_bad = refused != CredentialRefused::Busy;
                self.counters.refused_credentials += u64::from(is_bad);
                let code = if is_bad { ErrorCode::TokenRefused } else { ErrorCode::Overloaded };
                self.refuse_saying(slot, tag, code, refused.reason().text());
            }
            (Ok(_), _) => {
                self.counters.refused_credentials += 1;
                let detail = "the token is of another user or device";
                self.refuse_saying(slot, tag, ErrorCode::TokenRefused, detail);
            }
        }
        self.leave_if_answered(slot, now);
    }

    /// The connection is at its user's home: the shard decides.
    fn join_shard(&mut self, slot: Slot, hello: PendingHello, identity: Identity, now: Now) {
        let Some(connection) = self.connections.find(slot) else { return };
        connection.identity = Some(identity);
        connection.expires_at = expiry(&identity, now);
        let sign_in = SignIn {
            connection: key(slot),
            tag: hello.tag,
            user: identity.user,
            device: identity.device,
            accepted_at: connection.accepted_at,
            issued_at_ms: identity.issued_at_ms,
            proof: identity.proof,
            window_pushes: hello.window_pushes,
            window_bytes: hello.window_bytes,
            intents: hello.intents,
            room_bytes: self.outboxes.grant(0) as u32,
        };
        self.enter(slot, Phase::Welcoming, now);
        self.shard_event(Event::SignIn(sign_in), now);
    }

    /// Sends the descriptor home. Nothing is under way for it.
    pub(super) fn depart(&mut self, slot: Slot, now: Now) {
        let Some(connection) = self.connections.find(slot) else { return };
        let Phase::Departing(hello, identity) = connection.phase else { return };
        if self.moves_under_way >= self.config.moves_max {
            return self.close(slot, CloseReason::MovesCrowded, now);
        }
        self.moves_under_way += 1;
        let home = self.homes.home(identity.user);
        connection.phase = Phase::Moving(hello, identity);
        self.operations.push(Operation::MoveOut(slot, home, self.move_token(slot)));
    }

    /// The token of a move: which worker (8 bits), which use (20) of which slot (28: of many rings).
    fn move_token(&self, slot: Slot) -> u64 {
        const { assert!(Slot::GENERATIONS <= 1 << 20) };
        assert!(slot.index() < 1 << 28 && self.id.0 < 1 << 8, "a move has one token");
        let place = u64::from(slot.generation()) << 28 | u64::from(slot.index());
        u64::from(self.id.0) << 48 | place
    }

    /// The descriptor is there: the state follows.
    pub(super) fn moved_out(&mut self, slot: Slot) {
        self.moves_under_way -= 1;
        let token = self.move_token(slot);
        let Some(connection) = self.connections.remove(slot) else { return };
        self.timers.cancel(slot.index());
        self.input_bytes -= connection.held_bytes;
        let Phase::Moving(hello, identity) = connection.phase else { return };
        self.counters.moved_out += 1;
        let to = self.home(identity.user);
        let arriving = Box::new(Arriving {
            token,
            from: self.id,
            protocol: connection.protocol,
            speech: connection.speech,
            identity,
            hello,
            accepted_at: connection.accepted_at,
            caller: connection.caller,
            surplus: connection.surplus,
        });
        self.outputs.push(Output::Arriving { to, arriving });
    }

    /// The descriptor stayed: the target is full or gone.
    pub(super) fn move_failed(&mut self, slot: Slot, unannounced: bool, now: Now) {
        self.moves_under_way -= 1;
        self.counters.moves_failed += 1;
        let token = self.move_token(slot);
        let Some(connection) = self.connections.find(slot) else { return };
        if let (true, Phase::Moving(_, identity)) = (unannounced, &connection.phase) {
            let to = self.homes.home(identity.user);
            self.outputs.push(Output::MoveFailed { to, token });
        }
        if let Phase::Moving(hello, identity) = connection.phase {
            connection.phase = Phase::Departing(hello, identity);
        }
        self.close(slot, CloseReason::MovesCrowded, now);
    }

    pub(super) fn moved_in(&mut self, slot: Slot, token: u64, now: Now) {
        let deadline = now.mono + self.config.move_deadline;
        if let Some(state) = self.arrivals.descriptor(token, slot, deadline) {
            self.settle(slot, *state, now);
        }
    }

    pub(super) fn arriving(&mut self, state: Box<Arriving>, now: Now) {
        let deadline = now.mono + self.config.move_deadline;
        if let Some((slot, state)) = self.arrivals.state(state, deadline) {
            self.settle(slot, *state, now);
        }
    }

    /// Both halves are here.
    fn settle(&mut self, slot: Slot, state: Arriving, now: Now) {
        self.counters.moved_in += 1;
        let mut connection = Connection::accepted(slot, now.mono);
        connection.protocol = state.protocol;
        connection.speech = state.speech;
        connection.accepted_at = state.accepted_at;
        connection.caller = state.caller;
        connection.surplus = state.surplus;
        connection.phase = Phase::Welcoming;
        self.connections.insert(connection);
        self.recount_input(slot);
        if self.drain.is_on() {
            return self.send_away(slot, now);
        }
        self.schedule(slot);
        self.join_shard(slot, state.hello, state.identity, now);
    }
}

/// When a credential ends, on the monotonic clock.
fn expiry(identity: &Identity, now: Now) -> Duration {
    now.mono + Duration::from_millis(identity.expires_at_ms.saturating_sub(now.wall_ms))
}
