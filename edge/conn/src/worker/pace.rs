//! How fast a client is read: its input is charged to its user's budget, or while it has none to its
//! address's, and over the budget it is not read until the debt is paid. Nothing is closed for it.
//!
//! ```text
//!              over the budget: whatever is armed is taken back
//!   read  ---------------------------------------------------->  paced
//!     ^                                                            |
//!     +------------------------------------------------------------+
//!              its timer finds the budget in order again
//! ```
//! Bytes are charged as they come, before they are looked at. A connection gathers what it owes and
//! settles it in pieces, so that most frames cost an addition; what it owes when it comes to rest is
//! forgotten, which is less than one piece for each second. What the server itself asked for (acks
//! of its pushes, pongs to its pings) is given back once it is known for what it is.
//!
//! A stranger's bytes are kept undecoded while its address is over or not known yet: it receives one
//! buffer at a time. Of a session what came before the reading stopped is decoded, and paid for.

use ringpost_ring::Slot;
use ringpost_shard::event::Now;
use ringpost_wire::limits::{ANSWER_BYTES_FREE, INPUT_COST_BYTES};

use super::Worker;
use crate::connection::{Account, Paced, Phase, key};

/// Cost that a session gathers before it settles with its budget, bytes.
const PIECE: i64 = 4_096;

/// Largest header around a client's command, bytes.
const HEADER_BYTES_MAX: u32 = 8;

impl Worker {
    /// Charges a cost, which is settled with what else has come.
    pub(super) fn charge(&mut self, slot: Slot, cost_bytes: u32) {
        if let Some(connection) = self.connections.find(slot) {
            connection.owed += i64::from(cost_bytes);
            self.counters.charged_bytes += u64::from(cost_bytes);
        }
    }

    /// Charges what a receive brought. False if it is not to be decoded now.
    pub(super) fn charge_receive(&mut self, slot: Slot, bytes: usize, now: Now) -> bool {
        let Some(connection) = self.connections.find(slot) else { return false };
        let cost = bytes as u64 + u64::from(INPUT_COST_BYTES);
        connection.owed += cost as i64;
        connection.receive_owed = true;
        self.counters.charged_bytes += cost;
        if matches!(connection.phase, Phase::SignedIn) {
            // What is owed is settled behind the frames, unless it is much already.
            if connection.owed >= PIECE {
                self.settle_and_pace(slot, now);
            }
            return true;
        }
        if connection.asking_address {
            return false;
        }
        self.pace_if_due(slot, now);
        self.connections.find(slot).is_some_and(|it| it.paced.is_none())
    }

    /// Gives back what an answer to the server's own doing has cost: `payload_bytes` long, alone in
    /// its frame.
    pub(super) fn give_back(&mut self, slot: Slot, payload_bytes: usize) {
        let Some(connection) = self.connections.find(slot) else { return };
        let bytes = (payload_bytes as u32).saturating_add(HEADER_BYTES_MAX).min(ANSWER_BYTES_FREE);
        connection.owed -= i64::from(INPUT_COST_BYTES + bytes);
        if std::mem::take(&mut connection.receive_owed) {
            connection.owed -= i64::from(INPUT_COST_BYTES);
        }
    }

    /// Settles what has become a piece, and stops reading if the budget is used up by it.
    pub(super) fn pace_if_due(&mut self, slot: Slot, now: Now) {
        let Some(connection) = self.connections.find(slot) else { return };
        let piece = if connection.in_shard() { PIECE } else { 1 };
        if connection.owed.abs() >= piece {
            self.settle_and_pace(slot, now);
        }
    }

    #[cold]
    #[inline(never)]
    fn settle_and_pace(&mut self, slot: Slot, now: Now) {
        self.settle_debt(slot, now);
        self.pace(slot, now);
    }

    /// Takes what a connection owes from the budget that it has.
    pub(super) fn settle_debt(&mut self, slot: Slot, now: Now) {
        let account = self.account(slot);
        let Some(connection) = self.connections.find(slot).filter(|it| it.owed != 0) else {
            return;
        };
        if account == Account::Unknown && !connection.in_shard() {
            // Whose it is will be known: the caller has not been named.
            return;
        }
        let cost = std::mem::take(&mut connection.owed);
        match account {
            Account::Address(cell) => self.tables.address_input.take(cell, cost, now.mono),
            Account::User(cell) => self.tables.user_input.take(cell, cost, now.mono),
            Account::Unknown => {}
        }
    }

