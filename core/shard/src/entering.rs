//! Sign-ins that wait for their `welcome`: for a load, or for the record that adds the device.
//!
//! Found by connection, so that one that ends meanwhile is forgotten; what was begun for it (the
//! load, the record) goes on without it. Bounded with the sessions: each will be one, or is closed.

use hashbrown::HashTable;

use crate::event::{ConnectionKey, SignIn};
use crate::home::KeyedHash;

/// All of them.
#[derive(Debug)]
pub(crate) struct Entering {
    table: HashTable<SignIn>,
    hash: KeyedHash,
}

impl Entering {
    pub(crate) fn new(hash: KeyedHash) -> Self {
        Self { table: HashTable::new(), hash }
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Heap bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.table.allocation_size()
    }

    /// Adds one.
    ///
    /// # Panics
    /// If the connection has one: it says `hello` once.
    pub(crate) fn insert(&mut self, sign_in: SignIn) {
        assert!(self.find(sign_in.connection).is_none(), "a connection signs in once");
        let Self { table, hash } = self;
        let key = place(hash, sign_in.connection);
        table.insert_unique(key, sign_in, |it| place(hash, it.connection));
    }

    pub(crate) fn find(&self, connection: ConnectionKey) -> Option<&SignIn> {
        self.table.find(place(&self.hash, connection), |it| it.connection == connection)
    }

    pub(crate) fn take(&mut self, connection: ConnectionKey) -> Option<SignIn> {
        let key = place(&self.hash, connection);
        let found = self.table.find_entry(key, |it| it.connection == connection).ok()?;
        let (sign_in, _) = found.remove();
        if self.table.is_empty() {
            // A storm is over.
            self.table = HashTable::new();
        }
        Some(sign_in)
    }

    /// The one of the device that was accepted later: it will stay.
    pub(crate) fn later_of(&self, one: ConnectionKey, other: ConnectionKey) -> ConnectionKey {
        let accepted = |connection| self.find(connection).map(|it| it.accepted_at);
        if accepted(one) > accepted(other) { one } else { other }
    }
}

/// Where a connection stands in the table.
fn place(hash: &KeyedHash, connection: ConnectionKey) -> u64 {
    hash.of(&connection.0.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ringpost_wire::{DeviceId, UserId};

    use super::*;
    use crate::event::Proof;

    fn sign_in(connection: u64, accepted_ms: u64) -> SignIn {
        SignIn {
            connection: ConnectionKey(connection),
            tag: 0,
            user: UserId([1; 16]),
            device: DeviceId::new(1).expect("1 to 127"),
            accepted_at: Duration::from_millis(accepted_ms),
            issued_at_ms: 0,
            proof: Proof::Token,
            window_pushes: 0,
            window_bytes: 0,
            intents: 0,
            room_bytes: 0,
        }
    }

    #[test]
    fn one_that_is_taken_is_gone_and_the_table_with_the_last() {
        let mut entering = Entering::new(KeyedHash::new(1));
        (1..=40).for_each(|number| entering.insert(sign_in(number, 41 - number)));
        let (first, last) = (ConnectionKey(1), ConnectionKey(40));
        assert_eq!(entering.later_of(first, last), first);
        assert_eq!(entering.later_of(last, first), first);
        for number in 1..=40 {
            let connection = ConnectionKey(number);
            assert_eq!(entering.take(connection).map(|it| it.connection), Some(connection));
            assert!(entering.take(connection).is_none());
        }
        assert_eq!((entering.len(), entering.bytes()), (0, 0));
    }
}