    /// Stops reading a connection whose budget is used up.
    fn pace(&mut self, slot: Slot, now: Now) {
        let Some(connection) = self.connections.find(slot) else { return };
        let until = match connection.account {
            Account::Address(cell) => self.tables.address_input.over_until(cell, now.mono),
            Account::User(cell) => self.tables.user_input.over_until(cell, now.mono),
            Account::Unknown => None,
        };
        let Some(until) = until else { return };
        let since = match connection.paced {
            Some(paced) => paced.since,
            None => {
                match connection.account {
                    Account::User(_) => self.counters.paced_users += 1,
                    _ => self.counters.paced_addresses += 1,
                }
                now.mono
            }
        };
        connection.paced = Some(Paced { since, until });
        self.schedule(slot);
    }

    /// The time of a pause is over: what was held is decoded and reading goes on, unless the budget
    /// was used up meanwhile by others.
    pub(super) fn end_pause(&mut self, slot: Slot, now: Now) {
        self.pace(slot, now);
        let Some(connection) = self.connections.find(slot) else { return };
        let Some(paced) = connection.paced.take_if(|paced| paced.until <= now.mono) else { return };
        connection.forgive(now.mono.saturating_sub(paced.since), now.mono);
        self.decode_held(slot, now);
    }

    /// Decodes what was held back, and goes on reading.
    fn decode_held(&mut self, slot: Slot, now: Now) {
        if self.connections.find(slot).is_some_and(|it| it.wants_input()) {
            self.feed_surplus(slot, now);
            self.pace_if_due(slot, now);
        }
        self.balance_input(slot, now);
    }

    /// The socket's address is known: what has come so far is charged to it, unless it is a proxy's,
    /// and reading begins.
    pub(super) fn charge_caller(&mut self, slot: Slot, now: Now) {
        if self.open_stranger_account(slot, now) {
            self.begin_reading(slot, now);
        }
    }

    /// A caller was named amid what is being decoded: all that has come so far is charged to it, and
    /// what comes behind waits if its budget is used up.
    pub(super) fn charge_named(&mut self, slot: Slot, now: Now) {
        if self.open_stranger_account(slot, now) {
            self.pace(slot, now);
        }
    }

    /// Answers whether this is a stranger.
    fn open_stranger_account(&mut self, slot: Slot, now: Now) -> bool {
        let Some(connection) = self.connections.find(slot).filter(|it| !it.in_shard()) else {
            return false;
        };
        if let Some(caller) = connection.caller.filter(|caller| !caller.is_proxy()) {
            connection.account = Account::Address(self.tables.of_address(caller.address()));
        }
        self.settle_debt(slot, now);
        true
    }

    /// Decodes what was held so far, and goes on reading, unless the budget is used up already.
    fn begin_reading(&mut self, slot: Slot, now: Now) {
        self.pace(slot, now);
        if self.connections.find(slot).is_some_and(|it| it.paced.is_none()) {
            self.decode_held(slot, now);
        }
    }

    /// A session stands: from here on its user's budget counts, and a stranger's pause is over.
    pub(super) fn open_account(&mut self, slot: Slot, now: Now) {
        self.settle_debt(slot, now);
        if let Some(connection) = self.connections.find(slot) {
            connection.account = Account::Unknown;
            connection.paced = None;
        }
        self.account(slot);
        self.begin_reading(slot, now);
    }

    /// The budget of a connection. One that was at rest does not know its user: the shard does.
    fn account(&mut self, slot: Slot) -> Account {
        let Some(connection) = self.connections.find(slot) else { return Account::Unknown };
        if connection.account == Account::Unknown
            && connection.in_shard()
            && let Some(session) = self.shard.session(key(slot))
        {
            connection.account = Account::User(self.tables.of_user(session.user));
        }
        connection.account
    }
}
